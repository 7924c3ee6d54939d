//! One client's connection: a task that moves bytes between the socket and the session.
//!
//! The bytes read stand in a buffer that all connections share, so that an idle connection holds none. The task
//! knows nothing of packets; when to read, and when to close, is the session's word.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tidegate_buffer::Stamp;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until, timeout, timeout_at};

use super::guest::Guest;
use super::link::Link;
use super::pace::Pace;
use super::session::{Flow, Session};
use super::{Cause, ConnectionHost, Limits, unless_closed};
use crate::bus::ConnectionId;
use crate::gateway::Gateway;
use crate::mqtt;

/// How long a closing connection may take to read the reason.
const LINGER: Duration = Duration::from_secs(2);

/// The buffer that all connections read into; what a session cannot use at once it copies.
pub(crate) struct ReadBuffer(RefCell<Box<[u8]>>);

impl ReadBuffer {
    /// As much as one read takes: some 250 publishes of 200 bytes.
    const BYTES: usize = 64 * 1024;

    pub(crate) fn new() -> Self {
        ReadBuffer(RefCell::new(vec![0; Self::BYTES].into_boxed_slice()))
    }
}

/// What ended a wait.
enum Woken {
    Read(usize),
    Written,
    Signal,
    Time,
}

/// Serves one client until its connection ends; its CONNECT has to be there by `connect_by`. `id` is the number under
/// which `link` is known to the gateway.
///
/// A panic ends this connection and no other: it is counted, the client is told, and its subscriptions go.
pub(super) async fn serve<S>(
    stream: S,
    gateway: Rc<Gateway>,
    id: ConnectionId,
    link: Rc<Link>,
    guest: Guest,
    connect_by: Instant,
) -> Cause
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let now_ms = gateway.clock.now_ms();
    let limits = gateway.limits();
    let session = Session::new(Rc::clone(&limits), now_ms);
    let pace = Pace::new(&limits, now_ms);
    let mut connection = Connection {
        stream,
        gateway,
        limits,
        id,
        link,
        guest,
        session,
        pace,
        paused_until_ms: None,
        active_ms: now_ms,
        reads: true,
        unflushed: false,
    };
    let cause = catch(connection.run(connect_by)).await.unwrap_or_else(|| connection.handle_panic());
    connection.end(cause).await;
    cause
}

/// What a future gives; `None` if it panics.
async fn catch<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(poll) => poll.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}

struct Connection<S> {
    stream: S,
    gateway: Rc<Gateway>,
    /// As they were when it came.
    limits: Rc<Limits>,
    id: ConnectionId,
    link: Rc<Link>,
    guest: Guest,
    session: Session,
    /// The rates of this client, if any are limited.
    pace: Option<Box<Pace>>,
    /// Not read before this: the client has sent more than its rate.
    paused_until_ms: Option<u64>,
    /// When something last passed in either direction.
    active_ms: u64,
    /// False while the session cannot take input.
    reads: bool,
    /// The stream may hold bytes that were written to it.
    unflushed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    async fn run(&mut self, connect_by: Instant) -> Cause {
        // In a box: of what a login needs, nothing stays.
        match Box::pin(self.receive_connect(connect_by)).await {
            Ok(Flow::Close(cause)) | Err(cause) => return cause,
            Ok(flow) => self.reads = flow == Flow::Read,
        }
        let mut timer = pin!(sleep_until(self.deadline()));
        loop {
            self.fill_output();
            let flow = match self.wait(timer.as_mut()).await {
                Ok(Woken::Read(0)) | Err(_) => return Cause::Lost,
                Ok(Woken::Read(count)) => {
                    let flow = self.handle_read(count);
                    // A pause may end before what the timer waits for; later deadlines wait until it fires.
                    let deadline =
                        self.deadline_ms().map(|deadline_ms| self.gateway.clock.instant(deadline_ms));
                    if let Some(deadline) = deadline.filter(|deadline| *deadline < timer.deadline()) {
                        timer.as_mut().reset(deadline);
                    }
                    flow
                }
                Ok(Woken::Written) => {
                    if self.limits.idle_timeout_ms.is_some() {
                        self.active_ms = self.gateway.clock.now_ms();
                    }
                    self.resume()
                }
                Ok(Woken::Signal) => self.handle_signal(),
                Ok(Woken::Time) => self.handle_time(timer.as_mut()),
            };
            match flow {
                Flow::Close(cause) => return cause,
                flow => self.reads = flow == Flow::Read,
            }
        }
    }

