//! Whole folders of settings with mistakes in them, and the reports that people get to see.
//!
//! Each folder of `tests/mistakes` holds a `tidegate.toml`, perhaps `conf.d` and `rules.d`, and `expected.txt`. After a
//! wanted change of a text, run the test with `BLESS=1` and read what it wrote.

use std::path::Path;
use std::{env, fs};

use tidegate_config::load;

fn check(name: &str, errors: usize, warnings: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes").join(name);
    let loaded = load(&folder.join("tidegate.toml"));
    let report = loaded.report.render(false).replace(&format!("{}/", folder.display()), "");
    let expected = folder.join("expected.txt");
    if env::var_os("BLESS").is_some() {
        fs::write(&expected, &report).unwrap();
    }
    assert_eq!(report, fs::read_to_string(&expected).unwrap_or_default(), "{name}");
    assert_eq!((loaded.report.errors(), loaded.report.warnings()), (errors, warnings), "{name}\n{report}");
    assert_eq!(loaded.config.is_some(), errors == 0, "{name}");
}

#[test]
fn unknown() {
    check("unknown", 0, 0);
}

#[test]
fn types() {
    check("types", 0, 0);
}

#[test]
fn syntax() {
    check("syntax", 0, 0);
}

#[test]
fn twice() {
    check("twice", 0, 0);
}

#[test]
fn unbuilt() {
    check("unbuilt", 0, 0);
}

#[test]
fn misplaced() {
    check("misplaced", 0, 0);
}

#[test]
fn uplinks() {
    check("uplinks", 0, 0);
}

#[test]
fn destinations() {
    check("destinations", 0, 0);
}

#[test]
fn warnings() {
    check("warnings", 0, 0);
}
