//! Functions of points in time, which are milliseconds since 1970-01-01 UTC. Days begin in UTC unless a time zone of the
//! IANA database is named; the database is part of the program.

use jiff::{
    RoundMode, Timestamp, Unit, Zoned, ZonedRound,
    fmt::strtime::{self, BrokenDownTime},
    tz::TimeZone,
};

use super::{Function, optional, text_at};
use crate::{
    expr::{Env, Expr},
    value::{Fault, Kind, Outcome, Value},
};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new(
        "format_time(ms[, 'format'[, 'zone']])",
        "A time as text: as in `2024-02-29T12:00:00Z`, or by the letters of strftime.",
        &[Kind::Number, Kind::Text, Kind::Text],
        Kind::Text,
        format_time,
    )
    .optional(2)
    .check(|arguments| check_format(arguments, 1).and_then(|()| check_zone(arguments, 2))),
    Function::new(
        "parse_time(text[, 'format'[, 'zone']])",
        "The time that a text says, in ms: as in `2024-02-29T12:00:00Z`, or by the letters of strptime.",
        &[Kind::Text; 3],
        Kind::Integer,
        parse_time,
    )
    .optional(2)
    .check(|arguments| check_zone(arguments, 2)),
    Function::new(
        "date_trunc('unit', ms[, 'zone'])",
        "The start of the second, minute, hour, day, week (Monday), month, quarter or year, in ms.",
        &[Kind::Text, Kind::Number, Kind::Text],
        Kind::Integer,
        date_trunc,
    )
    .optional(1)
    .check(|arguments| check_unit(arguments).and_then(|()| check_zone(arguments, 2))),
    Function::new("hour_of_day(ms[, 'zone'])", "0 to 23.", MS_AND_ZONE, Kind::Integer, |arguments, env| {
        Ok(Value::Int(zoned_at(arguments, 0, 1, env)?.hour().into()))
    })
    .optional(1)
    .check(|arguments| check_zone(arguments, 1)),
    Function::new(
        "day_of_week(ms[, 'zone'])",
        "1 (Monday) to 7 (Sunday).",
        MS_AND_ZONE,
        Kind::Integer,
        |arguments, env| {
            Ok(Value::Int(zoned_at(arguments, 0, 1, env)?.weekday().to_monday_one_offset().into()))
        },
    )
    .optional(1)
    .check(|arguments| check_zone(arguments, 1)),
];

const MS_AND_ZONE: &[Kind] = &[Kind::Number, Kind::Text];

const UNITS: &[&str] = &["second", "minute", "hour", "day", "week", "month", "quarter", "year"];

fn zone(name: &str) -> Option<TimeZone> {
    if name.eq_ignore_ascii_case("UTC") || name == "Z" {
        Some(TimeZone::UTC)
    } else {
        TimeZone::get(name).ok()
    }
}

fn zone_at(arguments: &[Expr], index: usize, env: &Env<'_>) -> Result<TimeZone, Fault> {
    optional(arguments, index, TimeZone::UTC, || zone(&text_at(arguments, index, env)?).ok_or(Fault::Error))
}

fn zoned_at(arguments: &[Expr], ms: usize, zone: usize, env: &Env<'_>) -> Result<Zoned, Fault> {
    let ms = match super::number_at(arguments, ms, env)? {
        crate::number::Number::Int(ms) => ms,
        crate::number::Number::Float(ms) => crate::number::truncate(ms.floor()).ok_or(Fault::Error)?,
    };
    let timestamp = Timestamp::from_millisecond(ms).map_err(|_| Fault::Error)?;
    Ok(timestamp.to_zoned(zone_at(arguments, zone, env)?))
}

fn format_time<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    let zoned = zoned_at(arguments, 0, 2, env)?;
    if arguments.len() < 2 {
        return Ok(Value::owned_text(zoned.timestamp().to_string()));
    }
    strtime::format(&*text_at(arguments, 1, env)?, &zoned).map(Value::owned_text).map_err(|_| Fault::Error)
}

