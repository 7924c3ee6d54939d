//! Boots of the machine, and what is known of their clocks.
//!
//! The monotonic clock is right within a boot and says nothing about another. The wall clock of a board without a
//! battery is wrong until somebody sets it. Once it is right, the wall time of the boot itself is known, and with it
//! the true time of every stamp of this boot: that is all that is kept of a boot.

use crate::record::{Record, Stamp};

/// Names one boot of the machine; zeros when the system does not tell.
pub(crate) type BootId = [u8; 16];

/// A boot whose clock became trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Boot {
    pub(crate) id: BootId,
    /// Stamps from here on have the right wall time as they are.
    pub(crate) trusted_from_ms: u64,
    /// The wall time at which the monotonic clock was zero.
    pub(crate) wall_at_boot_ms: i64,
}

impl Boot {
    /// A boot whose clock is right at `now`, and was not known to be before.
    pub(crate) fn trusted(id: BootId, now: Stamp) -> Self {
        let up_ms = i64::try_from(now.mono_ms).unwrap_or(i64::MAX);
        Self { id, trusted_from_ms: now.mono_ms, wall_at_boot_ms: now.wall_ms.saturating_sub(up_ms) }
    }

    /// A stamp of this boot with the wall time that it ought to have.
    pub(crate) fn correct(self, stamp: Stamp) -> Stamp {
        if stamp.mono_ms >= self.trusted_from_ms {
            return stamp;
        }
        let up_ms = i64::try_from(stamp.mono_ms).unwrap_or(i64::MAX);
        Stamp { wall_ms: self.wall_at_boot_ms.saturating_add(up_ms), ..stamp }
    }
}

/// This boot, and the earlier ones whose clock became trusted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Boots {
    pub(crate) current: BootId,
    earlier: Vec<Boot>,
}

impl Boots {
    pub(crate) fn new(current: BootId, known: impl IntoIterator<Item = Boot>) -> Self {
        Self { current, earlier: known.into_iter().filter(|boot| boot.id != current).collect() }
    }

    /// Whether this is the present boot. A system that does not tell its boots apart never has the same one.
    pub(crate) fn is_current(&self, boot: BootId) -> bool {
        boot == self.current && boot != BootId::default()
    }

    /// An earlier boot that is known.
    pub(crate) fn earlier(&self, boot: BootId) -> Option<Boot> {
        self.earlier.iter().find(|known| known.id == boot).copied()
    }
}

impl From<BootId> for Boots {
    fn from(current: BootId) -> Self {
        Self { current, earlier: Vec::new() }
    }
}

/// What this run knows of the clock of this boot.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    id: BootId,
    trusted: Option<Boot>,
    /// The database does not know it yet.
    unsaved: bool,
}

impl Clock {
    pub(crate) fn new(id: BootId, trusted: Option<Boot>) -> Self {
        Self { id, trusted, unsaved: false }
    }

    /// The wall clock is right at `now`. Said again, it is the latest that counts, for the stamps taken before the
    /// first; less than this is the drift of a clock, which is not worth a write.
    pub(crate) fn trust(&mut self, now: Stamp) {
        const DRIFT_MS: u64 = 1000;
        let latest = Boot::trusted(self.id, now);
        let known = self.trusted.map(|boot| boot.wall_at_boot_ms.abs_diff(latest.wall_at_boot_ms));
        if known.is_some_and(|drift_ms| drift_ms <= DRIFT_MS) {
            return;
        }
        let trusted_from_ms = self.trusted.map_or(latest.trusted_from_ms, |boot| boot.trusted_from_ms);
        self.trusted = Some(Boot { trusted_from_ms, ..latest });
        // Of a boot without a name nothing could be found again.
        self.unsaved = self.id != BootId::default();
    }

    /// Corrects the stamp of a record of this boot.
    pub(crate) fn correct(&self, record: &mut Record) {
        if let Some(boot) = self.trusted.filter(|_| record.same_boot) {
            record.received = boot.correct(record.received);
            record.stamp_trusted = true;
        }
    }

    /// What is to be written, once; `handle_unsaved` gives it back when it could not be.
    pub(crate) fn poll_save(&mut self) -> Option<Boot> {
        self.trusted.filter(|_| std::mem::take(&mut self.unsaved))
    }

    pub(crate) fn handle_unsaved(&mut self) {
        self.unsaved = true;
    }
}

/// Reads the boot id of the running system.
pub(crate) fn boot_id() -> BootId {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    parse_boot_id(&text).unwrap_or_default()
}

fn parse_boot_id(text: &str) -> Option<BootId> {
    let digits: String = text.trim().chars().filter(|c| *c != '-').collect();
    u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32).map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::{Boot, Boots, boot_id, parse_boot_id};
    use crate::record::Stamp;

    #[test]
    fn stamps_before_the_trust_are_corrected_and_later_ones_kept() {
        let now = Stamp { mono_ms: 60_000, wall_ms: 1_800_000_060_000 };
        let boot = Boot::trusted([1; 16], now);
        assert_eq!(boot.wall_at_boot_ms, 1_800_000_000_000);
        let table = [
            ((0, 0), 1_800_000_000_000),
            ((59_999, 77), 1_800_000_059_999),
            ((60_000, 1_800_000_060_000), 1_800_000_060_000),
            ((70_000, 1_800_000_070_500), 1_800_000_070_500),
        ];
        for ((mono_ms, wall_ms), right) in table {
            let stamp = boot.correct(Stamp { mono_ms, wall_ms });
            assert_eq!(stamp, Stamp { mono_ms, wall_ms: right });
        }
    }

    #[test]
    fn stamps_at_the_ends_of_the_clocks_do_not_overflow() {
        let end = Stamp { mono_ms: u64::MAX, wall_ms: i64::MIN };
        let boot = Boot::trusted([1; 16], end);
        let early = boot.correct(Stamp { mono_ms: u64::MAX - 1, wall_ms: 0 });
        assert!(early.wall_ms < 0 || early.wall_ms == i64::MAX);
    }

    #[test]
    fn boots_are_told_apart() {
        let boot = |id| Boot { id, trusted_from_ms: 1, wall_at_boot_ms: 2 };
        let boots = Boots::new([1; 16], [boot([1; 16]), boot([2; 16])]);
        assert!(boots.is_current([1; 16]) && !boots.is_current([2; 16]));
        assert_eq!(boots.earlier([2; 16]), Some(boot([2; 16])));
        assert_eq!((boots.earlier([1; 16]), boots.earlier([3; 16])), (None, None));
        assert!(!Boots::from([0; 16]).is_current([0; 16]), "unknown boots are never the same");
    }

    #[test]
    fn boot_ids() {
        assert_eq!(parse_boot_id("00000000-0000-0000-0000-0000000000ff\n").map(|id| id[15]), Some(255));
        assert_eq!(parse_boot_id("00ff"), None);
        assert_eq!(boot_id(), boot_id());
    }
}
