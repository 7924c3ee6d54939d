//! What an uplink is told: which broker it has, and what that gets.

use std::path::PathBuf;
use std::time::Duration;

use tidegate_buffer::{Drain, Retention};

use super::{Broker, Source, Url};
use crate::TopicTemplate;

/// A broker that events are forwarded to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// The name in rules, metrics and logs: `[a-z0-9_-]{1,64}`, unique.
    pub name: String,
    /// Where the events go.
    pub broker: Broker,
    /// What becomes of an event's topic. Default `{topic}`: it stays as it is.
    pub topic: TopicTemplate,
    /// Filters of events that go there as they are: each is a route of its own among the rules.
    pub forward: Vec<String>,
    /// Unacknowledged publishes at a time. Default 100.
    pub window: u16,
    /// The order in which a backlog is sent. Default [`Drain::OldestFirst`].
    pub drain: Drain,
    /// The bounds of what waits for it, beside those of the buffer. Default none.
    pub retention: Retention,
    /// What is sent at most in a second. Default: what the line takes.
    pub rate: Option<Rate>,
    /// After an outage that was longer than this, the gateway waits a random part of it before it sends, so that a fleet
    /// does not come back at once. Default 0 s.
    pub spread: Duration,
    /// Bytes of an outgoing packet. Default 256 KiB.
    pub packet_bytes_max: usize,
    /// How many topics the broker is asked to remember on a connection (Topic Alias, MQTT 5.0, 3.3.2.3.4); 0 for none.
    /// Default 32.
    pub topic_alias_max: u16,
    /// What each publish says of its event by user properties of MQTT 5.
    pub properties: EventProperties,
    /// Where the gateway says whether it is online, as a retained message and as its will. Default: nowhere.
    pub status_topic: Option<String>,
    /// How often an event that is alone on the line may end the connection before it is set aside; 0 for never.
    /// Default 5.
    pub poison_after: u8,
    /// How many events become one publish. Default: each is one of its own.
    pub batch: Option<Batch>,
    /// What the cloud sends down: the same broker as a source, under a client id of its own. Default nothing.
    pub downlink: Option<Source>,
    /// Whether, and how, its cloud may send settings. Default: it may not.
    pub remote_config: Option<RemoteConfig>,
}

impl Uplink {
    /// An uplink with all defaults, to a URL that is not encrypted.
    pub fn new(name: &str, client_id: &str, url: Url) -> Self {
        Uplink {
            name: name.to_owned(),
            broker: Broker::new(client_id, url),
            topic: TopicTemplate::unchanged(),
            forward: Vec::new(),
            window: 100,
            drain: Drain::OldestFirst,
            retention: Retention::default(),
            rate: None,
            spread: Duration::ZERO,
            packet_bytes_max: 256 << 10,
            topic_alias_max: 32,
            properties: EventProperties::default(),
            status_topic: None,
            poison_after: 5,
            batch: None,
            downlink: None,
            remote_config: None,
        }
    }
}

/// How a cloud sends settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteConfig {
    /// Where the gateway listens for them.
    pub topic: String,
    /// Where it answers a command that names no response topic. Default: `topic` with `/answer` after it.
    pub answer_topic: String,
    /// A PEM file of the ed25519 key that commands have to be signed with. Default: whoever may publish on the topic may
    /// command.
    pub public_key: Option<PathBuf>,
    /// How long new settings have to show that the cloud still hears the gateway. Default 1 min.
    pub confirm_within: Duration,
}

/// How events become one publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Where the publishes go.
    pub topic: String,
    /// What their payloads are.
    pub format: BatchFormat,
    /// Whether they are compressed by zstd. Default false.
    pub zstd: bool,
    /// The most events of a publish. Default 100.
    pub events_max: usize,
    /// Bytes of its payload before compression; one event may have more. Default 64 KiB.
    pub bytes_max: usize,
    /// How long the first event waits for others. Default 20 ms.
    pub delay: Duration,
}

/// What the payload of a batch is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BatchFormat {
    /// A JSON array of objects.
    #[default]
    JsonArray,
    /// A JSON object in each line.
    JsonLines,
    /// A CBOR array of maps (RFC 8949).
    CborArray,
}

/// What is sent in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// On the average.
    pub bytes_per_s: u64,
    /// At once, after a pause. Default: what goes in a second.
    pub burst_bytes: u64,
}

/// Which user properties a publish carries beside those of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventProperties {
    /// `event-id`: the same whenever the event is sent again. Default true.
    pub event_id: bool,
    /// `event-time`: when the gateway received it. Default true.
    pub event_time: bool,
    /// `gateway`: the gateway's id. Default false.
    pub gateway: bool,
}

impl Default for EventProperties {
    fn default() -> Self {
        EventProperties { event_id: true, event_time: true, gateway: false }
    }
}
