//! Delivers what happens to the receivers: for each webhook and shard a follower, which reads on from its
//! cursor, sends each record that is wanted, and moves the cursor behind it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use onsale_bus::cursors::{Claim, Progress};
use onsale_bus::{CursorId, Cursors, Generation, Group, Position, ShardId};
use onsale_core::Time;
use onsale_engine::ShardInfo;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::client::{Connection, Delivery, Said};
use super::since::Place;
use super::{Failing, WAIT_MAX, Webhook};
use crate::api::Api;
use crate::api::streams::read::{self, Scan};
use crate::cursors;
use crate::shards::wall_time;
use crate::stream::CloudEvent;

/// Records read at a time.
const PIECE_MAX: usize = 100;
/// How often a follower that waits looks for parked records that shall be tried again.
const PARKED_EVERY: Duration = Duration::from_secs(1);
/// Parked records looked at in one go.
const PARKED_PIECE: usize = 100;
/// How long a cursor is the follower's at least; longer where receivers may take their time. It is renewed when a third is over.
const LEASE_MIN: Duration = Duration::from_secs(10);
/// How often a server looks whether others have changed webhooks, or do not follow one any more.
const LOOK: Duration = Duration::from_secs(1);
/// How long to wait after something that should not happen.
const TROUBLE: Duration = Duration::from_secs(5);
/// After so many records that nobody wants the cursor is moved all the same.
const UNWANTED_MAX: u64 = 1_000;
/// What a receiver says that wants nothing any more (RFC 9110, 15.5.11).
const GONE: u16 = 410;
/// Tries of a record that the receiver refuses as such.
const REFUSED_TRIES_MAX: u32 = 5;

/// Why nothing is sent where records may be other ones by now.
const WENT_BACK: &str = "the log went back: put the webhook there again, to go on from now";

/// Keeps the followers of all webhooks going until the server stops.
pub async fn run(api: Arc<Api>) {
    let mut all = api.webhooks.watch();
    let mut draining = api.draining.subscribe();
    let permits = Arc::new(Semaphore::new(api.webhook_limits.concurrent));
    let mut following: BTreeMap<(String, String), (Arc<Webhook>, JoinSet<()>)> = BTreeMap::new();
    loop {
        let now = all.borrow_and_update().clone();
        // One that was changed is another one: its followers begin anew, from the same cursor.
        following.retain(|_, (webhook, _)| now.iter().any(|other| Arc::ptr_eq(other, webhook)));
        for webhook in now.iter().filter(|webhook| webhook.entry.gone_at.is_none()) {
            let key = (webhook.entry.organizer.clone(), webhook.entry.name.clone());
            following.entry(key).or_insert_with(|| {
                let mut tasks = JoinSet::new();
                for shard in 0..api.shards.count() {
                    let over = api.draining.subscribe();
                    let (api, webhook, permits) = (api.clone(), webhook.clone(), permits.clone());
                    tasks.spawn(follow(api, webhook, permits, shard, over));
                }
                (webhook.clone(), tasks)
            });
        }
        tokio::select! {
            changed = all.changed() => if changed.is_err() { return },
            () = sleep(LOOK), if api.webhooks.are_shared() => look(&api).await,
            () = async { drop(draining.wait_for(|stop| *stop).await) } => break,
        }
    }
    // They give back what they have.
    for (_, mut tasks) in following.into_values() {
        while tasks.join_next().await.is_some() {}
    }
}

/// Looks whether other servers have changed something.
async fn look(api: &Arc<Api>) {
    let data = api.clone();
    let looked = tokio::task::spawn_blocking(move || data.webhooks.refresh()).await;
    if let Ok(Err(error)) = looked {
        tracing::warn!(%error, "it can't be seen whether others have changed webhooks");
    }
}

/// Follows a shard for a webhook, until the server stops.
async fn follow(
    api: Arc<Api>,
    webhook: Arc<Webhook>,
    permits: Arc<Semaphore>,
    shard: u16,
    mut over: watch::Receiver<bool>,
) {
    loop {
        let error = match Follower::begin(&api, &webhook, &permits, shard).await {
            Ok(Some(mut follower)) => {
                let ended = tokio::select! {
                    biased;
                    _ = over.wait_for(|over| *over) => None,
                    ended = follower.run() => Some(ended),
                };
                match ended {
                    None => return follower.release().await,
                    Some(Ok(never)) => match never {},
                    Some(Err(error)) => Some(error),
                }
            }
            Ok(None) => None,
            Err(error) => Some(error),
        };
        let pause = match error {
            // Another server delivers it.
            None => LOOK,
            Some(error) => {
                tracing::warn!(
                    organizer = webhook.entry.organizer,
                    webhook = webhook.entry.name,
                    shard,
                    error,
                    "a webhook can't go on; it is tried again"
                );
                webhook.figures.lock().stuck.insert(shard, error);
                TROUBLE
            }
        };
        tokio::select! {
            () = sleep(pause) => {}
            _ = over.wait_for(|over| *over) => return,
        }
    }
}

