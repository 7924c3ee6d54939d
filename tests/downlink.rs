//! Commands from the cloud: to the rules, to local subscribers, and to devices that were away, through kills of the gateway.

use std::time::Duration;

use tidegate_tests::wire::{self, Connect, Version};
use tidegate_tests::{Broker, Collector, Connection, Gateway, Must, client, gateway, wait_for};

const LIMIT: Duration = Duration::from_secs(20);
const COMMANDS: u16 = 500;

/// A gateway with a downlink, which has subscribed when this returns.
fn start(cloud: &Broker) -> Gateway {
    let lines = format!(
        "url = \"mqtt://127.0.0.1:{}\"\nforward = [\"events/#\"]\n\
         subscribe = [{{ from = \"cmd/{{gateway}}/#\", to = \"cmd/#\" }}]",
        cloud.port()
    );
    let rule = "[[rule]]\nname = \"seen\"\nsql = 'SELECT valve, state FROM \"cmd/{valve}\"'\n\
                to = { uplink = \"cloud\", topic = \"seen/{valve}\" }\n";
    let room = "queue_events_max = 10000";
    let mut gateway = gateway!().uplink_with(&lines).rules("seen.toml", rule).limits(room).start();
    wait_subscribed(&mut gateway);
    gateway
}

fn wait_subscribed(gateway: &mut Gateway) {
    gateway.process().wait_stderr("word of the subscription", LIMIT, |line| line.contains("subscribed"));
}

#[test]
fn a_command_reaches_rules_and_subscribers_and_the_other_gateways_not() {
    let cloud = Broker::start();
    let collector = Collector::start(&cloud, &["seen/#"]);
    let gateway = start(&cloud);
    let mut device = Connection::clean(gateway.port(), Version::V5, "valve");
    device.send(&wire::subscribe(Version::V5, 1, &[("cmd/#", 1)])).must("subscribe");
    assert_eq!(device.expect("a SUBACK").kind(), 9);
    let port = cloud.port().to_string();
    let publish = |topic: &str, payload: &str| {
        let arguments = ["-p", &port, "-t", topic, "-m", payload, "-q", "1"];
        let mut command = std::process::Command::new("mosquitto_pub");
        client::run("mosquitto-clients", command.args(arguments)).assert_ok();
    };
    publish("cmd/other/v1", "{\"state\": \"shut\"}");
    publish("cmd/gw/v1", "{\"state\": \"open\"}");
    let command = device.expect_publish("the command");
    assert_eq!((command.topic.as_str(), &command.payload[..]), ("cmd/v1", &b"{\"state\": \"open\"}"[..]));
    collector.wait_count(1, LIMIT);
    let seen = ("seen/v1".to_owned(), "{\"valve\":\"v1\",\"state\":\"open\"}".to_owned());
    assert_eq!(collector.arrivals(), [seen]);
}

#[test]
fn a_device_that_was_away_gets_every_command_through_kills_of_the_gateway() {
    let cloud = Broker::start();
    let mut gateway = start(&cloud);
    let kept = Connect::kept(Version::V5, "valve");
    let mut device = Connection::open(gateway.port(), &kept).must("connect the device");
    device.send(&wire::subscribe(Version::V5, 1, &[("cmd/#", 1)])).must("subscribe");
    assert_eq!(device.expect("a SUBACK").kind(), 9);
    device.cut();

    let mut operator = Connection::clean(cloud.port(), Version::V5, "operator");
    for number in 1..=COMMANDS {
        let payload = format!("{{\"n\":{number}}}");
        let packet = wire::publish(Version::V5, "cmd/gw/v1", payload.as_bytes(), 1, number);
        operator.send(&packet).must("publish");
        assert_eq!(operator.expect("a PUBACK").kind(), 4);
        // Wherever it stands with what it has taken.
        if number % 100 == 50 {
            gateway.kill();
            gateway.restart();
        }
    }
    let mut numbers = Vec::new();
    let (mut device, present) = Connection::resume(gateway.port(), &kept).must("connect again");
    assert!(present, "the session was kept");
    wait_for("the last command", LIMIT, || {
        let publish = device.expect_publish("a command");
        device.send(&wire::puback(publish.packet_id)).must("acknowledge");
        let text = String::from_utf8_lossy(&publish.payload).into_owned();
        let number: u16 = text.trim_matches(|c: char| !c.is_ascii_digit()).parse().must("a number");
        numbers.push(number);
        numbers.contains(&COMMANDS) && numbers.len() >= usize::from(COMMANDS)
    });
    let repeated = numbers.len() - usize::from(COMMANDS);
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (1..=COMMANDS).collect::<Vec<_>>(), "each command");
    assert!(repeated <= 5 * 100, "{repeated} came twice: no more than a window for each kill");
}
