//! Functions that look at the event itself.

use super::{Function, int_at, text_at};
use crate::{
    expr::{Env, Expr},
    message::{Message, write_event_id},
    value::{Fault, Kind, Outcome, Value},
};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new(
        "topic([level])",
        "The topic, or one of its levels: 1 is the first, -1 the last. NULL if there is no such level.",
        &[Kind::Integer],
        Kind::Text,
        topic,
    )
    .optional(1)
    .event(),
    Function::new("clientid()", "The client id of the publisher.", &[], Kind::Text, client_id).event(),
    Function::new(
        "username()",
        "The user name of the publisher; NULL if it gave none.",
        &[],
        Kind::Text,
        username,
    )
    .event(),
    Function::new(
        "qos()",
        "The quality of service it was published with: 0, 1 or 2.",
        &[],
        Kind::Integer,
        qos,
    )
    .event(),
    Function::new("retained()", "Whether it was published as retained.", &[], Kind::Boolean, retained)
        .event(),
    Function::new(
        "timestamp()",
        "When it came in, in ms since 1970-01-01 UTC.",
        &[],
        Kind::Integer,
        timestamp,
    )
    .event(),
    Function::new(
        "now()",
        "The same as `timestamp()`: a rule knows no other clock.",
        &[],
        Kind::Integer,
        timestamp,
    )
    .event(),
    Function::new(
        "user_property('key')",
        "The first user property of that name (MQTT 5); NULL if there is none.",
        &[Kind::Text],
        Kind::Text,
        user_property,
    )
    .event(),
    Function::new(
        "content_type()",
        "The content type (MQTT 5); NULL if there is none.",
        &[],
        Kind::Text,
        content_type,
    )
    .event(),
    Function::new(
        "event_id()",
        "The id under which its first output reaches the cloud.",
        &[],
        Kind::Text,
        event_id,
    )
    .event(),
    Function::new("gateway()", "The id of this gateway.", &[], Kind::Text, gateway).impure(),
    Function::new("raw_payload()", "The payload as bytes, whatever is in it.", &[], Kind::Bytes, raw_payload)
        .event(),
];

fn raw_payload<'v>(_: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    Ok(Value::Bytes(message(env)?.payload.into()))
}

fn message<'v>(env: &Env<'v>) -> Result<&'v Message<'v>, Fault> {
    env.message.ok_or(Fault::Null)
}

fn or_null(text: Option<&str>) -> Outcome<'_> {
    text.map(Value::text).ok_or(Fault::Null)
}

/// The topic, or its level with a number: 1 is the first, -1 the last.
fn topic<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    let topic = message(env)?.topic;
    if arguments.is_empty() {
        return Ok(Value::text(topic));
    }
    let number = int_at(arguments, 0, env)?;
    let index = usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX).checked_sub(1);
    or_null(index.and_then(|index| match number {
        1.. => topic.split('/').nth(index),
        _ => topic.rsplit('/').nth(index),
    }))
}

fn client_id<'v>(_: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    Ok(Value::text(message(env)?.client_id))
}

fn username<'v>(_: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    or_null(message(env)?.username)
}

fn qos<'v>(_: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    Ok(Value::Int(i64::from(message(env)?.qos)))
}

fn retained<'v>(_: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    Ok(Value::Bool(message(env)?.retained))
}

fn timestamp<'v>(_: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    Ok(Value::Int(message(env)?.received_at_ms))
}

/// The first user property of that name; MQTT allows several (MQTT 5.0, 3.3.2.3.7).
fn user_property<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    let name = text_at(arguments, 0, env)?;
    let mut properties = message(env)?.user_properties.iter();
    or_null(properties.find(|(each, _)| *each == *name).map(|(_, value)| value.as_str()))
}

fn content_type<'v>(_: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    or_null(message(env)?.content_type)
}

fn event_id<'v>(_: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    let mut id = String::new();
    write_event_id(env.gateway, message(env)?.seq, &mut id);
    Ok(Value::owned_text(id))
}

fn gateway<'v>(_: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    Ok(Value::text(env.gateway))
}
