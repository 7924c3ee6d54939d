//! Events and outputs of rules as lines of JSON: what `tidegate tap` writes and `tidegate rules replay` reads.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use tidegate_rules::Message;

use crate::labels::Label;
use crate::text;

/// An event on its way in, or an output of a rule.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'a> {
    /// `in` before the rules, `out` after them.
    stage: &'static str,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(flatten)]
    kind: Kind<'a>,
    topic: Cow<'a, str>,
    qos: u8,
    retain: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Kind<'a> {
    In {
        seq: u64,
        client_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        username: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        content_type: Option<&'a str>,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        user_properties: &'a [(String, String)],
    },
    Uplink {
        rule: &'a str,
        uplink: &'a str,
        priority: &'static str,
    },
    Local {
        rule: &'a str,
        local: bool,
    },
}

impl<'a> Line<'a> {
    /// An event before the rules.
    pub(crate) fn event(gateway: &str, message: &Message<'a>) -> Line<'a> {
        let kind = Kind::In {
            seq: message.seq,
            client_id: message.client_id,
            username: message.username,
            content_type: message.content_type,
            user_properties: message.user_properties,
        };
        let (payload, payload_base64) = payload(message.payload);
        Line {
            stage: "in",
            time: text::time(message.received_at_ms),
            id: Some(event_id(gateway, message.seq)),
            kind,
            topic: message.topic.into(),
            qos: message.qos,
            retain: message.retained,
            payload,
            payload_base64,
        }
    }

    /// What came of an event or of a window that ended, at that time by the gateway's clock. The topic is what whoever
    /// takes it sees.
    pub(crate) fn output(
        label: &Label<'a>,
        id: Option<String>,
        time_ms: i64,
        topic: &str,
        bytes: &'a [u8],
    ) -> Line<'a> {
        let kind = match label.uplink() {
            Some(uplink) => {
                let priority = label.destination.priority.name();
                Kind::Uplink { rule: label.rule, uplink, priority }
            }
            None => Kind::Local { rule: label.rule, local: true },
        };
        let (payload, payload_base64) = payload(bytes);
        Line {
            stage: "out",
            time: text::time(time_ms),
            id,
            kind,
            topic: label.topic(topic).into(),
            qos: label.destination.qos,
            retain: label.destination.retain,
            payload,
            payload_base64,
        }
    }

    /// The line with its end.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        // A struct of strings and numbers can always be written.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

fn payload(bytes: &[u8]) -> (Option<&str>, Option<String>) {
    match str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(STANDARD.encode(bytes))),
    }
}

/// An event's id, as the cloud sees it.
pub(crate) fn event_id(gateway: &str, seq: u64) -> String {
    let mut id = String::new();
    tidegate_rules::write_event_id(gateway, seq, &mut id);
    id
}

/// A captured event, as it is read again. Only time and topic have to be there, so that people can write some.
#[derive(Debug, Deserialize)]
pub(crate) struct Captured {
    #[serde(default)]
    stage: Option<String>,
    #[serde(default)]
    time: Option<Time>,
    /// Of a line that says what a slow reader has missed.
    #[serde(default)]
    pub(crate) lost: u64,
    #[serde(default)]
    pub(crate) seq: Option<u64>,
    #[serde(default)]
    pub(crate) topic: String,
    #[serde(default)]
    payload: Option<String>,
    #[serde(default)]
    payload_base64: Option<String>,
    #[serde(default)]
    pub(crate) client_id: String,
    #[serde(default)]
    pub(crate) username: Option<String>,
    #[serde(default)]
    pub(crate) content_type: Option<String>,
    #[serde(default)]
    pub(crate) user_properties: Vec<(String, String)>,
    #[serde(default)]
    pub(crate) qos: u8,
    #[serde(default)]
    pub(crate) retain: bool,
}

/// A time as RFC 3339 has it, or in ms since 1970-01-01 UTC.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Time {
    Ms(i64),
    Text(String),
}

impl Captured {
    /// Whether this is an event before the rules.
    pub(crate) fn is_event(&self) -> bool {
        self.lost == 0 && self.stage.as_deref().is_none_or(|stage| stage == "in")
    }

    /// When it came in.
    pub(crate) fn time_ms(&self) -> Result<i64, String> {
        match &self.time {
            None => Err("`time` is missing".to_owned()),
            Some(Time::Ms(ms)) => Ok(*ms),
            Some(Time::Text(text)) => parse_time(text),
        }
    }

