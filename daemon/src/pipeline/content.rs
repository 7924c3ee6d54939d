//! What an event, or a rule's output, consists of, encoded once for all who get it.

use bytes::Bytes;

use crate::event::Event;
use crate::mqtt;

/// The user properties that say where in a trace an event is (W3C Trace Context 1, 3.2 and 3.3).
const TRACE_CONTEXT: [&str; 2] = ["traceparent", "tracestate"];

/// Payload and properties of an event, or of a rule's output, made once when the first destination asks.
#[derive(Default)]
pub(super) struct Shared<'a> {
    event: Option<&'a Event<'a>>,
    payload: Option<Bytes>,
    properties: Option<Box<[u8]>>,
}

impl<'a> Shared<'a> {
    pub(super) fn of(event: &'a Event<'a>) -> Self {
        Shared { event: Some(event), payload: None, properties: None }
    }

    /// What a rule has made, with the properties that it has, if any.
    pub(super) fn owned(payload: Bytes, properties: Option<Box<[u8]>>) -> Self {
        Shared { event: None, payload: Some(payload), properties }
    }

    pub(super) fn payload(&mut self) -> Bytes {
        let event = self.event;
        let payload = self.payload.get_or_insert_with(|| match event {
            Some(event) => Bytes::copy_from_slice(event.payload),
            None => Bytes::new(),
        });
        payload.clone()
    }

    /// How long the device said that its publish is worth something; a rule's output is another one.
    pub(super) fn expiry_ms(&self) -> Option<u64> {
        self.event.and_then(|event| event.properties.expiry_s).map(|seconds| u64::from(seconds) * 1000)
    }

    /// What goes on with what a rule makes of the event alone: its place in a trace (W3C Trace Context).
    pub(super) fn trace_context(&self) -> Box<[u8]> {
        let mut encoded = Vec::new();
        let properties = self.event.map(|event| event.properties).unwrap_or_default();
        for (key, value) in properties.user_properties() {
            if TRACE_CONTEXT.contains(&key) {
                mqtt::user_property(key, value, &mut encoded);
            }
        }
        encoded.into()
    }

    pub(super) fn properties(&mut self) -> &[u8] {
        let event = self.event;
        self.properties.get_or_insert_with(|| {
            let mut encoded = Vec::new();
            if let Some(event) = event.filter(|event| !event.properties.is_empty()) {
                mqtt::publish_properties(&event.properties, &mut encoded);
            }
            encoded.into()
        })
    }
}
