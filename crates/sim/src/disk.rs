//! A disk in memory that fails as disks do, and the same way again for the same seed.
//!
//! What is written is seen at once by the process, but is safe only after a sync: of the file
//! for its bytes, of the folder for its name. When the power goes, each sector that is not safe
//! is kept, lost or torn on its own, in any order; and so is each change of a name. A single call can be
//! made to fail, bits can be flipped at rest, and the room can be limited.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use onsale_journal::storage::{File, Storage};

use crate::rng::Rng;

/// What a disk writes in one piece.
pub const SECTOR_BYTES: usize = 512;

/// What goes wrong with a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The process ends in the middle of it, and no later call does anything. Go on with
    /// [`FaultyDisk::power_loss`] or [`FaultyDisk::restart`].
    Stop,
    /// It fails. A sync that fails may have made some sectors safe; the others are not written by
    /// a later sync either, though they are still seen.
    Error,
    /// A write stops short of its end and then fails; another call just fails.
    Short,
    /// The disk is full; another call than one that needs room just fails.
    Full,
    /// The first read from this call on gives one wrong bit, this once; other calls do as they
    /// should.
    Garble,
    /// The same, in the first byte that is read: of a batch that is its header.
    GarbleFirst,
}

impl Fault {
    /// Whether a read gives what does not lie there.
    fn is_garble(self) -> bool {
        matches!(self, Fault::Garble | Fault::GarbleFirst)
    }
}

/// A folder on a disk that fails. A clone is the same disk.
#[derive(Clone)]
pub struct FaultyDisk {
    state: Arc<Mutex<State>>,
    /// What the names of this folder's files begin with on the disk.
    folder: &'static str,
}

/// What names in the second folder begin with.
const ARCHIVE: &str = "archive/";

#[derive(Clone)]
struct State {
    rng: Rng,
    /// The contents of all files there ever were.
    contents: Vec<Content>,
    /// Names as the process sees them, and as they would be after a power loss at the mildest.
    names: BTreeMap<String, usize>,
    safe_names: BTreeMap<String, usize>,
    /// What happened to names since the folder was synced.
    changes: Vec<NameChange>,
    calls: u64,
    fault: Option<(u64, Fault)>,
    stopped: bool,
    room_bytes: u64,
    /// In which folders syncs do nothing.
    syncs_lie: &'static [&'static str],
}

#[derive(Clone, Default)]
struct Content {
    /// As the process sees it.
    seen: Vec<u8>,
    /// As it would be if nothing but what was synced had reached the disk.
    safe: Vec<u8>,
    /// Sectors that may differ.
    unsafe_sectors: Vec<bool>,
}

#[derive(Clone)]
enum NameChange {
    Create(String, usize),
    Rename(String, String, usize),
    Remove(String),
}

impl NameChange {
    /// The name that it is about: all of one change are in the same folder.
    fn name(&self) -> &str {
        let (NameChange::Create(name, _)
        | NameChange::Rename(name, _, _)
        | NameChange::Remove(name)) = self;
        name
    }
}

/// How a power loss treats what is not safe.
#[derive(Clone, Copy)]
enum Mood {
    KeepAll,
    LoseAll,
    Mix,
}

impl Mood {
    fn any(rng: &mut Rng) -> Mood {
        *rng.pick(&[Mood::KeepAll, Mood::LoseAll, Mood::Mix, Mood::Mix])
    }

    fn keeps(self, rng: &mut Rng) -> bool {
        match self {
            Mood::KeepAll => true,
            Mood::LoseAll => false,
            Mood::Mix => rng.percent(50),
        }
    }
}

