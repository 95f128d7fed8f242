//! From the platform to the engine: what is for sale.
//!
//! Capture is by state. A changed row of a watched table says which event is affected; the whole event is read again in
//! one snapshot, made into a definition and a state, compared with what was last sent, and appended to `catalogue` where it
//! differs. So the first reading and the feed join without a gap or a double, a burst of changes becomes one, and what an
//! event comes to never goes backwards. The feed is told that a change is kept only after its effect is.

mod check;
pub mod event;
pub mod feed;
mod in_use;
mod lag;
pub mod orders;
pub mod pgoutput;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, TryLockError};
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::Error;
use crate::database::{Database, Kind, Mode, Statement, Transaction};
use crate::dialect::Dialect;
use crate::engine::{CATALOGUE, Engine, Wish};
use crate::state::{Sent, State, Taken};
use crate::take;
use event::{Captured, Reader};
use feed::{Changes, Feed};
use in_use::InUse;
use lag::Lag;

/// Type of a wish to make or redefine an event.
const DEFINE: &str = "onsale.event.define.v1";
/// Type of a wish to open, pause or close an event.
const SET_STATE: &str = "onsale.event.set-state.v1";
/// The way's name among what is parked.
pub const WAY: &str = "capture";
/// How long a commit that was told is waited for to be seen.
const VISIBLE_WAIT: Duration = Duration::from_secs(10);
/// Events that are appended at the same time.
const APPENDS_AT_ONCE: usize = 8;
/// Events that are read in one snapshot.
const EVENTS_PER_SNAPSHOT: usize = 200;
/// The longest wait after something that passes.
const TROUBLE_MAX: Duration = Duration::from_secs(5);
/// Refused records that are looked at each time.
const REFUSED_LOOKS: usize = 20;
/// How often the engine is asked what it refused, clocks are compared, and how it goes is noted.
const LOOK: Duration = Duration::from_secs(2);

/// What capture works with.
#[derive(Clone)]
pub struct Parts {
    /// What the platform is like.
    pub dialect: Arc<Dialect>,
    /// URL of the platform's database.
    pub url: String,
    /// The engine.
    pub engine: Engine,
    /// The bridge's own file.
    pub state: Arc<State>,
}

/// Capture at work.
pub struct Capture {
    parts: Parts,
    reader: Reader,
    db: Database,
    feed: Feed,
    sent: BTreeMap<String, Sent>,
    /// Makes keys of appends differ from those of a state that was lost.
    instance: String,
    /// Positions of what the engine refused.
    refused: BTreeSet<u64>,
    /// Keys of events of which something can't be used.
    unreadable: BTreeSet<String>,
    pending: Changes,
    /// Cancellations of the time when nobody watched are yet to be looked for.
    is_new: bool,
    sweep_at: Instant,
    clock_at: Instant,
    clock: Timestamp,
    look_at: Instant,
    /// Up to where `control` was looked at for what others took over.
    control: u64,
    lag: Lag,
}

/// Captures until an error that does not pass; starts again by itself after others.
///
/// # Errors
/// One that does not pass: it says the way out.
pub async fn run(parts: Parts) -> Result<(), Error> {
    let mut trouble = Duration::from_millis(100);
    let mut in_use = InUse::default();
    loop {
        let began = Instant::now();
        let error = match Capture::open(parts.clone()).await {
            Ok(mut capture) => capture.work().await,
            Err(error) => error,
        };
        if matches!(error, Error::Refused { .. } | Error::Dialect { .. } | Error::State(_)) {
            return Err(error);
        }
        in_use.note(&error, Instant::now())?;
        if began.elapsed() > Duration::from_secs(30) {
            trouble = Duration::from_millis(100);
        }
        tracing::warn!(%error, "capture stops for a moment and begins again where it was");
        let hint = match error {
            Error::Statement { .. } => {
                "; was its schema changed? `onsale bridge dialect check DIALECT --db URL` says what does not fit"
            }
            _ => "",
        };
        parts
            .state
            .set_fact("alarm:capture", Some(&format!("capture stands still: {error}{hint}")))?;
        sleep(trouble).await;
        trouble = (trouble * 2).min(TROUBLE_MAX);
    }
}

