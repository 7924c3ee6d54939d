//! The settings in effect: what was written, and the default of all that was not. `tidegate config show` prints them, and a
//! reload compares them. A [`Config`] knows where secrets are and not what they say, so none is shown.

mod uplink;

use std::fmt::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use crate::units::{format_bytes, format_duration};
use crate::{Access, Alerts, Bind, ClockTrust, Config, Identity, Level, Limits, Listener, LogFormat, Table};

/// A table that belongs into rules.d.
const LOOKUP: &str = "[[table]]";

/// A table of settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveTable {
    /// The line above it, such as `[[uplink]]`.
    pub header: &'static str,
    /// What it is called: `limits`, `uplink cloud`, `listener 0.0.0.0:1883`.
    pub name: String,
    /// Keys and values, as TOML has them. What is off has no key.
    pub settings: Vec<(&'static str, String)>,
}

/// A setting that is another in another configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The table's name, as in [`EffectiveTable::name`].
    pub table: String,
    /// The setting; `None` for the whole table.
    pub key: Option<&'static str>,
    /// What it was; `None` if it was off, or not there.
    pub before: Option<String>,
    /// What it is now; `None` if it is off, or not there any more.
    pub after: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { table, key, before, after } = self;
        match (key, before, after) {
            (None, None, _) => write!(f, "{table}: added"),
            (None, Some(_), _) => write!(f, "{table}: removed"),
            (Some(key), Some(before), Some(after)) => write!(f, "{table}: {key} was {before}, is {after}"),
            (Some(key), None, Some(after)) => write!(f, "{table}: {key} is {after}"),
            (Some(key), Some(before), None) => write!(f, "{table}: {key} was {before}, is off"),
            (Some(key), None, None) => write!(f, "{table}: {key}"),
        }
    }
}

/// What is not the same in both, in the order of the tables.
pub fn differences(before: &[EffectiveTable], after: &[EffectiveTable]) -> Vec<Difference> {
    let mut found = Vec::new();
    for old in before {
        match after.iter().find(|table| table.name == old.name) {
            Some(new) => compare(old, new, &mut found),
            None => found.push(whole(old, Some(String::new()), None)),
        }
    }
    let added = after.iter().filter(|new| before.iter().all(|old| old.name != new.name));
    found.extend(added.map(|new| whole(new, None, Some(String::new()))));
    found
}

fn whole(table: &EffectiveTable, before: Option<String>, after: Option<String>) -> Difference {
    Difference { table: table.name.clone(), key: None, before, after }
}

fn compare(old: &EffectiveTable, new: &EffectiveTable, found: &mut Vec<Difference>) {
    let value = |table: &EffectiveTable, key: &str| {
        table.settings.iter().find(|(known, _)| *known == key).map(|(_, value)| value.clone())
    };
    let of_new = new.settings.iter().filter(|(key, _)| value(old, key).is_none());
    for (key, _) in old.settings.iter().chain(of_new) {
        let (before, after) = (value(old, key), value(new, key));
        if before != after {
            found.push(Difference { table: old.name.clone(), key: Some(key), before, after });
        }
    }
}

