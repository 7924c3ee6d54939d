//! Any bytes into a session, and what holds whatever they are: nothing panics, what it keeps and writes is bounded, it writes
//! whole packets, what it stores can be read by the next run, and another client is served.
//!
//! `tests/fuzz` drives it by cargo-fuzz; the tests here by the same seeds, bent at random.

use std::rc::Rc;

use bytes::Bytes;

use super::testing::{Site, limits};
use super::{Admission, Flow, Host, Limits, OUTPUT_BYTES_MAX, Session};
use crate::bus::{Bounds, BusEvent, ConnectionId, Notice, Publication};
use crate::listener::Cause;
use crate::mqtt::{self, Version};

/// Bytes of a read at most; larger numbers in the input are what happens between reads.
const READ_BYTES_MAX: u8 = 0xef;

/// CONNECT of client `c`, whose session is kept: 3.1.1, and 5.0 for 100 s with Topic Alias Maximum 3 and Receive Maximum 2.
const CONNECT_311: &[u8] = b"\x10\x0d\0\x04MQTT\x04\0\0\x0a\0\x01c";
const CONNECT_5: &[u8] = b"\x10\x19\0\x04MQTT\x05\0\0\x0a\x0b\x11\0\0\0\x64\x22\0\x03\x21\0\x02\0\x01c";

/// Bytes from a client that nothing is known of yet.
pub(crate) fn before_connect(input: &[u8]) {
    Run::new(b"").all(input);
}

/// Bytes from a client of this version that has connected.
pub(crate) fn after_connect(version: Version, input: &[u8]) {
    let connect = if version == Version::V5 { CONNECT_5 } else { CONNECT_311 };
    Run::new(connect).all(input);
}

struct Run {
    site: Site,
    limits: Rc<Limits>,
    connect: &'static [u8],
    session: Session,
    connection: ConnectionId,
    /// Whether the session takes input.
    reads: bool,
    /// Nothing was written on this connection yet.
    is_first: bool,
}

impl Run {
    fn new(connect: &'static [u8]) -> Run {
        let limits = Rc::new(Limits { mqtt31: true, ..limits() });
        let mut site = Site::new(Bounds::for_tests());
        site.connection = 0;
        let session = Session::new(Rc::clone(&limits), site.now.mono_ms);
        let mut run = Run { site, limits, connect, session, connection: 0, reads: true, is_first: true };
        run.open();
        run
    }

    /// The input is a list of what happens: a number of bytes and the bytes, or something else.
    fn all(&mut self, mut input: &[u8]) {
        while let Some((&what, rest)) = input.split_first() {
            input = rest;
            if what <= READ_BYTES_MAX {
                let (read, rest) = input.split_at(input.len().min(usize::from(what) + 1));
                input = rest;
                self.read(read);
            } else {
                self.happen(what);
            }
            self.notice();
            self.check();
        }
        self.close(Cause::Lost);
        self.check_service();
    }

    fn happen(&mut self, what: u8) {
        match what {
            0xf0 => self.resolve(),
            0xf1 => {
                while self.site.has_entries() {
                    self.resolve();
                }
            }
            0xf2 => self.take_output(),
            0xf3 => self.deliver(),
            0xf4 => self.pass_time(1),
            0xf5 => self.pass_time(20),
            0xf6 => self.close(Cause::Lost),
            0xf7 => {
                self.site.crash();
                self.open();
            }
            0xf8 => self.site.admission = Admission::Open,
            0xf9 => self.site.admission = Admission::Wait,
            0xfa => self.site.admission = Admission::Refuse,
            _ => self.read(b""),
        }
    }

    fn open(&mut self) {
        self.connection += 1;
        self.session = Session::new(Rc::clone(&self.limits), self.site.now.mono_ms);
        (self.reads, self.is_first) = (true, true);
        if !self.connect.is_empty() {
            self.read(self.connect);
            while self.site.has_entries() {
                self.resolve();
            }
        }
    }

    fn read(&mut self, bytes: &[u8]) {
        self.site.connection = self.connection;
        let mut handle = |bytes: &[u8]| {
            let flow = self.session.handle_input(bytes, self.site.now.mono_ms, &mut self.site);
            self.site.commit();
            flow
        };
        // What had to wait goes first.
        let flow = if self.reads { handle(bytes) } else { handle(b"") };
        match flow {
            Flow::Close(cause) => self.close(cause),
            flow => self.reads = flow == Flow::Read,
        }
    }

    /// The oldest entry becomes durable.
    fn resolve(&mut self) {
        let Some(Some((connection, receipt))) = self.site.resolve() else { return };
        if connection == self.connection {
            self.session.handle_receipt(receipt);
            self.session.write_acks();
            self.read(b"");
        }
    }

    /// Another client publishes what this one may have subscribed to.
    fn deliver(&mut self) {
        let publication = Publication { topic: "t", qos: 2, retain: false, promised: true, origin: None };
        let event = || BusEvent {
            topic: "t".into(),
            payload: Bytes::from_static(b"x"),
            properties: Box::default(),
            qos: 2,
            expires_at_ms: None,
        };
        self.site.with_bus(None, |bus, now, durable| bus.publish(&publication, now, durable, event));
        self.site.commit();
    }

    fn pass_time(&mut self, seconds: u64) {
        self.site.advance(seconds);
        if let Some(cause) = self.session.handle_time(self.site.now.mono_ms) {
            self.session.write_disconnect(cause);
            self.close(cause);
        }
    }

