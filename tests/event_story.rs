//! The event story of docs/examples/event-story, with the very files of that folder: facts, a handler on the local bus,
//! a rule that makes a new event, and a cloud that gets everything in order, also after an outage.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_tests::wire::{self, Version};
use tidegate_tests::{Broker, Collector, Connection, Gateway, Must, Relay, gateway};

const LIMIT: Duration = Duration::from_secs(10);

// The example, with only the two addresses changed to where this test listens.
fn start(cloud: u16) -> Gateway {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/event-story");
    let text = fs::read_to_string(example.join("tidegate.toml")).must("read the example");
    let rules = fs::read_to_string(example.join("rules.d/orders.toml")).must("read the example's rules");
    assert!(text.contains("127.0.0.1:1883") && text.contains("127.0.0.1:1884"), "the example's addresses");
    let cloud = format!("127.0.0.1:{cloud}");
    gateway!().rules("orders.toml", &rules).start_from(|port| {
        text.replace("127.0.0.1:1883", &format!("127.0.0.1:{port}")).replace("127.0.0.1:1884", &cloud)
    })
}

// What the cloud gets: the topic below the shop, and the fields.
type Fact = (String, Value);

fn facts() -> Vec<Fact> {
    (1..=30)
        .map(|n| match n % 3 {
            0 => ("user/registered".to_owned(), json!({"user_id": n, "name": format!("user {n}")})),
            _ => ("order/placed".to_owned(), order(n)),
        })
        .collect()
}

fn order(n: i64) -> Value {
    json!({
        "order_id": n,
        "customer": {"first": "Ada", "last": format!("L{n}"), "street": format!("Main St {n}"), "city": "London"},
        "item": {"name": "lamp", "price": 25, "quantity": if n == 20 { 50 } else { n % 4 }},
    })
}

fn shipping(n: i64) -> Value {
    let quantity = if n == 20 { 50 } else { n % 4 };
    json!({
        "order_id": n, "recipient": format!("Ada L{n}"), "address": format!("Main St {n}, London"),
        "total": 25 * quantity,
    })
}

fn expected_shipping() -> Vec<Value> {
    (1..=30).filter(|n| n % 3 != 0 && (*n == 20 || n % 4 > 0)).map(shipping).collect()
}

// A result names the event that caused it; ids differ between runs, so they are checked and then left out.
fn without_cause(mut row: Value) -> Value {
    let cause = row.as_object_mut().and_then(|row| row.remove("cause")).must("the cause");
    assert!(cause.as_str().is_some_and(|id| id.starts_with("shop-1-")), "{cause}");
    row
}

#[test]
fn facts_flow_to_the_desks_and_to_the_cloud_in_order() {
    let broker = Broker::start();
    let relay = Relay::start(broker.port(), Version::V5);
    let collector = Collector::start(&broker, &["shops/#", "shipping/#", "alerts/#"]);
    let gateway = start(relay.port());

    let mut desk = Connection::clean(gateway.port(), Version::V311, "desks");
    desk.send(&wire::subscribe(Version::V311, 1, &[("user/registered", 1), ("shipping/ready", 1)]))
        .must("subscribe");
    desk.expect("a SUBACK");

    let mut shop = Connection::clean(gateway.port(), Version::V5, "shop");
    for (place, (topic, fact)) in facts().iter().enumerate() {
        // The second half of the story happens while the cloud is away.
        if place == 15 {
            relay.cut();
        }
        shop.send(&wire::publish(Version::V5, topic, fact.to_string().as_bytes(), 1, 1)).must("publish");
        assert_eq!(shop.expect("a PUBACK").reason(), Some(0));
    }

    let mut greeted = Vec::new();
    let mut shipped = Vec::new();
    while greeted.len() < 10 || shipped.len() < expected_shipping().len() {
        let delivery = desk.expect_publish("a delivery on the local bus");
        desk.send(&wire::puback(delivery.packet_id)).must("acknowledge");
        let row: Value = serde_json::from_slice(&delivery.payload).must("a row of JSON");
        match delivery.topic.as_str() {
            "user/registered" => greeted.push(row.get("user_id").and_then(Value::as_i64).must("a user")),
            _ => shipped.push(without_cause(row)),
        }
    }
    assert_eq!(greeted, (1..=10).map(|n| n * 3).collect::<Vec<_>>(), "the welcome desk needs no cloud");
    assert_eq!(shipped, expected_shipping());

    relay.heal();
    assert_cloud(&collector);
}

fn assert_cloud(collector: &Collector) {
    collector.wait_count(30 + expected_shipping().len() + 1, LIMIT);
    let arrivals: Vec<Fact> = collector
        .arrivals()
        .into_iter()
        .map(|(topic, payload)| (topic, serde_json::from_str(&payload).must("JSON in the cloud")))
        .collect();
    let below = |prefix: &str| -> Vec<Fact> {
        let of_prefix =
            arrivals.iter().filter_map(|(t, row)| Some((t.strip_prefix(prefix)?.to_owned(), row.clone())));
        of_prefix.collect()
    };
    let came: Vec<Fact> = below("shops/shop-1/")
        .into_iter()
        .filter(|(topic, _)| topic.starts_with("user/") || topic.starts_with("order/"))
        .collect();
    assert_eq!(came, facts(), "every fact, once, in order");
    let rows = |topic: &str| -> Vec<Value> {
        arrivals.iter().filter(|(t, _)| t.ends_with(topic)).map(|(_, row)| row.clone()).collect()
    };
    let shipped: Vec<_> = rows("shipping/ready").into_iter().map(without_cause).collect();
    assert_eq!(shipped, expected_shipping());
    assert_eq!(rows("alerts/large-order"), [json!({"order_id": 20, "total": 1250})]);
    let position = |wanted: &dyn Fn(&Fact) -> bool| arrivals.iter().position(wanted).must("an arrival");
    let alarm = position(&|(topic, _)| topic.ends_with("alerts/large-order"));
    let last_before = position(&|(_, row)| row.get("order_id") == Some(&json!(17)));
    assert!(alarm < arrivals.len() - 1 && last_before < arrivals.len(), "the alarm passes what waits");
    let placed =
        position(&|(topic, row)| topic.ends_with("order/placed") && row.get("order_id") == Some(&json!(20)));
    assert!(alarm < placed, "the alarm, raised during the outage, comes before the backlog");
}
