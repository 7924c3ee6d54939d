//! `[[rule.test]]`: events with times, and what is to come of them.

use std::fmt::Write as _;
use std::time::Duration;

use super::Input;
use crate::files::Place;
use crate::mistake::Mistake;
use crate::section::Section;
use crate::tree::{Node, Value};
use crate::{Expected, Given, RuleTest};

/// The longest time a test may pretend to last: ten years.
const TIME_MAX: Duration = Duration::from_secs(3650 * 86_400);

/// Reads a test.
pub(super) fn test(input: &Input<'_>, node: &Node, mistakes: &mut Vec<Mistake>) -> Option<RuleTest> {
    let mut section = Section::open(node, "test", mistakes)?;
    let name = section.text("name").map(|name| name.value.to_owned()).unwrap_or_default();
    let advance = section.duration("advance", Duration::ZERO..=TIME_MAX).unwrap_or_default();
    section.require("given", "write `given = [{ at = \"0s\", topic = \"…\", payload = { … } }]`");
    section.require("expect", "write `expect = [{ topic = \"…\", payload = { … } }]`, or `expect = []`");
    let given = section.tables("given").iter().filter_map(|node| given(node, section.mistakes)).collect();
    let expect =
        section.tables("expect").iter().filter_map(|node| expected(node, section.mistakes)).collect();
    section.finish();
    Some(RuleTest { name, place: line_of(input, &node.place), given, advance, expect })
}

fn line_of(input: &Input<'_>, place: &Place) -> String {
    let start = place.span.as_ref().map_or(0, |span| span.start);
    let before = input.files.text(place.file).get(..start).unwrap_or_default();
    format!("{}:{}", input.files.path(place.file).display(), 1 + before.matches('\n').count())
}

fn given(node: &Node, mistakes: &mut Vec<Mistake>) -> Option<Given> {
    let mut section = Section::open(node, "given", mistakes)?;
    let at = section.duration("at", Duration::ZERO..=TIME_MAX).unwrap_or_default();
    section.require("topic", "write `topic = \"…\"`");
    let topic = topic(&mut section);
    let payload = payload(&mut section, |text| text.as_bytes().to_vec());
    let binary = hex(&mut section);
    section.finish();
    Some(Given { at, topic: topic?, payload: binary.or(payload).unwrap_or_default() })
}

fn expected(node: &Node, mistakes: &mut Vec<Mistake>) -> Option<Expected> {
    let mut section = Section::open(node, "expect", mistakes)?;
    let topic = topic(&mut section);
    // JSON may be written as text too; text that is none stands for itself.
    let payload = payload(&mut section, |text| match serde_json::from_str::<serde_json::Value>(text) {
        Ok(_) => text.as_bytes().to_vec(),
        Err(_) => serde_json::Value::from(text).to_string().into_bytes(),
    });
    section.finish();
    Some(Expected { topic, payload })
}

fn topic(section: &mut Section<'_, '_>) -> Option<String> {
    let topic = section.text("topic")?;
    match tidegate_rules::check_topic_name(topic.value) {
        Ok(()) => Some(topic.value.to_owned()),
        Err(error) => {
            section.mistakes.push(Mistake::error(topic.place, error.to_string()));
            None
        }
    }
}

/// Text is for `text` to understand; all else is JSON.
fn payload(section: &mut Section<'_, '_>, text: impl Fn(&str) -> Vec<u8>) -> Option<Vec<u8>> {
    let node = section.take("payload")?;
    if let Value::Text(value) = &node.value {
        return Some(text(value));
    }
    let mut json = String::new();
    match write_json(node, &mut json) {
        Ok(()) => Some(json.into_bytes()),
        Err(node) => {
            let message = format!("{} is nothing that JSON has", node.value.kind());
            section.mistakes.push(Mistake::error(&node.place, message).help("write it as a string"));
            None
        }
    }
}

/// Gives back what cannot be written.
fn write_json<'n>(node: &'n Node, out: &mut String) -> Result<(), &'n Node> {
    // Writing to a String cannot fail.
    let _ = match &node.value {
        Value::Text(text) => write!(out, "{}", serde_json::Value::from(text.as_str())),
        Value::Integer(Some(integer)) => write!(out, "{integer}"),
        Value::Float(float) => write!(out, "{}", serde_json::Value::from(*float)),
        Value::Flag(flag) => write!(out, "{flag}"),
        Value::Array(nodes) => {
            for (index, node) in nodes.iter().enumerate() {
                out.push(if index == 0 { '[' } else { ',' });
                write_json(node, out)?;
            }
            out.write_str(if nodes.is_empty() { "[]" } else { "]" })
        }
        Value::Table(table) => {
            for (index, (name, entry)) in table.iter().enumerate() {
                let _ = write!(
                    out,
                    "{}{}:",
                    if index == 0 { '{' } else { ',' },
                    serde_json::Value::from(name.as_str())
                );
                write_json(&entry.node, out)?;
            }
            out.write_str(if table.is_empty() { "{}" } else { "}" })
        }
        Value::Integer(None) | Value::Other(_) => return Err(node),
    };
    Ok(())
}

/// Takes `payload_hex`, for what devices send in binary.
fn hex(section: &mut Section<'_, '_>) -> Option<Vec<u8>> {
    let text = section.text("payload_hex")?;
    let digits: Option<Vec<u8>> = text
        .value
        .chars()
        .filter(|c| !c.is_ascii_whitespace())
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let bytes = digits.filter(|digits| digits.len().is_multiple_of(2));
    if bytes.is_none() {
        let mistake = Mistake::error(text.place, "`payload_hex` has to be pairs of hexadecimal digits");
        section.mistakes.push(mistake.help("as in \"01 ff\""));
    }
    Some(bytes?.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}
