//! A full disk is a normal state: it is filled up beside the buffer and freed again, at random moments under load. Nothing
//! acknowledged is lost but what the policy gave up and announced, and it goes on by itself, without a restart.
//!
//! `TIDEGATE_DISK_FULL=200 tests/run disk_full` fills it so often for each policy; 6 times without it. `TIDEGATE_SEED` repeats a
//! run.

use std::path::Path;
use std::thread;
use std::time::Duration;

use tidegate_tests::device::accounts;
use tidegate_tests::event::Event;
use tidegate_tests::{Cloud, Device, Gateway, LoopDisk, Must, Plan, Random, gateway, wait_for};

const DISK_BYTES: u64 = 48 << 20;
const DEVICES: usize = 4;
const EVENTS_PER_S: u32 = 500;
const ENDLESS: u64 = 10_000_000;
const QUOTA_EXCEEDED: u8 = 0x97;
const RECOVERY_LIMIT: Duration = Duration::from_secs(15);
const DRAIN_LIMIT: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_secs(3);
// The backlog is drained after so many times.
const DRAIN_EVERY: usize = 5;

struct Scene {
    random: Random,
    cloud: Cloud,
    devices: Vec<Device>,
    gateway: Gateway,
    // Last, so that it is unmounted after the gateway has gone.
    disk: LoopDisk,
}

fn scene(when_full: &str) -> Scene {
    let disk = LoopDisk::mount(Path::new(env!("CARGO_TARGET_TMPDIR")), DISK_BYTES);
    let cloud = Cloud::start();
    cloud.cut();
    let lines = format!("when_full = \"{when_full}\"");
    let builder = gateway!().uplink(cloud.port()).buffer(&lines);
    let gateway = builder.buffer_dir(&disk.path().join("buffer")).start();
    let plan = |n| Plan::new(&format!("device-{n}"), gateway.port(), 0..ENDLESS).paced(EVENTS_PER_S);
    let devices = (0..DEVICES).map(|n| Device::raw(plan(n))).collect();
    Scene { random: Random::new(Random::seed()), cloud, devices, gateway, disk }
}

#[expect(clippy::print_stderr, reason = "the figures belong into the report of the test")]
fn say(line: &str) {
    eprintln!("{line}");
}

fn times() -> usize {
    std::env::var("TIDEGATE_DISK_FULL").map_or(6, |text| text.parse().must("a number in TIDEGATE_DISK_FULL"))
}

impl Scene {
    // Gives how many of what the devices hold an acknowledgement for did not arrive.
    fn run(&mut self) -> usize {
        let pid = self.gateway.pid();
        for time in 1..=times() {
            self.fill_and_free();
            if time % DRAIN_EVERY == 0 {
                self.cloud.heal();
                self.wait_going_on("the cloud is back");
                self.cloud.cut();
            }
        }
        self.devices.iter_mut().for_each(Device::halt);
        let before = self.cloud.count();
        self.cloud.heal();
        // After so many outages the next attempt to connect may be far off.
        wait_for("the first of the backlog", DRAIN_LIMIT, || self.cloud.count() > before);
        let accounts = accounts(&self.devices);
        let findings = self.cloud.drained(&accounts, QUIET, DRAIN_LIMIT);
        assert!(findings.invented.is_empty() && findings.damaged.is_empty(), "{findings}");
        // Who was refused sends all that is in flight again, of which the gateway may have taken the later part.
        let resent = |event: &Event| {
            accounts
                .iter()
                .any(|account| account.device == event.device && account.resent.contains(&event.seq))
        };
        assert!(findings.misordered.iter().all(resent), "{findings}");
        assert_eq!(self.gateway.pid(), pid);
        assert!(self.gateway.process().is_running(), "{}", self.gateway.process());
        say(&format!("{} times full: {findings}, {} refusals", times(), self.refusals().len()));
        findings.lost.len()
    }

    fn fill_and_free(&mut self) {
        thread::sleep(self.random.millis(20..300));
        self.disk.fill();
        thread::sleep(self.random.millis(20..300));
        self.disk.free();
        self.wait_going_on("the disk has room again");
    }

    // Each device gets another acknowledgement, by itself.
    fn wait_going_on(&self, since: &str) {
        for device in &self.devices {
            let before = device.acked();
            wait_for(&format!("an acknowledgement since {since}"), RECOVERY_LIMIT, || {
                device.acked() > before
            });
        }
    }

    fn refusals(&self) -> Vec<u8> {
        self.devices.iter().flat_map(Device::refusals).collect()
    }
}

#[test]
fn a_full_disk_that_refuses_loses_nothing_and_goes_on_when_there_is_room() {
    let mut scene = scene("refuse");
    assert_eq!(scene.run(), 0, "acknowledged and not delivered");
    assert!(scene.refusals().iter().all(|reason| *reason == QUOTA_EXCEEDED), "{:?}", scene.refusals());
    scene.gateway.stop();
}

#[test]
fn a_full_disk_that_evicts_loses_only_what_it_says() {
    let mut scene = scene("evict-oldest");
    let missing = scene.run();
    wait_for("the announcement of all that is missing", DRAIN_LIMIT, || {
        scene.cloud.announced_gaps() >= missing
    });
    scene.gateway.stop();
}
