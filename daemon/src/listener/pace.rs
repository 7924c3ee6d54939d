//! How fast one client may send. Who is over it is not read for a while, so that its own kernel holds it back; nothing
//! is lost, and nobody else waits.

use super::Limits;
use super::rate::{Bucket, Rate};

/// The rates of one client.
pub(super) struct Pace {
    publishes: Option<(Rate, Bucket)>,
    bytes: Option<(Rate, Bucket)>,
}

impl Pace {
    /// `None` if no rate is limited.
    pub(super) fn new(limits: &Limits, now_ms: u64) -> Option<Box<Pace>> {
        let bucket = |count_max: Option<u32>| {
            count_max.map(Rate::per_second).map(|rate| (rate, Bucket::full(rate, now_ms)))
        };
        let pace = Pace {
            publishes: bucket(limits.publishes_per_s_max),
            bytes: bucket(limits.receive_bytes_per_s_max),
        };
        (pace.publishes.is_some() || pace.bytes.is_some()).then(|| Box::new(pace))
    }

    /// The client has sent this much; says for how long it is not to be read.
    pub(super) fn take(&mut self, publishes: u64, bytes: u64, now_ms: u64) -> u64 {
        let mut pause_ms = 0;
        for (bucket, count) in [(&mut self.publishes, publishes), (&mut self.bytes, bytes)] {
            if let Some((rate, bucket)) = bucket {
                bucket.take(*rate, count, now_ms);
                pause_ms = pause_ms.max(bucket.wait_ms(*rate, now_ms));
            }
        }
        pause_ms
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;
    use crate::testing::limits;

    #[test]
    fn the_slower_of_both_rates_counts() {
        let mut limits = limits();
        assert!(Pace::new(&limits, 0).is_none());
        limits.publishes_per_s_max = Some(10);
        limits.receive_bytes_per_s_max = Some(1000);
        let mut pace = Pace::new(&limits, 0).unwrap();
        for (now_ms, publishes, bytes, pause_ms) in [
            (0, 9, 500, 0),
            (0, 1, 0, 100),
            (100, 0, 0, 0),
            // 500 bytes are left, and 100 have come back.
            (100, 0, 1600, 1001),
            (1101, 0, 0, 0),
        ] {
            assert_eq!(pace.take(publishes, bytes, now_ms), pause_ms, "at {now_ms}");
        }
    }
}