/// Without an offset or a zone in the text, it is a time in the zone. Without a time of day it is midnight.
fn parse_time<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    let text = text_at(arguments, 0, env)?;
    let timestamp = match arguments.len() {
        1 => return parse_rfc_3339(&text).map(Value::Int).ok_or(Fault::Error),
        _ => {
            let zone = zone_at(arguments, 2, env)?;
            let parsed = strtime::parse(&*text_at(arguments, 1, env)?, &*text);
            parsed.and_then(|parsed| timestamp_of(&parsed, zone))
        }
    };
    timestamp.map(|timestamp| Value::Int(timestamp.as_millisecond())).map_err(|_| Fault::Error)
}

/// The time of a text as in `2024-02-29T12:00:00Z`, in ms.
pub(crate) fn parse_rfc_3339(text: &str) -> Option<i64> {
    text.trim().parse::<Timestamp>().ok().map(|timestamp| timestamp.as_millisecond())
}

fn timestamp_of(parsed: &BrokenDownTime, zone: TimeZone) -> Result<Timestamp, jiff::Error> {
    if let Ok(timestamp) = parsed.to_timestamp() {
        return Ok(timestamp);
    }
    let time = parsed.to_time().unwrap_or_else(|_| jiff::civil::Time::midnight());
    Ok(parsed.to_date()?.to_datetime(time).to_zoned(zone)?.timestamp())
}

fn date_trunc<'v>(arguments: &'v [Expr], env: &Env<'v>) -> Outcome<'v> {
    let unit = text_at(arguments, 0, env)?;
    let zoned = zoned_at(arguments, 1, 2, env)?;
    let start = start_of(&unit, &zoned).ok_or(Fault::Error)?;
    Ok(Value::Int(start.timestamp().as_millisecond()))
}

fn start_of(unit: &str, zoned: &Zoned) -> Option<Zoned> {
    let floor = |unit| zoned.round(ZonedRound::new().smallest(unit).mode(RoundMode::Floor)).ok();
    let date = zoned.date();
    let first = match unit.to_ascii_lowercase().as_str() {
        "second" => return floor(Unit::Second),
        "minute" => return floor(Unit::Minute),
        "hour" => return floor(Unit::Hour),
        "day" => date,
        "week" => {
            let days = i64::from(date.weekday().to_monday_zero_offset());
            date.checked_sub(jiff::Span::new().days(days)).ok()?
        }
        "month" => date.first_of_month(),
        "quarter" => {
            let month = (date.month() - 1) / 3 * 3 + 1;
            date.with().month(month).day(1).build().ok()?
        }
        "year" => date.first_of_year(),
        _ => return None,
    };
    zoned.time_zone().to_ambiguous_zoned(first.to_datetime(jiff::civil::Time::midnight())).compatible().ok()
}

fn constant(arguments: &[Expr], index: usize) -> Option<&str> {
    match arguments.get(index)? {
        Expr::Constant(Value::Text(text)) => Some(text),
        _ => None,
    }
}

fn check_zone(arguments: &[Expr], index: usize) -> Result<(), (usize, String)> {
    match constant(arguments, index) {
        Some(name) if zone(name).is_none() => {
            Err((index, format!("unknown time zone `{name}`: use a name such as Europe/Berlin")))
        }
        _ => Ok(()),
    }
}

fn check_format(arguments: &[Expr], index: usize) -> Result<(), (usize, String)> {
    let epoch = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
    match constant(arguments, index).map(|format| strtime::format(format, &epoch)) {
        Some(Err(error)) => Err((index, format!("not a format of times: {error}"))),
        _ => Ok(()),
    }
}

fn check_unit(arguments: &[Expr]) -> Result<(), (usize, String)> {
    match constant(arguments, 0) {
        Some(unit) if !UNITS.iter().any(|each| unit.eq_ignore_ascii_case(each)) => {
            Err((0, format!("unknown unit `{unit}`: the units are {}", UNITS.join(", "))))
        }
        _ => Ok(()),
    }
}