/// The tables as a main file that [`crate::load`] reads; those that belong into rules.d as comments in it.
pub fn to_toml(tables: &[EffectiveTable]) -> String {
    let mut out = String::new();
    for table in tables {
        let comment = if table.header == LOOKUP { "# " } else { "" };
        // Writing to a string does not fail.
        let _ = writeln!(out, "{comment}{}", table.header);
        for (key, value) in &table.settings {
            let _ = writeln!(out, "{comment}{key} = {value}");
        }
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

impl Config {
    /// All settings, the main file's first. Rules and routes are not among them, lookup tables are.
    pub fn effective(&self) -> Vec<EffectiveTable> {
        let mut tables = vec![self.of_gateway(), self.of_log()];
        if let Some(bind) = self.status {
            tables.push(table("[status]", "status", vec![("bind", text(&bind.to_string()))]));
        }
        tables.extend(self.alerts.as_ref().map(alerts));
        tables.extend(self.sys.map(|every| table("[sys]", "sys", vec![("every", duration(every))])));
        let trace = vec![
            ("events_max", self.trace.events_max.to_string()),
            ("one_in", self.trace.one_in.to_string()),
        ];
        tables.push(table("[trace]", "trace", trace));
        tables.extend(self.listeners.iter().map(listener));
        tables.push(table("[limits]", "limits", limits(&self.limits)));
        tables.push(table("[buffer]", "buffer", self.of_buffer()));
        tables.extend(self.uplinks.iter().map(uplink::uplink));
        tables.extend(self.sources.iter().map(uplink::source));
        tables.extend(self.tables.iter().map(lookup));
        tables
    }

    fn of_gateway(&self) -> EffectiveTable {
        let clock = match &self.gateway.clock {
            ClockTrust::Auto => text("auto"),
            ClockTrust::Always => text("trusted"),
            ClockTrust::File(file) => format!("{{ file = {} }}", path(file)),
        };
        let settings = vec![
            ("id", text(&self.gateway.id)),
            ("clock", clock),
            ("stop_timeout", duration(self.gateway.stop_timeout)),
        ];
        table("[gateway]", "gateway", settings)
    }

    fn of_log(&self) -> EffectiveTable {
        let level = match self.log.level {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        };
        let format = match self.log.format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        table("[log]", "log", vec![("level", text(level)), ("format", text(format))])
    }

    fn of_buffer(&self) -> Vec<(&'static str, String)> {
        let buffer = &self.buffer;
        let when_full = match buffer.when_full {
            tidegate_buffer::WhenFull::EvictOldest => "evict-oldest",
            tidegate_buffer::WhenFull::EvictNewest => "evict-newest",
            tidegate_buffer::WhenFull::Refuse => "refuse",
        };
        let mut settings = vec![
            ("dir", path(&buffer.dir)),
            ("max_bytes", bytes(buffer.max_bytes)),
            ("memory_bytes_max", bytes(buffer.memory_bytes_max as u64)),
            ("spill_after", duration(buffer.spill_after)),
            ("when_full", text(when_full)),
            ("reserve_bytes", bytes(buffer.reserve_bytes)),
        ];
        settings.extend(buffer.max_age.map(|age| ("max_age", duration(age))));
        settings
    }
}

fn table(header: &'static str, name: &str, settings: Vec<(&'static str, String)>) -> EffectiveTable {
    EffectiveTable { header, name: name.to_owned(), settings }
}

fn alerts(alerts: &Alerts) -> EffectiveTable {
    let settings = vec![
        ("topic", text(&alerts.topic)),
        ("disk_percent", alerts.disk_percent.to_string()),
        ("uplink_away_after", duration(alerts.uplink_away_after)),
        ("clock_after", duration(alerts.clock_after)),
        ("certificate_days", alerts.certificate_days.to_string()),
    ];
    table("[alerts]", "alerts", settings)
}

fn listener(listener: &Listener) -> EffectiveTable {
    let bind = listener.bind.to_string();
    let mut settings = vec![("bind", text(&bind))];
    if let Bind::Unix { mode, .. } = &listener.bind {
        settings.push(("mode", text(&format!("{mode:04o}"))));
    } else {
        settings.push(("proxy_protocol", listener.proxy_protocol.to_string()));
    }
    settings.push(("websocket", listener.websocket.to_string()));
    if let Some(tls) = &listener.tls {
        let mut parts = vec![("cert", path(&tls.cert)), ("key", path(&tls.key))];
        if let Some(authorities) = &tls.client_ca {
            parts.push(("client_ca", path(authorities)));
            parts.push(("require_client_cert", tls.require_client_cert.to_string()));
        }
        parts.extend(tls.identity.map(|identity| {
            let word = match identity {
                Identity::CommonName => "cn",
                Identity::AlternativeName => "san",
            };
            ("identity", text(word))
        }));
        settings.push(("tls", inline(&parts)));
    }
    settings.push(("access", access(&listener.access)));
    EffectiveTable { header: "[[listener]]", name: format!("listener {bind}"), settings }
}

fn access(access: &Access) -> String {
    let mut parts = vec![("anonymous", access.anonymous.to_string())];
    parts.extend(access.password_file.as_deref().map(|file| ("password_file", path(file))));
    parts.extend(access.acl_file.as_deref().map(|file| ("acl_file", path(file))));
    inline(&parts)
}

fn lookup(lookup: &Table) -> EffectiveTable {
    let settings =
        vec![("name", text(&lookup.name)), ("file", path(&lookup.file)), ("key", text(&lookup.key))];
    EffectiveTable { header: LOOKUP, name: format!("table {}", lookup.name), settings }
}

fn limits(limits: &Limits) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("connections_max", limits.connections_max.to_string()),
        ("connections_per_address_max", limits.connections_per_address_max.to_string()),
        ("connects_per_s_max", limits.connects_per_s_max.to_string()),
        ("failed_logins_per_minute_max", limits.failed_logins_per_minute_max.to_string()),
        ("handshake_timeout", duration(limits.handshake_timeout)),
        ("connect_timeout", duration(limits.connect_timeout)),
        ("packet_bytes_max", bytes(limits.packet_bytes_max as u64)),
        ("client_id_bytes_max", limits.client_id_bytes_max.to_string()),
        ("topic_bytes_max", bytes(limits.topic_bytes_max as u64)),
        ("topic_levels_max", limits.topic_levels_max.to_string()),
        ("inflight_max", limits.inflight_max.to_string()),
        ("queue_bytes_max", bytes(limits.queue_bytes_max as u64)),
        ("queue_events_max", limits.queue_events_max.to_string()),
        ("subscriptions_max", limits.subscriptions_max.to_string()),
        ("topic_alias_max", limits.topic_alias_max.to_string()),
        ("mqtt31", limits.mqtt31.to_string()),
        ("sessions_max", limits.sessions_max.to_string()),
        ("session_expiry_max", duration(limits.session_expiry_max)),
        ("retained_max", limits.retained_max.to_string()),
        ("retained_bytes_max", bytes(limits.retained_bytes_max as u64)),
    ];
    settings.extend(limits.idle_timeout.map(|idle| ("idle_timeout", duration(idle))));
    settings.extend(limits.keep_alive_max.map(|longest| ("keep_alive_max", duration(longest))));
    settings.extend(limits.publishes_per_s_max.map(|rate| ("publishes_per_s_max", rate.to_string())));
    let rate = limits.receive_bytes_per_s_max;
    settings.extend(rate.map(|rate| ("receive_bytes_per_s_max", bytes(rate.into()))));
    settings
}

/// A string of TOML. What JSON escapes, TOML escapes the same way.
fn text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn path(path: &Path) -> String {
    text(&path.to_string_lossy())
}

fn bytes(bytes: u64) -> String {
    text(&format_bytes(bytes))
}

fn duration(duration: Duration) -> String {
    text(&format_duration(duration))
}

fn texts(all: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let all: Vec<_> = all.into_iter().map(|each| text(each.as_ref())).collect();
    format!("[{}]", all.join(", "))
}

fn inline(parts: &[(&str, String)]) -> String {
    let parts: Vec<_> = parts.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    format!("{{ {} }}", parts.join(", "))
}

#[cfg(test)]
mod tests;
