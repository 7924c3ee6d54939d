//! Which devices there are and when each was last heard of, for people who look: the latest of them, in bounded memory.

use std::collections::HashMap;
use std::rc::Rc;

use serde::Serialize;

use crate::bus::ConnectionId;

/// As many are remembered.
const DEVICES_MAX: usize = 1000;
/// As many are shown, the latest.
pub(crate) const SHOWN_MAX: usize = 100;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    known: HashMap<Rc<str>, Device>,
    /// Who is there.
    connected: HashMap<ConnectionId, Rc<str>>,
}

#[derive(Debug)]
struct Device {
    address: Box<str>,
    /// `None` while it is away.
    connection: Option<ConnectionId>,
    /// When something last came from it; of one that is there its connection knows better.
    heard_ms: u64,
}

/// A device as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Seen {
    pub(crate) client_id: String,
    pub(crate) address: String,
    pub(crate) connected: bool,
    /// How long ago something last came from it.
    pub(crate) heard_ms: u64,
}

impl Devices {
    /// A device has a session. When all places are taken, that of who has been away for longest is given to it; if all are
    /// there, it is not remembered.
    pub(crate) fn handle_connected(
        &mut self,
        client_id: &str,
        address: String,
        connection: ConnectionId,
        now_ms: u64,
    ) {
        if !self.known.contains_key(client_id) && self.known.len() >= DEVICES_MAX {
            let away = self.known.iter().filter(|(_, device)| device.connection.is_none());
            let Some(longest) = away.min_by_key(|(_, device)| device.heard_ms) else { return };
            let longest = Rc::clone(longest.0);
            self.known.remove(&longest);
        }
        let client_id: Rc<str> = client_id.into();
        let address = address.into_boxed_str();
        let device = Device { address, connection: Some(connection), heard_ms: now_ms };
        if let Some(before) = self.known.insert(Rc::clone(&client_id), device) {
            // The connection that it takes over.
            before.connection.map(|before| self.connected.remove(&before));
        }
        self.connected.insert(connection, client_id);
    }

    /// Its connection has ended, on which something last came at `heard_ms`.
    pub(crate) fn handle_disconnected(&mut self, connection: ConnectionId, heard_ms: u64) {
        let Some(client_id) = self.connected.remove(&connection) else { return };
        if let Some(device) = self.known.get_mut(&client_id) {
            device.connection = None;
            device.heard_ms = heard_ms.max(device.heard_ms);
        }
    }

    /// How many are remembered.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// The latest, who was heard last first; `heard_ms` knows when something last came on a connection.
    pub(crate) fn seen(&self, now_ms: u64, heard_ms: impl Fn(ConnectionId) -> Option<u64>) -> Vec<Seen> {
        let seen = self.known.iter().map(|(client_id, device)| {
            let heard_ms = device.connection.and_then(&heard_ms).unwrap_or(0).max(device.heard_ms);
            Seen {
                client_id: client_id.to_string(),
                address: device.address.to_string(),
                connected: device.connection.is_some(),
                heard_ms: now_ms.saturating_sub(heard_ms),
            }
        });
        let mut seen: Vec<Seen> = seen.collect();
        seen.sort_by(|one, other| (one.heard_ms, &one.client_id).cmp(&(other.heard_ms, &other.client_id)));
        seen.truncate(SHOWN_MAX);
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::{DEVICES_MAX, Devices, SHOWN_MAX};

    fn shown(devices: &Devices, now_ms: u64) -> Vec<(String, bool, u64)> {
        let seen = devices.seen(now_ms, |connection| Some(u64::from(connection)));
        seen.into_iter().map(|seen| (seen.client_id, seen.connected, seen.heard_ms)).collect()
    }

    #[test]
    fn who_was_heard_last_is_first() {
        let mut devices = Devices::default();
        devices.handle_connected("a", "192.0.2.1:5".into(), 40, 10);
        devices.handle_connected("b", "192.0.2.2:5".into(), 50, 10);
        let name = |name: &str| name.to_owned();
        assert_eq!(shown(&devices, 100), [(name("b"), true, 50), (name("a"), true, 60)]);
        devices.handle_disconnected(50, 30);
        assert_eq!(shown(&devices, 100), [(name("a"), true, 60), (name("b"), false, 70)]);
        assert_eq!(devices.seen(100, |_| None)[0].address, "192.0.2.2:5");
    }

    #[test]
    fn who_takes_over_is_there_whatever_ends_later() {
        let mut devices = Devices::default();
        devices.handle_connected("a", "x".into(), 1, 10);
        devices.handle_connected("a", "y".into(), 2, 20);
        devices.handle_disconnected(1, 15);
        assert_eq!(shown(&devices, 100), [("a".to_owned(), true, 80)]);
        devices.handle_disconnected(2, 30);
        devices.handle_disconnected(2, 90);
        assert_eq!(shown(&devices, 100), [("a".to_owned(), false, 70)]);
        assert!(devices.connected.is_empty());
    }

    #[test]
    fn there_are_so_many_at_most_and_who_is_there_stays() {
        let mut devices = Devices::default();
        let connections = 0..u32::try_from(DEVICES_MAX).unwrap();
        for connection in connections.clone() {
            devices.handle_connected(&format!("d{connection}"), String::new(), connection, 10);
        }
        devices.handle_connected("more", String::new(), 9000, 20);
        assert_eq!((devices.len(), devices.connected.len()), (DEVICES_MAX, DEVICES_MAX));
        devices.handle_disconnected(7, 30);
        devices.handle_disconnected(8, 20);
        devices.handle_connected("more", String::new(), 9001, 40);
        assert!(devices.known.contains_key("d7") && devices.known.contains_key("more"));
        assert!(!devices.known.contains_key("d8"), "it was away for longest");
        assert_eq!(shown(&devices, 100).len(), SHOWN_MAX);
        connections.for_each(|connection| devices.handle_disconnected(connection, 50));
        assert_eq!((devices.len(), devices.connected.len()), (DEVICES_MAX, 1));
    }
}
