//! The bench: what a gateway costs for the whole job, beside others in the same run.
//!
//! `tidegate-bench BINARY FOLDER ROUNDS [listener | OTHER-BINARY]`; `tests/bench/run` and `tests/bench/listener` build and call it.
//! With another binary, both do the whole job flat out in turns: for a change, before and after.

mod backlog;
mod job;
mod listener;
mod load;
mod subscriber;
mod table;

use std::path::{Path, PathBuf};

use tidegate_tests::Must;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let binary = PathBuf::from(arguments.next().must("the binary as the first argument"));
    let folder = arguments.next().must("a folder as the second argument");
    let rounds: usize =
        arguments.next().and_then(|n| n.parse().ok()).must("the rounds as the third argument");
    let rounds = rounds.max(1);
    match arguments.next().as_deref() {
        Some("listener") => table::print_listener(&binary, &folder, rounds),
        Some(other) => table::print_both([&binary, Path::new(other)], &folder, rounds),
        None => table::print(&binary, &folder, rounds),
    }
}

// Counts here are far below the 2^53 that a float holds exactly.
fn number(count: impl TryInto<u32>) -> f64 {
    count.try_into().map(f64::from).unwrap_or(f64::NAN)
}
