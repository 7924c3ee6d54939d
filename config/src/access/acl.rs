//! The access list of mosquitto: `user NAME`, `topic [read|write|readwrite|deny] FILTER` for that user (before any
//! `user`: for clients without a user name), and `pattern [...] FILTER` with `%c` and `%u` for everyone.

use super::{MISTAKES_MAX, lines};
use crate::files::Place;
use crate::mistake::Mistake;
use crate::{AclRule, AclWho, Permission};
use tidegate_rules::TopicFilter;

/// Reads an access list. Lines that are wrong are reported and left out.
pub(super) fn parse(file: usize, text: &str, mistakes: &mut Vec<Mistake>) -> Vec<AclRule> {
    let mut rules = Vec::new();
    let mut who = AclWho::Anonymous;
    let before = mistakes.len();
    for (line, span) in lines(text) {
        if mistakes.len() - before >= MISTAKES_MAX {
            break;
        }
        match parse_line(line) {
            Ok(Line::User(name)) => who = AclWho::User(name.to_owned()),
            Ok(Line::Topic(permission, filter)) => {
                rules.push(AclRule { who: who.clone(), permission, filter: filter.to_owned() });
            }
            Ok(Line::Pattern(permission, filter)) => {
                rules.push(AclRule { who: AclWho::Everyone, permission, filter: filter.to_owned() });
            }
            Err((message, help)) => {
                mistakes.push(Mistake::error(&Place::new(file, span), message).help(help));
            }
        }
    }
    rules
}

enum Line<'a> {
    User(&'a str),
    Topic(Permission, &'a str),
    Pattern(Permission, &'a str),
}

const LINE_HELP: &str =
    "there is `user NAME`, `topic [read|write|readwrite|deny] FILTER` and `pattern [...] FILTER`";

fn parse_line(line: &str) -> Result<Line<'_>, (String, &'static str)> {
    let (keyword, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let rest = rest.trim_start();
    if rest.is_empty() && matches!(keyword, "user" | "topic" | "pattern") {
        return Err((format!("nothing follows `{keyword}`"), LINE_HELP));
    }
    match keyword {
        "user" => Ok(Line::User(rest)),
        "topic" => permitted(rest).map(|(permission, filter)| Line::Topic(permission, filter)),
        "pattern" => permitted(rest).map(|(permission, filter)| Line::Pattern(permission, filter)),
        _ => Err((format!("`{keyword}` begins no line of an access list"), LINE_HELP)),
    }
}

/// What is allowed for which filter. As with mosquitto, a filter with a space in it needs the word before it.
fn permitted(rest: &str) -> Result<(Permission, &str), (String, &'static str)> {
    let (permission, filter) = match rest.split_once([' ', '\t']) {
        None => (Permission::ReadWrite, rest),
        Some((word, filter)) => (permission(word)?, filter.trim_start()),
    };
    match TopicFilter::parse(filter) {
        Ok(_) => Ok((permission, filter)),
        Err(error) => Err((format!("`{filter}` is no topic filter: {error}"), "see MQTT 5.0, section 4.7")),
    }
}

fn permission(word: &str) -> Result<Permission, (String, &'static str)> {
    match word {
        "read" => Ok(Permission::Read),
        "write" => Ok(Permission::Write),
        "readwrite" => Ok(Permission::ReadWrite),
        "deny" => Ok(Permission::Deny),
        _ => Err((
            format!("`{word}` is no permission"),
            "write read, write, readwrite or deny; a topic with a space in it needs one of them before it",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::{AclRule, AclWho, Permission};

    fn rule(who: AclWho, permission: Permission, filter: &str) -> AclRule {
        AclRule { who, permission, filter: filter.to_owned() }
    }

    #[test]
    fn every_kind_of_line() {
        let text = "# for everyone without a name\ntopic read $SYS/#\n\nuser a b\ntopic x/+/y\n\ttopic  deny\tsecret room/#\n\
                    pattern write d/%c/%u\nuser c\ntopic write z\ntopic readwrite read\n";
        let mut mistakes = Vec::new();
        let rules = parse(0, text, &mut mistakes);
        assert!(mistakes.is_empty(), "{mistakes:?}");
        let user = |name: &str| AclWho::User(name.to_owned());
        assert_eq!(
            rules,
            [
                rule(AclWho::Anonymous, Permission::Read, "$SYS/#"),
                rule(user("a b"), Permission::ReadWrite, "x/+/y"),
                rule(user("a b"), Permission::Deny, "secret room/#"),
                rule(AclWho::Everyone, Permission::Write, "d/%c/%u"),
                rule(user("c"), Permission::Write, "z"),
                rule(user("c"), Permission::ReadWrite, "read"),
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_said_line_by_line() {
        for (line, said) in [
            ("user", "nothing follows `user`"),
            ("topic  ", "nothing follows `topic`"),
            ("topics a", "`topics` begins no line"),
            ("topic reed a", "`reed` is no permission"),
            ("topic a b", "`a` is no permission"),
            ("topic read a/#/b", "no topic filter"),
            ("pattern a+", "no topic filter"),
        ] {
            let mut mistakes = Vec::new();
            assert_eq!(parse(0, line, &mut mistakes), [], "{line}");
            assert_eq!(mistakes.len(), 1, "{line}");
            assert!(mistakes[0].message.contains(said), "{line}: {}", mistakes[0].message);
        }
        let mut mistakes = Vec::new();
        assert_eq!(parse(0, &format!("{}topic a", "bad\n".repeat(1000)), &mut mistakes), []);
        assert_eq!(mistakes.len(), 100);
    }
}
