//! Base64 with padding (RFC 4648, section 4), read strictly.

/// The bytes that a text stands for. `None` if it is no base64, or not in its one canonical form.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    if !text.len().is_multiple_of(4) || padding > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for chunk in digits.as_bytes().chunks(4) {
        let mut group = 0_u32;
        for digit in chunk {
            group = group << 6 | sextet(*digit)?;
        }
        // What a chunk's digits hold beyond whole bytes has to be zero.
        let [_, group @ ..] = (group << (6 * (4 - chunk.len()))).to_be_bytes();
        let (whole, left) = group.split_at_checked(chunk.len() - 1)?;
        if chunk.len() == 1 || left.iter().any(|byte| *byte != 0) {
            return None;
        }
        bytes.extend_from_slice(whole);
    }
    Some(bytes)
}

fn sextet(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(value.into())
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn vectors_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        assert_eq!(decode("+//+"), Some(vec![0xfb, 0xff, 0xfe]));
    }

    #[test]
    fn what_is_not_canonical_is_refused() {
        for text in
            ["Z", "Zg", "Zg=", "Zg===", "====", "Zm9v====", "Zh==", "Zm9=", "Z=9v", "Zm 9", "Zm9_", "é==="]
        {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
