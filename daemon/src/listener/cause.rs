//! Why a connection ends, and what its client is told of it.

use crate::mqtt::{DecodeError, reason};

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Cause {
    /// The client said DISCONNECT.
    #[error("client disconnected")]
    Disconnected,
    /// The stream ended without DISCONNECT.
    #[error("connection lost")]
    Lost,
    /// The client broke the protocol or a limit.
    #[error("{0}")]
    Decode(#[from] DecodeError),
    /// Nothing was heard for 1.5 times the keep-alive (section 3.1.2.10).
    #[error("keep-alive timeout")]
    KeepAlive,
    /// A stage before CONNECT took too long.
    #[error("{0} handshake not in time")]
    HandshakeTimeout(&'static str),
    /// A stage before CONNECT failed; the audit has the details.
    #[error("{0} handshake failed")]
    Handshake(&'static str),
    /// The address has as many connections as it may.
    #[error("connections_per_address_max reached")]
    TooMany,
    /// User name and password, or the lack of them, let nobody in.
    #[error("login refused")]
    LoginRefused,
    /// After a reload the client would not be let in any more.
    #[error("no longer allowed to connect")]
    Revoked,
    /// Nothing passed in either direction for `idle_timeout`.
    #[error("idle for too long")]
    Idle,
    /// A mistake of ours, which must not cost more than this connection.
    #[error("internal error")]
    Panicked,
    /// No CONNECT within the deadline.
    #[error("no CONNECT in time")]
    ConnectTimeout,
    /// Another connection uses the client id now.
    #[error("taken over by a new connection with this client id")]
    TakenOver,
    /// The gateway stops.
    #[error("gateway is stopping")]
    Stopping,
    /// A subscriber does not read what it subscribed to.
    #[error("subscriber is too slow")]
    SlowSubscriber,
    /// The buffer cannot store the event, which 3.1.1 can only be told by closing.
    #[error("event refused: the buffer cannot store it")]
    Refused,
    /// The access list does not allow it, which 3.1.1 can only be told by closing.
    #[error("not authorized to publish to this topic")]
    NotAuthorized,
    /// Something that CONNACK, or the version, says we do not do.
    #[error("{1}")]
    NotSupported(u8, &'static str),
}

impl Cause {
    /// Why, in words, where the reason alone does not say it.
    pub(super) fn words(self) -> String {
        match self {
            Cause::Decode(_) | Cause::NotSupported(..) => self.to_string(),
            _ => String::new(),
        }
    }

    /// The reason an MQTT 5 client is told, if it is told one.
    pub(super) fn reason(self) -> Option<u8> {
        Some(match self {
            Cause::Disconnected
            | Cause::Lost
            | Cause::ConnectTimeout
            | Cause::HandshakeTimeout(_)
            | Cause::Handshake(_)
            | Cause::TooMany
            | Cause::LoginRefused => return None,
            Cause::Decode(error) => error.reason(),
            Cause::Panicked => reason::UNSPECIFIED_ERROR,
            Cause::KeepAlive | Cause::Idle => reason::KEEP_ALIVE_TIMEOUT,
            Cause::TakenOver => reason::SESSION_TAKEN_OVER,
            Cause::Stopping => reason::SERVER_SHUTTING_DOWN,
            Cause::SlowSubscriber | Cause::Refused => reason::QUOTA_EXCEEDED,
            Cause::NotAuthorized | Cause::Revoked => reason::NOT_AUTHORIZED,
            Cause::NotSupported(code, _) => code,
        })
    }
}
