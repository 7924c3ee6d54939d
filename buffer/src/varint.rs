//! LEB128 integers and length-prefixed bytes, read with every length checked.

/// Appends `value` in seven-bit groups, lowest first.
pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_bits(value) | 0x80);
        value >>= 7;
    }
    out.push(low_bits(value));
}

/// Appends a signed value: small in both directions is short (zigzag).
pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Appends the length and the bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn low_bits(value: u64) -> u8 {
    value.to_le_bytes()[0] & 0x7f
}

/// A position in bytes that are not trusted.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next integer; `None` when the bytes end or it exceeds 64 bits.
    pub(crate) fn take(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            let group = u64::from(byte & 0x7f);
            if shift == 63 && group > 1 {
                return None;
            }
            value |= group << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    pub(crate) fn take_signed(&mut self) -> Option<i64> {
        let value = self.take()?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// The next `n` bytes.
    pub(crate) fn take_exact(&mut self, n: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(n)?;
        let bytes = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    /// The range of the next length-prefixed bytes.
    pub(crate) fn take_range(&mut self) -> Option<std::ops::Range<usize>> {
        let n = usize::try_from(self.take()?).ok()?;
        let start = self.at;
        self.take_exact(n)?;
        Some(start..self.at)
    }

    /// The next length-prefixed bytes.
    pub(crate) fn take_bytes(&mut self) -> Option<&'a [u8]> {
        let range = self.take_range()?;
        self.bytes.get(range)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::{Cursor, put, put_bytes, put_signed};

    proptest! {
        #[test]
        fn integers_and_bytes_come_back(a in any::<u64>(), b in any::<i64>(), bytes in any::<Vec<u8>>()) {
            let mut out = Vec::new();
            put(&mut out, a);
            put_signed(&mut out, b);
            put_bytes(&mut out, &bytes);
            let mut cursor = Cursor::new(&out);
            assert_eq!(cursor.take(), Some(a));
            assert_eq!(cursor.take_signed(), Some(b));
            assert_eq!(cursor.take_bytes(), Some(&bytes[..]));
            assert_eq!(cursor.remaining(), 0);
        }
    }

    #[test]
    fn damaged_integers_are_refused() {
        let table: [&[u8]; 4] =
            [&[], &[0x80], &[0xff; 10], &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2]];
        for bytes in table {
            assert_eq!(Cursor::new(bytes).take(), None, "{bytes:x?}");
        }
        assert_eq!(Cursor::new(&[5, 1, 2]).take_bytes(), None, "a length beyond the end");
        assert_eq!(
            Cursor::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).take_bytes(),
            None
        );
    }
}
