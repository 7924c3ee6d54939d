//! Functions of numbers. A result that is not a finite number is an evaluation error.

use std::cmp::Ordering;

use super::{Function, float_at, int_at, number_at, value_at};
use crate::{
    expr::{Env, Expr},
    number::{Arithmetic, Number, arithmetic, truncate, widen},
    value::{Fault, Kind, Outcome, Value},
};

const ONE: &[Kind] = &[Kind::Number];
const TWO: &[Kind] = &[Kind::Number; 2];
const BITS: &[Kind] = &[Kind::Integer; 2];

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("abs", ONE, Kind::Number, abs),
    Function::new("sign", ONE, Kind::Integer, sign),
    Function::new("round", &[Kind::Number, Kind::Integer], Kind::Number, round).optional(1),
    Function::new("floor", ONE, Kind::Number, |arguments, env| whole(arguments, env, f64::floor)),
    Function::new("ceil", ONE, Kind::Number, |arguments, env| whole(arguments, env, f64::ceil)),
    Function::new("trunc", ONE, Kind::Number, |arguments, env| whole(arguments, env, f64::trunc)),
    Function::new("sqrt", ONE, Kind::Number, |arguments, env| float(arguments, env, f64::sqrt)),
    Function::new("exp", ONE, Kind::Number, |arguments, env| float(arguments, env, f64::exp)),
    Function::new("ln", ONE, Kind::Number, |arguments, env| float(arguments, env, f64::ln)),
    Function::new("log10", ONE, Kind::Number, |arguments, env| float(arguments, env, f64::log10)),
    Function::new("sin", ONE, Kind::Number, |arguments, env| float(arguments, env, f64::sin)),
    Function::new("cos", ONE, Kind::Number, |arguments, env| float(arguments, env, f64::cos)),
    Function::new("tan", ONE, Kind::Number, |arguments, env| float(arguments, env, f64::tan)),
    Function::new("asin", ONE, Kind::Number, |arguments, env| float(arguments, env, f64::asin)),
    Function::new("acos", ONE, Kind::Number, |arguments, env| float(arguments, env, f64::acos)),
    Function::new("atan", ONE, Kind::Number, |arguments, env| float(arguments, env, f64::atan)),
    Function::new("atan2", TWO, Kind::Number, atan2),
    Function::new("power", TWO, Kind::Number, power),
    Function::new("mod", TWO, Kind::Number, modulo),
    Function::new("least", &[Kind::Any], Kind::Any, |arguments, env| extreme(arguments, env, Ordering::Less))
        .variadic(),
    Function::new("greatest", &[Kind::Any], Kind::Any, |arguments, env| {
        extreme(arguments, env, Ordering::Greater)
    })
    .variadic(),
    Function::new("clamp", &[Kind::Number; 3], Kind::Number, clamp),
    Function::new("scale", &[Kind::Number; 5], Kind::Number, scale),
    Function::new("bitand", BITS, Kind::Integer, |arguments, env| bits(arguments, env, |a, b| a & b)),
    Function::new("bitor", BITS, Kind::Integer, |arguments, env| bits(arguments, env, |a, b| a | b)),
    Function::new("bitxor", BITS, Kind::Integer, |arguments, env| bits(arguments, env, |a, b| a ^ b)),
    Function::new("bitshift", BITS, Kind::Integer, |arguments, env| bits(arguments, env, shift)),
];

fn finite<'v>(result: f64) -> Outcome<'v> {
    if result.is_finite() { Ok(Value::Float(result)) } else { Err(Fault::Error) }
}

fn float<'v>(arguments: &[Expr], env: &Env<'v>, apply: fn(f64) -> f64) -> Outcome<'v> {
    finite(apply(float_at(arguments, 0, env)?))
}

/// Makes an integer; only what is too large for one stays a float.
fn whole<'v>(arguments: &[Expr], env: &Env<'v>, apply: fn(f64) -> f64) -> Outcome<'v> {
    match number_at(arguments, 0, env)? {
        Number::Int(int) => Ok(Value::Int(int)),
        Number::Float(float) => {
            let result = apply(float);
            truncate(result).map_or_else(|| finite(result), |int| Ok(Value::Int(int)))
        }
    }
}

fn abs<'v>(arguments: &[Expr], env: &Env<'v>) -> Outcome<'v> {
    Ok(match number_at(arguments, 0, env)? {
        Number::Int(int) => widen(i128::from(int).abs()).into(),
        Number::Float(float) => Value::Float(float.abs()),
    })
}

fn sign<'v>(arguments: &[Expr], env: &Env<'v>) -> Outcome<'v> {
    let ordering = number_at(arguments, 0, env)?.compare(Number::Int(0)).ok_or(Fault::Error)?;
    Ok(Value::Int(ordering as i64))
}

