//! What a connection knows of its client once CONNECT has come.

use super::aliases::{Incoming, Outgoing};
use crate::bus::{Ending, Handle};
use crate::event::Event;
use crate::listener::Client;
use crate::mqtt::{Publish, Version};

/// What CONNECT said, and what came of it.
pub(super) struct Connected {
    pub(super) version: Version,
    pub(super) handle: Handle,
    pub(super) client_id: Box<str>,
    pub(super) username: Option<Box<str>>,
    pub(super) keep_alive_ms: u64,
    /// The largest packet that the client takes.
    pub(super) packet_bytes_max: usize,
    /// The session expiry of CONNECT.
    pub(super) expiry_s: u32,
    /// Whether the client wants reasons in words on every packet.
    pub(super) problem_information: bool,
    pub(super) aliases_in: Incoming,
    pub(super) aliases_out: Outgoing,
    /// What DISCONNECT asked for.
    pub(super) ending: Ending,
}

impl Connected {
    /// Who it is, for questions of access.
    pub(super) fn client(&self) -> Client<'_> {
        Client { client_id: &self.client_id, username: self.username.as_deref() }
    }

    /// The event of a publish; its topic may have come by an alias.
    pub(super) fn event<'a>(&'a self, topic: &'a str, publish: &Publish<'a>) -> Event<'a> {
        Event {
            topic,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            client_id: &self.client_id,
            username: self.username.as_deref(),
            properties: publish.properties,
        }
    }
}
