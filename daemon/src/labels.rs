//! What rules and their destinations are called: for taps, traces and the commands about rules.

use tidegate_config::{Config, Destination, Target, TopicTemplate};

/// The names behind the numbers that rules use.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    rules: Vec<(String, Vec<Destination>)>,
    uplinks: Vec<(String, TopicTemplate)>,
}

/// A destination of a rule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Label<'a> {
    pub(crate) rule: &'a str,
    pub(crate) destination: Destination,
    /// `None` for the local bus.
    uplink: Option<(&'a str, &'a TopicTemplate)>,
}

impl Labels {
    pub(crate) fn new(config: &Config) -> Labels {
        let uplinks = config.uplinks.iter().map(|uplink| (uplink.name.clone(), uplink.topic.clone()));
        let rules = config.rules.iter().map(|rule| (rule.rule.name().to_owned(), rule.destinations.clone()));
        Labels::from_parts(rules.collect(), uplinks.collect())
    }

    pub(crate) fn from_parts(
        rules: Vec<(String, Vec<Destination>)>,
        uplinks: Vec<(String, TopicTemplate)>,
    ) -> Labels {
        Labels { rules, uplinks }
    }

    /// The name of a rule.
    pub(crate) fn rule(&self, rule: u32) -> &str {
        let found = usize::try_from(rule).ok().and_then(|rule| self.rules.get(rule));
        found.map_or("", |(name, _)| name)
    }

    /// A destination by the numbers of its rule and of itself.
    pub(crate) fn find(&self, rule: u32, destination: u32) -> Option<Label<'_>> {
        let (name, destinations) = self.rules.get(usize::try_from(rule).ok()?)?;
        let destination = destinations.get(usize::try_from(destination).ok()?)?;
        Some(self.label(name, *destination))
    }

    /// All destinations of a rule.
    pub(crate) fn of_rule(&self, rule: usize) -> impl Iterator<Item = Label<'_>> {
        self.rules.get(rule).into_iter().flat_map(|(name, destinations)| {
            destinations.iter().map(|destination| self.label(name, *destination))
        })
    }

    fn label<'a>(&'a self, rule: &'a str, destination: Destination) -> Label<'a> {
        let uplink = match destination.target {
            Target::Uplink(index) => self.uplinks.get(index).map(|(name, topic)| (name.as_str(), topic)),
            Target::Local => None,
        };
        Label { rule, destination, uplink }
    }
}

impl<'a> Label<'a> {
    /// The uplink's name; `None` for the local bus.
    pub(crate) fn uplink(&self) -> Option<&'a str> {
        self.uplink.map(|(name, _)| name)
    }

    /// The topic under which it arrives: an uplink may put something around it.
    pub(crate) fn topic(&self, topic: &str) -> String {
        let mut out = String::new();
        match self.uplink {
            Some((_, template)) => template.render(topic, &mut out),
            None => out.push_str(topic),
        }
        out
    }
}
