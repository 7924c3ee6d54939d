//! A disk that forgets what was not synced.
//!
//! The files are real, in a folder of a memory file system, and every operation of SQLite is performed on them at once: so
//! names, locks, shared memory and whatever the buffer does with `std::fs` work as always. Beside them this model keeps, for
//! each file, the bytes as of its last sync and the operations since. At a chosen operation the disk is cut: from then on
//! every operation fails. [`Disk::reboot`], when all files are closed, writes back what a crash would have left:
//!
//! - **process crash**: the operation system lives, so everything up to the cut is there; of a write that was under way, a
//!   part.
//! - **power cut**: of each file, what was synced; of the operations since, none, all, the first few, or a random part, each
//!   512-byte sector for itself. Files grow and shrink with the operations that are left; gaps read as zeros.
//!
//! Names are those of ext4 in its usual mode (`data=ordered`): creations, deletions and renames reach the journal in order,
//! and a sync of a file whose size or name is new commits the journal. So of the changes of names since the last such sync,
//! the first few survive. ext4 would give more (it also commits every 5 seconds, and orders truncations); a database that
//! survives less survives that.
//!
//! What is not modelled: sectors that were never written do not change, and a synced sector stays. A disk that lies about
//! syncing loses by definition.

mod image;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::rng::Rng;
use image::Image;

/// How a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The process is gone, the operating system is not.
    Process,
    /// Everything is gone that was not synced.
    Power,
}

/// What the disk does with an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    /// It fails this once, and does nothing.
    Fail,
    /// There is no disk any more.
    Dead,
}

/// An operation that changes something.
#[derive(Debug)]
pub(crate) enum Change<'a> {
    Write {
        offset: u64,
        data: &'a [u8],
    },
    Truncate(u64),
    Sync,
    /// A name comes or goes.
    Name,
}

type Inode = u64;
type Names = BTreeMap<OsString, Inode>;

/// The model of one folder.
#[derive(Debug)]
pub struct Disk {
    dir: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    files: BTreeMap<Inode, Image>,
    /// Names as a power cut would leave them at the least.
    synced_names: Names,
    names: Names,
    /// Changes of names since, in order.
    renamed: Vec<(OsString, Option<Inode>)>,
    operations: u64,
    cut_at: Option<u64>,
    /// Operations that fail once.
    failing: Vec<u64>,
    cut: bool,
    rng: Rng,
}

impl Disk {
    /// Takes the folder as it is for what is on the disk, safely.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn new(dir: &Path, seed: u64) -> io::Result<Self> {
        let mut state = State {
            files: BTreeMap::new(),
            synced_names: Names::new(),
            names: Names::new(),
            renamed: Vec::new(),
            operations: 0,
            cut_at: None,
            failing: Vec::new(),
            cut: false,
            rng: Rng::new(seed),
        };
        state.load(dir)?;
        Ok(Self { dir: dir.to_owned(), state: Mutex::new(state) })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Cuts in the operation that is this many from now; 1 is the next.
    pub fn cut_after(&self, operations: u64) {
        let mut state = self.lock();
        state.cut_at = Some(state.operations + operations);
    }

    /// Lets the operation that is this many from now fail, once.
    pub fn fail_after(&self, operations: u64) {
        let mut state = self.lock();
        let at = state.operations + operations;
        state.failing.push(at);
    }

    /// Cuts now.
    pub fn cut(&self) {
        let mut state = self.lock();
        if !state.cut {
            state.observe(&self.dir);
            state.cut = true;
        }
    }

    /// Whether the cut has come.
    pub fn is_cut(&self) -> bool {
        self.lock().cut
    }

