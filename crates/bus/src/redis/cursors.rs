//! Cursors on Redis: each operation is one function there, by Redis' clock.

use std::time::Duration;

use redis::{Cmd, FromRedisValue as _, Script};

use super::RedisOptions;
use super::link::{Call, Link, Reply};
use super::scripts;
use crate::cursors::{Claim, CursorState, Lease, PARKED_MAX, Parked, Progress};
use crate::{
    CursorId, Error, Generation, Group, GroupName, Position, ShardId, StreamName, WorkerId,
};

/// So many parked records are asked for at once.
const PARKED_PER_CALL: usize = 1_000;

/// Cursors on Redis. Cheap to clone; clones share a connection.
///
/// They are as durable as that Redis is: with `appendonly yes` and `appendfsync always` nothing that was
/// committed is lost. A store that lost something makes readers begin again where it remembers, never later; and
/// fences rise above all that were ever given, since they follow the time.
#[derive(Clone, Debug)]
pub struct RedisCursors {
    link: Link,
    prefix: String,
    part: Option<String>,
}

impl RedisCursors {
    /// A store on a server, which must answer.
    ///
    /// # Errors
    /// As for [`super::RedisBus::connect`].
    pub async fn connect(options: &RedisOptions) -> Result<RedisCursors, Error> {
        let store = RedisCursors::new(options)?;
        store.link.check().await?;
        Ok(store)
    }

    /// The same, which is connected when it is needed.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a URL that is none.
    pub fn new(options: &RedisOptions) -> Result<RedisCursors, Error> {
        Ok(RedisCursors { link: Link::new(options)?, prefix: options.prefix.clone(), part: None })
    }

    /// A store of its own beside this one, by its name, over the same connection.
    #[must_use]
    pub fn part(&self, name: &str) -> RedisCursors {
        let (link, part) = (self.link.clone(), Some(name.to_owned()));
        RedisCursors { link, prefix: self.prefix.clone(), part }
    }

