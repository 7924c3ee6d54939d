//! Topic aliases (MQTT 5.0, section 3.3.2.3.4): numbers in place of topics, for one connection and one direction.

use std::collections::HashMap;

/// The aliases that the client has set. They take memory only once there are any.
pub(super) struct Incoming {
    topics: Vec<Option<Box<str>>>,
    alias_max: u16,
}

/// The aliases that we have set: the first topics get them, for good.
pub(super) struct Outgoing {
    aliases: HashMap<Box<str>, u16>,
    alias_max: u16,
}

impl Incoming {
    pub(super) fn new(alias_max: u16) -> Self {
        Incoming { topics: Vec::new(), alias_max }
    }

    /// The topic of a publish that has an alias; an empty one stands for what the alias was set to. `None` if the alias
    /// is 0, over the maximum, or not set.
    pub(super) fn resolve<'a>(&'a mut self, alias: u16, topic: &'a str) -> Option<&'a str> {
        if alias == 0 || alias > self.alias_max {
            return None;
        }
        let index = usize::from(alias) - 1;
        if topic.is_empty() {
            return self.topics.get(index)?.as_deref();
        }
        if self.topics.len() <= index {
            self.topics.resize(index + 1, None);
        }
        // A publish that has to wait comes here again.
        if let Some(known) = self.topics.get_mut(index).filter(|known| known.as_deref() != Some(topic)) {
            *known = Some(topic.into());
        }
        Some(topic)
    }
}

impl Outgoing {
    pub(super) fn new(alias_max: u16) -> Self {
        Outgoing { aliases: HashMap::new(), alias_max }
    }

    /// The alias for a topic, and whether it stands for it already: then the topic need not be sent. A new one counts
    /// once [`Outgoing::set`] says that it was sent.
    pub(super) fn alias(&self, topic: &str) -> Option<(u16, bool)> {
        if self.alias_max == 0 {
            return None;
        }
        let known = self.aliases.get(topic).map(|alias| (*alias, true));
        let next = u16::try_from(self.aliases.len() + 1).ok().filter(|next| *next <= self.alias_max);
        known.or(next.map(|next| (next, false)))
    }

    pub(super) fn set(&mut self, topic: &str, alias: u16) {
        self.aliases.insert(topic.into(), alias);
    }
}

#[cfg(test)]
mod tests {
    use super::{Incoming, Outgoing};

    #[test]
    fn an_alias_stands_for_the_topic_that_came_last_with_it() {
        let mut aliases = Incoming::new(2);
        assert_eq!(aliases.resolve(1, ""), None, "not set");
        assert_eq!(aliases.resolve(2, "a"), Some("a"));
        assert_eq!(aliases.resolve(2, ""), Some("a"));
        assert_eq!(aliases.resolve(2, "b"), Some("b"));
        assert_eq!(aliases.resolve(2, ""), Some("b"));
        assert_eq!(aliases.resolve(1, ""), None);
        assert_eq!(aliases.resolve(0, "a"), None);
        assert_eq!(aliases.resolve(3, "a"), None);
    }

    #[test]
    fn the_first_topics_get_the_aliases() {
        let mut aliases = Outgoing::new(2);
        for topic in ["a", "b"] {
            let (alias, known) = aliases.alias(topic).unwrap();
            assert!(!known);
            aliases.set(topic, alias);
        }
        assert_eq!(aliases.alias("a"), Some((1, true)));
        assert_eq!(aliases.alias("b"), Some((2, true)));
        assert_eq!(aliases.alias("c"), None);
        assert_eq!(Outgoing::new(0).alias("a"), None);
    }
}
