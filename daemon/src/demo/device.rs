//! A simulated device: measures twenty times a second, and sends what was not acknowledged again, as a device that
//! keeps its own readings would. It uses the uplink's wire, which is an MQTT client like any other.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_config::{Broker, Url, Version};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::books::Books;
use crate::broker::dial::Dialer;
use crate::broker::wire::{Answer, Introduction, Wire};
use crate::mqtt::Delivery;
use crate::uplink::window::Window;

const PERIOD: Duration = Duration::from_millis(50);
const WINDOW: u16 = 20;

/// One of the demo's devices.
pub(super) struct Device {
    number: usize,
    gateway: SocketAddr,
    books: Rc<RefCell<Books>>,
    started: Instant,
    next: u64,
    /// Readings that were not acknowledged, by number.
    unacknowledged: BTreeMap<u64, Bytes>,
}

/// The name of a device, as it stands in its topic.
pub(super) fn name(number: usize) -> String {
    format!("d{number}")
}

impl Device {
    pub(super) fn new(
        number: usize,
        gateway: SocketAddr,
        books: Rc<RefCell<Books>>,
        started: Instant,
    ) -> Self {
        Device { number, gateway, books, started, next: 1, unacknowledged: BTreeMap::new() }
    }

    /// Measures while `measure` is true, then sends until everything is acknowledged.
    pub(super) async fn run(mut self, measure: watch::Receiver<bool>) {
        while *measure.borrow() || !self.unacknowledged.is_empty() {
            self.connection(&measure).await;
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// One connection to the gateway, until it breaks or nothing is left to do.
    async fn connection(&mut self, measure: &watch::Receiver<bool>) {
        let (settings, introduction) = (self.settings(), Introduction::default());
        let connected = Wire::connect(&settings, &settings.url, &Dialer::new(), &introduction).await;
        let Ok((mut wire, _)) = connected else { return };
        let mut window = Window::new(WINDOW);
        // Everything above the last one sent on this connection goes out, oldest first.
        let mut last_sent = 0;
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                progress = wire.progress() => {
                    if progress.is_err() || self.handle_answers(&mut wire, &mut window).is_none() {
                        return;
                    }
                }
                _ = ticks.tick() => {
                    if *measure.borrow() {
                        self.measure();
                    } else if self.unacknowledged.is_empty() {
                        return;
                    }
                }
            }
            while window.room() > 0 {
                let Some((&n, payload)) = self.unacknowledged.range(last_sent + 1..).next() else { break };
                let packet_id = window.handle_sent(n, 0);
                wire.publish(&delivery(packet_id, &self.topic(), payload));
                last_sent = n;
            }
        }
    }

    /// `None` if the gateway answered what makes no sense, or refused.
    fn handle_answers(&mut self, wire: &mut Wire, window: &mut Window<u64>) -> Option<()> {
        while let Some(answer) = wire.poll_answer().ok()? {
            match answer {
                Answer::Acknowledged(packet_id, 0) => {
                    let n = window.handle_acknowledged(packet_id, 0).ok()?;
                    self.unacknowledged.remove(&n);
                    self.books.borrow_mut().acknowledged((self.number, n));
                }
                Answer::Acknowledged(..) | Answer::Received(..) => return None,
                Answer::Other | Answer::Subscribed(_) | Answer::Publish(_) => {}
            }
        }
        Some(())
    }

    fn measure(&mut self) {
        let n = self.next;
        self.next += 1;
        let temp = temperature(self.number, self.started.elapsed());
        let at_ms = self.started.elapsed().as_millis();
        let payload = format!(r#"{{"n": {n}, "temp": {temp:.1}, "humidity": 40, "at_ms": {at_ms}}}"#);
        self.unacknowledged.insert(n, payload.into());
        self.books.borrow_mut().sent((self.number, n));
    }

    fn topic(&self) -> String {
        format!("sensors/{}/climate", name(self.number))
    }

    fn settings(&self) -> Broker {
        let url = Url::plain(&self.gateway.ip().to_string(), self.gateway.port());
        Broker {
            // Both versions are served on one port.
            version: if self.number.is_multiple_of(2) { Version::V5 } else { Version::V311 },
            keep_alive: Duration::from_secs(10),
            ..Broker::new(&format!("device-{}", name(self.number)), url)
        }
    }
}

fn delivery<'a>(packet_id: u16, topic: &'a str, payload: &'a [u8]) -> Delivery<'a> {
    Delivery { qos: 1, retain: false, dup: false, packet_id, topic, properties: &[], payload }
}

/// Between 18 and 27 degrees, with a short peak over 30 every 20 s, at another moment for each device.
fn temperature(device: usize, elapsed: Duration) -> f64 {
    let seconds = elapsed.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "there are ten devices")]
    let phase = device as f64 * 2.0;
    let peak = (seconds + phase) % 20.0 < 0.2;
    22.0 + 4.0 * ((seconds + phase) / 3.0).sin() + if peak { 12.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::temperature;
    use std::time::Duration;

    #[test]
    fn every_device_has_its_peak_and_its_quiet() {
        for device in 0..10 {
            let (mut hot, mut mild) = (0, 0);
            for tick in 0..400 {
                match temperature(device, Duration::from_millis(50 * tick)) {
                    temp if temp > 30.0 => hot += 1,
                    temp => mild += usize::from((17.0..28.0).contains(&temp)),
                }
            }
            assert!((1..=8).contains(&hot), "device {device}: {hot} hot readings in 20 s");
            assert_eq!(hot + mild, 400, "device {device}");
        }
    }
}
