//! `tidegate config`: the settings in effect, and a schema of them for editors.

use std::process::ExitCode;

use crate::cli::{ConfigCommand, ConfigPath};
use crate::exit::Fatal;
use crate::{load, say};

/// Runs the command and gives its exit code.
pub(crate) fn run(command: &ConfigCommand) -> Result<ExitCode, Fatal> {
    match command {
        ConfigCommand::Show(ConfigPath { config }) => {
            say(&tidegate_config::to_toml(&load(config)?.effective()));
        }
        ConfigCommand::Schema => say(tidegate_config::SCHEMA),
    }
    Ok(ExitCode::SUCCESS)
}
