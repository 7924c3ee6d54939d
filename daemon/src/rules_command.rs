//! `tidegate rules`: checking, testing, explaining and trying rules, with no gateway and nothing sent.

mod bench;
mod replay;
mod test;
mod try_one;

use std::process::ExitCode;

use tidegate_config::{Config, Rule};

use crate::cli::{Rules, RulesCommand};
use crate::exit::{Exit, Fatal};
use crate::labels::Labels;
use crate::text::{self, Table};
use crate::{load, say};

/// Runs the command and gives its exit code.
pub(crate) fn run(rules: &Rules) -> Result<ExitCode, Fatal> {
    let config = load(&rules.config)?;
    match &rules.command {
        RulesCommand::Check => check(&config),
        RulesCommand::Test { rule } => test::test(config, rule.as_deref()),
        RulesCommand::Explain { rule } => explain(&config, rule.as_deref()),
        RulesCommand::Try(event) => try_one::try_one(config, event),
        RulesCommand::Replay(replay) => replay::replay(config, replay),
    }
}

fn check(config: &Config) -> Result<ExitCode, Fatal> {
    let mut table = Table::new(&["RULE", "TAKES", "REMEMBERS", "TESTS"]);
    for rule in &config.rules {
        let filters: Vec<&str> = rule.rule.filters().map(tidegate_rules::TopicFilter::as_str).collect();
        table.row([
            text::plain(rule.rule.name(), 64),
            text::plain(&filters.join(", "), 64),
            if rule.rule.has_state() { "yes" } else { "no" }.to_owned(),
            rule.tests.len().to_string(),
        ]);
    }
    say(&table.render());
    for table in &config.tables {
        say(&format!("table {}: {} rows\n", table.name, text::count(table.rows.len() as u64)));
    }
    Ok(ExitCode::SUCCESS)
}

fn explain(config: &Config, name: Option<&str>) -> Result<ExitCode, Fatal> {
    let labels = Labels::new(config);
    let mut is_first = true;
    for (number, rule) in chosen(&config.rules, name)? {
        if !std::mem::take(&mut is_first) {
            say("\n");
        }
        say(&format!("{}\n", rule.rule.name()));
        rule.rule.explain().lines().for_each(|line| say(&format!("  {line}\n")));
        for (index, label) in labels.of_rule(number).enumerate() {
            let priority = label.destination.priority.name();
            let to = match label.uplink() {
                Some(uplink) => format!("the uplink {uplink}, {priority} priority"),
                None => "subscribers of this gateway".to_owned(),
            };
            say(&format!("  destination {}: {to}, QoS {}\n", index + 1, label.destination.qos));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The rules of a name, or all, with their numbers.
fn chosen<'c>(rules: &'c [Rule], name: Option<&str>) -> Result<Vec<(usize, &'c Rule)>, Fatal> {
    let is_it = |rule: &Rule| name.is_none_or(|name| rule.rule.name() == name);
    let chosen: Vec<_> = rules.iter().enumerate().filter(|(_, rule)| is_it(rule)).collect();
    match name.filter(|_| chosen.is_empty()) {
        Some(name) => Err(unknown(name, rules)),
        None => Ok(chosen),
    }
}

fn unknown(name: &str, rules: &[Rule]) -> Fatal {
    let nearest = tidegate_rules::nearest(name, rules.iter().map(|rule| rule.rule.name()));
    let help = nearest.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default();
    Fatal::new(Exit::Usage, format!("there is no rule `{name}`{help}"))
}
