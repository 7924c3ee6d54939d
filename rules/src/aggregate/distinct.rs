//! Counting different values: exact for few, then HyperLogLog (Flajolet et al. 2007) with 2,048 registers.

use std::collections::BTreeSet;

use crate::{
    fnv::Fnv,
    state::{Reader, StateError, put_count},
    value::Value,
    window::put_key,
};

/// So many different values are counted exactly.
const EXACT_MAX: usize = 1_000;

/// 2^11 registers: a standard error of 1.04 / √2048 = 2.3 %.
const REGISTER_BITS: u32 = 11;
const REGISTERS: usize = 1 << REGISTER_BITS;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Distinct {
    /// Hashes of the values.
    Exact(BTreeSet<u64>),
    Sketch(Box<[u8]>),
}

impl Default for Distinct {
    fn default() -> Self {
        Self::Exact(BTreeSet::new())
    }
}

/// The same for equal values in every run: it lies on disk.
fn hash(value: &Value<'_>) -> u64 {
    let mut bytes = Vec::new();
    put_key(value, &mut bytes);
    // FNV alone mixes its high bits poorly; this is the finalizer of MurmurHash3.
    let mut hash = Fnv::new().bytes(&bytes).finish();
    hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ hash >> 33
}

impl Distinct {
    pub(super) fn add(&mut self, value: &Value<'_>) {
        self.add_hash(hash(value));
    }

    fn add_hash(&mut self, hash: u64) {
        if let Self::Exact(hashes) = self {
            hashes.insert(hash);
            if hashes.len() <= EXACT_MAX {
                return;
            }
            *self = Self::Sketch(sketch(hashes));
        }
        if let Self::Sketch(registers) = self {
            put(registers, hash);
        }
    }

    pub(super) fn merge(&mut self, newer: &Self) {
        match newer {
            Self::Exact(hashes) => hashes.iter().for_each(|hash| self.add_hash(*hash)),
            Self::Sketch(theirs) => {
                let mut registers = match self {
                    Self::Exact(hashes) => sketch(hashes),
                    Self::Sketch(registers) => std::mem::take(registers),
                };
                registers.iter_mut().zip(theirs).for_each(|(ours, theirs)| *ours = (*ours).max(*theirs));
                *self = Self::Sketch(registers);
            }
        }
    }

    pub(super) fn count(&self) -> i64 {
        match self {
            Self::Exact(hashes) => i64::try_from(hashes.len()).unwrap_or(i64::MAX),
            Self::Sketch(registers) => {
                let count = registers.len() as f64;
                let sum: f64 = registers.iter().map(|rank| 0.5_f64.powi(i32::from(*rank))).sum();
                let raw = 0.7213 / (1.0 + 1.079 / count) * count * count / sum;
                let empty = registers.iter().filter(|rank| **rank == 0).count();
                let linear = empty > 0 && raw <= 2.5 * count;
                let estimate = if linear { count * (count / empty as f64).ln() } else { raw };
                crate::number::truncate(estimate.round()).unwrap_or(i64::MAX)
            }
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Exact(hashes) => {
                out.push(0);
                put_count(hashes.len() as u64, out);
                hashes.iter().for_each(|hash| out.extend_from_slice(&hash.to_le_bytes()));
            }
            Self::Sketch(registers) => {
                out.push(1);
                out.extend_from_slice(registers);
            }
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        match reader.byte()? {
            0 => {
                let count = reader.count()?;
                (0..count).map(|_| reader.fingerprint()).collect::<Result<_, _>>().map(Self::Exact)
            }
            1 => {
                let registers = reader.array::<REGISTERS>()?;
                match registers.iter().any(|rank| *rank > 64) {
                    true => Err(reader.damaged()),
                    false => Ok(Self::Sketch(registers.into())),
                }
            }
            _ => Err(reader.damaged()),
        }
    }
}

fn sketch(hashes: &BTreeSet<u64>) -> Box<[u8]> {
    let mut registers = vec![0; REGISTERS].into_boxed_slice();
    hashes.iter().for_each(|hash| put(&mut registers, *hash));
    registers
}

fn put(registers: &mut [u8], hash: u64) {
    let register = usize::try_from(hash >> (64 - REGISTER_BITS)).unwrap_or(0);
    let rank = (hash << REGISTER_BITS | 1 << (REGISTER_BITS - 1)).leading_zeros() + 1;
    if let (Some(known), Ok(rank)) = (registers.get_mut(register), u8::try_from(rank)) {
        *known = (*known).max(rank);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: std::ops::Range<i64>) -> Distinct {
        let mut distinct = Distinct::default();
        values.for_each(|value| distinct.add(&Value::Int(value)));
        distinct
    }

    #[test]
    fn few_are_exact() {
        let mut distinct = of(0..1_000);
        assert_eq!(distinct.count(), 1_000);
        distinct.add(&Value::Float(7.0));
        assert_eq!(distinct.count(), 1_000, "7 and 7.0 are the same");
    }

    #[test]
    fn many_are_near() {
        for count in [1_500, 5_000, 100_000] {
            let mut distinct = of(0..count / 2);
            distinct.merge(&of(count / 4..count));
            let error = (distinct.count() as f64 / count as f64 - 1.0).abs();
            assert!(error < 0.07, "{count}: {error}");
        }
    }
}