    /// What the device sent.
    pub(crate) fn bytes(&self) -> Result<Cow<'_, [u8]>, String> {
        match (&self.payload, &self.payload_base64) {
            (Some(text), _) => Ok(text.as_bytes().into()),
            (None, Some(base64)) => {
                STANDARD.decode(base64).map(Cow::from).map_err(|error| format!("`payload_base64`: {error}"))
            }
            (None, None) => Ok(Cow::default()),
        }
    }
}

/// Reads a time as RFC 3339 has it.
pub(crate) fn parse_time(text: &str) -> Result<i64, String> {
    let time = text.parse::<jiff::Timestamp>();
    time.map(jiff::Timestamp::as_millisecond)
        .map_err(|_| format!("`{text}` is no time, such as 2026-11-21T12:00:00Z"))
}

#[cfg(test)]
mod tests {
    use tidegate_buffer::Priority;
    use tidegate_config::{Destination, Target, TopicTemplate};

    use super::{Captured, Line};
    use crate::labels::Labels;

    #[test]
    fn an_event_is_read_as_it_was_written() {
        for payload in [&b"{\"t\":\"\xc3\xa9\\n\"}"[..], b"\xff\x00", b""] {
            let message = tidegate_rules::Message {
                topic: "a/b",
                payload,
                client_id: "c",
                username: Some("u"),
                qos: 2,
                retained: true,
                content_type: Some("ct"),
                user_properties: &[("k".into(), "v".into())],
                received_at_ms: 1_795_000_000_123,
                seq: 1 << 60 | 7,
            };
            let line = Line::event("g", &message).bytes();
            let read: Captured = serde_json::from_slice(&line).unwrap();
            assert!(read.is_event());
            assert_eq!(read.time_ms(), Ok(1_795_000_000_123));
            assert_eq!(&*read.bytes().unwrap(), payload);
            assert_eq!(
                (read.seq, read.topic.as_str(), read.client_id.as_str()),
                (Some(1 << 60 | 7), "a/b", "c")
            );
            assert_eq!((read.qos, read.retain), (2, true));
            assert_eq!((read.username.as_deref(), read.content_type.as_deref()), (Some("u"), Some("ct")));
            assert_eq!(read.user_properties, [("k".to_owned(), "v".to_owned())]);
        }
    }

    #[test]
    fn an_output_says_who_takes_it_and_under_which_topic() {
        let to = |target| Destination { target, qos: 1, retain: false, priority: Priority::High, ttl: None };
        let rules = vec![("r".to_owned(), vec![to(Target::Uplink(0)), to(Target::Local)])];
        let labels = Labels::from_parts(rules, vec![("cloud".to_owned(), TopicTemplate::unchanged())]);
        let line = |destination| {
            let label = labels.find(0, destination).unwrap();
            String::from_utf8(Line::output(&label, None, 0, "t", b"1").bytes()).unwrap()
        };
        let cloud = r#"{"stage":"out","time":"1970-01-01T00:00:00Z","rule":"r","uplink":"cloud","priority":"high","topic":"t","qos":1,"retain":false,"payload":"1"}"#;
        assert_eq!(line(0), format!("{cloud}\n"));
        assert!(line(1).contains(r#""rule":"r","local":true,"topic":"t""#), "{}", line(1));
        assert!(!serde_json::from_str::<Captured>(cloud).unwrap().is_event());
        assert!(labels.find(0, 2).is_none() && labels.find(1, 0).is_none());
    }

    #[test]
    fn lines_that_people_write() {
        let read = |text: &str| serde_json::from_str::<Captured>(text).unwrap();
        let short = read(r#"{"time": 1500, "topic": "a"}"#);
        assert_eq!((short.time_ms(), short.is_event()), (Ok(1500), true));
        assert!(short.bytes().unwrap().is_empty());
        assert!(read(r#"{"topic": "a"}"#).time_ms().is_err());
        assert!(read(r#"{"topic": "a", "time": "noon"}"#).time_ms().unwrap_err().contains("noon"));
        assert!(read(r#"{"payload_base64": "?"}"#).bytes().is_err());
        assert!(!read(r#"{"lost": 3}"#).is_event());
    }
}