impl FaultyDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(seed: u64) -> FaultyDisk {
        FaultyDisk::from(State {
            rng: Rng::new(seed),
            contents: Vec::new(),
            names: BTreeMap::new(),
            safe_names: BTreeMap::new(),
            changes: Vec::new(),
            calls: 0,
            fault: None,
            stopped: false,
            room_bytes: u64::MAX,
            syncs_lie: &[],
        })
    }

    fn from(state: State) -> FaultyDisk {
        FaultyDisk { state: Arc::new(Mutex::new(state)), folder: "" }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets syncs say that all went well and do nothing: to prove that a test sees it.
    #[must_use]
    pub fn with_lying_syncs(self) -> FaultyDisk {
        self.state().syncs_lie = &["", ARCHIVE];
        self
    }

    /// Lets only syncs in the second folder lie.
    #[must_use]
    pub fn with_lying_archive(self) -> FaultyDisk {
        self.state().syncs_lie = &[ARCHIVE];
        self
    }

    /// A second folder on the same disk: it fails, and loses power, with the first one.
    #[must_use]
    pub fn archive(&self) -> FaultyDisk {
        FaultyDisk { state: Arc::clone(&self.state), folder: ARCHIVE }
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.folder)
    }

    /// What a file on the disk is called in this folder, if it is in it.
    fn own<'a>(&self, full: &'a str) -> Option<&'a str> {
        full.strip_prefix(self.folder).filter(|name| !name.contains('/'))
    }

    /// Lets one call go wrong: the one before which [`FaultyDisk::calls`] gives this number.
    pub fn fault_at(&self, call: u64, fault: Fault) {
        self.state().fault = Some((call, fault));
    }

    /// Takes back a read that was to go wrong and has not.
    pub fn end_garbling(&self) {
        let mut state = self.state();
        state.fault = state.fault.filter(|(_, fault)| !fault.is_garble());
    }

    /// How many bytes all files may have together.
    pub fn limit_room(&self, bytes: u64) {
        self.state().room_bytes = bytes;
    }

    /// How many bytes all files have together.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.state().used_bytes()
    }

    /// Whether there is a limit to that.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.state().room_bytes < u64::MAX
    }

    /// How many calls there were since the beginning or the last start.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Whether a [`Fault::Stop`] has struck.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    /// The disk after the process was killed: all that was seen is still seen, and what is not
    /// safe still is not. It has nothing to do any more with this one, which goes on.
    #[must_use]
    pub fn restart(&self) -> FaultyDisk {
        let mut next = self.state().clone();
        (next.calls, next.fault, next.stopped) = (0, None, false);
        FaultyDisk::from(next)
    }

    /// A disk as it may be after the power went now: another one with each call. It has
    /// nothing to do any more with this one, which goes on.
    #[must_use]
    pub fn power_loss(&self) -> FaultyDisk {
        let mut state = self.state();
        let State { rng, safe_names, changes, .. } = &mut *state;
        let mut names = safe_names.clone();
        let mood = Mood::any(rng);
        for change in changes.iter().filter(|_| mood.keeps(rng)) {
            match change {
                NameChange::Create(name, id) => drop(names.insert(name.clone(), *id)),
                NameChange::Remove(name) => drop(names.remove(name)),
                NameChange::Rename(from, to, id) => {
                    names.remove(from);
                    names.insert(to.clone(), *id);
                }
            }
        }
        let mut next = FaultyDisk::new(state.rng.next()).state().clone();
        (next.room_bytes, next.syncs_lie) = (state.room_bytes, state.syncs_lie);
        for (name, id) in names {
            let State { rng, contents, .. } = &mut *state;
            let content = Content::at_rest(contents[id].after_power_loss(rng));
            next.names.insert(name, next.contents.len());
            next.contents.push(content);
        }
        next.safe_names = next.names.clone();
        FaultyDisk::from(next)
    }

    /// Another disk with the same on it, all of it safe.
    #[must_use]
    pub fn copy(&self) -> FaultyDisk {
        let mut next = self.state().clone();
        for content in &mut next.contents {
            *content = Content::at_rest(std::mem::take(&mut content.seen));
        }
        next.safe_names = next.names.clone();
        next.changes.clear();
        (next.calls, next.fault, next.stopped) = (0, None, false);
        FaultyDisk::from(next)
    }

    /// All files of both folders by name, as the process sees them.
    #[must_use]
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state();
        let content = |id: &usize| state.contents[*id].seen.clone();
        state.names.iter().map(|(name, id)| (name.clone(), content(id))).collect()
    }

    /// Changes a file at rest.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn edit(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let id = state.names[name];
        let mut bytes = std::mem::take(&mut state.contents[id].seen);
        change(&mut bytes);
        state.contents[id] = Content::at_rest(bytes);
    }

    /// Flips one bit of a file at rest.
    ///
    /// # Panics
    /// If there is no such file, or it has fewer bits.
    pub fn flip(&self, name: &str, bit: usize) {
        let mut state = self.state();
        let id = state.names[name];
        let Content { seen, safe, .. } = &mut state.contents[id];
        seen[bit / 8] ^= 1 << (bit % 8);
        if let Some(byte) = safe.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
    }
}

