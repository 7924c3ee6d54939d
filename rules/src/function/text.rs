//! Functions of text. Lengths and positions are in characters, not bytes.

use std::borrow::Cow;

use super::{Function, TEXT_BYTES_MAX, int_at, optional, text_at, value_at};
use crate::{
    expr::{Env, Expr, fault},
    value::{Fault, Kind, Outcome, Value},
};

const ONE: &[Kind] = &[Kind::Text];
const TWO: &[Kind] = &[Kind::Text; 2];

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new(
        "length(x)",
        "The number of characters of text, of bytes of bytes.",
        &[Kind::Any],
        Kind::Integer,
        length,
    ),
    Function::new("lower(text)", "In lower case.", ONE, Kind::Text, lower),
    Function::new("upper(text)", "In upper case.", ONE, Kind::Text, upper),
    Function::new(
        "trim(text[, letters])",
        "Without white space, or without these characters, at both ends.",
        TWO,
        Kind::Text,
        |arguments, env| trim(arguments, env, true, true),
    )
    .optional(1),
    Function::new("ltrim(text[, letters])", "The same at the start.", TWO, Kind::Text, |arguments, env| {
        trim(arguments, env, true, false)
    })
    .optional(1),
    Function::new("rtrim(text[, letters])", "The same at the end.", TWO, Kind::Text, |arguments, env| {
        trim(arguments, env, false, true)
    })
    .optional(1),
    Function::new(
        "concat(x, …)",
        "The texts of all values in a row; the same as `||`.",
        &[Kind::Any],
        Kind::Text,
        concat,
    )
    .variadic(),
    Function::new(
        "substr(text, start[, count])",
        "A part of a text: 1 is the first character, -1 the last.",
        &[Kind::Text, Kind::Integer, Kind::Integer],
        Kind::Text,
        substr,
    )
    .optional(1),
    Function::new(
        "replace(text, from, to)",
        "Replaces each occurrence.",
        &[Kind::Text; 3],
        Kind::Text,
        replace,
    ),
    Function::new(
        "split(text, separator)",
        "An array of the parts between separators.",
        TWO,
        Kind::Array,
        split,
    ),
    Function::new(
        "starts_with(text, part)",
        "Whether a text begins so.",
        TWO,
        Kind::Boolean,
        |arguments, env| test(arguments, env, |text, part| text.starts_with(part)),
    ),
    Function::new(
        "ends_with(text, part)",
        "Whether a text ends so.",
        TWO,
        Kind::Boolean,
        |arguments, env| test(arguments, env, |text, part| text.ends_with(part)),
    ),
    Function::new(
        "contains(text, part)",
        "Whether a part is in a text.",
        TWO,
        Kind::Boolean,
        |arguments, env| test(arguments, env, |text, part| text.contains(part)),
    ),
    Function::new(
        "position(text, part)",
        "Where the part begins: 1 is the first character, 0 is nowhere.",
        TWO,
        Kind::Integer,
        position,
    ),
    Function::new(
        "format('template', x, …)",
        "The conversions of printf: `%s %d %f %x %%`, with width and precision.",
        &[Kind::Text, Kind::Any],
        Kind::Text,
        super::format::call,
    )
    .optional(1)
    .variadic(),
    Function::new(
        "lpad(text, width[, fill])",
        "Fills up at the start to a number of characters; what is longer is cut.",
        &[Kind::Text, Kind::Integer, Kind::Text],
        Kind::Text,
        |arguments, env| pad(arguments, env, true),
    )
    .optional(1),
    Function::new(
        "rpad(text, width[, fill])",
        "Fills up at the end to a number of characters; what is longer is cut.",
        &[Kind::Text, Kind::Integer, Kind::Text],
        Kind::Text,
        |arguments, env| pad(arguments, env, false),
    )
    .optional(1),
];

/// Characters of a text, bytes of bytes.
fn length<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    let length = match value_at(arguments, 0, env) {
        Value::Text(text) => text.chars().count(),
        Value::Bytes(bytes) => bytes.len(),
        other => return Err(fault(&other)),
    };
    Ok(int(length))
}

fn int(count: usize) -> Value<'static> {
    Value::Int(i64::try_from(count).unwrap_or(i64::MAX))
}

fn lower<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    Ok(Value::owned_text(text_at(arguments, 0, env)?.to_lowercase()))
}

fn upper<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    Ok(Value::owned_text(text_at(arguments, 0, env)?.to_uppercase()))
}