/// A webhook's way through one shard.
struct Follower<'a> {
    api: &'a Arc<Api>,
    webhook: &'a Arc<Webhook>,
    permits: &'a Semaphore,
    info: ShardInfo,
    store: Cursors,
    group: Group,
    claim: Claim,
    /// For how long it is taken, and when it last was.
    lease: Duration,
    renewed: Instant,
    /// That of the records that it is after.
    generation: Generation,
    connection: Connection,
    /// Where it is noted what fails, and what did when the server ended.
    failures: Place,
    failed_before: Option<(u64, Time)>,
    is_noted: bool,
    /// The last position that is dealt with, and that the cursor is at.
    at: u64,
    committed: u64,
}

/// What became of a record.
enum Outcome {
    Delivered,
    /// Given up, for this reason.
    Parked(String),
    /// The receiver says that it is gone for good.
    Gone,
}

/// Nothing ever comes of it.
enum Never {}

impl<'a> Follower<'a> {
    /// Begins where the cursor is. None: it is another server's.
    async fn begin(
        api: &'a Arc<Api>,
        webhook: &'a Arc<Webhook>,
        permits: &'a Semaphore,
        shard: u16,
    ) -> Result<Option<Follower<'a>>, String> {
        let info = api.shards.info(shard).ok_or("there is no such shard")?.clone();
        let store = api.cursors.of(Some(&webhook.organizer)).map_err(|e| e.to_string())?;
        let group = cursor_of(&webhook.entry.name)?;
        let id = cursor(&group, shard);
        let (lease, renewed) = ((3 * api.webhook_limits.timeout).max(LEASE_MIN), Instant::now());
        let claim = store.acquire(&id, api.cursors.node(), lease).await;
        let Some(claim) = claim.map_err(|error| error.to_string())? else {
            if !api.webhooks.are_shared() {
                return Err("the cursor is in use".into());
            }
            let mut counts = webhook.figures.lock();
            counts.failing.remove(&shard);
            counts.stuck.remove(&shard);
            return Ok(None);
        };
        let place = claim.progress.ok_or("the cursor is gone: put the webhook there again")?;
        let at = place.position.as_u64().unwrap_or(u64::MAX);
        let generation = cursors::generation(&api.shards);
        if place.generation != generation || at > info.reader.durable() {
            return Err(WENT_BACK.into());
        }
        webhook.figures.lock().stuck.remove(&shard);
        let connection = Connection::default();
        let entry = &webhook.entry;
        let failures = Place::of(api.shards.data(), &entry.organizer, &entry.name, shard);
        let failed_before = failures.read();
        Ok(Some(Follower {
            api,
            webhook,
            permits,
            info,
            generation,
            store,
            group,
            claim,
            lease,
            renewed,
            connection,
            failures,
            is_noted: failed_before.is_some(),
            failed_before,
            at,
            committed: at,
        }))
    }

    /// Lets another server go on.
    async fn release(self) {
        if let Err(error) = self.store.release(&self.claim).await {
            tracing::warn!(%error, "another server delivers once the lease has run out");
        }
    }

    /// Makes sure that the cursor stays this server's.
    async fn keep(&mut self) -> Result<(), String> {
        if self.renewed.elapsed() >= self.lease / 3 {
            self.renewed = Instant::now();
            let renewed = self.store.renew(&self.claim, self.lease).await;
            renewed.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Waits, and keeps the cursor.
    async fn rest(&mut self, time: Duration) -> Result<(), String> {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            sleep(left.min(self.lease / 3)).await;
            self.keep().await?;
        }
    }

    async fn run(&mut self) -> Result<Never, String> {
        let mut durable = self.api.shards.durable(self.info.shard).expect("the shard is there");
        let mut looked = Instant::now();
        self.retry_parked().await?;
        loop {
            let end = *durable.borrow_and_update();
            while self.at < end {
                self.piece().await?;
            }
            if self.at > self.committed {
                self.commit().await?;
            }
            wait(&mut durable, PARKED_EVERY).await?;
            if looked.elapsed() >= PARKED_EVERY {
                looked = Instant::now();
                self.retry_parked().await?;
                self.keep().await?;
            }
        }
    }

    /// Reads a piece and delivers what is wanted of it.
    async fn piece(&mut self) -> Result<(), String> {
        if self.generation != cursors::generation(&self.api.shards) {
            return Err(WENT_BACK.into());
        }
        let mut scan = Scan { found: Vec::new(), next: self.at };
        let organizer = Some(&self.webhook.organizer);
        let read = read::read(&self.info, organizer, &mut scan, PIECE_MAX).await;
        read.map_err(|problem| problem.detail.clone())?;
        let records = read::shown(self.api, &self.info, &scan.found, false).await;
        for record in records.map_err(|problem| problem.detail.clone())? {
            if !self.webhook.wants(record.kind) {
                continue;
            }
            match self.deliver(&record).await? {
                Outcome::Delivered => {}
                Outcome::Parked(reason) => {
                    let parked = Position::from(record.position);
                    let park = self.store.park(&self.claim, parked, &reason).await;
                    park.map_err(|error| error.to_string())?;
                }
                Outcome::Gone => return self.end().await,
            }
            if std::mem::take(&mut self.is_noted) {
                self.failures.clear();
            }
            self.at = record.position;
            self.commit().await?;
        }
        self.at = scan.next;
        if self.at - self.committed >= UNWANTED_MAX {
            self.commit().await?;
        }
        Ok(())
    }

    /// Ends all followers of the webhook, this one among them. The record stays where the cursor has not come to.
    async fn end(&self) -> Result<(), String> {
        let Webhook { entry, .. } = &**self.webhook;
        let (organizer, webhook) = (&entry.organizer, &entry.name);
        tracing::warn!(
            organizer,
            webhook,
            "the receiver says that it is gone: nothing is sent any more"
        );
        let (api, webhook) = (self.api.clone(), self.webhook.clone());
        let gone = move || api.webhooks.gone(&webhook, wall_time());
        let noted = tokio::task::spawn_blocking(gone).await.map_err(|error| error.to_string())?;
        noted.map_err(|error| error.to_string())?;
        std::future::pending().await
    }

    async fn commit(&mut self) -> Result<(), String> {
        let (generation, position) = (self.generation, Position::from(self.at));
        let to = Progress { generation, position, ended: false };
        self.store.commit(&self.claim, to).await.map_err(|error| error.to_string())?;
        self.committed = self.at;
        self.keep().await
    }

    /// Tries the parked records again for which somebody asked.
    async fn retry_parked(&mut self) -> Result<(), String> {
        let shard = ShardId::numbered(self.info.shard.into());
        let mut after: Option<(ShardId, Position)> = None;
        loop {
            let from = after.as_ref().map(|(shard, position)| (shard, *position));
            let parked = self.store.parked(&self.group, from, PARKED_PIECE).await;
            let parked = parked.map_err(|error| error.to_string())?;
            let Some(last) = parked.last() else { return Ok(()) };
            after = Some((last.shard.clone(), last.position));
            for record in parked.into_iter().filter(|record| record.retry && record.shard == shard)
            {
                let position = record.position.as_u64().unwrap_or(u64::MAX);
                let mut scan = Scan { found: Vec::new(), next: position.saturating_sub(1) };
                let organizer = Some(&self.webhook.organizer);
                let read = read::read(&self.info, organizer, &mut scan, 1).await;
                let outcome = match read {
                    Ok(()) => match read::shown(self.api, &self.info, &scan.found, false).await {
                        Ok(records) => self.once(records.first()).await,
                        Err(problem) => Outcome::Parked(problem.detail.clone()),
                    },
                    Err(problem) => Outcome::Parked(problem.detail.clone()),
                };
                let kept = match outcome {
                    Outcome::Delivered => {
                        self.store.drop_parked(&self.claim.cursor, record.position).await
                    }
                    Outcome::Parked(reason) => {
                        self.store.park(&self.claim, record.position, &reason).await
                    }
                    Outcome::Gone => return self.end().await,
                };
                kept.map_err(|error| error.to_string())?;
            }
        }
    }

    /// One try of a record that was parked.
    async fn once(&mut self, record: Option<&CloudEvent>) -> Outcome {
        let Some(record) = record else { return Outcome::Delivered };
        match self.send(record, &body(record)).await {
            Ok(said) if (200..300).contains(&said.status) => {
                self.webhook.figures.lock().delivered += 1;
                Outcome::Delivered
            }
            Ok(said) if said.status == GONE => Outcome::Gone,
            Ok(said) => Outcome::Parked(reason(&said)),
            Err(error) => Outcome::Parked(error),
        }
    }

    /// Sends a record until it is taken, or has been tried for as long as it may.
    ///
    /// # Errors
    /// The cursor is another server's by now, or that can't be found out.
    async fn deliver(&mut self, record: &CloudEvent) -> Result<Outcome, String> {
        let body = body(record);
        let limits = self.api.webhook_limits;
        // A restart does not give it its whole time anew.
        let before = self.failed_before.take().filter(|(position, _)| *position == record.position);
        let since = before.map_or_else(wall_time, |(_, since)| since);
        let mut tries = 0;
        loop {
            let said = self.send(record, &body).await;
            tries += 1;
            let (reason, refused, after_s) = match said {
                Ok(said) if (200..300).contains(&said.status) => {
                    let mut counts = self.webhook.figures.lock();
                    counts.delivered += 1;
                    counts.failing.remove(&self.info.shard);
                    return Ok(Outcome::Delivered);
                }
                Ok(said) if said.status == GONE => return Ok(Outcome::Gone),
                // The receiver is well, and does not want this one.
                Ok(said) => {
                    (reason(&said), [400, 413, 415, 422].contains(&said.status), said.retry_after_s)
                }
                Err(error) => (error, false, None),
            };
            let wait = backoff(limits.backoff, tries, after_s);
            let tried = u64::try_from(wall_time().0 - since.0).unwrap_or(0);
            let over = Duration::from_micros(tried) + wait > limits.retry
                || (refused && tries >= REFUSED_TRIES_MAX);
            if tries == 1 && !over {
                self.is_noted = true;
                if let Err(error) = self.failures.write(record.position, since) {
                    tracing::warn!(%error, "it can't be noted since when a webhook fails");
                }
            }
            {
                let mut counts = self.webhook.figures.lock();
                counts.failed += 1;
                if over {
                    counts.failing.remove(&self.info.shard);
                    return Ok(Outcome::Parked(reason));
                }
                let next =
                    Time(wall_time().0 + i64::try_from(wait.as_micros()).unwrap_or(i64::MAX / 2));
                let failing = Failing { position: record.position, tries, reason, since, next };
                counts.failing.insert(self.info.shard, failing);
            }
            self.rest(wait).await?;
        }
    }

    async fn send(&mut self, record: &CloudEvent, body: &Bytes) -> Result<Said, String> {
        let limits = self.api.webhook_limits;
        let _permit = self.permits.acquire().await.map_err(|error| error.to_string())?;
        let name = &self.webhook.entry.name;
        let (secret, seconds) = (self.webhook.entry.secret.as_str(), wall_time().0 / 1_000_000);
        let delivery =
            Delivery { webhook: name, id: &record.id, secret, seconds, body: body.clone() };
        let post = self.connection.post(&self.webhook.target, limits.policy, &delivery);
        match tokio::time::timeout(limits.timeout, post).await {
            Ok(said) => said,
            Err(_) => {
                // What is late must not be taken for the answer to the next one.
                self.connection = Connection::default();
                Err(format!("no answer within {} s", limits.timeout.as_secs_f64()))
            }
        }
    }
}

