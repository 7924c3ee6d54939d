//! Sizes and durations as people write them: `"64 KiB"`, `"50ms"`.

use std::time::Duration;

/// The units of a size, in bytes.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// The units of a duration, in milliseconds.
const DURATION_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a size in bytes. A number with no unit is bytes.
///
/// # Errors
/// What is right instead.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let unit = if unit.is_empty() { "B" } else { unit };
    scale(number, unit, &SIZE_UNITS)
}

/// Reads a duration. It needs a unit.
///
/// # Errors
/// What is right instead.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    if unit.is_empty() && !number.is_empty() {
        return Err(format!("the unit is missing: \"{number}s\" is seconds, \"{number}ms\" milliseconds"));
    }
    scale(number, unit, &DURATION_UNITS).map(Duration::from_millis)
}

/// Splits `64 KiB` into `64` and `KiB`.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end).unwrap_or((text, ""));
    (number, unit.trim_start())
}

fn scale(number: &str, unit: &str, units: &[(&str, u64)]) -> Result<u64, String> {
    let known = || units.iter().map(|(unit, _)| *unit).collect::<Vec<_>>().join(", ");
    if number.is_empty() || unit.starts_with(['.', ',']) {
        return Err(format!("write a whole number and one of the units {}", known()));
    }
    let Some((_, factor)) = units.iter().find(|(known, _)| *known == unit) else {
        return Err(format!("`{unit}` is no unit here; the units are {}", known()));
    };
    let number: Option<u64> = number.parse().ok();
    number.and_then(|number| number.checked_mul(*factor)).ok_or_else(|| "the number is too large".to_owned())
}

/// A duration in whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Writes a size the way it is read, in the largest unit that leaves a whole number.
pub(crate) fn format_bytes(bytes: u64) -> String {
    let binary =
        SIZE_UNITS.iter().rev().find(|(unit, factor)| unit.ends_with("iB") && bytes.is_multiple_of(*factor));
    match binary {
        Some((unit, factor)) if bytes > 0 => format!("{} {unit}", bytes / factor),
        _ => format!("{bytes} B"),
    }
}

/// Writes a duration the way it is read, in the largest unit that leaves a whole number.
pub(crate) fn format_duration(duration: Duration) -> String {
    let ms = millis(duration);
    let whole = DURATION_UNITS.iter().rev().find(|(_, factor)| ms.is_multiple_of(*factor));
    match whole {
        Some((unit, factor)) if ms > 0 => format!("{}{unit}", ms / factor),
        _ => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("1024", 1024),
            ("7 B", 7),
            ("64 KiB", 65_536),
            ("64KiB", 65_536),
            (" 2  GiB ", 2_147_483_648),
            ("10 MB", 10_000_000),
            ("1 TiB", 1_099_511_627_776),
            ("1 KB", 1_000),
            ("3 GB", 3_000_000_000),
            ("1 TB", 1_000_000_000_000),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, ms) in [
            ("50ms", 50),
            ("5s", 5_000),
            ("1m", 60_000),
            ("24h", 86_400_000),
            ("30d", 2_592_000_000),
            ("0s", 0),
            ("5 s", 5_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size() {
        for (text, said) in [
            ("", "write a whole number"),
            ("KiB", "write a whole number"),
            ("-1 KiB", "write a whole number"),
            ("1.5 GiB", "write a whole number"),
            ("1,5 GiB", "write a whole number"),
            ("1 kb", "`kb` is no unit here; the units are B, KB"),
            ("1 GiB extra", "`GiB extra` is no unit here"),
            ("٣ KiB", "write a whole number"),
            ("18446744073709551616", "too large"),
            ("99999999999 TiB", "too large"),
        ] {
            let message = parse_bytes(text).unwrap_err();
            assert!(message.contains(said), "{text}: {message}");
        }
    }

    #[test]
    fn what_is_no_duration() {
        for (text, said) in [
            ("", "write a whole number and one of the units ms, s, m, h, d"),
            ("5", "the unit is missing: \"5s\" is seconds"),
            ("5 sec", "`sec` is no unit here; the units are ms, s, m, h, d"),
            ("1h30m", "`h30m` is no unit here"),
            ("-5s", "write a whole number"),
            ("0.5s", "write a whole number"),
            ("999999999999999999d", "too large"),
        ] {
            let message = parse_duration(text).unwrap_err();
            assert!(message.contains(said), "{text}: {message}");
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        for bytes in [0, 1, 1000, 1024, 1025, 65_536, 1 << 30, 3 << 40, u64::MAX] {
            assert_eq!(parse_bytes(&format_bytes(bytes)), Ok(bytes));
        }
        for ms in [0, 1, 999, 1000, 60_000, 90_000, 3_600_000, 86_400_000] {
            let duration = Duration::from_millis(ms);
            assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
        assert_eq!(format_bytes(262_144), "256 KiB");
        assert_eq!(format_duration(Duration::from_secs(30)), "30s");
    }
}
