//! Functions for values of any type.

use super::{Function, text_at, value_at};
use crate::{
    expr::{Env, Expr, fault},
    value::{Fault, Kind, Outcome, Value},
};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("coalesce(x, …)", "The first value that is not NULL.", &[Kind::Any], Kind::Any, coalesce)
        .variadic()
        .nulls("NULL if all are NULL"),
    Function::new(
        "nullif(x, y)",
        "NULL if both are equal, else x.",
        &[Kind::Any, Kind::Any],
        Kind::Any,
        nullif,
    )
    .nulls("NULL if x is NULL"),
    Function::new(
        "if(condition, x, y)",
        "x if the condition is TRUE, else y.",
        &[Kind::Boolean, Kind::Any, Kind::Any],
        Kind::Any,
        choose,
    )
    .nulls("a NULL condition takes y"),
    Function::new("isnull(x)", "Whether it is NULL, as `x IS NULL`.", &[Kind::Any], Kind::Boolean, is_null)
        .nulls("TRUE for NULL"),
    Function::new(
        "typeof(x)",
        "The type: null, boolean, integer, real, text, bytes, array or object.",
        &[Kind::Any],
        Kind::Text,
        type_of,
    )
    .nulls("`'null'` for NULL"),
    Function::new(
        "lookup('table', key, 'column')",
        "The value of a column in the row of a key; NULL if there is no such row.",
        &[Kind::Text, Kind::Any, Kind::Text],
        Kind::Any,
        lookup,
    )
    .impure(),
];

/// Keys are compared as texts, so that 7 finds what CSV has as 7.
fn lookup<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    let (table, column) = (text_at(arguments, 0, env)?, text_at(arguments, 2, env)?);
    let key = value_at(arguments, 1, env);
    let found = env.tables.and_then(|tables| tables.find(&table, &key.to_text().ok()?, &column));
    match found {
        Some(value) => Ok(value.reborrow()),
        None if key.is_null() => Err(Fault::Null),
        None => Ok(Value::Null),
    }
}

/// The first argument that is not NULL.
fn coalesce<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    arguments.iter().map(|argument| argument.eval(env)).find(|value| !value.is_null()).ok_or(Fault::Null)
}

/// NULL if both are equal, else the first.
fn nullif<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    let value = value_at(arguments, 0, env);
    match value.equals(&value_at(arguments, 1, env)) {
        Some(true) => Err(Fault::Null),
        _ => Ok(value),
    }
}

/// The second argument if the first is TRUE, else the third. The other one is not evaluated.
fn choose<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    match value_at(arguments, 0, env) {
        Value::Bool(true) => Ok(value_at(arguments, 1, env)),
        Value::Bool(false) | Value::Null => Ok(value_at(arguments, 2, env)),
        other => Err(fault(&other)),
    }
}

fn is_null<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    Ok(Value::Bool(value_at(arguments, 0, env).is_null()))
}

fn type_of<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    Ok(Value::text(value_at(arguments, 0, env).type_name()))
}
