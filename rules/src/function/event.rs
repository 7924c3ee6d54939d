//! Functions that look at the event itself.

use super::{Function, int_at, text_at};
use crate::{
    expr::{Env, Expr},
    message::{Message, write_event_id},
    value::{Fault, Kind, Outcome, Value},
};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("topic", &[Kind::Integer], Kind::Text, topic).optional(1).event(),
    Function::new("clientid", &[], Kind::Text, client_id).event(),
    Function::new("username", &[], Kind::Text, username).event(),
    Function::new("qos", &[], Kind::Integer, qos).event(),
    Function::new("retained", &[], Kind::Boolean, retained).event(),
    Function::new("timestamp", &[], Kind::Integer, timestamp).event(),
    Function::new("now", &[], Kind::Integer, timestamp).event(),
    Function::new("user_property", &[Kind::Text], Kind::Text, user_property).event(),
    Function::new("content_type", &[], Kind::Text, content_type).event(),
    Function::new("event_id", &[], Kind::Text, event_id).event(),
    Function::new("gateway", &[], Kind::Text, gateway).impure(),
];

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
