//! A snapshot in the text format of OpenMetrics (<https://prometheus.io/docs/specs/om/open_metrics_spec/>), which
//! Prometheus reads. Units are in the names.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::Snapshot;
use super::snapshot::{Lane, Listener, Rule, Uplink};
use crate::sources;
use tidegate_buffer::Histogram;

/// What the answer is called.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The whole exposition.
///
/// # Errors
/// The text cannot be written; a string takes it always.
pub(super) fn exposition(snapshot: Snapshot, is_ready: bool) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("tidegate");
    registry.register_collector(Box::new(Exposed { snapshot, is_ready }));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

#[derive(Debug)]
struct Exposed {
    snapshot: Snapshot,
    is_ready: bool,
}

/// The labels of one value, and the value.
type Values<'a> = Vec<(Vec<(&'static str, &'a str)>, u64)>;

fn family(
    encoder: &mut DescriptorEncoder<'_>,
    kind: MetricType,
    (name, help): (&str, &str),
    values: Values<'_>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in values {
        if labels.is_empty() {
            return one(metric, kind, value);
        }
        let labels: Vec<(String, String)> =
            labels.into_iter().map(|(label, value)| (label.to_owned(), value.to_owned())).collect();
        one(metric.encode_family(&labels)?, kind, value)?;
    }
    Ok(())
}

fn one(encoder: MetricEncoder<'_>, kind: MetricType, value: u64) -> fmt::Result {
    match kind {
        MetricType::Counter => ConstCounter::new(value).encode(encoder),
        _ => ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(encoder),
    }
}

fn counter(encoder: &mut DescriptorEncoder<'_>, named: (&str, &str), values: Values<'_>) -> fmt::Result {
    family(encoder, MetricType::Counter, named, values)
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, named: (&str, &str), values: Values<'_>) -> fmt::Result {
    family(encoder, MetricType::Gauge, named, values)
}

fn histogram(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    values: Vec<(Vec<(&'static str, &str)>, &Histogram)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (labels, histogram) in values {
        let bound =
            |bound_ms: Option<u64>| bound_ms.map_or(f64::MAX, |ms| Duration::from_millis(ms).as_secs_f64());
        let buckets: Vec<(f64, u64)> =
            histogram.buckets().map(|(bound_ms, count)| (bound(bound_ms), count)).collect();
        let (sum, count) = (histogram.sum().as_secs_f64(), histogram.count());
        if labels.is_empty() {
            return metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None);
        }
        let labels: Vec<(String, String)> =
            labels.into_iter().map(|(label, value)| (label.to_owned(), value.to_owned())).collect();
        metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
    }
    Ok(())
}

fn single<'a>(value: u64) -> Values<'a> {
    vec![(Vec::new(), value)]
}

impl Collector for Exposed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.gateway(&mut encoder)?;
        self.listeners(&mut encoder)?;
        self.sources(&mut encoder)?;
        self.events(&mut encoder)?;
        self.buffer(&mut encoder)?;
        self.lanes(&mut encoder)?;
        self.rules(&mut encoder)
    }
}

impl Exposed {
    fn gateway(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Snapshot { gateway, version, uptime_s, connections, uplinks, .. } = &self.snapshot;
        let build = vec![("gateway", gateway.as_str()), ("version", version)];
        gauge(encoder, ("build_info", "The gateway and its version"), vec![(build, 1)])?;
        gauge(encoder, ("uptime_seconds", "Seconds since the start"), single(*uptime_s))?;
        gauge(
            encoder,
            ("ready", "1 if an event of normal priority would be kept now"),
            single(u64::from(self.is_ready)),
        )?;
        gauge(encoder, ("connections", "Open connections of devices"), single(*connections))?;
        let online =
            uplinks.iter().map(|uplink| (vec![("uplink", uplink.name.as_str())], uplink.online.into()));
        gauge(encoder, ("uplink_online", "1 while the cloud has the connection"), online.collect())?;
        let away = uplinks.iter().map(|uplink| {
            (vec![("uplink", uplink.name.as_str())], if uplink.online { 0 } else { uplink.for_ms / 1000 })
        });
        gauge(
            encoder,
            ("uplink_away_seconds", "How long the cloud has been away; 0 while it is there"),
            away.collect(),
        )?;
        let acks = uplinks.iter().map(|uplink| (vec![("uplink", uplink.name.as_str())], &uplink.acks));
        histogram(encoder, ("uplink_ack_seconds", "How long the cloud took to acknowledge"), acks.collect())?;
        let window = uplinks
            .iter()
            .map(|uplink| (vec![("uplink", uplink.name.as_str())], uplink.window_in_effect.into()));
        gauge(
            encoder,
            ("uplink_window", "Publishes that may be in flight: as set, or as the broker takes"),
            window.collect(),
        )
    }

