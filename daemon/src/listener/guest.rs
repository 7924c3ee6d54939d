//! A client as a listener knows it, beside its protocol: where it comes from, who it has proved to be, what it may do.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::access::{Claim, Policy, Refusal};
use super::reception::Refused;
use super::socket::Peer;
use crate::gateway::Gateway;
use crate::mqtt::{Connect, reason};

/// A client as a listener knows it.
pub(super) struct Guest {
    pub(super) policy: Rc<Policy>,
    pub(super) peer: Peer,
    /// The name that its certificate proves.
    certified: Option<Box<str>>,
    login: RefCell<Result<Option<Box<str>>, Refusal>>,
    published: Cell<u64>,
}

impl Guest {
    pub(super) fn new(policy: Rc<Policy>, peer: Peer, certified: Option<Box<str>>) -> Guest {
        let login = RefCell::new(Err(reason::NOT_AUTHORIZED));
        Guest { policy, peer, certified, login, published: Cell::new(0) }
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
    }

    async fn check(&self, gateway: &Gateway, connect: &Connect<'_>) -> Result<Option<Box<str>>, Refusal> {
        let claim = Claim { username: connect.username, password: connect.password.unwrap_or_default() };
        let reception = &gateway.reception;
        if !self.policy.has_to_check(&claim) {
            return self.policy.login(&claim, &reception.turns).await;
        }
        let (network, username) = (self.peer.network(), claim.username.unwrap_or_default());
        if !reception.attempts.borrow_mut().may_try(network, username, gateway.clock.now_ms()) {
            return Err(reason::CONNECTION_RATE_EXCEEDED);
        }
        let login = self.policy.login(&claim, &reception.turns).await;
        if login.is_err() {
            reception.attempts.borrow_mut().failed(network, username, gateway.clock.now_ms());
        }
        login
    }

    /// An event of the client was taken.
    pub(super) fn note_published(&self) {
        self.published.set(self.published.get() + 1);
    }

    /// How many were taken since this was last asked.
    pub(super) fn take_published(&self) -> u64 {
        self.published.take()
    }
}
