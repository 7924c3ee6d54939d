//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    /// Look into the buffer: what waits, what was set aside; also beside a running gateway
    Buffer(Buffer),
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

/// Which buffer, and what to do with it.
#[derive(Debug, Args)]
pub(crate) struct Buffer {
    #[command(flatten)]
    pub(crate) place: BufferPlace,
    /// Print JSON for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: BufferCommand,
}

/// Where the buffer is.
#[derive(Debug, Args)]
pub(crate) struct BufferPlace {
    /// The gateway's main file, which says where the buffer is
    #[arg(short, long, global = true, value_name = "FILE", default_value = "/etc/tidegate/tidegate.toml")]
    pub(crate) config: PathBuf,
    /// The buffer's folder, instead of asking the configuration
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// What to do with a buffer.
#[derive(Debug, Subcommand)]
pub(crate) enum BufferCommand {
    /// What waits and how old it is, the books, what was set aside
    Status,
    /// The stored batches, the oldest first
    List {
        #[command(flatten)]
        what: Selection,
        /// How many batches at most
        #[arg(short = 'n', long, default_value_t = 100)]
        limit: u32,
    },
    /// The oldest stored events, readable
    Peek {
        #[command(flatten)]
        what: Selection,
        /// How many events at most
        #[arg(short = 'n', long, default_value_t = 10)]
        limit: u64,
    },
    /// Every stored event, as JSON lines or a CBOR sequence (RFC 8742)
    Export {
        #[command(flatten)]
        what: Selection,
        /// How each event is written
        #[arg(long, value_enum, default_value_t = Format::Json)]
        format: Format,
        /// Write here instead of to stdout; must not exist
        #[arg(short, long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Read and check everything; exits with 1 if something is damaged
    Verify,
    /// What was set aside: poison, and damaged batches
    Quarantine {
        #[command(subcommand)]
        command: QuarantineCommand,
    },
    /// Give up what waits for an uplink
    Purge {
        /// The uplink, also one that is not configured any more
        #[arg(long, value_name = "NAME")]
        uplink: String,
        /// Only this priority
        #[arg(long, value_enum)]
        priority: Option<Lane>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Which events.
#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// Only what waits for this uplink
    #[arg(long, value_name = "NAME")]
    pub(crate) uplink: Option<String>,
    /// Only this priority
    #[arg(long, value_enum)]
    pub(crate) priority: Option<Lane>,
}

/// A priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lane {
    High,
    Normal,
    Low,
}

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One JSON object in a line
    Json,
    /// One CBOR map after the other
    Cbor,
}

/// What to do with what was set aside.
#[derive(Debug, Subcommand)]
pub(crate) enum QuarantineCommand {
    /// What there is, and why
    List,
    /// Send it once more, to the uplinks it was meant for
    Replay(Entries),
    /// Forget it
    Drop(Entries),
}

/// Entries of the quarantine.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Entries {
    /// Their numbers, as `quarantine list` shows them
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<i64>,
    /// All of them
    #[arg(long)]
    pub(crate) all: bool,
}

/// How the demo runs.
#[cfg(feature = "demo")]
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Go on until Ctrl-C, so that you can publish and subscribe beside it
    #[arg(long)]
    pub(crate) keep: bool,
}