    fn listeners(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        type Field = (&'static str, &'static str, fn(&Listener) -> u64);
        let values = |field: fn(&Listener) -> u64| {
            let all = self.snapshot.listeners.iter();
            all.map(|listener| (vec![("listener", listener.name.as_str())], field(listener))).collect()
        };
        let open: Field = ("listener_connections_open", "Open connections", |listener| listener.open);
        gauge(encoder, (open.0, open.1), values(open.2))?;
        let table: [Field; 3] = [
            ("listener_connections", "Connections that were accepted", |listener| listener.connections),
            ("listener_events", "Events that were accepted", |listener| listener.events),
            ("listener_payload_bytes", "Bytes of their payloads", |listener| listener.payload_bytes),
        ];
        table
            .into_iter()
            .try_for_each(|(name, help, field)| counter(encoder, (name, help), values(field)))?;
        let puback = (
            "puback_seconds",
            "How long devices waited for acknowledgements; one publish of a connection is timed at a time",
        );
        histogram(encoder, puback, vec![(Vec::new(), &self.snapshot.pubacks)])?;
        let refused = self.snapshot.refused.iter();
        refused.clone().try_for_each(|(name, count)| {
            counter(encoder, (name, "Refused to clients, or gone wrong, since the start"), single(*count))
        })
    }

    fn sources(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let values = |field: fn(&sources::Seen) -> u64| {
            let all = self.snapshot.sources.iter();
            all.map(|source| (vec![("source", source.name.as_str())], field(source))).collect()
        };
        gauge(
            encoder,
            ("source_online", "1 while the broker has the connection"),
            values(|source| source.online.into()),
        )?;
        counter(encoder, ("source_events", "Events that were taken"), values(|source| source.events))?;
        counter(
            encoder,
            ("source_payload_bytes", "Bytes of their payloads"),
            values(|source| source.payload_bytes),
        )
    }

    fn events(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let events = &self.snapshot.events;
        let table = [
            ("events_received", "Events accepted from devices", events.received),
            ("events_unrouted", "Accepted events that no rule and no route asked for", events.unrouted),
            ("events_refused", "Events that the buffer could not take", events.refused),
            (
                "deliveries_dropped",
                "Deliveries to local subscribers that found no room",
                events.local_dropped,
            ),
            ("deliveries_expired", "Deliveries to local subscribers that expired", events.local_expired),
            ("retained_refused", "Events to be retained for which there was no room", events.unretained),
        ];
        table.into_iter().try_for_each(|(name, help, value)| counter(encoder, (name, help), single(value)))
    }

    fn buffer(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let buffer = &self.snapshot.buffer;
        let counters = [
            ("buffer_commits", "Transactions committed", buffer.commits),
            ("buffer_batches_written", "Batches written", buffer.batches_written),
            ("buffer_written_bytes", "Bytes of batches, journal and snapshots", buffer.written_bytes),
        ];
        counters
            .into_iter()
            .try_for_each(|(name, help, value)| counter(encoder, (name, help), single(value)))?;
        let gauges = [
            ("buffer_disk_bytes", "Bytes of live pages of the database", buffer.disk_bytes),
            ("buffer_memory_bytes", "Bytes of records in memory", buffer.memory_bytes),
            ("buffer_receipts_open", "Events whose acknowledgement waits", buffer.receipts_open),
            (
                "buffer_oldest_in_memory_milliseconds",
                "Age of the oldest record that is neither on disk nor acknowledged",
                buffer.oldest_in_memory_ms,
            ),
        ];
        gauges.into_iter().try_for_each(|(name, help, value)| gauge(encoder, (name, help), single(value)))?;
        let set_aside = ("buffer_quarantined", "Entries of the quarantine, as of some seconds ago");
        gauge(encoder, set_aside, single(buffer.quarantined))?;
        let times = ("buffer_commit_seconds", "How long transactions took, on disk");
        histogram(encoder, times, vec![(Vec::new(), &buffer.commit_times)])
    }