impl Capture {
    /// Connects to the database and takes up the feed.
    ///
    /// # Errors
    /// The database is not attached, can't be reached, or is another one than before.
    pub async fn open(parts: Parts) -> Result<Capture, Error> {
        let mut db = Database::open(&parts.url).await?;
        let feed = Feed::open(&parts.dialect, &mut db, &parts.url, &parts.state).await?;
        let reader = Reader::new(&parts.dialect, db.kind())?;
        let state = &parts.state;
        let instance = instance(state)?;
        let clock =
            state.fact("clock")?.and_then(|text| text.parse().ok()).unwrap_or_else(Timestamp::now);
        take::restore(&parts.engine, state).await?;
        let now = Instant::now();
        Ok(Capture {
            sent: state.sent()?,
            reader,
            db,
            feed,
            instance,
            refused: BTreeSet::new(),
            unreadable: unreadable(state)?,
            // Whatever changed while nobody looked.
            pending: Changes { all: true, ..Changes::default() },
            is_new: true,
            sweep_at: now
                + Duration::from_secs(parts.dialect.settings.capture.sweep_seconds.max(1)),
            clock_at: now,
            clock,
            look_at: now,
            control: 0,
            lag: Lag::default(),
            parts,
        })
    }

    /// Works until an error.
    pub async fn work(&mut self) -> Error {
        loop {
            if let Err(error) = self.turn().await {
                return error;
            }
        }
    }

    /// Waits for changes and brings them over.
    ///
    /// # Errors
    /// The database or the engine fails; nothing is lost.
    pub async fn turn(&mut self) -> Result<(), Error> {
        self.look().await?;
        let wait = match self.pending.is_empty() {
            true => self
                .next_time()
                .saturating_duration_since(Instant::now())
                .min(Duration::from_millis(500)),
            false => Duration::ZERO,
        };
        let told = self.feed.next(&mut self.db, wait).await?;
        self.pending.merge(told);
        let now = Instant::now();
        if now >= self.sweep_at {
            self.pending.all = true;
            self.sweep_at =
                now + Duration::from_secs(self.parts.dialect.settings.capture.sweep_seconds.max(1));
        }
        if !self.pending.is_empty() || (self.reader.has_clock() && now >= self.clock_at) {
            self.bring().await?;
        }
        Ok(())
    }

    fn next_time(&self) -> Instant {
        let at = self.sweep_at.min(self.look_at);
        if self.reader.has_clock() { at.min(self.clock_at) } else { at }
    }

    /// Brings over all that is pending.
    async fn bring(&mut self) -> Result<(), Error> {
        let now = Timestamp::now();
        let (mut keys, mut events) = self.read(now).await?;
        let gains = |key: &String| gains(self.sent.get(key), events.get(key));
        if !self.pending.all && self.pending.moved.iter().any(gains) {
            // One of the others has lost what this one gained.
            self.pending.all = true;
            (keys, events) = self.read(now).await?;
        }
        let pending = std::mem::take(&mut self.pending);
        let brought = self.send(keys, events).await;
        let brought = match brought {
            Ok(()) => self.bring_orders(&pending.orders).await,
            Err(error) => Err(error),
        };
        let brought = match brought {
            Ok(()) if self.is_new => self.bring_missed().await,
            brought => brought,
        };
        if let Err(error) = brought {
            self.pending.merge(pending);
            return Err(error);
        }
        self.feed.done(&mut self.db).await?;
        if self.reader.has_clock() {
            self.parts.state.set_fact("clock", Some(&now.to_string()))?;
            self.clock = now;
            self.clock_at = Instant::now()
                + Duration::from_secs(self.parts.dialect.settings.capture.clock_seconds.max(1));
        }
        self.lag.note(&pending);
        Ok(())
    }

