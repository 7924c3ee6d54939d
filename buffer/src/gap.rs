//! Gaps: runs of records that were evicted, for the caller to announce.

use std::fmt;

use crate::record::Priority;

/// A run of records that left a lane without having been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Names it for `Spool::announced`, until then.
    pub id: u64,
    /// The consumer that does not get them.
    pub consumer: String,
    /// Their lane.
    pub priority: Priority,
    /// The lowest number among them.
    pub first_seq: u64,
    /// The highest number among them. Not every number between need be missing.
    pub last_seq: u64,
    /// How many they are.
    pub records: u64,
    /// Why they went.
    pub reason: GapReason,
    /// When the first of them was received, in milliseconds since 1970; 0 when it could not be read.
    pub first_wall_ms: i64,
    /// When the last of them was received.
    pub last_wall_ms: i64,
}

/// Why records were evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The database, or the lane's part of it, had reached its bytes.
    Full,
    /// They were older than the lane keeps.
    Age,
    /// The lane had more of them than it keeps.
    Count,
    /// The database or the lane was full, and the newest are dropped then.
    Newest,
    /// They were on disk, and could not be read any more.
    Damage,
}

impl GapReason {
    pub(crate) const ALL: [Self; 5] = [Self::Full, Self::Age, Self::Count, Self::Newest, Self::Damage];

    /// The number it is stored as.
    pub(crate) fn code(self) -> i64 {
        match self {
            Self::Full => 0,
            Self::Age => 1,
            Self::Count => 2,
            Self::Newest => 3,
            Self::Damage => 4,
        }
    }

    /// The reason stored as this number.
    pub(crate) fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }
}

impl fmt::Display for GapReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Full => "full",
            Self::Age => "max_age",
            Self::Count => "max_events",
            Self::Newest => "evict_newest",
            Self::Damage => "damage",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::GapReason;

    #[test]
    fn codes_come_back() {
        for reason in GapReason::ALL {
            assert_eq!(GapReason::from_code(reason.code()), Some(reason));
        }
        assert_eq!(GapReason::from_code(5), None);
    }
}
