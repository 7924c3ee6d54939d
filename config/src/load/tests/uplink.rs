//! How a cloud is reached, and what it gets.

use std::time::Duration;

use super::{BASE, CLOUD, config, report};
use crate::{
    Batch, BatchFormat, EventProperties, Proxy, Rate, RemoteConfig, Secret, TlsVersion, Uplink, Url,
};

/// The uplink with these lines.
fn uplink(lines: &str) -> Uplink {
    config(&[("tidegate.toml", &format!("{BASE}{CLOUD}forward = ['#']\n{lines}"))]).uplinks.remove(0)
}

/// The uplink with these lines in place of its URL.
fn reached_by(lines: &str) -> Uplink {
    let cloud = "[[uplink]]\nname = 'cloud'\nforward = ['#']\n";
    config(&[("tidegate.toml", &format!("{BASE}{cloud}{lines}"))]).uplinks.remove(0)
}

fn url(host: &str, port: u16, encrypted: bool) -> Url {
    Url { encrypted, ..Url::plain(host, port) }
}

#[test]
fn defaults() {
    let uplink = uplink("");
    assert_eq!((&uplink.broker.fallbacks, &uplink.broker.proxy, uplink.rate), (&vec![], &None, None));
    assert_eq!((uplink.broker.return_after.as_secs(), uplink.broker.connect_timeout.as_secs()), (60, 8));
    assert_eq!((uplink.spread, uplink.topic_alias_max, uplink.poison_after), (Duration::ZERO, 32, 5));
    assert_eq!((&uplink.status_topic, uplink.properties), (&None, EventProperties::default()));
}

#[test]
fn several_urls() {
    let uplink = reached_by(
        "urls = ['mqtts://a', 'mqtt://b:1', 'mqtts://[::1]']\nreturn_after = '5m'\nconnect_timeout = '1s'\n\
         tls = { alpn = ['mqtt', 'x-amzn-mqtt-ca'], server_name = 'c', version_min = '1.3' }",
    );
    assert_eq!(uplink.broker.url, url("a", 8883, true));
    assert_eq!(uplink.broker.fallbacks, [url("b", 1, false), url("::1", 8883, true)]);
    let at: Vec<String> = (0..4).map(|place| uplink.broker.url_at(place).to_string()).collect();
    assert_eq!(at, ["a:8883", "b:1", "[::1]:8883", "a:8883"]);
    assert_eq!((uplink.broker.return_after.as_secs(), uplink.broker.connect_timeout.as_secs()), (300, 1));
    let tls = uplink.broker.tls.unwrap();
    assert_eq!(
        (tls.alpn.len(), tls.server_name.as_deref(), tls.version_min),
        (2, Some("c"), TlsVersion::V13)
    );
}

#[test]
fn proxies() {
    let proxy = |host: &str, port| Proxy { host: host.to_owned(), port, username: None, password: None };
    assert_eq!(uplink("proxy = 'http://p'").broker.proxy, Some(proxy("p", 3128)));
    let written = "proxy = { url = 'http://p:8080', username = 'u', password = { env = 'P' } }";
    let password = Some(Secret::Env("P".to_owned()));
    let expected = Proxy { username: Some("u".to_owned()), password, ..proxy("p", 8080) };
    assert_eq!(uplink(written).broker.proxy, Some(expected));
}

#[test]
fn passwords_of_a_program() {
    let uplink = uplink("password = { command = ['/bin/token', '-x'], timeout = '2s' }");
    let command = vec!["/bin/token".to_owned(), "-x".to_owned()];
    assert_eq!(uplink.broker.password, Some(Secret::Command { command, timeout: Duration::from_secs(2) }));
}

#[test]
fn batches() {
    let batch = |lines: &str| uplink(&format!("batch = {lines}")).batch.unwrap();
    let defaults = batch("{ topic = 'b/{gateway}' }");
    assert_eq!(
        (defaults.topic.as_str(), defaults.format, defaults.zstd),
        ("b/g", BatchFormat::JsonArray, false)
    );
    assert_eq!((defaults.events_max, defaults.bytes_max), (100, 64 << 10));
    assert_eq!(defaults.delay, Duration::from_millis(20));
    let written = "{ topic = 'b', format = 'cbor-array', compress = 'zstd', events_max = 7, bytes_max = '1 MiB', delay = '1s' }";
    let expected = Batch {
        topic: "b".to_owned(),
        format: BatchFormat::CborArray,
        zstd: true,
        events_max: 7,
        bytes_max: 1 << 20,
        delay: Duration::from_secs(1),
    };
    assert_eq!(batch(written), expected);
}

#[test]
fn settings_from_the_cloud() {
    assert_eq!(uplink("").remote_config, None);
    let settings = |lines: &str| uplink(&format!("remote_config = {lines}")).remote_config.unwrap();
    let defaults = settings("{ topic = 'gw/{gateway}/config/set' }");
    let expected = RemoteConfig {
        topic: "gw/g/config/set".to_owned(),
        answer_topic: "gw/g/config/set/answer".to_owned(),
        public_key: None,
        confirm_within: Duration::from_secs(60),
    };
    assert_eq!(defaults, expected);
    let written = settings(
        "{ topic = 'a', answer_topic = '{uplink}/b', public_key = '/key.pub', confirm_within = '2m' }",
    );
    let expected = RemoteConfig {
        topic: "a".to_owned(),
        answer_topic: "cloud/b".to_owned(),
        public_key: Some("/key.pub".into()),
        confirm_within: Duration::from_secs(120),
    };
    assert_eq!(written, expected);
}

