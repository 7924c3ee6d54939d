//! `[[rule.test]]`: checked for its shape. What it says is for whoever runs the tests of rules.

use std::time::Duration;

use crate::mistake::Mistake;
use crate::section::Section;
use crate::tree::Node;

/// The longest time a test may pretend to last: ten years.
const TIME_MAX: Duration = Duration::from_secs(3650 * 86_400);

/// Reports what is wrong with the shape of a test.
pub(super) fn check(node: &Node, mistakes: &mut Vec<Mistake>) {
    let Some(mut section) = Section::open(node, "test", mistakes) else { return };
    section.text("name");
    section.duration("advance", Duration::ZERO..=TIME_MAX);
    section.require("given", "write `given = [{ at = \"0s\", topic = \"…\", payload = { … } }]`");
    section.require("expect", "write `expect = [{ topic = \"…\", payload = { … } }]`");
    for node in section.tables("given") {
        check_event(node, "given", section.mistakes);
    }
    for node in section.tables("expect") {
        check_event(node, "expect", section.mistakes);
    }
    section.finish();
}

fn check_event(node: &Node, name: &str, mistakes: &mut Vec<Mistake>) {
    let Some(mut section) = Section::open(node, name, mistakes) else { return };
    if name == "given" {
        section.duration("at", Duration::ZERO..=TIME_MAX);
    }
    if let Some(topic) = section.text("topic")
        && let Err(error) = tidegate_rules::check_topic_name(topic.value)
    {
        section.mistakes.push(Mistake::error(topic.place, error.to_string()));
    }
    // A payload may be anything.
    section.take("payload");
    section.finish();
}
