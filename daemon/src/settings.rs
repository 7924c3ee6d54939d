//! From settings to what the parts of the gateway are made of, at the start and at each reload.

use tidegate_buffer::{ConsumerOptions, Consumers, Spool};
use tidegate_config::{Config, Target};

use crate::bus::{Bounds, QueueBounds};
use crate::clock::millis;
use crate::exit::{Exit, Fatal};
use crate::labels::Labels;
use crate::listener::Limits;
use crate::pipeline::{Destination, Lane, Routing};
use crate::trace::Traces;

/// What the spool is told of an uplink.
pub(crate) fn consumer_options(uplink: &tidegate_config::Uplink) -> ConsumerOptions {
    ConsumerOptions { name: uplink.name.clone(), drain: uplink.drain, retention: uplink.retention }
}

/// The rules, which are taken out of the configuration, and where their outputs go. The spool has to know every uplink.
pub(crate) fn routing(config: &mut Config, spool: &Spool) -> Result<Routing, Fatal> {
    let labels = Labels::new(config);
    let (rules, destinations): (Vec<_>, Vec<_>) =
        std::mem::take(&mut config.rules).into_iter().map(|rule| (rule.rule, rule.destinations)).unzip();
    let resolve = |destination| resolve(destination, &config.uplinks, spool);
    let destinations =
        destinations.iter().map(|rule| rule.iter().map(resolve).collect()).collect::<Result<_, _>>()?;
    Ok(Routing::new(&config.gateway.id, rules, destinations).shown(labels, Traces::new(config.trace)))
}

/// A destination of the configuration, with the spool's number for its uplink.
fn resolve(
    destination: &tidegate_config::Destination,
    uplinks: &[tidegate_config::Uplink],
    spool: &Spool,
) -> Result<Destination, Fatal> {
    let Target::Uplink(index) = destination.target else {
        return Ok(Destination::Local { qos: destination.qos, retain: destination.retain });
    };
    let mut consumers = Consumers::EMPTY;
    consumers.insert(consumer(spool, uplinks.get(index).map_or("", |uplink| &uplink.name))?);
    Ok(Destination::Spool(Lane {
        consumers,
        priority: destination.priority,
        qos: destination.qos,
        retain: destination.retain,
        ttl_ms: destination.ttl.map(millis),
    }))
}

/// The spool's number for an uplink; every uplink of the configuration was registered at open.
pub(crate) fn consumer(spool: &Spool, name: &str) -> Result<tidegate_buffer::ConsumerId, Fatal> {
    let consumer = spool.consumer(name);
    consumer.ok_or_else(|| Fatal::new(Exit::Software, format!("the buffer does not know uplink {name}")))
}

/// What one client may take.
pub(crate) fn limits(limits: &tidegate_config::Limits) -> Limits {
    Limits {
        connections_max: limits.connections_max,
        packet_bytes_max: limits.packet_bytes_max,
        client_id_bytes_max: limits.client_id_bytes_max,
        topic_bytes_max: limits.topic_bytes_max,
        topic_levels_max: limits.topic_levels_max,
        inflight_max: limits.inflight_max,
        topic_alias_max: limits.topic_alias_max,
        keep_alive_max_s: limits
            .keep_alive_max
            .map(|longest| u16::try_from(longest.as_secs()).unwrap_or(u16::MAX)),
        mqtt31: limits.mqtt31,
        connections_per_address_max: limits.connections_per_address_max,
        connects_per_s_max: limits.connects_per_s_max,
        failed_logins_per_minute_max: limits.failed_logins_per_minute_max,
        publishes_per_s_max: limits.publishes_per_s_max,
        receive_bytes_per_s_max: limits.receive_bytes_per_s_max,
        handshake_timeout_ms: millis(limits.handshake_timeout),
        connect_timeout_ms: millis(limits.connect_timeout),
        idle_timeout_ms: limits.idle_timeout.map(millis),
    }
}

/// The bounds of sessions and of retained messages.
pub(crate) fn bounds(limits: &tidegate_config::Limits) -> Bounds {
    Bounds {
        sessions_max: limits.sessions_max,
        session_expiry_max_s: u32::try_from(limits.session_expiry_max.as_secs()).unwrap_or(u32::MAX),
        subscriptions_max: limits.subscriptions_max,
        queue: QueueBounds { events_max: limits.queue_events_max, bytes_max: limits.queue_bytes_max },
        retained_max: limits.retained_max,
        retained_bytes_max: limits.retained_bytes_max,
    }
}
