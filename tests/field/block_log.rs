//! Power cuts by replay: the gateway runs once on a disk that writes everything down, then starts again and again on what a cut
//! at a random moment of that run would have left, with a random half of the writes since the last flush missing.
//!
//! The control is a SQLite writer with `synchronous = NORMAL`, whose commits do not wait for the disk: it must lose, or the
//! cuts cut nothing.

use std::thread;
use std::time::{Duration, Instant};

use tidegate_tests::block_log::{BlockLog, Recording};
use tidegate_tests::device::accounts;
use tidegate_tests::oracle::Account;
use tidegate_tests::subject::Settings;
use tidegate_tests::{Cloud, Device, Must, Random, Subject};

use crate::cuts::{Tally, Weather, control_cuts, devices, verdict};
use crate::{Site, say, sqlite};

const DISK_BYTES: u64 = 64 << 20;
// Small, so that a run has many commits and few events in each.
const WINDOW: usize = 8;
const LOOK_EVERY: Duration = Duration::from_millis(1);
const PHASE: Duration = Duration::from_secs(4);
const CONTROL_TIME: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_secs(3);
const SETTINGS: Settings<'_> = Settings::Tidegate { buffer: "max_bytes = \"32 MiB\"", uplink: "" };

/// What was true when the log had this length: everything here came before.
struct Mark {
    bytes: u64,
    acked: Vec<usize>,
    arrived: usize,
}

/// One run on record.
struct Run {
    recording: Recording,
    marks: Vec<Mark>,
    accounts: Vec<Account>,
    arrivals: Vec<(String, String)>,
}

/// Cuts the gateway's power so often, then the control's.
pub(crate) fn run(site: &mut Site, cuts: usize) -> bool {
    let run = record(site);
    run.describe("tidegate");
    let mut tally = Tally::default();
    for number in 0..cuts {
        replay(site, &run, number, &mut tally);
        if (number + 1) % 10 == 0 {
            say(&format!("tidegate: {tally}"));
        }
    }
    let run = record_control(site);
    run.describe("control");
    let mut control = Tally::default();
    for _ in 0..control_cuts(cuts) {
        replay_control(&run, &mut site.random, &mut control);
    }
    verdict("replay of the disk's log", &tally, &[("SQLite with synchronous = NORMAL", control)])
}

fn record(site: &mut Site) -> Run {
    let disk = BlockLog::record(&site.folder, DISK_BYTES);
    let cloud = Cloud::start();
    let mut subject = Subject::start(SETTINGS, &site.binary, &site.folder, Some(&disk.path()), cloud.port());
    let mut devices = devices("dev", subject.port(), WINDOW);
    let mut marks = Vec::new();
    let random = &mut site.random;
    thread::scope(|scope| {
        let weather = scope.spawn(|| {
            for weather in [Weather::Away, Weather::Slow, Weather::Flapping, Weather::Away] {
                weather.blow(&cloud, PHASE, random);
            }
        });
        while !weather.is_finished() {
            marks.push(look(&devices, &cloud, &disk));
            thread::sleep(LOOK_EVERY);
        }
    });
    subject.kill();
    devices.iter_mut().for_each(Device::halt);
    assert!(devices.iter().all(|device| device.misordered_acks() == 0), "PUBACKs left out of order");
    let arrivals = cloud.arrivals().clone();
    Run { recording: disk.finish(), marks, accounts: accounts(&devices), arrivals }
}

// The length of the log last, so that all else happened before it had that length.
fn look(devices: &[Device], cloud: &Cloud, disk: &BlockLog) -> Mark {
    let acked = devices.iter().map(Device::acked).collect();
    let arrived = cloud.count();
    Mark { bytes: disk.bytes(), acked, arrived }
}

impl Run {
    fn describe(&self, name: &str) {
        let (entries, flushes) = (self.recording.len(), self.recording.flushes());
        let acked: usize = self.accounts.iter().map(|account| account.acked.len()).sum();
        say(&format!("{name}: {entries} entries with {flushes} flushes on record, {acked} acknowledged"));
    }

    // A random moment after the first acknowledgement, and what was true then.
    fn moment(&self, random: &mut Random) -> (usize, &Mark) {
        let count = u64::try_from(self.recording.len()).must("count entries");
        loop {
            let entry = usize::try_from(random.within(0..count)).must("number an entry");
            let bytes = self.recording.bytes_at(entry);
            let before = self.marks.partition_point(|mark| mark.bytes <= bytes);
            let mark = before.checked_sub(1).and_then(|last| self.marks.get(last));
            if let Some(mark) = mark.filter(|mark| mark.acked.iter().any(|count| *count > 0)) {
                return (entry, mark);
            }
        }
    }

    // What was acknowledged by then. Acknowledgements come in order, so a count names them.
    fn accounts_at(&self, mark: &Mark) -> Vec<Account> {
        let of_device = |(account, count): (&Account, &usize)| Account {
            acked: account.acked.iter().copied().take(*count).collect(),
            ..account.clone()
        };
        self.accounts.iter().zip(&mark.acked).map(of_device).collect()
    }
}

fn replay(site: &mut Site, run: &Run, number: usize, tally: &mut Tally) {
    let (entry, mark) = run.moment(&mut site.random);
    let (disk, dropped) = run.recording.cut_behind(entry, &mut site.random);
    let cloud = Cloud::start();
    cloud.arrivals().extend(run.arrivals.iter().take(mark.arrived).cloned());
    let accounts = run.accounts_at(mark);
    let mut subject = Subject::start(SETTINGS, &site.binary, &site.folder, Some(&disk.path()), cloud.port());
    let findings = cloud.drained(&accounts, QUIET, LIMIT);
    let log = subject.log();
    subject.stop();
    let last = cloud.audit(&accounts);
    if !last.lost.is_empty() {
        say(&format!("cut {number} behind entry {entry}, {dropped} writes missing: {findings}\n{log}"));
    }
    tally.add(&accounts, &last);
}

fn record_control(site: &Site) -> Run {
    let disk = BlockLog::record(&site.folder, DISK_BYTES);
    let mut writer = sqlite::writer(&disk.path(), "NORMAL");
    let (mut marks, end) = (Vec::new(), Instant::now() + CONTROL_TIME);
    while Instant::now() < end {
        let acked = vec![writer.stdout.lock().len()];
        marks.push(Mark { bytes: disk.bytes(), acked, arrived: 0 });
        thread::sleep(LOOK_EVERY);
    }
    writer.kill();
    let account = sqlite::account(&writer);
    Run { recording: disk.finish(), marks, accounts: vec![account], arrivals: Vec::new() }
}

fn replay_control(run: &Run, random: &mut Random, tally: &mut Tally) {
    let (entry, mark) = run.moment(random);
    let (disk, _) = run.recording.cut_behind(entry, random);
    let accounts = run.accounts_at(mark);
    for account in accounts {
        let findings = sqlite::audit_rows(&account, &disk.path());
        tally.add(&[account], &findings);
    }
}
