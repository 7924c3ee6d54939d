//! What the cloud's reason codes mean for an event and for the connection (MQTT 5.0, 2.4). The table in docs/uplinks.md is
//! held to this one by a test.

use crate::mqtt::reason as code;

/// What becomes of a publish that the cloud has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The cloud has it.
    Accepted,
    /// It can never succeed, and is set aside.
    SetAside,
    /// It is sent again, and set aside once it has failed often enough while others succeed.
    Retry,
    /// It is sent again, later: the cloud is out of something that all events need.
    Later,
}

/// By the reason of a PUBACK, PUBREC or PUBCOMP.
pub(crate) fn of_publish(code: u8) -> Verdict {
    match code {
        0x00..0x80 => Verdict::Accepted,
        code::NOT_AUTHORIZED | code::TOPIC_NAME_INVALID | code::PAYLOAD_FORMAT_INVALID => Verdict::SetAside,
        // Packet identifier in use, packet identifier not found.
        0x91 | 0x92 | code::QUOTA_EXCEEDED => Verdict::Later,
        _ => Verdict::Retry,
    }
}

/// Whether the cloud, by a DISCONNECT of this reason, may have meant an event that was in flight.
pub(crate) fn may_mean_an_event(disconnect: u8) -> bool {
    // Normal, server busy, shutting down, keep alive timeout, session taken over, message rate too high, quota exceeded,
    // administrative action, use another server, server moved, connection rate exceeded, maximum connect time.
    !matches!(disconnect, 0x00 | 0x89 | 0x8b | 0x8d | 0x8e | 0x96 | 0x97 | 0x98 | 0x9c | 0x9d | 0x9f | 0xa0)
}

/// Whether it is of no use to connect again soon, after a CONNACK or DISCONNECT of this reason.
pub(crate) fn calls_for_patience(code: u8) -> bool {
    // Unsupported version, client id, user name or password, not authorized, server busy, banned, authentication method,
    // session taken over (another client has this client id, and comes again as soon as this one has it), message rate too high,
    // quota exceeded, administrative action, connection rate exceeded.
    matches!(code, 0x84..=0x87 | 0x89 | 0x8a | 0x8c | 0x8e | 0x96 | 0x97 | 0x98 | 0x9f)
}

#[cfg(test)]
mod tests {
    use super::{Verdict, calls_for_patience, may_mean_an_event, of_publish};

    const DOCS: &str = include_str!("../../../docs/uplinks.md");

    /// The rows of the table below this heading: codes and what is said of them.
    fn rows(heading: &str) -> Vec<(Vec<u8>, String)> {
        let section = DOCS.split(heading).nth(1).unwrap().split("\n#").next().unwrap();
        let row = |line: &str| {
            let (codes, said) = line.strip_prefix("| ")?.split_once(" | ")?;
            let codes = codes.split_whitespace().filter_map(|word| word.strip_prefix("0x"));
            let codes: Vec<u8> =
                codes.map(|code| u8::from_str_radix(code.trim_end_matches(','), 16).unwrap()).collect();
            (!codes.is_empty()).then(|| (codes, said.to_owned()))
        };
        section.lines().filter_map(row).collect()
    }

    #[test]
    fn the_documentation_says_what_becomes_of_a_publish() {
        let table = rows("## When the cloud refuses an event");
        assert_eq!(
            table.iter().map(|(codes, _)| codes.len()).sum::<usize>(),
            10,
            "the codes of 3.4.2.1 and 3.7.2.1"
        );
        for (codes, said) in table {
            let verdict = match said.split(':').next().unwrap().trim_end_matches([' ', '|']) {
                "acknowledged" => Verdict::Accepted,
                "set aside" => Verdict::SetAside,
                "sent again" => Verdict::Retry,
                "later" => Verdict::Later,
                other => panic!("{other}"),
            };
            for code in codes {
                assert_eq!(of_publish(code), verdict, "{code:#04x}");
            }
        }
    }

    #[test]
    fn the_documentation_says_what_follows_a_disconnect() {
        let table = rows("## When the cloud ends the connection");
        let mut known = Vec::new();
        for (codes, said) in table {
            for code in codes {
                assert_eq!(
                    may_mean_an_event(code),
                    said.contains("events in flight are suspected"),
                    "{code:#04x}"
                );
                assert_eq!(calls_for_patience(code), said.contains("long wait"), "{code:#04x}");
                known.push(code);
            }
        }
        known.sort_unstable();
        let codes = [
            0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b, 0x8c, 0x8d, 0x8e,
            0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f, 0xa0,
        ];
        assert_eq!(known, codes, "the codes of 3.2.2.2 and 3.14.2.1 that a publisher can meet");
    }
}
