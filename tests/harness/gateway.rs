//! The gateway under test: a process with a folder, a port and a configuration.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use tempfile::TempDir;

use crate::must::Must;
use crate::port::Port;
use crate::process::Process;
use crate::usage;

/// How long a gateway may take to say that it is ready.
pub const READY_LIMIT: Duration = Duration::from_secs(10);

/// The binary: `TIDEGATE_BIN` if it is set, so that a packaged binary runs the same tests, otherwise the one cargo built.
#[macro_export]
macro_rules! binary {
    () => {
        ::std::env::var_os("TIDEGATE_BIN")
            .map_or_else(|| env!("CARGO_BIN_EXE_tidegate-under-test").into(), ::std::path::PathBuf::from)
    };
}

/// A folder for a gateway of the test's own binary.
#[macro_export]
macro_rules! gateway {
    () => {
        $crate::gateway::Builder::new($crate::binary!(), env!("CARGO_TARGET_TMPDIR"))
    };
}

/// Puts a gateway's folder together.
pub struct Builder {
    binary: PathBuf,
    dir: TempDir,
    buffer_dir: PathBuf,
    buffer: String,
    limits: String,
    uplink: String,
    rest: String,
    environment: Vec<(String, String)>,
    /// A program, and its arguments, that runs the binary with its own arguments.
    through: Vec<String>,
}

impl Builder {
    /// A gateway of this binary with a fresh folder below `parent`, which must be on a real disk for what is counted there.
    pub fn new(binary: PathBuf, parent: &str) -> Self {
        fs::create_dir_all(parent).must("make the folder of temporary folders");
        let dir = TempDir::with_prefix_in("gateway-", parent).must("make a temporary folder");
        Self {
            binary,
            dir,
            buffer_dir: PathBuf::from("buffer"),
            buffer: String::new(),
            limits: String::new(),
            uplink: String::new(),
            rest: String::new(),
            environment: Vec::new(),
            through: Vec::new(),
        }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Puts the buffer into another folder than `buffer` in the gateway's own.
    pub fn buffer_dir(mut self, dir: &Path) -> Self {
        self.buffer_dir = dir.to_owned();
        self
    }

    /// Lines of `[buffer]`.
    pub fn buffer(mut self, lines: &str) -> Self {
        push(&mut self.buffer, lines);
        self
    }

    /// Lines of `[limits]`.
    pub fn limits(mut self, lines: &str) -> Self {
        push(&mut self.limits, lines);
        self
    }

    /// The uplink `cloud` to a plain port here, which forwards all of `events/`, with short back-offs.
    pub fn uplink(self, port: u16) -> Self {
        self.uplink_with(&format!("url = \"mqtt://127.0.0.1:{port}\"\nforward = [\"events/#\"]"))
    }

    /// The uplink `cloud` with these lines; may be called again for more of them.
    pub fn uplink_with(mut self, lines: &str) -> Self {
        if self.uplink.is_empty() {
            push(&mut self.uplink, "name = \"cloud\"");
        }
        push(&mut self.uplink, lines);
        self
    }

    /// Further tables of tidegate.toml.
    pub fn tables(mut self, text: &str) -> Self {
        push(&mut self.rest, text);
        self
    }

    /// A file of rules.d.
    pub fn rules(self, name: &str, text: &str) -> Self {
        let dir = self.dir.path().join("rules.d");
        fs::create_dir_all(&dir).must("make rules.d");
        fs::write(dir.join(name), text).must("write a rules file");
        self
    }

    /// An environment variable of the gateway.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs the gateway with this file in place of another, which only it sees. Needs root.
    pub fn file_in_place_of(mut self, path: &str, text: &str) -> Self {
        let own = self.dir.path().join("in-place");
        fs::write(&own, text).must("write the file");
        let script = "mount --make-rprivate / && mount --bind \"$0\" \"$1\" && shift && exec \"$@\"";
        let own = own.to_str().must("a path in UTF-8");
        self.through = ["unshare", "--mount", "sh", "-c", script, own, path].map(str::to_owned).to_vec();
        self
    }

    /// Starts the gateway and waits until it says it is ready.
    pub fn start(self) -> Gateway {
        let port = Port::reserve();
        let mut gateway = Gateway { config: self.write(port.number()), builder: self, port, process: None };
        gateway.restart();
        gateway
    }

    /// Starts the gateway from a whole configuration of the test's own, which `text` writes for the port it is given.
    pub fn start_from(self, text: impl FnOnce(u16) -> String) -> Gateway {
        let port = Port::reserve();
        let config = self.dir.path().join("tidegate.toml");
        fs::write(&config, text(port.number())).must("write tidegate.toml");
        let mut gateway = Gateway { config, builder: self, port, process: None };
        gateway.restart();
        gateway
    }

    /// Runs `tidegate COMMAND --config FILE` to its end, with a listener on `port`.
    pub fn outcome(&self, command: &str, port: u16) -> Outcome {
        let path = self.write(port);
        let path = path.to_str().must("a path in UTF-8");
        run_to_end(&self.binary, &[command, "--config", path], &self.environment)
    }

    fn command(&self) -> Command {
        let Some((program, arguments)) = self.through.split_first() else {
            return Command::new(&self.binary);
        };
        let mut command = Command::new(program);
        command.args(arguments).arg(&self.binary);
        command
    }

    /// Writes tidegate.toml with a listener on `port` and gives its path.
    pub fn write(&self, port: u16) -> PathBuf {
        let Self { buffer_dir, buffer, limits, uplink, rest, .. } = self;
        let dir = buffer_dir.display();
        let mut text = format!(
            "[gateway]\nid = \"gw\"\n\n[[listener]]\nbind = \"127.0.0.1:{port}\"\n\n[access]\nanonymous = true\n\n\
             [buffer]\ndir = \"{dir}\"\n{buffer}\n[limits]\n{limits}\n{rest}\n"
        );
        if !uplink.is_empty() {
            push(&mut text, &format!("[[uplink]]\n{uplink}"));
            for (key, value) in [("backoff_min", "50ms"), ("backoff_max", "200ms")] {
                if !uplink.contains(key) {
                    push(&mut text, &format!("{key} = \"{value}\""));
                }
            }
        }
        let path = self.dir.path().join("tidegate.toml");
        fs::write(&path, text).must("write tidegate.toml");
        path
    }
}

fn push(text: &mut String, lines: &str) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "{lines}");
}

