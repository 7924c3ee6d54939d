//! Properties of MQTT 5 packets (section 2.2.2).
//!
//! One walk serves every packet: a mask says which properties it may carry, a second mask which were seen, since
//! all but the user property may occur once.

use super::DecodeError;
use super::DecodeError::{Malformed, Protocol};
use super::cursor::Cursor;

/// Identifiers, as section 2.2.2.2 numbers them.
pub(super) mod id {
    pub(in crate::mqtt) const PAYLOAD_FORMAT: u8 = 1;
    pub(in crate::mqtt) const MESSAGE_EXPIRY: u8 = 2;
    pub(in crate::mqtt) const CONTENT_TYPE: u8 = 3;
    pub(in crate::mqtt) const RESPONSE_TOPIC: u8 = 8;
    pub(in crate::mqtt) const CORRELATION_DATA: u8 = 9;
    pub(in crate::mqtt) const SUBSCRIPTION_IDENTIFIER: u8 = 11;
    pub(in crate::mqtt) const SESSION_EXPIRY: u8 = 17;
    pub(in crate::mqtt) const ASSIGNED_CLIENT_ID: u8 = 18;
    pub(in crate::mqtt) const SERVER_KEEP_ALIVE: u8 = 19;
    pub(in crate::mqtt) const AUTHENTICATION_METHOD: u8 = 21;
    pub(in crate::mqtt) const AUTHENTICATION_DATA: u8 = 22;
    pub(in crate::mqtt) const REQUEST_PROBLEM_INFORMATION: u8 = 23;
    pub(in crate::mqtt) const WILL_DELAY: u8 = 24;
    pub(in crate::mqtt) const REQUEST_RESPONSE_INFORMATION: u8 = 25;
    pub(in crate::mqtt) const REASON_STRING: u8 = 31;
    pub(in crate::mqtt) const RECEIVE_MAXIMUM: u8 = 33;
    pub(in crate::mqtt) const TOPIC_ALIAS_MAXIMUM: u8 = 34;
    pub(in crate::mqtt) const TOPIC_ALIAS: u8 = 35;
    pub(in crate::mqtt) const USER_PROPERTY: u8 = 38;
    pub(in crate::mqtt) const MAXIMUM_PACKET_SIZE: u8 = 39;
}

/// The value of one property, in the few shapes that clients send.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Number(u32),
    Text(&'a str),
    Binary(&'a [u8]),
    Pair,
}

impl<'a> Value<'a> {
    pub(super) fn number(self) -> u32 {
        if let Value::Number(number) = self { number } else { 0 }
    }

    /// The value of a property that has two bytes.
    pub(super) fn number_16(self) -> u16 {
        u16::try_from(self.number()).unwrap_or(u16::MAX)
    }

    pub(super) fn text(self) -> Option<&'a str> {
        if let Value::Text(text) = self { Some(text) } else { None }
    }

    pub(super) fn binary(self) -> Option<&'a [u8]> {
        if let Value::Binary(bytes) = self { Some(bytes) } else { None }
    }
}

/// Which properties a packet may carry.
pub(super) const fn allow(ids: &[u8]) -> u64 {
    let mut mask = 0;
    let mut rest = ids;
    while let Some((id, tail)) = rest.split_first() {
        mask |= 1 << *id;
        rest = tail;
    }
    mask
}

/// Reads a packet's properties and hands each to `keep`. User properties are checked, not handed over one by one.
pub(super) fn read<'a>(
    mut section: Cursor<'a>,
    allowed: u64,
    mut keep: impl FnMut(u8, Value<'a>),
) -> Result<(), DecodeError> {
    let mut seen = 0u64;
    while !section.is_empty() {
        let id = section.u8()?;
        let bit = 1u64.checked_shl(id.into()).unwrap_or(0);
        if allowed & bit == 0 {
            return Err(Malformed("a property that this packet may not carry"));
        }
        if seen & bit != 0 && id != id::USER_PROPERTY {
            return Err(Protocol("a property occurs twice"));
        }
        seen |= bit;
        keep(id, value(id, &mut section)?);
    }
    let data_alone = allow(&[id::AUTHENTICATION_DATA]) | allow(&[id::AUTHENTICATION_METHOD]);
    if seen & data_alone == allow(&[id::AUTHENTICATION_DATA]) {
        return Err(Protocol("authentication data without a method"));
    }
    Ok(())
}

