//! Logs: to the journal where systemd reads our stderr, to stderr as lines otherwise. The last warnings are kept for those
//! who look at the gateway itself.

use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::io::{IsTerminal, Write as _};
use std::sync::{Mutex, OnceLock, PoisonError};

use serde::Serialize;
use serde_json::Value;
use tidegate_config::{Level, LogFormat};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use tidegate_buffer::Stamp;

use crate::text;

/// How many warnings are kept, and how much of each.
const RECENT_MAX: usize = 50;
const LINE_BYTES_MAX: usize = 500;

static RECENT: Mutex<VecDeque<Line>> = Mutex::new(VecDeque::new());

/// A warning or an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    /// RFC 3339.
    pub(crate) at: String,
    /// `WARN` or `ERROR`.
    pub(crate) level: &'static str,
    pub(crate) text: String,
}

/// The last warnings and errors, the oldest first.
pub(crate) fn recent() -> Vec<Line> {
    RECENT.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
}

/// Keeps warnings and errors.
struct Recent;

impl<S: Subscriber> Layer<S> for Recent {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = *event.metadata().level();
        if level > tracing::Level::WARN {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        let line = Line { at: text::time(Stamp::now().wall_ms), level: level.as_str(), text: text.finish() };
        let mut recent = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == RECENT_MAX {
            recent.pop_front();
        }
        recent.push_back(line);
    }
}

/// The message first, then the fields.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn finish(self) -> String {
        let mut text = self.message + &self.fields;
        if text.len() > LINE_BYTES_MAX {
            text.truncate(text.floor_char_boundary(LINE_BYTES_MAX));
            text.push('…');
        }
        text
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // A string takes whatever is written.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

/// One line each for programs: when, how important, what, and what belongs to it.
struct Json;

impl<S: Subscriber> Layer<S> for Json {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut object = Object::default();
        event.record(&mut object);
        let mut line = json(text::time(Stamp::now().wall_ms), event.metadata().level(), object).to_string();
        line.push('\n');
        // Nobody can be told that standard error cannot be written.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

/// The message, and the fields by their names.
#[derive(Default)]
struct Object {
    message: String,
    fields: serde_json::Map<String, Value>,
}

impl Object {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(message)) => self.message = message,
            (name, value) => drop(self.fields.insert(name.to_owned(), value)),
        }
    }
}

impl Visit for Object {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

/// Fields cannot take the place of what every line has.
fn json(at: String, level: &tracing::Level, object: Object) -> Value {
    let mut line = object.fields;
    line.insert("at".into(), at.into());
    line.insert("level".into(), level.as_str().to_ascii_lowercase().into());
    line.insert("message".into(), object.message.into());
    line.into()
}

/// Lets another level be set while the gateway runs.
static LEVEL: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

/// Turns logging on. May be called once; a later call changes nothing.
pub(crate) fn start(settings: tidegate_config::Log) {
    let (level, handle) = reload::Layer::new(filter(settings.level));
    // A second start finds a subscriber in place; the first one's choice stands.
    let _ = LEVEL.set(handle);
    let registry = tracing_subscriber::registry().with(level).with(Recent);
    let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
    let _ = match (journal, settings.format) {
        (Some(journal), _) => registry.with(journal).try_init(),
        (None, LogFormat::Json) => registry.with(Json).try_init(),
        (None, LogFormat::Text) => {
            let lines = tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(std::io::stderr().is_terminal())
                .with_target(false);
            registry.with(lines).try_init()
        }
    };
}

/// Logs from this level on.
pub(crate) fn set_level(level: Level) {
    if let Some(handle) = LEVEL.get() {
        // The subscriber lives as long as the program.
        let _ = handle.reload(filter(level));
    }
}

fn filter(level: Level) -> LevelFilter {
    match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Object, json as line};

    #[test]
    fn a_line_is_an_object_that_fields_cannot_forge() {
        let mut object = Object { message: "connected".into(), ..Object::default() };
        object.fields.insert("uplink".into(), "cloud".into());
        object.fields.insert("level".into(), "none".into());
        let expected =
            json!({"at": "2026-11-21T12:00:00Z", "level": "warn", "message": "connected", "uplink": "cloud"});
        assert_eq!(line("2026-11-21T12:00:00Z".into(), &tracing::Level::WARN, object), expected);
    }
}
