//! What closed windows become: HAVING, ORDER BY, LIMIT, and then publishes.

use std::cmp::Ordering;

use super::entry::Surroundings;
use crate::{
    expr::Env,
    output::Output,
    result,
    rule::{Rule, WindowPlan},
    value::Value,
    window::{Closed, read_key},
};

/// Publishes the results of closed windows; says how many publishes and errors there were.
pub(super) fn publish(
    rule: &Rule,
    plan: &WindowPlan,
    around: &Surroundings<'_>,
    index: u32,
    closed: &[Closed],
    output: &mut Output,
) -> (u64, u64) {
    let (mut published, mut errors) = (0, 0);
    // Windows that end together are ordered together.
    for together in
        closed.chunk_by(|left, right| (left.start_ms, left.end_ms) == (right.start_ms, right.end_ms))
    {
        let mut rows: Vec<(Vec<Value<'static>>, &Closed)> = Vec::new();
        for each in together {
            errors += look(plan, around, each, |env| {
                if plan.having.as_ref().is_some_and(|having| !having.is_true(env)) {
                    return;
                }
                if plan.order_by.is_empty() && plan.limit.is_none() {
                    published += result::publish(rule, index, true, env, output);
                } else {
                    let keys = plan.order_by.iter().map(|order| order.expr.eval(env).into_owned());
                    rows.push((keys.collect(), each));
                }
            });
        }
        // Stable: equal rows stay in the order of their keys.
        rows.sort_by(|(left, _), (right, _)| compare(plan, left, right));
        for (_, each) in rows.into_iter().take(plan.limit.unwrap_or(usize::MAX)) {
            errors += look(plan, around, each, |env| {
                published += result::publish(rule, index, true, env, output);
            });
        }
    }
    (published, errors)
}

/// Looks at one closed window; says how many evaluations failed.
fn look(plan: &WindowPlan, around: &Surroundings<'_>, closed: &Closed, with: impl FnOnce(&Env<'_>)) -> u64 {
    // The key was written by this program or checked when it was read.
    let groups = read_key(&closed.key, plan.keys.len()).unwrap_or_default();
    let aggregates = closed.accumulators.finish(&plan.aggregates, closed.end_ms);
    let env = Env {
        gateway: around.gateway,
        tables: Some(around.tables),
        groups: &groups,
        aggregates: &aggregates,
        window: (closed.start_ms, closed.end_ms),
        ..Env::default()
    };
    with(&env);
    env.errors.get()
}

fn compare(plan: &WindowPlan, left: &[Value<'_>], right: &[Value<'_>]) -> Ordering {
    let pairs = left.iter().zip(right).zip(&plan.order_by);
    pairs.fold(Ordering::Equal, |known, ((left, right), order)| {
        known.then_with(|| {
            let ordering =
                rank(left).cmp(&rank(right)).then_with(|| left.order(right).unwrap_or(Ordering::Equal));
            if order.descending { ordering.reverse() } else { ordering }
        })
    })
}

/// Values of different types are ordered by type; NULL is the least, as in most databases.
fn rank(value: &Value<'_>) -> u8 {
    match value {
        Value::Null => 0,
        Value::Float(float) if float.is_nan() => 1,
        Value::Bool(_) => 2,
        Value::Int(_) | Value::Float(_) => 3,
        Value::Text(_) => 4,
        Value::Bytes(_) => 5,
        Value::Array(_) => 6,
        Value::Object(_) => 7,
    }
}
