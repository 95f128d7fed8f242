//! Cursors in a folder, for any number of processes, without an owner and without locks.
//!
//! ```text
//! CURSORS/GROUP@STREAM/cursors/SHARD/NNN    versions of a cursor; the highest counts
//! CURSORS/GROUP@STREAM/members/WORKER       until when it lives
//! CURSORS/GROUP@STREAM/parked/SHARD@POSITION
//! ```
//!
//! A cursor changes by a new version, which the system links into the folder only if nobody else has made one of that
//! number. There is no lock that a process frozen at the wrong moment could keep. A process that slept through
//! several changes may link a version that was removed meanwhile; it sees a higher one next to it then and begins anew,
//! which is the same as if it had just come: every operation may be done twice.
//!
//! Leases run on the clock that counts since the machine was started, also while it sleeps. They all have
//! run out when it was started again.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
#[cfg(test)]
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::rules::{Held, State};
use super::{Claim, CursorState, PARKED_MAX, Parked, Progress};
use crate::file::{blocking, replace};
use crate::record::now_us;
use crate::{
    CursorId, Error, Generation, Group, GroupName, Position, ShardId, StreamName, WorkerId,
};

/// How often a change is begun anew when others change the same cursor.
const TRIES_MAX: usize = 1_000;

/// A store of cursors in a folder on a local disk. Clones are the same store.
#[derive(Clone, Debug)]
pub struct FileCursors {
    folder: PathBuf,
    clock: Clock,
}

/// What leases are measured by.
#[derive(Clone, Debug)]
enum Clock {
    /// Since this start of the machine.
    Boot { id: Arc<str> },
    #[cfg(test)]
    Set(Arc<AtomicU64>),
}

impl Clock {
    fn now_ms(&self) -> u64 {
        match self {
            Clock::Boot { .. } => {
                let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                let part = |number: i64| u64::try_from(number).unwrap_or(0);
                part(now.tv_sec) * 1_000 + part(now.tv_nsec) / 1_000_000
            }
            #[cfg(test)]
            Clock::Set(now) => now.load(Ordering::Relaxed),
        }
    }

    fn boot(&self) -> &str {
        match self {
            Clock::Boot { id } => id,
            #[cfg(test)]
            Clock::Set(_) => "test",
        }
    }
}

impl FileCursors {
    /// A store in a folder, made where there is none.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it can't be made.
    pub fn open(folder: &Path) -> Result<FileCursors, Error> {
        fs::create_dir_all(folder).map_err(broken(folder))?;
        let boot = Path::new("/proc/sys/kernel/random/boot_id");
        let id = fs::read_to_string(boot).map_err(broken(boot))?;
        Ok(FileCursors { folder: folder.to_owned(), clock: Clock::Boot { id: id.trim().into() } })
    }

    /// A store whose clock a test moves.
    #[cfg(test)]
    pub(super) fn with_clock(folder: &Path, now_ms: Arc<AtomicU64>) -> FileCursors {
        FileCursors { folder: folder.to_owned(), clock: Clock::Set(now_ms) }
    }

    pub(super) async fn acquire(
        &self,
        cursor: &CursorId,
        owner: &WorkerId,
        lease: Duration,
    ) -> Result<Option<Claim>, Error> {
        let (owner, id) = (owner.clone(), cursor.clone());
        self.change(
            cursor,
            true,
            move |state, now_ms| Ok(state.acquire(&id, &owner, lease, now_ms)),
        )
        .await
    }

    pub(super) async fn renew(&self, claim: &Claim, lease: Duration) -> Result<(), Error> {
        let mine = claim.clone();
        self.change(&claim.cursor, false, move |state, now_ms| state.renew(&mine, lease, now_ms))
            .await
    }

    pub(super) async fn commit(&self, claim: &Claim, to: Progress) -> Result<(), Error> {
        let mine = claim.clone();
        self.change(&claim.cursor, true, move |state, _| state.commit(&mine, to)).await
    }

    pub(super) async fn release(&self, claim: &Claim) -> Result<(), Error> {
        let mine = claim.clone();
        let release = move |state: &mut State, _| {
            state.release(&mine);
            Ok(())
        };
        self.change(&claim.cursor, false, release).await
    }

    pub(super) async fn reset(&self, cursor: &CursorId, to: Option<Progress>) -> Result<(), Error> {
        let id = cursor.clone();
        self.change(cursor, true, move |state, now_ms| state.reset(&id, to, now_ms)).await
    }

