//! How the files are read without a trace.
//!
//! SQLite's own read-only mode makes `-wal` and `-shm` files when they are missing. So, by what lies there:
//! - no log, or an empty one: the database alone, as a file that does not change (`immutable`);
//! - a log with its index: both are read, the index through a read-only mapping (`readonly_shm`). Where no other
//!   process has it open, SQLite builds an index of its own in memory;
//! - a log without its index: the database alone, and [`Log::Unread`] says so.
//!
//! A gateway may start or stop at any time: what lies there is looked at again before each transaction.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{InspectError, Log, Names, Result};
use crate::store::schema::{APPLICATION_ID, VERSION};
use crate::store::with_suffix;

/// An open connection, and what it was opened for.
#[derive(Debug)]
pub(super) struct Source {
    connection: Connection,
    log: Log,
    /// Which tables the schema has.
    pub(super) version: i64,
}

/// Why a source could not be opened.
#[derive(Debug)]
pub(super) enum Failure {
    Missing(io::Error),
    Other(InspectError),
}

impl Failure {
    pub(super) fn or_missing(self, dir: &Path) -> InspectError {
        match self {
            Self::Missing(source) => InspectError::Missing { dir: dir.to_owned(), source },
            Self::Other(error) => error,
        }
    }
}

/// What lies beside the database.
pub(super) fn log_of(path: &Path) -> Log {
    let bytes = fs::metadata(with_suffix(path, "-wal")).map_or(0, |metadata| metadata.len());
    match bytes {
        0 => Log::None,
        _ if with_suffix(path, "-shm").exists() => Log::Read,
        _ => Log::Unread,
    }
}

impl Source {
    pub(super) fn open(path: &Path) -> std::result::Result<Self, Failure> {
        // Looked at, not opened: a gateway in this process may have it open, and to close it would give up that one's locks
        // (https://sqlite.org/howtocorrupt.html, section 2.2).
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Err(Failure::Missing(io::Error::other("it is not a file"))),
            Err(error) => return Err(Failure::Missing(error)),
        }
        let database =
            |message: String| Failure::Other(InspectError::Database { path: path.to_owned(), message });
        let log = log_of(path);
        let connection = connect(path, log).map_err(|error| database(error.to_string()))?;
        let version = check(&connection, path).map_err(Failure::Other)?;
        Ok(Self { connection, log, version })
    }

    pub(super) fn log(&self) -> Log {
        self.log
    }

    /// Asks in one transaction.
    pub(super) fn ask<T>(
        &mut self,
        path: &Path,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        self.try_ask(path, question).map_err(|error| failed(path, &error))
    }

    /// As `ask`, but leaves the judgement of the error to the caller.
    pub(super) fn try_ask<T>(
        &mut self,
        path: &Path,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let log = log_of(path);
        if log != self.log {
            self.connection = connect(path, log)?;
            self.log = log;
        }
        question(&self.connection)
    }

    pub(super) fn names(&mut self, path: &Path) -> Result<Names> {
        let by_id = self.ask(path, |connection| {
            let mut statement =
                connection.prepare("SELECT id, name FROM consumer WHERE id BETWEEN 0 AND 63")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })?;
        Ok(Names { by_id })
    }
}

pub(super) fn failed(path: &Path, error: &rusqlite::Error) -> InspectError {
    InspectError::Database { path: path.to_owned(), message: error.to_string() }
}

fn connect(path: &Path, log: Log) -> rusqlite::Result<Connection> {
    let mode = if log == Log::Read { "mode=ro&readonly_shm=1" } else { "mode=ro&immutable=1" };
    let uri = PathBuf::from(format!("file:{}?{mode}", escaped(path)));
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    for pragma in ["query_only = ON", "trusted_schema = OFF", "cell_size_check = ON", "writable_schema = ON"]
    {
        // `writable_schema` lets a file be read that is shorter than its header says; nothing can be written here.
        connection.execute_batch(&format!("PRAGMA {pragma}"))?;
    }
    Ok(connection)
}

/// A path in a URI (https://sqlite.org/uri.html): all but the plainest bytes are escaped.
fn escaped(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    let one = |byte: &u8| if plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02x}") };
    path.as_os_str().as_bytes().iter().map(one).collect()
}

/// The schema version, of a database that is ours and not newer than this program.
fn check(connection: &Connection, path: &Path) -> Result<i64> {
    let one = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let tables = "SELECT COUNT(*) FROM sqlite_master WHERE name IN ('meta', 'batch', 'lane', 'consumer')";
    let ours = one(tables).map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => {
            let message = "it is not an SQLite database".to_owned();
            InspectError::Database { path: path.to_owned(), message }
        }
        _ => failed(path, &error),
    })?;
    let application_id = one("PRAGMA application_id").unwrap_or(0);
    // A flipped byte in the header does not make our tables another program's, nor lost tables our file.
    if ours < 4 && application_id != APPLICATION_ID {
        return Err(InspectError::Foreign { path: path.to_owned(), application_id });
    }
    let marks = [one("SELECT version FROM meta"), one("PRAGMA user_version")];
    let found = marks.into_iter().map(|mark| mark.unwrap_or(0)).min().unwrap_or(0);
    if found > VERSION {
        return Err(InspectError::Newer { path: path.to_owned(), found, known: VERSION });
    }
    let gaps = one("SELECT COUNT(*) FROM sqlite_master WHERE name = 'gap'").unwrap_or(0);
    Ok(if gaps == 0 { 1 } else { VERSION })
}
