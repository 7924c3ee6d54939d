//! The operator's end of the control socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::{Answer, LINE_BYTES_MAX, Request, SOCKET};

/// What the longest command may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("no gateway is running")]
    NotRunning,
    #[error("the gateway does not answer at its control socket: {0}")]
    Silent(std::io::Error),
    #[error("the gateway's answer cannot be read; is it of another version?")]
    Unreadable,
}

/// Asks the gateway whose buffer is in `dir`.
pub(crate) fn ask(dir: &Path, request: &Request) -> Result<Answer, ClientError> {
    let line = exchange(connect(dir)?, request).map_err(ClientError::Silent)?;
    serde_json::from_str(&line).map_err(|_| ClientError::Unreadable)
}

/// Asks for something that goes on: the answer, and the lines that follow it.
pub(crate) fn follow(dir: &Path, request: &Request) -> Result<(Answer, BufReader<UnixStream>), ClientError> {
    let mut reader = BufReader::new(send(connect(dir)?, request).map_err(ClientError::Silent)?);
    let mut line = String::new();
    (&mut reader).take(LINE_BYTES_MAX).read_line(&mut line).map_err(ClientError::Silent)?;
    let answer = serde_json::from_str(&line).map_err(|_| ClientError::Unreadable)?;
    // Minutes may pass without an event.
    reader.get_ref().set_read_timeout(None).map_err(ClientError::Silent)?;
    Ok((answer, reader))
}

fn connect(dir: &Path) -> Result<UnixStream, ClientError> {
    UnixStream::connect(dir.join(SOCKET)).map_err(|error| match error.kind() {
        // A socket file that nobody listens at is left by a gateway that was killed.
        std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => ClientError::NotRunning,
        _ => ClientError::Silent(error),
    })
}

fn exchange(stream: UnixStream, request: &Request) -> std::io::Result<String> {
    let mut line = String::new();
    BufReader::new(send(stream, request)?).take(LINE_BYTES_MAX).read_line(&mut line)?;
    Ok(line)
}

fn send(mut stream: UnixStream, request: &Request) -> std::io::Result<UnixStream> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    Ok(stream)
}
