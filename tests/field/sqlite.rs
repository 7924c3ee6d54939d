//! The control of the replayed cuts: a SQLite writer that says what it has committed, with a `synchronous` of choice.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tidegate_tests::Must;
use tidegate_tests::event::Event;
use tidegate_tests::process::Process;

const SCRIPT: &str = "cuts/sqlite_writer.py";
const LIMIT: Duration = Duration::from_secs(30);

/// The name under which its rows are judged.
pub(crate) const NAME: &str = "sqlite";

/// A writer whose lines of output are its acknowledgements.
pub(crate) fn writer(folder: &Path, synchronous: &str) -> Process {
    Process::start("sqlite_writer.py", "python3", command("write", folder).arg(synchronous))
}

/// The rows of the table as arrivals of events.
pub(crate) fn rows(folder: &Path) -> Vec<(String, String)> {
    let mut process =
        Process::start("sqlite_writer.py", "python3", command("read", folder).stdin(Stdio::null()));
    process.wait_exit(LIMIT);
    let lines = Arc::clone(&process.stdout);
    let lines = lines.lock();
    let number = |line: &String| line.parse::<u64>().must("the number of a row");
    lines.iter().map(number).map(|row| (Event::topic(NAME), Event::new(NAME, row).payload())).collect()
}

fn command(what: &str, folder: &Path) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(SCRIPT);
    let mut command = Command::new("/usr/bin/python3");
    command.arg("-u").arg(script).arg(what).arg(folder.join("control.db"));
    command
}