/// Takes white space, or the characters of the second argument, off the ends.
fn trim<'v>(arguments: &'v [Expr], env: &Env<'v>, start: bool, end: bool) -> Outcome<'v> {
    let text = text_at(arguments, 0, env)?;
    let letters = optional(arguments, 1, None, || text_at(arguments, 1, env).map(Some))?;
    let unwanted = |letter: char| match &letters {
        Some(letters) => letters.contains(letter),
        None => letter.is_whitespace(),
    };
    Ok(Value::Text(slice(text, |mut text| {
        if start {
            text = text.trim_start_matches(unwanted);
        }
        if end {
            text = text.trim_end_matches(unwanted);
        }
        text
    })))
}

/// A part of a text, borrowed if the text is.
fn slice<'v>(text: Cow<'v, str>, part: impl FnOnce(&str) -> &str) -> Cow<'v, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(part(text)),
        Cow::Owned(text) => Cow::Owned(part(&text).to_owned()),
    }
}

/// The texts of all arguments in a row; NULL if one is NULL. `||` is the same.
fn concat<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    let mut out = String::new();
    for argument in arguments {
        out.push_str(&argument.eval(env).to_text()?);
    }
    Ok(Value::owned_text(out))
}

/// From a position on, 1 being the first character and -1 the last, as many characters as wanted.
fn substr<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    let text = text_at(arguments, 0, env)?;
    let start = int_at(arguments, 1, env)?;
    let count = optional(arguments, 2, i64::MAX, || int_at(arguments, 2, env))?;
    let skip = match start {
        0.. => usize::try_from(start).unwrap_or(usize::MAX).saturating_sub(1),
        _ => {
            let from_end = usize::try_from(start.unsigned_abs()).unwrap_or(usize::MAX);
            text.chars().count().saturating_sub(from_end)
        }
    };
    let take = usize::try_from(count.max(0)).unwrap_or(usize::MAX);
    Ok(Value::Text(slice(text, |text| {
        let rest = skip_chars(text, skip).1;
        skip_chars(rest, take).0
    })))
}

/// Splits a text after a number of characters, or at its end.
fn skip_chars(text: &str, count: usize) -> (&str, &str) {
    let at = text.char_indices().nth(count).map_or(text.len(), |(at, _)| at);
    text.split_at(at)
}

/// Replaces each occurrence. An empty text occurs nowhere.
fn replace<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    let text = text_at(arguments, 0, env)?;
    let (from, to) = (text_at(arguments, 1, env)?, text_at(arguments, 2, env)?);
    if from.is_empty() || !text.contains(&*from) {
        return Ok(Value::Text(text));
    }
    let grown = text.matches(&*from).count().saturating_mul(to.len().saturating_sub(from.len()));
    if to.len() > from.len() && text.len().saturating_add(grown) > TEXT_BYTES_MAX {
        return Err(Fault::Error);
    }
    Ok(Value::owned_text(text.replace(&*from, &to)))
}

/// The parts between separators; an empty separator is an evaluation error.
fn split<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    let (text, separator) = (text_at(arguments, 0, env)?, text_at(arguments, 1, env)?);
    if separator.is_empty() {
        return Err(Fault::Error);
    }
    Ok(Value::Array(text.split(&*separator).map(Value::owned_text).collect()))
}

fn test<'v>(arguments: &'v [Expr], env: &Env<'v>, test: fn(&str, &str) -> bool) -> Outcome<'v> {
    Ok(Value::Bool(test(&text_at(arguments, 0, env)?, &text_at(arguments, 1, env)?)))
}

/// Where the second text begins in the first: 1 is the start, 0 is nowhere.
fn position<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    let (text, part) = (text_at(arguments, 0, env)?, text_at(arguments, 1, env)?);
    Ok(text.split_once(&*part).map_or(Value::Int(0), |(before, _)| int(before.chars().count() + 1)))
}

/// Fills up to a number of characters with a text, spaces by default; what is longer is cut at the end.
fn pad<'v>(arguments: &'v [Expr], env: &Env<'v>, left: bool) -> Outcome<'v> {
    let text = text_at(arguments, 0, env)?;
    let width = usize::try_from(int_at(arguments, 1, env)?.max(0)).map_err(|_| Fault::Error)?;
    let fill = optional(arguments, 2, Cow::Borrowed(" "), || text_at(arguments, 2, env))?;
    if width > TEXT_BYTES_MAX {
        return Err(Fault::Error);
    }
    let missing = width.saturating_sub(text.chars().count());
    if missing == 0 || fill.is_empty() {
        return Ok(Value::Text(slice(text, |text| skip_chars(text, width).0)));
    }
    let padding = fill.chars().cycle().take(missing);
    Ok(Value::owned_text(if left {
        padding.chain(text.chars()).collect::<String>()
    } else {
        text.chars().chain(padding).collect()
    }))
}
