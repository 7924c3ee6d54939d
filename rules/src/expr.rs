//! Compiled expressions: names resolved, constants folded, evaluated without allocating where the result needs none.

mod like;

use std::cell::{Cell, OnceCell};

use regex_lite::Regex;

use crate::{
    function::Function,
    message::Message,
    number::{Arithmetic, Number, arithmetic},
    pattern::Capture,
    table::Tables,
    value::{Fault, Outcome, Value},
};

/// A comparison operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// AND or OR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Logic {
    And,
    Or,
}

/// The type a CAST makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CastType {
    Integer,
    Real,
    Text,
    Boolean,
}

/// An expression as it is evaluated. Equal expressions have equal values for the same event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expr {
    Constant(Value<'static>),
    /// The payload field with this number in its rule.
    Field(usize),
    /// The capture with this number in its rule.
    Capture(usize),
    /// What the memory function with this number says of the event.
    Memory(usize),
    /// The GROUP BY expression with this number.
    Group(usize),
    /// The aggregate with this number.
    Aggregate(usize),
    WindowStart,
    WindowEnd,
    Not(Box<Expr>),
    Negate(Box<Expr>),
    Logic(Logic, Box<[Expr]>),
    Compare(Comparison, Box<[Expr; 2]>),
    Arithmetic(Arithmetic, Box<[Expr; 2]>),
    IsNull(Box<Expr>),
    In(Box<Expr>, Box<[Expr]>),
    /// Value, low, high.
    Between(Box<[Expr; 3]>),
    /// Text, pattern.
    Like(Box<[Expr; 2]>),
    /// The result of the first arm whose condition is TRUE or, with an operand, equal to it.
    Case {
        operand: Option<Box<Expr>>,
        arms: Box<[(Expr, Expr)]>,
        otherwise: Box<Expr>,
    },
    Cast(CastType, Box<Expr>),
    Member(Box<Expr>, Box<str>),
    Element(Box<[Expr; 2]>),
    Call(&'static Function, Box<[Expr]>),
    /// Whether the pattern is found in a text, or with a number, the text of that group.
    Regex(Pattern, Box<Expr>, Option<usize>),
}

/// A regular expression, equal to another of the same text.
#[derive(Debug, Clone)]
pub(crate) struct Pattern(pub(crate) Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// What an expression looks at. What does not apply is empty.
#[derive(Clone, Default)]
pub(crate) struct Env<'v> {
    pub(crate) gateway: &'v str,
    pub(crate) message: Option<&'v Message<'v>>,
    /// Of the filter that matched, in the order of the rule's captures.
    pub(crate) captures: &'v [Option<Capture>],
    /// Values taken out of the payload.
    pub(crate) slots: &'v [Value<'v>],
    /// For each field of the rule, its slot.
    pub(crate) fields: &'v [usize],
    /// Of the memory functions, as far as they have been computed.
    pub(crate) memory: &'v [OnceCell<Value<'static>>],
    pub(crate) tables: Option<&'v Tables>,
    pub(crate) groups: &'v [Value<'v>],
    pub(crate) aggregates: &'v [Value<'v>],
    /// Start and end in ms.
    pub(crate) window: (i64, i64),
    pub(crate) errors: Cell<u64>,
}

impl Env<'_> {
    pub(crate) fn count_error(&self) {
        self.errors.set(self.errors.get() + 1);
    }

    /// The value of an outcome; an error is counted and becomes NULL.
    pub(crate) fn settle<'v>(&self, outcome: Outcome<'v>) -> Value<'v> {
        outcome.unwrap_or_else(|fault| {
            if fault == Fault::Error {
                self.count_error();
            }
            Value::Null
        })
    }
}

impl Expr {
    pub(crate) fn null() -> Self {
        Self::Constant(Value::Null)
    }

