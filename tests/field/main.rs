//! What is shown on demand, for it takes minutes, root, loop devices or the whole machine: power cuts on real file systems, the
//! table of faults, and fresh data beside a backlog.
//!
//! `tidegate-field FOLDER shutdown|blocklog CUTS`, `tidegate-field FOLDER faults FILE FAULT SETTING`, `tidegate-field FOLDER freshness
//! BACKLOG EVENTS_PER_S`. `tests/cuts/run`, `tests/faults/run` and `tests/freshness/run` build and call it. FOLDER is for what is thrown
//! away, `TIDEGATE_BIN` the binary under test, and `TIDEGATE_SEED` repeats a run.

mod block_log;
mod cuts;
mod faults;
mod freshness;
mod shutdown;
mod sqlite;

use std::path::PathBuf;
use std::process::ExitCode;

use tidegate_tests::subject::binary_of_environment;
use tidegate_tests::{Must, Random, fail};

/// Where and with what a command works.
struct Site {
    folder: PathBuf,
    binary: PathBuf,
    random: Random,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().must(what);
    let (folder, command) = (next("a folder").into(), next("a command"));
    let mut site = Site { folder, binary: binary_of_environment(), random: Random::new(Random::seed()) };
    let number = |text: String| text.parse().must("a number");
    let held = match command.as_str() {
        "shutdown" => shutdown::run(&mut site, number(next("how many cuts"))),
        "blocklog" => block_log::run(&mut site, number(next("how many cuts"))),
        "faults" => {
            let page = PathBuf::from(next("the file to write"));
            faults::run(&mut site, &page, &next("a word of the faults wanted"), &next("one of the settings"))
        }
        "freshness" => {
            let backlog = number(next("the events of the backlog"));
            freshness::run(&site, backlog, number(next("the events a second of the link")))
        }
        other => fail(format_args!("no command `{other}`")),
    };
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::print_stdout, reason = "what a command found is what it is for")]
fn say(line: &str) {
    println!("{line}");
}
