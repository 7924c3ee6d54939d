//! TCP ports that stay with a test, over any number of restarts of the server that listens on them.

use std::net::{TcpListener, UdpSocket};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::must::fail;

// Below the kernel's range for outgoing connections (32768 and up), so that no client takes the port of a server
// that is down for a moment.
const FIRST: u16 = 12_000;
const COUNT: u16 = 18_000;

/// A TCP port on 127.0.0.1 that no other test uses while this value lives: the UDP port of the same number is held as the
/// lock, which the system releases however the test ends.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: UdpSocket,
}

impl Port {
    /// Reserves a free port.
    pub fn reserve() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let start = u16::try_from(process::id() * 37 % u32::from(COUNT)).unwrap_or(0);
        for _ in 0..COUNT {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let number = FIRST + start.wrapping_add(step) % COUNT;
            if let Ok(lock) = UdpSocket::bind(("127.0.0.1", number))
                && TcpListener::bind(("127.0.0.1", number)).is_ok()
            {
                return Self { number, _lock: lock };
            }
        }
        fail("no free port on 127.0.0.1")
    }

    /// The number.
    pub fn number(&self) -> u16 {
        self.number
    }
}
