//! Functions between values and their encodings.

use std::borrow::Cow;

use super::{Function, bytes_at, text_at, value_at};
use crate::{
    encode,
    expr::{Env, Expr},
    value::{Fault, Kind, Outcome, Value},
};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("to_json(x)", "The JSON text of a value.", &[Kind::Any], Kind::Text, to_json)
        .nulls("`'null'` for NULL"),
    Function::new(
        "from_json(text)",
        "The value that JSON text stands for.",
        &[Kind::Text],
        Kind::Any,
        from_json,
    ),
    Function::new("to_cbor(x)", "The CBOR of a value, as bytes.", &[Kind::Any], Kind::Bytes, to_cbor)
        .nulls("x'f6' for NULL"),
    Function::new(
        "from_cbor(bytes)",
        "The value that CBOR stands for.",
        &[Kind::Bytes],
        Kind::Any,
        from_cbor,
    ),
];

fn to_json<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    let mut out = Vec::new();
    encode::json(&value_at(arguments, 0, env), &mut out)?;
    String::from_utf8(out).map(Value::owned_text).map_err(|_| Fault::Error)
}

fn to_cbor<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    let mut out = Vec::new();
    encode::cbor(&value_at(arguments, 0, env), &mut out)?;
    Ok(Value::Bytes(out.into()))
}

fn from_json<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    match text_at(arguments, 0, env)? {
        Cow::Borrowed(text) => serde_json::from_str(text).map_err(|_| Fault::Error),
        Cow::Owned(text) => {
            serde_json::from_str::<Value<'_>>(&text).map(Value::into_owned).map_err(|_| Fault::Error)
        }
    }
}

fn from_cbor<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    match bytes_at(arguments, 0, env)? {
        Cow::Borrowed(bytes) => serde_cbor::from_slice(bytes).map_err(|_| Fault::Error),
        Cow::Owned(bytes) => {
            serde_cbor::from_slice::<Value<'_>>(&bytes).map(Value::into_owned).map_err(|_| Fault::Error)
        }
    }
}
