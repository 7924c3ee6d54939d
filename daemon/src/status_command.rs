//! `tidegate status` and `tidegate top`: how the running gateway is, once, or again and again.

mod screen;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::thread::sleep;

use serde_json::Value;

use crate::cli::{Asked, BufferPlace, Top};
use crate::control::{Answer, ClientError, Request, ask};
use crate::exit::{Exit, Fatal};
use crate::tap_command::fatal;
use crate::{buffer_command, say};
use screen::{Rates, frame, summary};

/// The cursor goes home, and what was there goes.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

/// Shows it once. The exit code says whether it lives and can store.
pub(crate) fn run(status: &Asked) -> Result<ExitCode, Fatal> {
    let found = ask_status(&status.place)?;
    if status.json {
        say(&format!("{found}\n"));
    } else {
        say(&summary(&found));
    }
    let is_well = ["live", "ready"].iter().all(|why| found.get(why).is_none_or(Value::is_null));
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Shows it until Ctrl-C, or until the gateway ends.
pub(crate) fn top(top: &Top) -> Result<ExitCode, Fatal> {
    let mut before = ask_status(&top.place)?;
    let clear = if !top.once && std::io::stdout().is_terminal() { CLEAR } else { "" };
    loop {
        sleep(top.interval);
        let now = ask_status(&top.place)?;
        say(&format!("{clear}{}", frame(&now, &Rates::between(&before, &now, top.interval))));
        if top.once {
            return Ok(ExitCode::SUCCESS);
        }
        before = now;
    }
}

fn ask_status(place: &BufferPlace) -> Result<Value, Fatal> {
    match ask(&buffer_command::dir(place)?, &Request::Status).map_err(fatal)? {
        Answer::Found(found) => Ok(found),
        Answer::Failed(why) => Err(Fatal::new(Exit::Unavailable, why)),
        Answer::Done(_) => Err(fatal(ClientError::Unreadable)),
    }
}
