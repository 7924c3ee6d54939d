//! The gateway's counters on its own bus, as brokers have them below `$SYS`: for those who have a dashboard that subscribes
//! rather than one that scrapes. No rule sees them, and a filter that begins with a wildcard does not (MQTT 5.0, 4.7.2).

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::gateway::Gateway;
use crate::status::{Snapshot, Status};

const PREFIX: &str = "$SYS/tidegate";

/// Publishes for ever.
pub(crate) async fn publish(gateway: Rc<Gateway>, status: Rc<Status>, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let topics = topics(&status.snapshot());
        let mut pipeline = gateway.pipeline.borrow_mut();
        for (topic, value) in topics {
            pipeline.announce(&format!("{PREFIX}/{topic}"), value);
        }
    }
}

fn topics(snapshot: &Snapshot) -> Vec<(String, String)> {
    let counts = [
        ("uptime", snapshot.uptime_s),
        ("connections", snapshot.connections),
        ("events/received", snapshot.events.received),
        ("events/unrouted", snapshot.events.unrouted),
        ("events/refused", snapshot.events.refused),
        ("buffer/disk_bytes", snapshot.buffer.disk_bytes),
        ("buffer/commits", snapshot.buffer.commits),
    ];
    let mut topics: Vec<_> =
        counts.into_iter().map(|(topic, count)| (topic.to_owned(), count.to_string())).collect();
    topics.push(("version".to_owned(), snapshot.version.to_owned()));
    for uplink in &snapshot.uplinks {
        let sum = |of: fn(&crate::status::Lane) -> u64| uplink.lanes.iter().map(of).sum::<u64>().to_string();
        topics.push((format!("uplinks/{}/online", uplink.name), uplink.online.to_string()));
        topics.push((format!("uplinks/{}/backlog", uplink.name), sum(|lane| lane.backlog)));
        topics.push((format!("uplinks/{}/acked", uplink.name), sum(|lane| lane.left.acked)));
    }
    topics
}

#[cfg(test)]
mod tests {
    use super::topics;
    use crate::status::{Lane, Snapshot, Uplink};

    #[test]
    fn each_counter_has_a_topic() {
        let lanes = vec![Lane { backlog: 2, ..Lane::default() }, Lane { backlog: 5, ..Lane::default() }];
        let uplinks = vec![Uplink { name: "cloud".into(), online: true, lanes, ..Uplink::default() }];
        let topics = topics(&Snapshot { connections: 3, version: "1.2.3", uplinks, ..Snapshot::default() });
        for (topic, value) in [
            ("connections", "3"),
            ("version", "1.2.3"),
            ("uplinks/cloud/online", "true"),
            ("uplinks/cloud/backlog", "7"),
        ] {
            assert!(topics.contains(&(topic.to_owned(), value.to_owned())), "{topic}: {topics:?}");
        }
    }
}
