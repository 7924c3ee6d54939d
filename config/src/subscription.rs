//! A subscription at a broker, and what becomes of the topics that it brings.

use tidegate_rules::{TopicError, TopicFilter, check_topic_name};

/// The longest name of a shared subscription.
const SHARE_BYTES_MAX: usize = 128;

/// A subscription, `from` and `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// What is subscribed to, with `$share/NAME/` in front if it is a shared one (MQTT 5.0, 4.8.2).
    pub filter: String,
    /// The quality of service that is asked for: 0 or 1.
    pub qos: u8,
    /// What it brings: the filter without the share.
    from: TopicFilter,
    /// What becomes of that: a filter with the same wildcards. `None`: it stays as it is.
    to: Option<TopicFilter>,
}

/// Why there is no such subscription.
#[derive(Debug, PartialEq, Eq)]
pub enum SubscriptionError {
    /// The filter after `$share/NAME/`.
    From(TopicError),
    /// The filter that topics become.
    To(TopicError),
    /// `$share/` is not followed by a name and a filter.
    Share,
    /// `to` has other wildcards than `from`.
    Wildcards,
}

impl Subscription {
    /// Takes what is subscribed to, and what becomes of topics.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(filter: &str, to: Option<&str>, qos: u8) -> Result<Self, SubscriptionError> {
        let from = match filter.strip_prefix("$share/").map(|rest| rest.split_once('/')) {
            None => filter,
            Some(Some((name, rest))) if is_share(name) => rest,
            Some(_) => return Err(SubscriptionError::Share),
        };
        let from = TopicFilter::parse(from).map_err(SubscriptionError::From)?;
        let to = to.map(TopicFilter::parse).transpose().map_err(SubscriptionError::To)?;
        if to.as_ref().is_some_and(|to| !wildcards(to).eq(wildcards(&from))) {
            return Err(SubscriptionError::Wildcards);
        }
        Ok(Subscription { filter: filter.to_owned(), qos, from, to })
    }

    /// Writes what becomes of `topic` to `out`; false if the subscription does not bring it, or nothing would be left of it.
    pub fn rename(&self, topic: &str, out: &mut String) -> bool {
        out.clear();
        if !self.from.matches(topic) {
            return false;
        }
        match &self.to {
            None => out.push_str(topic),
            Some(to) => write_levels(to, &mut captured(&self.from, topic), out),
        }
        check_topic_name(out).is_ok()
    }

    /// What becomes of topics, if not what they are.
    pub fn to(&self) -> Option<&TopicFilter> {
        self.to.as_ref()
    }

    /// What it brings, as the broker sees it.
    pub(crate) fn asks_for(&self) -> &TopicFilter {
        &self.from
    }

    /// What it brings, as the gateway sees it.
    pub fn brings(&self) -> &TopicFilter {
        self.to.as_ref().unwrap_or(&self.from)
    }
}

/// MQTT 5.0, 4.8.2: at least one character, no slash, no wildcard.
fn is_share(name: &str) -> bool {
    (1..=SHARE_BYTES_MAX).contains(&name.len()) && !name.contains(['+', '#', '\0'])
}

/// The wildcards of a filter, in order.
fn wildcards(filter: &TopicFilter) -> impl Iterator<Item = &str> {
    filter.as_str().split('/').filter(|level| matches!(*level, "+" | "#"))
}

/// What stands in `topic` where `filter`, which matches it, has wildcards; `None` for a `#` that stands for nothing.
fn captured<'t>(filter: &TopicFilter, topic: &'t str) -> impl Iterator<Item = Option<&'t str>> {
    let mut rest = Some(topic);
    filter.as_str().split('/').filter_map(move |expected| {
        let found = rest;
        if expected == "#" {
            return Some(found);
        }
        let (level, below) = match found?.split_once('/') {
            Some((level, below)) => (level, Some(below)),
            None => (found?, None),
        };
        rest = below;
        (expected == "+").then_some(Some(level))
    })
}

