//! What may be called what.

use crate::mistake::Mistake;
use crate::section::Text;

/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// The longest text that is not further looked into (a client id, a user name), in bytes.
const PLAIN_BYTES_MAX: usize = 256;

/// Whether a text can be the id of a gateway: it becomes a level of topics and a part of client ids.
pub(super) fn is_gateway_id(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=NAME_BYTES_MAX).contains(&id.len()) && id.bytes().all(allowed)
}

/// Checks the name of an uplink or a rule: it is shown in metrics and logs.
pub(super) fn check_name(text: Text<'_>, mistakes: &mut Vec<Mistake>) -> Option<String> {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    if (1..=NAME_BYTES_MAX).contains(&text.value.len()) && text.value.bytes().all(allowed) {
        return Some(text.value.to_owned());
    }
    let mistake = Mistake::error(text.place, format!("`{}` cannot be a name", text.value));
    mistakes.push(
        mistake.help(format!("a name has 1 to {NAME_BYTES_MAX} of the characters a-z, 0-9, `_` and `-`")),
    );
    None
}

/// Checks a text that goes to a broker as it is: MQTT strings have no U+0000, and should have no other control
/// characters (MQTT 5.0, 1.5.4).
pub(super) fn check_plain(text: Text<'_>, key: &str, mistakes: &mut Vec<Mistake>) -> Option<String> {
    if (1..=PLAIN_BYTES_MAX).contains(&text.value.len()) && !text.value.contains(char::is_control) {
        return Some(text.value.to_owned());
    }
    let message = format!("`{key}` has to have 1 to {PLAIN_BYTES_MAX} bytes and no control characters");
    mistakes.push(Mistake::error(text.place, message));
    None
}

/// Reports a name that is there already.
pub(super) fn twice(what: &str, text: Text<'_>, first: Text<'_>) -> Mistake {
    Mistake::error(text.place, format!("{what} `{}` is there twice", text.value))
        .label("again here")
        .also(first.place, "first here")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Place;

    #[test]
    fn gateway_ids() {
        for (id, good) in [
            ("plant-7", true),
            ("A.b_9", true),
            ("", false),
            ("a/b", false),
            ("a b", false),
            ("é", false),
            ("a+", false),
        ] {
            assert_eq!(is_gateway_id(id), good, "{id}");
        }
        assert!(is_gateway_id(&"x".repeat(64)));
        assert!(!is_gateway_id(&"x".repeat(65)));
    }

    #[test]
    fn names() {
        let place = Place::whole(0);
        let long = "x".repeat(65);
        for (value, good) in
            [("minute-average_2", true), ("", false), ("Upper", false), ("a.b", false), (&long, false)]
        {
            let mut mistakes = Vec::new();
            let name = check_name(Text { value, place: &place }, &mut mistakes);
            assert_eq!((name.is_some(), mistakes.is_empty()), (good, good), "{value}");
        }
    }

    #[test]
    fn plain_texts() {
        let place = Place::whole(0);
        let long = "x".repeat(257);
        for (value, good) in
            [("Plant 7 / é", true), ("", false), ("a\0", false), ("a\nb", false), (&long, false)]
        {
            let mut mistakes = Vec::new();
            let text = check_plain(Text { value, place: &place }, "username", &mut mistakes);
            assert_eq!((text.is_some(), mistakes.is_empty()), (good, good), "{value}");
        }
    }
}