    /// The value; evaluation errors are counted in `env` and give NULL.
    pub(crate) fn eval<'v>(&'v self, env: &Env<'v>) -> Value<'v> {
        match self {
            Self::Constant(value) => value.reborrow(),
            Self::Field(field) => {
                let slot = env.fields.get(*field).and_then(|slot| env.slots.get(*slot));
                slot.map_or(Value::Null, Value::reborrow)
            }
            Self::Capture(capture) => capture_of(*capture, env).map_or(Value::Null, Value::text),
            Self::Memory(site) => {
                env.memory.get(*site).and_then(OnceCell::get).map_or(Value::Null, Value::reborrow)
            }
            Self::Group(group) => env.groups.get(*group).map_or(Value::Null, Value::reborrow),
            Self::Aggregate(index) => env.aggregates.get(*index).map_or(Value::Null, Value::reborrow),
            Self::WindowStart => Value::Int(env.window.0),
            Self::WindowEnd => Value::Int(env.window.1),
            Self::Logic(logic, operands) => eval_logic(*logic, operands, env),
            Self::Compare(comparison, operands) => {
                let [left, right] = &**operands;
                env.settle(compare(*comparison, &left.eval(env), &right.eval(env)))
            }
            Self::IsNull(operand) => Value::Bool(operand.eval(env).is_null()),
            Self::In(operand, list) => eval_in(operand, list, env),
            Self::Case { operand, arms, otherwise } => {
                let operand = operand.as_ref().map(|operand| operand.eval(env));
                let holds = |condition: &'v Expr| match &operand {
                    Some(operand) => operand.equals(&condition.eval(env)) == Some(true),
                    None => condition.is_true(env),
                };
                let arm = arms.iter().find(|(condition, _)| holds(condition));
                arm.map_or(&**otherwise, |(_, result)| result).eval(env)
            }
            Self::Member(base, name) => base.eval(env).member(name).into_owned(),
            _ => env.settle(self.try_eval(env)),
        }
    }

    /// The operations that can fail.
    fn try_eval<'v>(&'v self, env: &Env<'v>) -> Outcome<'v> {
        match self {
            Self::Not(operand) => Ok(Value::Bool(!truth(&operand.eval(env))?)),
            Self::Negate(operand) => {
                let operand = number(&operand.eval(env))?;
                Ok(match operand {
                    Number::Float(float) => Value::Float(-float),
                    Number::Int(_) => arithmetic(Arithmetic::Subtract, Number::Int(0), operand)?.into(),
                })
            }
            Self::Arithmetic(operator, operands) => {
                let [left, right] = &**operands;
                let (left, right) = (left.eval(env), right.eval(env));
                if left.is_null() || right.is_null() {
                    return Err(Fault::Null);
                }
                Ok(arithmetic(*operator, number(&left)?, number(&right)?)?.into())
            }
            Self::Between(operands) => eval_between(operands, env),
            Self::Like(operands) => {
                let [text, pattern] = &**operands;
                match (text.eval(env), pattern.eval(env)) {
                    (Value::Null, _) | (_, Value::Null) => Err(Fault::Null),
                    (Value::Text(text), Value::Text(pattern)) if pattern.len() <= like::PATTERN_BYTES_MAX => {
                        Ok(Value::Bool(like::matches(&text, &pattern)))
                    }
                    _ => Err(Fault::Error),
                }
            }
            Self::Cast(target, operand) => cast(*target, operand.eval(env)),
            Self::Element(operands) => {
                let [base, index] = &**operands;
                let index = index.eval(env);
                match base.eval(env) {
                    Value::Array(elements) => {
                        let index =
                            if let Value::Int(index) = index { index } else { return mismatch(&index) };
                        Ok(Value::Array(elements).element(index).into_owned())
                    }
                    object => match index {
                        Value::Text(name) => Ok(object.member(&name).into_owned()),
                        _ => Ok(Value::Null),
                    },
                }
            }
            Self::Call(function, arguments) => (function.call)(arguments, env),
            Self::Regex(pattern, operand, group) => eval_regex(&pattern.0, *group, operand.eval(env)),
            _ => Ok(self.eval(env)),
        }
    }

    /// Whether a condition holds: it does not if it is NULL. Anything but a boolean is an evaluation error.
    pub(crate) fn is_true(&self, env: &Env<'_>) -> bool {
        match self.eval(env) {
            Value::Bool(value) => value,
            Value::Null => false,
            _ => {
                env.count_error();
                false
            }
        }
    }
}

