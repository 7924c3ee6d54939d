//! Records, their addresses and their time stamps.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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
    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

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

impl ConsumerId {
    /// Its number: below 64, and no other consumer's of the same spool.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

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

/// A duration in whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The machine's uptime when this process first asked, carried on by `Instant`: one read of `/proc` in all.
pub(crate) fn mono_ms() -> u64 {
    static ANCHOR: OnceLock<(Instant, u64)> = OnceLock::new();
    let (instant, uptime_ms) = ANCHOR.get_or_init(|| (Instant::now(), uptime_ms()));
    uptime_ms.saturating_add(millis(instant.elapsed()))
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

/// A wall clock below this, the year 2020, was never set.
const CLOCK_SET_MS_MIN: i64 = 1_577_836_800_000;

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
    /// When the event arrived; the wall time corrected as far as is known by now.
    pub received: Stamp,
    /// Whether the wall time in `received` is right: taken with a clock that could be trusted, or corrected since.
    pub stamp_trusted: bool,
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
    /// How many milliseconds are left before it expires: 0 when it has, `None` when it never does. See
    /// [`Record::age_ms`] for how well that can be known.
    pub fn expires_in_ms(&self, now: Stamp) -> Option<u64> {
        Some(self.expires_after_ms?.saturating_sub(self.age_ms(now)))
    }

    /// How many milliseconds ago the event arrived.
    ///
    /// Within the boot that stamped it this is measured on the monotonic clock. After a reboot it is the difference of
    /// the wall times, which is right when the clock was trusted, sooner or later, in both boots. Where it was not, a
    /// wrong clock at either end makes the age wrong by its error, within one limit: it is at least the time since
    /// this boot, and just that when the stamp is of a clock that had never been set (before 2020).
    pub fn age_ms(&self, now: Stamp) -> u64 {
        if self.same_boot {
            return now.mono_ms.saturating_sub(self.received.mono_ms);
        }
        let wall_ms = self.received.wall_ms;
        let since_ms = u64::try_from(now.wall_ms.saturating_sub(wall_ms)).unwrap_or(0);
        let known = self.stamp_trusted || wall_ms >= CLOCK_SET_MS_MIN;
        if known { since_ms.max(now.mono_ms) } else { now.mono_ms }
    }

    /// Its bytes, without any bookkeeping.
    pub(crate) fn bytes(&self) -> usize {
        self.topic.len() + self.meta.len() + self.payload.len()
    }

    /// What it costs in memory: its bytes and the bookkeeping around them.
    pub(crate) fn memory_bytes(&self) -> usize {
        const BOOKKEEPING_BYTES: usize = 256;
        BOOKKEEPING_BYTES + self.bytes()
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
            stamp_trusted: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bytes, ConsumerId, Consumers, Priority, Record, Stamp, bits, parse_uptime_ms};

    const RECEIVED: Stamp = Stamp { mono_ms: 1000, wall_ms: 1_800_000_000_000 };

    fn record(received: Stamp, same_boot: bool) -> Record {
        Record {
            seq: 1,
            priority: Priority::Normal,
            received,
            stamp_trusted: false,
            topic: Bytes::new(),
            meta: Bytes::new(),
            payload: Bytes::new(),
            expires_after_ms: None,
            same_boot,
        }
    }

    #[test]
    fn the_age_is_measured_by_the_monotonic_clock_within_a_boot_and_by_the_wall_clock_after() {
        let after = |mono_ms, wall_ms: i64| Stamp { mono_ms, wall_ms: RECEIVED.wall_ms + wall_ms };
        let unset = Stamp { mono_ms: 1000, wall_ms: 5000 };
        let table = [
            ("within a boot", RECEIVED, true, after(1400, 900), 400),
            ("within a boot, the wall clock stepped", unset, true, after(1400, 0), 400),
            ("within a boot, before", RECEIVED, true, after(10, 900), 0),
            ("after a reboot", RECEIVED, false, after(400, 900), 900),
            ("after a reboot, the wall clock behind", RECEIVED, false, after(400, -900), 400),
            (
                "after a reboot, the wall clock never set",
                RECEIVED,
                false,
                Stamp { mono_ms: 7, wall_ms: 9 },
                7,
            ),
            ("stamped by a clock never set", unset, false, after(400, 900), 400),
        ];
        for (name, received, same_boot, now, age_ms) in table {
            assert_eq!(record(received, same_boot).age_ms(now), age_ms, "{name}");
        }
        let corrected = Record { stamp_trusted: true, ..record(unset, false) };
        assert_eq!(
            corrected.age_ms(Stamp { mono_ms: 1, wall_ms: 6000 }),
            1000,
            "a trusted stamp is believed"
        );
    }

    #[test]
    fn a_record_expires_by_its_age() {
        let now = Stamp { mono_ms: 1400, ..RECEIVED };
        for (life_ms, left_ms) in
            [(None, None), (Some(500), Some(100)), (Some(400), Some(0)), (Some(1), Some(0))]
        {
            let record = Record { expires_after_ms: life_ms, ..record(RECEIVED, true) };
            assert_eq!(record.expires_in_ms(now), left_ms, "{life_ms:?}");
        }
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
