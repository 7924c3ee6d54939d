//! Access lists, read as mosquitto reads them: the lines of a user first, then the patterns, and in each the lines that
//! deny before those that allow. What no line allows is refused.
//!
//! Unlike mosquitto, a subscription of which nothing could ever be delivered is refused at once; what is delivered is
//! asked for each event all the same.

use std::collections::HashMap;

use tidegate_config::{AclRule, AclWho, Permission};

use super::{Access, Action, Client};

/// An access list, ready to be asked.
#[derive(Debug, Default)]
pub(crate) struct Acl {
    anonymous: Rules,
    users: HashMap<Box<str>, Rules>,
    patterns: Rules,
}

/// Lines for one user, those that deny first.
#[derive(Debug, Default)]
struct Rules {
    denied: Vec<Box<str>>,
    allowed: Vec<(Permission, Box<str>)>,
}

impl Acl {
    pub(crate) fn new(rules: &[AclRule]) -> Acl {
        let mut acl = Acl::default();
        for rule in rules {
            let rules = match &rule.who {
                AclWho::Anonymous => &mut acl.anonymous,
                AclWho::Everyone => &mut acl.patterns,
                AclWho::User(name) => acl.users.entry(name.as_str().into()).or_default(),
            };
            match rule.permission {
                Permission::Deny => rules.denied.push(rule.filter.as_str().into()),
                permission => rules.allowed.push((permission, rule.filter.as_str().into())),
            }
        }
        acl
    }
}

impl Access for Acl {
    fn may(&self, action: Action, client: &Client<'_>, topic: &str) -> bool {
        let topic = if action == Action::Subscribe { without_share(topic) } else { topic };
        let own = match client.username {
            None => Some(&self.anonymous),
            Some(name) => self.users.get(name),
        };
        own.and_then(|rules| rules.verdict(action, None, topic))
            .or_else(|| self.patterns.verdict(action, Some(client), topic))
            .unwrap_or(false)
    }
}

impl Rules {
    /// What these lines say, if they say anything. `client` stands for `%c` and `%u` of patterns.
    fn verdict(&self, action: Action, client: Option<&Client<'_>>, topic: &str) -> Option<bool> {
        let matches = |filter: &str| match action {
            Action::Subscribe => overlaps(filter, topic, client),
            _ => covers(filter, topic, client),
        };
        if self.denied.iter().any(|filter| covers(filter, topic, client)) {
            return Some(false);
        }
        let allowed =
            self.allowed.iter().any(|(permission, filter)| allows(*permission, action) && matches(filter));
        allowed.then_some(true)
    }
}

fn allows(permission: Permission, action: Action) -> bool {
    match permission {
        Permission::ReadWrite => true,
        Permission::Write => action == Action::Publish,
        Permission::Read => action != Action::Publish,
        Permission::Deny => false,
    }
}

/// The filter of a shared subscription (MQTT 5.0, section 4.8.2).
fn without_share(filter: &str) -> &str {
    filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/')).map_or(filter, |(_, filter)| filter)
}

/// Whether everything that `topic` stands for, a name or a filter, matches `filter`.
fn covers(filter: &str, topic: &str, client: Option<&Client<'_>>) -> bool {
    if hides_dollar(filter, topic) {
        return false;
    }
    let (mut wanted, mut found) = (filter.split('/'), topic.split('/'));
    loop {
        match (wanted.next(), found.next()) {
            (Some("#"), _) | (None, None) => return true,
            (_, Some("#")) | (None, _) | (_, None) => return false,
            (Some("+"), Some(_)) => {}
            (Some(_), Some("+")) => return false,
            (Some(wanted), Some(found)) if level_matches(wanted, found, client) => {}
            _ => return false,
        }
    }
}

/// Whether there can be a topic name that matches both filters.
fn overlaps(filter: &str, other: &str, client: Option<&Client<'_>>) -> bool {
    if hides_dollar(filter, other) || hides_dollar(other, filter) || share_only_nothing(filter, other) {
        return false;
    }
    let (mut one, mut two) = (filter.split('/'), other.split('/'));
    loop {
        match (one.next(), two.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (None, _) | (_, None) => return false,
            (Some("+"), _) | (_, Some("+")) => {}
            (Some(one), Some(two)) if level_matches(one, two, client) => {}
            _ => return false,
        }
    }
}

/// What matches both is the empty text alone, which is no topic name (MQTT 5.0, section 4.7.3).
fn share_only_nothing(one: &str, other: &str) -> bool {
    matches!((one, other), ("/#", "+") | ("+", "/#"))
}

/// A wildcard in front matches nothing that begins with `$` (MQTT 5.0, section 4.7.2).
fn hides_dollar(filter: &str, topic: &str) -> bool {
    filter.starts_with(['+', '#']) && topic.starts_with('$')
}

/// Compares a level of a line with one of a topic. In a pattern, what stands for `%c` and `%u` is a text and never a
/// wildcard, whatever a client calls itself; and since it has to be one level, a name with a `/` matches nothing.
fn level_matches(wanted: &str, found: &str, client: Option<&Client<'_>>) -> bool {
    let Some(client) = client else { return wanted == found };
    let (mut wanted, mut found) = (wanted, found);
    while let Some((before, after)) = wanted.split_once('%') {
        let Some(rest) = found.strip_prefix(before) else { return false };
        let (name, after) = match after.as_bytes().first() {
            Some(b'c') => (client.client_id, after.get(1..)),
            Some(b'u') => match client.username {
                Some(name) => (name, after.get(1..)),
                None => return false,
            },
            _ => ("%", Some(after)),
        };
        let Some(rest) = rest.strip_prefix(name) else { return false };
        (wanted, found) = (after.unwrap_or_default(), rest);
    }
    wanted == found
}

#[cfg(test)]
mod tests;
