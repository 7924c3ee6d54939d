//! Devices that publish with QoS 1, driven by one thread: flat out or at a steady rate.

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use tidegate_tests::event::{EVENT_BYTES, Event};
use tidegate_tests::wire::{self, Version};
use tidegate_tests::{Connection, Must};

const LIMIT: Duration = Duration::from_secs(120);
/// How long it sleeps between two looks at all devices: of a steady load, and of one that goes by acknowledgements.
const TURN: Duration = Duration::from_millis(2);
const TURN_FLAT_OUT: Duration = Duration::from_micros(100);

/// What devices do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) devices: usize,
    pub(crate) window: usize,
    /// Of all together; nothing for as many as the window lets through.
    pub(crate) events_per_s: Option<u32>,
    pub(crate) events: usize,
}

impl Shape {
    /// Connects all devices.
    pub(crate) fn devices(self, port: u16) -> Vec<Device> {
        (0..self.devices).map(|number| Device::new(number, port)).collect()
    }

    /// Publishes all events and waits for their acknowledgements.
    pub(crate) fn drive(self, devices: &mut [Device]) {
        let (start, each) = (Instant::now(), self.events / self.devices);
        loop {
            let elapsed = start.elapsed();
            assert!(elapsed < LIMIT, "the load was not acknowledged within {LIMIT:?}");
            let due = self.events_per_s.map_or(self.events, |per_s| {
                let all =
                    u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX) * u64::from(per_s) / 1_000_000;
                usize::try_from(all).unwrap_or(usize::MAX)
            });
            let mut done = true;
            for (number, device) in devices.iter_mut().enumerate() {
                // The events of all are due one after the other, evenly.
                let due = due.saturating_add(self.devices - 1).saturating_sub(number) / self.devices;
                device.turn(due.min(each), self.window);
                done &= device.acked == each;
            }
            if done {
                return;
            }
            thread::sleep(if self.events_per_s.is_some() { TURN } else { TURN_FLAT_OUT });
        }
    }
}

/// A device.
pub(crate) struct Device {
    name: String,
    connection: Connection,
    sent: usize,
    acked: usize,
    packets: Vec<u8>,
}

impl Device {
    fn new(number: usize, port: u16) -> Self {
        let name = format!("device-{number}");
        let connection = Connection::clean(port, Version::V5, &name);
        connection.set_nonblocking();
        Self { name, connection, sent: 0, acked: 0, packets: Vec::new() }
    }

    fn turn(&mut self, due: usize, window: usize) {
        while self.sent < due && self.sent - self.acked < window {
            let payload = payload(&self.name, self.sent, now_us());
            let id = u16::try_from(self.sent % 65_535 + 1).must("number a packet");
            let topic = Event::topic(&self.name);
            self.packets.extend(wire::publish(Version::V5, &topic, payload.as_bytes(), 1, id));
            self.sent += 1;
        }
        let taken = self.connection.send_some(&self.packets).must("publish");
        self.packets.drain(..taken);
        if self.acked < self.sent {
            assert!(self.connection.fill(), "the connection of {} was closed", self.name);
            while let Some(frame) = self.connection.buffered() {
                // mosquitto says 0x10 where nobody has subscribed.
                self.acked +=
                    usize::from(frame.kind() == 4 && frame.reason().is_some_and(|reason| reason < 0x80));
            }
        }
    }
}

/// The microseconds since the first call.
pub(crate) fn now_us() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// An event of [`EVENT_BYTES`] that says when it was made.
fn payload(device: &str, seq: usize, sent_us: u64) -> String {
    let mut text = format!(r#"{{"device":"{device}","seq":{seq},"sent_us":{sent_us},"pad":""#);
    let filler = EVENT_BYTES.saturating_sub(text.len() + 2);
    text.extend(std::iter::repeat_n('x', filler));
    text.push_str(r#""}"#);
    text
}

/// What names an event in its payload, and when it was made.
pub(crate) fn read(payload: &[u8]) -> Option<(&[u8], u64)> {
    const KEY: &[u8] = b",\"sent_us\":";
    let at = payload.windows(KEY.len()).position(|window| window == KEY)?;
    let (name, rest) = payload.split_at_checked(at)?;
    let digits = rest.get(KEY.len()..)?.iter().take_while(|byte| byte.is_ascii_digit());
    Some((name, digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))))
}

#[cfg(test)]
mod tests {
    use super::{EVENT_BYTES, payload, read};

    #[test]
    fn a_payload_says_who_made_it_and_when() {
        let text = payload("device-7", 1234, 56_789);
        assert_eq!(text.len(), EVENT_BYTES);
        assert_eq!(read(text.as_bytes()), Some((r#"{"device":"device-7","seq":1234"#.as_bytes(), 56_789)));
        assert_eq!(read(b"first"), None);
    }
}