/// Rounds half away from zero: to an integer, or to a number of decimals, negative for tens and hundreds.
fn round<'v>(arguments: &[Expr], env: &Env<'v>) -> Outcome<'v> {
    if arguments.len() < 2 {
        return whole(arguments, env, f64::round);
    }
    let decimals = int_at(arguments, 1, env)?.clamp(-400, 400);
    match number_at(arguments, 0, env)? {
        Number::Int(int) if decimals >= 0 => Ok(Value::Int(int)),
        Number::Int(int) => Ok(round_int(int, decimals.unsigned_abs())),
        Number::Float(float) => finite(round_float(float, decimals)),
    }
}

fn round_int(int: i64, zeros: u64) -> Value<'static> {
    let Some(unit) = u32::try_from(zeros).ok().and_then(|zeros| 10_i128.checked_pow(zeros)) else {
        return Value::Int(0);
    };
    let half = unit / 2 * i128::from(int.signum());
    widen((i128::from(int) + half) / unit * unit).into()
}

fn round_float(float: f64, decimals: i64) -> f64 {
    let factor = 10_f64.powf(decimals.abs() as f64);
    let rounded =
        if decimals < 0 { (float / factor).round() * factor } else { (float * factor).round() / factor };
    // With so many decimals there is nothing to round, with so many zeros nothing is left.
    match (rounded.is_finite(), decimals < 0) {
        (true, _) => rounded,
        (false, true) => 0.0,
        (false, false) => float,
    }
}

fn atan2<'v>(arguments: &[Expr], env: &Env<'v>) -> Outcome<'v> {
    finite(float_at(arguments, 0, env)?.atan2(float_at(arguments, 1, env)?))
}

fn power<'v>(arguments: &[Expr], env: &Env<'v>) -> Outcome<'v> {
    let (base, exponent) = (number_at(arguments, 0, env)?, number_at(arguments, 1, env)?);
    if let (Number::Int(base), Number::Int(exponent)) = (base, exponent)
        && let Some(result) = u32::try_from(exponent).ok().and_then(|exponent| base.checked_pow(exponent))
    {
        return Ok(Value::Int(result));
    }
    finite(base.to_float().powf(exponent.to_float()))
}

fn modulo<'v>(arguments: &[Expr], env: &Env<'v>) -> Outcome<'v> {
    let (left, right) = (number_at(arguments, 0, env)?, number_at(arguments, 1, env)?);
    Ok(arithmetic(Arithmetic::Remainder, left, right)?.into())
}

/// NULL if one of the arguments is NULL.
fn extreme<'v>(arguments: &'v [Expr], env: &Env<'v>, wanted: Ordering) -> Outcome<'v> {
    let mut best = value_at(arguments, 0, env);
    if best.is_null() {
        return Err(Fault::Null);
    }
    for argument in arguments.iter().skip(1) {
        let value = argument.eval(env);
        if value.order(&best)? == wanted {
            best = value;
        }
    }
    Ok(best)
}

fn clamp<'v>(arguments: &[Expr], env: &Env<'v>) -> Outcome<'v> {
    let value = number_at(arguments, 0, env)?;
    let (low, high) = (number_at(arguments, 1, env)?, number_at(arguments, 2, env)?);
    if low.compare(high).is_none_or(Ordering::is_gt) {
        return Err(Fault::Error);
    }
    Ok(match (value.compare(low), value.compare(high)) {
        (Some(Ordering::Less), _) => low.into(),
        (_, Some(Ordering::Greater)) => high.into(),
        _ => value.into(),
    })
}

/// Maps one range to another; values outside are mapped on the same line.
fn scale<'v>(arguments: &[Expr], env: &Env<'v>) -> Outcome<'v> {
    let value = float_at(arguments, 0, env)?;
    let (in_low, in_high) = (float_at(arguments, 1, env)?, float_at(arguments, 2, env)?);
    let (out_low, out_high) = (float_at(arguments, 3, env)?, float_at(arguments, 4, env)?);
    finite(out_low + (value - in_low) * (out_high - out_low) / (in_high - in_low))
}

fn bits<'v>(arguments: &[Expr], env: &Env<'v>, apply: fn(i64, i64) -> i64) -> Outcome<'v> {
    Ok(Value::Int(apply(int_at(arguments, 0, env)?, int_at(arguments, 1, env)?)))
}

/// To the left by a positive number of bits, to the right with the sign by a negative one.
fn shift(value: i64, by: i64) -> i64 {
    let distance = u32::try_from(by.unsigned_abs()).unwrap_or(u32::MAX);
    if by >= 0 { value.checked_shl(distance).unwrap_or(0) } else { value >> distance.min(63) }
}