/// How a run of the program ended.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code; nothing if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Holds if it ended with this code and said all of `words` on standard error.
    #[track_caller]
    pub fn assert(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "stderr: {}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "no `{word}` in stderr: {}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }
}

/// Runs a program that is expected to end soon.
pub fn run_to_end(binary: &Path, arguments: &[&str], environment: &[(String, String)]) -> Outcome {
    let mut command = Command::new(binary);
    command.args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
    let mut process = Process::start("tidegate", "(build it)", &mut command);
    let status = process.wait_exit(READY_LIMIT);
    let (stdout, stderr) = (process.stdout.lock().join("\n"), process.stderr.text());
    Outcome { code: status.code(), stdout, stderr }
}

/// A gateway with its folder; killed and removed when dropped.
pub struct Gateway {
    builder: Builder,
    config: PathBuf,
    port: Port,
    process: Option<Process>,
}

impl Gateway {
    /// Where devices connect.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The folder of its configuration.
    pub fn dir(&self) -> &Path {
        self.builder.dir()
    }

    /// The folder of its buffer.
    pub fn buffer_dir(&self) -> PathBuf {
        self.dir().join(&self.builder.buffer_dir)
    }

    /// The running process.
    #[track_caller]
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().must("the gateway runs")
    }

    /// The process id.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().map(Process::pid).must("the gateway runs")
    }

    /// Starts it (again) in the same folder and on the same port, and waits until it is ready.
    #[track_caller]
    pub fn restart(&mut self) {
        let mut command = self.builder.command();
        command.arg("run").arg("--config").arg(&self.config);
        command.envs(self.builder.environment.iter().map(|(name, value)| (name, value)));
        let mut process = Process::start("tidegate", "(build it)", &mut command);
        process.wait_stderr("line with `ready`", READY_LIMIT, is_ready);
        self.process = Some(process);
    }

    /// SIGKILL, as a power cut of the program.
    #[track_caller]
    pub fn kill(&mut self) {
        self.process.take().must("the gateway runs").kill();
    }

    /// SIGTERM, which must end it with exit code 0.
    #[track_caller]
    pub fn stop(&mut self) {
        let mut process = self.process.take().must("the gateway runs");
        process.signal("TERM");
        let status: ExitStatus = process.wait_exit(Duration::from_secs(15));
        assert!(status.success(), "SIGTERM ended with {status}\n{process}");
    }

    /// Everything it has said since its last start.
    pub fn log(&self) -> String {
        self.process.as_ref().map(|p| p.stderr.text()).unwrap_or_default()
    }

    /// Resident set size in KiB.
    pub fn rss_kib(&self) -> u64 {
        usage::rss_kib(self.pid())
    }

    /// Bytes written to storage since its last start.
    pub fn storage_bytes(&self) -> u64 {
        usage::storage_bytes(self.pid())
    }
}

/// Whether a line of the log says that the gateway is ready.
pub fn is_ready(line: &str) -> bool {
    line.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == "ready")
}
