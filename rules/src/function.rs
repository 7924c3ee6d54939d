//! The catalogue of functions: their names, what they take and give, and what computes them. The compiler and the
//! reference in the manual are made from the same tables.

mod bytes;
mod collection;
mod convert;
mod digest;
mod event;
mod format;
mod general;
mod math;
mod text;
mod time;

use std::borrow::Cow;

use crate::{
    expr::{Env, Expr, fault, number},
    number::{Number, truncate},
    value::{Fault, Kind, Outcome, Value},
};

pub(crate) use time::parse_rfc_3339;

/// The longest text that a function makes out of shorter ones, in bytes.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Computes a function from its arguments. They are evaluated by the function, so that it may leave some out.
pub(crate) type Call = for<'v> fn(&'v [Expr], &Env<'v>) -> Outcome<'v>;

/// A function of one event or of no event at all.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    /// How it is called, for the manual.
    pub(crate) signature: &'static str,
    /// What it gives, for the manual.
    pub(crate) doc: &'static str,
    /// What it makes of NULL, for the manual.
    pub(crate) nulls: &'static str,
    /// The kinds of the arguments; the last one repeats if the function is variadic.
    pub(crate) parameters: &'static [Kind],
    /// How many arguments there have to be.
    pub(crate) required: usize,
    pub(crate) variadic: bool,
    pub(crate) result: Kind,
    /// Whether it looks at nothing but its arguments.
    pub(crate) pure: bool,
    /// Whether it looks at the event.
    pub(crate) needs_event: bool,
    /// Looks at the arguments before there is an event.
    pub(crate) check: Option<Check>,
    pub(crate) call: Call,
}

/// Says which argument can never be right, and why.
pub(crate) type Check = fn(&[Expr]) -> Result<(), (usize, String)>;

/// Functions that have to do with each other, and what the manual calls them.
pub(crate) const GROUPS: &[(&str, &[Function])] = &[
    ("event", event::FUNCTIONS),
    ("math", math::FUNCTIONS),
    ("text", text::FUNCTIONS),
    ("bytes", bytes::FUNCTIONS),
    ("convert", general::FUNCTIONS),
    ("encode", convert::FUNCTIONS),
    ("time", time::FUNCTIONS),
    ("collection", collection::FUNCTIONS),
];

/// The name that a signature begins with.
pub(crate) const fn name_of(signature: &'static str) -> &'static str {
    let (mut at, mut rest) = (0, signature.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        if *first == b'(' {
            break;
        }
        at += 1;
        rest = after;
    }
    signature.split_at(at).0
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Function {
    const fn new(
        signature: &'static str,
        doc: &'static str,
        parameters: &'static [Kind],
        result: Kind,
        call: Call,
    ) -> Self {
        Self {
            name: name_of(signature),
            signature,
            doc,
            nulls: "NULL if an argument is NULL",
            parameters,
            required: parameters.len(),
            variadic: false,
            result,
            pure: true,
            needs_event: false,
            check: None,
            call,
        }
    }

    /// What it makes of NULL, if that is not NULL.
    const fn nulls(mut self, nulls: &'static str) -> Self {
        self.nulls = nulls;
        self
    }

    const fn check(mut self, check: Check) -> Self {
        self.check = Some(check);
        self
    }

    /// The last `count` arguments may be left out.
    const fn optional(mut self, count: usize) -> Self {
        self.required -= count;
        self
    }

    /// The last argument may be there more than once.
    const fn variadic(mut self) -> Self {
        self.variadic = true;
        self
    }

    const fn event(mut self) -> Self {
        self.pure = false;
        self.needs_event = true;
        self
    }

    const fn impure(mut self) -> Self {
        self.pure = false;
        self
    }

    /// The kind of the argument with this index; `None` if there is no such argument.
    pub(crate) fn parameter(&self, index: usize) -> Option<Kind> {
        let repeated = self.parameters.last().filter(|_| self.variadic);
        self.parameters.get(index).or(repeated).copied()
    }

    /// How many arguments it takes, for messages.
    pub(crate) fn arity(&self) -> String {
        let (least, most) = (self.required, self.parameters.len());
        match (least, most, self.variadic) {
            (_, _, true) => format!("at least {}", plural(least)),
            (0, 0, _) => "no arguments".to_owned(),
            (least, most, _) if least == most => plural(least),
            (least, most, _) => format!("{least} to {}", plural(most)),
        }
    }
}

fn plural(count: usize) -> String {
    if count == 1 { "1 argument".to_owned() } else { format!("{count} arguments") }
}

/// The function of a name in lower case.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name);
    functions().find(|function| function.name == name)
}

/// All names that [`find`] finds, without the other spellings.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    functions().map(|function| function.name)
}

