//! What becomes of a publish that a broker sends: its topic, its event, and when it is acknowledged. A state machine without
//! I/O.

use tidegate_config::Subscription;

use crate::event::Event;
use crate::listener::{Ack, Acks, Admission};
use crate::mqtt::{AckKind, Publish, reason};

/// What an intake needs of the gateway.
pub(super) trait Host {
    /// Whether a topic is within the limits.
    fn takes_topic(&self, topic: &str) -> bool;
    /// May an event on this topic be taken now?
    fn admission(&self, topic: &str, retain: bool) -> Admission;
    /// Takes it; the receipt comes under this number.
    fn publish(&mut self, event: &Event<'_>, receipt: Option<u32>);
    /// An event can never be taken.
    fn refused(&mut self);
}

/// What became of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is an event now, or will never be one.
    Yes,
    /// None of the subscriptions brings it; it is acknowledged.
    Stranger,
    /// Its topic is over the limits; it is acknowledged, since it would be another time too.
    OverLimits,
    /// There is no room now: it is to be handed in again when the spool has some.
    Wait,
    /// The spool refuses it: it is to be handed in again later.
    Later,
}

/// The publishes of one connection.
pub(super) struct Intake<'a> {
    name: &'a str,
    subscriptions: &'a [Subscription],
    window: usize,
    acks: Acks,
    /// What has become of the topic; it serves one publish after the other.
    topic: String,
}

impl<'a> Intake<'a> {
    pub(super) fn new(settings: &'a tidegate_config::Source) -> Self {
        Intake {
            name: &settings.name,
            subscriptions: &settings.subscriptions,
            window: settings.window.into(),
            acks: Acks::default(),
            topic: String::new(),
        }
    }

    /// Whether as many publishes as may be are taken and not acknowledged.
    pub(super) fn is_full(&self) -> bool {
        self.acks.len() >= self.window
    }

    /// Whether everything that was taken is acknowledged.
    pub(super) fn is_empty(&self) -> bool {
        self.acks.len() == 0
    }

    /// Takes a publish of QoS 0 or 1.
    pub(super) fn handle_publish(&mut self, publish: &Publish<'_>, host: &mut impl Host) -> Taken {
        let topic = &mut self.topic;
        if !self.subscriptions.iter().any(|subscription| subscription.rename(publish.topic, topic)) {
            self.answer(publish, reason::SUCCESS);
            return Taken::Stranger;
        }
        if !host.takes_topic(&self.topic) {
            host.refused();
            self.answer(publish, reason::TOPIC_NAME_INVALID);
            return Taken::OverLimits;
        }
        match host.admission(&self.topic, publish.retain) {
            Admission::Open => {}
            Admission::Wait => return Taken::Wait,
            Admission::Refuse => return Taken::Later,
        }
        let acknowledged = publish.qos > 0;
        let receipt = acknowledged.then(|| self.acks.expect(Ack::success(AckKind::Ack, publish.packet_id)));
        let event = Event {
            topic: &self.topic,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            client_id: self.name,
            username: None,
            properties: publish.properties,
        };
        host.publish(&event, receipt);
        Taken::Yes
    }

    /// A receipt has come: every effect of that event is on disk, or acknowledged by its cloud.
    pub(super) fn handle_receipt(&mut self, receipt: u32) {
        self.acks.resolve(receipt);
    }

    /// The next acknowledgement whose turn has come: packet id and reason.
    pub(super) fn poll_ack(&mut self) -> Option<(u16, u8)> {
        match self.acks.poll()? {
            Ack::Publish { packet_id, reason, .. } => Some((packet_id, reason)),
            // Nothing else is owed to a broker.
            Ack::Packet(_) => None,
        }
    }

