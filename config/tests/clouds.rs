//! The uplinks of `docs/clouds.md` are valid, and keep to the limits of their clouds.

use std::path::Path;
use std::{fs, io};

use tidegate_config::{Config, Version, load};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/clouds.md");

/// The block below a heading, as `conf.d` would have it.
fn config(cloud: &str) -> io::Result<Config> {
    let page = fs::read_to_string(Path::new(PAGE))?;
    let section = page.split(&format!("\n## {cloud}\n")).nth(1);
    let block = section.and_then(|section| section.split("```toml\n").nth(1)?.split("```").next());
    let folder = tempfile::tempdir()?;
    fs::create_dir(folder.path().join("conf.d"))?;
    fs::write(folder.path().join("conf.d/uplink.toml"), block.unwrap_or("no such cloud"))?;
    fs::write(folder.path().join("tidegate.toml"), "gateway.id = 'plant-7'\naccess.anonymous = true\n")?;
    let loaded = load(&folder.path().join("tidegate.toml"));
    let report = loaded.report.render(false);
    assert!(loaded.report.is_empty(), "{cloud}: {report}");
    loaded.config.ok_or(io::ErrorKind::InvalidData.into())
}

#[test]
fn aws_iot_core() -> io::Result<()> {
    let uplink = config("AWS IoT Core")?.uplinks.remove(0);
    let tls = uplink.broker.tls.unwrap();
    assert_eq!((uplink.broker.url.port, tls.alpn.as_slice()), (443, &["x-amzn-mqtt-ca".to_owned()][..]));
    assert!(tls.cert.is_some() && tls.key.is_some());
    assert!(uplink.window <= 100 && uplink.packet_bytes_max <= 128 << 10);
    assert_eq!(uplink.downlink.unwrap().broker.client_id, "plant-7-down");
    Ok(())
}

#[test]
fn azure_iot_hub() -> io::Result<()> {
    let mut config = config("Azure IoT Hub")?;
    let uplink = config.uplinks.remove(0);
    assert_eq!((uplink.broker.version, uplink.broker.client_id.as_str()), (Version::V311, "plant-7"));
    assert!(uplink.packet_bytes_max <= 256 << 10 && uplink.downlink.is_none());
    assert_eq!(uplink.batch.unwrap().topic, "devices/plant-7/messages/events/");
    let source = config.sources.remove(0);
    let mut topic = String::new();
    let from = "devices/plant-7-commands/messages/devicebound/valve";
    assert!(source.subscriptions[0].rename(from, &mut topic));
    assert_eq!(topic, "cmd/valve");
    assert_ne!(source.broker.client_id, uplink.broker.client_id);
    Ok(())
}

#[test]
fn hivemq() -> io::Result<()> {
    let url = config("HiveMQ")?.uplinks.remove(0).broker.url;
    assert_eq!((url.port, url.encrypted, url.websocket.as_deref()), (8884, true, Some("/mqtt")));
    Ok(())
}

#[test]
fn emqx() -> io::Result<()> {
    let uplink = config("EMQX")?.uplinks.remove(0);
    assert!(uplink.broker.fallbacks.len() == 1 && uplink.properties.gateway);
    Ok(())
}

#[test]
fn rabbitmq() -> io::Result<()> {
    let uplink = config("RabbitMQ")?.uplinks.remove(0);
    assert_eq!((uplink.broker.version, uplink.broker.url.port), (Version::V311, 8883));
    Ok(())
}
