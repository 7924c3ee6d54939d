//! Records, their addresses and their time stamps.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

/// The order of lanes: a higher priority is read first, and evicted last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Read before all others.
    High,
    /// The ordinary case.
    Normal,
    /// Read last, evicted first.
    Low,
}

impl Priority {
    pub(crate) const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    pub(crate) fn rank(self) -> usize {
        match self {
            Self::High => 0,
            Self::Normal => 1,
            Self::Low => 2,
        }
    }
}

/// A registered consumer; valid for the spool that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerId(pub(crate) u8);

/// A set of consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Consumers(pub(crate) u64);

impl Consumers {
    /// The set without a consumer.
    pub const EMPTY: Self = Self(0);

    /// Adds a consumer.
    pub fn insert(&mut self, consumer: ConsumerId) {
        self.0 |= bit(consumer);
    }

    /// Whether the consumer is in the set.
    pub fn contains(self, consumer: ConsumerId) -> bool {
        self.0 & bit(consumer) != 0
    }

    /// Whether the set has no consumer.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

pub(crate) fn bit(consumer: ConsumerId) -> u64 {
    1 << (consumer.0 & 63)
}

/// The numbers of the consumers of a mask, rising.
pub(crate) fn bits(mut mask: u64) -> impl Iterator<Item = ConsumerId> {
    std::iter::from_fn(move || {
        let first = u8::try_from(mask.trailing_zeros()).ok().filter(|_| mask != 0)?;
        mask &= mask - 1;
        Some(ConsumerId(first))
    })
}

/// A moment on both clocks of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// Milliseconds of the monotonic clock, as [`Stamp::now`] counts them; comparable within one boot only.
    pub mono_ms: u64,
    /// Milliseconds since 1970 of the wall clock; may jump, and may be wrong until the clock was set.
    pub wall_ms: i64,
}

impl Stamp {
    /// The present moment. The monotonic part counts from the machine's boot, so that stamps of several runs
    /// within one boot can be compared; stamps given to a spool must come from here.
    pub fn now() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { mono_ms: mono_ms(), wall_ms: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX) }
    }
}

/// The machine's uptime when this process first asked, carried on by `Instant`: one read of `/proc` in all.
pub(crate) fn mono_ms() -> u64 {
    static ANCHOR: OnceLock<(Instant, u64)> = OnceLock::new();
    let (instant, uptime_ms) = ANCHOR.get_or_init(|| (Instant::now(), uptime_ms()));
    uptime_ms.saturating_add(u64::try_from(instant.elapsed().as_millis()).unwrap_or(u64::MAX))
}

fn uptime_ms() -> u64 {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    parse_uptime_ms(&text).unwrap_or(0)
}

/// `/proc/uptime` is `SECONDS.HUNDREDTHS IDLE`.
fn parse_uptime_ms(text: &str) -> Option<u64> {
    let (seconds, hundredths) = text.split_ascii_whitespace().next()?.split_once('.')?;
    Some(seconds.parse::<u64>().ok()? * 1000 + hundredths.parse::<u64>().ok()? * 10)
}

/// A record to append.
#[derive(Debug, Clone)]
pub struct NewRecord {
    /// Given by the caller: rising with each record, from `Opened::first_seq` on.
    pub seq: u64,
    /// Who must acknowledge it; not empty.
    pub consumers: Consumers,
    /// The lane at each of its consumers.
    pub priority: Priority,
    /// When the event arrived; expiry counts from the append.
    pub received: Stamp,
    /// How many milliseconds after `received` it is worth nothing any more.
    pub expires_after_ms: Option<u64>,
    /// Opaque.
    pub topic: Bytes,
    /// Opaque.
    pub meta: Bytes,
    /// Opaque.
    pub payload: Bytes,
}

/// A record handed to a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number, unique over all runs.
    pub seq: u64,
    /// Its lane.
    pub priority: Priority,
    /// When the event arrived.
    pub received: Stamp,
    /// As appended.
    pub topic: Bytes,
    /// As appended.
    pub meta: Bytes,
    /// As appended.
    pub payload: Bytes,
    pub(crate) expires_after_ms: Option<u64>,
    /// Whether `received.mono_ms` was taken in this boot.
    pub(crate) same_boot: bool,
}

