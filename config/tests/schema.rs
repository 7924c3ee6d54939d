//! The JSON schema of the main file, for editors: made of the shipped file, which has every setting with its default and a
//! comment (`tests/shipped.rs` holds it to that).
//!
//! After a change of settings run this with `TIDEGATE_WRITE_DOCS=1`.

#[path = "shared/written.rs"]
mod written;

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde_json::{Map, Value, json};
use tidegate_config::{SCHEMA, load};
use written::assert_written;

/// What one example cannot say.
const WORDS: &[(&str, &[&str])] = &[
    ("log.level", &["error", "warn", "info", "debug", "trace"]),
    ("log.format", &["text", "json"]),
    ("buffer.when_full", &["evict-oldest", "evict-newest", "refuse"]),
    ("uplink.drain", &["oldest-first", "newest-first", "live-first"]),
];

/// Examples in the shipped file; where nothing is written there is no such setting.
const NO_DEFAULTS: &[&str] = &[
    "gateway.id",
    "access.anonymous",
    "uplink.name",
    "uplink.url",
    "uplink.tls",
    "uplink.client_id",
    "uplink.username",
    "uplink.password",
    "uplink.forward",
    "uplink.batch",
    "source.name",
    "source.url",
    "source.subscribe",
];

fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(name)
}

fn of_words(words: &[&str]) -> Value {
    json!({ "enum": words })
}

/// Settings that may be of more than one kind.
fn of_kinds(path: &str) -> Option<Value> {
    let secret = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "credential": { "type": "string" },
            "file": { "type": "string" },
            "env": { "type": "string" },
            "command": { "type": "array", "items": { "type": "string" } },
            "timeout": duration(),
        },
    });
    Some(match path {
        "gateway.clock" => {
            json!({ "anyOf": [of_words(&["auto", "trusted"]), table(json!({ "file": { "type": "string" } }))] })
        }
        "uplink.version" => json!({ "enum": [5, 3, "5", "5.0", "3", "3.1.1"] }),
        "uplink.password" => secret,
        "uplink.proxy" => {
            let parts =
                json!({ "url": { "type": "string" }, "username": { "type": "string" }, "password": secret });
            json!({ "anyOf": [{ "type": "string" }, table(parts)] })
        }
        "uplink.subscribe" | "source.subscribe" => {
            json!({ "type": "array", "items": { "anyOf": [{ "type": "string" }, { "type": "object" }] } })
        }
        "uplink.properties" => {
            json!({ "type": "array", "items": of_words(&["event-id", "event-time", "gateway"]) })
        }
        _ => {
            let (_, words) = WORDS.iter().find(|(known, _)| *known == path)?;
            of_words(words)
        }
    })
}

