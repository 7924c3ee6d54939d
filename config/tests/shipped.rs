//! The settings that a package installs are valid, and say what the defaults are.

use std::path::{Path, PathBuf};
use std::{fs, io};

use tidegate_config::{Bind, Config, Loaded, load};

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging")
}

fn config(loaded: Loaded) -> Option<Config> {
    let report = loaded.report.render(false);
    assert!(loaded.report.is_empty(), "{report}");
    loaded.config
}

/// A folder with these settings and rules.
fn written(settings: &str, rules: &str) -> io::Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("tidegate.toml"), settings)?;
    fs::create_dir(folder.path().join("rules.d"))?;
    fs::write(folder.path().join("rules.d/example.toml"), rules)?;
    fs::write(folder.path().join("devices.csv"), "id,room\na,hall\n")?;
    Ok(folder)
}

/// Takes out the `#` of settings, and leaves it at sentences.
fn uncommented(text: &str) -> String {
    let is_setting = |line: &str| {
        line.contains(" = ") || line.starts_with(['[', ']']) || line.starts_with("  ") || line == "'''"
    };
    let uncomment = |line: &str| match line.strip_prefix("# ") {
        Some(setting) if is_setting(setting) => setting.to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(|line| uncomment(line) + "\n").collect()
}

#[test]
fn shipped_settings_are_valid() {
    let shipped = config(load(&packaging().join("tidegate.toml"))).unwrap();
    assert!(shipped.uplinks.is_empty());
    assert_eq!(shipped.listeners[0].bind, Bind::Tcp(([127, 0, 0, 1], 1883).into()));
    assert!(shipped.rules.is_empty());
}

#[test]
fn shipped_examples_are_valid() {
    let settings = uncommented(&fs::read_to_string(packaging().join("tidegate.toml")).unwrap());
    let rules = uncommented(&fs::read_to_string(packaging().join("rules.d/example.toml")).unwrap());
    let folder = written(&settings, &rules).unwrap();
    let config = config(load(&folder.path().join("tidegate.toml"))).unwrap();
    let found: Vec<_> = config.rules.iter().map(|rule| (rule.rule.name(), rule.destinations.len())).collect();
    assert_eq!(found, [("overheat", 2), ("minute-average", 3), ("route:events/#", 1), ("route:#", 1)]);
    let tests: usize = config.rules.into_iter().map(|rule| run_tests(rule, &config.tables)).sum();
    assert_eq!(tests, 1);
}

/// Runs the tests of a rule and says how many there are.
fn run_tests(rule: tidegate_config::Rule, tables: &[tidegate_config::Table]) -> usize {
    let mut rules = tidegate_rules::RuleSet::new("plant-7", vec![rule.rule]);
    let mut looked_up = tidegate_rules::Tables::new();
    tables.iter().for_each(|table| looked_up.insert(&table.name, table.rows.clone()));
    rules.set_tables(looked_up.into());
    for test in &rule.tests {
        let difference = test.run(&mut rules).err().map(|difference| difference.to_string());
        assert_eq!(difference, None, "{}", test.name);
    }
    rule.tests.len()
}

/// An unknown setting in each table makes the report list what there is.
#[test]
fn shipped_files_name_every_setting() {
    for (file, unlisted) in [("tidegate.toml", &[][..]), ("rules.d/example.toml", &["payload_hex"][..])] {
        let shipped = uncommented(&fs::read_to_string(packaging().join(file)).unwrap());
        let asking: String = shipped
            .lines()
            .map(|line| line.to_owned() + if line.starts_with('[') { "\n\"?\" = 1\n" } else { "\n" })
            .collect();
        let folder =
            if file == "tidegate.toml" { written(&asking, "") } else { written("", &asking) }.unwrap();
        let report = load(&folder.path().join("tidegate.toml")).report.render(false);
        let lists: Vec<&str> =
            report.lines().filter_map(|line| line.trim().strip_prefix("= help: there is ")).collect();
        assert_eq!(lists.len(), shipped.lines().filter(|line| line.starts_with('[')).count(), "{report}");
        for name in lists.iter().flat_map(|list| list.split('`').skip(1).step_by(2)) {
            let is_there = shipped.contains(&format!("{name} = ")) || shipped.contains(&format!(".{name}]"));
            assert!(is_there || unlisted.contains(&name), "{name} is not in {file}");
        }
    }
}

#[test]
fn shipped_settings_are_the_defaults() {
    let text = fs::read_to_string(packaging().join("tidegate.toml")).unwrap();
    let written_out = written(&uncommented(&text), "");
    let left_out = written(
        "gateway.id = 'plant-7'\naccess.anonymous = true\n[[listener]]\nbind = '127.0.0.1:1883'\n[[uplink]]\nname = 'cloud'\nforward = ['#']\nusername = 'plant-7'\n\
         url = 'mqtts://broker.example.com'\npassword.credential = 'cloud-password'\n\
         tls = { ca = 'ca.pem', cert = 'gateway.crt', key = 'gateway.key' }\n\
         [[source]]\nname = 'plant'\nurl = 'mqtt://127.0.0.1:1884'\nsubscribe = ['$share/tidegate/sensors/#']",
        "",
    );
    let [written_out, left_out] = [written_out, left_out].map(|folder| {
        let folder = folder.unwrap();
        let config = config(load(&folder.path().join("tidegate.toml"))).unwrap();
        format!("{config:#?}").replace(&*folder.path().to_string_lossy(), "")
    });
    assert_eq!(written_out, left_out);
}