impl Record {
    /// How many milliseconds are left before it expires: 0 when it has, `None` when it never does.
    ///
    /// Within the boot that stamped it this is measured on the monotonic clock. After a reboot only the wall
    /// clock can tell, so a clock that was wrong at either end shortens or lengthens the life of the record.
    pub fn expires_in_ms(&self, now: Stamp) -> Option<u64> {
        let life_ms = self.expires_after_ms?;
        let age_ms = if self.same_boot {
            now.mono_ms.saturating_sub(self.received.mono_ms)
        } else {
            u64::try_from(now.wall_ms.saturating_sub(self.received.wall_ms)).unwrap_or(0)
        };
        Some(life_ms.saturating_sub(age_ms))
    }

    /// What it costs in memory: its bytes and the bookkeeping around them.
    pub(crate) fn memory_bytes(&self) -> usize {
        const BOOKKEEPING_BYTES: usize = 256;
        BOOKKEEPING_BYTES + self.topic.len() + self.meta.len() + self.payload.len()
    }
}

impl From<NewRecord> for Record {
    fn from(new: NewRecord) -> Self {
        Self {
            seq: new.seq,
            priority: new.priority,
            received: new.received,
            topic: new.topic,
            meta: new.meta,
            payload: new.payload,
            expires_after_ms: new.expires_after_ms,
            same_boot: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bytes, ConsumerId, Consumers, Priority, Record, Stamp, bits, parse_uptime_ms};

    fn record(expires_after_ms: Option<u64>, same_boot: bool) -> Record {
        Record {
            seq: 1,
            priority: Priority::Normal,
            received: Stamp { mono_ms: 1000, wall_ms: 50_000 },
            topic: Bytes::new(),
            meta: Bytes::new(),
            payload: Bytes::new(),
            expires_after_ms,
            same_boot,
        }
    }

    #[test]
    fn expiry_uses_the_monotonic_clock_within_a_boot_and_the_wall_clock_after() {
        let now = Stamp { mono_ms: 1400, wall_ms: 50_900 };
        let table = [
            (None, true, None),
            (Some(500), true, Some(100)),
            (Some(400), true, Some(0)),
            (Some(10), true, Some(0)),
            (Some(1000), false, Some(100)),
            (Some(900), false, Some(0)),
        ];
        for (life, same_boot, left) in table {
            assert_eq!(record(life, same_boot).expires_in_ms(now), left, "{life:?} {same_boot}");
        }
    }

    #[test]
    fn a_clock_that_went_back_does_not_age_a_record() {
        let before = Stamp { mono_ms: 10, wall_ms: 0 };
        assert_eq!(record(Some(500), true).expires_in_ms(before), Some(500));
        assert_eq!(record(Some(500), false).expires_in_ms(before), Some(500));
    }

    #[test]
    fn consumer_sets() {
        let mut set = Consumers::EMPTY;
        assert!(set.is_empty());
        set.insert(ConsumerId(0));
        set.insert(ConsumerId(63));
        assert!(set.contains(ConsumerId(63)) && !set.contains(ConsumerId(1)));
        assert_eq!(bits(set.0).collect::<Vec<_>>(), [ConsumerId(0), ConsumerId(63)]);
        assert_eq!(bits(0).count(), 0);
    }

    #[test]
    fn priorities_have_stable_ranks() {
        for (rank, priority) in (0_u64..).zip(Priority::ALL) {
            assert_eq!(priority.rank() as u64, rank);
        }
    }

    #[test]
    fn uptime_lines() {
        assert_eq!(parse_uptime_ms("12.34 99.00\n"), Some(12_340));
        assert_eq!(parse_uptime_ms(""), None);
        assert_eq!(parse_uptime_ms("x.y z"), None);
        assert!(Stamp::now().mono_ms <= Stamp::now().mono_ms);
    }
}
