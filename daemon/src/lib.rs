//! tidegate: devices publish over MQTT, rules decide, what should reach the cloud waits in SQLite while the cloud is
//! away, and is sent until it is acknowledged.
//!
//! An event's way through this crate: `listener` reads it off a socket and its session checks it; `pipeline` lets
//! the rules decide and hands every effect to the spool as one entry; `uplink` reads the spool and publishes to the
//! cloud. When the entry is on disk, or the cloud has acknowledged it, its receipt comes back by `gateway` to the
//! session, and only then the device gets its PUBACK. `run` puts these together; everything runs on one thread,
//! beside the spool's own two.
//!
//! This crate is the only one that knows sockets, MQTT packets, signals and the service manager. It knows neither SQL
//! nor TOML.

mod alerts;
mod books;
mod broker;
mod buffer_command;
mod bus;
mod capture;
mod cli;
mod clock;
mod config_command;
mod control;
#[cfg(feature = "demo")]
mod demo;
mod devices;
mod durable;
mod event;
mod exit;
#[cfg(fuzzing)]
pub mod fuzz;
mod gaps;
mod gateway;
mod labels;
mod listener;
mod log;
mod maintenance;
mod meta;
mod moderation;
mod mqtt;
mod notify;
mod operator;
mod passwd_command;
mod pem;
mod pipeline;
mod reload;
mod reload_command;
mod remote;
mod rules_command;
mod run;
mod settings;
mod signals;
mod source;
mod sources;
mod status;
mod status_command;
mod support_command;
mod sys;
mod tables;
mod tap;
mod tap_command;
#[cfg(test)]
mod testing;
#[cfg(all(fuzzing, not(test)))]
#[expect(dead_code, reason = "the tests use more of it")]
mod testing;
mod text;
mod trace;
mod trace_command;
mod uplink;
mod uplinks;
mod websocket;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use tidegate_config::Config;

use cli::{Cli, Command};
use exit::{Exit, Fatal};

/// Runs the program that the command line asks for, and gives its exit code (see `sysexits.h`).
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // --help and --version come this way too, and are no mistake.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { ExitCode::SUCCESS };
        }
    };
    let result = match cli.command {
        Command::Run(path) => load(&path.config).and_then(|config| {
            log::start(config.log);
            run::run(&path.config, config)
        }),
        Command::Check(path) => load(&path.config).map(|config| {
            let (rules, uplinks) = (config.rules.len(), config.uplinks.len());
            say(&format!(
                "{}: no mistakes ({rules} rules and routes, {uplinks} uplinks)\n",
                path.config.display()
            ));
            ExitCode::SUCCESS
        }),
        Command::Config { command } => config_command::run(&command),
        Command::Passwd(passwd) => passwd_command::run(&passwd),
        Command::SupportBundle(bundle) => support_command::run(&bundle),
        Command::Status(status) => status_command::run(&status),
        Command::Top(top) => status_command::top(&top),
        Command::Reload(reload) => reload_command::run(&reload),
        Command::Rules(rules) => rules_command::run(&rules),
        Command::Tap(tap) => tap_command::run(&tap),
        Command::Trace(trace) => trace_command::run(&trace),
        Command::Buffer(buffer) => buffer_command::run(&buffer),
        #[cfg(feature = "demo")]
        Command::Demo(demo) => demo::run(&demo),
    };
    result.unwrap_or_else(|fatal| {
        complain(&format!("tidegate: {fatal}\n"));
        fatal.exit.into()
    })
}

/// Loads the configuration; says everything that is wrong with it.
fn load(path: &Path) -> Result<Config, Fatal> {
    let (loaded, left_out) = remote::load_accepted(path);
    complain(&left_out.unwrap_or_default());
    if !loaded.report.is_empty() {
        complain(&loaded.report.render(std::io::stderr().is_terminal()));
    }
    loaded.config.ok_or_else(|| {
        let errors = loaded.report.errors();
        let mistakes = if errors == 1 { "1 mistake".into() } else { format!("{errors} mistakes") };
        Fatal::new(Exit::Config, format!("{mistakes} in the configuration"))
    })
}

/// Writes to stdout. A closed pipe is the reader's business.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Writes to stderr.
fn complain(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
