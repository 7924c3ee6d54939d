//! One client's connection: a task that moves bytes between the socket and the session.
//!
//! The bytes read stand in a buffer that all connections share, so that an idle connection holds none. The task
//! knows nothing of packets; when to read, and when to close, is the session's word.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::link::Link;
use super::session::{Flow, Session};
use super::{Cause, ConnectionHost};
use crate::bus::ConnectionId;
use crate::gateway::Gateway;

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

/// Serves one client until its connection ends. `id` is the number under which `link` is known to the gateway.
pub(super) async fn serve<S>(stream: S, gateway: Rc<Gateway>, id: ConnectionId, link: Rc<Link>) -> Cause
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let session = Session::new(Rc::clone(&gateway.limits), gateway.clock.now_ms());
    let mut connection = Connection { stream, gateway, id, link, session, reads: true };
    let cause = connection.run().await;
    connection.end(cause).await;
    cause
}

struct Connection<S> {
    stream: S,
    gateway: Rc<Gateway>,
    id: ConnectionId,
    link: Rc<Link>,
    session: Session,
    /// False while the session cannot take input.
    reads: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    async fn run(&mut self) -> Cause {
        let mut timer = pin!(sleep_until(self.deadline()));
        loop {
            self.fill_output();
            let flow = match self.wait(timer.as_mut()).await {
                Ok(Woken::Read(0)) | Err(_) => return Cause::Lost,
                Ok(Woken::Read(count)) => {
                    let flow = self.handle_read(count);
                    // CONNECT may have brought an earlier deadline than the one it had to meet; later ones wait until
                    // the timer fires.
                    let deadline = self.deadline();
                    if deadline < timer.deadline() {
                        timer.as_mut().reset(deadline);
                    }
                    flow
                }
                Ok(Woken::Written) => self.resume(),
                Ok(Woken::Signal) => self.handle_signal(),
                Ok(Woken::Time) => self.handle_time(timer.as_mut()),
            };
            match flow {
                Flow::Close(cause) => return cause,
                flow => self.reads = flow == Flow::Read,
            }
        }
    }

    /// Moves deliveries and acknowledgements into the output as far as the session takes them.
    fn fill_output(&mut self) {
        let mut queue = self.link.queue();
        while let Some(qos) = queue.front_qos().filter(|qos| self.session.takes_delivery(*qos)) {
            let Some((event, _)) = queue.pop() else { break };
            if !self.session.handle_delivery(&event, qos) {
                self.gateway.books.local_dropped(1);
            }
        }
    }

    async fn wait(&mut self, mut timer: Pin<&mut Sleep>) -> io::Result<Woken> {
        let Connection { stream, gateway, link, session, reads, .. } = self;
        poll_fn(|context| {
            // Signals first: a reader that floods must not keep its own acknowledgements from leaving.
            if link.poll_signal(context).is_ready() {
                return Poll::Ready(Ok(Woken::Signal));
            }
            if poll_output(stream, session.output(), context)?.is_ready() {
                return Poll::Ready(Ok(Woken::Written));
            }
            if *reads && let Poll::Ready(count) = poll_read(stream, &gateway.read_buffer, context)? {
                return Poll::Ready(Ok(Woken::Read(count)));
            }
            timer.as_mut().poll(context).map(|()| Ok(Woken::Time))
        })
        .await
    }

    fn handle_read(&mut self, count: usize) -> Flow {
        let gateway = Rc::clone(&self.gateway);
        let buffer = gateway.read_buffer.0.borrow();
        self.handle_input(buffer.get(..count).unwrap_or_default())
    }

    fn handle_input(&mut self, bytes: &[u8]) -> Flow {
        let mut host = ConnectionHost::new(&self.gateway, self.id);
        let flow = self.session.handle_input(bytes, self.gateway.clock.now_ms(), &mut host);
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
        if let Some(cause) = self.link.closing() {
            session.write_disconnect(cause);
            return Flow::Close(cause);
        }
        self.resume()
    }

    /// Goes on with input that had to wait, if any had.
    fn resume(&mut self) -> Flow {
        if self.reads { Flow::Read } else { self.handle_input(&[]) }
    }

    fn handle_time(&mut self, timer: Pin<&mut Sleep>) -> Flow {
        // While we do not read, the client cannot be heard, and its silence is ours.
        let cause = self.session.handle_time(self.gateway.clock.now_ms()).filter(|_| self.reads);
        timer.reset(self.deadline().max(Instant::now() + Duration::from_millis(10)));
        match cause {
            Some(cause) => {
                self.session.write_disconnect(cause);
                Flow::Close(cause)
            }
            None if self.reads => Flow::Read,
            None => self.resume(),
        }
    }

    fn deadline(&self) -> Instant {
        const NEVER: Duration = Duration::from_secs(24 * 3600);
        let deadline = self.session.deadline_ms().map(|deadline_ms| self.gateway.clock.instant(deadline_ms));
        deadline.unwrap_or_else(|| Instant::now() + NEVER)
    }

    /// Ends the session at once, then the stream: what is written is flushed, and the client has a moment to read it
    /// before a reset could overtake it.
    async fn end(&mut self, cause: Cause) {
        let mut host = ConnectionHost::new(&self.gateway, self.id);
        self.session.close(cause, &mut host);
        host.commit();
        drop(host);
        self.gateway.disconnected(self.id);
        if cause == Cause::Lost {
            return;
        }
        let output = std::mem::take(self.session.output());
        let stream = &mut self.stream;
        let _ = tokio::time::timeout(LINGER, async {
            stream.write_all(&output).await?;
            stream.shutdown().await?;
            if cause != Cause::Disconnected {
                tokio::io::copy(stream, &mut tokio::io::sink()).await?;
            }
            io::Result::Ok(())
        })
        .await;
    }
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
