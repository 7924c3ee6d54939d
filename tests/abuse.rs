//! Clients that misbehave: whatever they do, the others' latency stays within three times its quiet value, and the memory
//! comes back.
//!
//! The short form runs in CI; `TIDEGATE_ABUSE=long` takes the numbers of the requirement (2,000 half-open connections,
//! 20,000 subscriptions, 50 MB for who never reads, 12,000 client ids); it needs `ulimit -n` of 5,000.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tidegate_tests::wire::{self, Connect, Version};
use tidegate_tests::{Connection, Gateway, Must, fail, gateway, usage, wait_for};

/// What the percentile of a thousand samples may be off by.
const NOISE: Duration = Duration::from_millis(2);
/// Publishes that a percentile is taken of: then ten of them are worse, and a single hiccup of the machine does not count.
const SAMPLES: usize = 1000;
const RSS_KIB_MORE: u64 = 2 * 1024;

/// What the unit that packages install sets of the C library's memory, which would otherwise keep what a burst has freed.
fn malloc_settings() -> &'static str {
    let unit = include_str!("../packaging/systemd/tidegate.service");
    let mut settings = unit.lines().filter_map(|line| line.strip_prefix("Environment=GLIBC_TUNABLES="));
    settings.next().must("find GLIBC_TUNABLES in the unit")
}

fn is_long() -> bool {
    std::env::var("TIDEGATE_ABUSE").is_ok_and(|form| form == "long")
}

fn count(short: usize, long: usize) -> usize {
    if is_long() { long } else { short }
}

struct Probe {
    connection: Connection,
    number: u16,
    gateway: u32,
}

impl Probe {
    fn new(gateway: &Gateway) -> Self {
        let connection = Connection::clean(gateway.port(), Version::V5, "probe");
        Self { connection, number: 0, gateway: gateway.pid() }
    }

    // How long a publish takes to be acknowledged, and how much of it is not the machine's.
    fn latency(&mut self) -> (Duration, Duration) {
        self.number = self.number % u16::MAX + 1;
        let (started, before) = (Instant::now(), usage::waited(self.gateway));
        let publish = wire::publish(Version::V5, "probe", b"0123456789", 1, self.number);
        self.connection.send(&publish).must("publish");
        assert_eq!(self.connection.expect("a PUBACK").packet_id(), Some(self.number));
        let (elapsed, waited) = (started.elapsed(), usage::waited(self.gateway) - before);
        (elapsed, elapsed.saturating_sub(waited))
    }

    // Latencies until `enough`, which is told how many there are.
    fn sample(&mut self, enough: impl Fn(usize) -> bool) -> Samples {
        let mut samples = Samples::default();
        while !enough(samples.own.len()) {
            let (whole, own) = self.latency();
            samples.whole.push(whole);
            samples.own.push(own);
            thread::sleep(Duration::from_millis(1));
        }
        samples
    }
}

#[derive(Default)]
struct Samples {
    whole: Vec<Duration>,
    /// Without what the machine adds.
    own: Vec<Duration>,
}

fn percentile_99(mut latencies: Vec<Duration>) -> Duration {
    latencies.sort_unstable();
    latencies.get(latencies.len() * 99 / 100).copied().must("a percentile")
}

// Latencies while `abuse` goes on, again and again until there are enough.
fn sample_during(probe: &mut Probe, abuse: impl Fn()) -> Samples {
    let (taken, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let sampling = scope.spawn(|| {
            probe.sample(|count| {
                taken.store(count, Ordering::Relaxed);
                ended.load(Ordering::Relaxed)
            })
        });
        // However it ends, the sampling ends too.
        let abused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            while taken.load(Ordering::Relaxed) < SAMPLES && !sampling.is_finished() {
                abuse();
            }
        }));
        ended.store(true, Ordering::Relaxed);
        let samples = sampling.join().unwrap_or_else(|_| fail("the measuring client was hurt"));
        abused.unwrap_or_else(|cause| std::panic::resume_unwind(cause));
        samples
    })
}

// Runs `abuse` on a gateway with these limits beside a client that measures, once small to warm up and then in full. What
// the machine is like changes from minute to minute, so the quiet value is taken right before and right after.
fn check(limits: &str, full: usize, abuse: impl Fn(&Gateway, usize) + Sync) {
    let gateway = gateway!().limits(limits).environment("GLIBC_TUNABLES", malloc_settings()).start();
    let mut probe = Probe::new(&gateway);
    abuse(&gateway, full / 10 + 1);
    wait_for("the end of the warm-up", Duration::from_secs(30), || {
        probe.latency().0 < Duration::from_millis(100)
    });
    let mut quiet = probe.sample(|count| count >= SAMPLES / 2).own;
    let before = gateway.rss_kib();
    let during = sample_during(&mut probe, || abuse(&gateway, full));
    let mut after = 0;
    let back = tidegate_tests::wait::within(Duration::from_secs(30), || {
        after = gateway.rss_kib();
        (after <= before + RSS_KIB_MORE).then_some(())
    });
    assert!(back.is_some(), "RSS {before} KiB before and {after} KiB after");
    quiet.extend(probe.sample(|count| count >= SAMPLES / 2).own);
    let (count, whole) = (during.whole.len(), percentile_99(during.whole));
    let (quiet, during) = (percentile_99(quiet), percentile_99(during.own));
    if is_long() {
        let figures = format!(
            "p99 of {count} publishes {during:?} ({whole:?} with what the machine adds), quiet {quiet:?}"
        );
        writeln!(std::io::stdout(), "{figures}").must("tell the figures");
    }
    assert!(during <= quiet * 3 + NOISE, "p99 {during:?} instead of {quiet:?}");
}

