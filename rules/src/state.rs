//! The bytes in which window state lies on disk: journal entries, snapshots, and the values in them.
//!
//! Whatever is read may be damaged. No length is believed before that many bytes are there.

use crate::value::Value;

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
        /// Where the damage is.
        offset: usize,
    },
    /// Another version of this program wrote it.
    #[error("state has version {found}, which this version cannot read")]
    Version {
        /// The version found.
        found: u8,
    },
}

/// How deep arrays and objects may lie in each other: more than a payload decoder lets through.
const DEPTH_MAX: usize = 512;

mod tag {
    pub(super) const NULL: u8 = 0;
    pub(super) const FALSE: u8 = 1;
    pub(super) const TRUE: u8 = 2;
    pub(super) const INT: u8 = 3;
    pub(super) const FLOAT: u8 = 4;
    pub(super) const TEXT: u8 = 5;
    pub(super) const BYTES: u8 = 6;
    pub(super) const ARRAY: u8 = 7;
    pub(super) const OBJECT: u8 = 8;
}

/// Appends a number in as few bytes as it needs (LEB128).
pub(crate) fn put_count(mut count: u64, out: &mut Vec<u8>) {
    while let [low, ..] = count.to_le_bytes()
        && count > 0x7f
    {
        out.push(low | 0x80);
        count >>= 7;
    }
    let [low, ..] = count.to_le_bytes();
    out.push(low);
}

/// Appends bytes and their length.
pub(crate) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_count(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Appends a float.
pub(crate) fn put_float(float: f64, out: &mut Vec<u8>) {
    out.extend_from_slice(&float.to_bits().to_le_bytes());
}

/// Appends a value, with its type.
pub(crate) fn put_value(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(tag::NULL),
        Value::Bool(false) => out.push(tag::FALSE),
        Value::Bool(true) => out.push(tag::TRUE),
        Value::Int(int) => {
            out.push(tag::INT);
            // The sign goes last (zigzag), so that small negative numbers are short too.
            put_count((int << 1 ^ int >> 63).cast_unsigned(), out);
        }
        Value::Float(float) => {
            out.push(tag::FLOAT);
            out.extend_from_slice(&float.to_bits().to_le_bytes());
        }
        Value::Text(text) => {
            out.push(tag::TEXT);
            put_bytes(text.as_bytes(), out);
        }
        Value::Bytes(bytes) => {
            out.push(tag::BYTES);
            put_bytes(bytes, out);
        }
        Value::Array(elements) => {
            out.push(tag::ARRAY);
            put_count(elements.len() as u64, out);
            elements.iter().for_each(|element| put_value(element, out));
        }
        Value::Object(members) => {
            out.push(tag::OBJECT);
            put_count(members.len() as u64, out);
            for (name, value) in members.iter() {
                put_bytes(name.as_bytes(), out);
                put_value(value, out);
            }
        }
    }
}

