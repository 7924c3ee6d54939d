//! The command line.

#[cfg(test)]
mod tests;

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
    /// Have the running gateway read its configuration anew; sessions, windows and what waits stay
    Reload(Asked),
    /// Say how the running gateway is; exits with 0 if it lives and can store, with 1 if not
    Status(Asked),
    /// Watch the running gateway: rates, what waits, uplinks, rules, the last warnings
    Top(Top),
    /// Show the settings in effect, or a JSON schema of settings for editors
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Add, change or delete a user of a password file in mosquitto's format
    Passwd(Passwd),
    /// Write one text file for who is to help: settings, counters, the system; no secrets
    SupportBundle(SupportBundle),
    /// Check, test, explain and try rules; all of it without a gateway
    Rules(Rules),
    /// Watch events of the running gateway, before and after the rules
    Tap(Tap),
    /// Say what the rules did with an event; needs `[trace]` in the configuration
    Trace(Trace),
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

/// What to do with settings.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Every setting with the value that counts, as a file of its own; secrets are named, never shown
    Show(ConfigPath),
    /// A JSON schema, so that editors complete and explain settings
    Schema,
}

/// Which user of which file.
#[derive(Debug, Args)]
pub(crate) struct Passwd {
    /// The password file; made if it is not there
    pub(crate) file: PathBuf,
    /// The user. The password is asked for, or the first line of standard input
    pub(crate) user: String,
    /// Delete the user
    #[arg(long)]
    pub(crate) delete: bool,
    /// Iterations of PBKDF2: each login costs so many
    #[arg(long, value_name = "COUNT", default_value = "10000", value_parser = iterations)]
    pub(crate) iterations: std::num::NonZeroU32,
}

/// As many as a gateway takes.
fn iterations(text: &str) -> Result<std::num::NonZeroU32, &'static str> {
    let count = text.parse().ok().filter(|count: &std::num::NonZeroU32| count.get() <= 1_000_000);
    count.ok_or("write a number from 1 to 1000000")
}

/// Of which gateway, and where to.
#[derive(Debug, Args)]
pub(crate) struct SupportBundle {
    /// The gateway's main file
    #[arg(short, long, value_name = "FILE", default_value = "/etc/tidegate/tidegate.toml")]
    pub(crate) config: PathBuf,
    /// Write here; must not exist
    #[arg(short, long, value_name = "FILE", default_value = "tidegate-support.txt")]
    pub(crate) out: PathBuf,
}

/// Which gateway to ask.
#[derive(Debug, Args)]
pub(crate) struct Asked {
    #[command(flatten)]
    pub(crate) place: BufferPlace,
    /// Print JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which gateway to watch.
#[derive(Debug, Args)]
pub(crate) struct Top {
    #[command(flatten)]
    pub(crate) place: BufferPlace,
    /// Between two looks
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = tidegate_config::parse_duration)]
    pub(crate) interval: std::time::Duration,
    /// Look once, and end
    #[arg(long)]
    pub(crate) once: bool,
}

/// Which rules, and what to do with them.
#[derive(Debug, Args)]
pub(crate) struct Rules {
    /// The gateway's main file; rules.d/*.toml beside it has the rules
    #[arg(short, long, global = true, value_name = "FILE", default_value = "/etc/tidegate/tidegate.toml")]
    pub(crate) config: PathBuf,
    #[command(subcommand)]
    pub(crate) command: RulesCommand,
}

/// What to do with rules.
#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// Read everything, report every mistake, and list the rules
    Check,
    /// Run the tests that stand beside the rules as [[rule.test]]; exits with 1 if one fails
    Test {
        /// Only those of this rule
        #[arg(value_name = "RULE")]
        rule: Option<String>,
    },
    /// Say in words what a rule does, step by step
    Explain {
        /// Only this rule
        #[arg(value_name = "RULE")]
        rule: Option<String>,
    },
    /// Give one event to the rules and show what each does with it
    Try(Try),
    /// Give captured events to the rules, with their times, and print what comes of them as JSON lines
    Replay(Replay),
}

/// One event for the rules.
#[derive(Debug, Args)]
pub(crate) struct Try {
    /// The topic it is published to
    pub(crate) topic: String,
    /// Its payload; read from stdin if it is left out or "-"
    pub(crate) payload: Option<String>,
    /// Only this rule
    #[arg(long, value_name = "RULE")]
    pub(crate) rule: Option<String>,
    /// When it comes in, as in 2026-11-21T12:00:00Z; now if it is left out
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<String>,
    /// How long time goes on after it, such as 2m, so that windows end
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = tidegate_config::parse_duration)]
    pub(crate) advance: std::time::Duration,
    /// The client id of the publisher
    #[arg(long, value_name = "ID", default_value = "try")]
    pub(crate) client_id: String,
    /// Print what comes of it as JSON lines, and nothing else
    #[arg(long)]
    pub(crate) json: bool,
}

/// Captured events for the rules.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// JSON lines, as `tidegate tap --out FILE` and `tidegate buffer export` write them; "-" for stdin
    #[arg(value_name = "FILE", required_unless_present = "buffer", conflicts_with = "buffer")]
    pub(crate) file: Option<PathBuf>,
    /// What waits in this buffer instead
    #[arg(long, value_name = "DIR")]
    pub(crate) buffer: Option<PathBuf>,
    /// With --buffer: only what waits for this uplink
    #[arg(long, value_name = "NAME", requires = "buffer")]
    pub(crate) uplink: Option<String>,
    /// Only this rule
    #[arg(long, value_name = "RULE")]
    pub(crate) rule: Option<String>,
    /// How long time goes on after the last event, such as 1m, so that windows end
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = tidegate_config::parse_duration)]
    pub(crate) advance: std::time::Duration,
    /// Write here instead of to stdout; must not exist
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// Which events to watch.
#[derive(Debug, Args)]
pub(crate) struct Tap {
    #[command(flatten)]
    pub(crate) place: BufferPlace,
    /// The topic filter of what is shown, such as "sensors/#"; of an event all outputs are shown
    pub(crate) filter: String,
    /// Write JSON lines here, which `tidegate rules replay` reads; must not exist
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Stop after so many events
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub(crate) limit: Option<u64>,
    /// Print JSON lines for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which event to trace.
#[derive(Debug, Args)]
pub(crate) struct Trace {
    #[command(flatten)]
    pub(crate) place: BufferPlace,
    /// Its id, or that of what came of it, as the cloud sees it
    pub(crate) id: String,
    /// Print JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
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
