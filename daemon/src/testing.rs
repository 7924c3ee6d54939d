//! A gateway without sockets for the tests of its parts: real rules, a real spool in a temporary folder.

use std::rc::Rc;
use std::sync::Arc;

use tidegate_buffer::{ConsumerId, ConsumerOptions, Consumers, Opened, Options, Priority, Record, Spool};
use tidegate_config::{Target, TopicTemplate};
use tidegate_rules::{DestinationSource, Encoding, OnError, Query, Rule, Source};

use crate::books::Books;
use crate::bus::{Bounds, Bus, QueueBounds};
use crate::clock::Clock;
use crate::gateway::Gateway;
use crate::labels::Labels;
use crate::listener::Limits;
use crate::pipeline::{Destination, Lane, Pipeline, Routing};
use crate::signals::Signals;
use crate::trace::Traces;

/// Where a test rule sends its output.
pub(crate) enum To {
    Cloud(&'static str),
    CloudAsIs,
    Local(&'static str),
}

/// A gateway and what a test needs to look into it.
pub(crate) struct World {
    pub(crate) gateway: Rc<Gateway>,
    pub(crate) signals: Arc<Signals>,
    pub(crate) cloud: ConsumerId,
    /// The first number of this run.
    pub(crate) first_seq: u64,
}

/// What the spool of a test may hold in memory.
pub(crate) const MEMORY_BYTES_MAX: usize = 1 << 20;

impl World {
    /// Opens, or opens again, the buffer in `folder`, with these queries and their destinations.
    pub(crate) fn open(folder: &std::path::Path, rules: &[(Query<'_>, To)]) -> World {
        World::open_with(folder, rules, limits())
    }

    /// The same, with other limits.
    pub(crate) fn open_with(folder: &std::path::Path, rules: &[(Query<'_>, To)], limits: Limits) -> World {
        World::open_at(Options::new(folder), rules, limits)
    }

    /// The same, with other options of the buffer.
    pub(crate) fn open_at(options: Options, rules: &[(Query<'_>, To)], limits: Limits) -> World {
        let signals = Signals::new();
        let options = Options { memory_bytes_max: MEMORY_BYTES_MAX, ..options };
        let opened =
            Spool::open(options, &[ConsumerOptions::new("cloud")], Arc::clone(&signals) as _).unwrap();
        let Opened { spool, first_seq, snapshot, journal, map, .. } = opened;
        let spool = Arc::new(spool);
        let cloud = spool.consumer("cloud").unwrap();
        let compiled =
            rules.iter().enumerate().map(|(number, (query, to))| compile(number, query, to)).collect();
        let destinations = rules.iter().map(|(_, to)| vec![destination(to, cloud)]).collect();
        let mut routing = Routing::new("g", compiled, destinations).shown(labels(rules), Traces::default());
        let rule_set = &mut routing.rules;
        if let Some(snapshot) = snapshot {
            rule_set.restore(&snapshot).unwrap();
        }
        journal.iter().for_each(|entry| rule_set.replay(entry).unwrap());
        let (clock, books) = (Clock::start(), Rc::new(Books::default()));
        let queue = QueueBounds { events_max: 4, bytes_max: 100_000 };
        let bus = Bus::new(Bounds { queue, ..Bounds::for_tests() });
        let mut pipeline =
            Pipeline::new(routing, bus, Arc::clone(&spool), first_seq, clock, Rc::clone(&books));
        pipeline.restore(&map);
        let gateway = Gateway::new("g".into(), clock, limits, pipeline, spool, books);
        World { gateway, signals, cloud, first_seq }
    }

    /// Reads what waits for the cloud once there is as much as expected; gives up after five seconds.
    pub(crate) fn at_cloud(&self, expected: usize) -> Vec<Record> {
        self.gateway.spool.set_online(self.cloud, true);
        let mut records = Vec::new();
        wait(|| {
            self.gateway.spool.read(self.cloud, 1000, 1 << 20, &mut records);
            records.len() >= expected
        });
        assert_eq!(records.len(), expected);
        records
    }
}

/// Waits until `done`, which has to come without further doing, for at most five seconds.
pub(crate) fn wait(mut done: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !done() {
        assert!(start.elapsed().as_secs() < 5, "did not come within 5 s");
        std::thread::yield_now();
    }
}

/// Panics if an event of this topic is published, as a mistake of ours would.
pub(crate) fn provoke(topic: &str) {
    assert_ne!(topic, PANIC_TOPIC, "provoked by a test");
}

/// The topic of [`provoke`].
pub(crate) const PANIC_TOPIC: &str = "panic";

pub(crate) fn limits() -> Limits {
    Limits {
        connections_max: 10,
        connections_per_address_max: 5,
        connects_per_s_max: 20,
        failed_logins_per_minute_max: 3,
        publishes_per_s_max: None,
        receive_bytes_per_s_max: None,
        handshake_timeout_ms: 5000,
        idle_timeout_ms: None,
        packet_bytes_max: 100_000,
        client_id_bytes_max: 64,
        topic_bytes_max: 1000,
        topic_levels_max: 20,
        inflight_max: 10,
        topic_alias_max: 2,
        keep_alive_max_s: None,
        mqtt31: false,
        connect_timeout_ms: 5000,
    }
}

fn compile(number: usize, query: &Query<'_>, to: &To) -> Rule {
    let topic = match to {
        To::Cloud(topic) | To::Local(topic) => Some(*topic),
        To::CloudAsIs => None,
    };
    let destinations = [DestinationSource { topic, payload: None, encoding: Encoding::Json }];
    Rule::compile(&Source {
        name: &format!("rule-{number}"),
        query: *query,
        max_groups: 100,
        on_error: OnError::Null,
        destinations: &destinations,
    })
    .unwrap()
}

fn labels(rules: &[(Query<'_>, To)]) -> Labels {
    let one = |(number, (_, to)): (usize, &(Query<'_>, To))| {
        let target = match to {
            To::Local(_) => Target::Local,
            To::Cloud(_) | To::CloudAsIs => Target::Uplink(0),
        };
        let destination = tidegate_config::Destination {
            target,
            qos: 1,
            retain: false,
            priority: Priority::Normal,
            ttl: None,
        };
        (format!("rule-{number}"), vec![destination])
    };
    let uplinks = vec![("cloud".to_owned(), TopicTemplate::unchanged())];
    Labels::from_parts(rules.iter().enumerate().map(one).collect(), uplinks)
}

fn destination(to: &To, cloud: ConsumerId) -> Destination {
    if let To::Local(_) = to {
        return Destination::Local { qos: 1, retain: false };
    }
    let mut consumers = Consumers::EMPTY;
    consumers.insert(cloud);
    Destination::Spool(Lane {
        consumers,
        priority: Priority::Normal,
        qos: 1,
        retain: false,
        ttl_ms: Some(60_000),
    })
}
