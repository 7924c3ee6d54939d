//! One cell of the table: devices, a subject, a cloud, and the fault between them.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use tidegate_tests::device::{accounts, finish_all, wait_acked};
use tidegate_tests::oracle::{Account, Findings, audit};
use tidegate_tests::wait::drained;
use tidegate_tests::wire::Version;
use tidegate_tests::{Broker, Cloud, Device, Plan, Random, Relay, Subject};

use crate::cuts::with_sent;
use crate::{Site, say};

use super::Cell;
use super::fault::{Fault, Place};
use super::setting::Setting;

const DEVICES: usize = 4;
const EACH: u64 = 2_500;
// So slow that a fault falls among them, so quick that the table is done in minutes.
const EVENTS_PER_S: u32 = 1_250;
const LIMIT: Duration = Duration::from_secs(120);
// Longer than a bridge takes to connect again, which is 5 s and more when it saves at every change.
const QUIET: Duration = Duration::from_secs(30);
const AWAY: Duration = Duration::from_millis(300);

/// The cloud: ours where that will do, a real mosquitto behind a relay where it is killed.
pub(super) enum Upstream {
    Ours(Cloud),
    Killable(Box<Broker>, Relay),
}

impl Upstream {
    fn start(fault: Fault) -> Self {
        if fault == Fault::CloudKill {
            let broker = Broker::start();
            let relay = Relay::start(broker.port(), Version::V5);
            return Self::Killable(Box::new(broker), relay);
        }
        let cloud = Cloud::start();
        if !fault.has_cloud() {
            cloud.cut();
        }
        Self::Ours(cloud)
    }

    fn port(&self) -> u16 {
        match self {
            Self::Ours(cloud) => cloud.port(),
            Self::Killable(_, relay) => relay.port(),
        }
    }

    pub(super) fn drop_connections(&self) {
        match self {
            Self::Ours(cloud) => cloud.drop_connections(),
            Self::Killable(_, relay) => relay.drop_connections(),
        }
    }

    pub(super) fn set_ack_delay(&self, delay: Duration) {
        match self {
            Self::Ours(cloud) => cloud.set_ack_delay(delay),
            Self::Killable(_, relay) => relay.set_ack_delay(delay),
        }
    }

    /// SIGKILL of the broker, and a moment without it.
    pub(super) fn kill_and_restart(&mut self) {
        if let Self::Killable(broker, _) = self {
            broker.kill();
            thread::sleep(AWAY);
            broker.restart();
        }
    }

    fn heal(&self) {
        match self {
            Self::Ours(cloud) => cloud.heal(),
            Self::Killable(_, relay) => relay.heal(),
        }
    }

    fn count(&self) -> usize {
        match self {
            Self::Ours(cloud) => cloud.count(),
            Self::Killable(_, relay) => relay.record().acked().count(),
        }
    }

    fn announced_gaps(&self) -> usize {
        match self {
            Self::Ours(cloud) => cloud.announced_gaps(),
            Self::Killable(..) => 0,
        }
    }

    // Of a broker that is killed and forgets, what it has acknowledged counts as delivered.
    fn audit(&self, accounts: &[Account]) -> Findings {
        match self {
            Self::Ours(cloud) => cloud.audit(accounts),
            Self::Killable(_, relay) => {
                let record = relay.record();
                let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
                audit(accounts, record.acked().map(|(topic, payload)| (topic, text(payload))))
            }
        }
    }
}

/// All that plays a part in a cell.
pub(super) struct Stage<'a> {
    random: &'a mut Random,
    subject: Subject,
    devices: Vec<Device>,
    // Of devices that a power cut ended: what they held before it.
    ended: Vec<Account>,
    ended_sent: usize,
    pub(super) upstream: Upstream,
    // Last, so that it is unmounted after the subject has gone.
    place: Place,
}

/// Measures one cell.
pub(super) fn measure(site: &mut Site, fault: Fault, setting: Setting) -> Cell {
    let (place, upstream) = (fault.place(&site.folder), Upstream::start(fault));
    let storage = storage(&place);
    let (binary, folder) = (&site.binary, &site.folder);
    let subject = Subject::start(setting.settings, binary, folder, storage.as_deref(), upstream.port());
    let devices = devices("device", subject.port());
    let (random, ended) = (&mut site.random, Vec::new());
    let mut stage = Stage { random, subject, devices, ended, ended_sent: 0, upstream, place };
    match fault.happen(&mut stage) {
        Ok(()) => stage.finish(),
        Err(said) => {
            say(&format!("{} does not start after {}: {said}", setting.name, fault.name()));
            stage.upstream.heal();
            stage.cell()
        }
    }
}