const MANY: &str = "connections_max = 5000\nconnections_per_address_max = 5000\nconnect_timeout = \"2s\"";

fn dial(gateway: &Gateway) -> Option<Connection> {
    Connection::dial(gateway.port(), Version::V311).ok()
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut noise = Vec::new();
    while noise.len() < bytes {
        noise.extend(RandomState::new().build_hasher().finish().to_be_bytes());
    }
    noise
}

#[test]
fn half_open_connections() {
    check(MANY, count(300, 2000), |gateway, count| {
        let open: Vec<_> =
            (0..count).filter_map(|_| TcpStream::connect(("127.0.0.1", gateway.port())).ok()).collect();
        assert_eq!(open.len(), count);
        // Until the gateway has closed them all.
        for stream in open {
            stream.set_read_timeout(Some(Duration::from_secs(20))).must("set a timeout");
            assert_eq!((&stream).read(&mut [0]).unwrap_or(0), 0);
        }
    });
}

#[test]
fn connects_byte_by_byte() {
    check(MANY, count(100, 500), |gateway, count| {
        let connect = Connect::new(Version::V311, "slow").encode();
        let mut open: Vec<_> = (0..count).filter_map(|_| dial(gateway)).collect();
        for byte in &connect[..connect.len() - 1] {
            open.retain_mut(|connection| connection.send(&[*byte]).is_ok());
            thread::sleep(Duration::from_millis(50));
        }
        for mut connection in open {
            assert_eq!(connection.expect_close("a CONNECT that never ends"), []);
        }
    });
}

#[test]
fn random_bytes() {
    check(MANY, count(60, 200), |gateway, count| {
        for number in 0..count {
            let Some(mut connection) = dial(gateway) else { continue };
            if number % 2 == 0 {
                let connect = Connect::new(Version::V311, &format!("noise-{number}")).encode();
                // It may be closed at any byte.
                let _ = connection.send(&connect);
            }
            let _ = connection.send(&noise(20_000));
        }
    });
}

#[test]
fn packets_that_claim_256_mb() {
    check(MANY, count(60, 200), |gateway, count| {
        let clients: Vec<_> = (0..count)
            .map(|number| {
                let mut client = Connection::clean(gateway.port(), Version::V5, &format!("claim-{number}"));
                client.send(&[0x32, 0xff, 0xff, 0xff, 0x7f]).must("send");
                // What the gateway has room for may come in part; the rest never does.
                let mut legal = Connection::clean(gateway.port(), Version::V5, &format!("legal-{number}"));
                let whole = wire::publish(Version::V5, "t", &vec![0; 250_000], 0, 0);
                legal.send(&whole[..30]).must("send");
                (client, legal)
            })
            .collect();
        for (mut client, _) in clients {
            let frames = client.expect_close("256 MB");
            assert_eq!(frames.last().and_then(wire::Frame::reason), Some(0x95), "{frames:?}");
        }
    });
}

#[test]
fn many_subscriptions() {
    let limits = format!("{MANY}\nsubscriptions_max = 25000");
    check(&limits, count(2000, 20_000), |gateway, count| {
        let mut client = Connection::clean(gateway.port(), Version::V5, "subscriber");
        for number in 0..count {
            let filter = format!("site/{number}/+/x");
            client.send(&wire::subscribe(Version::V5, 1, &[(&filter, 0)])).must("subscribe");
            assert_eq!(client.expect("a SUBACK").kind(), 9);
        }
        client.cut();
    });
}

#[test]
fn a_subscriber_that_never_reads() {
    check(MANY, count(2_000, 12_500), |gateway, count| {
        let mut lazy = Connection::clean(gateway.port(), Version::V5, "lazy");
        lazy.send(&wire::subscribe(Version::V5, 1, &[("bulk", 0)])).must("subscribe");
        lazy.expect("a SUBACK");
        let mut publisher = Connection::clean(gateway.port(), Version::V5, "publisher");
        for _ in 0..count {
            // 50 MB in the long form.
            publisher.send(&wire::publish(Version::V5, "bulk", &[0; 4000], 1, 1)).must("publish");
            assert_eq!(publisher.expect("a PUBACK").kind(), 4);
        }
    });
}

#[test]
fn client_ids_that_come_and_go() {
    check(MANY, count(1500, 12_000), |gateway, count| {
        for number in 0..count {
            let connection = Connection::clean(gateway.port(), Version::V5, &format!("passer-by-{number}"));
            connection.cut();
        }
    });
}

#[test]
fn reconnect_storms_at_the_limit() {
    let limits = "connections_max = 50\nconnections_per_address_max = 50\nconnect_timeout = \"2s\"";
    check(limits, count(1000, 5000), |gateway, count| {
        let held: Vec<_> = (0..45)
            .filter_map(|n| {
                Connection::open(gateway.port(), &Connect::new(Version::V5, &format!("held-{n}"))).ok()
            })
            .collect();
        for _ in 0..count {
            // The first find room, the others are turned away.
            drop(dial(gateway));
        }
        drop(held);
        wait_for("room again", Duration::from_secs(10), || {
            Connection::open(gateway.port(), &Connect::new(Version::V5, "again")).is_ok()
        });
    });
}
