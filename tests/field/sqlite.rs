//! A control: a SQLite writer that says what it has committed, with a `synchronous` of choice.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tidegate_tests::Must;
use tidegate_tests::event::Event;
use tidegate_tests::oracle::{Account, Findings, audit};
use tidegate_tests::process::Process;

const SCRIPT: &str = "cuts/sqlite_writer.py";
const LIMIT: Duration = Duration::from_secs(30);

// The name under which its rows are judged.
const NAME: &str = "sqlite";

/// A writer whose lines of output are its acknowledgements.
pub(crate) fn writer(folder: &Path, synchronous: &str) -> Process {
    Process::start("sqlite_writer.py", "python3", command("write", folder).arg(synchronous))
}

/// What a writer has acknowledged so far.
pub(crate) fn account(writer: &Process) -> Account {
    let written = u64::try_from(writer.stdout.lock().len()).must("count rows");
    let (device, acked) = (NAME.to_owned(), (0..written).collect());
    Account { device, planned: 0..written, acked, ..Account::default() }
}

/// Compares an account with the rows that a database in this folder has; later ones do not count.
pub(crate) fn audit_rows(account: &Account, folder: &Path) -> Findings {
    let command = &mut command("read", folder);
    let mut process = Process::start("sqlite_writer.py", "python3", command.stdin(Stdio::null()));
    process.wait_exit(LIMIT);
    let lines = process.stdout.lock();
    let numbers = lines.iter().map(|line| line.parse().must("the number of a row"));
    let events = numbers.filter(|row| account.planned.contains(row)).map(|row| Event::new(NAME, row));
    let rows: Vec<_> = events.map(|event| (Event::topic(NAME), event.payload())).collect();
    audit(
        std::slice::from_ref(account),
        rows.iter().map(|(topic, payload)| (topic.as_str(), payload.as_str())),
    )
}

fn command(what: &str, folder: &Path) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(SCRIPT);
    let mut command = Command::new("/usr/bin/python3");
    command.arg("-u").arg(script).arg(what).arg(folder.join("control.db"));
    command
}
