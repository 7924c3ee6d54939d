//! What is taken from brokers: `[[source]]`, and `subscribe` of an uplink.

use super::{BASE, CLOUD, config, report};
use crate::{Source, Url, Version};

const PLANT: &str = "[[source]]\nname = 'plant'\nurl = 'mqtt://b:1884'\n";

fn source(lines: &str) -> Source {
    config(&[("tidegate.toml", &format!("gateway.id = 'g'\n{PLANT}{lines}"))]).sources.remove(0)
}

fn downlink(lines: &str) -> Option<Source> {
    config(&[("tidegate.toml", &format!("{BASE}{CLOUD}forward = ['#']\n{lines}"))]).uplinks.remove(0).downlink
}

fn renamed(source: &Source, topic: &str) -> Option<String> {
    let mut out = String::new();
    source.subscriptions.iter().find(|one| one.rename(topic, &mut out))?;
    Some(out)
}

#[test]
fn a_source_of_few_words() {
    let config =
        config(&[("tidegate.toml", &format!("gateway.id = 'g'\n{PLANT}subscribe = ['$share/g/a/#']"))]);
    assert!(config.listeners.is_empty(), "who has a source needs no listener");
    let source = &config.sources[0];
    assert_eq!((source.name.as_str(), source.broker.client_id.as_str()), ("plant", "tidegate-g-plant"));
    assert_eq!(source.broker.url, Url::plain("b", 1884));
    assert_eq!((source.window, source.packet_bytes_max), (100, 256 << 10));
    assert_eq!(source.session_expiry.as_secs(), 7 * 24 * 3600);
    let subscription = &source.subscriptions[0];
    assert_eq!((subscription.filter.as_str(), subscription.qos), ("$share/g/a/#", 1));
    assert_eq!(renamed(source, "a/b").as_deref(), Some("a/b"));
}

#[test]
fn a_source_has_the_settings_of_a_broker_and_its_own() {
    let source = source(
        "version = 3\nclient_id = 'me'\nkeep_alive = '5s'\nproxy = 'http://p'\nusername = 'u'\nwindow = 7\n\
         packet_bytes_max = '1 MiB'\nsession_expiry = '1h'\nbackoff_max = '1m'\n\
         subscribe = ['x', { from = 'a/{gateway}/+', to = 'b/{gateway}/+', qos = 0 }]",
    );
    let broker = &source.broker;
    assert_eq!((broker.version, broker.client_id.as_str()), (Version::V311, "me"));
    assert_eq!((broker.keep_alive.as_secs(), broker.backoff_max.as_secs()), (5, 60));
    assert!(broker.proxy.is_some() && broker.username.is_some());
    assert_eq!((source.window, source.packet_bytes_max), (7, 1 << 20));
    assert_eq!(source.session_expiry.as_secs(), 3600);
    assert_eq!((source.subscriptions[1].filter.as_str(), source.subscriptions[1].qos), ("a/g/+", 0));
    assert_eq!(renamed(&source, "a/g/1").as_deref(), Some("b/g/1"));
    assert_eq!(renamed(&source, "a/h/1"), None);
}

#[test]
fn a_downlink_is_a_source_at_the_uplinks_broker() {
    assert!(downlink("").is_none());
    let down = downlink(
        "client_id = 'me'\nkeep_alive = '7s'\npacket_bytes_max = '1 MiB'\nsession_expiry = '1d'\n\
         subscribe = [{ from = 'cmd/{gateway}/#', to = 'cmd/#' }]",
    );
    let down = down.unwrap();
    assert_eq!((down.name.as_str(), down.broker.client_id.as_str()), ("cloud", "me-down"));
    assert_eq!((down.broker.url.host.as_str(), down.broker.keep_alive.as_secs()), ("broker", 7));
    assert_eq!((down.packet_bytes_max, down.session_expiry.as_secs()), (1 << 20, 24 * 3600));
    assert_eq!(renamed(&down, "cmd/g/valve").as_deref(), Some("cmd/valve"));
}

#[test]
fn mistakes() {
    for (lines, said) in [
        ("", "`subscribe` is missing"),
        ("subscribe = 'a'", "`subscribe` has to be an array"),
        ("subscribe = []", "`subscribe` can have 1 to 100 items"),
        ("subscribe = [5]", "`an item of `subscribe`` has to be a table"),
        ("subscribe = [{}]", "`from` is missing"),
        ("subscribe = ['a/#/b']", "`a/#/b` is no topic filter"),
        ("subscribe = ['$share/a']", "is no shared subscription"),
        ("subscribe = ['a/{device}']", "no other placeholder than `{gateway}`"),
        ("subscribe = [{ from = 'a', to = 'b+' }]", "`b+` is no topic filter"),
        ("subscribe = [{ from = 'a/+', to = 'b' }]", "`b` has other wildcards than `from`"),
        ("subscribe = [{ from = 'a', qos = 2 }]", "`qos` has to be 0 to 1"),
        ("subscribe = [{ from = 'a', too = 'b' }]", "unknown setting `too`"),
        ("subscribe = ['a']\nsession_expiry = '0s'", "`session_expiry` has to be 1s"),
        ("subscribe = ['a']\nforward = ['#']", "unknown setting `forward`"),
        ("subscribe = ['a']\nwindow = 0", "`window`"),
        ("subscribe = ['a']\ntls = {}", "`tls` needs a URL"),
    ] {
        let report = report(&[("tidegate.toml", &format!("{BASE}{PLANT}{lines}"))]);
        assert!(report.contains(said), "{lines}\n{report}");
    }
    let twice = format!("{BASE}{PLANT}subscribe = ['a']\n{PLANT}subscribe = ['b']");
    assert!(report(&[("tidegate.toml", &twice)]).contains("the source `plant` is there twice"));
    let both = format!(
        "{BASE}{CLOUD}forward = ['#']\n[[source]]\nname = 'cloud'\nurl = 'mqtt://b'\nsubscribe = ['a']"
    );
    assert!(report(&[("tidegate.toml", &both)]).contains("there is an uplink `cloud` too"));
    let alone = format!("{BASE}{CLOUD}forward = ['#']\nsession_expiry = '1h'");
    assert!(report(&[("tidegate.toml", &alone)]).contains("goes with `subscribe` only"));
}
