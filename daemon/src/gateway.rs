//! What the gateway's tasks share. All of them run on one thread, so sharing is cells, and nothing here locks.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use tidegate_buffer::Spool;

use crate::books::Books;
use crate::bus::{Bounds, ConnectionId, Ending, Handle};
use crate::clock::Clock;
use crate::devices::{self, Devices};
use crate::listener::{Cause, Limits, Link, ReadBuffer, Reception};
use crate::pipeline::{FENCES, GATEWAY, Pipeline, untag};

/// The gateway as its tasks see it.
pub(crate) struct Gateway {
    pub(crate) id: String,
    pub(crate) clock: Clock,
    limits: RefCell<Rc<Limits>>,
    pub(crate) pipeline: RefCell<Pipeline>,
    pub(crate) spool: Arc<Spool>,
    pub(crate) books: Rc<Books>,
    pub(crate) read_buffer: ReadBuffer,
    pub(crate) reception: Reception,
    pub(crate) devices: RefCell<Devices>,
    last_connection: Cell<ConnectionId>,
    stopping: Cell<bool>,
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
            limits: RefCell::new(Rc::new(limits)),
            pipeline: RefCell::new(pipeline),
            spool,
            books,
            devices: RefCell::default(),
            read_buffer: ReadBuffer::new(),
            last_connection: Cell::new(0),
            stopping: Cell::new(false),
        })
    }

    /// What devices may take. A connection goes by those that there were when it came.
    pub(crate) fn limits(&self) -> Rc<Limits> {
        Rc::clone(&self.limits.borrow())
    }

    /// Other limits count from now on.
    pub(crate) fn set_limits(&self, limits: Limits, bounds: Bounds) {
        self.reception.set_limits(&limits);
        *self.limits.borrow_mut() = Rc::new(limits);
        self.pipeline.borrow_mut().set_bounds(bounds);
    }

    /// Who may connect is another question now: every connection asks it again.
    pub(crate) fn ask_again(&self) {
        self.pipeline.borrow_mut().links().values().for_each(|link| link.signal_policy());
    }

    /// Gives a new connection its number.
    pub(crate) fn register(&self, link: &Rc<Link>) -> ConnectionId {
        let mut pipeline = self.pipeline.borrow_mut();
        let mut id = self.last_connection.get();
        // Two numbers are nobody's; after four thousand million connections some are met again.
        while id == GATEWAY || id == FENCES || pipeline.links().contains_key(&id) {
            id = id.wrapping_add(1);
        }
        self.last_connection.set(id.wrapping_add(1));
        pipeline.links().insert(id, Rc::clone(link));
        id
    }

    /// The devices that were heard last, and how many are known.
    pub(crate) fn devices(&self) -> (Vec<devices::Seen>, usize) {
        let (pipeline, devices) = (self.pipeline.borrow(), self.devices.borrow());
        let heard_ms = |id| pipeline.link(id).map(|link| link.heard_ms());
        (devices.seen(self.clock.now_ms(), heard_ms), devices.len())
    }

    pub(crate) fn connection_count(&self) -> usize {
        self.pipeline.borrow_mut().links().len()
    }

    /// A connection has ended, however that came about. May be called twice.
    pub(crate) fn disconnected(&self, id: ConnectionId) {
        let mut pipeline = self.pipeline.borrow_mut();
        let Some(link) = pipeline.links().remove(&id) else { return };
        self.devices.borrow_mut().handle_disconnected(id, link.heard_ms());
        let Some(session) = link.session() else { return };
        let handle = Handle { session, connection: id };
        // A task that ends as it should has said so to the bus already, and better.
        let now = self.clock.stamp();
        pipeline.with_bus(None, |bus, durable| bus.disconnect(handle, Ending::LOST, now, durable));
        pipeline.commit(now);
    }

    /// Orders every connection to end; none is to be made any more.
    pub(crate) fn close_connections(&self, cause: Cause) {
        self.stopping.set(true);
        self.pipeline.borrow_mut().links().values().for_each(|link| link.close(cause));
    }

    /// The gateway stops: no connection is to be made any more.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.get()
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
            let Some(connection) = run.first().map(|tag| untag(*tag).0) else { continue };
            let numbers = run.iter().map(|tag| untag(*tag).1);
            match connection {
                GATEWAY => numbers.for_each(|number| pipeline.handle_own_receipt(number)),
                FENCES => numbers.for_each(|number| pipeline.handle_fence(number)),
                _ => {
                    let Some(link) = pipeline.link(connection) else { continue };
                    numbers.for_each(|number| link.push_receipt(number));
                    link.signal();
                }
            }
        }
        resolved.clear();
    }
}
