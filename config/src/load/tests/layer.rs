//! Settings that come through an uplink.

use std::fs;

use super::{BASE, CLOUD};
use crate::{Layer, Loaded, load_with};

fn laid(files: &[(&str, &str)], config: &str, rules: &str) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let layer = Layer { config: config.to_owned(), rules: rules.to_owned() };
    load_with(&folder.path().join("tidegate.toml"), &layer)
}

#[test]
fn they_lie_over_all_files_and_their_rules_stand_beside_others() {
    let main = format!("{BASE}{CLOUD}window = 10\nforward = ['a']");
    let files = [
        ("tidegate.toml", main.as_str()),
        ("conf.d/50.toml", "[[uplink]]\nname = 'cloud'\nwindow = 20\nspread = '1s'"),
        ("rules.d/one.toml", "[[route]]\nfrom = 'b'\nto = { uplink = 'cloud' }"),
    ];
    let config = "[[uplink]]\nname = 'cloud'\nwindow = 30";
    let loaded = laid(&files, config, "[[route]]\nfrom = 'c'\nto = { uplink = 'cloud' }");
    let config = loaded.config.unwrap_or_else(|| panic!("{}", loaded.report.render(false)));
    assert_eq!((config.uplinks[0].window, config.uplinks[0].spread.as_secs()), (30, 1));
    let names: Vec<&str> = config.rules.iter().map(|rule| rule.rule.name()).collect();
    assert_eq!(names, ["route:b", "route:c", "route:a"]);
}

#[test]
fn what_is_wrong_with_them_has_their_place() {
    let main = format!("{BASE}{CLOUD}forward = ['a']");
    let files = [("tidegate.toml", main.as_str())];
    for (config, rules, said) in [
        ("[limits]\nconections_max = 3", "", "config:2:1"),
        ("[limits", "", "config:1:"),
        ("", "[[rule]]\nname = 'x'\nsql = 'SELECT'", "rules:"),
        (
            "[[uplink]]\nname = 'cloud'\nremote_config = { topic = 'mine' }",
            "",
            "`remote_config` cannot be among settings that come through an uplink",
        ),
        (
            "[[uplink]]\nname = 'cloud'\nusername = 'u'\npassword = { command = ['/bin/sh'] }",
            "",
            "a program that the gateway runs is not named from afar",
        ),
        ("[[uplink]]\nname = 'cloud'\nusername = 'u'\npassword = 'hunter2'", "", "config:4:"),
    ] {
        let loaded = laid(&files, config, rules);
        let report = loaded.report.render(false);
        assert!(loaded.config.is_none() && report.contains(said), "no {said:?} in {report}");
        assert!(!report.contains("hunter2"), "{report}");
    }
}
