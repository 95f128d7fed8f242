//! The engine follows the stream `catalogue`: each wish becomes a normal command, whose id is the record's place, so
//! that it is carried out once however often it is read. What is refused is parked with the reason.
//!
//! Servers that share a Redis have one follower: whoever has the lease of its cursor. A server that stops gives it back, and another one
//! goes on; when it is gone otherwise, that is once the lease has run out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use onsale_bus::cursors::{Claim, Progress};
use onsale_bus::{
    Bus, Cursors, Error, From, Generation, Group, Limits, Position, Record, ShardId, StreamInfo,
    StreamName,
};
use onsale_core::{Command, CommandStamp, Refusal};
use onsale_engine::{Answer, Unavailable};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::CATALOGUE;
use super::wanted::{Kept, action, subject};
use crate::api::Api;
use crate::cursors::leased;
use crate::problem::Problem;

/// The cursor's name.
const NAME: &str = "engine";
/// How long the cursor is the follower's. It is renewed at least as often as a read waits.
const LEASE: Duration = Duration::from_secs(10);
/// How often a server looks whether another one that follows is gone, or has made the stream.
const STANDBY: Duration = Duration::from_secs(1);
/// How long a read waits; between two of them parked records are looked at.
const WAIT: Duration = Duration::from_millis(500);
/// How long to wait where the engine can't decide now, or after something that should not happen.
const TROUBLE: Duration = Duration::from_secs(1);
/// How long until it is looked whether somebody has reset the cursor.
const DIVERGED: Duration = Duration::from_secs(5);
/// Parked records looked at in one go.
const PARKED_PIECE: usize = 100;

/// The follower's cursor.
///
/// # Panics
/// Never: the names keep the rule.
#[must_use]
pub fn group() -> Group {
    Group::new(NAME, CATALOGUE).expect("the names keep the rule")
}

