//! `tidegate rules try`: one event, and what each rule does with it.

use std::io::Read;
use std::process::ExitCode;

use tidegate_buffer::Stamp;
use tidegate_config::Config;
use tidegate_rules::Message;

use super::bench::{Bench, Outcome};
use crate::capture::{Line, parse_time};
use crate::cli::Try;
use crate::exit::{Exit, Fatal};
use crate::{complain, say, text, trace};

/// The largest packet that MQTT has.
const PAYLOAD_BYTES_MAX: u64 = 256 << 20;
/// How much of a payload a terminal is shown.
const PAYLOAD_CHARS_MAX: usize = 2000;

pub(super) fn try_one(config: Config, event: &Try) -> Result<ExitCode, Fatal> {
    let usage = |error: String| Fatal::new(Exit::Usage, error);
    tidegate_rules::check_topic_name(&event.topic)
        .map_err(|error| usage(format!("`{}`: {error}", event.topic)))?;
    let at_ms = event.at.as_deref().map(parse_time).transpose().map_err(usage)?;
    let payload = payload(event)?;
    let message = Message {
        topic: &event.topic,
        payload: &payload,
        client_id: &event.client_id,
        username: None,
        qos: 1,
        retained: false,
        content_type: None,
        user_properties: &[],
        received_at_ms: at_ms.unwrap_or_else(|| Stamp::now().wall_ms),
        seq: 1,
    };
    let mut bench = Bench::new(config, event.rule.as_deref())?;
    let show = if event.json { show_json } else { show_text };
    let matched = bench.handle_message(&message, show);
    let advance_ms = i64::try_from(event.advance.as_millis()).unwrap_or(i64::MAX);
    bench.handle_time(message.received_at_ms.saturating_add(advance_ms), &mut { show });
    if matched == 0 {
        complain(&format!("no rule and no route takes events of `{}`\n", event.topic));
    } else if bench.has_open_windows() {
        complain("windows are still open; --advance lets time go on, as in --advance 1m\n");
    }
    Ok(ExitCode::SUCCESS)
}

fn payload(event: &Try) -> Result<Vec<u8>, Fatal> {
    if let Some(payload) = event.payload.as_deref().filter(|payload| *payload != "-") {
        return Ok(payload.as_bytes().to_vec());
    }
    let mut payload = Vec::new();
    let read = std::io::stdin().lock().take(PAYLOAD_BYTES_MAX).read_to_end(&mut payload);
    read.map_err(|error| Fatal::new(Exit::Io, format!("stdin: {error}")))?;
    // What a shell or an editor ends a text with is no part of it.
    if payload.ends_with(b"\n") && str::from_utf8(&payload).is_ok() {
        payload.pop();
    }
    Ok(payload)
}

fn show_json(outcome: &Outcome<'_>) {
    for (at, topic, payload) in outcome.outputs() {
        if let Some(label) = outcome.labels.find(at.0, at.1) {
            let line = Line::output(&label, None, outcome.time_ms, topic, payload).bytes();
            say(&String::from_utf8_lossy(&line));
        }
    }
}

fn show_text(outcome: &Outcome<'_>) {
    for step in outcome.steps {
        say(&format!("{}: {}\n", outcome.labels.rule(step.rule), trace::describe(&step.step)));
    }
    for (at, topic, payload) in outcome.outputs() {
        let Some(label) = outcome.labels.find(at.0, at.1) else { continue };
        let payload = match str::from_utf8(payload) {
            Ok(payload) => text::plain(payload, PAYLOAD_CHARS_MAX),
            Err(_) => payload.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        let to = label.uplink().unwrap_or("local");
        say(&format!("  -> {to}  {}  {payload}\n", text::plain(&label.topic(topic), 200)));
    }
}
