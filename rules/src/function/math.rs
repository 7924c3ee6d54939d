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
    Function::new("abs(x)", "The absolute value.", ONE, Kind::Number, abs),
    Function::new("sign(x)", "-1, 0 or 1.", ONE, Kind::Integer, sign),
    Function::new(
        "round(x[, decimals])",
        "Rounds half away from zero, to an integer or to decimals; negative decimals are tens and hundreds.",
        &[Kind::Number, Kind::Integer],
        Kind::Number,
        round,
    )
    .optional(1),
    Function::new("floor(x)", "The next integer below.", ONE, Kind::Number, |arguments, env| {
        whole(arguments, env, f64::floor)
    }),
    Function::new("ceil(x)", "The next integer above.", ONE, Kind::Number, |arguments, env| {
        whole(arguments, env, f64::ceil)
    }),
    Function::new("trunc(x)", "The integer part.", ONE, Kind::Number, |arguments, env| {
        whole(arguments, env, f64::trunc)
    }),
    Function::new("sqrt(x)", "The square root.", ONE, Kind::Number, |arguments, env| {
        float(arguments, env, f64::sqrt)
    }),
    Function::new("exp(x)", "e to the power of x.", ONE, Kind::Number, |arguments, env| {
        float(arguments, env, f64::exp)
    }),
    Function::new("ln(x)", "The natural logarithm.", ONE, Kind::Number, |arguments, env| {
        float(arguments, env, f64::ln)
    }),
    Function::new("log10(x)", "The logarithm to the base of 10.", ONE, Kind::Number, |arguments, env| {
        float(arguments, env, f64::log10)
    }),
    Function::new("sin(x)", "The sine of an angle in radians.", ONE, Kind::Number, |arguments, env| {
        float(arguments, env, f64::sin)
    }),
    Function::new("cos(x)", "The cosine of an angle in radians.", ONE, Kind::Number, |arguments, env| {
        float(arguments, env, f64::cos)
    }),
    Function::new("tan(x)", "The tangent of an angle in radians.", ONE, Kind::Number, |arguments, env| {
        float(arguments, env, f64::tan)
    }),
    Function::new("asin(x)", "The arc sine in radians.", ONE, Kind::Number, |arguments, env| {
        float(arguments, env, f64::asin)
    }),
    Function::new("acos(x)", "The arc cosine in radians.", ONE, Kind::Number, |arguments, env| {
        float(arguments, env, f64::acos)
    }),
    Function::new("atan(x)", "The arc tangent in radians.", ONE, Kind::Number, |arguments, env| {
        float(arguments, env, f64::atan)
    }),
    Function::new("atan2(y, x)", "The angle of a point in radians.", TWO, Kind::Number, atan2),
    Function::new(
        "power(x, y)",
        "x to the power of y; an integer if both are and it fits.",
        TWO,
        Kind::Number,
        power,
    ),
    Function::new(
        "mod(x, y)",
        "The remainder of a division, with the sign of x; the same as `%`.",
        TWO,
        Kind::Number,
        modulo,
    ),
    Function::new("least(x, …)", "The least of the values.", &[Kind::Any], Kind::Any, |arguments, env| {
        extreme(arguments, env, Ordering::Less)
    })
    .variadic(),
    Function::new(
        "greatest(x, …)",
        "The greatest of the values.",
        &[Kind::Any],
        Kind::Any,
        |arguments, env| extreme(arguments, env, Ordering::Greater),
    )
    .variadic(),
    Function::new(
        "clamp(x, low, high)",
        "x, but no less than low and no more than high.",
        &[Kind::Number; 3],
        Kind::Number,
        clamp,
    ),
    Function::new(
        "scale(x, in_low, in_high, out_low, out_high)",
        "Maps one range to another; values outside are mapped on the same line.",
        &[Kind::Number; 5],
        Kind::Number,
        scale,
    ),
    Function::new(
        "bitand(x, y)",
        "The bits that both integers have.",
        BITS,
        Kind::Integer,
        |arguments, env| bits(arguments, env, |a, b| a & b),
    ),
    Function::new(
        "bitor(x, y)",
        "The bits that one of the integers has.",
        BITS,
        Kind::Integer,
        |arguments, env| bits(arguments, env, |a, b| a | b),
    ),
    Function::new(
        "bitxor(x, y)",
        "The bits that only one of the integers has.",
        BITS,
        Kind::Integer,
        |arguments, env| bits(arguments, env, |a, b| a ^ b),
    ),
    Function::new(
        "bitshift(x, n)",
        "x shifted left by n bits, or right with its sign if n is negative.",
        BITS,
        Kind::Integer,
        |arguments, env| bits(arguments, env, shift),
    ),
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
