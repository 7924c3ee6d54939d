//! The two loads: a few devices flat out, and many at a steady rate.

use std::thread;
use std::time::{Duration, Instant};

use tidegate_tests::device::{Device, Plan, finish_all};
use tidegate_tests::event::Event;
use tidegate_tests::wire::{self, Version};
use tidegate_tests::{Connection, Must, fail};

/// Events of either load.
pub(crate) const EVENTS: usize = 20_000;

const STEADY_DEVICES: usize = 100;
const STEADY_PER_S: f64 = 2_000.0;
const THREADS: usize = 2;
const TURN: Duration = Duration::from_millis(5);
const LIMIT: Duration = Duration::from_secs(60);

/// What devices do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    FlatOut,
    Steady,
}

impl Load {
    pub(crate) const ALL: [Load; 2] = [Load::FlatOut, Load::Steady];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Load::FlatOut => "A: 4 devices, window 100, flat out",
            Load::Steady => "B: 100 devices, 2,000 events/s in all",
        }
    }

    /// Publishes all events and waits for their PUBACKs.
    pub(crate) fn run(self, port: u16) {
        match self {
            Load::FlatOut => flat_out(port),
            Load::Steady => steady(port),
        }
    }
}

fn flat_out(port: u16) {
    let each = u64::try_from(EVENTS / 4).must("count events");
    let mut devices: Vec<_> =
        (0..4).map(|n| Device::raw(Plan::new(&format!("flat-{n}"), port, 0..each))).collect();
    finish_all(&mut devices, LIMIT);
}

fn steady(port: u16) {
    let start = Instant::now();
    let threads: Vec<_> = (0..THREADS)
        .map(|part| {
            let devices = (0..STEADY_DEVICES).filter(move |n| n % THREADS == part);
            let devices: Vec<_> = devices.map(|number| SteadyDevice::new(number, port)).collect();
            thread::spawn(move || drive(devices, start))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap_or_else(|_| fail("a thread of the load failed"));
    }
}

struct SteadyDevice {
    number: usize,
    name: String,
    connection: Connection,
    sent: usize,
    acked: usize,
}

impl SteadyDevice {
    fn new(number: usize, port: u16) -> Self {
        let name = format!("steady-{number}");
        let connection = Connection::clean(port, Version::V5, &name);
        connection.set_nonblocking();
        Self { number, name, connection, sent: 0, acked: 0 }
    }

    const EVENTS: usize = EVENTS / STEADY_DEVICES;

    // The events of all devices are due one after the other, evenly.
    fn is_due(&self, elapsed: Duration) -> bool {
        let place = u32::try_from(self.sent * STEADY_DEVICES + self.number).must("count events");
        self.sent < Self::EVENTS && elapsed.as_secs_f64() * STEADY_PER_S >= f64::from(place)
    }

    fn turn(&mut self, elapsed: Duration) {
        while self.is_due(elapsed) {
            let event = Event::new(&self.name, self.sent.try_into().must("number an event"));
            let id = u16::try_from(self.sent + 1).must("number a packet");
            let topic = Event::topic(&self.name);
            let packet = wire::publish(Version::V5, &topic, event.payload().as_bytes(), 1, id);
            self.connection.send(&packet).must("publish (the gateway pushes back at this rate)");
            self.sent += 1;
        }
        if self.acked < self.sent {
            assert!(self.connection.fill(), "the gateway closed the connection of {}", self.name);
            while let Some(frame) = self.connection.buffered() {
                self.acked += usize::from(frame.kind() == 4 && frame.reason() == Some(0));
            }
        }
    }
}

fn drive(mut devices: Vec<SteadyDevice>, start: Instant) {
    while devices.iter().any(|device| device.acked < SteadyDevice::EVENTS) {
        let elapsed = start.elapsed();
        assert!(elapsed < LIMIT, "the load was not acknowledged within {LIMIT:?}");
        devices.iter_mut().for_each(|device| device.turn(elapsed));
        thread::sleep(TURN);
    }
}
