//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// An edge gateway: devices publish over MQTT, rules decide, what should reach the cloud waits on disk while the cloud
/// is away.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the gateway until SIGTERM or Ctrl-C
    Run(ConfigPath),
    /// Read configuration and rules, report every mistake, and exit with 0 or 78
    Check(ConfigPath),
    /// Show the gateway at work: ten devices, a cloud that goes away, a kill -9, and the books at the end
    #[cfg(feature = "demo")]
    Demo(Demo),
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub(crate) struct ConfigPath {
    /// The main file; conf.d/*.toml and rules.d/*.toml beside it are read too
    #[arg(short, long, value_name = "FILE", default_value = "/etc/tidegate/tidegate.toml")]
    pub(crate) config: PathBuf,
}

/// How the demo runs.
#[cfg(feature = "demo")]
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Go on until Ctrl-C, so that you can publish and subscribe beside it
    #[arg(long)]
    pub(crate) keep: bool,
}