    /// What the bus wants done.
    fn notice(&mut self) {
        for notice in std::mem::take(&mut self.site.notices) {
            match notice {
                Notice::TakenOver(connection) if connection == self.connection => {
                    self.close(Cause::TakenOver)
                }
                Notice::TooSlow(connection) if connection == self.connection => {
                    self.close(Cause::SlowSubscriber)
                }
                _ => {}
            }
        }
    }

    /// This connection ends, and the next begins.
    fn close(&mut self, cause: Cause) {
        self.site.connection = self.connection;
        self.check_packets();
        self.session.close(cause, &mut self.site);
        self.site.commit();
        self.open();
    }

    /// The client reads all that there is.
    fn take_output(&mut self) {
        self.site.connection = self.connection;
        self.session.fill_output(&mut self.site);
        self.site.commit();
        self.check_packets();
        self.read(b"");
    }

    fn check_packets(&mut self) {
        let bytes = std::mem::take(self.session.output());
        let mut rest = bytes.as_slice();
        while let Ok(Some(frame)) = mqtt::frame(rest, 1 << 20) {
            assert!(!self.is_first || frame.first == 0x20, "before CONNACK: {:#x}", frame.first);
            self.is_first = false;
            rest = &rest[frame.packet_bytes..];
        }
        assert!(rest.is_empty(), "whole packets: {bytes:?}");
    }

    /// What a session holds is bounded, however long its client goes on.
    fn check(&mut self) {
        let Limits { packet_bytes_max, inflight_max, .. } = *self.limits;
        let (input, output) = (self.session.input.len(), self.session.output.len());
        assert!(input <= packet_bytes_max + 5 + usize::from(READ_BYTES_MAX) + 1, "{input} bytes of input");
        assert!(output <= OUTPUT_BYTES_MAX + 2 * packet_bytes_max, "{output} bytes of output");
        let owed = self.session.acks.len();
        assert!(owed <= 18 + 2 * usize::from(inflight_max), "{owed} answers are owed");
    }

    /// A client that keeps to the standard gets what it publishes.
    fn check_service(&mut self) {
        const INPUT: &[u8] = b"\x10\x14\0\x04MQTT\x04\x02\0\0\0\x08neighbor\x82\x0d\0\x01\0\x08secret/w\x01\
            \x32\x0d\0\x08secret/w\0\x07x";
        let connection = self.connection + 1;
        (self.site.connection, self.site.admission) = (connection, Admission::Open);
        self.site.login = Ok(Some("admin"));
        let mut neighbor = Session::new(Rc::clone(&self.limits), self.site.now.mono_ms);
        // CONNACK may have to wait until an earlier client of that name is gone for good.
        for input in [INPUT, b""] {
            neighbor.handle_input(input, self.site.now.mono_ms, &mut self.site);
            self.site.commit();
            let receipts = self.site.resolve_all(connection);
            receipts.into_iter().for_each(|receipt| neighbor.handle_receipt(receipt));
            neighbor.write_acks();
        }
        neighbor.fill_output(&mut self.site);
        let output = neighbor.output();
        // Which packet id the delivery has is the session's affair.
        let packet_id_at = output.len().saturating_sub(3);
        output.drain(packet_id_at..output.len().saturating_sub(1));
        let expected = b"\x20\x02\0\0\x90\x03\0\x01\x01\x40\x02\0\x07\x32\x0d\0\x08secret/wx";
        assert_eq!(output, expected, "another client is served");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seeds of `tests/fuzz`, and what the fuzzer ever found.
    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fuzz/seeds/");
        let mut files: Vec<_> = std::fs::read_dir(format!("{folder}{target}"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        files.iter().map(|file| std::fs::read(file).unwrap()).collect()
    }

    /// Runs the seeds of a target, then as many bent ones: bytes changed, cut, doubled, and parts of others put in.
    fn run_bent(target: &str, run: impl Fn(&[u8])) {
        let seeds = seeds(target);
        assert!(seeds.len() >= 4, "{target} has seeds");
        seeds.iter().for_each(|seed| run(seed));
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut below = |bound: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 11).unwrap() % bound.max(1)
        };
        for _ in 0..4000 {
            let mut input = seeds[below(seeds.len())].clone();
            for _ in 0..=below(6) {
                let at = below(input.len());
                match below(5) {
                    0 => input.truncate(at),
                    1 => input.insert(at, u8::try_from(0xf0 + below(16)).unwrap()),
                    2 => input.extend_from_within(at..),
                    3 => {
                        let other = &seeds[below(seeds.len())];
                        let from = below(other.len());
                        input.splice(at..at, other[from..].iter().copied());
                    }
                    _ => input[at..]
                        .iter_mut()
                        .take(1)
                        .for_each(|byte| *byte = u8::try_from(below(256)).unwrap()),
                }
            }
            run(&input);
        }
    }

    #[test]
    fn before_connect_any_bytes_are_survived() {
        run_bent("before_connect", before_connect);
    }

    #[test]
    fn after_connect_any_bytes_are_survived_on_version_311() {
        run_bent("after_connect_311", |input| after_connect(Version::V311, input));
    }

    #[test]
    fn after_connect_any_bytes_are_survived_on_version_5() {
        run_bent("after_connect_5", |input| after_connect(Version::V5, input));
    }
}
