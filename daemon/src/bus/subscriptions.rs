//! Who wants which topics.

use std::rc::Rc;

use tidegate_rules::{TopicFilter, TopicTree};

use super::SessionId;
use super::shares::{ShareId, Shares};
use crate::mqtt::{SubscriptionOptions, split_share};

/// A subscription as the tree keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subscriber {
    pub(super) session: SessionId,
    pub(super) options: SubscriptionOptions,
    /// The subscription identifier, or 0.
    pub(super) identifier: u32,
}

/// A subscription as its session keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subscription {
    /// As in SUBSCRIBE, `$share/NAME/` included.
    pub(super) text: Box<str>,
    pub(super) options: SubscriptionOptions,
    pub(super) identifier: u32,
}

impl Subscription {
    fn subscriber(&self, session: SessionId) -> Subscriber {
        Subscriber { session, options: self.options, identifier: self.identifier }
    }
}

/// One copy for one session.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) session: SessionId,
    /// The highest QoS that was asked for.
    pub(super) qos: u8,
    pub(super) retain_as_published: bool,
    pub(super) identifiers: Option<Rc<[u32]>>,
}

/// All subscriptions.
#[derive(Default)]
pub(super) struct Subscriptions {
    tree: TopicTree<Subscriber>,
    pub(super) shares: Shares,
    scratch: Vec<Subscriber>,
}

impl Subscriptions {
    /// True where no one could get anything.
    pub(super) fn is_empty(&self) -> bool {
        self.tree.is_empty() && self.shares.is_empty()
    }

    pub(super) fn insert(&mut self, session: SessionId, subscription: &Subscription) {
        let Some((filter, shared)) = parse(&subscription.text) else { return };
        let subscriber = subscription.subscriber(session);
        if shared {
            self.shares.join(&subscription.text, &filter, subscriber);
        } else {
            self.tree.insert(&filter, subscriber);
        }
    }

    pub(super) fn remove(&mut self, session: SessionId, subscription: &Subscription) {
        let Some((filter, shared)) = parse(&subscription.text) else { return };
        if shared {
            self.shares.leave(&subscription.text, session);
        } else {
            self.tree.remove(&filter, &subscription.subscriber(session));
        }
    }

    /// The groups that want `topic`.
    pub(super) fn shares_of(&self, topic: &str, found: &mut Vec<ShareId>) {
        self.shares.for_each_match(topic, |id| found.push(id));
    }

    /// Whether `is_meant` is true of a subscription to `topic`; of a shared one nothing is known, so it counts.
    pub(super) fn any(&self, topic: &str, is_meant: impl FnMut(&Subscriber) -> bool) -> bool {
        self.tree.any(topic, is_meant) || self.shares.is_wanted(topic)
    }

    /// Finds who wants `topic`: one copy for a session whose subscriptions overlap, at the highest QoS among them, and
    /// with the identifiers of all (MQTT 5.0, section 3.3.4). What `origin` published does not come back to its
    /// subscriptions with No Local.
    pub(super) fn matches(&mut self, topic: &str, origin: Option<SessionId>, found: &mut Vec<Match>) {
        let scratch = &mut self.scratch;
        scratch.clear();
        self.tree.for_each_match(topic, |subscriber| {
            if !(subscriber.options.no_local() && origin == Some(subscriber.session)) {
                scratch.push(*subscriber);
            }
        });
        scratch.sort_unstable_by_key(|subscriber| (subscriber.session, subscriber.identifier));
        for overlapping in scratch.chunk_by(|a, b| a.session == b.session) {
            let Some(first) = overlapping.first() else { continue };
            let identifiers =
                overlapping.iter().map(|each| each.identifier).filter(|identifier| *identifier > 0);
            let any = overlapping.iter().any(|each| each.identifier > 0);
            found.push(Match {
                session: first.session,
                qos: overlapping.iter().map(|each| each.options.qos()).max().unwrap_or(0),
                retain_as_published: overlapping.iter().any(|each| each.options.retain_as_published()),
                identifiers: any.then(|| identifiers.collect()),
            });
        }
    }
}

/// The filter of a subscription, and whether it is a shared one.
pub(super) fn parse(text: &str) -> Option<(TopicFilter, bool)> {
    match split_share(text) {
        Some((_, filter)) => Some((TopicFilter::parse(filter).ok()?, true)),
        None => Some((TopicFilter::parse(text).ok()?, false)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Match, Subscription, SubscriptionOptions, Subscriptions};
    use crate::mqtt::Version;

    fn subscription(text: &str, options: u8, identifier: u32) -> Subscription {
        let options = SubscriptionOptions::new(Version::V5, options).unwrap();
        Subscription { text: text.into(), options, identifier }
    }

    fn matches(subscriptions: &mut Subscriptions, topic: &str, origin: Option<u32>) -> Vec<Match> {
        let mut found = Vec::new();
        subscriptions.matches(topic, origin, &mut found);
        found
    }

    fn copy(session: u32, qos: u8, identifiers: &[u32]) -> Match {
        let identifiers = (!identifiers.is_empty()).then(|| identifiers.into());
        Match { session, qos, retain_as_published: false, identifiers }
    }

    #[test]
    fn overlapping_subscriptions_give_one_copy_at_the_highest_qos_with_all_identifiers() {
        let mut all = Subscriptions::default();
        let exact = subscription("a/b", 1, 9);
        all.insert(1, &subscription("a/#", 0, 4));
        all.insert(1, &exact);
        all.insert(2, &subscription("+/b", 2, 0));
        assert_eq!(matches(&mut all, "a/b", None), [copy(1, 1, &[4, 9]), copy(2, 2, &[])]);
        assert_eq!(matches(&mut all, "a/c", None), [copy(1, 0, &[4])]);
        all.remove(1, &exact);
        assert_eq!(matches(&mut all, "a/b", None), [copy(1, 0, &[4]), copy(2, 2, &[])]);
    }

    #[test]
    fn no_local_leaves_out_the_publisher_and_retain_as_published_is_for_the_copy() {
        let mut all = Subscriptions::default();
        all.insert(1, &subscription("a", 0x05, 0));
        all.insert(1, &subscription("#", 0x00, 0));
        all.insert(2, &subscription("a", 0x05, 0));
        all.insert(3, &subscription("a", 0x08, 0));
        let kept = Match { retain_as_published: true, ..copy(3, 0, &[]) };
        assert_eq!(matches(&mut all, "a", Some(2)), [copy(1, 1, &[]), kept]);
        assert_eq!(
            matches(&mut all, "a", Some(1))[0],
            copy(1, 0, &[]),
            "by the subscription without No Local"
        );
    }

    #[test]
    fn shared_ones_are_apart() {
        let mut all = Subscriptions::default();
        let shared = subscription("$share/g/a", 1, 0);
        all.insert(1, &shared);
        assert_eq!(matches(&mut all, "a", None), []);
        let mut groups = Vec::new();
        all.shares_of("a", &mut groups);
        assert_eq!(groups.len(), 1);
        all.remove(1, &shared);
        assert!(all.is_empty());
    }
}
