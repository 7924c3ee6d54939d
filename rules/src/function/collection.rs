//! Functions of arrays and objects.

use super::{Function, text_at, value_at};
use crate::{
    expr::{Env, Expr, fault},
    field::keep_last,
    value::{Fault, Kind, Outcome, Value},
};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("array(x, …)", "An array of the values.", &[Kind::Any], Kind::Array, array)
        .optional(1)
        .variadic()
        .nulls("NULL is an element like others"),
    Function::new(
        "object('name', x, …)",
        "An object of names and values; the last of a name counts.",
        &[Kind::Any],
        Kind::Object,
        object,
    )
    .optional(1)
    .variadic()
    .check(pairs)
    .nulls("NULL is a value like others, but no name"),
    Function::new(
        "array_length(array)",
        "How many elements an array has.",
        &[Kind::Array],
        Kind::Integer,
        array_length,
    ),
    Function::new(
        "element(array, index)",
        "An element: 0 is the first, -1 the last; the same as `array[index]`.",
        &[Kind::Array, Kind::Integer],
        Kind::Any,
        element,
    ),
    Function::new("keys(object)", "An array of the names of an object.", &[Kind::Object], Kind::Array, keys),
    Function::new(
        "values(object)",
        "An array of the values of an object.",
        &[Kind::Object],
        Kind::Array,
        values,
    ),
    Function::new(
        "merge(object, …)",
        "One object of several; the last of a name counts.",
        &[Kind::Object],
        Kind::Object,
        merge,
    )
    .variadic(),
    Function::new(
        "contains_key(object, 'name')",
        "Whether an object has a member of that name, even NULL.",
        &[Kind::Object, Kind::Text],
        Kind::Boolean,
        contains_key,
    ),
];

fn array<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    Ok(Value::Array(arguments.iter().map(|argument| argument.eval(env).into_owned()).collect()))
}

fn pairs(arguments: &[Expr]) -> Result<(), (usize, String)> {
    if arguments.len().is_multiple_of(2) {
        return Ok(());
    }
    Err((
        arguments.len().saturating_sub(1),
        "this name has no value: object() takes names and values in turn".into(),
    ))
}

fn object<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    let mut members = Vec::new();
    for (name, value) in (0..arguments.len()).step_by(2).map(|index| (index, index + 1)) {
        let name = text_at(arguments, name, env)?;
        members.push(((&*name).into(), value_at(arguments, value, env).into_owned()));
    }
    keep_last(&mut members);
    Ok(Value::Object(members.into()))
}

type Members = std::sync::Arc<[(Box<str>, Value<'static>)]>;

fn object_at(arguments: &[Expr], index: usize, env: &Env<'_>) -> Result<Members, Fault> {
    match value_at(arguments, index, env) {
        Value::Object(members) => Ok(members),
        other => Err(fault(&other)),
    }
}

fn array_length<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    match value_at(arguments, 0, env) {
        Value::Array(elements) => Ok(Value::Int(i64::try_from(elements.len()).unwrap_or(i64::MAX))),
        other => Err(fault(&other)),
    }
}

fn element<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    let array = value_at(arguments, 0, env);
    if !matches!(array, Value::Array(_)) {
        return Err(fault(&array));
    }
    Ok(array.element(super::int_at(arguments, 1, env)?).into_owned())
}

fn keys<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    let members = object_at(arguments, 0, env)?;
    Ok(Value::Array(members.iter().map(|(name, _)| Value::owned_text(&**name)).collect()))
}

fn values<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    let members = object_at(arguments, 0, env)?;
    Ok(Value::Array(members.iter().map(|(_, value)| value.clone()).collect()))
}

fn merge<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    let mut members = Vec::new();
    for index in 0..arguments.len() {
        members.extend(object_at(arguments, index, env)?.iter().cloned());
    }
    keep_last(&mut members);
    Ok(Value::Object(members.into()))
}

fn contains_key<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    let members = object_at(arguments, 0, env)?;
    let wanted = text_at(arguments, 1, env)?;
    Ok(Value::Bool(members.iter().any(|(name, _)| **name == *wanted)))
}
