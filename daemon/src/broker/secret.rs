//! Passwords, read anew at each connect, so that a rotated one needs no restart. A secret's text is in no log and in no
//! error.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tidegate_config::Secret;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// The longest secret. MQTT's passwords have 16 bits of length (section 3.1.3.6).
const SECRET_BYTES_MAX: usize = 65_535;

/// The secret could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    /// The service manager has handed over no credentials.
    #[error("credential '{0}': CREDENTIALS_DIRECTORY is not set; add LoadCredential={0}:PATH to the unit")]
    NoCredentials(String),
    /// The file is not there, or not to be read by this user.
    #[error("password file {path}: {1}", path = .0.display())]
    Unreadable(PathBuf, std::io::Error),
    /// The variable is not set, or is not text.
    #[error("environment variable {0} is not set to a text")]
    NoVariable(String),
    /// The program could not be started, or its output not be read.
    #[error("password command {0}: {1}")]
    Command(String, std::io::Error),
    /// The program has ended with a failure.
    #[error("password command {0}: {1}")]
    CommandFailed(String, ExitStatus),
    /// The program has not ended in time, and was killed.
    #[error("password command {0}: no answer within {1:?}")]
    CommandTimeout(String, Duration),
    /// More than a password can be, or no text.
    #[error("{0}: what it gives is no text of at most {SECRET_BYTES_MAX} bytes")]
    NoPassword(String),
    /// The task that reads has failed.
    #[error("the password could not be read: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Reads a secret from where the configuration says. A line break at its end is not part of it.
pub(crate) async fn read(secret: &Secret) -> Result<String, SecretError> {
    let path = match secret {
        Secret::Env(name) => return std::env::var(name).map_err(|_| SecretError::NoVariable(name.clone())),
        Secret::Command { command, timeout } => return output(command, *timeout).await,
        Secret::File(path) => path.clone(),
        Secret::Credential(name) => match std::env::var_os("CREDENTIALS_DIRECTORY") {
            Some(directory) => Path::new(&directory).join(name),
            None => return Err(SecretError::NoCredentials(name.clone())),
        },
    };
    spawn_blocking(move || read_file(&path)).await?
}

fn read_file(path: &Path) -> Result<String, SecretError> {
    let bytes = std::fs::read(path).map_err(|error| SecretError::Unreadable(path.into(), error))?;
    text(bytes).ok_or_else(|| SecretError::NoPassword(path.display().to_string()))
}

/// What a program writes to its standard output. It gets no input, and is killed when its time is over.
async fn output(command: &[String], limit: Duration) -> Result<String, SecretError> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(SecretError::NoPassword("an empty command".into()));
    };
    let fail = |error| SecretError::Command(program.clone(), error);
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(fail)?;
    let stdout = child.stdout.take();
    let read = async {
        let mut bytes = Vec::new();
        if let Some(stdout) = stdout {
            stdout.take(SECRET_BYTES_MAX as u64 + 2).read_to_end(&mut bytes).await?;
        }
        Ok((bytes, child.wait().await?))
    };
    let late = || SecretError::CommandTimeout(program.clone(), limit);
    let (bytes, status) = timeout(limit, read).await.map_err(|_| late())?.map_err(fail)?;
    if !status.success() {
        return Err(SecretError::CommandFailed(program.clone(), status));
    }
    text(bytes).ok_or_else(|| SecretError::NoPassword(program.clone()))
}

fn text(bytes: Vec<u8>) -> Option<String> {
    let mut text = String::from_utf8(bytes).ok()?;
    text.truncate(text.trim_end_matches(['\n', '\r']).len());
    (text.len() <= SECRET_BYTES_MAX).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{SECRET_BYTES_MAX, SecretError};
    use tidegate_config::Secret;

    fn read(secret: &Secret) -> Result<String, SecretError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(super::read(secret))
    }

    fn shell(script: &str, timeout: Duration) -> Result<String, SecretError> {
        read(&Secret::Command { command: ["/bin/sh", "-c", script].map(str::to_owned).into(), timeout })
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_file_is_read_without_its_line_break() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        std::fs::write(&path, " se cret\r\n").unwrap();
        assert_eq!(read(&Secret::File(path)).unwrap(), " se cret");
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = read(&Secret::File("/no/such/file".into())).unwrap_err().to_string();
        assert!(error.contains("/no/such/file"), "{error}");
        let error = read(&Secret::Env("TIDEGATE_NO_SUCH_VARIABLE".into())).unwrap_err().to_string();
        assert!(error.contains("TIDEGATE_NO_SUCH_VARIABLE"), "{error}");
        let secret = Secret::Command { command: vec!["/no/such/program".into()], timeout: LONG };
        let error = read(&secret).unwrap_err().to_string();
        assert!(error.contains("/no/such/program"), "{error}");
    }

    #[test]
    fn a_program_is_asked_and_its_failure_is_not_a_password() {
        assert_eq!(shell("printf 'to ken\\n'; echo noise >&2; cat", LONG).unwrap(), "to ken");
        let error = shell("echo secret; exit 3", LONG).unwrap_err().to_string();
        assert!(error.contains('3') && !error.contains("secret"), "{error}");
        let error = shell("printf '\\377'", LONG).unwrap_err().to_string();
        assert!(error.contains("no text"), "{error}");
    }

    #[test]
    fn a_program_that_says_too_much_or_nothing_is_bounded() {
        let least = format!("head -c {SECRET_BYTES_MAX} /dev/zero | tr '\\0' x");
        assert_eq!(shell(&least, LONG).unwrap().len(), SECRET_BYTES_MAX);
        assert!(shell("yes", LONG).is_err());
        let start = Instant::now();
        let error = shell("exec sleep 600", Duration::from_millis(50)).unwrap_err().to_string();
        assert!(error.contains("50ms") && start.elapsed() < LONG, "{error}");
    }
}
