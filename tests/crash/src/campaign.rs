//! Many seeds.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::corrupt::{self, Template};
use crate::crash;
use crate::disk::Cut;

/// How many failures a campaign describes.
const DESCRIBED_MAX: usize = 20;
/// How often progress is told.
const TOLD_EACH: u64 = 1000;
/// Filled buffers that are damaged in turn.
const TEMPLATES: usize = 24;
/// Undamaged records that may be missing, of a thousand.
const MISSING_MAX_PER_1000: u64 = 1;

/// What is done with a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A workload, cut.
    Crash(Cut),
    /// Damage to files.
    Corrupt,
}

impl Kind {
    /// By its name.
    pub fn named(word: &str) -> Option<Self> {
        match word {
            "power" => Some(Self::Crash(Cut::Power)),
            "process" => Some(Self::Crash(Cut::Process)),
            "corrupt" => Some(Self::Corrupt),
            _ => None,
        }
    }
}

/// What a campaign came to.
#[derive(Debug, Default)]
pub struct Tally {
    /// Seeds that were run.
    pub runs: u64,
    /// Cuts in them.
    pub cuts: u64,
    /// Events that arrived, at each receiver.
    pub arrived: u64,
    /// Seeds that left batches of which all was settled.
    pub left: Vec<u64>,
    /// Copies of records that damage did not touch.
    pub undamaged: u64,
    /// Those of them that did not come.
    pub missing: u64,
    /// The longest start of a damaged buffer.
    pub start_max: Duration,
    /// Seeds that broke a promise, and how.
    pub failed: Vec<(u64, String)>,
    /// Seeds of which undamaged records are missing, how many, and what the damage was.
    pub incomplete: Vec<(u64, u64, String)>,
    /// How long it took.
    pub took: Duration,
}

impl Tally {
    /// Whether every promise was kept.
    pub fn is_faultless(&self) -> bool {
        self.failed.is_empty() && self.missing * 1000 <= self.undamaged * MISSING_MAX_PER_1000
    }

    /// Holds if every promise was kept.
    ///
    /// # Panics
    /// If not, with the first few failures.
    #[track_caller]
    pub fn assert_faultless(&self) {
        assert!(self.is_faultless(), "{self}");
    }

    fn add_crash(&mut self, seed: u64, outcome: &crash::Outcome) {
        self.cuts += outcome.cuts;
        self.left.extend((outcome.batches_left > 0).then_some(seed));
        self.arrived += outcome.findings.arrived as u64;
        if !outcome.is_faultless() {
            self.failed.push((seed, outcome.to_string()));
        }
    }

