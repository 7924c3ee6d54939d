//! `tidegate rules test`: the tests that stand beside the rules.

use std::process::ExitCode;

use tidegate_config::Config;
use tidegate_rules::RuleSet;

use super::chosen;
use crate::exit::Fatal;
use crate::{say, tables};

pub(super) fn test(config: Config, name: Option<&str>) -> Result<ExitCode, Fatal> {
    chosen(&config.rules, name)?;
    let looked_up = tables::together(&config.tables);
    let (mut passed, mut failed) = (0, 0);
    for rule in config.rules.into_iter().filter(|rule| !rule.tests.is_empty()) {
        if name.is_some_and(|name| rule.rule.name() != name) {
            continue;
        }
        say(&format!("{}\n", rule.rule.name()));
        // A test is of its rule alone: others that take the same events do not disturb it.
        let mut rules = RuleSet::new(&config.gateway.id, vec![rule.rule]);
        rules.set_tables(looked_up.clone());
        for test in &rule.tests {
            let title = if test.name.is_empty() { "(no name)" } else { &test.name };
            match test.run(&mut rules) {
                Ok(()) => {
                    passed += 1;
                    say(&format!("  ok      {title}\n"));
                }
                Err(difference) => {
                    failed += 1;
                    say(&format!("  FAILED  {title}, {}\n", test.place));
                    difference.to_string().lines().for_each(|line| say(&format!("          {line}\n")));
                }
            }
        }
    }
    if failed > 0 {
        say("          (- expected and missing, + not expected, ! the places that differ)\n");
    }
    say(&format!("{passed} passed, {failed} failed\n"));
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
