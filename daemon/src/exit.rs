//! Exit codes, as sysexits.h names them, so that a service manager can tell a mistake from a mishap.

use std::process::ExitCode;

/// How the program ends when it does not end well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// The command line is wrong.
    Usage = 64,
    /// What was given cannot be read, or the demo's books do not balance.
    Data = 65,
    /// There is no buffer where one was looked for.
    NoInput = 66,
    /// A port is in use, an address is not ours.
    Unavailable = 69,
    /// A defect of the program.
    Software = 70,
    /// The system refused something basic: a thread, a signal handler.
    Os = 71,
    /// The buffer directory cannot be made or written, or someone else has it open.
    CantCreate = 73,
    /// Reading or writing the buffer failed.
    Io = 74,
    /// The configuration is wrong.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// An error that ends the program: the code, and what to say.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Fatal {
    pub(crate) exit: Exit,
    message: String,
}

impl Fatal {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Fatal {
        Fatal { exit, message: message.into() }
    }
}
