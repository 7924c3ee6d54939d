//! Devices: they publish numbered events with QoS 1 or 2, keep at it through every fault, and know exactly what was acknowledged.

mod commands;
mod exact;
mod raw;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::must::{Must, fail};
use crate::oracle::Account;
use crate::process::Process;
use crate::wait::within;
use crate::wire::Version;

/// What a device is to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its client id, and its name in events.
    pub name: String,
    /// Where it connects.
    pub port: u16,
    /// The numbers of its events.
    pub events: Range<u64>,
    /// How many may be unacknowledged.
    pub window: usize,
    /// Protocol version.
    pub version: Version,
    /// Whether at QoS 2, in a session that is kept (raw devices); otherwise at QoS 1.
    pub exact: bool,
    /// At most so many new events a second (raw devices); nothing for as many as the window lets through.
    pub events_per_s: Option<u32>,
}

impl Plan {
    /// A device of MQTT 5 with a window of 100.
    pub fn new(name: &str, port: u16, events: Range<u64>) -> Self {
        let (name, version) = (name.to_owned(), Version::V5);
        Self { name, port, events, window: 100, version, exact: false, events_per_s: None }
    }

    /// At QoS 2, in a session that is kept.
    pub fn exact(self) -> Self {
        Self { exact: true, ..self }
    }

    /// With another version.
    pub fn version(self, version: Version) -> Self {
        Self { version, ..self }
    }

    /// At a steady pace.
    pub fn paced(self, events_per_s: u32) -> Self {
        Self { events_per_s: Some(events_per_s), ..self }
    }

    /// With another window.
    pub fn window(self, window: usize) -> Self {
        Self { window, ..self }
    }
}

/// What a device has done so far; shared between the test and the device's thread.
#[derive(Debug, Default)]
pub struct Progress {
    acked: Mutex<BTreeSet<u64>>,
    resent: Mutex<BTreeSet<u64>>,
    refusals: Mutex<Vec<u8>>,
    misordered_acks: AtomicUsize,
    connections: AtomicUsize,
    sent: AtomicUsize,
    stop: AtomicBool,
}

impl Progress {
    fn add_acked(&self, seq: u64) {
        self.acked.lock().unwrap_or_else(PoisonError::into_inner).insert(seq);
    }

    fn add_resent(&self, seqs: impl IntoIterator<Item = u64>) {
        self.resent.lock().unwrap_or_else(PoisonError::into_inner).extend(seqs);
    }

    fn add_refusal(&self, reason: u8) {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).push(reason);
    }

    fn acked(&self) -> usize {
        self.acked.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

enum Runner {
    Thread(Option<JoinHandle<()>>),
    Process(Box<Process>),
}

/// A running device.
pub struct Device {
    plan: Plan,
    progress: Arc<Progress>,
    runner: Runner,
}

impl Device {
    /// A device that speaks in raw bytes: it knows most, and costs least.
    pub fn raw(plan: Plan) -> Self {
        let progress = Arc::new(Progress::default());
        let (for_thread, to_do) = (Arc::clone(&progress), plan.clone());
        let thread = std::thread::spawn(move || match to_do.exact {
            true => exact::run(&to_do, &for_thread),
            false => raw::run(&to_do, &for_thread),
        });
        Self { plan, progress, runner: Runner::Thread(Some(thread)) }
    }

    /// A device of the paho client for Python.
    pub fn paho(plan: Plan) -> Self {
        let progress = Arc::new(Progress::default());
        let process = commands::paho(&plan, &progress);
        Self { plan, progress, runner: Runner::Process(Box::new(process)) }
    }

    /// `mosquitto_pub -l`: all of its events are acknowledged when it ends well, and none is known to be before.
    pub fn mosquitto_pub(plan: Plan) -> Self {
        let process = commands::mosquitto_pub(&plan);
        Self { plan, progress: Arc::default(), runner: Runner::Process(Box::new(process)) }
    }

    /// How many of its events are acknowledged.
    pub fn acked(&self) -> usize {
        self.progress.acked()
    }

    /// How many different events it has published (raw devices).
    pub fn sent(&self) -> usize {
        self.progress.sent.load(Ordering::Relaxed)
    }

    /// How often it has connected (raw devices).
    pub fn connections(&self) -> usize {
        self.progress.connections.load(Ordering::Relaxed)
    }

    /// The reasons of PUBACKs that refused an event (raw devices).
    pub fn refusals(&self) -> Vec<u8> {
        self.progress.refusals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether an acknowledgement came out of the order of publishing (raw devices).
    pub fn misordered_acks(&self) -> usize {
        self.progress.misordered_acks.load(Ordering::Relaxed)
    }

    /// Waits until every event is acknowledged and the device has ended.
    #[track_caller]
    pub fn finish(&mut self, limit: Duration) {
        match &mut self.runner {
            Runner::Thread(thread) => {
                let done = within(limit, || thread.as_ref().must("one finish").is_finished().then_some(()));
                let (name, acked) = (&self.plan.name, self.progress.acked());
                assert!(done.is_some(), "device {name}: only {acked} acknowledged within {limit:?}");
                let joined = thread.take().must("one finish").join();
                joined.unwrap_or_else(|_| fail(format_args!("device {} failed", self.plan.name)));
            }
            Runner::Process(process) => {
                let status = process.wait_exit(limit);
                assert!(status.success(), "device {} ended with {status}\n{process}", self.plan.name);
                if self.progress.acked() == 0 {
                    self.plan.events.clone().for_each(|seq| self.progress.add_acked(seq));
                }
            }
        }
        let planned = usize::try_from(self.plan.events.end - self.plan.events.start).must("count events");
        assert_eq!(self.acked(), planned, "device {} did not get all acknowledged", self.plan.name);
    }

    /// Ends it where it stands (raw devices): once this returns it sends nothing more.
    pub fn halt(&mut self) {
        self.progress.stop.store(true, Ordering::Relaxed);
        if let Runner::Thread(thread) = &mut self.runner
            && let Some(Err(_)) = thread.take().map(JoinHandle::join)
        {
            fail(format_args!("device {} failed", self.plan.name));
        }
    }

    /// What it did, for the oracle.
    pub fn account(&self) -> Account {
        let events = &self.plan.events;
        let planned = match &self.runner {
            // It sends in order, so that a count says which.
            Runner::Thread(_) => events.start..events.start + u64::try_from(self.sent()).must("count events"),
            Runner::Process(_) => events.clone(),
        };
        Account {
            device: self.plan.name.clone(),
            planned,
            acked: self.progress.acked.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            resent: self.progress.resent.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.progress.stop.store(true, Ordering::Relaxed);
    }
}

/// Waits until these devices together hold at least `count` acknowledgements.
#[track_caller]
pub fn wait_acked(devices: &[Device], count: usize, limit: Duration) {
    let total = || devices.iter().map(Device::acked).sum::<usize>();
    let reached = within(limit, || (total() >= count).then_some(()));
    assert!(reached.is_some(), "{} of {count} acknowledged within {limit:?}", total());
}

/// Finishes all of these devices.
#[track_caller]
pub fn finish_all(devices: &mut [Device], limit: Duration) {
    devices.iter_mut().for_each(|device| device.finish(limit));
}

/// The accounts of all of these devices.
pub fn accounts(devices: &[Device]) -> Vec<Account> {
    devices.iter().map(Device::account).collect()
}
