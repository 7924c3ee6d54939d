//! The gateway's end of the control socket.

use std::cell::Cell;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::{Answer, LINE_BYTES_MAX, Request, SOCKET};
use crate::tap::Tapped;

/// Operators at a time.
const CONNECTIONS_MAX: usize = 8;
/// Of the memory for lines of a tap, kept while nothing happens.
const LINES_BYTES_KEPT: usize = 64 * 1024;
/// For a request to be sent, and for an answer to be taken.
const TIMEOUT: Duration = Duration::from_secs(10);
/// After the system could not give a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// What a request leads to.
pub(crate) enum Reply {
    /// One answer.
    Answer(Answer),
    /// An answer, and then what comes out of the tap.
    Stream(Tapped),
}

impl From<Result<Tapped, String>> for Reply {
    fn from(result: Result<Tapped, String>) -> Reply {
        result.map_or_else(|error| Reply::Answer(Answer::Failed(error)), Reply::Stream)
    }
}

/// Answers requests with `handle` for ever. The buffer's folder belongs to this process, so a socket that is there is
/// of one that has ended.
pub(crate) async fn serve<H, F>(dir: &Path, handle: H)
where
    H: Fn(Request) -> F + 'static,
    F: Future<Output = Reply> + 'static,
{
    let path = dir.join(SOCKET);
    let listener = match bind(&path) {
        Ok(listener) => listener,
        Err(error) => {
            warn!(
                "no control socket at {}: {error}; commands that change the buffer need a stop",
                path.display()
            );
            return;
        }
    };
    let (handle, open) = (Rc::new(handle), Rc::new(Cell::new(0)));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) if open.get() < CONNECTIONS_MAX => stream,
            Ok(_) => continue,
            Err(_) => {
                sleep(PAUSE).await;
                continue;
            }
        };
        let (handle, open) = (Rc::clone(&handle), Rc::clone(&open));
        open.set(open.get() + 1);
        spawn_local(async move {
            if let Err(error) = converse(stream, &*handle).await {
                debug!("control socket: {error}");
            }
            open.set(open.get() - 1);
        });
    }
}

/// Only this user may come in, from the first moment on: the socket gets its name when its mode is right.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let new = path.with_extension("new");
    for leftover in [&new, path] {
        match std::fs::remove_file(leftover) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let listener = UnixListener::bind(&new)?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&new, path)?;
    Ok(listener)
}

async fn converse<F: Future<Output = Reply>>(
    stream: UnixStream,
    handle: &impl Fn(Request) -> F,
) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(read.take(LINE_BYTES_MAX));
    timeout(TIMEOUT, reader.read_line(&mut line)).await??;
    let reply = match serde_json::from_str(&line) {
        Ok(request) => handle(request).await,
        Err(error) => Reply::Answer(Answer::Failed(format!("the request cannot be read: {error}"))),
    };
    let (answer, tapped) = match reply {
        Reply::Answer(answer) => (answer, None),
        Reply::Stream(tapped) => (Answer::Done(0), Some(tapped)),
    };
    let mut line = serde_json::to_string(&answer)?;
    line.push('\n');
    timeout(TIMEOUT, write.write_all(line.as_bytes())).await??;
    match tapped {
        Some(tapped) => follow(tapped, &mut reader, &mut write).await,
        None => Ok(()),
    }
}

