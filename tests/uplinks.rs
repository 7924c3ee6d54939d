//! Several clouds at once: one that is away, and one that is slow, cost the third nothing, and each event is stored once.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tidegate_tests::cloud::Cloud;
use tidegate_tests::{Device, Gateway, Must, Plan, device, gateway, wait_for};

const EVENTS: u64 = 4000;
const EVENTS_PER_S: u32 = 1000;
const SLOW_EVENTS_PER_S: u32 = 300;
const LIMIT: Duration = Duration::from_secs(60);

fn uplink(name: &str, port: u16) -> String {
    format!(
        "[[uplink]]\nname = \"{name}\"\nurl = \"mqtt://127.0.0.1:{port}\"\nforward = [\"events/#\"]\n\
         backoff_min = \"50ms\"\nbackoff_max = \"200ms\"\n"
    )
}

/// Publishes everything and waits for the acknowledgements; `meanwhile` looks on.
fn publish(gateway: &Gateway, mut meanwhile: impl FnMut(&Device)) -> [Device; 1] {
    let plan = Plan::new("d", gateway.port(), 0..EVENTS).paced(EVENTS_PER_S);
    let mut device = [Device::raw(plan)];
    let [only] = &device;
    wait_for("all is acknowledged", LIMIT, || {
        meanwhile(only);
        only.acked() == usize::try_from(EVENTS).must("count events")
    });
    device::finish_all(&mut device, LIMIT);
    device
}

fn stored_bytes(folder: &Path) -> u64 {
    fs::metadata(folder.join("buffer.db")).must("look at the database").len()
}

#[test]
fn one_that_is_away_and_one_that_is_slow_leave_the_third_alone() {
    let (steady, slow, away) = (Cloud::start(), Cloud::start(), Cloud::start());
    slow.set_events_per_s(SLOW_EVENTS_PER_S);
    away.cut();
    let tables = [("steady", &steady), ("slow", &slow), ("away", &away)];
    let tables: String = tables.iter().map(|(name, cloud)| uplink(name, cloud.port())).collect();
    let mut gateway = gateway!().tables(&tables).start();

    // What the device has an acknowledgement for waits for the slowest; the steady cloud is ahead of it all the time.
    let mut behind_most = 0;
    let device = publish(&gateway, |device| {
        let acked = device.acked();
        behind_most = behind_most.max(acked.saturating_sub(steady.count()));
    });
    assert!(behind_most <= 200, "the steady cloud was {behind_most} events behind");
    wait_for("the steady cloud has all", Duration::from_secs(1), || steady.count() as u64 == EVENTS);
    assert!((slow.count() as u64) < EVENTS * 3 / 4, "the slow one was not slow: {}", slow.count());
    assert_eq!(away.count(), 0);

    slow.set_events_per_s(0);
    away.heal();
    for cloud in [&steady, &slow, &away] {
        let accounts = device::accounts(&device);
        cloud.drained(&accounts, Duration::from_secs(5), LIMIT).assert_exactly_once();
    }
    assert_eq!(steady.connections(), 1, "nothing has ended the steady connection");
    gateway.stop();
}

#[test]
fn an_event_for_three_clouds_is_stored_once() {
    let stored = |names: &[&str]| {
        let clouds: Vec<Cloud> = names.iter().map(|_| Cloud::start()).collect();
        clouds.iter().for_each(Cloud::cut);
        let tables = names.iter().zip(&clouds).map(|(name, cloud)| uplink(name, cloud.port()));
        let mut gateway = gateway!().tables(&tables.collect::<String>()).start();
        publish(&gateway, |_| {});
        let folder = gateway.dir().join("buffer");
        gateway.stop();
        stored_bytes(&folder)
    };
    let (one, three) = (stored(&["a"]), stored(&["a", "b", "c"]));
    // Three copies would be three times as much; how events fall into commits makes a difference of some pages.
    assert!(three < one * 2, "{three} bytes for three clouds, {one} for one");
}
