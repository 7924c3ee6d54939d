//! Events that go round: what comes down from a broker, and is sent up to it again. Warned of, since the cloud may know better.

use tidegate_rules::TopicFilter;

use super::uplink::Draft;
use crate::files::Place;
use crate::mistake::Mistake;
use crate::section::Text;
use crate::{Rule, Source, Subscription, Target, Uplink};

/// One way up to an uplink: a destination of a rule or of a route.
pub(super) struct Way<'t> {
    place: &'t Place,
    is_route: bool,
    /// The events it is for.
    filters: Vec<TopicFilter>,
    uplink: usize,
    /// What the rule makes of their topics.
    topic: Option<&'t str>,
}

impl<'t> Way<'t> {
    /// What this destination sends up; `None` if it does not.
    pub(super) fn new(
        rule: &Rule,
        is_route: bool,
        target: Option<Target>,
        (place, topic): (&'t Place, Option<Text<'t>>),
    ) -> Option<Self> {
        let Some(Target::Uplink(uplink)) = target else { return None };
        let filters = rule.rule.filters().cloned().collect();
        Some(Way { place, is_route, filters, uplink, topic: topic.map(|text| text.value) })
    }
}

/// Warns of uplinks that may send up what came down, once for each of them.
pub(super) fn check(drafts: &[Draft<'_>], sources: &[Source], ways: &[Way<'_>], mistakes: &mut Vec<Mistake>) {
    for (index, draft) in drafts.iter().enumerate() {
        let (Some(name), Some(uplink)) = (draft.name, &draft.uplink) else { continue };
        let rounds = || {
            let ways = ways.iter().filter(move |way| way.uplink == index);
            ways.flat_map(|way| brought(uplink, sources).filter_map(|from| round(uplink, way, from)))
        };
        if let Some(round) = rounds().find(|round| round.comes_again).or_else(|| rounds().next()) {
            mistakes.push(round.warning(name));
        }
    }
}

/// What is subscribed to at the broker of an uplink, by itself or by a source.
fn brought<'c>(uplink: &'c Uplink, sources: &'c [Source]) -> impl Iterator<Item = &'c Subscription> {
    let there = sources.iter().filter(|source| source.broker.url == uplink.broker.url);
    uplink.downlink.iter().chain(there).flat_map(|source| &source.subscriptions)
}

/// An event that came down goes up.
struct Round<'t> {
    place: &'t Place,
    brought: String,
    /// The broker sends down what it gets.
    comes_again: bool,
}

fn round<'t>(uplink: &Uplink, way: &Way<'t>, subscription: &Subscription) -> Option<Round<'t>> {
    let brought = subscription.brings();
    let mut filters = way.filters.iter().filter(|filter| filter.overlaps(brought)).peekable();
    filters.peek()?;
    let comes_again = filters.any(|filter| {
        // What is for both has a topic that either of them allows.
        [filter, brought]
            .iter()
            .all(|of| goes_to(uplink, way, of).is_none_or(|sent| sent.overlaps(subscription.asks_for())))
    });
    // What a rule makes of it may be wanted there; an event as it came is hardly.
    let is_odd = comes_again || way.is_route;
    is_odd.then(|| Round { place: way.place, brought: brought.to_string(), comes_again })
}

/// Where in the cloud events of these topics go; `None` if that cannot be said.
fn goes_to(uplink: &Uplink, way: &Way<'_>, events: &TopicFilter) -> Option<TopicFilter> {
    if let Some(batch) = &uplink.batch {
        return TopicFilter::parse(&batch.topic).ok();
    }
    let topic = way.topic.unwrap_or(events.as_str());
    let mut sent = String::new();
    uplink.topic.render(topic, &mut sent);
    TopicFilter::parse(&known_part(&sent)).ok()
}

/// The levels of a topic up to one that is not known, and `#` for all that may follow.
fn known_part(topic: &str) -> String {
    let known = topic.split('/').take_while(|level| *level != "#" && !level.contains('{'));
    let mut levels: Vec<&str> = known.map(|level| if level.contains('+') { "+" } else { level }).collect();
    if levels.len() < topic.split('/').count() {
        levels.push("#");
    }
    levels.join("/")
}

impl Round<'_> {
    fn warning(self, name: Text<'_>) -> Mistake {
        let (name_of, brought) = (name.value, &self.brought);
        let (message, help) = if self.comes_again {
            (
                format!(
                    "events may go round: what comes down from `{name_of}` as `{brought}` goes up, and comes down again"
                ),
                "keep what goes up and what comes down apart: narrower filters, or a `topic` of the uplink, such as \
                 `gw/{gateway}/{topic}`, that is not subscribed to",
            )
        } else {
            (
                format!("what comes down from `{name_of}` as `{brought}` goes up to it again"),
                "leave it out of what is forwarded: filters that do not have it",
            )
        };
        Mistake::warning(name.place, message).also(self.place, "sent up here").help(help)
    }
}

#[cfg(test)]
mod tests {
    use super::known_part;

    #[test]
    fn what_is_known_of_a_topic_ends_where_anything_may_stand() {
        for (topic, known) in [
            ("a/b", "a/b"),
            ("gw/cmd/#/x", "gw/cmd/#"),
            ("alerts/{device}/hot", "alerts/#"),
            ("a-{device}", "#"),
            ("a/+/b", "a/+/b"),
            ("gw/x+/b", "gw/+/b"),
            ("#", "#"),
        ] {
            assert_eq!(known_part(topic), known, "{topic}");
        }
    }
}
