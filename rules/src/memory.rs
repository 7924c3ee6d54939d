//! Memory functions: what a value was before, how fast it changes, whether it is unusual.
//!
//! They see each event of the rule's topics, in order, whether or not it passes WHERE. Only the gates, `throttle` and
//! `dedup`, look at nothing but what has passed all else. State is kept for each partition: per topic, or as OVER says.

mod cell;

use cell::Cell;
pub(crate) use cell::MemoryKind;

use crate::{
    expr::Expr,
    function::name_of,
    state::{Reader, StateError, put_bytes, put_count},
    value::{Kind, Outcome, Value},
    window::{Group, Groups, read_key},
};

/// A memory function as rules call it.
#[derive(Debug)]
pub(crate) struct Catalogued {
    pub(crate) name: &'static str,
    pub(crate) signature: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) kind: MemoryKind,
    /// The kinds of its arguments; the last one repeats if it is variadic.
    pub(crate) parameters: &'static [Parameter],
    pub(crate) required: usize,
    pub(crate) variadic: bool,
    pub(crate) result: Kind,
}

/// What an argument has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parameter {
    Of(Kind),
    /// A duration such as '10s', written in the rule.
    Duration,
    /// A whole number from 1 to 1,000, written in the rule.
    Count,
    /// A number above 0 and up to 1, written in the rule.
    Share,
}

const fn entry(
    kind: MemoryKind,
    signature: &'static str,
    parameters: &'static [Parameter],
    result: Kind,
    doc: &'static str,
) -> Catalogued {
    let (name, required) = (name_of(signature), parameters.len());
    Catalogued { name, signature, doc, kind, parameters, required, variadic: false, result }
}

impl Catalogued {
    const fn optional(mut self) -> Self {
        self.required -= 1;
        self
    }

    const fn variadic(mut self) -> Self {
        self.variadic = true;
        self
    }

    /// What the argument with this index has to be.
    pub(crate) fn parameter(&self, index: usize) -> Option<Parameter> {
        let repeated = self.parameters.last().filter(|_| self.variadic);
        self.parameters.get(index).or(repeated).copied()
    }
}

const ANY: Parameter = Parameter::Of(Kind::Any);
const NUMBER: Parameter = Parameter::Of(Kind::Number);
const BOOLEAN: Parameter = Parameter::Of(Kind::Boolean);

pub(crate) const MEMORY: &[Catalogued] = &[
    entry(
        MemoryKind::Lag,
        "lag(x[, n])",
        &[ANY, Parameter::Count],
        Kind::Any,
        "The value before, or n values before; NULL as long as there is none.",
    )
    .optional(),
    entry(
        MemoryKind::Latest,
        "latest(x[, default])",
        &[ANY, ANY],
        Kind::Any,
        "The value, or where it is NULL the last one that was not; the default as long as there is none.",
    )
    .optional(),
    entry(MemoryKind::Delta, "delta(x)", &[NUMBER], Kind::Number, "The difference from the value before."),
    entry(MemoryKind::Rate, "rate(x)", &[NUMBER], Kind::Number, "The difference from the value before, per second."),
    entry(
        MemoryKind::Changed,
        "changed(x[, deadband])",
        &[ANY, NUMBER],
        Kind::Boolean,
        "Whether the value differs, by more than the deadband, from the last one for which this was TRUE. TRUE for the \
         first.",
    )
    .optional(),
    entry(
        MemoryKind::ChangedAny,
        "changed_any(a, b, …)",
        &[ANY],
        Kind::Boolean,
        "Whether one of the values differs from the value before. TRUE for the first; NULL is a value like others.",
    )
    .variadic(),
    entry(MemoryKind::SinceChange, "since_change(x)", &[ANY], Kind::Integer, "For how many ms the value has been the same."),
    entry(
        MemoryKind::Hysteresis,
        "hysteresis(x, on, off)",
        &[NUMBER, NUMBER, NUMBER],
        Kind::Boolean,
        "TRUE from on up until off down; with on below off it is the other way round.",
    ),
    entry(
        MemoryKind::Debounce,
        "debounce(condition, '5s')",
        &[BOOLEAN, Parameter::Duration],
        Kind::Boolean,
        "Whether the condition has been TRUE without interruption for so long.",
    ),
    entry(
        MemoryKind::Throttle,
        "throttle('10s')",
        &[Parameter::Duration],
        Kind::Boolean,
        "Passes one event in that time. Stands on its own between the ANDs of WHERE, and looks only at what passes the rest.",
    ),
    entry(
        MemoryKind::Dedup,
        "dedup(key, '1m')",
        &[ANY, Parameter::Duration],
        Kind::Boolean,
        "Passes events whose key did not pass in that time; 1,000 keys are remembered. Stands where `throttle` does.",
    ),
    entry(
        MemoryKind::CountTrue,
        "count_true(condition)",
        &[BOOLEAN],
        Kind::Integer,
        "How many times in a row the condition has been TRUE.",
    ),
    entry(
        MemoryKind::Ewma,
        "ewma(x, alpha)",
        &[NUMBER, Parameter::Share],
        Kind::Number,
        "The exponentially weighted mean: alpha is the weight of the newest value.",
    ),
    entry(
        MemoryKind::Zscore,
        "zscore(x, alpha)",
        &[NUMBER, Parameter::Share],
        Kind::Number,
        "By how many standard deviations the value differs from the exponentially weighted mean of those before.",
    ),
    entry(MemoryKind::RunningMin, "running_min(x)", &[ANY], Kind::Any, "The least value so far."),
    entry(MemoryKind::RunningMax, "running_max(x)", &[ANY], Kind::Any, "The greatest value so far."),
];

