//! Power cuts by the file system: ext4 is shut down under the running gateway and forgets what it had not written.
//!
//! The gateway's buffer lives on one file system through all cuts. Two controls must lose, or the cuts cut nothing: a mosquitto
//! with persistence in the gateway's place, which acknowledges before it stores, and a SQLite writer with `synchronous = OFF`,
//! which loses by the cut alone.

use std::thread;
use std::time::Duration;

use tidegate_tests::device::accounts;
use tidegate_tests::subject::Settings;
use tidegate_tests::{Cloud, LoopDisk, Subject, wait_for};

use crate::cuts::{Tally, Weather, control_cuts, devices, verdict, with_sent};
use crate::{Site, say, sqlite};

const DISK_BYTES: u64 = 128 << 20;
const WINDOW: usize = 100;
const LIMIT: Duration = Duration::from_secs(30);
const QUIET: Duration = Duration::from_secs(3);
const TIDEGATE: Settings<'_> = Settings::Tidegate { buffer: "max_bytes = \"64 MiB\"", uplink: "" };
const CONTROL: Settings<'_> = Settings::Bridge { global: "autosave_on_changes true\nautosave_interval 1000" };

/// Cuts the gateway's power so often, then the controls'.
pub(crate) fn run(site: &mut Site, cuts: usize) -> bool {
    let mut tally = Tally::default();
    let disk = LoopDisk::mount(&site.folder, DISK_BYTES);
    for number in 0..cuts {
        let weather = site.random.one_of(&Weather::ALL);
        cut(site, TIDEGATE, &disk, weather, number, &mut tally);
        if (number + 1) % 10 == 0 {
            say(&format!("tidegate: {tally}"));
        }
    }
    let (mut bridge, mut writer) = (Tally::default(), Tally::default());
    for number in 0..control_cuts(cuts) {
        let disk = LoopDisk::mount(&site.folder, DISK_BYTES);
        cut(site, CONTROL, &disk, Weather::Away, number, &mut bridge);
        cut_writer(site, &disk, &mut writer);
    }
    let controls = [("mosquitto bridge with persistence", bridge), ("SQLite with synchronous = OFF", writer)];
    verdict("ext4 shut down", &tally, &controls)
}

fn cut(
    site: &mut Site,
    settings: Settings<'_>,
    disk: &LoopDisk,
    weather: Weather,
    number: usize,
    tally: &mut Tally,
) {
    let cloud = Cloud::start();
    if weather == Weather::Away {
        cloud.cut();
    }
    let mut subject = Subject::start(settings, &site.binary, &site.folder, Some(&disk.path()), cloud.port());
    let mut devices = devices(&format!("cut{number}"), subject.port(), WINDOW);
    let cut = disk.arm();
    wait_for("first acknowledgements", LIMIT, || devices.iter().all(|device| device.acked() > 0));
    let time = site.random.millis(50..1000);
    weather.blow(&cloud, time, &mut site.random);

    // Only what was read before the cut counts: a sync that the cut overtakes may still report success.
    let before = accounts(&devices);
    cut.now();
    subject.kill();
    devices.iter_mut().for_each(tidegate_tests::Device::halt);
    disk.remount();
    cloud.set_ack_delay(Duration::ZERO);
    cloud.heal();
    let before = with_sent(before, &devices);
    if let Err(said) = subject.restart() {
        say(&format!("does not start after the cut: {said}"));
        tally.add(&before, &cloud.audit(&before));
        return;
    }
    let findings = cloud.drained(&before, QUIET, LIMIT);
    subject.stop();
    let last = cloud.audit(&before);
    if !last.lost.is_empty() && matches!(settings, Settings::Tidegate { .. }) {
        say(&format!("cut {number}, cloud {weather:?}: {findings}"));
    }
    tally.add(&before, &last);
}

fn cut_writer(site: &mut Site, disk: &LoopDisk, tally: &mut Tally) {
    let mut writer = sqlite::writer(&disk.path(), "OFF");
    let cut = disk.arm();
    wait_for("a first row", LIMIT, || !writer.stdout.lock().is_empty());
    thread::sleep(site.random.millis(50..1000));
    let before = sqlite::account(&writer);
    cut.now();
    writer.kill();
    disk.remount();
    let findings = sqlite::audit_rows(&before, &disk.path());
    tally.add(&[before], &findings);
}