#[test]
fn what_the_cloud_gets() {
    let uplink = uplink(
        "rate = '64 KiB/s'\nburst = '1 MiB'\nspread = '30s'\ntopic_alias_max = 0\npoison_after = 0\n\
         properties = ['gateway', 'event-id']\nstatus_topic = 'gw/{gateway}/{uplink}/status'",
    );
    assert_eq!(uplink.rate, Some(Rate { bytes_per_s: 65_536, burst_bytes: 1 << 20 }));
    assert_eq!((uplink.spread.as_secs(), uplink.topic_alias_max, uplink.poison_after), (30, 0, 0));
    assert_eq!(uplink.properties, EventProperties { event_id: true, event_time: false, gateway: true });
    assert_eq!(uplink.status_topic.as_deref(), Some("gw/g/cloud/status"));
    let steady = config(&[("tidegate.toml", &format!("{BASE}{CLOUD}forward = ['#']\nrate = '10 KB/s'"))]);
    assert_eq!(steady.uplinks[0].rate, Some(Rate { bytes_per_s: 10_000, burst_bytes: 10_000 }));
}

#[test]
fn mistakes() {
    for (lines, said) in [
        ("urls = ['mqtt://a']", "both `url` and `urls`"),
        ("return_after = '1m'", "`return_after` goes with several `urls`"),
        ("proxy = 'p:3128'", "no URL of a proxy"),
        ("proxy = {}", "`url` is missing"),
        ("proxy = { url = 'http://p', username = 'u' }", "need each other"),
        ("proxy = { url = 'http://p', username = 'u:', password = { env = 'P' } }", "a colon"),
        ("password = { command = [] }", "`command` can have 1 to 64 items"),
        ("password = { command = ['token'] }", "by its whole path"),
        ("password = { command = '/bin/token' }", "an array of strings"),
        ("password = { env = 'P', timeout = '1s' }", "`timeout` goes with `command`"),
        ("password = { command = ['/t'], timeout = '2h' }", "`timeout` has to be 100ms to 1m"),
        ("tls = { alpn = ['x'] }", "`tls` needs a URL that begins with `mqtts://` or `wss://`"),
        ("rate = '5/s'\nwindow = 0", "window"),
        ("rate = 'fast'", "`rate` cannot be \"fast\""),
        ("rate = '0 B/s'", "`rate` cannot be"),
        ("burst = '1 KiB'", "`burst` goes with `rate`"),
        ("properties = ['event_id']", "there is no property `event_id`"),
        ("status_topic = 'x/{topic}'", "cannot have `{topic}`"),
        ("poison_after = 101", "poison_after"),
        ("topic_alias_max = 70000", "topic_alias_max"),
        ("remote_config = {}", "`topic` is missing"),
        ("remote_config = { topic = 'x/{topic}' }", "`topic` cannot have `{topic}` in it"),
        ("remote_config = { topic = 'x', confirm_within = '1s' }", "`confirm_within` has to be 5s to 1h"),
        ("batch = {}", "`topic` is missing"),
        ("batch = { topic = 'x/{topic}' }", "`topic` cannot have `{topic}` in it"),
        ("batch = { topic = 'x', format = 'json' }", "`format` cannot be \"json\""),
        ("batch = { topic = 'x', events_max = 1 }", "`events_max` has to be 2"),
        ("batch = { topic = 'x', delay = '2m' }", "`delay` has to be 0"),
    ] {
        let report = report(&[("tidegate.toml", &format!("{BASE}{CLOUD}forward = ['#']\n{lines}"))]);
        assert!(report.contains(said), "{lines}\n{report}");
    }
    let cloud = "[[uplink]]\nname = 'cloud'\nforward = ['#']\n";
    for (lines, said) in [
        ("urls = []", "`urls` can have 1 to 8 items"),
        ("urls = ['mqtt://a', 'tcp://b']", "`tcp` is no scheme"),
        ("urls = 'mqtt://a'", "an array of strings"),
        ("url = 'mqtts://a'\ntls = { alpn = [''] }", "1 to 255 bytes"),
        ("url = 'mqtts://a'\ntls = { server_name = 'a b' }", "no host name"),
        ("url = 'mqtts://a'\ntls = { version_min = '1.1' }", "`version_min` cannot be \"1.1\""),
    ] {
        let report = report(&[("tidegate.toml", &format!("{BASE}{cloud}{lines}"))]);
        assert!(report.contains(said), "{lines}\n{report}");
    }
}

#[test]
fn no_secret_of_a_url_is_shown() {
    for lines in ["urls = ['mqtt://b', 'mqtt://me:hunter2@c']", "proxy = 'http://me:hunter2@p'"] {
        let report = report(&[("tidegate.toml", &format!("{BASE}{CLOUD}{lines}"))]);
        assert!(!report.contains("hunter2") && report.contains("cannot have a user"), "{report}");
    }
}