fn functions() -> impl Iterator<Item = &'static Function> {
    GROUPS.iter().flat_map(|(_, functions)| *functions)
}

/// Spellings of other rule languages.
const ALIASES: &[(&str, &str)] = &[
    ("base64_decode", "unbase64"),
    ("base64_encode", "base64"),
    ("cardinality", "array_length"),
    ("ceiling", "ceil"),
    ("endswith", "ends_with"),
    ("ifnull", "coalesce"),
    ("json_decode", "from_json"),
    ("json_encode", "to_json"),
    ("len", "length"),
    ("map_keys", "keys"),
    ("map_values", "values"),
    ("pow", "power"),
    ("startswith", "starts_with"),
    ("strlen", "length"),
];

/// The value of an argument; NULL if it is left out.
fn value_at<'v>(arguments: &'v [Expr], index: usize, env: &Env<'v>) -> Value<'v> {
    arguments.get(index).map_or(Value::Null, |argument| argument.eval(env))
}

fn number_at(arguments: &[Expr], index: usize, env: &Env<'_>) -> Result<Number, Fault> {
    number(&value_at(arguments, index, env))
}

fn float_at(arguments: &[Expr], index: usize, env: &Env<'_>) -> Result<f64, Fault> {
    Ok(number_at(arguments, index, env)?.to_float())
}

/// An integer, or a float without a fraction.
fn int_at(arguments: &[Expr], index: usize, env: &Env<'_>) -> Result<i64, Fault> {
    match number_at(arguments, index, env)? {
        Number::Int(int) => Ok(int),
        Number::Float(float) if float.fract() == 0.0 => truncate(float).ok_or(Fault::Error),
        Number::Float(_) => Err(Fault::Error),
    }
}

fn text_at<'v>(arguments: &'v [Expr], index: usize, env: &Env<'v>) -> Result<Cow<'v, str>, Fault> {
    match value_at(arguments, index, env) {
        Value::Text(text) => Ok(text),
        other => Err(fault(&other)),
    }
}

fn bytes_at<'v>(arguments: &'v [Expr], index: usize, env: &Env<'v>) -> Result<Cow<'v, [u8]>, Fault> {
    match value_at(arguments, index, env) {
        Value::Bytes(bytes) => Ok(bytes),
        other => Err(fault(&other)),
    }
}

/// The bytes of bytes or text.
fn octets_at<'v>(arguments: &'v [Expr], index: usize, env: &Env<'v>) -> Result<Cow<'v, [u8]>, Fault> {
    match value_at(arguments, index, env) {
        Value::Bytes(bytes) => Ok(bytes),
        Value::Text(Cow::Borrowed(text)) => Ok(Cow::Borrowed(text.as_bytes())),
        Value::Text(Cow::Owned(text)) => Ok(Cow::Owned(text.into_bytes())),
        other => Err(fault(&other)),
    }
}

/// An argument that may be left out.
fn optional<T>(
    arguments: &[Expr],
    index: usize,
    default: T,
    read: impl FnOnce() -> Result<T, Fault>,
) -> Result<T, Fault> {
    if index < arguments.len() { read() } else { Ok(default) }
}

#[cfg(test)]
mod tests;
