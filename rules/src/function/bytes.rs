//! Functions of bytes: their text forms, checksums, and numbers in the frames of devices.

use super::{Function, bytes_at, digest, int_at, octets_at, text_at};
use crate::{
    base64,
    expr::{Env, Expr},
    number::widen,
    value::{Fault, Kind, Outcome, Value},
};

const AT: &[Kind] = &[Kind::Bytes, Kind::Integer];

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("hex(x)", "The bytes of bytes or text in hexadecimal.", &[Kind::Any], Kind::Text, hex),
    Function::new(
        "unhex(text)",
        "The bytes that hexadecimal text stands for.",
        &[Kind::Text],
        Kind::Bytes,
        unhex,
    ),
    Function::new("base64(x)", "The bytes of bytes or text in base64.", &[Kind::Any], Kind::Text, encode),
    Function::new(
        "unbase64(text)",
        "The bytes that base64 text stands for.",
        &[Kind::Text],
        Kind::Bytes,
        decode,
    ),
    Function::new(
        "crc32(x)",
        "The CRC-32 (IEEE 802.3) of bytes or text.",
        &[Kind::Any],
        Kind::Integer,
        crc32,
    ),
    Function::new("sha256(x)", "The SHA-256 of bytes or text, as bytes.", &[Kind::Any], Kind::Bytes, sha256),
    Function::new(
        "get_u8(bytes, offset)",
        "The unsigned integer of 8 bits at an offset.",
        AT,
        Kind::Integer,
        |arguments, env| get(arguments, env, |bytes| Value::Int(u8::from_be_bytes(bytes).into())),
    ),
    Function::new(
        "get_i8(bytes, offset)",
        "The signed integer of 8 bits at an offset.",
        AT,
        Kind::Integer,
        |arguments, env| get(arguments, env, |bytes| Value::Int(i8::from_be_bytes(bytes).into())),
    ),
    Function::new(
        "get_u16_be(bytes, offset)",
        "The unsigned integer of 16 bits at an offset, the high byte first.",
        AT,
        Kind::Integer,
        |arguments, env| get(arguments, env, |bytes| Value::Int(u16::from_be_bytes(bytes).into())),
    ),
    Function::new(
        "get_u16_le(bytes, offset)",
        "The unsigned integer of 16 bits at an offset, the low byte first.",
        AT,
        Kind::Integer,
        |arguments, env| get(arguments, env, |bytes| Value::Int(u16::from_le_bytes(bytes).into())),
    ),
    Function::new(
        "get_i16_be(bytes, offset)",
        "The signed integer of 16 bits at an offset, the high byte first.",
        AT,
        Kind::Integer,
        |arguments, env| get(arguments, env, |bytes| Value::Int(i16::from_be_bytes(bytes).into())),
    ),
    Function::new(
        "get_i16_le(bytes, offset)",
        "The signed integer of 16 bits at an offset, the low byte first.",
        AT,
        Kind::Integer,
        |arguments, env| get(arguments, env, |bytes| Value::Int(i16::from_le_bytes(bytes).into())),
    ),
    Function::new(
        "get_u32_be(bytes, offset)",
        "The unsigned integer of 32 bits at an offset, the high byte first.",
        AT,
        Kind::Integer,
        |arguments, env| get(arguments, env, |bytes| Value::Int(u32::from_be_bytes(bytes).into())),
    ),
    Function::new(
        "get_u32_le(bytes, offset)",
        "The unsigned integer of 32 bits at an offset, the low byte first.",
        AT,
        Kind::Integer,
        |arguments, env| get(arguments, env, |bytes| Value::Int(u32::from_le_bytes(bytes).into())),
    ),
    Function::new(
        "get_i32_be(bytes, offset)",
        "The signed integer of 32 bits at an offset, the high byte first.",
        AT,
        Kind::Integer,
        |arguments, env| get(arguments, env, |bytes| Value::Int(i32::from_be_bytes(bytes).into())),
    ),
    Function::new(
        "get_i32_le(bytes, offset)",
        "The signed integer of 32 bits at an offset, the low byte first.",
        AT,
        Kind::Integer,
        |arguments, env| get(arguments, env, |bytes| Value::Int(i32::from_le_bytes(bytes).into())),
    ),
    Function::new(
        "get_u64_be(bytes, offset)",
        "The unsigned integer of 64 bits at an offset, the high byte first.",
        AT,
        Kind::Number,
        |arguments, env| get(arguments, env, |bytes| widen(u64::from_be_bytes(bytes).into()).into()),
    ),
    Function::new(
        "get_u64_le(bytes, offset)",
        "The unsigned integer of 64 bits at an offset, the low byte first.",
        AT,
        Kind::Number,
        |arguments, env| get(arguments, env, |bytes| widen(u64::from_le_bytes(bytes).into()).into()),
    ),
    Function::new(
        "get_i64_be(bytes, offset)",
        "The signed integer of 64 bits at an offset, the high byte first.",
        AT,
        Kind::Integer,
        |arguments, env| get(arguments, env, |bytes| Value::Int(i64::from_be_bytes(bytes))),
    ),
    Function::new(
        "get_i64_le(bytes, offset)",
        "The signed integer of 64 bits at an offset, the low byte first.",
        AT,
        Kind::Integer,
        |arguments, env| get(arguments, env, |bytes| Value::Int(i64::from_le_bytes(bytes))),
    ),
    Function::new(
        "get_f32_be(bytes, offset)",
        "The float of 32 bits at an offset, the high byte first.",
        AT,
        Kind::Number,
        |arguments, env| get(arguments, env, |bytes| Value::Float(f32::from_be_bytes(bytes).into())),
    ),
    Function::new(
        "get_f32_le(bytes, offset)",
        "The float of 32 bits at an offset, the low byte first.",
        AT,
        Kind::Number,
        |arguments, env| get(arguments, env, |bytes| Value::Float(f32::from_le_bytes(bytes).into())),
    ),
    Function::new(
        "get_f64_be(bytes, offset)",
        "The float of 64 bits at an offset, the high byte first.",
        AT,
        Kind::Number,
        |arguments, env| get(arguments, env, |bytes| Value::Float(f64::from_be_bytes(bytes))),
    ),
    Function::new(
        "get_f64_le(bytes, offset)",
        "The float of 64 bits at an offset, the low byte first.",
        AT,
        Kind::Number,
        |arguments, env| get(arguments, env, |bytes| Value::Float(f64::from_le_bytes(bytes))),
    ),
];

