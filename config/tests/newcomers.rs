//! Ten mistakes that people make with their first rules, and what they are told: printed in `docs/rules-mistakes.md`.
//!
//! After a wanted change of a message run this with `TIDEGATE_WRITE_DOCS=1`, and read what it wrote.

#[path = "shared/mistake.rs"]
mod mistake;
#[path = "shared/written.rs"]
mod written;

use std::{fs, io};

use mistake::{said, section};
use tidegate_config::load;
use written::assert_written;

const SETTINGS: &str = "gateway.id = 'plant-7'\naccess.anonymous = true\n[[uplink]]\nname = 'cloud'\nurl = 'mqtt://broker'\nforward = ['#']\n";

/// What somebody wanted, and what they wrote.
const MISTAKES: &[(&str, &str)] = &[
    (
        "A topic filter without quotes",
        r#"
[[rule]]
name = "hot"
sql = "SELECT temp FROM sensors/+/climate WHERE temp > 30"
to = { uplink = "cloud", topic = "hot" }
"#,
    ),
    (
        "A name that is nearly right",
        r#"
[[rule]]
name = "minutes"
sql = '''
  SELECT device, avg(temp) AS avg
  FROM "sensors/{device}/climate"
  GROUP BY device, tumbel('1m')
'''
to = { uplink = "clod", topic = "stats/{devise}" }
"#,
    ),
    (
        "An average of what?",
        r#"
[[rule]]
name = "average"
sql = "SELECT avg(temp) AS avg FROM 'sensors/+/climate'"
to = { uplink = "cloud", topic = "stats" }
"#,
    ),
    (
        "A condition on an average in WHERE",
        r#"
[[rule]]
name = "hot-minutes"
sql = '''
  SELECT device, avg(temp) AS avg
  FROM "sensors/{device}/climate"
  WHERE avg(temp) > 30
  GROUP BY device, tumbling('1m')
'''
to = { uplink = "cloud", topic = "hot/{device}" }
"#,
    ),
    (
        "A column that is not the same for all events of a window",
        r#"
[[rule]]
name = "rooms"
sql = '''
  SELECT room, avg(temp) AS avg
  FROM "sensors/{device}/climate"
  GROUP BY device, tumbling('1m')
'''
to = { uplink = "cloud", topic = "rooms/{device}" }
"#,
    ),
    (
        "A time without a unit, or without quotes",
        r#"
[[rule]]
name = "windows"
sql = "SELECT count(*) AS n FROM 'a/#' GROUP BY tumbling(60)"
to = { uplink = "cloud", topic = "n" }

[[rule]]
name = "minutes"
sql = "SELECT count(*) AS n FROM 'a/#' GROUP BY tumbling(1m)"
to = { uplink = "cloud", topic = "n" }
"#,
    ),
    (
        "Two equal signs, and && for AND",
        r#"
[[rule]]
name = "doors"
sql = "SELECT door FROM 'doors/+' WHERE state == 'open' && night"
to = { uplink = "cloud", topic = "doors" }
"#,
    ),
    (
        "A result without a topic",
        r#"
[[rule]]
name = "counts"
sql = "SELECT count(*) AS n FROM 'a/#' GROUP BY tumbling('1m')"
to = { uplink = "cloud" }
"#,
    ),
    (
        "A comma too few, a parenthesis too few",
        r#"
[[rule]]
name = "commas"
sql = '''
  SELECT device temp
       , round(temp, 1 AS rounded
  FROM "sensors/{device}/climate"
'''
to = { uplink = "cloud", topic = "t/{device}" }
"#,
    ),
    (
        "Text where a number belongs",
        r#"
[[rule]]
name = "numbers"
sql = "SELECT sqrt('nine') AS three, temp AS t FROM 'a' WHERE temp > 'thirty' AND upper(5) = 'X'"
on_error = "dropp"
to = { uplink = "cloud", topic = "t" }
"#,
    ),
];

fn page() -> io::Result<String> {
    let mut page = String::from(
        "# Ten mistakes, and what tidegate says\n\nWhat people write into their first rules, and what `tidegate check` and `tidegate \
         rules check` answer. Nothing of it reaches a\nrunning gateway. This page is written by `TIDEGATE_WRITE_DOCS=1 cargo test -p \
         tidegate-config --test newcomers`.\n",
    );
    for (number, (title, rules)) in (1..).zip(MISTAKES) {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("tidegate.toml"), SETTINGS)?;
        fs::create_dir(folder.path().join("rules.d"))?;
        fs::write(folder.path().join("rules.d/rules.toml"), rules.trim_start())?;
        let loaded = load(&folder.path().join("tidegate.toml"));
        assert!(loaded.config.is_none(), "{title} is a mistake");
        let report = said(&loaded, folder.path());
        page += &section(number, title, rules, &report);
    }
    Ok(page)
}

#[test]
fn the_page_shows_what_is_said() {
    assert_written("../docs/rules-mistakes.md", &page().unwrap()).unwrap();
}
