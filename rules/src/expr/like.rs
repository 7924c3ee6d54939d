//! LIKE: `%` is any text, `_` is one character, all else is itself. Case matters.

/// The longest pattern in bytes: a pattern may come out of a payload, and the cost is at most the product of the lengths.
pub(super) const PATTERN_BYTES_MAX: usize = 1024;

/// Says whether a whole text matches a pattern.
pub(super) fn matches(text: &str, pattern: &str) -> bool {
    let (mut text, mut pattern) = (text.chars(), pattern.chars());
    // What to try again from when a character does not match: the last `%` takes one more.
    let mut retry = None;
    loop {
        let matched = match pattern.next() {
            Some('%') => {
                retry = Some((text.clone(), pattern.clone()));
                continue;
            }
            Some(expected) => text.next().is_some_and(|letter| expected == '_' || letter == expected),
            None if text.as_str().is_empty() => return true,
            None => false,
        };
        if matched {
            continue;
        }
        let Some((retry_text, retry_pattern)) = &mut retry else { return false };
        if retry_text.next().is_none() {
            return false;
        }
        text = retry_text.clone();
        pattern = retry_pattern.clone();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn table() {
        for (text, pattern, expected) in [
            ("", "", true),
            ("", "%", true),
            ("", "_", false),
            ("a", "", false),
            ("abc", "abc", true),
            ("abc", "ABC", false),
            ("abc", "a%", true),
            ("abc", "%c", true),
            ("abc", "%b%", true),
            ("abc", "a_c", true),
            ("abc", "a_", false),
            ("aüc", "a_c", true),
            ("abab", "%ab", true),
            ("mississippi", "m%iss%pi", true),
            ("mississippi", "m%iss%x%pi", false),
            ("a%b", "a%b", true),
            ("aaa", "%%%", true),
        ] {
            assert_eq!(matches(text, pattern), expected, "{text} {pattern}");
        }
    }

    #[test]
    fn hostile_patterns_end() {
        assert!(!matches(&"a".repeat(10_000), &("%a".repeat(500) + "b")));
    }

    proptest! {
        #[test]
        fn agrees_with_a_regular_expression(text in "[ab%_]{0,8}", pattern in "[ab%_]{0,6}") {
            let source: String = pattern.chars().map(|letter| match letter {
                '%' => ".*".to_owned(),
                '_' => ".".to_owned(),
                other => regex_lite::escape(&other.to_string()),
            }).collect();
            let regex = regex_lite::Regex::new(&format!("^{source}$")).unwrap();
            prop_assert_eq!(matches(&text, &pattern), regex.is_match(&text));
        }
    }
}
