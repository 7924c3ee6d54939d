//! A client as a listener knows it, beside its protocol: where it comes from, who it has proved to be, what it may do.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::Traffic;
use super::access::{Access, Action, Claim, Client, CurrentPolicy, Policy, Refusal};
use super::reception::Refused;
use super::socket::Peer;
use crate::gateway::Gateway;
use crate::mqtt::{Connect, reason};

/// A client as a listener knows it.
pub(super) struct Guest {
    policy: Rc<CurrentPolicy>,
    /// The policy by which it was let in.
    admitted_by: RefCell<Rc<Policy>>,
    pub(super) peer: Peer,
    /// The name that its certificate proves.
    certified: Option<Box<str>>,
    login: RefCell<Result<Option<Box<str>>, Refusal>>,
    published: Cell<u64>,
    traffic: Rc<Traffic>,
}

impl Guest {
    pub(super) fn new(
        policy: Rc<CurrentPolicy>,
        peer: Peer,
        certified: Option<Box<str>>,
        traffic: Rc<Traffic>,
    ) -> Guest {
        let login = RefCell::new(Err(reason::NOT_AUTHORIZED));
        let admitted_by = RefCell::new(policy.get());
        Guest { policy, admitted_by, peer, certified, login, published: Cell::new(0), traffic }
    }

    /// What came of the login: the user name that was proved, or why it was refused.
    pub(super) fn login(&self) -> Result<Option<Box<str>>, Refusal> {
        self.login.borrow().clone()
    }

    /// Decides on the login that CONNECT asks for. Failures are limited by address and by user name, and noted.
    pub(super) async fn log_in(&self, gateway: &Gateway, connect: &Connect<'_>) {
        let login = match &self.certified {
            Some(name) => Ok(Some(name.clone())),
            None => self.check(gateway, connect).await,
        };
        if let Err(code) = login {
            let (username, client_id) = (connect.username, connect.client_id);
            let what = format_args!("login refused (0x{code:02x}): client={client_id:?} user={username:?}");
            gateway.refuse(Refused::Login, self.peer, what);
        }
        *self.login.borrow_mut() = login;
        if !self.is_welcome() {
            // The policy became another while the password was checked.
            *self.login.borrow_mut() = Err(reason::NOT_AUTHORIZED);
        }
    }

    /// Whether a client that was let in would be let in by the policy as it is now. One with a certificate would.
    pub(super) fn is_welcome(&self) -> bool {
        let login = self.login.borrow();
        let (None, Ok(username)) = (&self.certified, &*login) else { return true };
        let now = self.policy.get();
        let earlier = self.admitted_by.replace(Rc::clone(&now));
        Rc::ptr_eq(&now, &earlier) || now.still_admits(&earlier, username.as_deref())
    }

    /// Whether it may do this, by the policy as it is now.
    pub(super) fn may(&self, action: Action, client: &Client<'_>, topic: &str) -> bool {
        self.policy.get().may(action, client, topic)
    }

    async fn check(&self, gateway: &Gateway, connect: &Connect<'_>) -> Result<Option<Box<str>>, Refusal> {
        let claim = Claim { username: connect.username, password: connect.password.unwrap_or_default() };
        let reception = &gateway.reception;
        let policy = self.policy.get();
        self.admitted_by.replace(Rc::clone(&policy));
        if !policy.has_to_check(&claim) {
            return policy.login(&claim, &reception.turns).await;
        }
        let (network, username) = (self.peer.network(), claim.username.unwrap_or_default());
        if !reception.attempts.borrow_mut().may_try(network, username, gateway.clock.now_ms()) {
            return Err(reason::CONNECTION_RATE_EXCEEDED);
        }
        let login = policy.login(&claim, &reception.turns).await;
        if login.is_err() {
            reception.attempts.borrow_mut().failed(network, username, gateway.clock.now_ms());
        }
        login
    }

    /// An event of the client was taken.
    pub(super) fn note_published(&self, payload_bytes: usize) {
        let Traffic { events, payload_bytes: bytes, .. } = &*self.traffic;
        events.set(events.get() + 1);
        bytes.set(bytes.get() + payload_bytes as u64);
        self.published.set(self.published.get() + 1);
    }

    /// How many were taken since this was last asked.
    pub(super) fn take_published(&self) -> u64 {
        self.published.take()
    }
}
