//! `tidegate tap`: events of the running gateway, before and after the rules.

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use serde_json::Value;

use crate::cli::Tap;
use crate::complain;
use crate::control::{Answer, ClientError, Request, follow};
use crate::exit::{Exit, Fatal};
use crate::{buffer_command, text};

/// How much of a payload a terminal is shown.
const PAYLOAD_CHARS_MAX: usize = 120;

/// Runs the command and gives its exit code.
pub(crate) fn run(tap: &Tap) -> Result<ExitCode, Fatal> {
    tidegate_rules::TopicFilter::parse(&tap.filter)
        .map_err(|error| Fatal::new(Exit::Usage, format!("`{}`: {error}", tap.filter)))?;
    let dir = buffer_command::dir(&tap.place)?;
    let file = tap.out.as_ref().map(|path| {
        File::create_new(path).map_err(|error| Fatal::new(Exit::Io, format!("{}: {error}", path.display())))
    });
    let mut file = file.transpose()?;
    let (answer, lines) = follow(&dir, &Request::Tap { filter: tap.filter.clone() }).map_err(fatal)?;
    if let Answer::Failed(error) = answer {
        return Err(Fatal::new(Exit::Unavailable, error));
    }
    if file.is_some() {
        complain("capturing; Ctrl-C ends it\n");
    }
    let mut left = tap.limit.unwrap_or(u64::MAX);
    for line in lines.lines() {
        let line = line.map_err(|error| Fatal::new(Exit::Io, format!("the gateway's lines: {error}")))?;
        let value: Value = serde_json::from_str(&line).map_err(|_| fatal(ClientError::Unreadable))?;
        if value.get("stage").is_some_and(|stage| stage == "in") {
            if left == 0 {
                return Ok(ExitCode::SUCCESS);
            }
            left -= 1;
        }
        let written = match &mut file {
            Some(file) => file.write_all(format!("{line}\n").as_bytes()),
            None if tap.json => io::stdout().write_all(format!("{line}\n").as_bytes()),
            None => io::stdout().write_all(shown(&value).as_bytes()),
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
            written => written.map_err(|error| Fatal::new(Exit::Io, error.to_string()))?,
        }
    }
    complain("the gateway has stopped\n");
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn fatal(error: ClientError) -> Fatal {
    let exit = if matches!(error, ClientError::NotRunning) { Exit::Unavailable } else { Exit::Io };
    Fatal::new(exit, error.to_string())
}

/// A line for people: an event with what came of it below.
fn shown(line: &Value) -> String {
    let of = |name: &str| line[name].as_str().unwrap_or_default();
    if let Some(lost) = line["lost"].as_u64() {
        return format!("… {lost} lines were left out, since they were not read fast enough\n");
    }
    let payload = match line["payload"].as_str() {
        Some(payload) => text::plain(payload, PAYLOAD_CHARS_MAX),
        None => "(binary data)".to_owned(),
    };
    let topic = text::plain(of("topic"), 200);
    match of("stage") {
        "in" => {
            format!(
                "{}  {}  {}  {topic}  {payload}\n",
                of("time"),
                of("id"),
                text::plain(of("client_id"), 64)
            )
        }
        _ => {
            let to = line["uplink"].as_str().unwrap_or("local");
            format!("  {} -> {to}  {topic}  {payload}\n", text::plain(of("rule"), 64))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::shown;

    #[test]
    fn lines_for_people() {
        let event = json!({"stage": "in", "time": "T", "id": "g-1", "client_id": "c", "topic": "a", "payload": "\u{1b}"});
        assert_eq!(shown(&event), "T  g-1  c  a  \\u{1b}\n");
        let output =
            json!({"stage": "out", "rule": "r", "uplink": "cloud", "topic": "b", "payload_base64": "/w=="});
        assert_eq!(shown(&output), "  r -> cloud  b  (binary data)\n");
        let local = json!({"stage": "out", "rule": "r", "local": true, "topic": "b", "payload": "1"});
        assert_eq!(shown(&local), "  r -> local  b  1\n");
        assert!(shown(&json!({"stage": "lost", "lost": 7})).contains("7 lines"));
    }
}