    fn lanes(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let all = || {
            self.snapshot
                .uplinks
                .iter()
                .flat_map(|uplink| uplink.lanes.iter().map(move |lane| (uplink, lane)))
        };
        let values = |value: fn(&Lane) -> u64| -> Values<'_> {
            all().map(|(uplink, lane)| (of_lane(uplink, lane), value(lane))).collect()
        };
        counter(
            encoder,
            ("lane_appended", "Records appended since the buffer was made"),
            values(|lane| lane.appended),
        )?;
        let left = all().flat_map(|(uplink, lane)| {
            lane.left.by_reason().map(|(reason, count)| {
                let mut labels = of_lane(uplink, lane);
                labels.push(("reason", reason));
                (labels, count)
            })
        });
        counter(
            encoder,
            ("lane_left", "Records that left, by reason; appended = left + backlog"),
            left.collect(),
        )?;
        gauge(encoder, ("lane_backlog", "Records that wait"), values(|lane| lane.backlog))?;
        gauge(
            encoder,
            ("lane_backlog_bytes", "Bytes of the records that wait"),
            values(|lane| lane.backlog_bytes),
        )?;
        gauge(encoder, ("lane_stored", "Records that wait on disk"), values(|lane| lane.stored))?;
        gauge(
            encoder,
            (
                "lane_oldest_seconds",
                "Age of the oldest record on disk, as of some seconds ago; 0 if there is none",
            ),
            values(|lane| lane.oldest_ms.unwrap_or(0) / 1000),
        )
    }

    fn rules(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        type Field = (&'static str, &'static str, fn(&Rule) -> u64);
        let table: [Field; 7] = [
            ("rule_matched", "Events whose topic matched", |rule| rule.matched),
            ("rule_passed", "Events that passed WHERE", |rule| rule.passed),
            ("rule_errors", "Evaluation errors", |rule| rule.errors),
            ("rule_results", "Publishes produced", |rule| rule.results),
            ("rule_late", "Events after their window, or without a usable time", |rule| rule.late),
            ("rule_groups_closed_early", "Groups that had to go for want of room", |rule| {
                rule.groups_closed_early
            }),
            ("rule_left_out", "Events that left a sliding window for want of room", |rule| rule.left_out),
        ];
        table.into_iter().try_for_each(|(name, help, field)| {
            let rules = self.snapshot.rules.iter();
            counter(
                encoder,
                (name, help),
                rules.map(|rule| (vec![("rule", rule.name.as_str())], field(rule))).collect(),
            )
        })
    }
}

fn of_lane<'a>(uplink: &'a Uplink, lane: &'a Lane) -> Vec<(&'static str, &'a str)> {
    vec![("uplink", uplink.name.as_str()), ("priority", lane.priority)]
}

#[cfg(test)]
mod tests {
    use super::exposition;
    use crate::sources;
    use crate::status::Snapshot;
    use crate::status::snapshot::{Lane, Left, Rule, Uplink};

    #[test]
    fn every_value_has_its_labels_and_the_books_can_be_checked_from_outside() {
        let lane = Lane {
            priority: "high",
            appended: 10,
            left: Left { acked: 6, expired: 1, ..Left::default() },
            backlog: 3,
            ..Lane::default()
        };
        let snapshot = Snapshot {
            gateway: "plant \"7\"".into(),
            version: "1.2.3",
            uplinks: vec![Uplink {
                name: "cloud".into(),
                online: true,
                lanes: vec![lane],
                window_in_effect: 20,
                ..Uplink::default()
            }],
            sources: vec![sources::Seen { name: "hall".into(), events: 7, ..sources::Seen::default() }],
            rules: vec![Rule { name: "average".into(), matched: 5, ..Rule::default() }],
            ..Snapshot::default()
        };
        let text = exposition(snapshot, true).unwrap();
        for line in [
            "tidegate_build_info{gateway=\"plant \\\"7\\\"\",version=\"1.2.3\"} 1",
            "tidegate_ready 1",
            "tidegate_uplink_online{uplink=\"cloud\"} 1",
            "tidegate_lane_appended_total{uplink=\"cloud\",priority=\"high\"} 10",
            "tidegate_lane_left_total{uplink=\"cloud\",priority=\"high\",reason=\"acked\"} 6",
            "tidegate_lane_left_total{uplink=\"cloud\",priority=\"high\",reason=\"expired\"} 1",
            "tidegate_lane_backlog{uplink=\"cloud\",priority=\"high\"} 3",
            "tidegate_uplink_window{uplink=\"cloud\"} 20",
            "tidegate_source_online{source=\"hall\"} 0",
            "tidegate_source_events_total{source=\"hall\"} 7",
            "tidegate_puback_seconds_count 0",
            "tidegate_rule_matched_total{rule=\"average\"} 5",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in:\n{text}");
        }
    }

    #[test]
    fn names_are_told_once_each() {
        let text = exposition(Snapshot::default(), false).unwrap();
        let mut types: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let all = types.len();
        types.sort_unstable();
        types.dedup();
        assert_eq!((types.len(), all > 20), (all, true));
    }
}
