//! A disk in memory that can be made to fail in every way that a real one does.

use redb::StorageBackend;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A disk with one file. Handles to it fail for ever once the power was cut.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    moved_on: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What a reader sees.
    seen: Vec<u8>,
    /// What is on the platter.
    durable: Vec<u8>,
    /// What was changed since, in order.
    pending: Vec<Change>,
    /// How many times the power was cut.
    outages: u64,
    /// How many more changes and syncs there will be before the power goes.
    until_outage: Option<u64>,
    dark: bool,
    syncs: u64,
    sync_takes: Duration,
    trouble: Trouble,
}

#[derive(Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

/// What is wrong with the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trouble {
    #[default]
    None,
    /// No room: the file cannot grow.
    CannotGrow,
    /// No room at all, as where blocks are only found when they are written.
    Full,
    /// The next sync fails, and the system takes what it should have written for written.
    ForgetfulSync,
    /// Reads fail.
    Unreadable,
    /// Syncs do not return until the trouble has passed.
    Stalled,
    /// A bug under the store: writing panics.
    Panicking,
}

/// How a power loss treats what was not synced.
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    /// All of it is gone.
    All,
    /// Every change is kept or gone by itself.
    Some,
    /// The same, and of a write that is kept, the begin or the end may be missing, from any byte.
    Torn,
}

impl Disk {
    /// A disk whose file has this content.
    pub fn holding(bytes: Vec<u8>) -> Self {
        let disk = Self::default();
        disk.state().seen = bytes.clone();
        disk.state().durable = bytes;
        disk
    }

    /// A handle to the file, as a constructor of the store takes it.
    pub fn handle(&self) -> io::Result<Handle> {
        let state = self.state();
        if state.dark {
            return Err(no_power());
        }
        Ok(Handle { disk: self.clone(), outages: state.outages })
    }

    pub fn content(&self) -> Vec<u8> {
        self.state().seen.clone()
    }

    /// Puts another file in the place of this one, under the handles that are open.
    pub fn replace(&self, content: Vec<u8>, trouble: Trouble) {
        let mut state = self.state();
        state.seen = content.clone();
        state.durable = content;
        state.pending.clear();
        state.trouble = trouble;
    }

    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    pub fn make_syncs_take(&self, time: Duration) {
        self.state().sync_takes = time;
    }

    pub fn set_trouble(&self, trouble: Trouble) {
        self.state().trouble = trouble;
        self.0.moved_on.notify_all();
    }

    /// Cuts the power after so many more changes and syncs.
    pub fn cut_power_after(&self, operations: u64) {
        self.state().until_outage = Some(operations);
    }

    pub fn is_dark(&self) -> bool {
        self.state().dark
    }

    /// Cuts the power now, if it is not gone yet, and brings it back with what the loss leaves.
    pub fn lose_power(&self, loss: Loss, random: &mut Random) {
        let mut state = self.state();
        let mut content = state.durable.clone();
        for change in &state.pending {
            if matches!(loss, Loss::All) || random.below(2) == 0 {
                continue;
            }
            match change {
                Change::Length(length) => content.resize(*length, 0),
                Change::Write { offset, bytes } => {
                    let (mut from, mut to) = (0, bytes.len());
                    if matches!(loss, Loss::Torn) {
                        from = random.below(2) as usize * random.below(to as u64) as usize;
                        to -= random.below(2) as usize * random.below((to - from) as u64) as usize;
                    }
                    // What lies beyond the end of the file was lost together with its length.
                    to = to.min(content.len().saturating_sub(*offset));
                    if from < to {
                        content[offset + from..offset + to].copy_from_slice(&bytes[from..to]);
                    }
                }
            }
        }
        state.pending.clear();
        state.seen = content.clone();
        state.durable = content;
        state.outages += 1;
        state.until_outage = None;
        state.dark = false;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub struct Handle {
    disk: Disk,
    outages: u64,
}

impl Handle {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.dark || state.outages != self.outages { Err(no_power()) } else { Ok(state) }
    }

    fn state_to_change(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state()?;
        match &mut state.until_outage {
            Some(0) => {
                state.dark = true;
                return Err(no_power());
            }
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(state)
    }
}

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state()?.seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state()?;
        if state.trouble == Trouble::Unreadable {
            return Err(io::Error::other("the medium has a bad sector"));
        }
        let offset = offset as usize;
        let found = state.seen.get(offset..offset + out.len());
        out.copy_from_slice(found.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.state_to_change()?;
        let length = length as usize;
        let grows = length > state.seen.len();
        if grows && matches!(state.trouble, Trouble::CannotGrow | Trouble::Full) {
            return Err(ErrorKind::StorageFull.into());
        }
        state.seen.resize(length, 0);
        state.pending.push(Change::Length(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state_to_change()?;
        std::thread::sleep(state.sync_takes);
        while state.trouble == Trouble::Stalled {
            state = self.disk.0.moved_on.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.trouble == Trouble::ForgetfulSync {
            state.trouble = Trouble::None;
            state.pending.clear();
            return Err(io::Error::other("the medium did not take it"));
        }
        state.syncs += 1;
        for change in std::mem::take(&mut state.pending) {
            match change {
                Change::Length(length) => state.durable.resize(length, 0),
                Change::Write { offset, bytes } => {
                    let end = offset + bytes.len();
                    if state.durable.len() < end {
                        // Only after a forgetful sync: the file system knows the length.
                        state.durable.resize(end, 0);
                    }
                    state.durable[offset..end].copy_from_slice(&bytes);
                }
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state_to_change()?;
        if state.trouble == Trouble::Panicking {
            drop(state);
            panic!("as the test asked");
        }
        if state.trouble == Trouble::Full {
            return Err(ErrorKind::StorageFull.into());
        }
        let offset = offset as usize;
        let end = offset + data.len();
        if state.seen.len() < end {
            state.seen.resize(end, 0);
        }
        state.seen[offset..end].copy_from_slice(data);
        state.pending.push(Change::Write { offset, bytes: data.to_vec() });
        Ok(())
    }
}

fn no_power() -> io::Error {
    io::Error::other("the power is gone")
}

/// A small reproducible generator (splitmix64): a failing run is repeated from its seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than the limit.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