/// Writes what comes out of a tap until its reader goes, however slowly it reads.
async fn follow(
    mut tapped: Tapped,
    reader: &mut (impl AsyncReadExt + Unpin),
    write: &mut (impl AsyncWriteExt + Unpin),
) -> io::Result<()> {
    let mut lines = Vec::new();
    let mut end = [0];
    loop {
        tokio::select! {
            more = tapped.read(&mut lines) => if !more { return Ok(()) },
            // It says nothing more: this is its end.
            _ = reader.read(&mut end) => return Ok(()),
        }
        write.write_all(&lines).await?;
        lines.clear();
        lines.shrink_to(LINES_BYTES_KEPT);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;
    use std::path::Path;

    use super::{Answer, Reply, Request, SOCKET, serve};
    use crate::control::{ClientError, ask, follow};
    use crate::tap::Taps;

    /// Runs a server that counts the numbers it is asked to drop, and `client` beside it.
    fn beside_a_server<T: Send + 'static>(dir: &Path, client: impl FnOnce(&Path) -> T + Send + 'static) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let owned = dir.to_owned();
        tokio::task::LocalSet::new().block_on(&runtime, async move {
            let server = tokio::task::spawn_local({
                let dir = owned.clone();
                async move {
                    serve(&dir, async |request| match request {
                        Request::Drop { ids } => Reply::Answer(Answer::Done(ids.len() as u64)),
                        Request::Tap { filter } => tapped(&filter).into(),
                        other => Reply::Answer(Answer::Failed(format!("{other:?}"))),
                    })
                    .await;
                }
            });
            let result = tokio::task::spawn_blocking(move || {
                while !owned.join(SOCKET).exists() {
                    std::thread::yield_now();
                }
                client(&owned)
            });
            let result = result.await.unwrap();
            server.abort();
            result
        })
    }

    /// What comes out of a tap through which two outputs went before it ended.
    fn tapped(filter: &str) -> Result<crate::tap::Tapped, String> {
        let mut taps = Taps::default();
        let filter = tidegate_rules::TopicFilter::parse(filter).map_err(|error| error.to_string())?;
        let tapped = taps.open(filter)?;
        taps.handle_output("a", || b"one\n".to_vec());
        taps.handle_output("a", || b"two\n".to_vec());
        Ok(tapped)
    }

    #[test]
    fn what_goes_on_is_followed_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let (answer, lines, refused) = beside_a_server(dir.path(), |dir| {
            let (answer, mut reader) = follow(dir, &Request::Tap { filter: "#".into() }).unwrap();
            let mut lines = String::new();
            reader.read_to_string(&mut lines).unwrap();
            (answer, lines, follow(dir, &Request::Tap { filter: "a/#/b".into() }).unwrap().0)
        });
        assert_eq!((answer, lines.as_str()), (Answer::Done(0), "one\ntwo\n"));
        assert!(matches!(refused, Answer::Failed(_)), "{refused:?}");
    }

    #[test]
    fn a_question_is_answered() {
        let dir = tempfile::tempdir().unwrap();
        // A gateway that was killed leaves its socket.
        drop(std::os::unix::net::UnixListener::bind(dir.path().join("control.new")).unwrap());
        let (answer, mode) = beside_a_server(dir.path(), |dir| {
            let mode = std::fs::metadata(dir.join(SOCKET)).unwrap().permissions().mode();
            (ask(dir, &Request::Drop { ids: vec![1, 2, 3] }).unwrap(), mode & 0o777)
        });
        assert_eq!((answer, mode), (Answer::Done(3), 0o600));
    }

    #[test]
    fn what_is_no_request_is_answered_too() {
        let dir = tempfile::tempdir().unwrap();
        let answer = beside_a_server(dir.path(), |dir| {
            let mut stream = UnixStream::connect(dir.join(SOCKET)).unwrap();
            stream.write_all(b"\xc3\xa4 {\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        assert!(answer.starts_with(r#"{"failed":"the request cannot be read:"#), "{answer}");
    }

    #[test]
    fn without_a_gateway_there_is_nobody_to_ask() {
        let dir = tempfile::tempdir().unwrap();
        let request = Request::Drop { ids: Vec::new() };
        assert!(matches!(ask(dir.path(), &request), Err(ClientError::NotRunning)));
        drop(std::os::unix::net::UnixListener::bind(dir.path().join(SOCKET)).unwrap());
        assert!(matches!(ask(dir.path(), &request), Err(ClientError::NotRunning)));
    }
}
