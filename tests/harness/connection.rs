//! A raw connection to a broker or to the gateway: bytes out, packets in, nothing done on its own.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::must::{Must, fail};
use crate::wire::{Connect, Frame, Publish, Version};

/// How long a connection waits for an answer that must come.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// What came within a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A packet.
    Frame(Frame),
    /// The other side has closed the connection.
    Closed,
    /// Nothing came.
    Nothing,
}

/// A TCP connection that knows MQTT's framing.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    version: Version,
    buffer: Vec<u8>,
    start: usize,
}

impl Connection {
    /// Connects and sends nothing yet.
    pub fn dial(port: u16, version: Version) -> io::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        stream.set_nodelay(true)?;
        Ok(Self::of(stream, version))
    }

    /// One that the other side has opened.
    pub fn of(stream: TcpStream, version: Version) -> Self {
        Self { stream, version, buffer: Vec::new(), start: 0 }
    }

    /// Connects and waits for the CONNACK of success.
    pub fn open(port: u16, connect: &Connect<'_>) -> io::Result<Self> {
        Self::resume(port, connect).map(|(connection, _)| connection)
    }

    /// As [`Connection::open`]; also says whether there is a session from before.
    pub fn resume(port: u16, connect: &Connect<'_>) -> io::Result<(Self, bool)> {
        let mut connection = Self::dial(port, connect.version)?;
        connection.send(&connect.encode())?;
        match connection.receive(ANSWER_LIMIT) {
            Received::Frame(frame) if frame.kind() == 2 && frame.reason() == Some(0) => {
                Ok((connection, frame.body.first() == Some(&1)))
            }
            other => Err(io::Error::other(format!("no CONNACK of success but {other:?}"))),
        }
    }

    /// A clean connection that must succeed.
    #[track_caller]
    pub fn clean(port: u16, version: Version, client_id: &str) -> Self {
        Self::open(port, &Connect::new(version, client_id)).must("connect")
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends what the other side takes now, within the send limit, and gives its length.
    pub fn send_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        match self.stream.write(bytes) {
            Ok(0) => Err(ErrorKind::WriteZero.into()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(0),
            other => other,
        }
    }

    /// Bounds how long a send may block, for devices that meet back-pressure.
    pub fn set_send_limit(&self, limit: Duration) {
        self.stream.set_write_timeout(Some(limit)).must("set a write timeout");
    }

    /// A packet that is here already.
    pub fn buffered(&mut self) -> Option<Frame> {
        let frame = Frame::take(&self.buffer, &mut self.start);
        if frame.is_none() {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        frame
    }

    /// The next packet, waiting up to `limit`.
    pub fn receive(&mut self, limit: Duration) -> Received {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(frame) = self.buffered() {
                return Received::Frame(frame);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.read_some(left.max(Duration::from_millis(1))) {
                Ok(true) => {}
                Ok(false) if left.is_zero() => return Received::Nothing,
                Ok(false) => {}
                Err(_) => return Received::Closed,
            }
        }
    }

    /// The next packet, which must come.
    #[track_caller]
    pub fn expect(&mut self, what: &str) -> Frame {
        match self.receive(ANSWER_LIMIT) {
            Received::Frame(frame) => frame,
            other => fail(format_args!("{what}: got {other:?}")),
        }
    }

    /// The next packet, which must come and be a PUBLISH.
    #[track_caller]
    pub fn expect_publish(&mut self, what: &str) -> Publish {
        let frame = self.expect(what);
        let publish = frame.publish(self.version);
        publish.unwrap_or_else(|| fail(format_args!("{what}: got {frame:?} instead of a PUBLISH")))
    }

    /// Waits for the other side to close; hands back what it sent before.
    #[track_caller]
    pub fn expect_close(&mut self, what: &str) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            match self.receive(ANSWER_LIMIT) {
                Received::Frame(frame) => frames.push(frame),
                Received::Closed => return frames,
                Received::Nothing => {
                    fail(format_args!("{what}: the connection was not closed; it sent {frames:?}"))
                }
            }
        }
    }

    /// Ends the connection without a DISCONNECT, as a cut cable and a timeout would.
    pub fn cut(self) {
        // A connection that the other side closed first is cut as well.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Sets non-blocking mode, for the load generator.
    pub fn set_nonblocking(&self) {
        self.stream.set_nonblocking(true).must("set non-blocking mode");
    }

    /// Reads what is there in non-blocking mode; false when the connection is closed.
    pub fn fill(&mut self) -> bool {
        let mut chunk = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return false,
                Ok(count) => self.buffer.extend(chunk.iter().take(count)),
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }

    fn read_some(&mut self, limit: Duration) -> io::Result<bool> {
        let mut chunk = [0; 16 * 1024];
        self.stream.set_read_timeout(Some(limit))?;
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.buffer.extend(chunk.iter().take(count));
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
