//! What a rule may look at: one event, borrowed.

use std::fmt::Write;

/// One event as rules see it.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// The topic it was published to, a legal topic name.
    pub topic: &'a str,
    /// The payload as it came.
    pub payload: &'a [u8],
    /// The publisher's client id.
    pub client_id: &'a str,
    /// The publisher's user name, if it gave one.
    pub username: Option<&'a str>,
    /// The quality of service it was published with: 0, 1 or 2.
    pub qos: u8,
    /// Whether it was published as retained.
    pub retained: bool,
    /// The content type, if the publisher gave one.
    pub content_type: Option<&'a str>,
    /// The user properties, in the publisher's order.
    pub user_properties: &'a [(String, String)],
    /// When it came in: milliseconds since the Unix epoch.
    pub received_at_ms: i64,
    /// The number of the event at this gateway; never used twice.
    pub seq: u64,
}

/// Writes the id of an event: the gateway, `-`, the number in hexadecimal. `event_id()` in a rule gives the same.
pub fn write_event_id(gateway: &str, seq: u64, out: &mut String) {
    out.push_str(gateway);
    // Writing to a String cannot fail.
    let _ = write!(out, "-{seq:x}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_ids_are_appended() {
        let mut out = "id=".to_owned();
        write_event_id("plant-7", 0x1f, &mut out);
        write_event_id("", u64::MAX, &mut out);
        assert_eq!(out, "id=plant-7-1f-ffffffffffffffff");
    }
}
