//! Whatever bytes lie in the buffer's directory, `tidegate run` starts within a second, delivers what is whole and says what is
//! not.
//!
//! `TIDEGATE_CORRUPTIONS=500 tests/run corruption` tries so many; 12 without it. `TIDEGATE_SEED` repeats a run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidegate_tests::device::{accounts, finish_all};
use tidegate_tests::oracle::Account;
use tidegate_tests::{Cloud, Device, Must, Plan, Random, gateway};

// Without a number asked for.
const SHORT: usize = 12;
const EACH: u64 = 2_500;
const DEVICES: usize = 4;
const EVENTS: u64 = 10_000;
// The roots of all tables are among the first pages.
const ROOTS: u64 = 13;
// Small, so that the backlog is many batches.
const WINDOW: usize = 5;
const PAGE_BYTES: u64 = 4096;
const START_LIMIT: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_millis(500);
// One of these words stands in every report of damage.
const REPORTS: [&str; 4] = ["damaged", "missing", "set aside", "no database"];

/// What is done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Flip,
    Zero,
    Truncate,
    Swap,
    StaleWal,
    Missing,
}

const KINDS: [Kind; 6] = [Kind::Flip, Kind::Zero, Kind::Truncate, Kind::Swap, Kind::StaleWal, Kind::Missing];

/// Two directories with the same backlog: as a kill -9 leaves it, and as a stop does.
struct Originals {
    killed: TempDir,
    stopped: TempDir,
    accounts: Vec<Account>,
}

fn originals() -> Originals {
    let cloud = Cloud::start();
    cloud.cut();
    let mut gateway = gateway!().uplink(cloud.port()).start();
    let plan = |n| Plan::new(&format!("device-{n}"), gateway.port(), 0..EACH).window(WINDOW);
    let mut devices: Vec<_> = (0..DEVICES).map(|n| Device::raw(plan(n))).collect();
    finish_all(&mut devices, LIMIT);
    gateway.kill();
    let killed = copy(&gateway.buffer_dir());
    gateway.restart();
    gateway.stop();
    Originals { killed, stopped: copy(&gateway.buffer_dir()), accounts: accounts(&devices) }
}

fn copy(from: &Path) -> TempDir {
    let to = TempDir::with_prefix_in("buffer-", env!("CARGO_TARGET_TMPDIR")).must("make a temporary folder");
    for file in files(from) {
        fs::copy(&file, to.path().join(file.file_name().must("a name"))).must("copy a file");
    }
    to
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).must("list a folder").map(|entry| entry.must("list a folder").path());
    // A running gateway has a socket there as well.
    let mut files: Vec<_> = entries.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

/// One corruption.
#[derive(Debug)]
struct Damage {
    kind: Kind,
    file: String,
    // How many of the file's pages have other bytes than before, or are gone.
    pages: u64,
    of_pages: u64,
}

impl Damage {
    // Of a log that ends early nothing can be told from one that a crash has cut off, and of a file that is gone nothing from one
    // that never was.
    fn can_be_told(&self) -> bool {
        self.file.starts_with("buffer.db") && !self.file.contains('-') && self.kind != Kind::Missing
    }
}

// Does it to one of the files that have bytes.
fn corrupt(kind: Kind, dir: &Path, originals: &Originals, random: &mut Random) -> Damage {
    let worth: Vec<_> = files(dir).into_iter().filter(|path| size(path) > 0).collect();
    let worth: Vec<&Path> = worth.iter().map(PathBuf::as_path).collect();
    let wal = dir.join("buffer.db-wal");
    let path = if kind == Kind::StaleWal { &wal } else { random.one_of(&worth) };
    let of_pages = if path.exists() { size(path).div_ceil(PAGE_BYTES) } else { 0 };
    let pages = match kind {
        Kind::Flip => flip(path, random),
        Kind::Zero => zero(path, random),
        Kind::Truncate => {
            let length = random.within(0..size(path));
            open(path).set_len(length).must("cut a file");
            of_pages - length / PAGE_BYTES
        }
        Kind::Swap => swap(path, random),
        Kind::Missing => {
            fs::remove_file(path).must("remove a file");
            of_pages
        }
        Kind::StaleWal => {
            exchange_wal(path, originals, random);
            of_pages
        }
    };
    let file = path.file_name().must("a name").display().to_string();
    Damage { kind, file, pages, of_pages }
}

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).must("open a file")
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).must("look at a file").len()
}

fn flip(path: &Path, random: &mut Random) -> u64 {
    let (file, size) = (open(path), size(path));
    let places: BTreeSet<_> = (0..random.within(1..9)).map(|_| random.within(0..size)).collect();
    for at in &places {
        let mut byte = [0];
        file.read_exact_at(&mut byte, *at).must("read a byte");
        byte[0] ^= 1 << random.within(0..8);
        file.write_all_at(&byte, *at).must("write a byte");
    }
    places.iter().map(|at| at / PAGE_BYTES).collect::<BTreeSet<_>>().len() as u64
}

fn zero(path: &Path, random: &mut Random) -> u64 {
    let at = random.within(0..size(path));
    let length = random.within(1..64 << 10).min(size(path) - at);
    let zeros = vec![0; usize::try_from(length).must("size a gap")];
    open(path).write_all_at(&zeros, at).must("write zeros");
    (at + length - 1) / PAGE_BYTES - at / PAGE_BYTES + 1
}

fn swap(path: &Path, random: &mut Random) -> u64 {
    let (file, pages) = (open(path), (size(path) / PAGE_BYTES).max(1));
    let [one, other] = [0, 0].map(|_| random.within(0..pages) * PAGE_BYTES);
    swap_pages(&file, one, other);
    2
}

