//! The plan of a rule in words.

use std::fmt::Write;

use crate::{
    field::{Path, Step},
    memory::MEMORY,
    rule::{Columns, Plan, Rule, WindowPlan},
    window::Shape,
};

impl Rule {
    /// What the rule does with an event, step by step, in words.
    pub fn explain(&self) -> String {
        let mut out = String::new();
        let plan = &self.plan;
        let mut step = |text: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{text}");
        };
        let filters: Vec<_> = plan.filters.iter().map(|filter| filter.filter.as_str()).collect();
        step(format!("takes events of {}", filters.join(", ")));
        let fields: Vec<_> = plan.fields.iter().map(shown).collect();
        match (fields.as_slice(), &plan.columns) {
            ([], Columns::Passthrough) => step("does not look into the payload".to_owned()),
            ([], Columns::Row(_)) => step("needs nothing of the payload".to_owned()),
            (fields, _) => step(format!("reads {}, in one pass over the payload", fields.join(", "))),
        }
        memory(plan).into_iter().for_each(&mut step);
        let conditions: Vec<_> = plan.conditions.iter().map(|condition| &*condition.text).collect();
        if !conditions.is_empty() {
            step(format!("goes on if {}", conditions.join(", then ")));
        }
        for gate in &plan.memory.gates {
            let kind = plan.memory.sites.get(*gate).map(|site| site.kind);
            let name = MEMORY.iter().find(|each| Some(each.kind) == kind).map_or("", |each| each.name);
            step(format!("goes on if {name} lets it pass, which then counts as passed"));
        }
        if let Some(window) = &plan.window {
            windows(self, window).into_iter().for_each(&mut step);
        }
        step(match &plan.columns {
            Columns::Passthrough => "passes the payload through untouched".to_owned(),
            Columns::Row(columns) => {
                let names: Vec<_> =
                    columns.iter().map(|column| column.name.as_deref().unwrap_or("*")).collect();
                format!("makes a row of {}", names.join(", "))
            }
        });
        step(format!("publishes it to {}", count(plan.results, "destination")));
        let (late, dead) = (plan.late().len(), plan.dead_letters().len());
        if late > 0 {
            step(format!("sends events that come late to {}", count(late, "destination")));
        }
        if dead > 0 {
            step(format!("sends events that fail to {}", count(dead, "destination")));
        }
        out
    }
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn shown(path: &Path) -> String {
    let mut out = String::new();
    for step in path {
        let _ = match step {
            Step::Member(name) if out.is_empty() => write!(out, "{name}"),
            Step::Member(name) => write!(out, ".{name}"),
            Step::Element(index) => write!(out, "[{index}]"),
        };
    }
    if out.is_empty() { "the whole payload".to_owned() } else { out }
}

fn memory(plan: &Plan) -> Vec<String> {
    let sites = plan.memory.sites.iter().filter(|site| !site.kind.is_gate());
    let names: Vec<_> = sites
        .filter_map(|site| MEMORY.iter().find(|each| each.kind == site.kind).map(|each| each.name))
        .collect();
    match names.is_empty() {
        true => Vec::new(),
        false => vec![format!("shows every event to {}, whether or not it goes on", names.join(", "))],
    }
}

fn windows(rule: &Rule, window: &WindowPlan) -> Vec<String> {
    let shape = match window.shape {
        Shape::Tumbling(tumbling) => format!("tumbling windows of {}", duration(tumbling.size_ms)),
        Shape::Hopping { size_ms, hop_ms } => {
            let panes = size_ms / window.shape.pane().size_ms;
            format!(
                "hopping windows of {}, one each {}, put together from {panes} parts",
                duration(size_ms),
                duration(hop_ms)
            )
        }
        Shape::Sliding { size_ms } => format!("the {} before each event", duration(size_ms)),
        Shape::Session { gap_ms, max_ms } => {
            format!(
                "sessions that end after {} of silence, or {} at most",
                duration(gap_ms),
                duration(max_ms)
            )
        }
        Shape::Rows { count: rows, step } => {
            format!("the last {rows} events, each time that {step} have come")
        }
    };
    let keys = match window.keys.len() {
        0 => "all together".to_owned(),
        keys => format!("grouped by {}", count(keys, "expression")),
    };
    let groups = count(rule.groups_max, "group");
    let aggregates = count(window.aggregates.len(), "aggregate");
    let mut lines = vec![format!("gathers {shape}, {keys} ({groups} at most), with {aggregates}")];
    lines.push(match window.event_clock {
        None => "goes by the time at which events arrive".to_owned(),
        Some(clock) => format!(
            "goes by the time that events say; they may come {} late, and after {} without events the clock goes on",
            duration(clock.lateness_ms),
            duration(clock.idle_ms)
        ),
    });
    if window.having.is_some() {
        lines.push("drops groups for which HAVING is not TRUE".to_owned());
    }
    match (window.order_by.is_empty(), window.limit) {
        (_, Some(limit)) => lines.push(format!("orders the groups that end together, and keeps {limit}")),
        (false, None) => lines.push("orders the groups that end together".to_owned()),
        (true, None) => {}
    }
    lines
}

fn duration(ms: i64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    match units.iter().find(|(unit, _)| ms >= *unit && ms % unit == 0) {
        Some((unit, name)) => format!("{}{name}", ms / unit),
        None => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use crate::rule::{EventTime, OnError, Options, Query, Rule, Source};

    #[test]
    fn a_plan_in_words() {
        let source = Source {
            name: "x",
            query: Query::Sql(
                "SELECT device, avg(temp) AS avg FROM 's/{device}/+', 't' WHERE regexp_match(a.b[0], 'x') AND temp > 3
                 AND changed(temp) AND throttle('1s') GROUP BY device, hopping('90s', '1m') HAVING avg > 1 LIMIT 5",
            ),
            max_groups: 1000,
            on_error: OnError::Null,
            destinations: &[],
        };
        let options = Options { time: Some(EventTime::new("ts")), ..Options::default() };
        let rule = Rule::compile_with(&source, &options).unwrap();
        let expected = "takes events of s/+/+, t\n\
            reads a.b[0], temp, ts, in one pass over the payload\n\
            shows every event to changed, whether or not it goes on\n\
            goes on if changed(temp), then temp > 3, then regexp_match(a.b[0], 'x')\n\
            goes on if throttle lets it pass, which then counts as passed\n\
            gathers hopping windows of 90s, one each 1m, put together from 3 parts, grouped by 1 expression (1000 groups \
            at most), with 1 aggregate\n\
            goes by the time that events say; they may come 0ms late, and after 1m without events the clock goes on\n\
            drops groups for which HAVING is not TRUE\n\
            orders the groups that end together, and keeps 5\n\
            makes a row of device, avg\n\
            publishes it to 0 destinations\n";
        assert_eq!(rule.explain(), expected);
        let route = Source { query: Query::Route("a/#"), ..source };
        let plain = Rule::compile(&route).unwrap().explain();
        assert!(
            plain.contains("does not look into the payload\npasses the payload through untouched"),
            "{plain}"
        );
    }
}
