//! Random numbers that a seed gives again, so that what failed once can be run again.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::ops::Range;
use std::time::Duration;

use crate::must::Must;

/// A generator (SplitMix64).
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The seed in `TIDEGATE_SEED`, otherwise a fresh one; says which, for who wants to repeat the run.
    #[expect(clippy::print_stderr, reason = "the seed belongs into the report of the test")]
    pub fn seed() -> u64 {
        // The standard library seeds each RandomState afresh.
        let fresh = || RandomState::new().build_hasher().finish();
        let seed = std::env::var("TIDEGATE_SEED")
            .map_or_else(|_| fresh(), |seed| seed.parse().must("a number in TIDEGATE_SEED"));
        eprintln!("TIDEGATE_SEED={seed}");
        seed
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    /// A number in a range that is not empty.
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.number() % (range.end - range.start).max(1)
    }

    /// A number below this one.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).must("a bound");
        usize::try_from(self.within(0..bound)).must("a number")
    }

    /// A time in a range of milliseconds.
    pub fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.within(range))
    }

    /// True once in `of` times.
    pub fn once_in(&mut self, of: u64) -> bool {
        self.within(0..of) == 0
    }

    /// One of several.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        let place = self.below(choices.len());
        choices.get(place).copied().must("a choice")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_again_and_another_gives_others() {
        let numbers = |seed| {
            let mut random = Random::new(seed);
            (0..100).map(|_| random.within(10..20)).collect::<Vec<_>>()
        };
        assert_eq!(numbers(1), numbers(1));
        assert_ne!(numbers(1), numbers(2));
        let all = numbers(3);
        assert!((10..20).all(|n| all.contains(&n)), "{all:?}");
        assert!(all.iter().all(|n| (10..20).contains(n)), "{all:?}");
    }
}
