//! What packages carry of the command line: commands and options in the manual page, and completions for shells. All of
//! it is made from the definition here, compared, and rewritten by
//! `TIDEGATE_WRITE_DOCS=1 cargo test -p tidegate --lib cli`.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

use clap::builder::StyledStr;
use clap::{Arg, ArgAction, Command, CommandFactory};
use clap_complete::Shell;

use super::Cli;

const BEGIN: &str = ".\\\" The command line, generated: begin\n";
const END: &str = ".\\\" The command line, generated: end\n";

/// The command line of packages: they leave out the demo.
fn packaged() -> Command {
    let cli = Cli::command();
    let commands = cli.get_subcommands().filter(|command| command.get_name() != "demo").cloned();
    Command::new("tidegate").version(env!("CARGO_PKG_VERSION")).subcommands(commands)
}

fn packaging(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(file)
}

/// Compares a file with what it should be, or makes it so.
#[track_caller]
fn check(file: &str, expected: &str) {
    if env::var_os("TIDEGATE_WRITE_DOCS").is_some() {
        fs::create_dir_all(packaging(file).parent().unwrap()).unwrap();
        fs::write(packaging(file), expected).unwrap();
    }
    let found = fs::read_to_string(packaging(file)).unwrap_or_default();
    let rewrite = "TIDEGATE_WRITE_DOCS=1 cargo test -p tidegate --lib cli";
    assert!(found == expected, "packaging/{file} is not what the command line says; `{rewrite}` rewrites it");
}

fn completion(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut packaged(), "tidegate", &mut script);
    String::from_utf8(script).unwrap()
}

/// Text for roff: a hyphen that can be copied, no line that is taken for a request.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

fn plain(text: Option<&StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default()
}

/// `-c, --config FILE`, or of an argument without a name `FILTER`, or `ID...` if it may be repeated.
fn signature(argument: &Arg) -> String {
    let values = argument.get_value_names().unwrap_or_default().iter();
    let values: Vec<_> = values.map(|name| format!("\\fI{}\\fR", roff(name))).collect();
    let short = argument.get_short().map(|short| format!("\\fB\\-{short}\\fR"));
    let long = argument.get_long().map(|long| format!("\\fB\\-\\-{}\\fR", roff(long)));
    let names: Vec<_> = short.into_iter().chain(long).collect();
    if names.is_empty() {
        let repeats = matches!(argument.get_action(), ArgAction::Append);
        return values.join(" ") + if repeats { "..." } else { "" };
    }
    let values = if argument.get_action().takes_values() { values } else { Vec::new() };
    [vec![names.join(", ")], values].concat().join(" ")
}

fn option(argument: &Arg) -> String {
    let takes_values = argument.get_action().takes_values();
    let possible: Vec<_> =
        argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    let default: Vec<_> =
        argument.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    let mut help = plain(argument.get_help());
    if takes_values && !possible.is_empty() {
        let _ = write!(help, ": {}", possible.join(", "));
    }
    if takes_values && !default.is_empty() {
        let _ = write!(help, ". Default: {}", default.join(" "));
    }
    format!(".TP\n{}\n{}.\n", signature(argument), roff(&help))
}

/// A section for each command, each after the one that it belongs to.
fn describe(out: &mut String, path: &str, command: &Command) {
    let path = format!("{path} {}", command.get_name());
    let _ = write!(out, ".SS {}\n{}.\n", roff(&path), roff(&plain(command.get_about())));
    command.get_arguments().for_each(|argument| out.push_str(&option(argument)));
    command.get_subcommands().for_each(|subcommand| describe(out, &path, subcommand));
}

#[test]
fn the_manual_has_every_command_and_option() {
    let page = fs::read_to_string(packaging("man/tidegate.8")).unwrap();
    assert!(names_version(&page), "{page}");
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let mut commands = String::new();
    packaged().get_subcommands().for_each(|command| describe(&mut commands, "tidegate", command));
    check("man/tidegate.8", &format!("{before}{BEGIN}{commands}{END}{after}"));
}

#[test]
fn the_manual_of_settings_names_this_version() {
    let page = fs::read_to_string(packaging("man/tidegate.toml.5")).unwrap();
    assert!(page.starts_with(".TH TIDEGATE.TOML 5 ") && names_version(&page), "{page}");
}

/// Whether the title, the first line, does.
fn names_version(page: &str) -> bool {
    let version = concat!("\"tidegate ", env!("CARGO_PKG_VERSION"), "\"");
    page.lines().next().is_some_and(|title| title.contains(version))
}

#[test]
fn shells_complete_every_command_and_option() {
    check("completions/tidegate.bash", &completion(Shell::Bash));
    check("completions/tidegate.fish", &completion(Shell::Fish));
    check("completions/_tidegate", &completion(Shell::Zsh));
}

#[test]
fn a_described_option_says_how_it_is_written() {
    let command = packaged();
    let run = command.find_subcommand("run").unwrap();
    let mut page = String::new();
    describe(&mut page, "tidegate", run);
    let expected = ".TP\n\\fB\\-c\\fR, \\fB\\-\\-config\\fR \\fIFILE\\fR\n";
    assert!(page.starts_with(".SS tidegate run\nRun the gateway"), "{page}");
    assert!(page.contains(expected), "{page}");
    assert!(page.contains("Default: /etc/tidegate/tidegate.toml.\n"), "{page}");
    assert!(!page.contains("demo"), "{page}");
}

#[test]
fn an_argument_without_a_name_is_described_by_its_value() {
    let one = Arg::new("filter").value_name("FILTER");
    assert_eq!(signature(&one), "\\fIFILTER\\fR");
    let many = Arg::new("ids").value_name("ID").action(ArgAction::Append);
    assert_eq!(signature(&many), "\\fIID\\fR...");
}

#[test]
fn roff_takes_nothing_for_a_request() {
    assert_eq!(roff(".TH"), "\\&.TH");
    assert_eq!(roff("'so"), "\\&'so");
    assert_eq!(roff("a\\b --c"), "a\\eb \\-\\-c");
}
