//! Values of the language: what they are, how they compare, and their text.
//!
//! Scalars borrow from the payload, so that evaluating a filter allocates nothing.

use std::{borrow::Cow, cmp::Ordering, sync::Arc};

use crate::{
    encode,
    number::{Number, truncate},
};

/// A value. Arrays and objects are shared: they are copied out of the payload once, if a rule needs them at all.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) enum Value<'v> {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'v, str>),
    Bytes(Cow<'v, [u8]>),
    Array(Arc<[Value<'static>]>),
    /// Names are unique.
    Object(Arc<[(Box<str>, Value<'static>)]>),
}

/// Why there is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An argument is NULL, so the result is.
    Null,
    /// An evaluation error: a type mismatch, a division by zero, a bad cast.
    Error,
}

/// The result of an operation on values.
pub(crate) type Outcome<'v> = Result<Value<'v>, Fault>;

/// What is known of a value's type before there is a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Any,
    Boolean,
    Integer,
    /// Integer or float.
    Number,
    Text,
    Bytes,
    Array,
    Object,
}

impl Kind {
    /// The name with its article, for messages.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Any => "a value",
            Self::Boolean => "a boolean",
            Self::Integer => "an integer",
            Self::Number => "a number",
            Self::Text => "text",
            Self::Bytes => "bytes",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }

    /// Whether a value of this kind can be one of the other kind.
    pub(crate) fn may_be(self, other: Self) -> bool {
        use Kind::{Any, Integer, Number};
        self == other || matches!((self, other), (Any, _) | (_, Any) | (Integer, Number) | (Number, Integer))
    }
}

impl<'v> Value<'v> {
    pub(crate) fn text(text: &'v str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    pub(crate) fn owned_text(text: impl Into<String>) -> Self {
        Self::Text(Cow::Owned(text.into()))
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Null => Kind::Any,
            Self::Bool(_) => Kind::Boolean,
            Self::Int(_) => Kind::Integer,
            Self::Float(_) => Kind::Number,
            Self::Text(_) => Kind::Text,
            Self::Bytes(_) => Kind::Bytes,
            Self::Array(_) => Kind::Array,
            Self::Object(_) => Kind::Object,
        }
    }

    /// What `typeof()` says.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Int(_) => "integer",
            Self::Float(_) => "real",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytes",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }

    /// The same value, borrowed where the original owns.
    pub(crate) fn reborrow(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Float(value) => Value::Float(*value),
            Self::Text(value) => Value::Text(Cow::Borrowed(value)),
            Self::Bytes(value) => Value::Bytes(Cow::Borrowed(value)),
            Self::Array(value) => Value::Array(Arc::clone(value)),
            Self::Object(value) => Value::Object(Arc::clone(value)),
        }
    }

    pub(crate) fn into_owned(self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Int(value) => Value::Int(value),
            Self::Float(value) => Value::Float(value),
            Self::Text(value) => Value::Text(Cow::Owned(value.into_owned())),
            Self::Bytes(value) => Value::Bytes(Cow::Owned(value.into_owned())),
            Self::Array(value) => Value::Array(value),
            Self::Object(value) => Value::Object(value),
        }
    }

    pub(crate) fn as_number(&self) -> Option<Number> {
        match self {
            Self::Int(value) => Some(Number::Int(*value)),
            Self::Float(value) => Some(Number::Float(*value)),
            _ => None,
        }
    }

    /// The member of an object; NULL if there is none.
    pub(crate) fn member(&self, name: &str) -> Value<'_> {
        let Self::Object(members) = self else { return Value::Null };
        members.iter().find(|(each, _)| **each == *name).map_or(Value::Null, |(_, value)| value.reborrow())
    }

    /// The element of an array, from the end if the index is negative; NULL if there is none.
    pub(crate) fn element(&self, index: i64) -> Value<'_> {
        let Self::Array(elements) = self else { return Value::Null };
        let from = if index < 0 { i64::try_from(elements.len()).unwrap_or(i64::MAX) } else { 0 };
        let element = usize::try_from(from + index).ok().and_then(|index| elements.get(index));
        element.map_or(Value::Null, Value::reborrow)
    }

    /// Equality as in `=`. `None` (unknown) if one is NULL or NaN; values of different types are not equal.
    pub(crate) fn equals(&self, other: &Value<'_>) -> Option<bool> {
        if self.is_null() || other.is_null() {
            return None;
        }
        match (self.as_number(), other.as_number()) {
            (Some(left), Some(right)) => left.compare(right).map(Ordering::is_eq),
            _ => Some(self.same(other)),
        }
    }

    /// Equality inside arrays and objects: always known, NULL is NULL, members in any order.
    fn same(&self, other: &Value<'_>) -> bool {
        match (self, other) {
            (Self::Null, Value::Null) => true,
            (Self::Bool(left), Value::Bool(right)) => left == right,
            (Self::Text(left), Value::Text(right)) => left == right,
            (Self::Bytes(left), Value::Bytes(right)) => left == right,
            (Self::Array(left), Value::Array(right)) => {
                left.len() == right.len()
                    && left.iter().zip(right.iter()).all(|(left, right)| left.same(right))
            }
            (Self::Object(left), Value::Object(right)) => same_members(left, right),
            _ => match (self.as_number(), other.as_number()) {
                (Some(left), Some(right)) => left.compare(right).is_some_and(Ordering::is_eq),
                _ => false,
            },
        }
    }

    /// Order as in `<`: numbers, texts by code point, bytes, FALSE before TRUE. All else is a mismatch.
    pub(crate) fn order(&self, other: &Value<'_>) -> Result<Ordering, Fault> {
        match (self, other) {
            (Self::Null, _) | (_, Value::Null) => Err(Fault::Null),
            (Self::Text(left), Value::Text(right)) => Ok(left.cmp(right)),
            (Self::Bytes(left), Value::Bytes(right)) => Ok(left.cmp(right)),
            (Self::Bool(left), Value::Bool(right)) => Ok(left.cmp(right)),
            _ => match (self.as_number(), other.as_number()) {
                (Some(left), Some(right)) => left.compare(right).ok_or(Fault::Null),
                _ => Err(Fault::Error),
            },
        }
    }

    /// The text of a value: text as it is, all else as JSON. Bytes have to be UTF-8.
    pub(crate) fn to_text(&self) -> Result<Cow<'_, str>, Fault> {
        match self {
            Self::Null => Err(Fault::Null),
            Self::Text(text) => Ok(Cow::Borrowed(text)),
            Self::Bytes(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| Fault::Error),
            Self::Bool(value) => Ok(Cow::Borrowed(if *value { "true" } else { "false" })),
            Self::Float(value) if !value.is_finite() => Ok(Cow::Owned(value.to_string())),
            _ => {
                let mut out = Vec::new();
                encode::json(self, &mut out)?;
                String::from_utf8(out).map(Cow::Owned).map_err(|_| Fault::Error)
            }
        }
    }

    pub(crate) fn to_integer(&self) -> Result<i64, Fault> {
        match self {
            Self::Null => Err(Fault::Null),
            Self::Bool(value) => Ok(i64::from(*value)),
            Self::Int(value) => Ok(*value),
            Self::Float(value) => truncate(*value).ok_or(Fault::Error),
            Self::Text(text) => {
                let text = text.trim();
                text.parse().or_else(|_| truncate(parse_real(text)?).ok_or(Fault::Error))
            }
            _ => Err(Fault::Error),
        }
    }

    pub(crate) fn to_real(&self) -> Result<f64, Fault> {
        match self {
            Self::Null => Err(Fault::Null),
            Self::Bool(value) => Ok(f64::from(u8::from(*value))),
            Self::Int(value) => Ok(*value as f64),
            Self::Float(value) => Ok(*value),
            Self::Text(text) => parse_real(text.trim()),
            _ => Err(Fault::Error),
        }
    }

    pub(crate) fn to_boolean(&self) -> Result<bool, Fault> {
        match self {
            Self::Null => Err(Fault::Null),
            Self::Bool(value) => Ok(*value),
            Self::Int(value) => Ok(*value != 0),
            Self::Float(value) if !value.is_nan() => Ok(*value != 0.0),
            Self::Text(text) => match text.trim() {
                "1" => Ok(true),
                "0" => Ok(false),
                word if word.eq_ignore_ascii_case("true") => Ok(true),
                word if word.eq_ignore_ascii_case("false") => Ok(false),
                _ => Err(Fault::Error),
            },
            _ => Err(Fault::Error),
        }
    }
}

type Member = (Box<str>, Value<'static>);

fn same_members(left: &[Member], right: &[Member]) -> bool {
    // Mostly in the same order; looking a name up anew each time would be quadratic.
    let sorted = |members: &[Member]| {
        let mut order: Vec<usize> = (0..members.len()).collect();
        order.sort_by(|a, b| members.get(*a).map(|each| &each.0).cmp(&members.get(*b).map(|each| &each.0)));
        order
    };
    left.len() == right.len()
        && sorted(left).into_iter().zip(sorted(right)).all(|pair| {
            match (left.get(pair.0), right.get(pair.1)) {
                (Some(left), Some(right)) => left.0 == right.0 && left.1.same(&right.1),
                _ => false,
            }
        })
}

/// A decimal number; not the words for infinity and NaN that Rust would read too.
fn parse_real(text: &str) -> Result<f64, Fault> {
    let plain = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    text.parse().ok().filter(|real: &f64| plain && real.is_finite()).ok_or(Fault::Error)
}

#[cfg(test)]
mod tests;
