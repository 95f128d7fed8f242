//! One shard, as a node sees it: calls go out many at a time over one connection, and what a function found wrong is put
//! right before it is asked again.

use std::sync::Arc;

use onsale_core::event::Subject;
use onsale_core::{Command, Event};
use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::sync::RwLock;

use crate::call::{About, Caller, Look, Reply, Terms, Trouble, View};
use crate::library::{DUE_PER_CALL_MAX, LIBRARY, Library};
use crate::link::Again;
use crate::record::{self, Codes};
use crate::session::{
    self, Durability, Failure, Joined, Options, Session, explained, is_function_gone, is_half_gone,
};

/// Events that the timer looks at in one call.
const EVENTS_PER_CALL: usize = 256;
/// Records read at a time.
const RECORDS_PER_READ_MAX: usize = 1_000;

/// What a shard is asked.
#[derive(Clone, Copy, Debug)]
pub enum Ask<'a> {
    /// To carry a command out.
    Command(&'a Command),
    /// To show something.
    Look(&'a Subject, Look),
}

/// What it says.
#[derive(Clone, Debug)]
pub struct Said {
    /// The answer.
    pub reply: Reply,
    /// How durable what it stands on is.
    pub durability: Durability,
    /// The records that it is about, where they have to be read from the stream.
    pub records: Vec<(u64, Event)>,
}

/// What a turn of the timer found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tick {
    /// The last position.
    pub position: u64,
    /// Holds and orders that it ended.
    pub ended: usize,
    /// Where the next turn goes on.
    pub slot: u32,
}

/// A shard of a store.
pub struct ShardClient {
    options: Options,
    library: &'static Library,
    state: String,
    stream: String,
    /// The log that it must be.
    log: u128,
    present: RwLock<Option<Arc<Present>>>,
}

/// A session that has joined.
pub(crate) struct Present {
    pub(crate) session: Session,
    pub(crate) joined: Joined,
    caller: Caller,
}

impl Present {
    fn terms(&self, options: &Options) -> Terms {
        let latest = self.session.server_time().0 + options.timeout.as_micros() as i64;
        Terms { fence: self.joined.fence, not_after: onsale_core::Time(latest), now: None }
    }
}

/// The key of a shard's state.
#[must_use]
pub fn state_key(prefix: &str, shard: u16) -> String {
    format!("{{{prefix}/{shard}}}state")
}

impl ShardClient {
    /// A shard of the log with an id.
    #[must_use]
    pub fn new(options: Options, shard: u16, log: u128) -> ShardClient {
        let state = state_key(&options.prefix, shard);
        let stream = format!("{{{}/{shard}}}sales", options.prefix);
        let present = RwLock::new(None);
        ShardClient { options, library: &LIBRARY, state, stream, log, present }
    }

    /// The same with functions of another version, as while nodes are being replaced.
    #[must_use]
    pub fn with_library(self, library: &'static Library) -> ShardClient {
        ShardClient { library, ..self }
    }

    /// What the shard's state said when this node joined; joins if need be.
    ///
    /// # Errors
    /// It can't be reached or used.
    pub async fn joined(&self) -> Result<Joined, Failure> {
        Ok(self.present().await?.joined.clone())
    }

    /// How durable what is acknowledged is, as far as is known.
    ///
    /// # Errors
    /// It can't be reached or used.
    pub async fn durability(&self) -> Result<Durability, Failure> {
        Ok(self.present().await?.session.status.durability)
    }

    async fn present(&self) -> Result<Arc<Present>, Failure> {
        if let Some(present) = self.present.read().await.as_ref() {
            return Ok(present.clone());
        }
        let mut place = self.present.write().await;
        if let Some(present) = place.as_ref() {
            return Ok(present.clone());
        }
        let session = session::find(&self.options, Some(self.library), &self.state).await?;
        let present = Arc::new(self.join(session).await?);
        *place = Some(present.clone());
        Ok(present)
    }

    async fn join(&self, session: Session) -> Result<Present, Failure> {
        let joined = session.join(self.library, &self.state).await?;
        let joined = joined.map_err(|trouble| Failure::Unusable(trouble.to_string()))?;
        if joined.log != self.log {
            let why = format!("{} is of another log than this node's", self.state);
            return Err(Failure::Unusable(why));
        }
        let caller = Caller::new(self.library, self.state.clone(), joined.codes);
        Ok(Present { session, joined, caller })
    }

