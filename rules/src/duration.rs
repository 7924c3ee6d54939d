//! Durations as rules write them.

/// Units of a duration in ms.
const UNITS: &[(&str, i64)] =
    &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];

/// Milliseconds of numbers with units in a row: `1h30m`.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let mut rest = text.trim();
    let mut total_ms = 0_i64;
    loop {
        let (number, after) = rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count());
        let (unit, after) = after.split_at(after.bytes().take_while(u8::is_ascii_alphabetic).count());
        let (_, unit_ms) = UNITS.iter().find(|(each, _)| *each == unit)?;
        let part_ms = number.parse::<i64>().ok()?.checked_mul(*unit_ms)?;
        total_ms = total_ms.checked_add(part_ms)?;
        if after.is_empty() {
            return Some(total_ms);
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("500ms", Some(500)),
            ("10s", Some(10_000)),
            (" 1m ", Some(60_000)),
            ("1h30m", Some(5_400_000)),
            ("1d", Some(86_400_000)),
            ("2w", Some(1_209_600_000)),
            ("0s", Some(0)),
            ("", None),
            ("10", None),
            ("s", None),
            ("-1s", None),
            ("1.5s", None),
            ("1M", None),
            ("1 m", None),
            ("99999999999999999999s", None),
            ("9223372036854775807w", None),
        ] {
            assert_eq!(parse_duration(text), expected, "{text}");
        }
    }
}