    /// The affected events as they are now, and their keys. An event that is not there is none.
    async fn read(
        &mut self,
        now: Timestamp,
    ) -> Result<(BTreeSet<String>, BTreeMap<String, Captured>), Error> {
        let until = Instant::now() + VISIBLE_WAIT;
        loop {
            let mut tx = self.db.begin(Mode::Read).await?;
            if self.feed.is_visible(&mut tx).await? {
                let keys = affected(
                    &self.parts.dialect,
                    &self.reader,
                    &self.sent,
                    &self.pending,
                    self.clock,
                    now,
                    &mut tx,
                )
                .await?;
                let (mut events, mut unreadable) = (BTreeMap::new(), BTreeSet::new());
                for (count, key) in keys.iter().enumerate() {
                    if count > 0 && count % EVENTS_PER_SNAPSHOT == 0 {
                        tx.commit().await?;
                        tx = self.db.begin(Mode::Read).await?;
                    }
                    match self.reader.event(&mut tx, key, now).await {
                        Ok(event) => events.extend(event.map(|event| (key.clone(), event))),
                        // What can't be used of one event does not stop the others; a statement that fails as such does.
                        Err(error @ Error::Data { .. }) => {
                            let reason = error.to_string();
                            self.parts.state.park(WAY, &unreadable_name(key), &reason, None)?;
                            unreadable.insert(key.clone());
                            // A statement that failed may have ended the transaction.
                            drop(tx);
                            tx = self.db.begin(Mode::Read).await?;
                        }
                        Err(error) => return Err(error),
                    }
                }
                for key in self.unreadable.difference(&unreadable).filter(|key| keys.contains(*key))
                {
                    self.parts.state.unpark(WAY, &unreadable_name(key))?;
                }
                self.unreadable.retain(|key| !keys.contains(key));
                let keys = keys.difference(&unreadable).cloned().collect();
                self.unreadable.extend(unreadable);
                return Ok((keys, events));
            }
            drop(tx);
            if Instant::now() > until {
                return Err(Error::Database("a commit that was told can't be seen".to_owned()));
            }
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// Appends what differs from what was last sent.
    async fn send(
        &mut self,
        keys: BTreeSet<String>,
        events: BTreeMap<String, Captured>,
    ) -> Result<(), Error> {
        // Nobody takes an event over between the look at what is taken and the append.
        let _lock = lock(&self.parts.state).await?;
        let taken = self.parts.state.taken()?;
        // It may have been changed by who took an event over.
        if self.parts.state.changed_by_others()? {
            self.sent = self.parts.state.sent()?;
        }
        let mut wishes = Vec::new();
        for key in keys {
            let event = events.get(&key);
            let before = self.sent.get(&key).cloned();
            let taken = event.and_then(|event| taken.get(&event.subject));
            let parts = plan(event, before.as_ref(), taken);
            if !parts.is_empty() {
                wishes.push((key, before.unwrap_or_default(), parts));
            }
        }
        for piece in wishes.chunks(APPENDS_AT_ONCE) {
            let (parts, instance, refused) = (&self.parts, &self.instance, &self.refused);
            let appends = piece.iter().map(async |(key, before, wishes)| {
                // What the engine refused of this event before is of no matter any more.
                if refused.contains(&before.position) {
                    parts.engine.drop_parked(before.position).await?;
                }
                append(parts, instance, key, before.clone(), wishes).await
            });
            let done = futures_util::future::join_all(appends).await;
            let mut failed = None;
            for ((key, ..), done) in piece.iter().zip(done) {
                match done {
                    Ok(sent) => {
                        self.lag.appended += 1;
                        self.sent.insert(key.clone(), sent);
                    }
                    Err(error) => failed = Some(error),
                }
            }
            if let Some(error) = failed {
                return Err(error);
            }
        }
        Ok(())
    }

    /// What is looked after now and then.
    async fn look(&mut self) -> Result<(), Error> {
        if Instant::now() < self.look_at {
            return Ok(());
        }
        self.look_at = Instant::now() + LOOK;
        self.refused =
            self.parts.engine.parked().await?.iter().map(|parked| parked.position).collect();
        self.forget_superseded().await?;
        check::clocks(&mut self.db, &self.parts).await?;
        check::slot(&mut self.db, &self.parts).await?;
        let state = &self.parts.state;
        // By somebody with another state folder; with this one it is noted there.
        self.pending.all |= take::learn(&self.parts.engine, state, &mut self.control).await?;
        if state.fact("alarm:capture")?.is_some() && !self.pending.all {
            state.set_fact("alarm:capture", None)?;
        }
        state.set_fact("capture", Some(&self.lag.to_json(&self.sent).to_string()))
    }
}

impl Capture {
    /// Has the engine forget definitions that it refused and that others have taken the place of. It refuses some time
    /// after they were appended, so the next one may have been sent before that was known.
    async fn forget_superseded(&mut self) -> Result<(), Error> {
        let engine = &self.parts.engine;
        for position in self.refused.iter().take(REFUSED_LOOKS) {
            let (records, _) = engine.read(CATALOGUE, position.saturating_sub(1)).await?;
            let is_it = |record: &&Value| record["position"].as_u64() == Some(*position);
            let Some(record) = records.iter().find(is_it) else { continue };
            let of = self.sent.values().find(|sent| record["subject"] == sent.subject.as_str());
            if record["type"] == DEFINE && of.is_some_and(|sent| sent.defined > *position) {
                engine.drop_parked(*position).await?;
            }
        }
        Ok(())
    }
}

/// What capture has brought over and how far it is behind, as Prometheus reads it.
///
/// # Errors
/// The bridge's own file fails.
pub fn metrics(state: &State) -> Result<String, Error> {
    let noted = state.fact("capture")?.unwrap_or_default();
    Ok(lag::metrics(&serde_json::from_str(&noted).unwrap_or_default()))
}

/// Appends the wishes for one event, in order; what the engine refuses at once is parked.
async fn append(
    parts: &Parts,
    instance: &str,
    key: &str,
    mut sent: Sent,
    wishes: &[Planned],
) -> Result<Sent, Error> {
    let mut refused = None;
    for planned in wishes {
        // An event that the engine does not have, as its definition was refused at once, has no state there.
        if refused.is_some() && planned.wish.kind == SET_STATE && sent.defined == 0 {
            sent.state.clone_from(&planned.after.state);
            parts.state.set_sent(key, Some(&sent))?;
            continue;
        }
        let body = planned.wish.data.to_string();
        let content = digest(&(&planned.wish.kind, &planned.wish.subject, &body));
        // Killed from here on, it is not known what the engine has: see `plan`.
        sent = planned.under_way(&sent);
        parts.state.set_sent(key, Some(&sent))?;
        let Sent { position, attempt, mut defined, .. } = sent;
        let once = format!("capture-{instance}-{position}-{attempt}-{content:x}");
        match parts.engine.append(CATALOGUE, &planned.wish, &once).await {
            Ok(position) => {
                sent.position = position;
                if planned.wish.kind == DEFINE {
                    defined = position;
                }
            }
            Err(Error::Answered { status, why })
                if (400..500).contains(&status) && ![401, 403, 408, 429].contains(&status) =>
            {
                refused = Some(why);
            }
            Err(error) => return Err(error),
        }
        sent = Sent { position: sent.position, attempt, defined, ..planned.after.clone() };
        // Noted after each, so that a wish is sent once only, whenever we are killed.
        parts.state.set_sent(key, Some(&sent))?;
    }
    match refused {
        Some(why) => {
            tracing::warn!(event = %sent.subject, %why, "the engine does not take it");
            parts.state.park(WAY, key, &format!("{}: {why}", sent.subject), None)?;
        }
        None => parts.state.unpark(WAY, key)?,
    }
    Ok(sent)
}

/// Appends what differs of an event as it was just read, for whoever has had the [`lock`] since then; position of its last record.
///
/// # Errors
/// The engine or the bridge's own file fails.
pub(crate) async fn send_one(
    parts: &Parts,
    key: &str,
    event: Option<&Captured>,
) -> Result<u64, Error> {
    let instance = instance(&parts.state)?;
    let before = parts.state.sent()?.remove(key);
    let taken = event.map(|event| Ok::<_, Error>(parts.state.taken()?.remove(&event.subject)));
    let taken = taken.transpose()?.flatten();
    let wishes = plan(event, before.as_ref(), taken.as_ref());
    Ok(append(parts, &instance, key, before.unwrap_or_default(), &wishes).await?.position)
}

/// Every event whose definition or state in the engine is not what the platform has, with what differs.
///
/// # Errors
/// The database or the engine fails.
pub async fn compare(parts: &Parts) -> Result<Vec<String>, Error> {
    let mut db = Database::open(&parts.url).await?;
    let reader = Reader::new(&parts.dialect, db.kind())?;
    let taken = parts.state.taken()?;
    let now = Timestamp::now();
    let mut tx = db.begin(Mode::Read).await?;
    let mut events = Vec::new();
    for key in reader.keys(&mut tx, now).await? {
        match reader.event(&mut tx, &key, now).await {
            Ok(event) => events.extend(event),
            Err(Error::Data { .. }) => {
                drop(tx);
                tx = db.begin(Mode::Read).await?;
            }
            Err(error) => return Err(error),
        }
    }
    drop(tx);
    let mut differ = Vec::new();
    for event in events {
        let (organizer, name) = event.subject.split_once('/').unwrap_or((&event.subject, ""));
        let (definition, state) = event.wanted(taken.get(&event.subject));
        let Some(known) = parts.engine.event(organizer, name).await? else {
            differ.push(format!("{}: the engine does not know it", event.subject));
            continue;
        };
        let mut wanted = definition;
        wanted["state"] = json!(state);
        // The engine says more than it was told: defaults, versions, what is sold.
        for (field, value) in wanted.as_object().into_iter().flatten() {
            if !has(&known[field], value) {
                differ.push(format!(
                    "{}: {field} is {} and should be {value}",
                    event.subject, known[field]
                ));
            }
        }
    }
    Ok(differ)
}

/// Whether a value has all of another one.
fn has(known: &Value, wanted: &Value) -> bool {
    match (known, wanted) {
        (Value::Object(known), Value::Object(wanted)) => wanted
            .iter()
            .all(|(name, value)| known.get(name).is_some_and(|known| has(known, value))),
        (Value::Array(known), Value::Array(wanted)) => {
            known.len() == wanted.len()
                && known.iter().zip(wanted).all(|(known, wanted)| has(known, wanted))
        }
        // Lists that are empty may be left out.
        (Value::Null, Value::Array(wanted)) => wanted.is_empty(),
        _ => known == wanted,
    }
}

/// What makes keys of appends differ from those of a state that was lost.
fn instance(state: &State) -> Result<String, Error> {
    if let Some(instance) = state.fact("instance")? {
        return Ok(instance);
    }
    let made = format!("{:x}", digest(&(Timestamp::now().as_nanosecond(), std::process::id())));
    state.set_fact("instance", Some(&made))?;
    Ok(made)
}

/// A wish, and what was sent after it.
#[derive(Clone, Debug)]
struct Planned {
    wish: Wish,
    after: Sent,
}

impl Planned {
    /// What is noted before it is sent. Sent again it is the same attempt, so that it is appended once; anything else is
    /// another one, also where it was sent before.
    fn under_way(&self, before: &Sent) -> Sent {
        let is_other = before.subject != self.after.subject;
        let Sent { position, defined, .. } = *before;
        let defined = if is_other { 0 } else { defined };
        let mut sent = Sent { position, defined, ..self.after.clone() };
        if self.wish.kind == DEFINE {
            sent.unsure = sent.definition.take();
        } else {
            sent.state = sent.state.map(|state| format!("?{state}"));
        }
        let is_same = sent.subject == before.subject
            && (&sent.unsure, &sent.state) == (&before.unsure, &before.state);
        sent.attempt = before.attempt + u64::from(!is_same);
        sent
    }
}

/// What is to be sent for an event, in order. What is not known to be there is sent again, or what takes its place.
fn plan(event: Option<&Captured>, before: Option<&Sent>, taken: Option<&Taken>) -> Vec<Planned> {
    let mut planned: Vec<Planned> = Vec::new();
    let mut now = before.cloned().unwrap_or_default();
    let set_state = |planned: &mut Vec<Planned>, now: &mut Sent, state: &str| {
        let wish = Wish {
            kind: SET_STATE.to_owned(),
            subject: now.subject.clone(),
            data: json!({"state": state}),
        };
        now.state = Some(state.to_owned());
        planned.push(Planned { wish, after: now.clone() });
    };
    let define = |planned: &mut Vec<Planned>, now: &mut Sent, definition: Value| {
        (now.definition, now.unsure) = (Some(definition.to_string()), None);
        let subject = now.subject.clone();
        let wish = Wish { kind: DEFINE.to_owned(), subject, data: definition };
        planned.push(Planned { wish, after: now.clone() });
    };
    let goes = event.is_none_or(|event| event.subject != now.subject);
    let is_there = now.defined > 0 || now.unsure.is_some();
    if is_there && goes && now.state.as_deref() != Some("closed") {
        // The engine must know it to close it.
        let unsure = now.unsure.as_deref().and_then(|text| serde_json::from_str(text).ok());
        if let Some(definition) = unsure {
            define(&mut planned, &mut now, definition);
        }
        set_state(&mut planned, &mut now, "closed");
    }
    let Some(event) = event else { return planned };
    let is_back = before.is_some_and(|before| now.subject != event.subject || before.defined == 0);
    if now.subject != event.subject {
        let Sent { position, attempt, .. } = now;
        now = Sent { subject: event.subject.clone(), position, attempt, ..Sent::default() };
    }
    let (definition, state) = event.wanted(taken);
    // One that stops selling does so before it changes; one that begins, after.
    let is_now = now.state.clone().unwrap_or_else(|| "paused".to_owned());
    if is_now != state && state != "open" && now.definition.is_some() && now.defined > 0 {
        set_state(&mut planned, &mut now, state);
    }
    if now.definition.as_deref() != Some(definition.to_string().as_str()) {
        define(&mut planned, &mut now, definition);
        // Known for the first time, or by this address before, when it was closed: it has any state.
        now.state = now.state.filter(|_| now.defined > 0).or(is_back.then(|| "?".to_owned()));
    }
    if now.state.as_deref().unwrap_or("paused") != state {
        set_state(&mut planned, &mut now, state);
    }
    planned
}

/// Whether an event has a ticket type or a quota that it had not when it was last sent.
fn gains(sent: Option<&Sent>, event: Option<&Captured>) -> bool {
    let Some(event) = event else { return false };
    let before = sent.and_then(|sent| serde_json::from_str(sent.definition.as_ref()?).ok());
    let before: Value = before.unwrap_or_default();
    let ids = |parts: Option<&Value>| -> BTreeSet<String> {
        let parts = parts.and_then(Value::as_array).into_iter().flatten();
        parts.filter_map(|part| part["id"].as_str().map(str::to_owned)).collect()
    };
    let has_new = |name: &str| !ids(event.definition.get(name)).is_subset(&ids(before.get(name)));
    has_new("ticket_types") || has_new("quotas")
}

/// The keys of the events that are to be read again.
async fn affected(
    dialect: &Dialect,
    reader: &Reader,
    sent: &BTreeMap<String, Sent>,
    pending: &Changes,
    clock: Timestamp,
    now: Timestamp,
    tx: &mut Transaction<'_>,
) -> Result<BTreeSet<String>, Error> {
    let kind = match tx {
        Transaction::Sqlite(_) => Kind::Sqlite,
        Transaction::Postgres(_) => Kind::Postgres,
    };
    let mut keys = pending.events.clone();
    let mut all = pending.all;
    for (lookup, value) in &pending.lookups {
        let statement: Statement = dialect.statement(kind, lookup)?;
        let rows = tx.query(&statement, &[("key", value.as_str().into())]).await?;
        // What it led to is gone.
        all |= rows.is_empty();
        for row in &rows {
            keys.insert(row.text("key")?);
        }
    }
    keys.extend(reader.time_changed(tx, clock, now).await?);
    if all || !keys.is_empty() {
        let there = reader.keys(tx, now).await?;
        if all {
            keys = there;
            keys.extend(sent.keys().cloned());
        } else {
            keys.retain(|key| there.contains(key) || sent.contains_key(key));
        }
    }
    Ok(keys)
}

/// What an event that can't be used is parked as.
fn unreadable_name(key: &str) -> String {
    format!("unreadable {key}")
}

fn unreadable(state: &State) -> Result<BTreeSet<String>, Error> {
    let parked = state.parked()?;
    let keys = parked.iter().filter(|parked| parked.way == WAY);
    Ok(keys
        .filter_map(|parked| parked.about.strip_prefix("unreadable ").map(str::to_owned))
        .collect())
}

/// Keeps other processes with the same state from appending to `catalogue` until it is dropped.
///
/// # Errors
/// The folder can't be used.
pub async fn lock(state: &State) -> Result<File, Error> {
    let path = state.folder().join("catalogue.lock");
    let wrong = |error: std::io::Error| Error::State(format!("{}: {error}", path.display()));
    let file = File::create(&path).map_err(wrong)?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => sleep(Duration::from_millis(5)).await,
            Err(TryLockError::Error(error)) => return Err(wrong(error)),
        }
    }
}

fn digest(value: &impl std::hash::Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
