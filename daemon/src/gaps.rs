//! Gap notices: the cloud is told what was evicted before it could be sent.
//!
//! The spool remembers every eviction until its notice is durable; this part turns it into an ordinary record of the
//! lane it happened in, once the uplink is there to take it, and not more often than every ten seconds.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tidegate_buffer::{Consumers, Gap, NewRecord, Stamp};
use tokio::time::sleep;
use tracing::warn;

use crate::gateway::Gateway;
use crate::meta;
use crate::signals::Signals;
use crate::text;

/// The topic of a notice, before the uplink's template. An uplink that puts nothing before it leaves out the `$`,
/// since brokers keep such topics to themselves (MQTT 5.0, 4.7.2).
pub(crate) const TOPIC: &str = "$tidegate/gap";

/// While evictions go on, they are summed up for so long.
const PAUSE: Duration = Duration::from_secs(10);
/// How often it is looked whether the uplink of what waits is there.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the cloud is told.
#[derive(Debug, Serialize)]
struct Notice {
    /// The uplink and the priority.
    lane: String,
    count: u64,
    reason: String,
    /// Event ids.
    first: String,
    last: String,
    /// When the first and the last were received.
    from: String,
    to: String,
}

/// Announces gaps for ever. `is_online` says whether an uplink has its connection, or with `None` whether any has.
///
/// While none has, the spool is not asked: a gap that was handed out does not grow any more.
pub(crate) async fn announce(
    gateway: Rc<Gateway>,
    signals: Arc<Signals>,
    is_online: impl Fn(Option<&str>) -> bool,
) {
    let mut waiting = Vec::new();
    loop {
        signals.gap.notified().await;
        loop {
            let any_online = is_online(None);
            if any_online {
                gateway.spool.gaps(&mut waiting);
            }
            for gap in waiting.extract_if(.., |gap| is_online(Some(&gap.consumer))) {
                announce_one(&gateway, &gap).await;
            }
            if any_online && waiting.is_empty() {
                sleep(PAUSE).await;
                break;
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

async fn announce_one(gateway: &Gateway, gap: &Gap) {
    let Some(consumer) = gateway.spool.served(&gap.consumer) else { return };
    let mut consumers = Consumers::EMPTY;
    consumers.insert(consumer);
    let record = NewRecord {
        seq: 0,
        consumers,
        priority: gap.priority,
        received: Stamp::now(),
        expires_after_ms: None,
        topic: Bytes::from_static(TOPIC.as_bytes()),
        meta: meta::plain(1, false),
        payload: payload(&gateway.id, gap).into(),
    };
    let receipt = gateway.pipeline.borrow_mut().submit([record]);
    // Without a receipt the gateway is stopping; the next start announces it.
    if receipt.await.is_ok() {
        gateway.spool.announced(gap.id);
        warn!(uplink = %gap.consumer, count = gap.records, reason = %gap.reason, "events were evicted; the cloud is told");
    }
}

fn payload(gateway: &str, gap: &Gap) -> Vec<u8> {
    let id = |seq| {
        let mut text = String::new();
        tidegate_rules::write_event_id(gateway, seq, &mut text);
        text
    };
    let notice = Notice {
        lane: format!("{}/{}", gap.consumer, gap.priority.name()),
        count: gap.records,
        reason: gap.reason.to_string(),
        first: id(gap.first_seq),
        last: id(gap.last_seq),
        from: text::time(gap.first_wall_ms),
        to: text::time(gap.last_wall_ms),
    };
    // A struct of strings and numbers can always be written.
    serde_json::to_vec(&notice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tidegate_buffer::{Gap, GapReason, Priority};

    use super::payload;

    #[test]
    fn a_notice_names_lane_count_reason_events_and_times() {
        let gap = Gap {
            id: 1,
            consumer: "cloud".into(),
            priority: Priority::Low,
            first_seq: 0x10_000_000_001,
            last_seq: 0x10_000_000_4b0,
            records: 1200,
            reason: GapReason::Full,
            first_wall_ms: 1_795_000_000_000,
            last_wall_ms: 1_795_000_001_500,
        };
        let expected = concat!(
            r#"{"lane":"cloud/low","count":1200,"reason":"full","first":"plant-7-10000000001","#,
            r#""last":"plant-7-100000004b0","from":"2026-11-18T11:06:40Z","to":"2026-11-18T11:06:41.5Z"}"#
        );
        assert_eq!(String::from_utf8(payload("plant-7", &gap)).unwrap(), expected);
    }
}
