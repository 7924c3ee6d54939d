//! Access lists against tables of what mosquitto does, and against a simple reference.

use proptest::prelude::*;
use tidegate_config::{AclRule, AclWho, Permission};
use tidegate_rules::TopicFilter;

use super::{Acl, covers, overlaps};
use crate::listener::access::{Access, Action, Client};

fn rule(who: AclWho, permission: Permission, filter: &str) -> AclRule {
    AclRule { who, permission, filter: filter.to_owned() }
}

fn client<'a>(client_id: &'a str, username: Option<&'a str>) -> Client<'a> {
    Client { client_id, username }
}

#[test]
fn lines_are_for_whom_they_name() {
    use Permission::{Deny, Read, ReadWrite, Write};
    let dev = || AclWho::User("dev".to_owned());
    let acl = Acl::new(&[
        rule(AclWho::Anonymous, Read, "public/#"),
        rule(dev(), ReadWrite, "room/+/temp"),
        rule(dev(), Deny, "room/9/#"),
        rule(dev(), Write, "log"),
        rule(AclWho::Everyone, ReadWrite, "d/%c/#"),
        rule(AclWho::Everyone, Read, "u/%u/x-%c"),
        rule(AclWho::Everyone, Deny, "d/%c/secret"),
    ]);
    let (anonymous, dev, other) = (client("c", None), client("c", Some("dev")), client("c", Some("x")));
    use Action::{Deliver, Publish, Subscribe};
    for (who, action, topic, may) in [
        (&anonymous, Deliver, "public/a", true),
        (&anonymous, Publish, "public/a", false),
        (&dev, Deliver, "public/a", false),
        (&dev, Publish, "room/1/temp", true),
        (&dev, Publish, "room/9/temp", false),
        (&dev, Publish, "room/1/temp/x", false),
        (&dev, Publish, "log", true),
        (&dev, Deliver, "log", false),
        (&dev, Subscribe, "log", false),
        (&dev, Subscribe, "room/#", true),
        (&dev, Subscribe, "room/9/+", false),
        (&dev, Subscribe, "$share/g/room/+/temp", true),
        (&dev, Subscribe, "$share/g/attic/+", false),
        (&dev, Subscribe, "#", true),
        (&dev, Subscribe, "$SYS/#", false),
        (&other, Publish, "room/1/temp", false),
        (&other, Publish, "d/c/a/b", true),
        (&other, Publish, "d/c/secret", false),
        (&other, Publish, "d/cc/a", false),
        (&anonymous, Publish, "d/c", true),
        (&other, Deliver, "u/x/x-c", true),
        (&other, Publish, "u/x/x-c", false),
        (&anonymous, Deliver, "u//x-c", false),
    ] {
        assert_eq!(acl.may(action, who, topic), may, "{who:?} {action:?} {topic}");
    }
}

#[test]
fn what_a_user_is_allowed_comes_before_a_pattern_that_denies() {
    let acl = Acl::new(&[
        rule(AclWho::User("a".to_owned()), Permission::Write, "t"),
        rule(AclWho::Everyone, Permission::Deny, "t"),
    ]);
    assert!(acl.may(Action::Publish, &client("c", Some("a")), "t"));
    assert!(!acl.may(Action::Publish, &client("c", Some("b")), "t"));
    assert!(!Acl::new(&[]).may(Action::Publish, &client("c", None), "t"), "an empty list allows nothing");
}

#[test]
fn a_name_with_wildcards_opens_nothing() {
    let acl = Acl::new(&[rule(AclWho::Everyone, Permission::ReadWrite, "d/%c/%u")]);
    for (id, name) in [("+", "#"), ("#", "+"), ("a/b", "x"), ("+", "+")] {
        let client = client(id, Some(name));
        for (action, topic) in
            [(Action::Publish, "d/a/b"), (Action::Deliver, "d/x/y"), (Action::Publish, "d/a/b/x")]
        {
            assert!(!acl.may(action, &client, topic), "{id} {name} {topic}");
        }
    }
    let percent = Acl::new(&[rule(AclWho::Everyone, Permission::Write, "100%/%c%")]);
    assert!(percent.may(Action::Publish, &client("x", None), "100%/x%"));
}

fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "", "$x", "+"])
}

fn filter() -> impl Strategy<Value = String> {
    (prop::collection::vec(level(), 1..4), any::<bool>()).prop_map(|(mut levels, hash)| {
        if hash {
            levels.push("#");
        }
        levels.join("/")
    })
}

/// Every name of up to four levels of the same small alphabet.
fn names() -> Vec<String> {
    let mut names: Vec<String> = vec![String::new()];
    let mut all = Vec::new();
    for depth in 0..4 {
        names = names
            .iter()
            .flat_map(|name| {
                ["a", "b", "", "$x"]
                    .map(|level| if depth == 0 { level.to_owned() } else { format!("{name}/{level}") })
            })
            .collect();
        all.extend(names.iter().filter(|name| !name.is_empty()).cloned());
    }
    all
}

proptest! {
    #[test]
    fn filters_compare_as_their_names_do(one in filter(), other in filter()) {
        let (Ok(first), Ok(second)) = (TopicFilter::parse(&one), TopicFilter::parse(&other)) else { return Ok(()) };
        let names = names();
        let both = names.iter().any(|name| first.matches(name) && second.matches(name));
        let all = names.iter().all(|name| first.matches(name) || !second.matches(name));
        prop_assert_eq!(overlaps(&one, &other, None), both, "{} overlaps {}", one, other);
        // A cover that is missed refuses less than it could; one that is invented would refuse too much.
        if covers(&one, &other, None) {
            prop_assert!(all, "{} covers {}", one, other);
        }
    }

    #[test]
    fn a_name_is_covered_by_what_it_matches(filter in filter(), index in 0_usize..300) {
        let Ok(parsed) = TopicFilter::parse(&filter) else { return Ok(()) };
        let names = names();
        let name = &names[index % names.len()];
        prop_assert_eq!(covers(&filter, name, None), parsed.matches(name), "{} {}", filter, name);
    }
}
