//! Bugs to plant, so that the tests of crashes can be seen to find them. Only with the feature `mutations`; without it
//! nothing is ever planted, and the compiler leaves nothing of it.

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// Receipts resolve when their commit begins.
    AckBeforeCommit,
    /// The log is not synced with each commit (`synchronous = NORMAL`).
    SyncNormal,
    /// The cursor that is persisted is ahead of what is settled.
    CursorAhead,
    /// A batch is deleted when the first of its consumers is through with it.
    DeleteEarly,
    /// Records are committed in one transaction, and the journal that belongs to them in the next.
    SplitCommit,
    /// What was evicted is not recorded.
    GapForgotten,
    /// The number of the run does not rise with each start, so that numbers of records come again.
    RunRepeats,
}

#[cfg(feature = "mutations")]
static PLANTED: std::sync::Mutex<Option<Mutation>> = std::sync::Mutex::new(None);

/// Plants a bug in all spools of this process, or takes it out.
#[cfg(feature = "mutations")]
pub fn plant(mutation: Option<Mutation>) {
    *PLANTED.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = mutation;
}

/// Whether this bug is planted.
#[cfg(feature = "mutations")]
pub(crate) fn is_planted(mutation: Mutation) -> bool {
    *PLANTED.lock().unwrap_or_else(std::sync::PoisonError::into_inner) == Some(mutation)
}

/// Whether this bug is planted: no.
#[cfg(not(feature = "mutations"))]
pub(crate) const fn is_planted(_: Mutation) -> bool {
    false
}