fn value<'a>(id: u8, section: &mut Cursor<'a>) -> Result<Value<'a>, DecodeError> {
    Ok(match id {
        id::PAYLOAD_FORMAT | id::REQUEST_PROBLEM_INFORMATION | id::REQUEST_RESPONSE_INFORMATION => {
            Value::Number(section.flag()?.into())
        }
        id::MESSAGE_EXPIRY | id::SESSION_EXPIRY | id::WILL_DELAY => Value::Number(section.u32()?),
        id::MAXIMUM_PACKET_SIZE => Value::Number(nonzero(section.u32()?)?),
        id::RECEIVE_MAXIMUM => Value::Number(nonzero(section.u16()?.into())?),
        id::TOPIC_ALIAS_MAXIMUM | id::TOPIC_ALIAS => Value::Number(section.u16()?.into()),
        id::SUBSCRIPTION_IDENTIFIER => {
            let number = u32::try_from(section.variable()?).map_err(|_| Malformed("number too large"))?;
            Value::Number(nonzero(number)?)
        }
        id::CONTENT_TYPE | id::RESPONSE_TOPIC | id::AUTHENTICATION_METHOD | id::REASON_STRING => {
            Value::Text(section.text()?)
        }
        id::CORRELATION_DATA | id::AUTHENTICATION_DATA => Value::Binary(section.binary()?),
        id::USER_PROPERTY => {
            section.text()?;
            section.text()?;
            Value::Pair
        }
        _ => return Err(Malformed("a property that this packet may not carry")),
    })
}

fn nonzero(number: u32) -> Result<u32, DecodeError> {
    if number == 0 { Err(Protocol("a property is 0 that may not be")) } else { Ok(number) }
}

/// What a PUBLISH, or a will, says beside topic and payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PublishProperties<'a> {
    pub(crate) payload_is_text: bool,
    pub(crate) expiry_s: Option<u32>,
    pub(crate) topic_alias: Option<u16>,
    pub(crate) content_type: Option<&'a str>,
    pub(crate) response_topic: Option<&'a str>,
    pub(crate) correlation_data: Option<&'a [u8]>,
    section: &'a [u8],
    has_user_properties: bool,
}

impl<'a> PublishProperties<'a> {
    pub(super) fn read(section: Cursor<'a>, allowed: u64) -> Result<Self, DecodeError> {
        let mut found = PublishProperties { section: section.rest(), ..PublishProperties::default() };
        read(section, allowed, |id, value| match id {
            id::PAYLOAD_FORMAT => found.payload_is_text = value.number() == 1,
            id::MESSAGE_EXPIRY => found.expiry_s = Some(value.number()),
            id::TOPIC_ALIAS => found.topic_alias = u16::try_from(value.number()).ok(),
            id::CONTENT_TYPE => found.content_type = value.text(),
            id::RESPONSE_TOPIC => found.response_topic = value.text(),
            id::CORRELATION_DATA => found.correlation_data = value.binary(),
            id::USER_PROPERTY => found.has_user_properties = true,
            _ => {}
        })?;
        Ok(found)
    }

    /// Reads a section that was written by [`super::publish_properties`].
    pub(crate) fn decode(section: &'a [u8]) -> Result<Self, DecodeError> {
        const KEPT: u64 = allow(&[
            id::PAYLOAD_FORMAT,
            id::CONTENT_TYPE,
            id::RESPONSE_TOPIC,
            id::CORRELATION_DATA,
            id::USER_PROPERTY,
        ]);
        Self::read(Cursor::new(section), KEPT)
    }

    /// The user properties in their order (section 3.3.2.3.7).
    pub(crate) fn user_properties(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mut section = Cursor::new(if self.has_user_properties { self.section } else { &[] });
        std::iter::from_fn(move || {
            loop {
                let id = section.u8().ok()?;
                if id == id::USER_PROPERTY {
                    return Some((section.text().ok()?, section.text().ok()?));
                }
                value(id, &mut section).ok()?;
            }
        })
    }

    /// True where a subscriber has nothing to be told beside topic and payload.
    pub(crate) fn is_empty(&self) -> bool {
        self.section.is_empty()
    }
}
