//! A topic filter with named captures: `sensors/{device}/climate`, `logs/{path#}`.

use std::ops::Range;

use crate::{mistake::Mistake, topic::TopicFilter};

/// A filter of a rule: what it subscribes to, and which levels have names.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    pub(crate) filter: TopicFilter,
    pub(crate) captures: Vec<Capture>,
}

/// A named part of the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Capture {
    pub(crate) name: String,
    pub(crate) place: Place,
    /// Where the braces stand in the pattern.
    pub(crate) span: Range<usize>,
}

/// Which part of a topic a capture names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The level with this index.
    Level(usize),
    /// Everything from the level with this index on.
    Rest(usize),
}

impl Place {
    /// The captured part; `None` if the topic ends before it, as `a` does for `a/{rest#}`.
    pub(crate) fn of(self, topic: &str) -> Option<&str> {
        match self {
            Self::Level(index) => topic.split('/').nth(index),
            Self::Rest(0) => Some(topic),
            Self::Rest(index) => topic.splitn(index + 1, '/').nth(index),
        }
    }
}

impl Pattern {
    /// Takes a text as a pattern. Spans of the mistake are relative to the text.
    pub(crate) fn parse(text: &str) -> Result<Self, Mistake> {
        if text == "$share" || text.starts_with("$share/") {
            return Err(Mistake::new(0..6, "shared subscriptions are not for rules")
                .help("write the filter alone: every event reaches every rule once"));
        }
        let mut plain: Vec<&str> = Vec::new();
        let mut captures: Vec<Capture> = Vec::new();
        let mut offset = 0;
        for (index, level) in text.split('/').enumerate() {
            let span = offset..offset + level.len();
            offset = span.end + 1;
            let Some(capture) = parse_capture(level, index, &span)? else {
                plain.push(level);
                continue;
            };
            if let Some(first) = captures.iter().find(|first| first.name == capture.name) {
                let message = format!("the capture `{}` is there twice", capture.name);
                return Err(Mistake::new(span, message).also(first.span.clone(), "first here"));
            }
            if matches!(capture.place, Place::Rest(_)) && offset <= text.len() {
                return Err(Mistake::new(span, "a capture of the rest has to be the last level"));
            }
            plain.push(if matches!(capture.place, Place::Rest(_)) { "#" } else { "+" });
            captures.push(capture);
        }
        let filter = TopicFilter::parse(&plain.join("/")).map_err(|error| {
            let at = place_in_text(text, &plain, error.offset());
            Mistake::new(at..(at + 1).min(text.len()).max(at), error.to_string())
        })?;
        Ok(Self { filter, captures })
    }
}

/// Where a byte of the plain filter stands in the text with captures.
fn place_in_text(text: &str, plain: &[&str], offset: usize) -> usize {
    let (mut in_plain, mut in_text) = (0, 0);
    for (level, written) in plain.iter().zip(text.split('/')) {
        if offset <= in_plain + level.len() {
            return in_text + (offset - in_plain).min(written.len());
        }
        in_plain += level.len() + 1;
        in_text += written.len() + 1;
    }
    text.len()
}

fn parse_capture(level: &str, index: usize, span: &Range<usize>) -> Result<Option<Capture>, Mistake> {
    if !level.contains(['{', '}']) {
        return Ok(None);
    }
    let Some(inner) = level.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
        return Err(Mistake::new(span.clone(), "a capture has to be a whole level, as in `a/{name}/b`"));
    };
    let (name, place) = match inner.strip_suffix('#') {
        Some(name) => (name, Place::Rest(index)),
        None => (inner, Place::Level(index)),
    };
    if !is_name(name) {
        return Err(Mistake::new(span.clone(), "a capture needs a name of letters, digits and `_`"));
    }
    Ok(Some(Capture { name: name.to_owned(), place, span: span.clone() }))
}

/// Says whether a text can be a name without quotes.
pub(crate) fn is_name(text: &str) -> bool {
    let mut letters = text.chars();
    letters.next().is_some_and(|first| first.is_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_alphanumeric() || letter == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_become_wildcards() {
        for (text, filter, captures) in [
            ("a/b", "a/b", vec![]),
            ("sensors/{device}/+", "sensors/+/+", vec![("device", Place::Level(1))]),
            ("{a}/{b#}", "+/#", vec![("a", Place::Level(0)), ("b", Place::Rest(1))]),
            ("{all#}", "#", vec![("all", Place::Rest(0))]),
            ("{größe_2}/#", "+/#", vec![("größe_2", Place::Level(0))]),
        ] {
            let pattern = Pattern::parse(text).unwrap();
            assert_eq!(pattern.filter.as_str(), filter);
            let found: Vec<_> =
                pattern.captures.iter().map(|each| (each.name.as_str(), each.place)).collect();
            assert_eq!(found, captures);
        }
    }

    #[test]
    fn places() {
        for (place, topic, expected) in [
            (Place::Level(0), "a/b", Some("a")),
            (Place::Level(1), "a/b", Some("b")),
            (Place::Level(1), "a/", Some("")),
            (Place::Level(2), "a/b", None),
            (Place::Rest(0), "a/b", Some("a/b")),
            (Place::Rest(1), "a/b/c", Some("b/c")),
            (Place::Rest(1), "a/", Some("")),
            (Place::Rest(1), "a", None),
        ] {
            assert_eq!(place.of(topic), expected, "{place:?} {topic}");
        }
    }

    #[test]
    fn mistakes_have_a_place() {
        for (text, span, message) in [
            ("", 0..0, "a topic cannot be empty"),
            ("a/{x}y", 2..6, "a capture has to be a whole level, as in `a/{name}/b`"),
            ("a/{}", 2..4, "a capture needs a name of letters, digits and `_`"),
            ("a/{1x}", 2..6, "a capture needs a name of letters, digits and `_`"),
            ("{x}/{x}", 4..7, "the capture `x` is there twice"),
            ("{x#}/b", 0..4, "a capture of the rest has to be the last level"),
            ("{device}/a+", 10..11, "a wildcard has to be a whole level, as in `a/+/b` or `a/#`"),
            ("{device}/#/a", 9..10, "`#` has to be the last level"),
            ("$share/g/a", 0..6, "shared subscriptions are not for rules"),
        ] {
            let mistake = Pattern::parse(text).unwrap_err();
            assert_eq!((mistake.span, mistake.message.as_str()), (span, message), "{text}");
        }
    }
}
