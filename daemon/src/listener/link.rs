//! What the rest of the gateway may leave for a connection's task: receipts, word of deliveries, an order to close.
//!
//! Everything runs on one thread, so a link is cells and a waker; it locks nothing.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::Cause;
use crate::bus::SessionId;

/// The mailbox of one connection.
pub(crate) struct Link {
    receipts: RefCell<Vec<u32>>,
    session: Cell<Option<SessionId>>,
    close: Cell<Option<Cause>>,
    signalled: Cell<bool>,
    waits_for_room: Cell<bool>,
    policy_changed: Cell<bool>,
    /// When something last came from the client.
    heard_ms: Cell<u64>,
    waker: RefCell<Option<Waker>>,
}

impl Link {
    pub(crate) fn new() -> Rc<Link> {
        Rc::new(Link {
            receipts: RefCell::default(),
            session: Cell::new(None),
            close: Cell::new(None),
            signalled: Cell::new(false),
            waits_for_room: Cell::new(false),
            policy_changed: Cell::new(false),
            heard_ms: Cell::new(0),
            waker: RefCell::new(None),
        })
    }

    /// The session, once CONNECT has got one.
    pub(crate) fn session(&self) -> Option<SessionId> {
        self.session.get()
    }

    pub(super) fn set_session(&self, session: SessionId) {
        self.session.set(Some(session));
    }

    /// When something last came from the client.
    pub(crate) fn heard_ms(&self) -> u64 {
        self.heard_ms.get()
    }

    pub(super) fn set_heard(&self, now_ms: u64) {
        self.heard_ms.set(now_ms);
    }

    /// Leaves a receipt. The caller signals once after the last.
    pub(crate) fn push_receipt(&self, receipt: u32) {
        self.receipts.borrow_mut().push(receipt);
    }

    /// Orders the connection to end. The first order counts.
    pub(crate) fn close(&self, cause: Cause) {
        if self.close.get().is_none() {
            self.close.set(Some(cause));
        }
        self.signal();
    }

    /// The spool has room again: wakes the connection if that is what it waits for.
    pub(crate) fn signal_room(&self) {
        if self.waits_for_room.replace(false) {
            self.signal();
        }
    }

    pub(crate) fn wait_for_room(&self) {
        self.waits_for_room.set(true);
    }

    /// Who may connect is another question now: the connection asks it again.
    pub(crate) fn signal_policy(&self) {
        self.policy_changed.set(true);
        self.signal();
    }

    pub(super) fn take_policy_changed(&self) -> bool {
        self.policy_changed.take()
    }

    /// Wakes the connection's task.
    pub(crate) fn signal(&self) {
        self.signalled.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    pub(crate) fn closing(&self) -> Option<Cause> {
        self.close.get()
    }

    /// Hands over the receipts that have come.
    pub(crate) fn drain_receipts(&self, mut handle: impl FnMut(u32)) {
        self.receipts.borrow_mut().drain(..).for_each(&mut handle);
    }

    /// Ready once the link was signalled since the last time it was ready.
    pub(crate) fn poll_signal(&self, context: &Context<'_>) -> Poll<()> {
        if self.signalled.replace(false) {
            return Poll::Ready(());
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}
