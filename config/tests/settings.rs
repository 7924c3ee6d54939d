//! Ten mistakes that people make with their first settings, and what they are told: printed in `docs/config-mistakes.md`.
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

/// What somebody wanted, and what they wrote.
const MISTAKES: &[(&str, &str)] = &[
    (
        "Nobody may connect",
        r##"
[gateway]
id = "plant-7"

[[listener]]
bind = "0.0.0.0:1883"
"##,
    ),
    (
        "A name that is nearly right, and one from another broker",
        r##"
[access]
allow_anonymous = true

[limits]
max_inflight = 20
retained_bytes_mx = "1 MiB"
"##,
    ),
    (
        "A number without a unit",
        r##"
[access]
anonymous = true

[buffer]
max_bytes = "2 gigabytes"
spill_after = 50
"##,
    ),
    (
        "Half an address",
        r##"
[access]
anonymous = true

[[listener]]
bind = "1883"

[[listener]]
bind = "localhost:8883"
tls = { cert = "gateway.crt" }
"##,
    ),
    (
        "A password in the file, and one in the address",
        r##"
[access]
anonymous = true

[[uplink]]
name = "cloud"
url = "mqtts://plant-7:hunter2@broker.example.com"
forward = ["#"]

[[uplink]]
name = "other"
url = "mqtts://broker.example.com"
username = "plant-7"
password = "hunter2"
forward = ["#"]
"##,
    ),
    (
        "An address as browsers have it",
        r##"
[access]
anonymous = true

[[uplink]]
name = "cloud"
url = "https://broker.example.com/mqtt"
forward = ["#"]
"##,
    ),
    (
        "A rule among the settings",
        r##"
[access]
anonymous = true

[[rule]]
name = "hot"
sql = "SELECT temp FROM 'sensors/+/climate' WHERE temp > 30"
to = { local = "hot" }
"##,
    ),
    (
        "A header twice, and one bracket too few",
        r##"
[access]
anonymous = true

[access]
password_file = "passwd"

[uplink]
name = "cloud"
url = "mqtts://broker.example.com"
"##,
    ),
    (
        "An uplink that gets nothing, and two that are one client",
        r##"
[access]
anonymous = true

[[uplink]]
name = "cloud"
url = "mqtts://broker.example.com"
client_id = "plant-7"

[[uplink]]
name = "copy"
url = "mqtts://broker.example.com"
client_id = "plant-7"
forward = ["#"]
"##,
    ),
    (
        "Bounds that do not fit each other",
        r##"
[access]
anonymous = true

[buffer]
max_bytes = "512 MiB"
max_age = "7d"

[[uplink]]
name = "cloud"
url = "mqtts://broker.example.com"
forward = ["#"]
packet_bytes_max = "128 KiB"
max_bytes = "1 GiB"
max_age = "30d"
"##,
    ),
];

fn page() -> io::Result<String> {
    let mut page = String::from(
        "# Ten mistakes in settings, and what tidegate says\n\nWhat people write into their first `tidegate.toml`, and what `tidegate check` \
         answers. Where it is an error, nothing of it reaches a running\ngateway, by a start or by a reload. Mistakes in rules have \
         [a page of their own](rules-mistakes.md). This page is written by\n`TIDEGATE_WRITE_DOCS=1 cargo test -p tidegate-config --test settings`.\n",
    );
    for (number, (title, settings)) in (1..).zip(MISTAKES) {
        let folder = tempfile::tempdir()?;
        let text = format!("gateway.id = 'plant-7'\n{}", settings.trim_start());
        let text = if settings.contains("[gateway]") { settings.trim_start().to_owned() } else { text };
        fs::write(folder.path().join("tidegate.toml"), &text)?;
        let loaded = load(&folder.path().join("tidegate.toml"));
        assert!(!loaded.report.is_empty(), "{title} is a mistake");
        let report = said(&loaded, folder.path());
        assert!(!report.contains("hunter2"), "{report}");
        page += &section(number, title, &text, &report);
    }
    Ok(page)
}

#[test]
fn the_page_shows_what_is_said() {
    assert_written("../docs/config-mistakes.md", &page().unwrap()).unwrap();
}
