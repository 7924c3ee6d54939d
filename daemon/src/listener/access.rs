//! Which client may do what: the question, and who answers it.
//!
//! A client is known here once its CONNECT was let in: by its client id, and by the user name that was proved by a
//! password or a certificate. Topics are compared as the standard wants it (MQTT 5.0, section 4.7).

mod acl;
mod passwords;

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::Semaphore;

use crate::mqtt::reason;
use acl::Acl;
use passwords::Passwords;

/// What a client wants to do with a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Publish to this topic name; its will counts as well.
    Publish,
    /// Subscribe to this topic filter, `$share/GROUP/` included. Refused only if nothing that matches may be read.
    Subscribe,
    /// Be sent an event of this topic name.
    Deliver,
}

/// Who wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client<'a> {
    pub(crate) client_id: &'a str,
    /// The user name that was proved; `None` for an anonymous client.
    pub(crate) username: Option<&'a str>,
}

/// Who may do what.
pub(crate) trait Access {
    /// Says whether `client` may do this with `topic`. Asked for each publish, subscription and delivery, so it
    /// neither allocates nor waits.
    fn may(&self, action: Action, client: &Client<'_>, topic: &str) -> bool;
}

/// Who may connect to a listener, and what they may do there.
pub(crate) struct Policy {
    anonymous: bool,
    passwords: Option<Passwords>,
    acl: Option<Acl>,
}

/// The policy of a listener: a reload puts another in its place, under the clients that are there.
pub(crate) struct CurrentPolicy(RefCell<Rc<Policy>>);

impl CurrentPolicy {
    pub(crate) fn new(access: &tidegate_config::Access) -> Rc<CurrentPolicy> {
        Rc::new(CurrentPolicy(RefCell::new(Rc::new(Policy::new(access)))))
    }

    pub(super) fn get(&self) -> Rc<Policy> {
        Rc::clone(&self.0.borrow())
    }

    /// Counts from now on, for those who are there too.
    pub(super) fn replace(&self, access: &tidegate_config::Access) {
        *self.0.borrow_mut() = Rc::new(Policy::new(access));
    }
}

/// What CONNECT says of who it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim<'a> {
    pub(super) username: Option<&'a str>,
    pub(super) password: &'a [u8],
}

/// Why a login is refused: the reason code that CONNACK has for it (MQTT 5.0, section 3.2.2.2).
pub(super) type Refusal = u8;

impl Policy {
    pub(crate) fn new(access: &tidegate_config::Access) -> Policy {
        Policy {
            anonymous: access.anonymous,
            passwords: access.logins.as_deref().map(Passwords::new),
            acl: access.acl.as_deref().map(Acl::new),
        }
    }

    /// Whether a client that `earlier` let in would be let in by the same password, or by the lack of one.
    pub(super) fn still_admits(&self, earlier: &Policy, username: Option<&str>) -> bool {
        let Some(username) = username else { return self.anonymous };
        let hash =
            |policy: &Policy| policy.passwords.as_ref().and_then(|users| users.hash(username).cloned());
        let now = hash(self);
        now.is_some() && now == hash(earlier)
    }

    /// Whether there is a password to be checked, which costs time and an attempt.
    pub(super) fn has_to_check(&self, claim: &Claim<'_>) -> bool {
        self.passwords.is_some() && claim.username.is_some()
    }

    /// Decides on a login; gives the user name that it proves. A name that nobody checks proves nothing, and is none.
    pub(super) async fn login(
        &self,
        claim: &Claim<'_>,
        turns: &Semaphore,
    ) -> Result<Option<Box<str>>, Refusal> {
        match (&self.passwords, claim.username) {
            (Some(passwords), Some(username)) => match passwords.check(turns, username, claim.password).await
            {
                true => Ok(Some(username.into())),
                false => Err(reason::BAD_USER_NAME_OR_PASSWORD),
            },
            _ if self.anonymous => Ok(None),
            _ => Err(reason::NOT_AUTHORIZED),
        }
    }
}

impl Access for Policy {
    fn may(&self, action: Action, client: &Client<'_>, topic: &str) -> bool {
        self.acl.as_ref().is_none_or(|acl| acl.may(action, client, topic))
    }
}

#[cfg(test)]
mod tests {
    use super::{Claim, Policy};
    use tidegate_config::Access;
    use tokio::sync::Semaphore;

    #[test]
    fn who_brings_no_password_needs_anonymous() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let turns = Semaphore::new(1);
        let users = || Some([].into());
        for (anonymous, logins, username, result) in [
            (true, None, None, Ok(None)),
            (true, None, Some("x"), Ok(None)),
            (true, users(), None, Ok(None)),
            (true, users(), Some("x"), Err(0x86)),
            (false, users(), None, Err(0x87)),
            (false, users(), Some("x"), Err(0x86)),
            (false, None, Some("x"), Err(0x87)),
        ] {
            let policy = Policy::new(&Access { anonymous, logins, ..Access::default() });
            let claim = Claim { username, password: b"" };
            assert_eq!(runtime.block_on(policy.login(&claim, &turns)), result, "{anonymous} {username:?}");
        }
    }
}