/// Waits until there may be more, or for a time.
async fn wait(durable: &mut watch::Receiver<u64>, time: Duration) -> Result<(), String> {
    match tokio::time::timeout(time, durable.changed()).await {
        Ok(Ok(())) | Err(_) => Ok(()),
        Ok(Err(_)) => {
            // The shard has ended, since the server stops.
            std::future::pending::<()>().await;
            Ok(())
        }
    }
}

fn body(record: &CloudEvent) -> Bytes {
    serde_json::to_vec(record).expect("a record can be written").into()
}

fn reason(said: &Said) -> String {
    format!("{} {}", said.status, said.text).trim_end().to_owned()
}

/// How long to wait after so many tries: twice as long each time, and by chance up to a half less, so that
/// many do not come back at once. A receiver that says when is listened to, within reason.
fn backoff(first: Duration, tries: u32, after_s: Option<u64>) -> Duration {
    let doubled = first.saturating_mul(1 << (tries - 1).min(20)).min(WAIT_MAX);
    let asked = Duration::from_secs(after_s.unwrap_or(0)).min(WAIT_MAX);
    let chance = f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX);
    doubled.mul_f64(0.5 + chance / 2.0).max(asked)
}

/// The group that keeps a webhook's place.
///
/// # Errors
/// The name breaks its rule.
pub fn cursor_of(name: &str) -> Result<Group, String> {
    cursors::group(&format!("{}{name}", cursors::WEBHOOK_PREFIX)).map_err(|error| error.to_string())
}

fn cursor(group: &Group, shard: u16) -> CursorId {
    group.cursor(&ShardId::numbered(shard.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_differ() {
        let second = Duration::from_secs(1);
        for (tries, most) in [(1, 1), (2, 2), (5, 16), (11, 900), (1_000, 900)] {
            let most = Duration::from_secs(most);
            let waits: Vec<Duration> = (0..50).map(|_| backoff(second, tries, None)).collect();
            assert!(
                waits.iter().all(|wait| (most / 2..=most).contains(wait)),
                "{tries}: {waits:?}"
            );
            assert!(waits.windows(2).any(|pair| pair[0] != pair[1]));
        }
        assert_eq!(backoff(second, 1, Some(30)), Duration::from_secs(30));
        assert_eq!(backoff(second, 1, Some(1_000_000)), WAIT_MAX);
    }
}
