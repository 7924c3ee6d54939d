//! Every counter of the gateway at one moment.

use std::rc::Rc;

use serde::Serialize;
use tidegate_buffer::{Histogram, LaneUsage, Usage};

use super::waits::Waits;
use crate::devices;
use crate::gateway::Gateway;
use crate::listener::Traffic;
use crate::sources::{self, Sources};
use crate::uplinks::{Seen, Uplinks};

/// What snapshots are taken of.
pub(crate) struct Watched {
    gateway: Rc<Gateway>,
    uplinks: Rc<Uplinks>,
    sources: Rc<Sources>,
    listeners: Vec<(String, Rc<Traffic>)>,
    waiting: Rc<Waits>,
    started_ms: u64,
}

/// See the module. Counts are of this run, those of lanes of all runs.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Snapshot {
    pub(crate) gateway: String,
    pub(crate) version: &'static str,
    pub(crate) uptime_s: u64,
    pub(crate) connections: u64,
    pub(crate) events: Events,
    pub(crate) listeners: Vec<Listener>,
    /// Of them all: how long a device waited for an acknowledgement.
    #[serde(skip)]
    pub(crate) pubacks: Histogram,
    /// What listeners refused, by name.
    pub(crate) refused: Vec<(&'static str, u64)>,
    pub(crate) buffer: Buffer,
    pub(crate) uplinks: Vec<Uplink>,
    /// Those of `[[source]]`, and what comes down from uplinks under their names.
    pub(crate) sources: Vec<sources::Seen>,
    pub(crate) rules: Vec<Rule>,
}

/// What became of what devices published.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Events {
    pub(crate) received: u64,
    pub(crate) unrouted: u64,
    pub(crate) refused: u64,
    pub(crate) local_dropped: u64,
    pub(crate) local_expired: u64,
    pub(crate) unretained: u64,
}

/// What came in by a listener.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Listener {
    pub(crate) name: String,
    pub(crate) connections: u64,
    pub(crate) open: u64,
    pub(crate) events: u64,
    pub(crate) payload_bytes: u64,
}

/// The buffer as a whole.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Buffer {
    pub(crate) commits: u64,
    pub(crate) batches_written: u64,
    pub(crate) written_bytes: u64,
    pub(crate) disk_bytes: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) receipts_open: u64,
    pub(crate) oldest_in_memory_ms: u64,
    /// Entries that were set aside, as of some seconds ago.
    pub(crate) quarantined: u64,
    #[serde(skip)]
    pub(crate) commit_times: Histogram,
}

/// An uplink and its lanes.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Uplink {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) online: bool,
    /// How long it has been so.
    pub(crate) for_ms: u64,
    /// How many publishes may be in flight, as it is set.
    pub(crate) window: u16,
    /// As it is: the broker may take less. 0 before the first connection.
    pub(crate) window_in_effect: u16,
    #[serde(skip)]
    pub(crate) acks: Histogram,
    pub(crate) lanes: Vec<Lane>,
}

/// The books of a lane: `appended` is the sum of `left` and `backlog`.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Lane {
    pub(crate) priority: &'static str,
    pub(crate) appended: u64,
    pub(crate) left: Left,
    pub(crate) backlog: u64,
    pub(crate) backlog_bytes: u64,
    pub(crate) stored: u64,
    /// Age of the oldest record on disk, as of some seconds ago; nothing if there is none.
    pub(crate) oldest_ms: Option<u64>,
}

/// Records that left a lane, by the door.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Left {
    pub(crate) acked: u64,
    pub(crate) expired: u64,
    pub(crate) evicted_full: u64,
    pub(crate) evicted_age: u64,
    pub(crate) evicted_count: u64,
    pub(crate) evicted_newest: u64,
    pub(crate) quarantined: u64,
    pub(crate) lost: u64,
    pub(crate) purged: u64,
}

impl Left {
    /// By name.
    pub(crate) fn by_reason(&self) -> [(&'static str, u64); 9] {
        [
            ("acked", self.acked),
            ("expired", self.expired),
            ("evicted_full", self.evicted_full),
            ("evicted_age", self.evicted_age),
            ("evicted_count", self.evicted_count),
            ("evicted_newest", self.evicted_newest),
            ("quarantined", self.quarantined),
            ("lost", self.lost),
            ("purged", self.purged),
        ]
    }
}

/// What a rule has done.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) matched: u64,
    pub(crate) passed: u64,
    pub(crate) errors: u64,
    pub(crate) results: u64,
    pub(crate) late: u64,
    pub(crate) groups_closed_early: u64,
    pub(crate) left_out: u64,
}

