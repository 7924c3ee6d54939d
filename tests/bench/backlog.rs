//! What waited while the cloud was away, once it is back: how long it takes from CONNECT to the last event, beside rumqttc's own
//! client, which has the same events in memory and the same window.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, Event, EventLoop, Incoming, MqttOptions};
use tidegate_tests::cloud::Cloud;
use tidegate_tests::event;
use tidegate_tests::gateway::Builder;
use tidegate_tests::{Device, Must, Plan, device, wait_for};

/// Events that have waited.
pub(crate) const EVENTS: usize = 20_000;
const WINDOW: u16 = 100;
const LIMIT: Duration = Duration::from_secs(60);

/// A cloud that acknowledges at once, and notes when the last event came.
struct Receiver {
    cloud: Cloud,
    count: Arc<AtomicUsize>,
    last: Arc<Mutex<Instant>>,
}

impl Receiver {
    fn start() -> Self {
        let (count, last) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Instant::now())));
        let (counted, noted) = (Arc::clone(&count), Arc::clone(&last));
        let cloud = Cloud::handing_to(move |_, at| {
            *noted.lock().unwrap_or_else(PoisonError::into_inner) = at;
            counted.fetch_add(1, Ordering::SeqCst);
        });
        Self { cloud, count, last }
    }

    /// From the connection to the last of all events.
    fn wait_all(&self) -> Duration {
        wait_for("all events", LIMIT, || self.count.load(Ordering::SeqCst) >= EVENTS);
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.duration_since(self.cloud.connected_at().must("a connection"))
    }
}

/// The time of tidegate, whose events are on disk.
pub(crate) fn tidegate(binary: &Path, folder: &str) -> Duration {
    let receiver = Receiver::start();
    receiver.cloud.cut();
    let builder = Builder::new(binary.to_owned(), folder).uplink(receiver.cloud.port());
    let gateway = builder.uplink_with(&format!("window = {WINDOW}")).start();
    let events = u64::try_from(EVENTS).must("count events");
    let mut devices = [Device::raw(Plan::new("d", gateway.port(), 0..events))];
    device::finish_all(&mut devices, LIMIT);
    receiver.cloud.heal();
    receiver.wait_all()
}

/// The time of rumqttc.
pub(crate) fn rumqttc() -> Duration {
    let receiver = Receiver::start();
    let mut options = MqttOptions::new("raw", "127.0.0.1", receiver.cloud.port());
    options.set_outgoing_inflight_upper_limit(WINDOW);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.must("start a runtime");
    runtime.block_on(async {
        let (client, mut connection) = AsyncClient::new(options, usize::from(WINDOW));
        let publishing = tokio::spawn(publish(client));
        acknowledged(&mut connection).await;
        publishing.await.must("publish all");
    });
    receiver.wait_all()
}

async fn publish(client: AsyncClient) {
    for seq in 0..EVENTS {
        let event = event::Event::new("d", u64::try_from(seq).must("number an event"));
        let topic = event::Event::topic("d");
        client.publish(topic, QoS::AtLeastOnce, false, event.payload()).await.must("publish");
    }
}

async fn acknowledged(connection: &mut EventLoop) {
    let mut left = EVENTS;
    while left > 0 {
        let event = connection.poll().await.must("keep the connection");
        left -= usize::from(matches!(event, Event::Incoming(Incoming::PubAck(_))));
    }
}
