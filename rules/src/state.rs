//! The bytes in which window state lies on disk: journal entries and snapshots.

/// Why stored state cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The bytes end inside a value.
    #[error("state ends early, at byte {offset}: the rest is missing")]
    Truncated {
        /// Where the value begins.
        offset: usize,
    },
    /// The bytes mean nothing.
    #[error("state is damaged at byte {offset}")]
    Damaged {
        /// Where the value begins.
        offset: usize,
    },
    /// Another version of this program wrote it.
    #[error("state has version {found}, which this version cannot read")]
    Version {
        /// The version found.
        found: u8,
    },
}
