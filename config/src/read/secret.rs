//! `username` and `password`: how somebody says who he is, and where the secret is to be found.

use std::path::Path;
use std::time::Duration;

use super::buffer::path;
use super::name::check_plain;
use crate::mistake::Mistake;
use crate::section::Section;
use crate::tree::{Node, Value};
use crate::{Secret, Version};

pub(super) fn login(
    section: &mut Section<'_, '_>,
    version: Version,
    folder: &Path,
) -> (Option<String>, Option<Secret>) {
    let username = section.text("username").and_then(|text| check_plain(text, "username", section.mistakes));
    let Some(node) = section.take("password") else { return (username, None) };
    // MQTT 3.1.1, 3.1.2.9: without a user name there is no password either.
    if version == Version::V311 && section.key("username").is_none() {
        let message = "MQTT 3.1.1 has no password without a user name";
        section.mistakes.push(Mistake::error(&node.place, message).help("add `username`"));
    }
    let secret = secret(section, node, folder);
    (username, secret)
}

const SECRET_HELP: &str = "write `{ credential = \"name\" }` (a systemd credential), `{ file = \"path\" }`, \
                           `{ env = \"NAME\" }` or `{ command = [\"/path\", \"argument\"] }`";

pub(super) fn secret(section: &mut Section<'_, '_>, node: &Node, folder: &Path) -> Option<Secret> {
    if let Value::Text(_) = node.value {
        let mistake = Mistake::error(&node.place, "a password cannot stand in a settings file");
        section.mistakes.push(mistake.help(SECRET_HELP));
        return None;
    }
    let mut inner = Section::open(node, "password", section.mistakes)?;
    let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let credential = named(&mut inner, "credential", |name| name.bytes().all(word) && !name.starts_with('.'));
    let env = named(&mut inner, "env", |name| !name.contains(['=', '\0']));
    let file = path(&mut inner, "file", folder);
    let command = command(&mut inner);
    let given =
        ["credential", "file", "env", "command"].iter().filter(|key| inner.key(key).is_some()).count();
    if given != 1 {
        inner
            .mistakes
            .push(Mistake::error(&node.place, "`password` needs exactly one source").help(SECRET_HELP));
    }
    inner.finish();
    credential.map(Secret::Credential).or(file.map(Secret::File)).or(env.map(Secret::Env)).or(command)
}

/// A program's output, for tokens that do not live long.
fn command(section: &mut Section<'_, '_>) -> Option<Secret> {
    let help = "write `command = [\"/usr/bin/token\", \"argument\"]`";
    let texts = section.texts("command", 1..=64, help);
    let timeout = section.duration("timeout", Duration::from_millis(100)..=Duration::from_secs(60));
    let Some(texts) = texts else {
        if let Some(place) = section.key("timeout") {
            section.mistakes.push(Mistake::error(place, "`timeout` goes with `command` only"));
        }
        return None;
    };
    let program = texts.first()?;
    if !program.value.starts_with('/') {
        section
            .mistakes
            .push(Mistake::error(program.place, "a program is named by its whole path").help(help));
    }
    if let Some(text) = texts.iter().find(|text| text.value.contains('\0')) {
        section.mistakes.push(Mistake::error(text.place, "an argument cannot have a zero byte in it"));
    }
    let command = texts.into_iter().map(|text| text.value.to_owned()).collect();
    Some(Secret::Command { command, timeout: timeout.unwrap_or(Duration::from_secs(5)) })
}

fn named(section: &mut Section<'_, '_>, key: &'static str, is_good: impl Fn(&str) -> bool) -> Option<String> {
    let text = section.text(key)?;
    if text.value.is_empty() || !is_good(text.value) {
        section
            .mistakes
            .push(Mistake::error(text.place, format!("`{}` cannot be the name of a secret", text.value)));
        return None;
    }
    Some(text.value.to_owned())
}
