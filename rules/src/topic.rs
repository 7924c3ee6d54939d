//! Topic names and topic filters: what is legal, and which filter matches which name (MQTT 5.0, section 4.7).
//!
//! Shared subscriptions (`$share/…`) are not known here: their prefix is taken off before.

use std::fmt;

/// The longest topic name or filter in bytes: the length of an MQTT string is a 16-bit number (MQTT 5.0, 1.5.4).
pub const TOPIC_BYTES_MAX: usize = 65_535;

/// The most levels of a topic name or filter. MQTT has no such bound; a tree of filters needs one.
pub const TOPIC_LEVELS_MAX: usize = 128;

/// Why a text is no topic name or topic filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// At least one character is needed (MQTT 5.0, 4.7.3).
    #[error("a topic cannot be empty")]
    Empty,
    /// Longer than [`TOPIC_BYTES_MAX`].
    #[error("a topic cannot be longer than {TOPIC_BYTES_MAX} bytes")]
    TooLong,
    /// More levels than [`TOPIC_LEVELS_MAX`].
    #[error("a topic cannot have more than {TOPIC_LEVELS_MAX} levels")]
    TooDeep {
        /// Where the first level too many begins.
        offset: usize,
    },
    /// U+0000 is not allowed (MQTT 5.0, 4.7.3).
    #[error("a topic cannot contain the character U+0000")]
    Nul {
        /// Where it stands.
        offset: usize,
    },
    /// `+` or `#` in a topic name (MQTT 5.0, 4.7.1).
    #[error("a topic name cannot contain the wildcards `+` and `#`")]
    WildcardInName {
        /// Where it stands.
        offset: usize,
    },
    /// `+` or `#` beside other characters of its level (MQTT 5.0, 4.7.1).
    #[error("a wildcard has to be a whole level, as in `a/+/b` or `a/#`")]
    WildcardNotAlone {
        /// Where it stands.
        offset: usize,
    },
    /// `#` before the last level (MQTT 5.0, 4.7.1.2).
    #[error("`#` has to be the last level")]
    HashNotLast {
        /// Where it stands.
        offset: usize,
    },
}

impl TopicError {
    /// The byte offset of the place in the text that is wrong.
    pub fn offset(&self) -> usize {
        match *self {
            Self::Empty => 0,
            Self::TooLong => TOPIC_BYTES_MAX,
            Self::TooDeep { offset }
            | Self::Nul { offset }
            | Self::WildcardInName { offset }
            | Self::WildcardNotAlone { offset }
            | Self::HashNotLast { offset } => offset,
        }
    }
}

/// Says whether a text may be the topic of a publish.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check_topic_name(topic: &str) -> Result<(), TopicError> {
    check_bounds(topic)?;
    match topic.bytes().position(|byte| matches!(byte, b'+' | b'#')) {
        Some(offset) => Err(TopicError::WildcardInName { offset }),
        None => Ok(()),
    }
}

/// What names and filters have in common: not empty, not too long, not too deep, no U+0000.
fn check_bounds(topic: &str) -> Result<(), TopicError> {
    if topic.is_empty() {
        return Err(TopicError::Empty);
    }
    if topic.len() > TOPIC_BYTES_MAX {
        return Err(TopicError::TooLong);
    }
    let mut levels = 1;
    for (offset, byte) in topic.bytes().enumerate() {
        match byte {
            0 => return Err(TopicError::Nul { offset }),
            b'/' if levels == TOPIC_LEVELS_MAX => return Err(TopicError::TooDeep { offset: offset + 1 }),
            b'/' => levels += 1,
            _ => {}
        }
    }
    Ok(())
}

/// A topic filter that is known to be legal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TopicFilter(Box<str>);

