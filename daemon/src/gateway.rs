//! What the gateway's tasks share. All of them run on one thread, so sharing is cells, and nothing here locks.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tidegate_buffer::Spool;

use crate::books::Books;
use crate::bus::ConnectionId;
use crate::clock::Clock;
use crate::listener::{Cause, Limits, Link, ReadBuffer, Reception};
use crate::pipeline::{GATEWAY, Pipeline, untag};

/// The gateway as its tasks see it.
pub(crate) struct Gateway {
    pub(crate) id: String,
    pub(crate) clock: Clock,
    pub(crate) limits: Rc<Limits>,
    pub(crate) pipeline: RefCell<Pipeline>,
    pub(crate) spool: Arc<Spool>,
    pub(crate) books: Rc<Books>,
    pub(crate) read_buffer: ReadBuffer,
    pub(crate) reception: Reception,
    clients: RefCell<HashMap<Box<str>, ConnectionId>>,
    last_connection: Cell<ConnectionId>,
}

impl Gateway {
    pub(crate) fn new(
        id: String,
        clock: Clock,
        limits: Limits,
        pipeline: Pipeline,
        spool: Arc<Spool>,
        books: Rc<Books>,
    ) -> Rc<Gateway> {
        Rc::new(Gateway {
            id,
            clock,
            reception: Reception::new(&limits, clock.now_ms()),
            limits: Rc::new(limits),
            pipeline: RefCell::new(pipeline),
            spool,
            books,
            read_buffer: ReadBuffer::new(),
            clients: RefCell::default(),
            last_connection: Cell::new(0),
        })
    }

    /// Gives a new connection its number.
    pub(crate) fn register(&self, link: &Rc<Link>) -> ConnectionId {
        let mut pipeline = self.pipeline.borrow_mut();
        let mut id = self.last_connection.get();
        // 0 is nobody's number; after four thousand million connections some are met again.
        while id == 0 || pipeline.links().contains_key(&id) {
            id = id.wrapping_add(1);
        }
        self.last_connection.set(id.wrapping_add(1));
        pipeline.links().insert(id, Rc::clone(link));
        id
    }

    pub(crate) fn connection_count(&self) -> usize {
        self.pipeline.borrow_mut().links().len()
    }

    /// A connection said CONNECT with this client id; returns the older one that used it, which has to go
    /// (section 3.1.4).
    pub(crate) fn take_over(&self, client_id: &str, id: ConnectionId) -> Option<ConnectionId> {
        self.clients.borrow_mut().insert(client_id.into(), id).filter(|older| *older != id)
    }

    /// A connection has ended. May be called twice.
    pub(crate) fn disconnected(&self, id: ConnectionId) {
        let Some(link) = self.pipeline.borrow_mut().links().remove(&id) else { return };
        let Some(client_id) = link.client_id() else { return };
        let mut clients = self.clients.borrow_mut();
        if clients.get(&*client_id) == Some(&id) {
            clients.remove(&*client_id);
        }
    }

    /// Orders every connection to end.
    pub(crate) fn close_connections(&self, cause: Cause) {
        self.pipeline.borrow_mut().links().values().for_each(|link| link.close(cause));
    }

    /// The spool has room: wakes who waits for it.
    pub(crate) fn wake_for_room(&self) {
        self.pipeline.borrow_mut().links().values().for_each(|link| link.signal_room());
    }

    /// Hands resolved receipts to the connections that wait for them, waking each once. `resolved` is scratch space.
    pub(crate) fn dispatch_receipts(&self, resolved: &mut Vec<u64>) {
        self.spool.poll_resolved(resolved);
        let mut pipeline = self.pipeline.borrow_mut();
        for run in resolved.chunk_by(|a, b| untag(*a).0 == untag(*b).0) {
            if run.first().is_some_and(|tag| untag(*tag).0 == GATEWAY) {
                run.iter().for_each(|tag| pipeline.handle_own_receipt(untag(*tag).1));
                continue;
            }
            let Some(link) = run.first().and_then(|tag| pipeline.link(untag(*tag).0)) else { continue };
            run.iter().for_each(|tag| link.push_receipt(untag(*tag).1));
            link.signal();
        }
        resolved.clear();
    }
}
