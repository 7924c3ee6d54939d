//! Whole folders of settings with mistakes in them, and the reports that people get to see.
//!
//! Each folder of `tests/mistakes` holds a `tidegate.toml`, perhaps `conf.d` and `rules.d`, and
//! `expected.txt`. After a wanted change of a text, run the test with `BLESS=1` and read what it wrote.

use std::path::Path;
use std::{env, fs, io};

use tidegate_config::load;

fn check(name: &str, errors: usize, warnings: usize) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes").join(name);
    let loaded = load(&folder.join("tidegate.toml"));
    let report = loaded.report.render(false).replace(&format!("{}/", folder.display()), "");
    let expected = folder.join("expected.txt");
    if env::var_os("BLESS").is_some() {
        fs::write(&expected, &report)?;
    }
    assert_eq!(report, fs::read_to_string(&expected)?, "{name}");
    assert_eq!((loaded.report.errors(), loaded.report.warnings()), (errors, warnings), "{name}\n{report}");
    assert_eq!(loaded.config.is_some(), errors == 0, "{name}");
    Ok(())
}

#[test]
fn unknown() -> io::Result<()> {
    check("unknown", 9, 0)
}

#[test]
fn types() -> io::Result<()> {
    check("types", 19, 0)
}

#[test]
fn syntax() -> io::Result<()> {
    check("syntax", 5, 0)
}

#[test]
fn twice() -> io::Result<()> {
    check("twice", 4, 0)
}

#[test]
fn loops() -> io::Result<()> {
    check("loops", 0, 3)
}

#[test]
fn sources() -> io::Result<()> {
    check("sources", 7, 0)
}

#[test]
fn rules() -> io::Result<()> {
    check("rules", 21, 2)
}

#[test]
fn misplaced() -> io::Result<()> {
    check("misplaced", 6, 0)
}

#[test]
fn uplinks() -> io::Result<()> {
    check("uplinks", 33, 0)
}

#[test]
fn destinations() -> io::Result<()> {
    check("destinations", 17, 0)
}

#[test]
fn warnings() -> io::Result<()> {
    check("warnings", 0, 2)
}