    /// Waits for CONNECT, decides on the login, and hands to the session what came.
    async fn receive_connect(&mut self, connect_by: Instant) -> Result<Flow, Cause> {
        let (link, gateway) = (Rc::clone(&self.link), Rc::clone(&self.gateway));
        let packet_bytes_max = self.limits.packet_bytes_max;
        let stream = &mut self.stream;
        let reading = async {
            let bytes = read_packet(stream, &gateway.read_buffer, packet_bytes_max);
            timeout_at(connect_by, bytes).await.map_err(|_| Cause::ConnectTimeout)?.map_err(|_| Cause::Lost)
        };
        let bytes = unless_closed(&link, reading).await?;
        let connect = mqtt::frame(&bytes, packet_bytes_max).ok().flatten();
        // What is no CONNECT the session refuses, as it does everything else that breaks the protocol.
        if let Some(Ok(connect)) = connect.map(|frame| mqtt::decode_connect(&frame)) {
            let login = async {
                self.guest.log_in(&gateway, &connect).await;
                Ok(())
            };
            unless_closed(&link, login).await?;
        }
        let now = gateway.clock.stamp();
        self.active_ms = now.mono_ms;
        Ok(self.handle_input(&bytes, now))
    }

    /// Moves deliveries into the output as far as the session takes them.
    fn fill_output(&mut self) {
        let Some(handle) = self.session.delivers_from() else { return };
        // Devices that only publish are most of the wake-ups: no clock is read for them, and nothing committed.
        if !self.gateway.pipeline.borrow_mut().has_deliveries(handle) {
            return;
        }
        let now = self.gateway.clock.stamp();
        let mut host = ConnectionHost::new(&self.gateway, &self.guest, self.id, now);
        self.session.fill_output(&mut host);
        host.commit();
    }

    async fn wait(&mut self, mut timer: Pin<&mut Sleep>) -> io::Result<Woken> {
        let Connection { stream, gateway, link, session, unflushed, .. } = self;
        let reads = self.reads && self.paused_until_ms.is_none();
        poll_fn(|context| {
            // Signals first: a reader that floods must not keep its own acknowledgements from leaving.
            if link.poll_signal(context).is_ready() {
                return Poll::Ready(Ok(Woken::Signal));
            }
            if poll_output(stream, session.output(), context)?.is_ready() {
                *unflushed = true;
                return Poll::Ready(Ok(Woken::Written));
            }
            if *unflushed && Pin::new(&mut *stream).poll_flush(context)?.is_ready() {
                *unflushed = false;
            }
            if reads && let Poll::Ready(count) = poll_read(stream, &gateway.read_buffer, context)? {
                return Poll::Ready(Ok(Woken::Read(count)));
            }
            timer.as_mut().poll(context).map(|()| Ok(Woken::Time))
        })
        .await
    }

    fn handle_read(&mut self, count: usize) -> Flow {
        let gateway = Rc::clone(&self.gateway);
        let now = gateway.clock.stamp();
        let flow = {
            let buffer = gateway.read_buffer.0.borrow();
            self.handle_input(buffer.get(..count).unwrap_or_default(), now)
        };
        let now_ms = now.mono_ms;
        self.active_ms = now_ms;
        self.link.set_heard(now_ms);
        self.observe_ack(now_ms);
        if let Some(pace) = &mut self.pace {
            let bytes = u64::try_from(count).unwrap_or(u64::MAX);
            let pause_ms = pace.take(self.guest.take_published(), bytes, now_ms);
            self.paused_until_ms = (pause_ms > 0).then_some(now_ms + pause_ms);
        }
        flow
    }

    fn handle_input(&mut self, bytes: &[u8], now: Stamp) -> Flow {
        let mut host = ConnectionHost::new(&self.gateway, &self.guest, self.id, now);
        let flow = self.session.handle_input(bytes, now.mono_ms, &mut host);
        host.commit();
        if flow == Flow::WaitForRoom {
            self.link.wait_for_room();
        }
        self.session.shrink();
        flow
    }

    fn handle_signal(&mut self) -> Flow {
        let session = &mut self.session;
        self.link.drain_receipts(|receipt| session.handle_receipt(receipt));
        session.write_acks();
        if session.is_timing() {
            self.observe_ack(self.gateway.clock.now_ms());
        }
        let session = &mut self.session;
        if self.link.take_policy_changed() && !self.guest.is_welcome() {
            self.link.close(Cause::Revoked);
        }
        if let Some(cause) = self.link.closing() {
            session.write_disconnect(cause);
            return Flow::Close(cause);
        }
        self.resume()
    }

    /// Counts how long the publish that was timed had to wait for its acknowledgement, if that is written.
    fn observe_ack(&mut self, now_ms: u64) {
        if let Some(took_ms) = self.session.poll_timed(now_ms) {
            self.gateway.reception.observe_ack(took_ms);
            self.gateway.books.waited(took_ms);
        }
    }

