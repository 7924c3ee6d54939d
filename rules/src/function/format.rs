//! `format('%s: %.2f', …)`: the conversions of printf that make sense here.
//!
//! `%[-][0][width][.precision]` and then `s` (any value), `d` (integer), `f` (number, 6 decimals unless said
//! otherwise), `x` (integer in hexadecimal) or `%`.

use std::fmt::Write;

use super::{TEXT_BYTES_MAX, text_at, value_at};
use crate::{
    expr::{Env, Expr, fault, number},
    value::{Fault, Outcome, Value},
};

/// The most characters and decimals that a conversion may ask for.
const WIDTH_MAX: usize = 256;

pub(super) fn call<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    let template = text_at(arguments, 0, env)?;
    let mut out = String::new();
    let mut rest = &*template;
    let mut next = 1;
    while let Some((before, conversion)) = rest.split_once('%') {
        out.push_str(before);
        let (conversion, after) = Conversion::parse(conversion).ok_or(Fault::Error)?;
        rest = after;
        if conversion.letter == '%' {
            out.push('%');
            continue;
        }
        if next >= arguments.len() {
            return Err(Fault::Error);
        }
        conversion.write(&value_at(arguments, next, env), &mut out)?;
        next += 1;
        if out.len() > TEXT_BYTES_MAX {
            return Err(Fault::Error);
        }
    }
    out.push_str(rest);
    Ok(Value::owned_text(out))
}

struct Conversion {
    left: bool,
    zeros: bool,
    width: usize,
    precision: Option<usize>,
    letter: char,
}

impl Conversion {
    /// Takes the text after `%` apart, into a conversion and what follows it.
    fn parse(text: &str) -> Option<(Self, &str)> {
        let (left, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
        let (zeros, text) = text.strip_prefix('0').map_or((false, text), |text| (true, text));
        let (width, text) = digits(text)?;
        let (precision, text) = match text.strip_prefix('.') {
            Some(text) => digits(text).map(|(precision, text)| (Some(precision), text))?,
            None => (None, text),
        };
        let mut letters = text.chars();
        let letter = letters.next()?;
        Some((Self { left, zeros, width, precision, letter }, letters.as_str()))
    }

    fn write(&self, value: &Value<'_>, out: &mut String) -> Result<(), Fault> {
        let text = match (self.letter, value) {
            ('s', value) => {
                let text = value.to_text()?;
                text.chars().take(self.precision.unwrap_or(usize::MAX)).collect()
            }
            ('d', Value::Int(int)) => int.to_string(),
            ('x', Value::Int(int)) => format!("{int:x}"),
            ('f', value) => format!("{:.*}", self.precision.unwrap_or(6), number(value)?.to_float()),
            (_, value) => return Err(fault(value)),
        };
        let width = self.width;
        // Writing to a String cannot fail.
        let _ = match (self.left, self.zeros && self.letter != 's') {
            (true, _) => write!(out, "{text:<width$}"),
            (false, false) => write!(out, "{text:>width$}"),
            (false, true) => {
                let (sign, digits) = text.strip_prefix('-').map_or(("", &*text), |digits| ("-", digits));
                let width = width.saturating_sub(sign.len());
                write!(out, "{sign}{digits:0>width$}")
            }
        };
        Ok(())
    }
}

fn digits(text: &str) -> Option<(usize, &str)> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(end);
    let number = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    (number <= WIDTH_MAX).then_some((number, rest))
}
