//! A child process with its output kept, ended with the test.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::must::{Must, fail};
use crate::wait::{wait_some, within};

const SHOWN_LINES: usize = 60;

/// What a process has written so far, line by line.
#[derive(Debug, Default)]
pub struct Lines {
    lines: Mutex<Vec<String>>,
}

impl Lines {
    /// All lines so far.
    pub fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_all(&self, from: impl Read, on_line: impl Fn(&str)) {
        for line in BufReader::new(from).split(b'\n') {
            let Ok(line) = line else { return };
            let line = String::from_utf8_lossy(&line).into_owned();
            on_line(&line);
            self.lock().push(line);
        }
    }
}

/// What a process has said on standard error: a file without a name, so that whoever asks sees all that was said before.
/// (What comes through a pipe is seen once a thread has read it.)
#[derive(Debug)]
pub struct Said(File);

impl Said {
    /// All so far.
    pub fn text(&self) -> String {
        // At a place of its own: the child's end of the file is where it writes.
        let (mut bytes, mut chunk) = (Vec::new(), [0; 16 * 1024]);
        loop {
            match self.0.read_at(&mut chunk, bytes.len() as u64).must("read what was said") {
                0 => return String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned(),
                count => bytes.extend(chunk.iter().take(count)),
            }
        }
    }
}

/// A running child. Dropping it kills it; if the test is failing, its last lines are shown.
pub struct Process {
    name: String,
    child: Child,
    /// Standard output.
    pub stdout: Arc<Lines>,
    /// Standard error.
    pub stderr: Said,
    reader: Option<thread::JoinHandle<()>>,
}

impl Process {
    /// Starts `command`; `name` is for messages, `package` the Debian package that has the program.
    pub fn start(name: &str, package: &str, command: &mut Command) -> Self {
        Self::start_with(name, package, command, |_| {})
    }

    /// As [`Process::start`], and calls `on_line` with each line of standard output as it comes.
    pub fn start_with(
        name: &str,
        package: &str,
        command: &mut Command,
        on_line: impl Fn(&str) + Send + 'static,
    ) -> Self {
        let program = command.get_program().to_os_string();
        let said = tempfile::tempfile().must("make a file for standard error");
        let stderr = Said(said.try_clone().must("share a file"));
        let mut child = match command.stdout(Stdio::piped()).stderr(said).spawn() {
            Ok(child) => child,
            Err(error) => fail(format_args!(
                "cannot start {}: {error}; if it is missing: apt-get install {package}",
                Path::new(&program).display()
            )),
        };
        let stdout = Arc::new(Lines::default());
        let reader = child.stdout.take().map(|out| {
            let lines = Arc::clone(&stdout);
            thread::spawn(move || lines.read_all(out, on_line))
        });
        Self { name: name.to_owned(), child, stdout, stderr, reader }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Feeds all of `input` to standard input (which the command must have piped) and closes it, from a thread of its own.
    pub fn feed(&mut self, input: Vec<u8>) {
        let mut stdin = self.child.stdin.take().must("take standard input");
        // A child that dies early breaks the pipe; its exit status tells, not this thread.
        thread::spawn(move || stdin.write_all(&input));
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal by name, such as `TERM`.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(format!("-{signal}")).arg(self.pid().to_string()).status();
        assert!(status.must("run kill").success(), "kill -{signal} {} did not work", self.name);
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(&mut self) {
        self.child.kill().must("kill");
        self.child.wait().must("wait for a killed process");
    }

    /// Waits for the end of the process and of its output.
    #[track_caller]
    pub fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        let status = wait_some(&format!("the end of {}", self.name), limit, || self.child.try_wait().ok()?);
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap_or_else(|_| fail("a reader of output failed"));
        }
        status
    }

    /// Waits for a line of standard error that `wanted` accepts; fails at once if the process ends before.
    #[track_caller]
    pub fn wait_stderr(&mut self, what: &str, limit: Duration, wanted: impl Fn(&str) -> bool) -> String {
        let found = within(limit, || {
            let line = self.stderr.text().lines().find(|line| wanted(line)).map(str::to_owned);
            match (line, self.is_running()) {
                (Some(line), _) => Some(Some(line)),
                (None, false) => Some(None),
                (None, true) => None,
            }
        });
        found.flatten().unwrap_or_else(|| fail(format_args!("{}: no {what}\n{self}", self.name)))
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stderr = self.stderr.text();
        let skipped = stderr.lines().count().saturating_sub(SHOWN_LINES);
        writeln!(f, "--- {} (pid {}), last lines of stderr:", self.name, self.pid())?;
        stderr.lines().skip(skipped).try_for_each(|line| writeln!(f, "  {line}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            let mut text = String::new();
            let _ = write!(text, "{self}");
            show(&text);
        }
        // Already gone is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(clippy::print_stderr, reason = "the output of a failed test's processes belongs into its report")]
fn show(text: &str) {
    eprintln!("{text}");
}