/// Follows the stream until the server stops, and gives the lease back then.
pub async fn run(api: Arc<Api>) {
    let Ok(bus) = api.bus.get() else { return };
    let mut over = api.draining.subscribe();
    while let Some(pause) = follow(&api, bus, &mut over).await {
        if unless(&mut over, sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// Does something, but not beyond the moment at which the server stops.
async fn unless<T>(
    over: &mut watch::Receiver<bool>,
    something: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        _ = over.wait_for(|over| *over) => None,
        done = something => Some(done),
    }
}

/// Follows until something is wrong, or another server follows; gives how long to wait until it is tried again. None: the server stops.
async fn follow(api: &Api, bus: &Bus, over: &mut watch::Receiver<bool>) -> Option<Duration> {
    let stream = StreamName::new(CATALOGUE).expect("it keeps the rule");
    let mut made = api.bus.made.subscribe();
    let info = match bus.describe(&stream).await {
        Ok(info) => info,
        // It is made by the first append, maybe another server's.
        Err(Error::NoSuchStream { .. }) => {
            let told = unless(over, timeout(STANDBY, made.changed())).await?;
            return (!matches!(told, Ok(Err(_)))).then_some(Duration::ZERO);
        }
        Err(error) => {
            tracing::warn!(%error, "the catalogue can't be read; it is tried again");
            return Some(TROUBLE);
        }
    };
    // Not broken off: a lease that was taken is given back.
    let begun = Follower::begin(api, bus, &stream, &info).await;
    match begun {
        Ok(mut follower) => {
            api.bus.stuck.store(false, Ordering::Relaxed);
            let ended = unless(over, follower.run()).await;
            let Some(error) = ended else {
                if let Err(error) = follower.store.release(&follower.claim).await {
                    tracing::warn!(%error, "another server follows once the lease has run out");
                }
                return None;
            };
            tracing::warn!(%error, "the catalogue can't be followed; it is tried again");
            Some(TROUBLE)
        }
        // Another server follows.
        Err(Error::Leased { .. }) => Some(STANDBY),
        Err(error @ Error::Diverged { .. }) => {
            api.bus.stuck.store(true, Ordering::Relaxed);
            tracing::error!(
                %error,
                "the catalogue is not followed until its cursor is reset: onsale stream reset \
                 engine --store _server --stream catalogue --to end"
            );
            Some(DIVERGED)
        }
        Err(error) => {
            tracing::warn!(%error, "the catalogue can't be followed; it is tried again");
            Some(TROUBLE)
        }
    }
}

struct Follower<'a> {
    api: &'a Api,
    bus: &'a Bus,
    stream: &'a StreamName,
    store: Cursors,
    claim: Claim,
    generation: Generation,
    /// What ids are made of, beside the place.
    origin: u64,
    from: From,
}

/// What tells a stream from another one of its name. In a Redis it stays when the generation changes.
fn origin(bus: &Bus, info: &StreamInfo) -> u64 {
    match bus {
        #[cfg(feature = "redis")]
        Bus::Redis(redis) => redis.made_at_us(&info.name).unwrap_or(info.generation.0),
        _ => info.generation.0,
    }
}

/// Where to go on in a Redis that may have lost something. Stream, cursor and sale are all there, so it is the same end of all three: what
/// the cursor is behind is still what was carried out, unless somebody has made the stream anew.
fn after_a_crash(info: &StreamInfo, place: Progress) -> Option<Progress> {
    tracing::warn!("Redis was started again: it may have lost the last wishes of the catalogue");
    let last = info.shards.first().and_then(|shard| shard.last);
    let is_there = last.is_some_and(|last| last >= place.position);
    is_there.then_some(Progress { generation: info.generation, ..place })
}

impl<'a> Follower<'a> {
    async fn begin(
        api: &'a Api,
        bus: &'a Bus,
        stream: &'a StreamName,
        info: &StreamInfo,
    ) -> Result<Follower<'a>, Error> {
        let (store, generation) = (api.cursors.of_server()?, info.generation);
        let cursor = group().cursor(&ShardId::numbered(0));
        let origin = origin(bus, info);
        loop {
            let Some(claim) = store.acquire(&cursor, api.cursors.node(), LEASE).await? else {
                return Err(leased(&store, &group(), cursor).await?);
            };
            let from = match claim.progress {
                None => From::Start,
                Some(place) if place.generation == generation => From::After(place.position),
                Some(place) => {
                    // So that it can be reset.
                    store.release(&claim).await?;
                    if api.shards.shared().is_none() {
                        let (cursor, stream) = (place.generation, generation);
                        return Err(Error::Diverged { cursor, stream });
                    }
                    store.reset(&cursor, after_a_crash(info, place)).await?;
                    continue;
                }
            };
            return Ok(Follower { api, bus, stream, store, claim, generation, origin, from });
        }
    }

    /// Goes on until something is wrong.
    async fn run(&mut self) -> Error {
        loop {
            if let Err(error) = self.turn().await {
                return error;
            }
        }
    }

    async fn turn(&mut self) -> Result<(), Error> {
        self.retry_parked().await?;
        self.store.renew(&self.claim, LEASE).await?;
        let limits = Limits { wait: WAIT, ..Limits::default() };
        let page = self.bus.read(self.stream, &ShardId::numbered(0), self.from, limits).await;
        let page = match page {
            Err(Error::Gone { begins_at, .. }) => return self.skip(begins_at).await,
            page => page?,
        };
        for record in &page.records {
            if let Err(reason) = self.carry_out(record).await {
                self.store.park(&self.claim, record.position, &reason).await?;
            }
            let to =
                Progress { generation: self.generation, position: record.position, ended: false };
            self.store.commit(&self.claim, to).await?;
            self.from = From::After(record.position);
        }
        self.from = page.next;
        Ok(())
    }

    /// Goes on behind what retention took before it was read. The log says so: it is lost.
    async fn skip(&mut self, begins_at: Position) -> Result<(), Error> {
        let before = begins_at.as_u64().unwrap_or(1).saturating_sub(1);
        tracing::error!(%begins_at, "wishes of the catalogue are gone unread: see streams.records_max");
        let position = Position::from(before);
        let to = Progress { generation: self.generation, position, ended: false };
        self.store.commit(&self.claim, to).await?;
        self.from = From::After(position);
        Ok(())
    }

    async fn retry_parked(&self) -> Result<(), Error> {
        let mut after: Option<(ShardId, Position)> = None;
        loop {
            let from = after.as_ref().map(|(shard, position)| (shard, *position));
            let parked = self.store.parked(&group(), from, PARKED_PIECE).await?;
            let Some(last) = parked.last() else { return Ok(()) };
            after = Some((last.shard.clone(), last.position));
            for parked in parked.into_iter().filter(|parked| parked.retry) {
                let from = From::Record(parked.position);
                let limits = Limits { records: 1, ..Limits::default() };
                let gone = || Err("the record is not there any more".to_owned());
                let done = match self.bus.read(self.stream, &parked.shard, from, limits).await {
                    Ok(page) => match page.records.first() {
                        Some(record) => self.carry_out(record).await,
                        None => gone(),
                    },
                    Err(Error::Gone { .. }) => gone(),
                    Err(error) => return Err(error),
                };
                match done {
                    Ok(()) => self.store.drop_parked(&self.claim.cursor, parked.position).await?,
                    Err(reason) => self.store.park(&self.claim, parked.position, &reason).await?,
                }
            }
        }
    }

    /// Carries a wish out, or says why it can't be. Where the engine can't decide now it waits.
    async fn carry_out(&self, record: &Record) -> Result<(), String> {
        let position = record.position.as_u64().unwrap_or(0);
        let kept: Kept =
            serde_json::from_slice(&record.payload).map_err(|error| error.to_string())?;
        let said = |problem: Box<Problem>| format!("{}: {}", problem.kind, problem.detail);
        let subject = subject(kept.subject.as_deref().unwrap_or_default()).map_err(said)?;
        let key = self.api.shards.info(0).ok_or("there is no shard")?.key;
        let place = [self.origin.to_le_bytes(), position.to_le_bytes()];
        let id = key.digest("catalogue record", &[&place[0], &place[1]]);
        let body = key.digest("catalogue body", &[&record.payload]);
        let stamp = CommandStamp { id, body, chosen: true, made_at: None };
        loop {
            let (organizer, event) = (subject.organizer, subject.event);
            let known = self.api.shards.knows(&organizer, &event);
            let action = action(&kept.kind, &subject, kept.data.get(), known).map_err(said)?;
            let command = Box::new(Command { stamp, organizer, event, action });
            match self.api.shards.command(command).await {
                Ok(replied) => match replied.answer {
                    // Somebody made it in between.
                    Answer::Refused(Refusal::VersionNotSaid { .. }) if !known => {}
                    Answer::Refused(refusal) => return Err(said(Problem::from_refusal(&refusal))),
                    _ => return Ok(()),
                },
                Err(error @ (Unavailable::TooLarge | Unavailable::Unreadable)) => {
                    return Err(said(Problem::from_unavailable(error)));
                }
                Err(error) => {
                    tracing::warn!(%error, position, "a wish of the catalogue waits for the engine");
                    sleep(TROUBLE).await;
                }
            }
        }
    }
}
