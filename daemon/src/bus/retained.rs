//! Retained messages (MQTT 5.0, section 3.3.1.3): the last of each topic, bounded by number and bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::rc::Rc;

use tidegate_rules::TopicFilter;

use super::Bounds;
use super::event::BusEvent;

/// The last retained message of each topic.
#[derive(Default)]
pub(super) struct Retained {
    topics: BTreeMap<Box<str>, Rc<BusEvent>>,
    bytes: usize,
    /// When which topic's message expires, so that a full store is not searched for what could go.
    expiries: BTreeSet<(u64, Box<str>)>,
    /// Topics whose last change is not stored yet: nobody was promised that it is.
    unwritten: BTreeSet<Box<str>>,
    /// Those of them whose turn it is.
    writing: BTreeSet<Box<str>>,
    /// When the next are to be stored; `None` if there are none.
    write_at_ms: Option<u64>,
}

/// How long a change that nobody was promised may wait to be stored, so that a topic costs one write in that time at most.
const WRITE_AFTER_MS: u64 = 5_000;

/// How much of what waits is stored at a time, and when the rest follows.
const WRITE_TOPICS: usize = 256;
const WRITE_REST_AFTER_MS: u64 = 20;

/// What became of a retained message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is new, or differs from the last one.
    Set,
    /// It is what is there already.
    Same,
    /// There was one, and now there is none.
    Cleared,
    /// There was none to clear.
    Nothing,
}

impl Retained {
    pub(super) fn len(&self) -> usize {
        self.topics.len()
    }

    /// Takes away what has expired, and tells `forget` of each topic.
    pub(super) fn expire(&mut self, now_ms: u64, mut forget: impl FnMut(&str)) {
        while self.expiries.first().is_some_and(|(at_ms, _)| *at_ms <= now_ms)
            && let Some((_, topic)) = self.expiries.pop_first()
        {
            self.settle(&topic);
            forget(&topic);
            self.remove(&topic);
        }
    }

    /// The last change of a topic may be stored later.
    pub(super) fn defer(&mut self, topic: &str, now_ms: u64) {
        // What is about to be written is written as it is by then.
        if !self.writing.contains(topic) && !self.unwritten.contains(topic) {
            self.unwritten.insert(topic.into());
        }
        self.write_at_ms.get_or_insert(now_ms + WRITE_AFTER_MS);
    }

    /// The last change of a topic is stored now; says whether one had been left for later.
    pub(super) fn settle(&mut self, topic: &str) -> bool {
        self.unwritten.remove(topic) || self.writing.remove(topic)
    }

    /// When [`Retained::poll_unwritten`] is to be called.
    pub(super) fn write_at_ms(&self) -> Option<u64> {
        self.write_at_ms
    }

    /// Hands over some of what was left for later, with the message that each topic has now; all of it if `all`.
    pub(super) fn poll_unwritten(
        &mut self,
        now_ms: u64,
        all: bool,
        mut write: impl FnMut(&str, Option<&BusEvent>),
    ) {
        if !all && self.write_at_ms.is_none_or(|at_ms| at_ms > now_ms) {
            return;
        }
        // Topics that change all the time must not keep others from their turn.
        if all || self.writing.is_empty() {
            self.writing.append(&mut self.unwritten);
        }
        let count_max = if all { usize::MAX } else { WRITE_TOPICS };
        let mut count = 0;
        while count < count_max
            && let Some(topic) = self.writing.pop_first()
        {
            write(&topic, self.topics.get(&topic).map(|event| &**event));
            count += 1;
        }
        self.write_at_ms = match (self.writing.is_empty(), self.unwritten.is_empty()) {
            (false, _) => Some(now_ms + WRITE_REST_AFTER_MS),
            (true, false) => Some(now_ms + WRITE_AFTER_MS),
            (true, true) => None,
        };
    }

    /// Whether a message fits. The one it replaces makes room for it.
    pub(super) fn fits(&self, topic: &str, bytes: usize, bounds: &Bounds) -> bool {
        let old = self.topics.get(topic);
        let count = self.topics.len() + usize::from(old.is_none());
        let bytes = self.bytes - old.map_or(0, |event| event.cost()) + bytes;
        count <= bounds.retained_max && bytes <= bounds.retained_bytes_max
    }

    /// Sets the message of a topic; one without a payload clears it.
    pub(super) fn set(&mut self, event: &Rc<BusEvent>) -> Change {
        if event.payload.is_empty() {
            return if self.remove(&event.topic) { Change::Cleared } else { Change::Nothing };
        }
        if self.topics.get(&event.topic).is_some_and(|old| old == event) {
            return Change::Same;
        }
        self.bytes += event.cost();
        let old = self.topics.insert(event.topic.clone(), Rc::clone(event));
        self.leave(old);
        self.expiries.extend(event.expires_at_ms.map(|at_ms| (at_ms, event.topic.clone())));
        Change::Set
    }

    pub(super) fn remove(&mut self, topic: &str) -> bool {
        let old = self.topics.remove(topic);
        self.leave(old)
    }

    /// What was there takes no room any more; says whether anything was.
    fn leave(&mut self, old: Option<Rc<BusEvent>>) -> bool {
        let Some(old) = old else { return false };
        self.bytes -= old.cost();
        if let Some(at_ms) = old.expires_at_ms {
            self.expiries.remove(&(at_ms, old.topic.clone()));
        }
        true
    }