/// The memory function of a name in lower case.
pub(crate) fn find(name: &str) -> Option<&'static Catalogued> {
    MEMORY.iter().find(|each| each.name == name)
}

/// The memory functions of a rule.
#[derive(Debug, Default)]
pub(crate) struct MemoryPlan {
    pub(crate) sites: Vec<Site>,
    pub(crate) partitions: Vec<Partition>,
    /// Sites of gates, in the order in which they stand.
    pub(crate) gates: Vec<usize>,
}

/// One call of a memory function.
#[derive(Debug, PartialEq)]
pub(crate) struct Site {
    pub(crate) kind: MemoryKind,
    pub(crate) arguments: Box<[Expr]>,
    pub(crate) partition: usize,
    /// Which of the partition's cells is its own.
    pub(crate) cell: usize,
}

/// What state is kept by.
#[derive(Debug, PartialEq)]
pub(crate) struct Partition {
    pub(crate) key: Box<[Expr]>,
    /// The sites that are kept by it.
    pub(crate) sites: Vec<usize>,
}

/// What the memory functions of a rule remember.
#[derive(Debug)]
pub(crate) struct Memory {
    groups_max: usize,
    /// For each partition, the cells of its keys.
    partitions: Vec<Groups<Box<[Cell]>>>,
}

impl Memory {
    pub(crate) fn new(plan: &MemoryPlan, groups_max: usize) -> Self {
        Self {
            groups_max: groups_max.max(1),
            partitions: plan.partitions.iter().map(|_| Groups::default()).collect(),
        }
    }

    /// Shows a site the arguments of an event. Says whether another key was forgotten for it.
    pub(crate) fn update(
        &mut self,
        plan: &MemoryPlan,
        site: &Site,
        time_ms: i64,
        key: &[u8],
        arguments: &[Value<'_>],
    ) -> (Outcome<'static>, bool) {
        let Some(groups) = self.partitions.get_mut(site.partition) else { return (Ok(Value::Null), false) };
        let mut forgot = false;
        let slot = groups.find(0, key).unwrap_or_else(|| {
            forgot = groups.len() >= self.groups_max && groups.pop_oldest().is_some();
            groups.insert(Group::new(0, key.into(), fresh(plan, site.partition)))
        });
        let cell = groups.touch(slot).and_then(|group| group.content.get_mut(site.cell));
        let outcome = cell.map_or(Ok(Value::Null), |cell| cell.update(site.kind, time_ms, arguments));
        (outcome, forgot)
    }

    /// Whether a gate lets an event pass, without taking note of it.
    pub(crate) fn is_open(&self, site: &Site, time_ms: i64, key: &[u8], arguments: &[Value<'_>]) -> bool {
        let Some(groups) = self.partitions.get(site.partition) else { return true };
        let group = groups.find(0, key).and_then(|slot| groups.group(slot));
        let cell = group.and_then(|group| group.content.get(site.cell));
        cell.is_none_or(|cell| cell.is_open(time_ms, arguments))
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        for groups in &self.partitions {
            put_count(groups.len() as u64, out);
            for group in groups.oldest_first() {
                put_bytes(&group.key, out);
                group.content.iter().for_each(|cell| cell.write(out));
            }
        }
    }

    pub(crate) fn read(
        plan: &MemoryPlan,
        groups_max: usize,
        reader: &mut Reader<'_>,
    ) -> Result<Self, StateError> {
        let mut memory = Self::new(plan, groups_max);
        for (partition, groups) in plan.partitions.iter().zip(&mut memory.partitions) {
            for _ in 0..reader.count()? {
                let key = reader.bytes()?;
                read_key(key, partition.key.len()).map_err(|_| reader.damaged())?;
                if groups.find(0, key).is_some() {
                    return Err(reader.damaged());
                }
                let kinds = partition.sites.iter().filter_map(|site| plan.sites.get(*site));
                let cells = kinds.map(|site| Cell::read(site.kind, reader)).collect::<Result<_, _>>()?;
                groups.insert(Group::new(0, key.into(), cells));
            }
        }
        Ok(memory)
    }
}

fn fresh(plan: &MemoryPlan, partition: usize) -> Box<[Cell]> {
    let sites = plan.partitions.get(partition).map_or(&[][..], |partition| &partition.sites);
    sites.iter().filter_map(|site| plan.sites.get(*site)).map(|site| Cell::new(site.kind)).collect()
}

#[cfg(test)]
mod tests;