    fn add_corrupt(&mut self, seed: u64, outcome: corrupt::Outcome) {
        self.undamaged += outcome.undamaged;
        self.missing += outcome.missing;
        self.start_max = self.start_max.max(outcome.start);
        if !outcome.problems.is_empty() {
            self.failed.push((seed, format!("{}: {}", outcome.damage, outcome.problems.join("; "))));
        }
        if outcome.missing > 0 {
            self.incomplete.push((seed, outcome.missing, outcome.damage));
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.took.as_secs_f64();
        let each = self.took.checked_div(u32::try_from(self.runs).unwrap_or(u32::MAX)).unwrap_or_default();
        let thousand = (each * 1000).as_secs_f64();
        write!(f, "{} seeds, {} failed", self.runs, self.failed.len())?;
        if self.cuts > 0 {
            write!(f, ", {} cuts, {} arrived", self.cuts, self.arrived)?;
            write!(f, ", settled batches left over by {:?}", self.left)?;
        } else {
            write!(f, ", {} of {} undamaged missing", self.missing, self.undamaged)?;
            write!(f, " in {} runs, longest start {:?}", self.incomplete.len(), self.start_max)?;
        }
        write!(f, "; {seconds:.1} s, {thousand:.1} s per 1,000")?;
        for (seed, what) in self.failed.iter().take(DESCRIBED_MAX) {
            write!(f, "\n  seed {seed}: {what}")?;
        }
        for (seed, missing, what) in self.incomplete.iter().take(DESCRIBED_MAX) {
            write!(f, "\n  seed {seed}: {missing} missing: {what}")?;
        }
        Ok(())
    }
}

/// Runs these seeds on so many threads; `progress` hears each thousand how far it is.
///
/// # Errors
/// Those of the test itself.
pub fn run(
    kind: Kind,
    seeds: Range<u64>,
    threads: u64,
    progress: impl Fn(&Tally) + Sync,
) -> io::Result<Tally> {
    let start = Instant::now();
    let (tally, threads) = (Mutex::new(Tally::default()), threads.max(1));
    let share = |thread: u64| -> io::Result<()> {
        for seed in seeds.clone().filter(|seed| seed % threads == thread % threads) {
            let panics = panics();
            let outcome = std::panic::catch_unwind(|| run_one(kind, seed));
            let outcome = outcome.map_or(Ok(Outcome::Panic), |outcome| outcome)?;
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            tally.runs += 1;
            tally.took = start.elapsed();
            match outcome {
                Outcome::Crash(outcome) => tally.add_crash(seed, &outcome),
                Outcome::Corrupt(outcome) => tally.add_corrupt(seed, outcome),
                Outcome::Panic => {}
            }
            if self::panics() > panics {
                tally
                    .failed
                    .push((seed, "a thread panicked (maybe that of another seed of this time)".to_owned()));
            }
            if tally.runs.is_multiple_of(TOLD_EACH) && tally.runs < seeds.end - seeds.start {
                progress(&tally);
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || share(thread))).collect();
        let results = threads.into_iter().map(|thread| {
            thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread of the campaign panicked")))
        });
        results.collect::<io::Result<Vec<()>>>()
    })?;
    Ok(tally.into_inner().unwrap_or_else(PoisonError::into_inner))
}

enum Outcome {
    Crash(crash::Outcome),
    Corrupt(corrupt::Outcome),
    Panic,
}

fn run_one(kind: Kind, seed: u64) -> io::Result<Outcome> {
    static FILLED: [OnceLock<Template>; TEMPLATES] = [const { OnceLock::new() }; TEMPLATES];
    let which = seed % TEMPLATES as u64;
    let template = match kind {
        Kind::Crash(cut) => return Ok(Outcome::Crash(crash::run(cut, seed)?)),
        Kind::Corrupt => FILLED.get(usize::try_from(which).unwrap_or(0)),
    };
    let template = template.ok_or_else(|| io::Error::other("no such template"))?;
    if template.get().is_none() {
        // Two threads may fill it at once; one is kept, and both are the same.
        drop(template.set(Template::new(which)?));
    }
    let template = template.get().ok_or_else(|| io::Error::other("the template is gone"))?;
    Ok(Outcome::Corrupt(template.damage(seed)?))
}

/// How many panics there were in this process, in whatever thread: those of the spool's threads come to nobody else's ears.
fn panics() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            COUNT.fetch_add(1, Ordering::SeqCst);
            before(info);
        }));
    });
    COUNT.load(Ordering::SeqCst)
}

#[cfg(test)]
mod tests {
    use super::{Kind, Tally, panics};

    #[test]
    fn a_few_missing_of_many_are_within_the_bound_and_a_failure_never_is() {
        let tally = |undamaged, missing| Tally { undamaged, missing, ..Tally::default() };
        assert!(tally(0, 0).is_faultless() && tally(1000, 1).is_faultless());
        assert!(!tally(1000, 2).is_faultless());
        let failed = Tally { failed: vec![(7, "it does not open".to_owned())], ..Tally::default() };
        assert!(!failed.is_faultless());
        assert!(failed.to_string().ends_with("seed 7: it does not open"));
    }

    #[test]
    fn a_panic_of_any_thread_is_counted() {
        let before = panics();
        assert!(std::thread::spawn(|| panic!("meant")).join().is_err());
        assert!(panics() > before);
    }

    #[test]
    fn kinds_have_names() {
        assert_eq!(Kind::named("corrupt"), Some(Kind::Corrupt));
        assert_eq!(Kind::named("nonsense"), None);
    }
}