    pub(super) async fn list(&self, group: &Group) -> Result<Vec<CursorState>, Error> {
        let (store, group) = (self.clone(), group.clone());
        blocking(move || {
            let now_ms = store.clock.now_ms();
            let mut all = Vec::new();
            for name in names(&store.group(&group).join("cursors"))? {
                let Ok(shard) = ShardId::new(&name) else { continue };
                let cursor = group.cursor(&shard);
                all.push(store.load(&cursor)?.1.told(cursor, now_ms));
            }
            Ok(all)
        })
        .await
    }

    pub(super) async fn groups(&self) -> Result<Vec<Group>, Error> {
        let store = self.clone();
        blocking(move || {
            let group = |name: &String| {
                let (name, stream) = name.split_once('@')?;
                Some(Group {
                    name: GroupName::new(name).ok()?,
                    stream: StreamName::new(stream).ok()?,
                })
            };
            let has_cursor = |group: &Group| store.group(group).join("cursors").exists();
            Ok(names(&store.folder)?.iter().filter_map(group).filter(has_cursor).collect())
        })
        .await
    }

    pub(super) async fn beat(
        &self,
        group: &Group,
        worker: &WorkerId,
        lease: Duration,
    ) -> Result<(), Error> {
        let (store, path) = (self.clone(), self.member(group, worker));
        blocking(move || {
            let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX / 2);
            let text = format!("{} {}\n", store.clock.now_ms() + lease_ms, store.clock.boot());
            place(&path, &text).map_err(broken(&path))
        })
        .await
    }

    pub(super) async fn leave(&self, group: &Group, worker: &WorkerId) -> Result<(), Error> {
        let path = self.member(group, worker);
        blocking(move || remove(&path).map_err(broken(&path))).await
    }

    pub(super) async fn members(&self, group: &Group) -> Result<Vec<WorkerId>, Error> {
        let (store, folder) = (self.clone(), self.group(group).join("members"));
        blocking(move || {
            let now_ms = store.clock.now_ms();
            let mut alive = Vec::new();
            for name in names(&folder)? {
                let (Ok(worker), path) = (WorkerId::new(&name), folder.join(&name)) else {
                    continue;
                };
                let text = fs::read_to_string(&path).unwrap_or_default();
                let until =
                    text.trim().split_once(' ').filter(|(_, boot)| *boot == store.clock.boot());
                match until.and_then(|(until_ms, _)| until_ms.parse::<u64>().ok()) {
                    Some(until_ms) if until_ms > now_ms => alive.push(worker),
                    // One that comes to life again is on the list with its next word.
                    _ => remove(&path).map_err(broken(&path))?,
                }
            }
            Ok(alive)
        })
        .await
    }

    pub(super) async fn park(
        &self,
        claim: &Claim,
        at: Position,
        reason: &str,
    ) -> Result<(), Error> {
        let (store, claim, reason) = (self.clone(), claim.clone(), reason.to_owned());
        blocking(move || {
            store.load(&claim.cursor)?.1.held(&claim)?;
            let path = store.parked_path(&claim.cursor, at);
            let before = read_parked(&path)?;
            if before.is_none() {
                let parked = names(&store.group(&claim.cursor.group).join("parked"))?.len();
                if parked >= PARKED_MAX {
                    return Err(Error::ParkedFull { parked, max: PARKED_MAX });
                }
            }
            let tries = before.map_or(0, |before| before.tries) + 1;
            write_parked(&path, tries, false, now_us(), &reason)?;
            // Who slept since the first look takes back what is not his to say.
            if let Err(error) = store.load(&claim.cursor)?.1.held(&claim) {
                remove(&path).map_err(broken(&path))?;
                return Err(error);
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn parked(
        &self,
        group: &Group,
        after: Option<(&ShardId, Position)>,
        limit: usize,
    ) -> Result<Vec<Parked>, Error> {
        let folder = self.group(group).join("parked");
        let after = after.map(|(shard, position)| (shard.clone(), position));
        blocking(move || {
            let place = |name: &String| {
                let (shard, position) = name.split_once('@')?;
                Some((ShardId::new(shard).ok()?, position.parse::<Position>().ok()?))
            };
            let mut places: Vec<_> = names(&folder)?.iter().filter_map(place).collect();
            places.sort();
            let wanted =
                places.into_iter().filter(|place| after.as_ref().is_none_or(|after| place > after));
            let mut found = Vec::new();
            for (shard, position) in wanted.take(limit) {
                let path = folder.join(parked_name(&shard, position));
                found.extend(read_parked(&path)?.map(|parked| Parked {
                    shard,
                    position,
                    ..parked
                }));
            }
            Ok(found)
        })
        .await
    }

    pub(super) async fn retry(&self, cursor: &CursorId, position: Position) -> Result<(), Error> {
        let (path, cursor) = (self.parked_path(cursor, position), cursor.clone());
        blocking(move || {
            let parked = read_parked(&path)?.ok_or(Error::NotParked { cursor, position })?;
            write_parked(&path, parked.tries, true, parked.parked_at_us, &parked.reason)
        })
        .await
    }

    pub(super) async fn drop_parked(&self, cursor: &CursorId, at: Position) -> Result<(), Error> {
        let path = self.parked_path(cursor, at);
        blocking(move || remove(&path).map_err(broken(&path))).await
    }

    /// Changes a cursor; `durable`: for good, before this returns.
    async fn change<T: Send + 'static>(
        &self,
        cursor: &CursorId,
        durable: bool,
        mut change: impl FnMut(&mut State, u64) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (store, cursor) = (self.clone(), cursor.clone());
        blocking(move || {
            for _ in 0..TRIES_MAX {
                let (version, before) = store.load(&cursor)?;
                let mut state = before.clone();
                let result = change(&mut state, store.clock.now_ms())?;
                if state == before || store.add(&cursor, version + 1, &state, durable)? {
                    return Ok(result);
                }
            }
            let why = format!("{TRIES_MAX} changes of others came in between");
            Err(Error::Unavailable { what: format!("cursor {cursor}"), why })
        })
        .await
    }

    /// The highest version and what it says; 0 where there is none.
    fn load(&self, cursor: &CursorId) -> Result<(u64, State), Error> {
        let folder = self.cursor(cursor);
        // Versions may come and go while the folder is read: then it is read again.
        for _ in 0..TRIES_MAX {
            let versions = versions(&folder)?;
            let Some(newest) = versions.iter().max() else { return Ok((0, State::default())) };
            let path = folder.join(version_name(*newest));
            match fs::read_to_string(&path) {
                Ok(text) => {
                    let why = || Error::Damaged {
                        what: path.display().to_string(),
                        why: "it does not say where a cursor is".into(),
                    };
                    return Ok((*newest, parse(&text, self.clock.boot()).ok_or_else(why)?));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(broken(&path)(error)),
            }
        }
        let why = "it changes faster than it can be read".into();
        Err(Error::Unavailable { what: format!("cursor {cursor}"), why })
    }

    /// Adds a version, unless another has come first.
    fn add(
        &self,
        cursor: &CursorId,
        version: u64,
        state: &State,
        durable: bool,
    ) -> Result<bool, Error> {
        let folder = self.cursor(cursor);
        let added = || -> io::Result<bool> {
            fs::create_dir_all(&folder)?;
            let fresh = folder.join(unique());
            let mut file = fs::File::create_new(&fresh)?;
            file.write_all(written(state, self.clock.boot()).as_bytes())?;
            file.sync_all()?;
            let linked = fs::hard_link(&fresh, folder.join(version_name(version)));
            fs::remove_file(&fresh)?;
            match linked {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
                linked => linked?,
            }
            if durable {
                fs::File::open(&folder)?.sync_all()?;
            }
            Ok(true)
        };
        if !added().map_err(broken(&folder))? {
            return Ok(false);
        }
        let mut versions = versions(&folder)?;
        versions.sort_unstable();
        if versions.last() != Some(&version) {
            return Ok(false);
        }
        // The one before stays: who reads the folder now may have seen that one only.
        for old in versions.iter().filter(|old| **old + 1 < version) {
            let path = folder.join(version_name(*old));
            remove(&path).map_err(broken(&path))?;
        }
        Ok(true)
    }

    fn group(&self, group: &Group) -> PathBuf {
        self.folder.join(group.to_string())
    }

    fn cursor(&self, cursor: &CursorId) -> PathBuf {
        self.group(&cursor.group).join("cursors").join(cursor.shard.as_str())
    }

    fn member(&self, group: &Group, worker: &WorkerId) -> PathBuf {
        self.group(group).join("members").join(worker.as_str())
    }

    fn parked_path(&self, cursor: &CursorId, position: Position) -> PathBuf {
        self.group(&cursor.group).join("parked").join(parked_name(&cursor.shard, position))
    }
}

/// Copies a store while others use it: of each cursor a version that counted when it was read, and what is parked. Of a
/// folder that is there already nothing stays.
///
/// # Errors
/// [`Error::Unavailable`] when a file can't be read or written.
pub fn copy_store(from: &Path, to: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(to) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        removed => removed.map_err(broken(to))?,
    }
    fs::create_dir_all(to).map_err(broken(to))?;
    for group in names(from)? {
        let (from, to) = (from.join(&group), to.join(&group));
        for shard in names(&from.join("cursors"))? {
            let place = Path::new("cursors").join(shard);
            copy_newest(&from.join(&place), &to.join(&place))?;
        }
        for name in names(&from.join("parked"))? {
            let place = Path::new("parked").join(name);
            // It may have been tried again or dropped meanwhile.
            copy(&from.join(&place), &to.join(&place))?;
        }
    }
    Ok(())
}

/// Copies the version of a cursor that counts.
fn copy_newest(from: &Path, to: &Path) -> Result<(), Error> {
    for _ in 0..TRIES_MAX {
        let Some(newest) = versions(from)?.into_iter().max() else { return Ok(()) };
        let name = version_name(newest);
        if copy(&from.join(&name), &to.join(&name))? {
            return Ok(());
        }
    }
    let why = "it changes faster than it can be read".into();
    Err(Error::Unavailable { what: from.display().to_string(), why })
}

/// Copies a small file for good; says whether it was there.
fn copy(from: &Path, to: &Path) -> Result<bool, Error> {
    let content = match fs::read(from) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        content => content.map_err(broken(from))?,
    };
    let parent = to.parent().expect("a file is in a folder");
    fs::create_dir_all(parent).map_err(broken(parent))?;
    replace(to, &content).map_err(broken(to))?;
    Ok(true)
}

fn parked_name(shard: &ShardId, position: Position) -> String {
    format!("{shard}@{}", position.fixed())
}

fn version_name(version: u64) -> String {
    format!("{version:020}")
}

/// The versions in a cursor's folder.
fn versions(folder: &Path) -> Result<Vec<u64>, Error> {
    Ok(names(folder)?.iter().filter_map(|name| name.parse().ok()).collect())
}

/// The names in a folder, sorted, but for those that begin with a dot; none where there is no folder.
fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let read = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        Ok(names)
    };
    match read() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        names => names.map_err(broken(folder)),
    }
}

