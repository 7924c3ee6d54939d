//! What a session knows of its client once CONNECT has come.

use std::collections::VecDeque;

use super::{Flow, Host};
use crate::event::Event;
use crate::listener::{Action, Cause, Client, Limits};
use crate::mqtt::{self, Publish, Version, Will, reason};
use tidegate_rules::TopicFilter;

/// What CONNECT said, and what came of it.
pub(super) struct Connected {
    pub(super) version: Version,
    pub(super) client_id: Box<str>,
    pub(super) username: Option<Box<str>>,
    pub(super) keep_alive_ms: u64,
    pub(super) packet_bytes_max: usize,
    pub(super) will: Option<OwnedWill>,
    pub(super) subscriptions: Vec<(TopicFilter, u8)>,
    pub(super) inflight: Inflight,
}

/// Publishes towards the client that it has not acknowledged.
pub(super) struct Inflight {
    packet_ids: VecDeque<u16>,
    window: u16,
    next_packet_id: u16,
}

pub(super) struct OwnedWill {
    pub(super) topic: Box<str>,
    payload: Box<[u8]>,
    qos: u8,
}

impl Connected {
    /// Who it is, for questions of access.
    pub(super) fn client(&self) -> Client<'_> {
        Client { client_id: &self.client_id, username: self.username.as_deref() }
    }

    pub(super) fn event<'a>(&'a self, publish: &Publish<'a>) -> Event<'a> {
        Event {
            topic: publish.topic,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            client_id: &self.client_id,
            username: self.username.as_deref(),
            properties: publish.properties,
        }
    }

    pub(super) fn will_event<'a>(&'a self, will: &'a OwnedWill) -> Event<'a> {
        Event {
            topic: &will.topic,
            payload: &will.payload,
            qos: will.qos,
            retain: false,
            client_id: &self.client_id,
            username: self.username.as_deref(),
            properties: mqtt::PublishProperties::default(),
        }
    }

    /// Adds or replaces a subscription; returns the code for SUBACK (section 3.9.3).
    pub(super) fn subscribe(&mut self, filter: &str, qos: u8, limits: &Limits, host: &mut impl Host) -> u8 {
        if filter.starts_with("$share/") {
            return reason::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED;
        }
        let Ok(filter) = TopicFilter::parse(filter) else { return reason::TOPIC_FILTER_INVALID };
        if !limits.takes_topic(filter.as_str()) {
            return reason::TOPIC_FILTER_INVALID;
        }
        if !host.may(Action::Subscribe, &self.client(), filter.as_str()) {
            return reason::NOT_AUTHORIZED;
        }
        let granted = qos.min(1);
        let full = self.subscriptions.len() >= limits.subscriptions_max;
        match self.subscriptions.iter_mut().find(|(known, _)| *known == filter) {
            Some((_, known_qos)) => host.unsubscribe(&filter, std::mem::replace(known_qos, granted)),
            None if full => return reason::QUOTA_EXCEEDED,
            None => self.subscriptions.push((filter.clone(), granted)),
        }
        host.subscribe(&filter, granted);
        granted
    }

    pub(super) fn unsubscribe(&mut self, filter: &str, host: &mut impl Host) -> u8 {
        let position = self.subscriptions.iter().position(|(known, _)| known.as_str() == filter);
        let Some(position) = position else { return reason::NO_SUBSCRIPTION_EXISTED };
        let (filter, qos) = self.subscriptions.swap_remove(position);
        host.unsubscribe(&filter, qos);
        reason::SUCCESS
    }

    pub(super) fn handle_disconnect(&mut self, reason: u8, session_expiry_s: Option<u32>) -> Flow {
        if session_expiry_s.is_some_and(|seconds| seconds > 0) {
            let why = "a session expiry at DISCONNECT, where CONNACK said 0";
            return Flow::Close(Cause::NotSupported(reason::PROTOCOL_ERROR, why));
        }
        if reason == reason::DISCONNECT_WITH_WILL {
            return Flow::Close(Cause::Lost);
        }
        self.will = None;
        Flow::Close(Cause::Disconnected)
    }
}

impl Inflight {
    pub(super) fn new(window: u16) -> Self {
        Inflight { packet_ids: VecDeque::new(), window, next_packet_id: 1 }
    }

    pub(super) fn is_open(&self) -> bool {
        self.packet_ids.len() < usize::from(self.window)
    }

    pub(super) fn next(&mut self) -> u16 {
        let mut packet_id = self.next_packet_id;
        while self.packet_ids.contains(&packet_id) {
            packet_id = packet_id.checked_add(1).unwrap_or(1);
        }
        self.next_packet_id = packet_id.checked_add(1).unwrap_or(1);
        self.packet_ids.push_back(packet_id);
        packet_id
    }

    /// An acknowledgement of something never sent is ignored, as mosquitto does: after a restart of ours a client
    /// may well hold one.
    pub(super) fn acknowledge(&mut self, packet_id: u16) {
        if let Some(position) = self.packet_ids.iter().position(|known| *known == packet_id) {
            self.packet_ids.remove(position);
        }
    }
}

impl OwnedWill {
    pub(super) fn of(will: &Will<'_>) -> OwnedWill {
        OwnedWill { topic: will.topic.into(), payload: will.payload.into(), qos: will.qos }
    }
}