    /// Goes on with input that had to wait, if any had.
    fn resume(&mut self) -> Flow {
        if self.reads { Flow::Read } else { self.handle_input(&[], self.gateway.clock.stamp()) }
    }

    fn handle_time(&mut self, timer: Pin<&mut Sleep>) -> Flow {
        let now_ms = self.gateway.clock.now_ms();
        let was_paused = self.paused_until_ms.is_some();
        self.paused_until_ms = self.paused_until_ms.filter(|until_ms| *until_ms > now_ms);
        // While we do not read, the client cannot be heard, and its silence is ours.
        let heard = self.reads && !was_paused;
        let idle = self.idle_deadline_ms().is_some_and(|deadline_ms| deadline_ms <= now_ms);
        let silent = self.session.handle_time(now_ms).or(idle.then_some(Cause::Idle));
        timer.reset(self.deadline().max(Instant::now() + Duration::from_millis(10)));
        match silent.filter(|_| heard) {
            Some(cause) => {
                self.session.write_disconnect(cause);
                Flow::Close(cause)
            }
            None if self.reads => Flow::Read,
            None => self.resume(),
        }
    }

    fn handle_panic(&mut self) -> Cause {
        tracing::error!(
            "{}: the task of this connection panicked; it ends, the others go on",
            self.guest.peer
        );
        self.gateway.reception.panicked();
        self.session.write_disconnect(Cause::Panicked);
        Cause::Panicked
    }

    fn idle_deadline_ms(&self) -> Option<u64> {
        self.limits.idle_timeout_ms.map(|idle_ms| self.active_ms + idle_ms)
    }

    fn deadline_ms(&self) -> Option<u64> {
        let deadlines = [self.session.deadline_ms(), self.idle_deadline_ms(), self.paused_until_ms];
        deadlines.into_iter().flatten().min()
    }

    fn deadline(&self) -> Instant {
        const NEVER: Duration = Duration::from_secs(24 * 3600);
        self.deadline_ms()
            .map_or_else(|| Instant::now() + NEVER, |deadline_ms| self.gateway.clock.instant(deadline_ms))
    }

    /// Ends the session at once, then the stream: what is written is flushed, and the client has a moment to read it
    /// before a reset could overtake it.
    async fn end(&mut self, cause: Cause) {
        let now = self.gateway.clock.stamp();
        let mut host = ConnectionHost::new(&self.gateway, &self.guest, self.id, now);
        // After a panic the session may not be what it should be; its end must not take more with it either.
        let session = AssertUnwindSafe(&mut self.session);
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let AssertUnwindSafe(session) = session;
            session.close(cause, &mut host);
            host.commit();
        }));
        drop(host);
        if ended.is_err() {
            self.gateway.reception.panicked();
        }
        self.gateway.disconnected(self.id);
        if cause == Cause::Lost {
            return;
        }
        let output = std::mem::take(self.session.output());
        let (stream, buffer) = (&mut self.stream, &self.gateway.read_buffer);
        let _ = timeout(LINGER, async {
            stream.write_all(&output).await?;
            stream.shutdown().await?;
            if cause != Cause::Disconnected {
                while poll_fn(|context| poll_read(stream, buffer, context)).await? > 0 {}
            }
            io::Result::Ok(())
        })
        .await;
    }
}

/// Reads until there is a whole packet, or what can be none. Gives all that was read.
async fn read_packet<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &ReadBuffer,
    packet_bytes_max: usize,
) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Ok(None) = mqtt::frame(&bytes, packet_bytes_max) {
        let count = poll_fn(|context| poll_read(stream, buffer, context)).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(buffer.0.borrow().get(..count).unwrap_or_default());
    }
    Ok(bytes)
}

/// Writes what waits. Ready if something was written.
fn poll_output<S: AsyncWrite + Unpin>(
    stream: &mut S,
    output: &mut Vec<u8>,
    context: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    if output.is_empty() {
        return Poll::Pending;
    }
    match Pin::new(stream).poll_write(context, output)? {
        Poll::Ready(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        Poll::Ready(count) => {
            output.drain(..count);
            Poll::Ready(Ok(()))
        }
        Poll::Pending => Poll::Pending,
    }
}

fn poll_read<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &ReadBuffer,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut bytes = buffer.0.borrow_mut();
    let mut read = ReadBuf::new(&mut bytes);
    let poll = Pin::new(stream).poll_read(context, &mut read)?;
    poll.map(|()| Ok(read.filled().len()))
}

#[cfg(test)]
mod tests;