/// A name that no other file has.
fn unique() -> String {
    format!(".{:016x}", getrandom::u64().expect("the system gives random bits"))
}

/// Puts a file in place of what was there, not for good.
fn place(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().expect("it is in the store's folder");
    fs::create_dir_all(folder)?;
    let fresh = folder.join(unique());
    fs::write(&fresh, text)?;
    fs::rename(&fresh, path)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn broken(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let what = path.display().to_string();
    move |error| Error::Unavailable { what, why: error.to_string() }
}

fn written(state: &State, boot: &str) -> String {
    let mut text = format!("fence {}\n", state.fence);
    if let Some(Progress { generation, position, ended }) = state.progress {
        text += &format!("progress {generation} {position} {ended}\n");
    }
    if let Some(Held { owner, until_ms }) = &state.lease {
        text += &format!("lease {owner} {until_ms} {boot}\n");
    }
    text
}

fn parse(text: &str, boot: &str) -> Option<State> {
    let mut state = State::default();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["fence", fence] => state.fence = fence.parse().ok()?,
            ["progress", generation, position, ended] => {
                state.progress = Some(Progress {
                    generation: Generation(generation.parse().ok()?),
                    position: position.parse().ok()?,
                    ended: ended.parse().ok()?,
                });
            }
            ["lease", owner, until_ms, of] => {
                // What was given before the machine started anew has run out.
                let until_ms = if of == boot { until_ms.parse().ok()? } else { 0 };
                state.lease = Some(Held { owner: WorkerId::new(owner).ok()?, until_ms });
            }
            _ => return None,
        }
    }
    (state.fence > 0).then_some(state)
}

/// A parked record as its file says, without its place, which is the file's name.
fn read_parked(path: &Path) -> Result<Option<Parked>, Error> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.map_err(broken(path))?,
    };
    let parse = || {
        let mut parts = text.splitn(4, ' ');
        Some(Parked {
            shard: ShardId::numbered(0),
            position: Position::ZERO,
            tries: parts.next()?.parse().ok()?,
            retry: parts.next()?.parse().ok()?,
            parked_at_us: parts.next()?.parse().ok()?,
            reason: parts.next()?.to_owned(),
        })
    };
    let why = || Error::Damaged {
        what: path.display().to_string(),
        why: "it is not a parked record".into(),
    };
    parse().map(Some).ok_or_else(why)
}

fn write_parked(
    path: &Path,
    tries: u32,
    retry: bool,
    at_us: u64,
    reason: &str,
) -> Result<(), Error> {
    let write = || {
        fs::create_dir_all(path.parent().expect("it is in the store's folder"))?;
        replace(path, format!("{tries} {retry} {at_us} {reason}").as_bytes())
    };
    write().map_err(broken(path))
}