fn storage(place: &Place) -> Option<PathBuf> {
    match place {
        Place::Plain => None,
        Place::Loop(disk) => Some(disk.path()),
        Place::Failing(disk) => Some(disk.path()),
    }
}

fn devices(prefix: &str, port: u16) -> Vec<Device> {
    let plan = |n| Plan::new(&format!("{prefix}-{n}"), port, 0..EACH).paced(EVENTS_PER_S);
    (0..DEVICES).map(|n| Device::raw(plan(n))).collect()
}

impl Stage<'_> {
    /// Waits until a random part of what is still to come is acknowledged.
    pub(super) fn wait_moment(&mut self) {
        let acked: usize = self.devices.iter().map(Device::acked).sum();
        let planned = usize::try_from(EACH).unwrap_or(0) * self.devices.len();
        let moment = Setting::moment(self.random, planned - acked);
        wait_acked(&self.devices, acked + moment, LIMIT);
    }

    /// Ends the subject at a random moment and starts it again.
    pub(super) fn restarted(&mut self, end: impl FnOnce(&mut Subject)) -> Result<(), String> {
        self.wait_moment();
        self.restarted_at_once(end)
    }

    /// Ends the subject now and starts it again.
    pub(super) fn restarted_at_once(&mut self, end: impl FnOnce(&mut Subject)) -> Result<(), String> {
        end(&mut self.subject);
        self.subject.restart()
    }

    /// Cuts the power of the file system at a random moment; only what was acknowledged before it counts, and new devices
    /// publish as much again afterwards.
    pub(super) fn power_cut(&mut self) -> Result<(), String> {
        self.wait_moment();
        let Place::Loop(disk) = &self.place else { return Ok(()) };
        let cut = disk.arm();
        let before = accounts(&self.devices);
        cut.now();
        self.subject.kill();
        self.devices.iter_mut().for_each(Device::halt);
        self.ended = with_sent(before, &self.devices);
        self.ended_sent = self.devices.drain(..).map(|device| device.sent()).sum();
        disk.remount();
        self.subject.restart()?;
        self.devices = devices("later", self.subject.port());
        Ok(())
    }

    /// Does something to the buffer's disk at a random moment.
    pub(super) fn with_place(&mut self, act: impl FnOnce(&Place)) {
        self.wait_moment();
        act(&self.place);
    }

    // The faults are over: devices get their acknowledgements, and the cloud everything.
    fn finish(mut self) -> Cell {
        finish_all(&mut self.devices, LIMIT);
        self.upstream.heal();
        if !self.drained().lost.is_empty() {
            // A bridge that has come to rest may need another event to go on; it shall not be called lossy for that.
            let mut nudge = Device::raw(Plan::new("nudge", self.subject.port(), 0..1));
            nudge.finish(LIMIT);
            self.devices.push(nudge);
            self.drained();
        }
        self.subject.stop();
        self.cell()
    }

    fn drained(&self) -> Findings {
        let accounts = self.accounts();
        drained(|| self.upstream.count(), || self.upstream.audit(&accounts), QUIET, LIMIT)
    }

    fn accounts(&self) -> Vec<Account> {
        self.ended.iter().cloned().chain(accounts(&self.devices)).collect()
    }

    fn cell(&self) -> Cell {
        let accounts = self.accounts();
        let findings = self.upstream.audit(&accounts);
        let evicted = self.upstream.announced_gaps().min(findings.lost.len());
        Cell {
            sent: self.ended_sent + self.devices.iter().map(Device::sent).sum::<usize>(),
            acked: accounts.iter().map(|account| account.acked.len()).sum(),
            lost: findings.lost.len() - evicted,
            evicted,
            duplicated: findings.repeated.len(),
            reordered: findings.misordered.len(),
            wrong: findings.invented.len() + findings.damaged.len(),
        }
    }
}
