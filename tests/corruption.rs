//! Whatever bytes lie in the buffer's directory, `tidegate run` starts within a second, delivers what is whole and says what is
//! not.
//!
//! `TIDEGATE_CORRUPTIONS=500 tests/run corruption` tries so many; 12 without it. `TIDEGATE_SEED` repeats a run.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidegate_tests::device::{accounts, finish_all};
use tidegate_tests::oracle::Account;
use tidegate_tests::{Cloud, Device, Must, Plan, Random, gateway};

const EACH: u64 = 2_500;
const DEVICES: usize = 4;
const EVENTS: usize = 10_000;
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
    let mut files: Vec<_> =
        fs::read_dir(dir).must("list a folder").map(|entry| entry.must("list a folder").path()).collect();
    files.sort();
    files
}

// Does it to one of the files that are worth it, and says what.
fn corrupt(kind: Kind, dir: &Path, originals: &Originals, random: &mut Random) -> String {
    let worth: Vec<_> = files(dir).into_iter().filter(|path| size(path) > 0).collect();
    let places: Vec<usize> = (0..worth.len()).collect();
    let path = &worth[random.one_of(&places)];
    let name = path.file_name().must("a name").display().to_string();
    let file = OpenOptions::new().read(true).write(true).open(path).must("open a file");
    match kind {
        Kind::Flip => flip(&file, size(path), random),
        Kind::Zero => {
            let at = random.within(0..size(path));
            let length = random.within(1..64 << 10).min(size(path) - at);
            let zeros = vec![0; usize::try_from(length).must("size a gap")];
            file.write_all_at(&zeros, at).must("write zeros");
        }
        Kind::Truncate => file.set_len(random.within(0..size(path))).must("cut a file"),
        Kind::Swap => swap(&file, size(path) / PAGE_BYTES, random),
        Kind::Missing => fs::remove_file(path).must("remove a file"),
        Kind::StaleWal => return exchange_wal(dir, originals, random),
    }
    name
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).must("look at a file").len()
}

fn flip(file: &File, size: u64, random: &mut Random) {
    for _ in 0..random.within(1..9) {
        let (at, mut byte) = (random.within(0..size), [0]);
        file.read_exact_at(&mut byte, at).must("read a byte");
        byte[0] ^= 1 << random.within(0..8);
        file.write_all_at(&byte, at).must("write a byte");
    }
}

fn swap(file: &File, pages: u64, random: &mut Random) {
    let [one, other] = [0, 0].map(|_| random.within(0..pages.max(1)) * PAGE_BYTES);
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
fn exchange_wal(dir: &Path, originals: &Originals, random: &mut Random) -> String {
    let from = originals.killed.path().join("buffer.db-wal");
    let mut bytes = fs::read(&from).must("read a log");
    let keep = random.within(1..u64::try_from(bytes.len()).must("size a log") + 1);
    bytes.truncate(usize::try_from(keep).must("size a log"));
    fs::write(dir.join("buffer.db-wal"), bytes).must("write a log");
    "buffer.db-wal".to_owned()
}

/// What became of one kind.
#[derive(Debug, Default)]
struct Sum {
    tried: usize,
    delivered: usize,
    slowest: Duration,
}

fn attempt(kinds: &[Kind], originals: &Originals, random: &mut Random) -> (usize, Duration) {
    let original = if random.once_in(2) { &originals.killed } else { &originals.stopped };
    let dir = copy(original.path());
    let names: Vec<_> = kinds.iter().map(|kind| corrupt(*kind, dir.path(), originals, random)).collect();
    let what = format!("{kinds:?} of {names:?}");
    let cloud = Cloud::start();
    let builder = gateway!().uplink(cloud.port()).buffer_dir(dir.path());
    let begun = Instant::now();
    let mut gateway = builder.start();
    let start = begun.elapsed();
    let findings = cloud.drained(&originals.accounts, QUIET, LIMIT);
    assert!(gateway.process().is_running(), "{what}: {}", gateway.process());
    let log = gateway.log();
    gateway.stop();
    assert!(start <= START_LIMIT, "{what}: started after {start:?}\n{log}");
    assert!(!log.contains("panicked"), "{what}: {log}");
    assert!(findings.invented.is_empty() && findings.damaged.is_empty(), "{what}: {findings}\n{log}");
    let missing_file = kinds.contains(&Kind::Missing);
    let said = REPORTS.iter().any(|word| log.contains(word));
    assert!(findings.lost.is_empty() || said || missing_file, "{what}: {findings}, and not a word:\n{log}");
    if !findings.lost.is_empty() {
        eprintln!("{what}: {} of {EVENTS} lost", findings.lost.len());
    }
    (EVENTS - findings.lost.len(), start)
}

#[test]
fn it_starts_whatever_is_done_to_the_files_and_delivers_what_is_whole() {
    let seed = Random::seed();
    eprintln!("TIDEGATE_SEED={seed}");
    let mut random = Random::new(seed);
    let count = std::env::var("TIDEGATE_CORRUPTIONS")
        .map_or(12, |text| text.parse().must("a number in TIDEGATE_CORRUPTIONS"));
    let originals = originals();
    let mut sums: BTreeMap<Kind, Sum> = BTreeMap::new();
    for number in 0..count {
        let kind = KINDS[number % KINDS.len()];
        let (delivered, start) = attempt(&[kind], &originals, &mut random);
        let sum = sums.entry(kind).or_default();
        sum.tried += 1;
        sum.delivered += delivered;
        sum.slowest = sum.slowest.max(start);
    }
    for (kind, Sum { tried, delivered, slowest }) in sums {
        let stored = tried * EVENTS;
        eprintln!("{kind:?}: {tried} tried, {delivered} of {stored} delivered, slowest start {slowest:?}");
    }
}
