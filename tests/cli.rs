//! The command line: what it says, and the exit codes of sysexits.h.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

use tidegate_tests::gateway::{READY_LIMIT, is_ready, run_to_end};
use tidegate_tests::port::Port;
use tidegate_tests::process::Process;
use tidegate_tests::wire::Version;
use tidegate_tests::{Connection, Must, binary, gateway};

const USAGE: i32 = 64;
const UNAVAILABLE: i32 = 69;
const CONFIG: i32 = 78;

#[test]
fn version_and_help_go_to_standard_output() {
    let binary: PathBuf = binary!();
    let version = run_to_end(&binary, &["--version"], &[]);
    version.assert(0, &[]);
    assert_eq!(version.stdout, format!("tidegate {}", env!("CARGO_PKG_VERSION")));
    let help = run_to_end(&binary, &["--help"], &[]);
    help.assert(0, &[]);
    for command in ["run", "check"] {
        assert!(help.stdout.contains(command), "{}", help.stdout);
    }
}

#[test]
fn a_wrong_command_line_is_64() {
    let binary: PathBuf = binary!();
    for arguments in [&["rum"][..], &["run", "--confg", "x"], &["run", "extra"], &["check", "--config"], &[]]
    {
        let outcome = run_to_end(&binary, arguments, &[]);
        outcome.assert(USAGE, &["--help"]);
        assert_eq!(outcome.stdout, "", "{arguments:?}");
    }
}

#[test]
fn check_says_nothing_is_wrong() {
    let builder =
        gateway!().uplink(1883).rules("r.toml", "[[route]]\nfrom = \"a/#\"\nto = { uplink = \"cloud\" }\n");
    builder.outcome("check", 0).assert(0, &[]);
}

#[test]
fn check_and_run_report_every_mistake_of_every_file() {
    let first = "[[rule]]\nname = \"one\"\nsql = '''\n  SELECT tumbel(x) AS y\n  FROM \"a/#\"\n'''\n\
                 to = [{ uplink = \"clod\", topic = \"t\" }]\n";
    let second = "[[route]]\nfrom = \"a/#/b\"\nto = { uplink = \"cloud\" }\n";
    let builder = gateway!()
        .uplink(1883)
        .buffer("max_byte = \"1 GiB\"\nspill_after = \"50 parsecs\"")
        .rules("first.toml", first)
        .rules("second.toml", second);
    for command in ["check", "run"] {
        let outcome = builder.outcome(command, 0);
        let words = [
            "max_byte",
            "max_bytes",
            "50 parsecs",
            "tumbel",
            "tumbling",
            "clod",
            "a/#/b",
            "tidegate.toml:",
            "first.toml:4:10",
            "second.toml:2:",
        ];
        outcome.assert(CONFIG, &words);
    }
}

#[test]
fn a_file_that_is_not_there_or_not_toml_is_78() {
    let binary: PathBuf = binary!();
    for command in ["check", "run"] {
        run_to_end(&binary, &[command, "--config", "/no/such/tidegate.toml"], &[])
            .assert(CONFIG, &["/no/such/tidegate.toml"]);
        let builder = gateway!().tables("[broken\n= 3");
        builder.outcome(command, 0).assert(CONFIG, &["tidegate.toml:"]);
    }
}

#[test]
fn a_port_in_use_is_69() {
    let port = Port::reserve();
    let _taken = TcpListener::bind(("127.0.0.1", port.number())).must("take the port");
    let address = format!("127.0.0.1:{}", port.number());
    gateway!().outcome("run", port.number()).assert(UNAVAILABLE, &[&address]);
}

#[test]
fn a_buffer_that_cannot_be_made_is_73_or_74() {
    let builder = gateway!();
    let file = builder.dir().join("a-file");
    fs::write(&file, "").must("write a file");
    for dir in [file.join("buffer"), PathBuf::from("/proc/tidegate-buffer")] {
        let builder = gateway!().buffer_dir(&dir);
        let outcome = builder.outcome("run", 0);
        assert!(matches!(outcome.code, Some(73 | 74)), "{outcome:?}");
        outcome.assert(outcome.code.unwrap_or(0), &[&dir.display().to_string()]);
    }
}

#[test]
fn a_second_gateway_on_the_same_buffer_is_turned_away() {
    let first = gateway!().start();
    let second = gateway!().buffer_dir(&first.buffer_dir());
    let outcome = second.outcome("run", 0);
    assert!(matches!(outcome.code, Some(73 | 74)), "{outcome:?}");
    outcome.assert(outcome.code.unwrap_or(0), &[&first.buffer_dir().display().to_string()]);
}

#[test]
fn port_0_is_announced_and_sigterm_ends_with_0() {
    let builder = gateway!();
    let config = builder.write(0);
    let mut command = std::process::Command::new::<PathBuf>(binary!());
    command.arg("run").arg("--config").arg(config);
    let mut process = Process::start("tidegate", "(build it)", &mut command);
    let line =
        process.wait_stderr("listening line", READY_LIMIT, |line| line.contains("listening on 127.0.0.1:"));
    process.wait_stderr("ready line", READY_LIMIT, is_ready);
    let digits: String =
        line.split("127.0.0.1:").nth(1).must("a port").chars().take_while(char::is_ascii_digit).collect();
    let connection = Connection::clean(digits.parse().must("a port"), Version::V5, "c");
    process.signal("TERM");
    assert!(process.wait_exit(READY_LIMIT).success());
    drop(connection);
}
