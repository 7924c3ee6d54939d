//! A reader over a packet's bytes that cannot read past their end.

use super::DecodeError;
use super::DecodeError::Malformed;

/// What is left to read of a packet.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Cursor { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything that is left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed("packet ends early"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed("packet ends early"))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A boolean property: a byte of 0 or 1 (section 2.2.2.2).
    pub(super) fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Protocol("a flag is neither 0 nor 1")),
        }
    }

    /// Binary data: two bytes of length, then that many bytes (section 1.5.6).
    pub(super) fn binary(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.u16()?;
        self.bytes(length.into())
    }

    /// A UTF-8 string (section 1.5.4): valid UTF-8, and no U+0000.
    pub(super) fn text(&mut self) -> Result<&'a str, DecodeError> {
        let text = str::from_utf8(self.binary()?).map_err(|_| Malformed("text is not UTF-8"))?;
        if text.as_bytes().contains(&0) {
            return Err(Malformed("text contains U+0000"));
        }
        Ok(text)
    }

    /// A packet id, which is never 0 (section 2.2.1).
    pub(super) fn packet_id(&mut self) -> Result<u16, DecodeError> {
        match self.u16()? {
            0 => Err(DecodeError::Protocol("packet id is 0")),
            id => Ok(id),
        }
    }

    /// A variable byte integer (section 1.5.5): at most four bytes, in its shortest form.
    pub(super) fn variable(&mut self) -> Result<usize, DecodeError> {
        let mut value = 0usize;
        for shift in [0u32, 7, 14, 21] {
            let byte = self.u8()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let padded = shift > 0 && byte == 0;
                return if padded { Err(Malformed("length is not in its shortest form")) } else { Ok(value) };
            }
        }
        Err(Malformed("length has more than four bytes"))
    }

    /// A part of the packet that states its own length first.
    pub(super) fn section(&mut self) -> Result<Cursor<'a>, DecodeError> {
        let length = self.variable()?;
        Ok(Cursor::new(self.bytes(length)?))
    }
}