impl Content {
    fn at_rest(bytes: Vec<u8>) -> Content {
        let unsafe_sectors = vec![false; bytes.len().div_ceil(SECTOR_BYTES)];
        Content { safe: bytes.clone(), seen: bytes, unsafe_sectors }
    }

    fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if self.seen.len() < end {
            self.seen.resize(end, 0);
            self.unsafe_sectors.resize(end.div_ceil(SECTOR_BYTES), false);
        }
        self.seen[offset..end].copy_from_slice(bytes);
        self.unsafe_sectors[offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES)].fill(true);
    }

    fn truncate(&mut self, length: usize) {
        self.seen.truncate(length);
        self.unsafe_sectors.truncate(length.div_ceil(SECTOR_BYTES));
    }

    fn sync(&mut self) {
        self.safe.resize(self.seen.len(), 0);
        for at in 0..self.unsafe_sectors.len() {
            if std::mem::take(&mut self.unsafe_sectors[at]) {
                let sector = self.sector(at);
                self.safe[sector.clone()].copy_from_slice(&self.seen[sector]);
            }
        }
    }

    /// Some sectors become safe, and none is tried again.
    fn fail_to_sync(&mut self, rng: &mut Rng) {
        self.safe.resize(self.seen.len(), 0);
        let mood = Mood::any(rng);
        for at in 0..self.unsafe_sectors.len() {
            if std::mem::take(&mut self.unsafe_sectors[at]) && mood.keeps(rng) {
                let sector = self.sector(at);
                self.safe[sector.clone()].copy_from_slice(&self.seen[sector]);
            }
        }
    }

    fn sector(&self, at: usize) -> std::ops::Range<usize> {
        at * SECTOR_BYTES..((at + 1) * SECTOR_BYTES).min(self.seen.len())
    }

    fn after_power_loss(&self, rng: &mut Rng) -> Vec<u8> {
        let mood = Mood::any(rng);
        let mut bytes = self.safe.clone();
        if mood.keeps(rng) {
            bytes.resize(self.seen.len(), 0);
        }
        for (at, _) in self.unsafe_sectors.iter().enumerate().filter(|(_, is_unsafe)| **is_unsafe) {
            let mut sector = self.sector(at);
            if rng.once_in(16) {
                sector.end = sector.start + rng.below(sector.len() + 1);
            } else if !mood.keeps(rng) {
                continue;
            }
            // What lies past the end that the file came out with is lost with it.
            let kept = sector.start..sector.end.min(bytes.len()).max(sector.start);
            if kept.start < bytes.len() {
                bytes[kept.clone()].copy_from_slice(&self.seen[kept]);
            }
        }
        bytes
    }
}

/// What a call may do.
enum Call {
    Go,
    /// Do this much of it, a share of 256, then fail.
    Partly(usize),
    Fail(io::Error),
}

impl State {
    fn call(&mut self) -> Call {
        let fault = self.fault.filter(|(call, _)| *call == self.calls).map(|(_, fault)| fault);
        self.calls += 1;
        if self.stopped {
            return Call::Fail(io::Error::other("the process has ended"));
        }
        match fault {
            None | Some(Fault::Garble | Fault::GarbleFirst) => Call::Go,
            Some(Fault::Stop) => {
                self.stopped = true;
                Call::Partly(self.rng.below(257))
            }
            Some(Fault::Short) => Call::Partly(self.rng.below(256)),
            Some(Fault::Error) => Call::Fail(io::Error::other("the disk says no")),
            Some(Fault::Full) => Call::Fail(io::ErrorKind::StorageFull.into()),
        }
    }