fn hex<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    let bytes = octets_at(arguments, 0, env)?;
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    let text: String = digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect();
    Ok(Value::owned_text(text))
}

fn unhex<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    let text = text_at(arguments, 0, env)?;
    let digit = |letter: u8| char::from(letter).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    pairs.collect::<Option<Vec<u8>>>().map(|bytes| Value::Bytes(bytes.into())).ok_or(Fault::Error)
}

fn encode<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    Ok(Value::owned_text(base64::encode(&octets_at(arguments, 0, env)?)))
}

fn decode<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    let text = text_at(arguments, 0, env)?;
    base64::decode(&text).map(|bytes| Value::Bytes(bytes.into())).ok_or(Fault::Error)
}

fn crc32<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    Ok(Value::Int(digest::crc32(&octets_at(arguments, 0, env)?).into()))
}

fn sha256<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    Ok(Value::Bytes(digest::sha256(&octets_at(arguments, 0, env)?).to_vec().into()))
}

/// The bytes at an offset, 0 being the first and -1 the last. A frame that is too short is an evaluation error.
fn get<'v, const N: usize>(
    arguments: &'v [Expr],
    env: &Env<'v>,
    read: fn([u8; N]) -> Value<'static>,
) -> Outcome<'v> {
    let bytes = bytes_at(arguments, 0, env)?;
    let offset = int_at(arguments, 1, env)?;
    let distance = usize::try_from(offset.unsigned_abs()).map_err(|_| Fault::Error)?;
    let start = if offset < 0 { bytes.len().checked_sub(distance) } else { Some(distance) };
    let found = start.and_then(|start| bytes.get(start..)?.first_chunk::<N>());
    found.map(|bytes| read(*bytes)).ok_or(Fault::Error)
}
