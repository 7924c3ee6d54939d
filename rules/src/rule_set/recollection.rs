//! The memory functions of one rule, for one event.

use std::cell::OnceCell;

use super::journal;
use crate::{
    expr::{Env, Expr},
    memory::{Memory, MemoryPlan, Site},
    output::{Output, Step},
    rule::Rule,
    value::Value,
    window::put_key,
};

/// A place for what each memory function says.
pub(super) fn places(plan: &MemoryPlan) -> Vec<OnceCell<Value<'static>>> {
    plan.sites.iter().map(|_| OnceCell::new()).collect()
}

/// Shows an event to all memory functions but gates, and says how many keys were forgotten for that.
pub(super) fn remember(
    rule: &Rule,
    memory: &mut Memory,
    time_ms: i64,
    env: &Env<'_>,
    output: &mut Output,
) -> u64 {
    let plan = &rule.plan.memory;
    if plan.sites.len() == plan.gates.len() {
        return 0;
    }
    let mut forgotten = 0;
    journal::put_memory(rule, time_ms, &mut output.journal, |journal| {
        for (site, place) in plan.sites.iter().zip(env.memory) {
            if site.kind.is_gate() {
                continue;
            }
            let (key, arguments) = (key_of(plan, site, env), arguments_of(site, env));
            journal::put_site(site, &key, &arguments, journal);
            let (outcome, forgot) = memory.update(plan, site, time_ms, &key, &arguments);
            forgotten += u64::from(forgot);
            let _ = place.set(env.settle(outcome));
        }
    });
    forgotten
}

/// Whether all gates let an event pass that has passed all else. The first that does not is the last to see it.
pub(super) fn passes(
    rule: &Rule,
    memory: &mut Memory,
    time_ms: i64,
    index: u32,
    env: &Env<'_>,
    output: &mut Output,
) -> bool {
    let plan = &rule.plan.memory;
    let mut open = Vec::new();
    for number in &plan.gates {
        let Some(site) = plan.sites.get(*number) else { continue };
        let (key, arguments) = (key_of(plan, site, env), arguments_of(site, env));
        if !memory.is_open(site, time_ms, &key, &arguments) {
            output.trace(index, || Step::HeldBack);
            return false;
        }
        open.push((*number, site, key, arguments));
    }
    for (number, site, key, arguments) in open {
        journal::put_gate(rule, time_ms, (number, site), &key, &arguments, &mut output.journal);
        let _ = memory.update(plan, site, time_ms, &key, &arguments);
    }
    true
}

fn key_of(plan: &MemoryPlan, site: &Site, env: &Env<'_>) -> Vec<u8> {
    let mut key = Vec::new();
    let exprs: &[Expr] = plan.partitions.get(site.partition).map_or(&[], |partition| &partition.key);
    exprs.iter().for_each(|expr| put_key(&expr.eval(env), &mut key));
    key
}

fn arguments_of<'v>(site: &'v Site, env: &Env<'v>) -> Vec<Value<'v>> {
    site.arguments.iter().map(|argument| argument.eval(env)).collect()
}