fn table(properties: Value) -> Value {
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

fn duration() -> Value {
    json!({ "type": "string", "pattern": "^ *[0-9]+ *(ms|s|m|h|d) *$" })
}

/// The kind of a value, from an example of it.
fn kind(example: &toml::Value) -> Value {
    match example {
        toml::Value::Integer(_) => json!({ "type": "integer", "minimum": 0 }),
        toml::Value::Boolean(_) => json!({ "type": "boolean" }),
        toml::Value::Array(items) => {
            json!({ "type": "array", "items": items.first().map_or(json!({}), kind) })
        }
        // An example need not have all keys.
        toml::Value::Table(parts) => {
            let parts: Map<_, _> = parts.iter().map(|(key, value)| (key.clone(), kind(value))).collect();
            json!({ "type": "object", "properties": parts })
        }
        toml::Value::String(text) if tidegate_config::parse_duration(text).is_ok() => duration(),
        toml::Value::String(text) if is_size(text) => {
            let text =
                json!({ "type": "string", "pattern": "^ *[0-9]+ *(B|KB|MB|GB|TB|KiB|MiB|GiB|TiB)? *$" });
            json!({ "anyOf": [{ "type": "integer", "minimum": 0 }, text] })
        }
        _ => json!({ "type": "string" }),
    }
}

fn is_size(text: &str) -> bool {
    text.split_once(' ')
        .is_some_and(|(number, unit)| number.parse::<u64>().is_ok() && ["KiB", "MiB", "GiB"].contains(&unit))
}

/// A line of the shipped file: its setting, an example of it, whether that is the default, and what it says.
fn setting(line: &str) -> Option<(String, toml::Value, bool, String)> {
    let is_off = line.starts_with("#: ");
    let line = line.strip_prefix("#: ").or(line.strip_prefix("# ")).unwrap_or(line);
    let (text, comment) = line.split_once(" #").unwrap_or((line, ""));
    let (key, value) = text.parse::<toml::Table>().ok()?.into_iter().next()?;
    Some((key, value, !is_off, comment.trim().to_owned()))
}

fn header(line: &str) -> Option<(String, bool)> {
    let line = line.strip_prefix("#: ").or(line.strip_prefix("# ")).unwrap_or(line);
    let text = line.split('#').next()?.trim();
    let name = text.strip_prefix('[')?.strip_suffix(']')?;
    let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    Some((inner.unwrap_or(name).to_owned(), inner.is_some()))
}

fn put(of: &mut Value, key: &str, value: Value) {
    if let Some(of) = of.as_object_mut() {
        of.insert(key.to_owned(), value);
    }
}

fn properties(shipped: &str) -> Map<String, Value> {
    let mut tables: Vec<(String, bool, Map<String, Value>)> = Vec::new();
    for line in shipped.lines() {
        if let Some((name, is_array)) = header(line) {
            tables.push((name, is_array, Map::new()));
            continue;
        }
        let (Some((key, example, is_default, comment)), Some((name, _, found))) =
            (setting(line), tables.last_mut())
        else {
            continue;
        };
        let path = format!("{name}.{key}");
        let mut of = of_kinds(&path).unwrap_or_else(|| kind(&example));
        if !comment.is_empty() {
            put(&mut of, "description", comment.into());
        }
        if is_default && !NO_DEFAULTS.contains(&path.as_str()) {
            put(&mut of, "default", serde_json::to_value(&example).unwrap_or_default());
        }
        match found.get_mut(&key) {
            // A second example of a table, with other keys.
            Some(known) => {
                let more = of.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
                let properties = known.get_mut("properties").and_then(Value::as_object_mut);
                if let Some(properties) = properties {
                    properties.extend(more);
                }
            }
            None => drop(found.insert(key, of)),
        }
    }
    let each = |(name, is_array, found): (String, bool, Map<String, Value>)| {
        let mut of = table(found.into());
        if name == "source" {
            // It has what an uplink has of its broker, beside what is written there.
            put(&mut of, "additionalProperties", true.into());
        }
        (name, if is_array { json!({ "type": "array", "items": of }) } else { of })
    };
    tables.into_iter().map(each).collect()
}

fn schema() -> io::Result<String> {
    let shipped = fs::read_to_string(packaging("tidegate.toml"))?;
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "tidegate.toml and conf.d/*.toml",
        "type": "object",
        "additionalProperties": false,
        "properties": properties(&shipped),
    });
    Ok(format!("{schema:#}\n"))
}

#[test]
fn the_schema_is_that_of_the_shipped_file() {
    assert_written("src/schema.json", &schema().unwrap()).unwrap();
}

/// Every setting that is in effect is one of the schema; a word that the schema has is one that is taken.
#[test]
fn the_schema_knows_what_the_gateway_knows() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidegate.toml");
    let write = |text: &str| {
        fs::write(&file, format!("gateway.id = 'g'\naccess.anonymous = true\n{text}")).unwrap();
        load(&file)
    };
    let whole = "[[uplink]]\nname = 'a'\nurl = 'mqtt://b'\nforward = ['#']\n[status]\nbind = '127.0.0.1:1'\n";
    for table in write(whole).config.unwrap().effective() {
        let name = table.header.trim_matches(['[', ']']);
        let of = &schema["properties"][name];
        let known = if of["type"] == "array" { &of["items"]["properties"] } else { &of["properties"] };
        for (key, _) in &table.settings {
            assert!(known.get(key).is_some(), "{name}.{key} is not in the schema");
        }
    }
    for (path, words) in WORDS {
        let (table, key) = path.split_once('.').unwrap();
        for word in *words {
            let text = match table {
                "uplink" => format!(
                    "{whole}[[uplink]]\nname = 'c'\nurl = 'mqtt://b'\nforward = ['#']\n{key} = '{word}'\n"
                ),
                _ => format!("[{table}]\n{key} = '{word}'\n"),
            };
            let loaded = write(&text);
            assert!(loaded.config.is_some(), "{path} = {word}: {}", loaded.report.render(false));
        }
    }
}