    /// For calls that happen or don't.
    fn whole_call(&mut self) -> io::Result<()> {
        match self.call() {
            Call::Go => Ok(()),
            Call::Partly(_) => Err(io::Error::other("the disk says no")),
            Call::Fail(error) => Err(error),
        }
    }

    fn id(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn used_bytes(&self) -> u64 {
        self.names.values().map(|id| self.contents[*id].seen.len() as u64).sum()
    }
}

impl Storage for FaultyDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.whole_call()?;
        Ok(state.names.keys().filter_map(|full| self.own(full)).map(str::to_owned).collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        state.whole_call()?;
        let id = state.id(&self.full(name))?;
        Ok(Arc::new(FaultyFile { disk: self.clone(), id }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        state.whole_call()?;
        let name = self.full(name);
        if state.names.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = state.contents.len();
        state.contents.push(Content::default());
        state.names.insert(name.clone(), id);
        state.changes.push(NameChange::Create(name, id));
        Ok(Arc::new(FaultyFile { disk: self.clone(), id }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.whole_call()?;
        let (from, to) = (self.full(from), self.full(to));
        let id = state.id(&from)?;
        state.names.remove(&from);
        state.names.insert(to.clone(), id);
        state.changes.push(NameChange::Rename(from, to, id));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.whole_call()?;
        let name = self.full(name);
        state.id(&name)?;
        state.names.remove(&name);
        state.changes.push(NameChange::Remove(name));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let state = &mut *self.state();
        state.whole_call()?;
        if !state.syncs_lie.contains(&self.folder) {
            state.safe_names.retain(|full, _| self.own(full).is_none());
            let own = state.names.iter().filter(|(full, _)| self.own(full).is_some());
            state.safe_names.extend(own.map(|(full, id)| (full.clone(), *id)));
            state.changes.retain(|change| self.own(change.name()).is_none());
        }
        Ok(())
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    id: usize,
}

impl FaultyFile {
    fn sync(&self) -> io::Result<()> {
        let state = &mut *self.disk.state();
        match state.call() {
            Call::Go if state.syncs_lie.contains(&self.disk.folder) => Ok(()),
            Call::Go => {
                state.contents[self.id].sync();
                Ok(())
            }
            // A process that ends in a sync leaves its pages as they were.
            Call::Partly(_) if state.stopped => Err(io::Error::other("the process has ended")),
            Call::Fail(error) if state.stopped => Err(error),
            Call::Partly(_) | Call::Fail(_) => {
                state.contents[self.id].fail_to_sync(&mut state.rng);
                Err(io::Error::other("the sync failed"))
            }
        }
    }
}

impl File for FaultyFile {
    fn length(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        state.whole_call()?;
        Ok(state.contents[self.id].seen.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let calls = state.calls;
        let garbles = |fault: &mut (u64, Fault)| fault.0 <= calls && fault.1.is_garble();
        let garbled = state.fault.take_if(garbles).map(|(_, fault)| fault);
        state.whole_call()?;
        let seen = &state.contents[self.id].seen;
        let start = (offset as usize).min(seen.len());
        match seen[start..].get(..buffer.len()) {
            Some(bytes) => buffer.copy_from_slice(bytes),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        if garbled == Some(Fault::GarbleFirst) {
            buffer[0] ^= 1;
        } else if garbled.is_some()
            && let Some(end) = buffer.iter().rposition(|byte| *byte != 0)
        {
            // Near the end of what there is: before that it is most often told by what follows.
            let at = end - state.rng.below(end.min(4 * SECTOR_BYTES) + 1);
            buffer[at] ^= 1 << state.rng.below(8);
        }
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let call = state.call();
        let grows =
            (offset + bytes.len() as u64).saturating_sub(state.contents[self.id].seen.len() as u64);
        if state.used_bytes().saturating_add(grows) > state.room_bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let content = &mut state.contents[self.id];
        match call {
            Call::Go => content.write(bytes, offset as usize),
            Call::Fail(error) => return Err(error),
            Call::Partly(share) => {
                content.write(&bytes[..bytes.len() * share / 256], offset as usize);
                return Err(io::Error::other("the write stopped short"));
            }
        }
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.whole_call()?;
        state.contents[self.id].truncate(length as usize);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }
}