impl Watched {
    pub(crate) fn new(
        gateway: Rc<Gateway>,
        (uplinks, sources): (Rc<Uplinks>, Rc<Sources>),
        listeners: Vec<(String, Rc<Traffic>)>,
        waiting: Rc<Waits>,
    ) -> Watched {
        let started_ms = gateway.clock.now_ms();
        Watched { gateway, uplinks, sources, listeners, waiting, started_ms }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let gateway = &self.gateway;
        let usage = gateway.spool.usage();
        let counted = gateway.books.counted();
        Snapshot {
            gateway: gateway.id.clone(),
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: gateway.clock.now_ms().saturating_sub(self.started_ms) / 1000,
            connections: gateway.connection_count() as u64,
            events: Events {
                received: counted.received,
                unrouted: counted.unrouted,
                refused: counted.refused,
                local_dropped: counted.local_dropped,
                local_expired: counted.local_expired,
                unretained: counted.unretained,
            },
            listeners: self.listeners.iter().map(listener).collect(),
            pubacks: gateway.reception.acks(),
            refused: gateway.reception.counts().by_name().into(),
            buffer: Buffer { quarantined: self.waiting.quarantined(), ..buffer(&usage) },
            uplinks: self.uplinks.seen().into_iter().map(|seen| self.uplink(seen, &usage)).collect(),
            sources: self.sources.seen().into_iter().chain(self.uplinks.downlinks_seen()).collect(),
            rules: self.rules(),
        }
    }

    fn uplink(&self, seen: Seen, usage: &Usage) -> Uplink {
        let lanes = usage.lanes.iter().filter(|lane| lane.consumer == seen.name);
        let lanes = lanes.map(|found| Lane {
            oldest_ms: self.waiting.oldest_ms(&found.consumer, found.priority).filter(|_| found.stored > 0),
            ..lane(found)
        });
        let lanes = lanes.collect();
        Uplink {
            name: seen.name,
            address: seen.address,
            online: seen.online,
            for_ms: seen.for_ms,
            acks: seen.acks,
            window: seen.window.0,
            window_in_effect: seen.window.1,
            lanes,
        }
    }

    /// The devices that were heard last, and how many are known.
    pub(crate) fn devices(&self) -> (Vec<devices::Seen>, usize) {
        self.gateway.devices()
    }

    fn rules(&self) -> Vec<Rule> {
        let pipeline = self.gateway.pipeline.borrow();
        let rule = |(name, counters): (&str, &tidegate_rules::Counters)| Rule {
            name: name.to_owned(),
            matched: counters.matched,
            passed: counters.passed,
            errors: counters.errors,
            results: counters.results,
            late: counters.late,
            groups_closed_early: counters.groups_closed_early,
            left_out: counters.left_out,
        };
        pipeline.rule_counters().map(rule).collect()
    }
}

fn listener((name, traffic): &(String, Rc<Traffic>)) -> Listener {
    Listener {
        name: name.clone(),
        connections: traffic.connections.get(),
        open: traffic.open.get(),
        events: traffic.events.get(),
        payload_bytes: traffic.payload_bytes.get(),
    }
}

fn buffer(usage: &Usage) -> Buffer {
    Buffer {
        commits: usage.commits,
        commit_times: usage.commit_times.clone(),
        quarantined: 0,
        batches_written: usage.rows_written,
        written_bytes: usage.bytes_written,
        disk_bytes: usage.disk_bytes,
        memory_bytes: usage.memory_bytes,
        receipts_open: usage.receipts_open,
        oldest_in_memory_ms: usage.oldest_ms.unwrap_or(0),
    }
}

fn lane(lane: &LaneUsage) -> Lane {
    Lane {
        priority: lane.priority.name(),
        appended: lane.appended,
        left: Left {
            acked: lane.acked,
            expired: lane.expired,
            evicted_full: lane.evicted_full,
            evicted_age: lane.evicted_age,
            evicted_count: lane.evicted_count,
            evicted_newest: lane.evicted_newest,
            quarantined: lane.quarantined,
            lost: lane.lost,
            purged: lane.purged,
        },
        backlog: lane.backlog,
        backlog_bytes: lane.backlog_bytes,
        stored: lane.stored,
        oldest_ms: None,
    }
}

impl Snapshot {
    fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.uplinks.iter().flat_map(|uplink| &uplink.lanes)
    }

    /// Records that wait for a cloud.
    pub(crate) fn backlog(&self) -> u64 {
        self.lanes().map(|lane| lane.backlog).sum()
    }

    /// Records that a cloud has acknowledged.
    pub(crate) fn acked(&self) -> u64 {
        self.lanes().map(|lane| lane.left.acked).sum()
    }
}