    fn answer(&mut self, publish: &Publish<'_>, reason: u8) {
        if publish.qos > 0 {
            let (kind, packet_id) = (AckKind::Ack, publish.packet_id);
            self.acks.answer(Ack::Publish { kind, packet_id, reason, words: "" });
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_config::{Source, Url};

    use super::{Host, Intake, Taken};
    use crate::event::Event;
    use crate::listener::Admission;
    use crate::mqtt::{Publish, PublishProperties, reason};

    /// An event: topic, payload, quality of service, retained or not, receipt.
    type Noted = (String, Vec<u8>, u8, bool, Option<u32>);

    /// A gateway that notes what it is given.
    struct Gateway {
        admission: Admission,
        events: Vec<Noted>,
        refused: usize,
    }

    impl Host for Gateway {
        fn takes_topic(&self, topic: &str) -> bool {
            topic.len() < 20
        }

        fn admission(&self, _: &str, _: bool) -> Admission {
            self.admission
        }

        fn publish(&mut self, event: &Event<'_>, receipt: Option<u32>) {
            assert_eq!((event.client_id, event.username), ("cloud", None));
            self.events.push((
                event.topic.to_owned(),
                event.payload.to_vec(),
                event.qos,
                event.retain,
                receipt,
            ));
        }

        fn refused(&mut self) {
            self.refused += 1;
        }
    }

    fn gateway() -> Gateway {
        Gateway { admission: Admission::Open, events: Vec::new(), refused: 0 }
    }

    fn settings() -> Source {
        let mut settings = Source::new("cloud", "me", Url::plain("b", 1));
        let subscription = |from, to| tidegate_config::Subscription::new(from, to, 1).unwrap();
        settings.subscriptions =
            vec![subscription("cmd/g/#", Some("cmd/#")), subscription("$share/s/cmd/+/all", None)];
        settings.window = 3;
        settings
    }

    fn publish(topic: &str, qos: u8, packet_id: u16) -> Publish<'_> {
        let properties = PublishProperties::default();
        Publish { dup: false, qos, retain: true, topic, packet_id, properties, payload: b"on" }
    }

    fn acks(intake: &mut Intake<'_>) -> Vec<(u16, u8)> {
        std::iter::from_fn(|| intake.poll_ack()).collect()
    }

    #[test]
    fn a_publish_is_acknowledged_in_its_turn_once_its_receipt_has_come() {
        let (settings, mut gateway) = (settings(), gateway());
        let mut intake = Intake::new(&settings);
        for packet_id in 7..10 {
            assert!(!intake.is_full());
            assert_eq!(
                intake.handle_publish(&publish("cmd/g/valve", 1, packet_id), &mut gateway),
                Taken::Yes
            );
        }
        assert!(intake.is_full());
        assert_eq!(gateway.events[0], ("cmd/valve".to_owned(), b"on".to_vec(), 1, true, Some(0)));
        let receipts: Vec<u32> = gateway.events.iter().filter_map(|event| event.4).collect();
        intake.handle_receipt(receipts[1]);
        assert_eq!(acks(&mut intake), []);
        intake.handle_receipt(receipts[0]);
        assert_eq!(acks(&mut intake), [(7, 0), (8, 0)]);
        assert!(!intake.is_full() && !intake.is_empty());
        intake.handle_receipt(receipts[2]);
        assert_eq!(acks(&mut intake), [(9, 0)]);
        assert!(intake.is_empty());
    }

    #[test]
    fn the_first_subscription_that_brings_a_topic_says_what_becomes_of_it() {
        let (settings, mut gateway) = (settings(), gateway());
        let mut intake = Intake::new(&settings);
        for topic in ["cmd/g/all", "cmd/h/all", "cmd/g"] {
            intake.handle_publish(&publish(topic, 0, 0), &mut gateway);
        }
        let topics: Vec<&str> = gateway.events.iter().map(|event| event.0.as_str()).collect();
        assert_eq!(topics, ["cmd/all", "cmd/h/all", "cmd"]);
        assert!(gateway.events.iter().all(|event| event.4.is_none()) && intake.is_empty(), "QoS 0");
    }

    #[test]
    fn what_can_never_be_taken_is_acknowledged_in_its_turn_and_is_no_event() {
        let (settings, mut gateway) = (settings(), gateway());
        let mut intake = Intake::new(&settings);
        intake.handle_publish(&publish("cmd/g/a", 1, 1), &mut gateway);
        assert_eq!(intake.handle_publish(&publish("other", 1, 2), &mut gateway), Taken::Stranger);
        let long = format!("cmd/g/{}", "x".repeat(20));
        assert_eq!(intake.handle_publish(&publish(&long, 1, 3), &mut gateway), Taken::OverLimits);
        assert_eq!((gateway.events.len(), gateway.refused), (1, 1));
        assert_eq!(acks(&mut intake), []);
        intake.handle_receipt(0);
        assert_eq!(acks(&mut intake), [(1, 0), (2, 0), (3, reason::TOPIC_NAME_INVALID)]);
    }

    #[test]
    fn what_finds_no_room_is_neither_an_event_nor_acknowledged() {
        let (settings, mut gateway) = (settings(), gateway());
        let mut intake = Intake::new(&settings);
        for (admission, taken) in [(Admission::Wait, Taken::Wait), (Admission::Refuse, Taken::Later)] {
            gateway.admission = admission;
            assert_eq!(intake.handle_publish(&publish("cmd/g/a", 1, 1), &mut gateway), taken);
        }
        assert!(gateway.events.is_empty() && intake.is_empty());
        assert_eq!(gateway.refused, 0, "it comes again");
    }
}