fn capture_of<'v>(capture: usize, env: &Env<'v>) -> Option<&'v str> {
    env.captures.get(capture)?.as_ref()?.place.of(env.message?.topic)
}

/// The fault of a value that has the wrong type: none but NULL if it is NULL.
pub(crate) fn mismatch<'v>(value: &Value<'_>) -> Outcome<'v> {
    Err(fault(value))
}

pub(crate) fn fault(value: &Value<'_>) -> Fault {
    if value.is_null() { Fault::Null } else { Fault::Error }
}

pub(crate) fn number(value: &Value<'_>) -> Result<Number, Fault> {
    value.as_number().ok_or_else(|| fault(value))
}

fn truth(value: &Value<'_>) -> Result<bool, Fault> {
    match value {
        Value::Bool(value) => Ok(*value),
        _ => Err(fault(value)),
    }
}

/// Three-valued: one operand that decides is enough, even beside NULL.
fn eval_logic<'v>(logic: Logic, operands: &'v [Expr], env: &Env<'v>) -> Value<'v> {
    let decisive = logic == Logic::Or;
    let mut result = Value::Bool(!decisive);
    for operand in operands {
        match operand.eval(env) {
            Value::Bool(value) if value == decisive => return Value::Bool(decisive),
            Value::Bool(_) => {}
            other => {
                result = env.settle(mismatch(&other));
            }
        }
    }
    result
}

fn compare(comparison: Comparison, left: &Value<'_>, right: &Value<'_>) -> Outcome<'static> {
    let result = match comparison {
        Comparison::Equal => left.equals(right).ok_or(Fault::Null)?,
        Comparison::NotEqual => !left.equals(right).ok_or(Fault::Null)?,
        Comparison::Less => left.order(right)?.is_lt(),
        Comparison::LessOrEqual => left.order(right)?.is_le(),
        Comparison::Greater => left.order(right)?.is_gt(),
        Comparison::GreaterOrEqual => left.order(right)?.is_ge(),
    };
    Ok(Value::Bool(result))
}

/// NULL if it is not in the list but the list has a NULL: it might have been that.
fn eval_in<'v>(operand: &'v Expr, list: &'v [Expr], env: &Env<'v>) -> Value<'v> {
    let operand = operand.eval(env);
    let mut result = Value::Bool(false);
    for each in list {
        match operand.equals(&each.eval(env)) {
            Some(true) => return Value::Bool(true),
            Some(false) => {}
            None => result = Value::Null,
        }
    }
    result
}

/// `low <= value AND value <= high`, the value evaluated once.
fn eval_between<'v>(operands: &'v [Expr; 3], env: &Env<'v>) -> Outcome<'v> {
    let [value, low, high] = operands;
    let value = value.eval(env);
    let above = value.order(&low.eval(env)).map(std::cmp::Ordering::is_ge);
    let below = value.order(&high.eval(env)).map(std::cmp::Ordering::is_le);
    match (above, below) {
        (Ok(false), _) | (_, Ok(false)) => Ok(Value::Bool(false)),
        (Err(Fault::Error), _) | (_, Err(Fault::Error)) => Err(Fault::Error),
        (Err(Fault::Null), _) | (_, Err(Fault::Null)) => Err(Fault::Null),
        (Ok(true), Ok(true)) => Ok(Value::Bool(true)),
    }
}

fn cast(target: CastType, value: Value<'_>) -> Outcome<'_> {
    Ok(match target {
        CastType::Integer => Value::Int(value.to_integer()?),
        CastType::Real => Value::Float(value.to_real()?),
        CastType::Boolean => Value::Bool(value.to_boolean()?),
        CastType::Text => match value {
            text @ Value::Text(_) => text,
            other => Value::owned_text(other.to_text()?),
        },
    })
}

fn eval_regex<'v>(regex: &Regex, group: Option<usize>, text: Value<'v>) -> Outcome<'v> {
    let Value::Text(text) = text else { return mismatch(&text) };
    let Some(group) = group else { return Ok(Value::Bool(regex.is_match(&text))) };
    let found = regex.captures(&text).and_then(|captures| captures.get(group));
    Ok(found.map_or(Value::Null, |found| Value::owned_text(found.as_str())))
}
