//! What the judge found.

use std::fmt;

/// How many of a kind the text of the findings names.
const NAMED_MAX: usize = 5;

/// What the judge found. Of a faultless run, all lists but `excused` and `resent` are empty, and those too if nothing
/// broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings<E> {
    /// Different events that arrived whole, counted at each receiver.
    pub arrived: usize,
    /// Acknowledged to the sender, not settled by the receiver, not written off.
    pub lost: Vec<E>,
    /// Arrived, never sent to this receiver.
    pub invented: Vec<String>,
    /// Arrived with other bytes than sent.
    pub damaged: Vec<String>,
    /// First arrivals after a later event of their line, and repeats out of their order.
    pub misordered: Vec<E>,
    /// Further arrivals that nothing excuses.
    pub repeated: Vec<E>,
    /// Further arrivals that a broken connection or a crash excuses.
    pub excused: Vec<E>,
    /// Further arrivals of an event that its sender itself sent again.
    pub resent: Vec<E>,
    /// Counters that do not add up.
    pub unbalanced: Vec<String>,
}

impl<E> Default for Findings<E> {
    fn default() -> Self {
        Self {
            arrived: 0,
            lost: Vec::new(),
            invented: Vec::new(),
            damaged: Vec::new(),
            misordered: Vec::new(),
            repeated: Vec::new(),
            excused: Vec::new(),
            resent: Vec::new(),
            unbalanced: Vec::new(),
        }
    }
}

impl<E: fmt::Display> Findings<E> {
    /// Whether nothing was lost, invented, damaged or out of order, and the books balance.
    pub fn is_whole(&self) -> bool {
        self.lost.is_empty()
            && self.invented.is_empty()
            && self.damaged.is_empty()
            && self.misordered.is_empty()
            && self.unbalanced.is_empty()
    }

    /// Whether, in addition, nothing came again but what a break or a crash excuses, or its sender sent again.
    pub fn is_bounded(&self) -> bool {
        self.is_whole() && self.repeated.is_empty()
    }

    /// Holds if nothing was lost, invented, damaged or out of order, and the books balance.
    ///
    /// # Panics
    /// If not, with what was found.
    #[track_caller]
    pub fn assert_whole(&self) {
        assert!(self.is_whole(), "the books do not balance: {self}");
    }

    /// Holds if, in addition, nothing came again but what a break or a crash excuses, or its sender sent again.
    ///
    /// # Panics
    /// If not, with what was found.
    #[track_caller]
    pub fn assert_bounded(&self) {
        self.assert_whole();
        assert!(self.is_bounded(), "some came again without an excuse: {self}");
    }

    /// Holds if, in addition, each event came once.
    ///
    /// # Panics
    /// If not, with what was found.
    #[track_caller]
    pub fn assert_exactly_once(&self) {
        self.assert_bounded();
        assert!(self.excused.is_empty() && self.resent.is_empty(), "some came twice: {self}");
    }
}

impl<E: fmt::Display> fmt::Display for Findings<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} arrived", self.arrived)?;
        show(f, "lost", &self.lost)?;
        show(f, "invented", &self.invented)?;
        show(f, "damaged", &self.damaged)?;
        show(f, "misordered", &self.misordered)?;
        show(f, "repeated", &self.repeated)?;
        show(f, "excused", &self.excused)?;
        show(f, "resent", &self.resent)?;
        show(f, "unbalanced", &self.unbalanced)
    }
}

fn show<T: fmt::Display>(f: &mut fmt::Formatter<'_>, what: &str, items: &[T]) -> fmt::Result {
    write!(f, ", {} {what}", items.len())?;
    items.iter().take(NAMED_MAX).try_for_each(|item| write!(f, " [{item}]"))
}