    /// Lets a session go that is of no use any more.
    async fn leave(&self, left: &Arc<Present>) {
        let mut place = self.present.write().await;
        if place.as_ref().is_some_and(|present| Arc::ptr_eq(present, left)) {
            *place = None;
        }
    }

    /// Asks, all in one go. They are carried out in their order; each is answered for itself. What came at the wrong moment
    /// is asked again.
    pub async fn ask(&self, asks: &[Ask<'_>]) -> Vec<Result<Said, Failure>> {
        let none = || Err(Failure::Unreachable("it was not asked".into()));
        let mut answers: Vec<Result<Said, Failure>> = asks.iter().map(|_| none()).collect();
        let mut open: Vec<usize> = (0..asks.len()).collect();
        let mut again = Again::new(self.options.timeout);
        while !open.is_empty() && again.once_more().await {
            open = self.attempt(asks, &open, &mut answers).await;
        }
        self.add_records(&mut answers).await;
        answers
    }

    /// Asks those that are open once; gives those of them that are worth asking again.
    async fn attempt(
        &self,
        asks: &[Ask<'_>],
        open: &[usize],
        answers: &mut [Result<Said, Failure>],
    ) -> Vec<usize> {
        let present = match self.present().await {
            Ok(present) => present,
            Err(failure) => {
                let is_moving = matches!(failure, Failure::Moving(_));
                // Nothing was sent yet.
                let failure = certain(failure);
                open.iter().for_each(|i| fail(&mut answers[*i], failure.clone()));
                return if is_moving { open.to_vec() } else { Vec::new() };
            }
        };
        let terms = present.terms(&self.options);
        let mut caller = present.caller.clone();
        let mut cmds: Vec<Cmd> = open
            .iter()
            .map(|i| match &asks[*i] {
                Ask::Command(command) => caller.command(&terms, command),
                Ask::Look(subject, look) => caller.look(&terms, subject, *look),
            })
            .collect();
        if self.options.replicas > 0 {
            let wait_ms = self.options.timeout.as_millis() as u64;
            cmds.push(redis::cmd("WAIT").arg(self.options.replicas).arg(wait_ms).to_owned());
        }
        let mut said = match send(&present.session, &cmds).await {
            Ok(said) => said,
            Err(failure) => {
                self.leave(&present).await;
                // It may have got there before the connection broke.
                let unknown = match failure {
                    Failure::Unreachable(why) | Failure::Moving(why) => Failure::Unknown(why),
                    failure => failure,
                };
                for i in open {
                    fail(&mut answers[*i], for_whom(&asks[*i], &unknown));
                }
                return Vec::new();
            }
        };
        let replicated = self.options.replicas == 0 || self.is_replicated(said.pop());
        let (mut wrong, mut again) = (Wrong::default(), Vec::new());
        for (i, said) in open.iter().zip(said) {
            let about = match asks[*i] {
                Ask::Command(command) => About::Command(command),
                Ask::Look(subject, look) => About::Look(subject, look),
            };
            match self.answer(&present, said, &about, replicated, &mut wrong) {
                Ok(said) => answers[*i] = Ok(said),
                Err((failure, is_worth_it)) => {
                    fail(&mut answers[*i], failure);
                    again.extend(is_worth_it.then_some(*i));
                }
            }
        }
        self.put_right(&present, &wrong).await;
        again
    }

    fn is_replicated(&self, said: Option<Value>) -> bool {
        matches!(said, Some(Value::Int(n)) if n >= i64::from(self.options.replicas))
    }

    /// The answer to one call; or why there is none, and whether to make it again.
    fn answer(
        &self,
        present: &Present,
        said: Value,
        about: &About<'_>,
        replicated: bool,
        wrong: &mut Wrong,
    ) -> Result<Said, (Failure, bool)> {
        if let Value::ServerError(error) = said {
            return Err(refused(&error.into(), about, wrong));
        }
        match present.caller.read(said, about) {
            Err(error) => Err((Failure::Unknown(error.to_string()), false)),
            Ok(Reply::Trouble(Trouble::Late)) => Err((Failure::Late, false)),
            Ok(Reply::Trouble(trouble)) => {
                let failure = wrong.note(&trouble);
                let is_worth_it = matches!(failure, Failure::Moving(_));
                Err((failure, is_worth_it))
            }
            Ok(_) if !replicated => {
                Err((Failure::Unknown("not enough replicas have it".to_owned()), false))
            }
            Ok(reply) => {
                let durability = present.session.status.durability;
                Ok(Said { reply, durability, records: Vec::new() })
            }
        }
    }

    /// Puts right what calls found wrong, as far as that can be done; if it can't, the next attempt says why.
    async fn put_right(&self, present: &Arc<Present>, wrong: &Wrong) {
        if wrong.functions
            && let Err(failure) = present.session.load(self.library).await
        {
            tracing::warn!(%failure, "the functions can't be loaded again");
            self.leave(present).await;
        }
        if wrong.behind {
            let mend = present.caller.plain("mend", &present.terms(&self.options), "");
            if let Err(failure) = present.session.one(&mend).await {
                tracing::warn!(%failure, "the state can't be brought up to its stream");
            }
        }
        if wrong.server {
            self.leave(present).await;
        }
    }

    /// Reads the records that answers are about.
    async fn add_records(&self, answers: &mut [Result<Said, Failure>]) {
        for answer in answers {
            let Ok(said) = answer else { continue };
            let positions = wanted(&said.reply);
            if positions.is_empty() {
                continue;
            }
            match (self.records_at(&positions).await, &said.reply) {
                (Ok(records), _) => said.records = records,
                // It was carried out, and nobody can say what came of it.
                (Err(failure), Reply::Repeated { .. }) => {
                    *answer = Err(Failure::Unknown(failure.to_string()));
                }
                (Err(failure), _) => *answer = Err(certain(failure)),
            }
        }
    }

    async fn records_at(&self, positions: &[u64]) -> Result<Vec<(u64, Event)>, Failure> {
        let ranges = |present: &Present| {
            positions.iter().map(|position| self.range(present, *position, 1)).collect()
        };
        let (present, said) = self.look(ranges).await?;
        let mut records = Vec::new();
        for (said, position) in said.into_iter().zip(positions) {
            let found = entries(said, &present.joined.codes)?;
            match found.into_iter().next() {
                Some((at, event)) if at == *position => records.push((at, event)),
                _ => {
                    let why = format!("{}: position {position} is not there", self.stream);
                    return Err(Failure::Unusable(why));
                }
            }
        }
        Ok(records)
    }

    /// Asks what changes nothing, wherever the shard is by now.
    async fn look(
        &self,
        cmds: impl Fn(&Present) -> Vec<Cmd>,
    ) -> Result<(Arc<Present>, Vec<Value>), Failure> {
        let mut again = Again::new(self.options.timeout);
        let mut last = Failure::Unreachable("it was not asked".into());
        while again.once_more().await {
            let present = match self.present().await {
                Ok(present) => present,
                Err(failure @ Failure::Moving(_)) => {
                    last = failure;
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            let said = send(&present.session, &cmds(&present)).await;
            let said = said.and_then(|said| {
                let wrong = said.iter().find_map(|said| match said {
                    Value::ServerError(error) => Some(explained(&error.clone().into())),
                    _ => None,
                });
                wrong.map_or(Ok(said), Err)
            });
            match said {
                Ok(said) => return Ok((present, said)),
                // A connection that is broken, or leads to where the shard is no longer.
                Err(
                    failure @ (Failure::Moving(_) | Failure::Unreachable(_) | Failure::Unknown(_)),
                ) => {
                    self.leave(&present).await;
                    last = failure;
                }
                Err(failure) => return Err(failure),
            }
        }
        Err(last)
    }

    fn range(&self, present: &Present, from: u64, most: usize) -> Cmd {
        let fences = present.joined.fences.iter().rev();
        let fence = fences.map(|(fence, first)| (*fence, *first)).find(|(_, first)| *first <= from);
        let fence = fence.map_or(1, |(fence, _)| fence);
        let mut range = redis::cmd("XRANGE");
        range.arg(&self.stream).arg(format!("{fence}-{from}")).arg("+").arg("COUNT").arg(most);
        range
    }

    /// Reads up to so many records after a position, in order.
    ///
    /// # Errors
    /// It can't be reached, or they are damaged.
    pub async fn read(&self, after: u64, most: usize) -> Result<Vec<(u64, Event)>, Failure> {
        let most = most.min(RECORDS_PER_READ_MAX);
        let range = |present: &Present| vec![self.range(present, after + 1, most)];
        let (present, mut said) = self.look(range).await?;
        let records = entries(said.remove(0), &present.joined.codes)?;
        let dense = (after + 1..).zip(&records).all(|(expected, (found, _))| expected == *found);
        match dense {
            true => Ok(records),
            false => {
                let why = format!("{} has a gap after position {after}", self.stream);
                Err(Failure::Unusable(why))
            }
        }
    }

    /// Ends what is due, and looks whether all that the shard is made of is there.
    ///
    /// # Errors
    /// It can't be reached or used.
    pub async fn tick(&self, slot: u32) -> Result<Tick, Failure> {
        let mut again = Again::new(self.options.timeout);
        let mut last = Failure::Unreachable("it was not asked".into());
        while again.once_more().await {
            match self.tick_once(slot).await {
                Err(failure @ Failure::Moving(_)) => last = failure,
                found => return found,
            }
        }
        Err(last)
    }

    async fn tick_once(&self, slot: u32) -> Result<Tick, Failure> {
        let present = self.present().await?;
        let mut timer = present.caller.plain("timer", &present.terms(&self.options), "");
        timer.arg(slot).arg(EVENTS_PER_CALL).arg(DUE_PER_CALL_MAX);
        let said = match send(&present.session, &[timer]).await {
            Ok(mut said) => said.remove(0),
            Err(failure) => {
                self.leave(&present).await;
                return Err(failure);
            }
        };
        let mut wrong = Wrong::default();
        let failure = match read_tick(said) {
            Ok(Ok(tick)) => return Ok(tick),
            Ok(Err(trouble)) => wrong.note(&trouble),
            Err(error) if is_function_gone(&error) => {
                wrong.functions = true;
                explained(&error)
            }
            Err(error) if is_key_gone(&error) => Failure::Unusable(error.to_string()),
            Err(error) => {
                wrong.server = true;
                explained(&error)
            }
        };
        self.put_right(&present, &wrong).await;
        Err(failure)
    }

    /// Asks the server anew what it is like, so that receipts and limits of time are right. A server that was started
    /// again, became a replica, or keeps more or less than before, is joined anew.
    ///
    /// # Errors
    /// It can't be reached or used.
    pub async fn refresh(&self) -> Result<Durability, Failure> {
        let present = self.present().await?;
        let mut session = present.session.clone();
        if let Err(failure) = session.refresh(&self.options).await {
            self.leave(&present).await;
            return Err(failure);
        }
        let (now, before) = (&session.status, &present.session.status);
        let durability = now.durability;
        if (&now.run, now.keeps) != (&before.run, before.keeps) {
            self.leave(&present).await;
            return Ok(durability);
        }
        let (joined, caller) = (present.joined.clone(), present.caller.clone());
        let mut place = self.present.write().await;
        if place.as_ref().is_some_and(|old| Arc::ptr_eq(old, &present)) {
            *place = Some(Arc::new(Present { session, joined, caller }));
        }
        Ok(durability)
    }

    /// Names of the events of the shard, from a slot on.
    ///
    /// # Errors
    /// It can't be reached or used.
    pub async fn events(&self, from: u32, most: u32) -> Result<Vec<Subject>, Failure> {
        let call = |present: &Present| {
            let mut events = present.caller.plain("events", &present.terms(&self.options), "");
            vec![events.arg(from).arg(most).to_owned()]
        };
        let (_, mut said) = self.look(call).await?;
        let said = said.remove(0);
        let wrong = |error: crate::Damaged| Failure::Unknown(error.to_string());
        let mut said = crate::heard::Heard::of(said).map_err(wrong)?;
        if said.number::<i64>().map_err(wrong)?
            != crate::words::number(crate::words::WORDS, &crate::words::Word::View)
        {
            return Err(Failure::Unreachable("it is being changed".into()));
        }
        said.number::<u64>().map_err(wrong)?;
        let names: Vec<Vec<u8>> = redis::from_redis_value(said.next().map_err(wrong)?)
            .map_err(|error| Failure::Unknown(error.to_string()))?;
        names.iter().map(|name| record::subject(name).map_err(wrong)).collect()
    }
}

/// What calls found wrong that can be put right.
#[derive(Clone, Copy, Default)]
struct Wrong {
    /// The functions are gone.
    functions: bool,
    /// The server is another one.
    server: bool,
    /// A state is behind its stream.
    behind: bool,
}

/// What a call without an answer means for what was asked: a look changes nothing, whatever became of it.
fn for_whom(ask: &Ask<'_>, failure: &Failure) -> Failure {
    match ask {
        Ask::Command(_) => failure.clone(),
        Ask::Look(..) => certain(failure.clone()),
    }
}

fn certain(failure: Failure) -> Failure {
    match failure {
        Failure::Unknown(why) => Failure::Unreachable(why),
        failure => failure,
    }
}

impl Wrong {
    /// Takes note of what a function found wrong.
    fn note(&mut self, trouble: &Trouble) -> Failure {
        match trouble {
            Trouble::Fence { .. } => self.server = true,
            Trouble::Mend => self.behind = true,
            trouble => return Failure::Unusable(trouble.to_string()),
        }
        Failure::Moving(trouble.to_string())
    }
}

/// Takes down why there is no answer. What may have been carried out in an earlier attempt stays unknown.
fn fail(answer: &mut Result<Said, Failure>, failure: Failure) {
    if !matches!(answer, Err(Failure::Unknown(_))) {
        *answer = Err(failure);
    }
}

/// What an error means for one call, and whether to make it again.
fn refused(error: &RedisError, about: &About<'_>, wrong: &mut Wrong) -> (Failure, bool) {
    if is_function_gone(error) {
        wrong.functions = true;
        return (explained(error), true);
    }
    if is_key_gone(error) {
        return (Failure::Unusable(error.to_string()), false);
    }
    if is_half_gone(error) {
        // Who asks again with the same id gets the same answer, whether it was carried out or not.
        return match about {
            About::Command(command) => (Failure::Unknown(error.to_string()), command.stamp.chosen),
            About::Look(..) => (explained(error), true),
        };
    }
    let failure = explained(error);
    wrong.server |= matches!(failure, Failure::Unreachable(_) | Failure::Moving(_));
    let is_worth_it = matches!(failure, Failure::Moving(_));
    (failure, is_worth_it)
}

fn is_key_gone(error: &RedisError) -> bool {
    error.to_string().contains("ONSALE_MISSING")
}

/// Positions of the records that an answer is about and does not bear.
fn wanted(reply: &Reply) -> Vec<u64> {
    match reply {
        Reply::Repeated { of, .. } => vec![*of],
        Reply::View { view, .. } => match &**view {
            View::Hold(hold) => vec![hold.position],
            View::Order(order) => {
                let payments = order.payments.iter().map(|payment| payment.position);
                std::iter::once(order.position).chain(payments).collect()
            }
            View::Event(_) | View::Availability(_) => Vec::new(),
        },
        _ => Vec::new(),
    }
}

async fn send(session: &Session, cmds: &[Cmd]) -> Result<Vec<Value>, Failure> {
    let mut pipeline = Pipeline::with_capacity(cmds.len());
    for cmd in cmds {
        pipeline.add_command(cmd.clone());
    }
    let mut connection = session.connection.clone();
    let said = connection.send_packed_commands(&pipeline, 0, cmds.len()).await;
    said.map_err(|error| explained(&error))
}

pub(crate) fn entries(said: Value, codes: &Codes) -> Result<Vec<(u64, Event)>, Failure> {
    if let Value::ServerError(error) = said {
        return Err(explained(&error.into()));
    }
    let odd = |why: String| Failure::Unusable(format!("a record can't be read: {why}"));
    let found: Vec<(String, Vec<Vec<u8>>)> =
        redis::from_redis_value(said).map_err(|error| odd(error.to_string()))?;
    let mut records = Vec::with_capacity(found.len());
    for (id, fields) in found {
        let position = id.split_once('-').and_then(|(_, position)| position.parse().ok());
        let position = position.ok_or_else(|| odd(format!("its id is {id}")))?;
        let bytes = fields.get(1).ok_or_else(|| odd(format!("{id} is empty")))?;
        let event = record::decode(bytes, codes).map_err(|error| odd(format!("{id}: {error}")))?;
        records.push((position, event));
    }
    Ok(records)
}

fn read_tick(said: Value) -> Result<Result<Tick, Trouble>, RedisError> {
    use crate::words::{WORDS, Word};
    if let Value::ServerError(error) = said {
        return Err(error.into());
    }
    let read = || {
        let mut said = crate::heard::Heard::of(said.clone())?;
        if said.word(WORDS)? == Word::Trouble {
            return said.trouble().map(Err);
        }
        Ok(Ok(Tick { position: said.number()?, ended: said.number()?, slot: said.number()? }))
    };
    read().map_err(|error: crate::Damaged| {
        (redis::ErrorKind::UnexpectedReturnType, "the timer", error.to_string()).into()
    })
}