    /// The names of the parts that ever had a cursor, in order.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn parts(&self) -> Result<Vec<String>, Error> {
        let mut list = redis::cmd("SMEMBERS");
        list.arg(format!("{}:parts", self.prefix));
        let names = self.link.command(&list, "list stores").await?;
        let mut names = Vec::<String>::from_redis_value(names).unwrap_or_default();
        names.sort_unstable();
        Ok(names)
    }

    pub(crate) async fn acquire(
        &self,
        cursor: &CursorId,
        owner: &WorkerId,
        lease: Duration,
    ) -> Result<Option<Claim>, Error> {
        self.list_group(&cursor.group).await?;
        let reply = self
            .cursor("acquire", cursor, &|command| {
                command.arg(owner.as_str()).arg(ms(lease));
            })
            .await?;
        if reply.word == "taken" {
            return Ok(None);
        }
        let texts = [reply.text(1)?, reply.text(2)?, reply.text(3)?];
        let progress = progress(texts).ok_or_else(|| reply.odd(1))?;
        let (cursor, owner) = (cursor.clone(), owner.clone());
        Ok(Some(Claim { cursor, owner, fence: reply.number(0)?, progress }))
    }

    pub(crate) async fn renew(&self, claim: &Claim, lease: Duration) -> Result<(), Error> {
        let arguments = |command: &mut Cmd| {
            command.arg(ms(lease));
        };
        self.held("renew", claim, &arguments).await.map(|_| ())
    }

    pub(crate) async fn commit(&self, claim: &Claim, to: Progress) -> Result<(), Error> {
        let reply = self.held("commit", claim, &|command| add(command, Some(to))).await?;
        match reply.word.as_str() {
            "diverged" => {
                let cursor = Generation(reply.number(0)?);
                Err(Error::Diverged { cursor, stream: to.generation })
            }
            "backwards" => {
                let (cursor, stored) = (claim.cursor.clone(), reply.text(0)?.parse()?);
                Err(Error::Backwards { cursor, stored, asked: to.position })
            }
            _ => Ok(()),
        }
    }

    pub(crate) async fn release(&self, claim: &Claim) -> Result<(), Error> {
        match self.held("release", claim, &|_| ()).await {
            Ok(_) | Err(Error::LostLease { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn reset(&self, cursor: &CursorId, to: Option<Progress>) -> Result<(), Error> {
        self.list_group(&cursor.group).await?;
        let reply = self.cursor("reset", cursor, &|command| add(command, to)).await?;
        if reply.word == "leased" {
            let owner = WorkerId::new(reply.text(0)?)?;
            let (cursor, left_ms) = (cursor.clone(), reply.number(1)?);
            return Err(Error::Leased { cursor, owner, left_ms });
        }
        Ok(())
    }

    pub(crate) async fn list(&self, group: &Group) -> Result<Vec<CursorState>, Error> {
        let mut reply = self.group("list", group, &|_| ()).await?;
        let now_ms = reply.number(0)?;
        let texts = reply.list(1)?.into_iter().map(String::from_redis_value);
        let texts: Vec<String> = texts.collect::<Result<_, _>>().map_err(|_| reply.odd(1))?;
        let mut states = Vec::new();
        for pair in texts.chunks_exact(2) {
            let cursor = group.cursor(&ShardId::new(&pair[0])?);
            states.push(state(cursor, &pair[1], now_ms).ok_or_else(|| reply.odd(1))?);
        }
        states.sort_by(|one, other| one.cursor.cmp(&other.cursor));
        Ok(states)
    }

    pub(crate) async fn groups(&self) -> Result<Vec<Group>, Error> {
        let mut list = redis::cmd("SMEMBERS");
        list.arg(self.groups_key());
        let names = self.link.command(&list, "list groups").await?;
        let names = Vec::<String>::from_redis_value(names).unwrap_or_default();
        let pairs = names.iter().filter_map(|name| name.split_once('@'));
        let mut groups: Vec<Group> = pairs
            .map(|(name, stream)| {
                Ok(Group { name: GroupName::new(name)?, stream: StreamName::new(stream)? })
            })
            .collect::<Result<_, Error>>()?;
        groups.sort();
        Ok(groups)
    }

    pub(crate) async fn beat(
        &self,
        group: &Group,
        worker: &WorkerId,
        lease: Duration,
    ) -> Result<(), Error> {
        let arguments = |command: &mut Cmd| {
            command.arg(worker.as_str()).arg(ms(lease));
        };
        self.group("beat", group, &arguments).await.map(|_| ())
    }

    pub(crate) async fn leave(&self, group: &Group, worker: &WorkerId) -> Result<(), Error> {
        let arguments = |command: &mut Cmd| {
            command.arg(worker.as_str());
        };
        self.group("leave", group, &arguments).await.map(|_| ())
    }

    pub(crate) async fn members(&self, group: &Group) -> Result<Vec<WorkerId>, Error> {
        let mut reply = self.group("members", group, &|_| ()).await?;
        let names = reply.list(0)?.into_iter().map(String::from_redis_value);
        let names: Vec<String> = names.collect::<Result<_, _>>().map_err(|_| reply.odd(0))?;
        let mut workers: Vec<WorkerId> =
            names.iter().map(|name| WorkerId::new(name)).collect::<Result<_, _>>()?;
        workers.sort();
        Ok(workers)
    }

    pub(crate) async fn park(
        &self,
        claim: &Claim,
        position: Position,
        reason: &str,
    ) -> Result<(), Error> {
        let name = parked_name(&claim.cursor.shard, position);
        let arguments = |command: &mut Cmd| {
            command.arg(&name).arg(reason).arg(PARKED_MAX);
        };
        let reply = self.held("park", claim, &arguments).await?;
        if reply.word == "full" {
            let parked = usize::try_from(reply.number(0)?).unwrap_or(usize::MAX);
            return Err(Error::ParkedFull { parked, max: PARKED_MAX });
        }
        Ok(())
    }

    pub(crate) async fn parked(
        &self,
        group: &Group,
        after: Option<(&ShardId, Position)>,
        limit: usize,
    ) -> Result<Vec<Parked>, Error> {
        let mut after = after.map_or_else(
            || "-".to_owned(),
            |(shard, position)| format!("({}", parked_name(shard, position)),
        );
        let mut parked = Vec::new();
        while parked.len() < limit {
            let count = (limit - parked.len()).min(PARKED_PER_CALL);
            let arguments = |command: &mut Cmd| {
                command.arg(&after).arg(count);
            };
            let mut reply = self.group("parked", group, &arguments).await?;
            let (names, values) = (reply.list(0)?, reply.list(1)?);
            let is_last = names.len() < count;
            for (name, value) in names.into_iter().zip(values) {
                let texts = (String::from_redis_value(name), String::from_redis_value(value));
                let (Ok(name), Ok(value)) = texts else { return Err(reply.odd(1)) };
                parked.push(parked_of(&name, &value).ok_or_else(|| reply.odd(1))?);
                after = format!("({name}");
            }
            if is_last {
                break;
            }
        }
        Ok(parked)
    }

    pub(crate) async fn retry(&self, cursor: &CursorId, position: Position) -> Result<(), Error> {
        let name = parked_name(&cursor.shard, position);
        let arguments = |command: &mut Cmd| {
            command.arg(&name);
        };
        let reply = self.group("retry", &cursor.group, &arguments).await?;
        if reply.word == "not-parked" {
            return Err(Error::NotParked { cursor: cursor.clone(), position });
        }
        Ok(())
    }

    pub(crate) async fn drop_parked(
        &self,
        cursor: &CursorId,
        position: Position,
    ) -> Result<(), Error> {
        let name = parked_name(&cursor.shard, position);
        let arguments = |command: &mut Cmd| {
            command.arg(&name);
        };
        self.group("drop", &cursor.group, &arguments).await.map(|_| ())
    }

    /// Says that the group is there, before it has a cursor.
    async fn list_group(&self, group: &Group) -> Result<(), Error> {
        if let Some(part) = &self.part {
            let mut list = redis::cmd("SADD");
            list.arg(format!("{}:parts", self.prefix)).arg(part);
            self.link.command(&list, "list a store").await?;
        }
        let mut list = redis::cmd("SADD");
        list.arg(self.groups_key()).arg(group.to_string());
        self.link.command(&list, "list a group").await.map(|_| ())
    }

    /// What the keys of this store begin with.
    fn begin(&self) -> String {
        match &self.part {
            Some(part) => format!("{}/{part}", self.prefix),
            None => self.prefix.clone(),
        }
    }

    fn groups_key(&self) -> String {
        format!("{}:groups", self.begin())
    }

    /// Does something that needs the claim to be in force.
    async fn held(
        &self,
        what: &'static str,
        claim: &Claim,
        more: &(dyn Fn(&mut Cmd) + Sync),
    ) -> Result<Reply, Error> {
        let arguments = |command: &mut Cmd| {
            command.arg(claim.owner.as_str()).arg(claim.fence);
            more(command);
        };
        let reply = self.cursor(what, &claim.cursor, &arguments).await?;
        if reply.word == "lost" {
            let (cursor, fence) = (claim.cursor.clone(), claim.fence);
            return Err(Error::LostLease { cursor, fence, now: reply.number(0)? });
        }
        Ok(reply)
    }

    async fn cursor(
        &self,
        what: &'static str,
        cursor: &CursorId,
        more: &(dyn Fn(&mut Cmd) + Sync),
    ) -> Result<Reply, Error> {
        let keys = ["cursors", "parked", "parked-order"].map(|part| self.key(&cursor.group, part));
        let arguments = |command: &mut Cmd| {
            command.arg(what).arg(cursor.shard.as_str());
            more(command);
        };
        self.run(&scripts::CURSOR, &keys, what, &arguments).await
    }

    async fn group(
        &self,
        what: &'static str,
        group: &Group,
        more: &(dyn Fn(&mut Cmd) + Sync),
    ) -> Result<Reply, Error> {
        let parts = ["cursors", "members", "parked", "parked-order"];
        let keys = parts.map(|part| self.key(group, part));
        let arguments = |command: &mut Cmd| {
            command.arg(what);
            more(command);
        };
        self.run(&scripts::GROUP, &keys, what, &arguments).await
    }

    async fn run(
        &self,
        script: &Script,
        keys: &[String],
        what: &'static str,
        arguments: &(dyn Fn(&mut Cmd) + Sync),
    ) -> Result<Reply, Error> {
        self.link.call(&Call { script, keys, arguments, what, twice: true }).await
    }

    fn key(&self, group: &Group, part: &str) -> String {
        format!("{}:{{{group}}}:{part}", self.begin())
    }
}

fn ms(time: Duration) -> u64 {
    // Far beyond any lease, and exact in Lua.
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).min(1 << 50)
}

/// Adds a place to a command, as it is kept.
fn add(command: &mut Cmd, to: Option<Progress>) {
    match to {
        Some(to) => {
            command.arg(to.generation.0).arg(to.position.fixed());
            command.arg(if to.ended { "1" } else { "0" });
        }
        None => {
            command.arg("-").arg("-").arg("-");
        }
    }
}

/// The place in three texts; the outer `None` is for texts that are none.
fn progress(texts: [&str; 3]) -> Option<Option<Progress>> {
    if texts == ["-", "-", "-"] {
        return Some(None);
    }
    let generation = Generation(texts[0].parse().ok()?);
    Some(Some(Progress { generation, position: texts[1].parse().ok()?, ended: texts[2] == "1" }))
}

/// A cursor as it is kept: fence, generation, position, ended, owner, until.
fn state(cursor: CursorId, kept: &str, now_ms: u64) -> Option<CursorState> {
    let mut texts = kept.split(' ');
    let fence = texts.next()?.parse().ok()?;
    let progress = progress([texts.next()?, texts.next()?, texts.next()?])?;
    let (owner, until_ms) = (texts.next()?, texts.next()?);
    let lease = match owner {
        "-" => None,
        owner => {
            let left_ms = until_ms.parse::<u64>().ok()?.saturating_sub(now_ms);
            let owner = WorkerId::new(owner).ok()?;
            Some(Lease { owner, left: Duration::from_millis(left_ms) })
        }
    };
    Some(CursorState { cursor, fence, progress, lease })
}

/// Sorts by shard, then by position: a space is before all that a shard's name is made of.
fn parked_name(shard: &ShardId, position: Position) -> String {
    format!("{shard} {}", position.fixed())
}

fn parked_of(name: &str, value: &str) -> Option<Parked> {
    let (shard, position) = name.split_once(' ')?;
    let mut texts = value.splitn(4, ' ');
    Some(Parked {
        shard: ShardId::new(shard).ok()?,
        position: position.parse().ok()?,
        tries: texts.next()?.parse().ok()?,
        retry: texts.next()? == "1",
        parked_at_us: texts.next()?.parse().ok()?,
        reason: texts.next()?.to_owned(),
    })
}
