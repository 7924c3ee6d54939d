//! The one way a test gives up: with the place, what was being done and why it did not work.

use std::fmt::Display;

/// Ends the test with a reason.
#[track_caller]
#[expect(clippy::panic, reason = "a test fails by panicking; the harness does it here and nowhere else")]
pub fn fail(why: impl Display) -> ! {
    panic!("{why}")
}

/// Unwraps what a test cannot do without.
pub trait Must<T> {
    /// The value, or the end of the test with `what` was being done.
    fn must(self, what: &str) -> T;
}

impl<T, E: Display> Must<T> for Result<T, E> {
    #[track_caller]
    fn must(self, what: &str) -> T {
        match self {
            Ok(value) => value,
            Err(error) => fail(format_args!("{what}: {error}")),
        }
    }
}

impl<T> Must<T> for Option<T> {
    #[track_caller]
    fn must(self, what: &str) -> T {
        match self {
            Some(value) => value,
            None => fail(format_args!("{what}: nothing there")),
        }
    }
}
