//! `tidegate trace`: what the rules of the running gateway did with an event.

use std::process::ExitCode;

use serde_json::Value;

use crate::cli::Trace;
use crate::control::{Answer, Request, ask};
use crate::exit::{Exit, Fatal};
use crate::{buffer_command, say, tap_command, text};

/// Runs the command and gives its exit code.
pub(crate) fn run(trace: &Trace) -> Result<ExitCode, Fatal> {
    let dir = buffer_command::dir(&trace.place)?;
    match ask(&dir, &Request::Trace { id: trace.id.clone() }).map_err(tap_command::fatal)? {
        Answer::Found(story) if trace.json => say(&format!("{story:#}\n")),
        Answer::Found(story) => say(&shown(&story)),
        Answer::Failed(error) => return Err(Fatal::new(Exit::NoInput, error)),
        Answer::Done(_) => return Err(Fatal::new(Exit::Software, "the gateway's answer says nothing")),
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(story: &Value) -> String {
    let of = |value: &Value, name: &str| text::plain(value[name].as_str().unwrap_or_default(), 300);
    let list = |name: &str| story[name].as_array().map(Vec::as_slice).unwrap_or_default();
    let what = match story["topic"].as_str() {
        Some(topic) => format!("{} from {}", text::plain(topic, 300), of(story, "client_id")),
        None => "windows that ended".to_owned(),
    };
    let mut out = format!("{}  {}  {what}\n", of(story, "time"), of(story, "id"));
    for step in list("steps") {
        out += &format!("  {}: {}\n", of(step, "rule"), of(step, "did"));
    }
    for output in list("outputs") {
        let to = match output["uplink"].as_str() {
            Some(uplink) => format!("{uplink}/{}  {}", of(output, "priority"), of(output, "id")),
            None => "local".to_owned(),
        };
        out += &format!("  {} -> {to}  {}\n", of(output, "rule"), of(output, "topic"));
    }
    if list("steps").is_empty() && list("outputs").is_empty() {
        out += "  no rule and no route takes events of this topic\n";
    }
    if let Some(left_out @ 1..) = story["left_out"].as_u64() {
        out += &format!("  and {left_out} more\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::shown;

    #[test]
    fn a_story_for_people() {
        let story = json!({
            "id": "g-1", "time": "T", "topic": "a", "client_id": "c", "left_out": 2,
            "steps": [{ "rule": "r", "did": "put it into its windows" }],
            "outputs": [
                { "rule": "r", "id": "g-1", "uplink": "cloud", "priority": "high", "topic": "b" },
                { "rule": "r", "local": true, "topic": "c" },
            ],
        });
        let expected = "T  g-1  a from c\n  r: put it into its windows\n  r -> cloud/high  g-1  b\n  r -> local  c\n  and 2 more\n";
        assert_eq!(shown(&story), expected);
        let unrouted =
            json!({ "id": "g-1", "time": "T", "topic": "a", "client_id": "c", "steps": [], "outputs": [] });
        assert!(shown(&unrouted).contains("no rule and no route"));
    }
}
