//! `[gateway]` and `[log]`.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::buffer::path;
use super::name::is_gateway_id;
use super::table;
use crate::mistake::Mistake;
use crate::section::Section;
use crate::tree::Value;
use crate::{ClockTrust, Gateway, Level, Log, LogFormat};

const CLOCK_HELP: &str =
    "write \"auto\", \"trusted\", or `{ file = \"path\" }` for a file that is there once the clock is set";
const STATUS_HELP: &str =
    "write an address and a port, such as \"127.0.0.1:9470\"; \"0.0.0.0:9470\" shows it to the network";
const ID_HELP: &str = "an id has 1 to 64 of the characters A-Z, a-z, 0-9, `.`, `_` and `-`";

pub(super) fn gateway(
    root: &mut Section<'_, '_>,
    folder: &Path,
    host_name: impl FnOnce() -> Option<String>,
) -> Gateway {
    let read = |section: &mut Section<'_, '_>| {
        let written = section.text("id").map(|text| {
            if !is_gateway_id(text.value) {
                let message = format!("`{}` cannot be the id of a gateway", text.value);
                section.mistakes.push(Mistake::error(text.place, message).help(ID_HELP));
            }
            text.value.to_owned()
        });
        let stop_timeout = section.duration("stop_timeout", Duration::ZERO..=Duration::from_secs(600));
        let clock = clock(section, folder);
        // An id of the wrong type is reported already, and not missing.
        (written.or_else(|| section.key("id").map(|_| String::new())), stop_timeout, clock)
    };
    let (id, stop_timeout, clock) = table(root, "gateway", read).unwrap_or_default();
    Gateway {
        id: id.unwrap_or_else(|| default_id(root, host_name())),
        stop_timeout: stop_timeout.unwrap_or(Duration::from_secs(5)),
        clock: clock.unwrap_or_default(),
    }
}

fn clock(section: &mut Section<'_, '_>, folder: &Path) -> Option<ClockTrust> {
    let node = section.take("clock")?;
    match &node.value {
        Value::Text(word) if word == "auto" => Some(ClockTrust::Auto),
        Value::Text(word) if word == "trusted" => Some(ClockTrust::Always),
        Value::Table(_) => {
            let mut inner = Section::open(node, "clock", section.mistakes)?;
            let file = path(&mut inner, "file", folder);
            if inner.key("file").is_none() {
                inner.mistakes.push(Mistake::error(&node.place, "`file` is missing").help(CLOCK_HELP));
            }
            inner.finish();
            file.map(ClockTrust::File)
        }
        _ => {
            let message = "`clock` has to say when the time of day is right";
            section.mistakes.push(Mistake::error(&node.place, message).help(CLOCK_HELP));
            None
        }
    }
}

fn default_id(root: &mut Section<'_, '_>, host_name: Option<String>) -> String {
    let name = host_name.unwrap_or_default();
    if !is_gateway_id(&name) {
        let message = format!("the gateway has no id, and the host name `{name}` cannot be one");
        let help = format!("write `id = \"…\"` in `[gateway]`; {ID_HELP}");
        root.mistakes.push(Mistake::error(root.place, message).help(help));
    }
    name
}

pub(super) fn log(root: &mut Section<'_, '_>) -> Log {
    let levels = [
        ("error", Some(Level::Error)),
        ("warn", Some(Level::Warn)),
        ("info", Some(Level::Info)),
        ("debug", Some(Level::Debug)),
        ("trace", Some(Level::Trace)),
    ];
    let formats = [("text", Some(LogFormat::Text)), ("json", Some(LogFormat::Json))];
    let read =
        |section: &mut Section<'_, '_>| (section.word("level", &levels), section.word("format", &formats));
    let (level, format) = table(root, "log", read).unwrap_or_default();
    Log { level: level.unwrap_or(Level::Info), format: format.unwrap_or_default() }
}

pub(super) fn status(root: &mut Section<'_, '_>) -> Option<SocketAddr> {
    table(root, "status", |section| {
        let bind = section.text("bind");
        if bind.is_none() && section.key("bind").is_none() {
            let message = "`bind` is missing";
            section.mistakes.push(Mistake::error(section.place, message).help(STATUS_HELP));
        }
        let bind = bind?;
        let address = bind.value.parse().ok();
        if address.is_none() {
            let message = format!("`{}` is no address with a port", bind.value);
            section.mistakes.push(Mistake::error(bind.place, message).help(STATUS_HELP));
        }
        address
    })
    .flatten()
}
