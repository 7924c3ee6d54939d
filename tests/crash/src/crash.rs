//! One run: a workload, a cut in the middle of it, a restart, maybe another cut, and the judgement.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tidegate_buffer::Incident;
use tidegate_oracle::Findings;

use crate::disk::{Cut, Disk};
use crate::item::Item;
use crate::locate::{self, DATABASE, Image};
use crate::rng::Rng;
use crate::spool::{Book, Running};
use crate::vfs::Mounted;
use crate::workload::{Shape, Workload};

/// How long the end of a spool may take: with the disk cut it takes all of it, for nothing.
const CLOSE: Duration = Duration::from_secs(5);
const CLOSE_BESIDE_CUT: Duration = Duration::from_millis(40);

/// What became of one run.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What the oracle found.
    pub findings: Findings<Item>,
    /// What else was wrong.
    pub problems: Vec<String>,
    /// How many cuts there were.
    pub cuts: u64,
    /// Batches that are left though all their records are settled: no promise is broken, but their room is not given back.
    pub batches_left: u64,
    /// What the spool was opened with.
    pub setup: String,
}

impl Outcome {
    /// Whether every promise was kept.
    pub fn is_faultless(&self) -> bool {
        self.problems.is_empty() && self.findings.is_bounded()
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} after {} cuts, {}", self.findings, self.cuts, self.setup)?;
        self.problems.iter().try_for_each(|problem| write!(f, "; {problem}"))
    }
}

/// A folder in memory, if the system has one.
///
/// # Errors
/// It cannot be made.
pub fn scratch() -> io::Result<TempDir> {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }
}

/// Runs this seed.
///
/// # Errors
/// The test itself cannot go on: there is no room, or SQLite does not take the file interface.
pub fn run(cut: Cut, seed: u64) -> io::Result<Outcome> {
    let mut rng = Rng::new(seed);
    let folder = scratch()?;
    let disk = Arc::new(Disk::new(folder.path(), rng.number())?);
    let mounted = Mounted::new(disk).map_err(io::Error::other)?;
    let shape = Shape::new(&mut rng);
    let workload = Workload::new(shape, rng.fork());
    Run { mounted, workload, rng, cut, cuts: 0 }.play()
}

/// What an operator hears in a tight buffer though nothing is wrong.
fn is_expected(incident: &Incident) -> bool {
    matches!(incident, Incident::Full { .. } | Incident::NotFull | Incident::Evicted { .. })
}

struct Run {
    mounted: Mounted,
    workload: Workload,
    rng: Rng,
    cut: Cut,
    cuts: u64,
}

impl Run {
    fn play(mut self) -> io::Result<Outcome> {
        for _ in 0..self.rng.pick(1..4) {
            self.arm();
            self.phase();
            self.mounted.disk().reboot(self.cut)?;
            self.workload.crashed();
            self.cuts += 1;
        }
        self.finish();
        let setup = self.workload.setup().to_string();
        let batches_left = self.batches_left()?;
        let (findings, problems) = self.workload.judge();
        Ok(Outcome { findings, problems, cuts: self.cuts, batches_left, setup })
    }

    /// Chooses where the disk is cut: while the spool opens, soon after, or late; and now and then an error before.
    fn arm(&mut self) {
        let within = *self.rng.choose(&[30, 150, 600, 2500]).unwrap_or(&30);
        let at = self.rng.pick(1..within);
        let disk = self.mounted.disk();
        disk.cut_after(at);
        if self.rng.percent(10) {
            disk.fail_after(self.rng.pick(1..within));
        }
    }

    /// Opens, works, and ends: by the cut, or by a clean end that the cut may still come into.
    fn phase(&mut self) {
        let disk = self.mounted.disk();
        let mut running = match Running::open(disk.dir(), self.workload.setup()) {
            Ok(running) => running,
            // An error, or the cut, came while opening.
            Err(_) => return,
        };
        if disk.is_cut() {
            return;
        }
        self.workload.opened(&running);
        self.workload.run(&mut running, || disk.is_cut());
        self.workload.collect(&running);
        self.workload.collect_gaps(&running);
        if self.rng.percent(30) && running.spool.close(CLOSE_BESIDE_CUT).is_ok() && !disk.is_cut() {
            self.workload.books.settled_durably();
        }
    }

    /// The faults have stopped: everything owed must come, once, and the books must balance.
    fn finish(&mut self) {
        for is_again in [false, true] {
            let running = match Running::open(self.mounted.disk().dir(), self.workload.setup()) {
                Ok(running) => running,
                Err(error) => return self.workload.problems.push(format!("it does not open: {error}")),
            };
            self.workload.opened(&running);
            let workload = &mut self.workload;
            let drained = running.drain(|name, record| {
                workload.seen(name, record);
                // All was settled, and the end was clean.
                if is_again {
                    workload.problems.push(format!("{:x} came again to {name}", record.seq));
                }
                workload.settled(name, record);
            });
            workload.problems.extend(drained.err());
            workload.collect_gaps(&running);
            for Book { lane, appended, ways } in running.books() {
                workload.books.balance(lane, appended, &ways);
            }
            for incident in running.incidents().iter().filter(|incident| !is_expected(incident)) {
                workload.problems.push(format!("an incident: {incident}"));
            }
            if let Err(error) = running.spool.close(CLOSE) {
                workload.problems.push(format!("it does not close: {error}"));
            }
            workload.books.crashed();
        }
    }

    /// Everything is settled: no batch should be left.
    fn batches_left(&self) -> io::Result<u64> {
        let files = locate::read_files(&self.mounted.disk().dir().join(DATABASE))?;
        Ok(Image::new(&files).map_or(0, |image| image.batches().len() as u64))
    }
}
