//! Shared subscriptions (MQTT 5.0, section 4.8.2): an event goes to one member of each group, in turn.

use std::collections::HashMap;

use tidegate_rules::{TopicFilter, TopicTree};

use super::subscriptions::Subscriber;

/// The number of a group: all subscriptions to the same `$share/NAME/FILTER`. Never used twice in a run, since queues
/// may outlive their group.
pub(super) type ShareId = u64;

#[derive(Debug)]
struct Share {
    /// As in SUBSCRIBE, `$share/` included.
    text: Box<str>,
    filter: TopicFilter,
    members: Vec<Subscriber>,
    /// Whose turn it is.
    turn: usize,
}

/// All groups.
#[derive(Default)]
pub(super) struct Shares {
    groups: HashMap<ShareId, Share>,
    last: ShareId,
    by_text: HashMap<Box<str>, ShareId>,
    filters: TopicTree<ShareId>,
}

impl Shares {
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Adds a member, or changes what one asks for. `text` is the whole subscription, `filter` what follows the name.
    pub(super) fn join(&mut self, text: &str, filter: &TopicFilter, member: Subscriber) {
        let id = self.by_text.get(text).copied().unwrap_or_else(|| self.found(text, filter));
        let Some(share) = self.share_mut(id) else { return };
        match share.members.iter_mut().find(|known| known.session == member.session) {
            Some(known) => *known = member,
            None => share.members.push(member),
        }
    }

    fn found(&mut self, text: &str, filter: &TopicFilter) -> ShareId {
        self.last += 1;
        let id = self.last;
        let share = Share { text: text.into(), filter: filter.clone(), members: Vec::new(), turn: 0 };
        self.groups.insert(id, share);
        self.by_text.insert(text.into(), id);
        self.filters.insert(filter, id);
        id
    }

    /// Takes a member away; a group without members is forgotten.
    pub(super) fn leave(&mut self, text: &str, session: u32) {
        let Some(id) = self.by_text.get(text).copied() else { return };
        let Some(share) = self.share_mut(id) else { return };
        share.members.retain(|member| member.session != session);
        if share.members.is_empty() {
            let filter = share.filter.clone();
            self.filters.remove(&filter, &id);
            self.by_text.remove(text);
            self.groups.remove(&id);
        }
    }

    pub(super) fn id(&self, text: &str) -> Option<ShareId> {
        self.by_text.get(text).copied()
    }

    pub(super) fn text(&self, id: ShareId) -> Option<&str> {
        self.groups.get(&id).map(|share| &*share.text)
    }

    /// Whether any group wants `topic`.
    pub(super) fn is_wanted(&self, topic: &str) -> bool {
        self.filters.any(topic, |_| true)
    }

    /// The groups that want `topic`.
    pub(super) fn for_each_match(&self, topic: &str, mut found: impl FnMut(ShareId)) {
        self.filters.for_each_match(topic, |id| found(*id));
    }

    /// The member whose turn it is among those that rank best: the rank is a member's worth, `None` for one that cannot
    /// take it.
    pub(super) fn pick(
        &mut self,
        id: ShareId,
        rank: impl Fn(&Subscriber) -> Option<u8>,
    ) -> Option<Subscriber> {
        let share = self.share_mut(id)?;
        let count = share.members.len();
        let in_turn = (0..count).map(|offset| (share.turn + offset) % count.max(1));
        let ranked = in_turn.filter_map(|at| {
            let member = share.members.get(at)?;
            Some((rank(member)?, at, *member))
        });
        // The first of the best: `max_by_key` would give the last.
        let (_, at, member) = ranked.reduce(|best, next| if next.0 > best.0 { next } else { best })?;
        share.turn = at + 1;
        Some(member)
    }

    fn share_mut(&mut self, id: ShareId) -> Option<&mut Share> {
        self.groups.get_mut(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::{Shares, Subscriber};
    use crate::mqtt::{SubscriptionOptions, Version};
    use tidegate_rules::TopicFilter;

    fn member(session: u32) -> Subscriber {
        Subscriber { session, options: SubscriptionOptions::new(Version::V5, 1).unwrap(), identifier: 0 }
    }

    fn group() -> Shares {
        let mut shares = Shares::default();
        let filter = TopicFilter::parse("a/+").unwrap();
        for session in 1..=3 {
            shares.join("$share/g/a/+", &filter, member(session));
        }
        shares
    }

    fn picks(shares: &mut Shares, count: usize, rank: impl Fn(u32) -> Option<u8>) -> Vec<Option<u32>> {
        let id = shares.id("$share/g/a/+").unwrap();
        (0..count)
            .map(|_| shares.pick(id, |member| rank(member.session)).map(|member| member.session))
            .collect()
    }

    #[test]
    fn each_in_turn_among_those_that_can() {
        let mut shares = group();
        assert_eq!(picks(&mut shares, 4, |_| Some(0)), [1, 2, 3, 1].map(Some));
        assert_eq!(picks(&mut shares, 3, |session| (session != 2).then_some(0)), [3, 1, 3].map(Some));
        assert_eq!(picks(&mut shares, 2, |session| Some(u8::from(session == 2))), [2, 2].map(Some));
        assert_eq!(picks(&mut shares, 1, |_| None), [None]);
    }

    #[test]
    fn a_group_lives_as_long_as_its_members() {
        let mut shares = group();
        let matches = |shares: &Shares| {
            let mut count = 0;
            shares.for_each_match("a/x", |_| count += 1);
            count
        };
        assert_eq!(matches(&shares), 1);
        for session in 1..=3 {
            assert!(!shares.is_empty());
            shares.leave("$share/g/a/+", session);
        }
        shares.leave("$share/g/a/+", 3);
        assert!(shares.is_empty() && shares.id("$share/g/a/+").is_none());
        assert_eq!(matches(&shares), 0);
    }
}
