//! Functions for values of any type.

use super::{Function, value_at};
use crate::{
    expr::{Env, Expr, fault},
    value::{Fault, Kind, Outcome, Value},
};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("coalesce", &[Kind::Any], Kind::Any, coalesce).variadic(),
    Function::new("nullif", &[Kind::Any, Kind::Any], Kind::Any, nullif),
    Function::new("if", &[Kind::Boolean, Kind::Any, Kind::Any], Kind::Any, choose),
    Function::new("typeof", &[Kind::Any], Kind::Text, type_of),
];

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

fn type_of<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    Ok(Value::text(value_at(arguments, 0, env).type_name()))
}
