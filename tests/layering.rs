//! What each crate may know, held by machine: edges between our crates, foreign crates of the two engines, words.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tidegate_tests::Must;

const EDGES: [(&str, &[&str]); 7] = [
    ("tidegate", &["tidegate-buffer", "tidegate-config", "tidegate-rules"]),
    ("tidegate-config", &["tidegate-buffer", "tidegate-rules"]),
    ("tidegate-rules", &[]),
    ("tidegate-buffer", &[]),
    ("tidegate-oracle", &[]),
    ("tidegate-crash", &["tidegate-buffer", "tidegate-oracle"]),
    ("tidegate-tests", &["tidegate", "tidegate-oracle"]),
];

// The engines stand alone: these foreign crates and no others, apart from what only their tests use.
const ALLOWED: [(&str, &[&str]); 2] = [
    (
        "tidegate-rules",
        &[
            "foldhash",
            "hashbrown",
            "jiff",
            "regex-lite",
            "serde",
            "serde_cbor_2",
            "serde_json",
            "slab",
            "smallvec",
            "thiserror",
        ],
    ),
    (
        "tidegate-buffer",
        &["bytes", "crc32fast", "foldhash", "hashbrown", "rusqlite", "rustix", "thiserror", "zstd"],
    ),
];

// A foreign crate that one of ours wraps. The tests have peers of their own, such as rumqttc's client, to measure beside.
const OWNERS: [(&str, &str); 5] = [
    ("rusqlite", "tidegate-buffer"),
    ("toml", "tidegate-config"),
    ("annotate-snippets", "tidegate-config"),
    ("tokio", "tidegate"),
    ("rumqttc", "tidegate"),
];

// Words that do not occur in the code of a folder. Comments count: what is explained there belongs elsewhere.
const BANNED: [(&str, &[&str]); 4] = [
    (
        "rules",
        &[
            "mqtt packet",
            "uplink",
            "tokio",
            "sqlite",
            "toml",
            "rumqtt",
            "std::fs",
            "std::net",
            "SystemTime::now",
        ],
    ),
    ("buffer", &["mqtt", "uplink", "tokio", "toml", "rumqtt", "std::net", "tidegate_rules"]),
    ("config", &["tokio", "rumqtt", "sqlite", "std::net::Tcp"]),
    ("daemon", &["rusqlite", "toml::", "insert into", "create table"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn packages() -> Vec<Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]).current_dir(root());
    let output = command.output().must("run cargo metadata");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).must("read cargo metadata");
    metadata.get("packages").and_then(Value::as_array).must("the packages").clone()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).must(name)
}

// Package -> names of its dependencies that are not for its tests only.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let of = |package: &Value| {
        let all = package.get("dependencies").and_then(Value::as_array).must("dependencies");
        let normal = all.iter().filter(|d| d.get("kind").is_some_and(Value::is_null));
        normal.map(|d| text(d, "name").to_owned()).collect()
    };
    packages().iter().map(|package| (text(package, "name").to_owned(), of(package))).collect()
}

#[test]
fn our_crates_depend_on_each_other_as_listed() {
    let dependencies = dependencies();
    let ours: BTreeSet<&str> = dependencies.keys().map(String::as_str).collect();
    let found: BTreeMap<&str, BTreeSet<&str>> = dependencies
        .iter()
        .map(|(name, of)| {
            (name.as_str(), of.iter().map(String::as_str).filter(|d| ours.contains(d)).collect())
        })
        .collect();
    let listed: BTreeMap<&str, BTreeSet<&str>> =
        EDGES.iter().map(|(name, of)| (*name, of.iter().copied().collect())).collect();
    assert_eq!(found, listed, "an edge is new or gone: change ARCHITECTURE.md and this list together");
}

#[test]
fn the_engines_use_the_listed_crates_only() {
    let dependencies = dependencies();
    for (package, allowed) in ALLOWED {
        for name in dependencies.get(package).must(package) {
            assert!(
                allowed.contains(&name.as_str()),
                "{package} depends on {name}, which is not on its list"
            );
        }
    }
}

#[test]
fn foreign_crates_have_one_owner() {
    for (package, of) in dependencies() {
        for (name, owner) in OWNERS {
            let may = package == owner || package == "tidegate-tests";
            assert!(may || !of.contains(name), "{package} depends on {name}; only {owner} does");
        }
    }
}

#[test]
fn words_stay_where_they_belong() {
    for (folder, words) in BANNED {
        let files = sources(&root().join(folder).join("src"));
        assert!(!files.is_empty(), "{folder} has sources");
        for file in files {
            let code = fs::read_to_string(&file).must("read a source file").to_lowercase();
            for word in words {
                let line = code.lines().position(|line| line.contains(&word.to_lowercase()));
                if let Some(line) = line {
                    tidegate_tests::fail(format_args!("`{word}` in {}:{}", file.display(), line + 1));
                }
            }
        }
    }
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    for package in packages() {
        let manifest = fs::read_to_string(text(&package, "manifest_path")).must("read a manifest");
        let lints = manifest.split_once("[lints]").map(|(_, rest)| rest.trim_start());
        let inherited = lints.is_some_and(|rest| rest.starts_with("workspace = true"));
        // A VFS of SQLite is a table of C functions: `unsafe`, and with it all other lints in its own table.
        let copied = text(&package, "name") == "tidegate-crash" && has_all_lints_but_unsafe(&manifest);
        assert!(inherited || copied, "{} does not have `[lints] workspace = true`", text(&package, "name"));
    }
}

fn has_all_lints_but_unsafe(manifest: &str) -> bool {
    let workspace = fs::read_to_string(root().join("Cargo.toml")).must("read the workspace's manifest");
    let (_, lints) = workspace.split_once("[workspace.lints.rust]").must("the lints");
    let (lints, _) = lints.split_once("[profile").must("the end of the lints");
    let mut lines = lints.lines().filter(|line| line.contains('=') && !line.starts_with("unsafe_code"));
    lines.all(|line| manifest.lines().any(|own| own == line))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).must("list a folder of sources") {
        let path = entry.must("read an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