fn swap_pages(file: &File, one: u64, other: u64) {
    let read = |at| {
        let mut page = vec![0; 4096];
        let count = file.read_at(&mut page, at).must("read a page");
        page.truncate(count);
        page
    };
    let (first, second) = (read(one), read(other));
    file.write_all_at(&second, one).must("write a page");
    file.write_all_at(&first, other).must("write a page");
}

// The log of another moment, or a part of it, in the place of its own.
fn exchange_wal(path: &Path, originals: &Originals, random: &mut Random) {
    let mut bytes = fs::read(originals.killed.path().join("buffer.db-wal")).must("read a log");
    let keep = random.within(1..u64::try_from(bytes.len()).must("size a log") + 1);
    bytes.truncate(usize::try_from(keep).must("size a log"));
    fs::write(path, bytes).must("write a log");
}

/// What became of one kind.
#[derive(Debug, Default)]
struct Sum {
    tried: usize,
    lost: usize,
    // What the pages that were damaged hold on average.
    damaged: u64,
    slowest: Duration,
}

/// What one corruption did.
struct Outcome {
    damage: Damage,
    lost: usize,
    start: Duration,
    // What it must not have done.
    complaint: Option<String>,
}

fn attempt(kind: Kind, originals: &Originals, random: &mut Random) -> Outcome {
    let original = if random.once_in(2) { &originals.killed } else { &originals.stopped };
    let dir = copy(original.path());
    let damage = corrupt(kind, dir.path(), originals, random);
    judge(damage, dir.path(), originals)
}

// Two pages of the database in each other's place.
fn attempt_swap(one: u64, other: u64, originals: &Originals) -> Outcome {
    let dir = copy(originals.stopped.path());
    let path = dir.path().join("buffer.db");
    swap_pages(&open(&path), one * PAGE_BYTES, other * PAGE_BYTES);
    let (file, of_pages) = (format!("buffer.db, pages {one} and {other}"), size(&path) / PAGE_BYTES);
    judge(Damage { kind: Kind::Swap, file, pages: 2, of_pages }, dir.path(), originals)
}

fn judge(damage: Damage, dir: &Path, originals: &Originals) -> Outcome {
    let cloud = Cloud::start();
    let builder = gateway!().uplink(cloud.port()).buffer_dir(dir);
    let begun = Instant::now();
    let started = catch_unwind(AssertUnwindSafe(|| builder.start()));
    let start = begun.elapsed();
    let Ok(mut gateway) = started else {
        let complaint = Some(format!("did not start: {damage:?}"));
        return Outcome {
            damage,
            lost: originals.accounts.iter().map(|account| account.acked.len()).sum(),
            start,
            complaint,
        };
    };
    let findings = cloud.drained(&originals.accounts, QUIET, LIMIT);
    assert!(gateway.process().is_running(), "{damage:?}: {}", gateway.process());
    let log = gateway.log();
    gateway.stop();
    let lost = findings.lost.len();
    let reported = REPORTS.iter().any(|word| log.contains(word));
    let faults = [
        (start > START_LIMIT, "started too late"),
        (log.contains("panicked"), "panicked"),
        (!findings.invented.is_empty() || !findings.damaged.is_empty(), "delivered what was never sent"),
        (lost > 0 && !reported && damage.can_be_told(), "said nothing of what is lost"),
    ];
    let faults: Vec<_> = faults.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect();
    let complaint = format!("{faults:?} after {start:?}: {damage:?}: {findings}\n{log}");
    Outcome { damage, lost, start, complaint: (!faults.is_empty()).then_some(complaint) }
}

#[expect(clippy::print_stderr, reason = "the seed and the figures belong into the report of the test")]
fn say(line: &str) {
    eprintln!("{line}");
}

#[test]
fn it_starts_whatever_is_done_to_the_files_and_delivers_what_is_whole() {
    let asked = std::env::var("TIDEGATE_CORRUPTIONS");
    let count = asked.map_or(SHORT, |text| text.parse().must("a number in TIDEGATE_CORRUPTIONS"));
    let seed = if count > SHORT { Random::seed() } else { 1 };
    let mut random = Random::new(seed);
    let originals = originals();
    sum_up((0..count).map(|_| {
        let kind = random.one_of(&KINDS);
        attempt(kind, &originals, &mut random)
    }));
}

#[test]
fn it_starts_when_two_tables_of_the_database_have_changed_places() {
    let originals = originals();
    let pairs = (0..ROOTS).flat_map(|one| (one + 1..ROOTS).map(move |other| (one, other)));
    sum_up(pairs.map(|(one, other)| attempt_swap(one, other, &originals)));
}

fn sum_up(outcomes: impl Iterator<Item = Outcome>) {
    let (mut sums, mut complaints, mut count) = (BTreeMap::<_, Sum>::new(), Vec::new(), 0);
    for Outcome { damage, lost, start, complaint } in outcomes {
        count += 1;
        complaints.extend(complaint);
        let file = damage.file.split(',').next().unwrap_or_default().to_owned();
        let sum = sums.entry((damage.kind, file)).or_default();
        sum.tried += 1;
        sum.lost += lost;
        sum.damaged += EVENTS * damage.pages / damage.of_pages.max(1);
        sum.slowest = sum.slowest.max(start);
    }
    for ((kind, file), Sum { tried, lost, damaged, slowest }) in sums {
        let held = format!("{lost} lost ({damaged} in as many pages)");
        say(&format!("{kind:?} of {file}: {tried} tried, {held}, slowest start {slowest:?}"));
    }
    assert!(complaints.is_empty(), "{} of {count}:\n{}", complaints.len(), complaints.join("\n"));
}
