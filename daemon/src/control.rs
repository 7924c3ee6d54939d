//! The control socket: what this host's operator tells the running gateway. It lies in the buffer's folder, so that
//! whoever may read the buffer may use it, and nobody else. One request and one answer per connection, each a line
//! of JSON.
//!
//! It knows neither what a command line is nor how a buffer is read.

mod client;
mod server;

use serde::{Deserialize, Serialize};

pub(crate) use client::{ClientError, ask, follow};
pub(crate) use server::{Reply, serve};

/// The socket's name in the buffer's folder.
pub(crate) const SOCKET: &str = "control.sock";
/// The longest line, in bytes.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// What the gateway is asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Give up what waits for an uplink, or what waits at one of its priorities.
    Purge {
        /// The uplink.
        uplink: String,
        /// `high`, `normal` or `low`.
        priority: Option<String>,
    },
    /// Send what was set aside once more, to the uplinks that it was meant for.
    Replay {
        /// The entries of the quarantine.
        ids: Vec<i64>,
    },
    /// Show events and what comes of them, until the connection ends: lines of JSON after the answer.
    Tap {
        /// The topic filter of what is shown.
        filter: String,
    },
    /// What the rules did with an event.
    Trace {
        /// Its id.
        id: String,
    },
    /// Read the configuration anew.
    Reload,
    /// Every counter, and how the gateway is.
    Status,
    /// Forget what was set aside.
    Drop {
        /// The entries of the quarantine.
        ids: Vec<i64>,
    },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// It was done, with so many records.
    Done(u64),
    /// What was asked for.
    Found(serde_json::Value),
    /// It was not, and why.
    Failed(String),
}

#[cfg(test)]
mod tests {
    use super::{Answer, Request};

    #[test]
    fn requests_and_answers_are_lines_of_json() {
        let purge = Request::Purge { uplink: "cloud".into(), priority: Some("low".into()) };
        let text = serde_json::to_string(&purge).unwrap();
        assert_eq!(text, r#"{"command":"purge","uplink":"cloud","priority":"low"}"#);
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), purge);
        let replay: Request = serde_json::from_str(r#"{"command":"replay","ids":[1,2]}"#).unwrap();
        assert_eq!(replay, Request::Replay { ids: vec![1, 2] });
        assert_eq!(serde_json::to_string(&Answer::Done(3)).unwrap(), r#"{"done":3}"#);
        for wrong in ["", "{}", r#"{"command":"stop"}"#, r#"{"command":"drop","ids":["1"]}"#] {
            assert!(serde_json::from_str::<Request>(wrong).is_err(), "{wrong}");
        }
    }
}