    /// The next message that matches, in the order of topics, after `after`.
    pub(super) fn next(&self, filter: &TopicFilter, after: Option<&str>) -> Option<&Rc<BusEvent>> {
        let prefix = literal_prefix(filter.as_str());
        let start = match after {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(prefix),
        };
        let range = self.topics.range::<str, _>((start, Bound::Unbounded));
        let mut candidates = range.take_while(|(topic, _)| topic.starts_with(prefix));
        candidates.find(|(topic, _)| filter.matches(topic)).map(|(_, event)| event)
    }
}

/// What all topics that match begin with.
fn literal_prefix(filter: &str) -> &str {
    let literal = filter.find(['+', '#']).and_then(|at| filter.get(..at)).unwrap_or(filter);
    // `a/#` matches `a` too.
    if filter.ends_with('#') { literal.strip_suffix('/').unwrap_or(literal) } else { literal }
}

#[cfg(test)]
mod tests {
    use super::{Bounds, BusEvent, Change, Rc, Retained};
    use bytes::Bytes;
    use proptest::prelude::{Just, Strategy, prop, prop_assert_eq, proptest};
    use tidegate_rules::TopicFilter;

    fn event(topic: &str, payload: &'static str) -> Rc<BusEvent> {
        Rc::new(BusEvent {
            topic: topic.into(),
            payload: Bytes::from_static(payload.as_bytes()),
            properties: Box::default(),
            qos: 1,
            expires_at_ms: None,
        })
    }

    fn all(retained: &Retained, filter: &str) -> Vec<String> {
        let filter = TopicFilter::parse(filter).unwrap();
        let mut found: Vec<String> = Vec::new();
        while let Some(event) = retained.next(&filter, found.last().map(String::as_str)) {
            found.push(event.topic.to_string());
        }
        found
    }

    #[test]
    fn the_last_of_each_topic_is_kept_until_it_is_cleared() {
        let mut retained = Retained::default();
        assert_eq!(retained.set(&event("a", "1")), Change::Set);
        assert_eq!(retained.set(&event("a", "1")), Change::Same);
        assert_eq!(retained.set(&event("a", "2")), Change::Set);
        assert_eq!(retained.set(&event("b", "")), Change::Nothing);
        assert_eq!(all(&retained, "#"), ["a"]);
        assert_eq!(retained.set(&event("a", "")), Change::Cleared);
        assert_eq!((retained.len(), retained.bytes), (0, 0));
    }

    #[test]
    fn what_matches_comes_in_order() {
        let mut retained = Retained::default();
        for topic in ["a", "a/b", "a/b/c", "ab", "b/b", "$SYS/x"] {
            retained.set(&event(topic, "x"));
        }
        assert_eq!(all(&retained, "a/#"), ["a", "a/b", "a/b/c"]);
        assert_eq!(all(&retained, "+/b"), ["a/b", "b/b"]);
        assert_eq!(all(&retained, "a"), ["a"]);
        assert_eq!(all(&retained, "#").len(), 5);
        assert_eq!(all(&retained, "$SYS/#"), ["$SYS/x"]);
    }

    #[test]
    fn it_is_bounded_and_what_has_expired_makes_room() {
        let bounds = Bounds { retained_max: 2, retained_bytes_max: 200, ..Bounds::for_tests() };
        let mut retained = Retained::default();
        assert!(retained.fits("a", 66, &bounds));
        retained.set(&Rc::new(BusEvent { expires_at_ms: Some(10), ..BusEvent::clone(&event("a", "1")) }));
        retained.set(&event("b", "1"));
        retained.expire(9, |topic| panic!("{topic} has not expired"));
        assert!(!retained.fits("c", 66, &bounds), "two at most");
        assert!(!retained.fits("b", 150, &bounds), "200 bytes at most");
        assert!(retained.fits("b", 120, &bounds), "it replaces its like");
        let mut forgotten = Vec::new();
        retained.expire(10, |topic| forgotten.push(topic.to_owned()));
        assert_eq!(forgotten, ["a"]);
        assert!(retained.fits("c", 66, &bounds), "`a` has expired");
        assert_eq!(all(&retained, "#"), ["b"]);
    }

    proptest! {
        #[test]
        fn agrees_with_a_look_at_every_topic(
            topics in prop::collection::btree_set("[ab]{0,2}(/[ab]{0,1}){0,3}", 0..20),
            levels in prop::collection::vec(prop::sample::select(vec!["a", "b", "", "+"]), 1..4),
            rest in prop_oneof_bool(),
        ) {
            let mut text = levels.join("/");
            if rest { text.push_str("/#"); }
            if text.is_empty() { return Ok(()); }
            let filter = TopicFilter::parse(&text).unwrap();
            let mut retained = Retained::default();
            let topics: Vec<String> = topics.into_iter().filter(|topic| !topic.is_empty()).collect();
            for topic in &topics {
                retained.set(&event(topic, "x"));
            }
            let expected: Vec<String> = topics.into_iter().filter(|topic| filter.matches(topic)).collect();
            prop_assert_eq!(all(&retained, &text), expected);
        }
    }

    fn prop_oneof_bool() -> impl Strategy<Value = bool> {
        proptest::prop_oneof![Just(true), Just(false)]
    }
}