impl TopicFilter {
    /// Takes a text as a topic filter.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(filter: &str) -> Result<Self, TopicError> {
        check_bounds(filter)?;
        let mut offset = 0;
        for level in filter.split('/') {
            if let Some(at) = level.bytes().position(|byte| matches!(byte, b'+' | b'#')) {
                if level.len() > 1 {
                    return Err(TopicError::WildcardNotAlone { offset: offset + at });
                }
                if level == "#" && offset + 1 < filter.len() {
                    return Err(TopicError::HashNotLast { offset });
                }
            }
            offset += level.len() + 1;
        }
        Ok(Self(filter.into()))
    }

    /// The filter as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Says whether a topic name matches. A filter that begins with a wildcard matches no topic that begins with `$`
    /// (MQTT 5.0, 4.7.2).
    pub fn matches(&self, topic: &str) -> bool {
        if topic.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut levels = topic.split('/');
        for expected in self.0.split('/') {
            if expected == "#" {
                return true;
            }
            match levels.next() {
                Some(level) if expected == "+" || expected == level => {}
                _ => return false,
            }
            // `a/#` matches `a` too: what follows may be nothing at all.
        }
        levels.next().is_none()
    }

    /// Says whether there is a topic name that matches both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let hides = |one: &Self, two: &Self| one.0.starts_with(['+', '#']) && two.0.starts_with('$');
        // What matches `/#` and `+` is the empty text alone, which is no topic name (MQTT 5.0, 4.7.3).
        let share_nothing = matches!((&*self.0, &*other.0), ("/#", "+") | ("+", "/#"));
        if hides(self, other) || hides(other, self) || share_nothing {
            return false;
        }
        let (mut one, mut two) = (self.0.split('/'), other.0.split('/'));
        loop {
            match (one.next(), two.next()) {
                (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
                (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
                (Some(one), Some(two)) if one == two => {}
                _ => return false,
            }
        }
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::sample::select;
    use proptest::{collection, prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn names() {
        for good in ["a", "/", "a//b", "é/x", "$SYS/x", " ", &"x".repeat(TOPIC_BYTES_MAX), &"/".repeat(127)]
        {
            assert_eq!(check_topic_name(good), Ok(()), "{good:?}");
        }
        let long = "x".repeat(TOPIC_BYTES_MAX + 1);
        for (bad, error, offset) in [
            ("", TopicError::Empty, 0),
            (long.as_str(), TopicError::TooLong, TOPIC_BYTES_MAX),
            ("a/\0", TopicError::Nul { offset: 2 }, 2),
            ("a/+", TopicError::WildcardInName { offset: 2 }, 2),
            ("é#", TopicError::WildcardInName { offset: 2 }, 2),
            (&"/".repeat(128), TopicError::TooDeep { offset: 128 }, 128),
        ] {
            assert_eq!(check_topic_name(bad), Err(error), "{bad:?}");
            assert_eq!(error.offset(), offset);
        }
    }

    #[test]
    fn filters() {
        for good in ["a", "+", "#", "a/+/b", "a/#", "+/+/#", "/+", "+/", "//#", "$share/x"] {
            assert_eq!(TopicFilter::parse(good).unwrap().to_string(), good);
        }
        for (bad, error) in [
            ("", TopicError::Empty),
            ("a/b+", TopicError::WildcardNotAlone { offset: 3 }),
            ("a/#b", TopicError::WildcardNotAlone { offset: 2 }),
            ("a/++", TopicError::WildcardNotAlone { offset: 2 }),
            ("a/#/b", TopicError::HashNotLast { offset: 2 }),
            ("#/", TopicError::HashNotLast { offset: 0 }),
            ("\0", TopicError::Nul { offset: 0 }),
        ] {
            assert_eq!(TopicFilter::parse(bad), Err(error), "{bad:?}");
        }
    }

    #[test]
    fn matching_as_in_the_standard() {
        for (filter, topic, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("sport/#", "sports", false),
            ("#", "a/b", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("+/#", "a", true),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("$SYS/+", "$SYS/x", true),
            ("a/#", "a/$b", true),
            ("a", "A", false),
            ("a/b", "a", false),
            ("a", "a/b", false),
        ] {
            assert_eq!(TopicFilter::parse(filter).unwrap().matches(topic), expected, "{filter} {topic}");
        }
    }

    /// All names of one to four levels of these, in order of their levels.
    fn short_names() -> Vec<String> {
        let levels = ["", "a", "b", "$"];
        let mut names: Vec<String> = levels.map(str::to_owned).to_vec();
        let mut last = names.clone();
        for _ in 0..3 {
            last = last.iter().flat_map(|name| levels.map(|level| format!("{name}/{level}"))).collect();
            names.extend_from_slice(&last);
        }
        names.retain(|name| check_topic_name(name).is_ok());
        names
    }

    proptest! {
        /// Two filters overlap if and only if a name matches both; a short one is enough for short filters.
        #[test]
        fn filters_overlap_where_a_name_matches_both(
            one in collection::vec(select(vec!["", "a", "$", "+"]), 1..4), one_is_open: bool,
            two in collection::vec(select(vec!["", "a", "$", "+"]), 1..4), two_is_open: bool,
        ) {
            let filter = |mut levels: Vec<&str>, is_open: bool| {
                levels.extend(is_open.then_some("#"));
                TopicFilter::parse(&levels.join("/"))
            };
            let (Ok(one), Ok(two)) = (filter(one, one_is_open), filter(two, two_is_open)) else { return Ok(()) };
            let both = short_names().iter().any(|name| one.matches(name) && two.matches(name));
            prop_assert_eq!(one.overlaps(&two), both, "{} {}", one, two);
            prop_assert_eq!(two.overlaps(&one), both, "{} {}", two, one);
        }
    }
}