    /// How many operations there were that changed something.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Leaves in the folder what a cut of this kind leaves, and ends the cut. All files must be closed.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn reboot(&self, cut: Cut) -> io::Result<()> {
        self.cut();
        let mut state = self.lock();
        let names = state.names_after(cut);
        let mut rng = state.rng.fork();
        let present = list(&self.dir)?;
        let mut left = BTreeMap::new();
        for (name, inode) in &names {
            let bytes = match (state.files.get(inode), present.iter().find(|(_, at)| *at == inode)) {
                (Some(image), _) => image.after(cut, &mut rng),
                // Not SQLite's, and so not modelled: it stays as it is.
                (None, Some((path, _))) => fs::read(self.dir.join(path))?,
                (None, None) => continue,
            };
            left.insert(name.clone(), bytes);
        }
        for name in present.keys() {
            fs::remove_file(self.dir.join(name))?;
        }
        for (name, bytes) in left {
            fs::write(self.dir.join(name), bytes)?;
        }
        state.cut = false;
        state.cut_at = None;
        state.failing.clear();
        state.load(&self.dir)
    }

    /// A file was opened: one that is new to the model has just been made.
    pub(crate) fn opened(&self, path: &Path) -> Option<Inode> {
        let inode = fs::metadata(path).ok()?.ino();
        let mut state = self.lock();
        state.files.entry(inode).or_insert_with(Image::created);
        Some(inode)
    }

    /// Counts an operation and says what becomes of it. What passes is done by the caller.
    pub(crate) fn apply(&self, inode: Inode, change: &Change<'_>) -> Verdict {
        let mut state = self.lock();
        if state.cut {
            return Verdict::Dead;
        }
        state.operations += 1;
        let at = state.operations;
        if state.cut_at == Some(at) {
            state.observe(&self.dir);
            state.cut = true;
            state.tear(inode, change);
            return Verdict::Dead;
        }
        if state.failing.contains(&at) {
            return Verdict::Fail;
        }
        state.record(&self.dir, inode, change);
        Verdict::Pass
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Everything in the folder is on the disk.
    fn load(&mut self, dir: &Path) -> io::Result<()> {
        self.names = list(dir)?;
        self.synced_names = self.names.clone();
        self.renamed.clear();
        self.files.clear();
        for (name, inode) in &self.names {
            if is_modelled(name) {
                self.files.insert(*inode, Image::synced(fs::read(dir.join(name))?));
            }
        }
        Ok(())
    }

    /// Notes which names came and went since the last look. Only names are looked at: to open and close a database's file
    /// here would drop the locks that SQLite holds on it.
    fn observe(&mut self, dir: &Path) {
        let Ok(now) = list(dir) else { return };
        for (name, inode) in &now {
            if self.names.get(name) != Some(inode) {
                self.renamed.push((name.clone(), Some(*inode)));
            }
        }
        for name in self.names.keys().filter(|name| !now.contains_key(*name)) {
            self.renamed.push((name.clone(), None));
        }
        self.names = now;
    }

    fn record(&mut self, dir: &Path, inode: Inode, change: &Change<'_>) {
        let Some(image) = self.files.get_mut(&inode) else { return };
        match change {
            Change::Write { offset, data } => image.write(*offset, data),
            Change::Truncate(size) => image.truncate(*size),
            Change::Name => {}
            Change::Sync => {
                if image.sync() {
                    self.observe(dir);
                    self.synced_names.clone_from(&self.names);
                    self.renamed.clear();
                }
            }
        }
    }

    /// The cut comes in this operation: of a write a part is done, of anything else nothing.
    fn tear(&mut self, inode: Inode, change: &Change<'_>) {
        if let (Change::Write { offset, data }, Some(image)) = (change, self.files.get_mut(&inode)) {
            let part = data.get(..self.rng.index(data.len() + 1)).unwrap_or_default();
            image.write(*offset, part);
        }
    }

    fn names_after(&mut self, cut: Cut) -> Names {
        if cut == Cut::Process {
            return self.names.clone();
        }
        let mut names = self.synced_names.clone();
        let survive = self.rng.index(self.renamed.len() + 1);
        for (name, inode) in self.renamed.iter().take(survive) {
            match inode {
                Some(inode) => names.insert(name.clone(), *inode),
                None => names.remove(name),
            };
        }
        // The shared memory of the log's index is never synced, and is made anew.
        names.retain(|name, _| !name.to_string_lossy().ends_with("-shm"));
        names
    }
}

/// The files SQLite writes, but for the shared memory, which it maps.
fn is_modelled(name: &OsString) -> bool {
    let name = name.to_string_lossy();
    name.contains(".db") && !name.ends_with("-shm")
}

fn list(dir: &Path) -> io::Result<Names> {
    let mut names = Names::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            names.insert(entry.file_name(), entry.metadata()?.ino());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