/// Reads what the functions above wrote.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    offset: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, offset: 0, depth: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The error of bytes that are there but mean nothing.
    pub(crate) fn damaged(&self) -> StateError {
        StateError::Damaged { offset: self.offset }
    }

    /// Everything must have been read.
    pub(crate) fn finish(&self) -> Result<(), StateError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.damaged()) }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], StateError> {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            return Err(StateError::Truncated { offset: self.offset });
        };
        self.rest = rest;
        self.offset += length;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], StateError> {
        let offset = self.offset;
        self.take(N)?.try_into().map_err(|_| StateError::Truncated { offset })
    }

    pub(crate) fn byte(&mut self) -> Result<u8, StateError> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn fingerprint(&mut self) -> Result<u64, StateError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn time_ms(&mut self) -> Result<i64, StateError> {
        self.array().map(i64::from_le_bytes)
    }

    pub(crate) fn float(&mut self) -> Result<f64, StateError> {
        self.array().map(u64::from_le_bytes).map(f64::from_bits)
    }

    pub(crate) fn count(&mut self) -> Result<u64, StateError> {
        let mut count = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(self.damaged());
            }
            count |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(count);
            }
        }
        Err(self.damaged())
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], StateError> {
        let length = self.count()?;
        self.take(usize::try_from(length).map_err(|_| self.damaged())?)
    }

    /// A reader of the bytes that come next with their length.
    pub(crate) fn part(&mut self) -> Result<Reader<'a>, StateError> {
        let bytes = self.bytes()?;
        Ok(Reader { rest: bytes, offset: self.offset - bytes.len(), depth: 0 })
    }

    /// The same, where the length has 32 bits.
    pub(crate) fn short_part(&mut self) -> Result<Reader<'a>, StateError> {
        let length = u32::from_le_bytes(self.array()?);
        let bytes = self.take(usize::try_from(length).map_err(|_| self.damaged())?)?;
        Ok(Reader { rest: bytes, offset: self.offset - bytes.len(), depth: 0 })
    }

    fn text(&mut self) -> Result<&'a str, StateError> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|_| self.damaged())
    }

    pub(crate) fn value(&mut self) -> Result<Value<'a>, StateError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.damaged());
        }
        let value = match self.byte()? {
            tag::NULL => Value::Null,
            tag::FALSE => Value::Bool(false),
            tag::TRUE => Value::Bool(true),
            tag::INT => {
                let zigzag = self.count()?;
                Value::Int((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
            }
            tag::FLOAT => Value::Float(f64::from_bits(self.array().map(u64::from_le_bytes)?)),
            tag::TEXT => Value::text(self.text()?),
            tag::BYTES => Value::Bytes(self.bytes()?.into()),
            tag::ARRAY => {
                let count = self.count()?;
                let elements: Result<Vec<_>, _> =
                    (0..count).map(|_| Ok(self.value()?.into_owned())).collect();
                Value::Array(elements?.into())
            }
            tag::OBJECT => {
                let count = self.count()?;
                let members: Result<Vec<_>, _> =
                    (0..count).map(|_| Ok((self.text()?.into(), self.value()?.into_owned()))).collect();
                Value::Object(members?.into())
            }
            _ => return Err(self.damaged()),
        };
        self.depth -= 1;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(value: &Value<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        put_value(value, &mut out);
        out
    }

    #[test]
    fn values_come_back() {
        let nested =
            Value::Array([Value::Object([("é".into(), Value::Null)].into()), Value::Bool(true)].into());
        for value in [
            Value::Null,
            Value::Bool(false),
            Value::Int(0),
            Value::Int(-1),
            Value::Int(i64::MIN),
            Value::Int(i64::MAX),
            Value::Float(-0.5),
            Value::Float(f64::INFINITY),
            Value::text("ü"),
            Value::Bytes(b"\0\xff".as_slice().into()),
            nested,
        ] {
            let bytes = written(&value);
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.value(), Ok(value));
            assert_eq!(reader.finish(), Ok(()));
            for end in 0..bytes.len() {
                assert!(matches!(Reader::new(&bytes[..end]).value(), Err(StateError::Truncated { .. })));
            }
        }
        assert_eq!(written(&Value::Int(-3)), [tag::INT, 5]);
    }

    #[test]
    fn damage_is_found() {
        for bytes in [
            &[9][..],
            &[tag::TEXT, 1, 0xff],
            &[tag::INT, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
            &[tag::INT, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
            &[tag::ARRAY, 1].repeat(100_000),
        ] {
            assert!(matches!(Reader::new(bytes).value(), Err(StateError::Damaged { .. })));
        }
        let claimed = [tag::ARRAY, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(Reader::new(&claimed).value(), Err(StateError::Truncated { offset: 11 }));
        let mut reader = Reader::new(&[2, tag::NULL, tag::NULL, 7]);
        let mut part = reader.part().unwrap();
        assert_eq!(part.value(), Ok(Value::Null));
        assert_eq!(part.finish(), Err(StateError::Damaged { offset: 2 }));
        assert_eq!(reader.byte(), Ok(7));
    }

    proptest! {
        #[test]
        fn counts_come_back(count in any::<u64>(), shift in 0_u32..64) {
            let count = count >> shift;
            let mut out = Vec::new();
            put_count(count, &mut out);
            prop_assert_eq!(Reader::new(&out).count(), Ok(count));
        }

        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Reader::new(&bytes).value();
        }
    }
}
