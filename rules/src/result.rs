//! From a rule and what it looks at to publishes.

use std::ops::Range;

use crate::{
    encode::{self, Row},
    expr::Env,
    output::{Output, Payload, Publish, Step, Topic},
    rule::{Column, Columns, Destination, Encoding, OnError, Rule},
    template::{write_payload, write_topic},
    value::{Fault, Value},
};

/// Evaluates the columns and appends a publish for each destination; says how many. Errors are counted in `env`.
pub(crate) fn publish(rule: &Rule, index: u32, from_window: bool, env: &Env<'_>, output: &mut Output) -> u64 {
    let columns = match &rule.plan.columns {
        Columns::Passthrough => Vec::new(),
        Columns::Row(columns) => columns.iter().map(|column| value_of(column, env)).collect(),
    };
    if rule.on_error != OnError::Null && env.errors.get() > 0 {
        output.trace(index, || Step::Dropped);
        return 0;
    }
    let publish = Publishing { rule, index, from_window, columns: &rule.plan.columns, values: &columns };
    publish.to(0..rule.plan.results, env, output)
}

/// Sends the event itself to destinations that are not for results.
pub(crate) fn publish_event(
    rule: &Rule,
    index: u32,
    destinations: Range<usize>,
    env: &Env<'_>,
    output: &mut Output,
) {
    let publish = Publishing { rule, index, from_window: false, columns: &Columns::Passthrough, values: &[] };
    publish.to(destinations, env, output);
}

struct Publishing<'p> {
    rule: &'p Rule,
    index: u32,
    from_window: bool,
    columns: &'p Columns,
    values: &'p [Value<'p>],
}

impl Publishing<'_> {
    fn to(&self, destinations: Range<usize>, env: &Env<'_>, output: &mut Output) -> u64 {
        let mut published = 0;
        let plans = (0..).zip(&self.rule.plan.destinations).skip(destinations.start).take(destinations.len());
        for (destination, plan) in plans {
            let written = topic(plan, self.values, env)
                .and_then(|topic| Ok((topic, payload(self.columns, plan, self.values, env)?)));
            // What an expression in a template got wrong is counted already.
            match written {
                Ok((topic, payload)) => {
                    let (rule, from_window) = (self.index, self.from_window);
                    output.publishes.push(Publish { rule, destination, topic, payload, from_window });
                    published += 1;
                }
                Err(_) => env.count_error(),
            }
        }
        output.trace(self.index, || Step::Published(published));
        published
    }
}

fn value_of<'v>(column: &'v Column, env: &Env<'v>) -> Value<'v> {
    let value = column.expr.eval(env);
    if column.name.is_none() && !matches!(value, Value::Object(_)) {
        // `*` of something that has no members; a payload that is no payload at all is counted elsewhere.
        if !value.is_null() {
            env.count_error();
        }
        return Value::Null;
    }
    value
}

fn topic(plan: &Destination, columns: &[Value<'_>], env: &Env<'_>) -> Result<Topic, Fault> {
    plan.topic.as_ref().map_or(Ok(Topic::Input), |parts| write_topic(parts, columns, env).map(Topic::Owned))
}

fn payload(
    columns: &Columns,
    plan: &Destination,
    values: &[Value<'_>],
    env: &Env<'_>,
) -> Result<Payload, Fault> {
    if let Some(parts) = &plan.payload {
        return write_payload(parts, plan.encoding == Encoding::Json, values, env).map(Payload::Owned);
    }
    let columns = match columns {
        Columns::Passthrough => return Ok(Payload::Input),
        Columns::Row(columns) => columns,
    };
    let mut out = Vec::new();
    match plan.encoding {
        Encoding::Json => encode::json(&row(columns, values), &mut out)?,
        Encoding::Cbor => encode::cbor(&row(columns, values), &mut out)?,
        Encoding::Raw => match values.first() {
            Some(Value::Bytes(bytes)) => out.extend_from_slice(bytes),
            Some(value) => out.extend_from_slice(value.to_text()?.as_bytes()),
            None => return Err(Fault::Null),
        },
    }
    Ok(Payload::Owned(out))
}

/// Names and values, with the members of `*` in its place.
fn row<'r>(columns: &'r [Column], values: &'r [Value<'r>]) -> Row<'r> {
    let mut entries: Vec<(&str, &Value<'_>)> = Vec::new();
    for (column, value) in columns.iter().zip(values) {
        match (&column.name, value) {
            (Some(name), value) => entries.push((name, value)),
            (None, Value::Object(members)) => {
                let named = |name: &str| columns.iter().any(|each| each.name.as_deref() == Some(name));
                let excepted = |name: &str| column.except.iter().any(|except| except == name);
                let kept = members.iter().filter(|(name, _)| !named(name) && !excepted(name));
                entries.extend(kept.map(|(name, value)| (&**name, value)));
            }
            (None, _) => {}
        }
    }
    Row(entries)
}
