//! An event: a publish that was accepted and is on its way through the gateway.

use crate::mqtt::PublishProperties;

/// An accepted publish, borrowed from the packet it came in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) client_id: &'a str,
    pub(crate) username: Option<&'a str>,
    pub(crate) properties: PublishProperties<'a>,
}
