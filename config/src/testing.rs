//! What tests share: chance that is the same in every run.

/// Numbers that look random (xorshift64, Marsaglia 2003).
pub(crate) struct Random(u64);

impl Random {
    /// The seed must not be zero.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}