fn write_levels(to: &TopicFilter, captured: &mut dyn Iterator<Item = Option<&str>>, out: &mut String) {
    for (number, level) in to.as_str().split('/').enumerate() {
        let level = match level {
            "+" | "#" => captured.next().flatten(),
            level => Some(level),
        };
        // `a/#` stands for `a` too, and then nothing follows.
        let Some(level) = level else { return };
        if number > 0 {
            out.push('/');
        }
        out.push_str(level);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::{Subscription, SubscriptionError};

    fn renamed(filter: &str, to: Option<&str>, topic: &str) -> Option<String> {
        let mut out = "left over".to_owned();
        Subscription::new(filter, to, 1).unwrap().rename(topic, &mut out).then_some(out)
    }

    #[test]
    fn what_wildcards_stand_for_goes_where_they_stand_again() {
        for (filter, to, topic, expected) in [
            ("cmd/g/#", "cmd/#", "cmd/g/valve/set", Some("cmd/valve/set")),
            ("cmd/g/#", "cmd/#", "cmd/g", Some("cmd")),
            ("cmd/g/#", "#", "cmd/g/a", Some("a")),
            ("cmd/g/#", "#", "cmd/g", None),
            ("a/+/b/+", "+/x/+", "a/1/b/2", Some("1/x/2")),
            ("a/+/#", "+/z/#", "a/1/2/3", Some("1/z/2/3")),
            ("a/+/#", "z/+/#", "a/1", Some("z/1")),
            ("a/+", "x/+", "a/", Some("x/")),
            ("a", "b", "a", Some("b")),
            ("a", "b", "c", None),
            ("$share/s/a/+", "b/+", "a/1", Some("b/1")),
            ("#", "x/#", "$SYS/uptime", None),
        ] {
            assert_eq!(renamed(filter, Some(to), topic).as_deref(), expected, "{filter} {to} {topic}");
        }
    }

    #[test]
    fn without_to_topics_stay_as_they_are() {
        assert_eq!(renamed("$share/s/a/#", None, "a/b").as_deref(), Some("a/b"));
        assert_eq!(renamed("a/#", None, "b"), None);
        let shared = Subscription::new("$share/s/a/#", None, 1).unwrap();
        assert_eq!((shared.filter.as_str(), shared.brings().as_str()), ("$share/s/a/#", "a/#"));
    }

    #[test]
    fn what_is_no_subscription() {
        for (filter, to) in [("$share/", None), ("$share/s", None), ("$share//a", None), ("$share/+/a", None)]
        {
            assert_eq!(Subscription::new(filter, to, 1), Err(SubscriptionError::Share), "{filter}");
        }
        for (filter, to) in [("a/+", "b"), ("a/#", "b/+"), ("a/+/b/#", "#/+"), ("a", "b/+"), ("a/+", "+/+")] {
            let error = Subscription::new(filter, Some(to), 1).unwrap_err();
            assert!(
                matches!(error, SubscriptionError::Wildcards | SubscriptionError::To(_)),
                "{filter} {to}"
            );
        }
        assert!(matches!(Subscription::new("a/#/b", None, 1), Err(SubscriptionError::From(_))));
        assert!(matches!(Subscription::new("$share/s/", None, 1), Err(SubscriptionError::From(_))));
        assert!(matches!(Subscription::new("a", Some("b+"), 1), Err(SubscriptionError::To(_))));
    }

    proptest! {
        /// What is renamed can be renamed back, whatever the levels are, and the new topic is one of those to expect.
        #[test]
        fn renaming_is_undone_by_the_opposite(levels in proptest::collection::vec("[a-z]{0,3}", 1..6), kinds in "[+a]{0,5}") {
            let wild: Vec<&str> = kinds.chars().map(|kind| if kind == '+' { "+" } else { "fixed" }).collect();
            let (from, to) = ([&["x"], wild.as_slice(), &["#"]].concat(), [&["y", "z"], wild.as_slice(), &["#"]].concat());
            let levels: Vec<&str> = wild.iter().enumerate()
                .map(|(at, kind)| if *kind == "+" { levels.get(at).map_or("l", String::as_str) } else { *kind })
                .chain(levels.iter().map(String::as_str)).collect();
            let topic = format!("x/{}", levels.join("/"));
            let (from, to) = (from.join("/"), to.join("/"));
            let there = renamed(&from, Some(&to), &topic);
            prop_assert!(there.is_some());
            let there = there.unwrap_or_default();
            prop_assert!(Subscription::new(&from, Some(&to), 1).unwrap().brings().matches(&there));
            prop_assert_eq!(renamed(&to, Some(&from), &there), Some(topic));
        }
    }
}
