//! Topic aliases of one connection (MQTT 5.0, 3.3.2.3.4): a topic is sent once, and a number after that.
//!
//! They end with the connection, so nothing that is sent again can lead to the wrong topic.

use std::collections::HashMap;

/// A topic that is shorter saves nothing.
const TOPIC_BYTES_MIN: usize = 6;

/// How a topic goes into a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alias {
    /// As it is.
    None,
    /// Together with this number, which stands for it from then on; to be told by [`Aliases::handle_sent`].
    New(u16),
    /// This number stands for it.
    Known(u16),
}

/// What the broker remembers of this connection.
#[derive(Debug)]
pub(crate) struct Aliases {
    count_max: u16,
    /// Asked for each event; hashed with a seed that is random, as the groups of rules are.
    known: HashMap<Box<str>, u16, foldhash::fast::RandomState>,
}

impl Aliases {
    /// None yet, and at most `count_max`.
    pub(crate) fn new(count_max: u16) -> Self {
        Aliases { count_max, known: HashMap::default() }
    }

    /// How to send this topic. The first topics that come have the numbers for as long as the connection lives.
    pub(crate) fn find(&self, topic: &str) -> Alias {
        if topic.len() < TOPIC_BYTES_MIN || self.count_max == 0 {
            return Alias::None;
        }
        match self.known.get(topic) {
            Some(alias) => Alias::Known(*alias),
            None => match u16::try_from(self.known.len()) {
                Ok(count) if count < self.count_max => Alias::New(count + 1),
                _ => Alias::None,
            },
        }
    }

    /// The topic went out together with the number.
    pub(crate) fn handle_sent(&mut self, topic: &str, alias: Alias) {
        if let Alias::New(number) = alias {
            self.known.insert(topic.into(), number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Alias, Aliases};

    #[test]
    fn a_topic_gets_its_number_when_it_was_sent() {
        let mut aliases = Aliases::new(2);
        assert_eq!(aliases.find("a/topic"), Alias::New(1));
        assert_eq!(aliases.find("another"), Alias::New(1), "nothing was sent yet");
        aliases.handle_sent("another", Alias::New(1));
        assert_eq!((aliases.find("another"), aliases.find("a/topic")), (Alias::Known(1), Alias::New(2)));
        aliases.handle_sent("a/topic", Alias::New(2));
        assert_eq!(aliases.find("a third"), Alias::None, "the broker takes no more");
        assert_eq!(aliases.find("short"), Alias::None);
    }

    #[test]
    fn a_broker_that_takes_none_gets_none() {
        assert_eq!(Aliases::new(0).find("a/long/topic"), Alias::None);
    }
}
