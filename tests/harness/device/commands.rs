//! Devices that are other people's programs.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::event::Event;
use crate::process::Process;
use crate::wire::Version;

use super::{Plan, Progress};

/// `mosquitto_pub` fed with a line for each event.
pub(super) fn mosquitto_pub(plan: &Plan) -> Process {
    let version = if plan.version == Version::V5 { "5" } else { "311" };
    let mut command = Command::new("mosquitto_pub");
    command.args(["-h", "127.0.0.1", "-l", "-q", "1", "-V", version, "-i", &plan.name]);
    command.args(["-p", &plan.port.to_string(), "-t", &Event::topic(&plan.name)]).stdin(Stdio::piped());
    let mut process = Process::start(&plan.name, "mosquitto-clients", &mut command);
    let lines = plan.events.clone().map(|seq| Event::new(&plan.name, seq).payload() + "\n");
    process.feed(lines.collect::<String>().into_bytes());
    process
}

/// `devices/publish.py`, which writes a line for each acknowledged and for each repeated event.
pub(super) fn paho(plan: &Plan, progress: &Arc<Progress>) -> Process {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("devices/publish.py");
    let version = if plan.version == Version::V5 { "5" } else { "3.1.1" };
    let mut command = Command::new("/usr/bin/python3");
    command.arg("-u").arg(script).args(["--version", version, "--name", &plan.name]);
    command.args(["--port", &plan.port.to_string(), "--window", &plan.window.to_string()]);
    command.args(["--first", &plan.events.start.to_string(), "--end", &plan.events.end.to_string()]);
    let progress = Arc::clone(progress);
    Process::start_with(&plan.name, "python3-paho-mqtt", &mut command, move |line| note(line, &progress))
}

fn note(line: &str, progress: &Progress) {
    let Some((word, seq)) = line.split_once(' ') else { return };
    let Ok(seq) = seq.parse() else { return };
    match word {
        "acked" => progress.add_acked(seq),
        "resent" => progress.add_resent([seq]),
        _ => {}
    }
}
