//! `tidegate reload`: the running gateway reads its configuration anew, and says what came of it.

use std::process::ExitCode;

use crate::cli::Asked;
use crate::control::{Answer, Request, ask};
use crate::exit::{Exit, Fatal};
use crate::reload::Report;
use crate::tap_command::fatal;
use crate::{buffer_command, complain, say};

/// Runs the command and gives its exit code.
pub(crate) fn run(reload: &Asked) -> Result<ExitCode, Fatal> {
    // A configuration that is wrong says so here already; where the gateway is it may say all the same.
    let dir = buffer_command::dir(&reload.place)?;
    let value = match ask(&dir, &Request::Reload).map_err(fatal)? {
        Answer::Found(value) => value,
        Answer::Failed(why) => {
            complain(&format!("{}\n", why.trim_end()));
            return Err(Fatal::new(Exit::Config, "not reloaded; the gateway goes on as it was"));
        }
        Answer::Done(_) => return Err(fatal(crate::control::ClientError::Unreadable)),
    };
    if reload.json {
        say(&format!("{value}\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let report: Report =
        serde_json::from_value(value).map_err(|_| fatal(crate::control::ClientError::Unreadable))?;
    complain(&report.warnings);
    say(&shown(&report));
    Ok(ExitCode::SUCCESS)
}

fn shown(report: &Report) -> String {
    let changed = report.changed.iter().map(|line| format!("{line}\n"));
    let restart = report.restart.iter().map(|line| format!("not before a restart: {line}\n"));
    let lines: String = changed.chain(restart).collect();
    if lines.is_empty() { "reloaded; nothing is another than before\n".to_owned() } else { lines }
}

#[cfg(test)]
mod tests {
    use super::shown;
    use crate::reload::Report;

    #[test]
    fn what_is_in_effect_comes_before_what_has_to_wait() {
        let report = Report { changed: vec!["a".into()], restart: vec!["b".into()], warnings: String::new() };
        assert_eq!(shown(&report), "a\nnot before a restart: b\n");
        assert!(shown(&Report::default()).contains("nothing"));
    }
}
