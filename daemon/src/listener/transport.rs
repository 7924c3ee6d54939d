//! What carries a client's bytes: TCP or a Unix socket, with or without TLS, with or without WebSocket.
//!
//! One type for all of them, so that a connection costs no virtual call per byte; what is larger than a socket is boxed,
//! so that a plain connection does not pay for it. Above this, nobody knows how the bytes came.

mod certificate;
mod proxy;
mod tls;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ServerConfig;
use tidegate_config::{Identity, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::socket::Socket;
use crate::websocket::WebSocket;
pub(crate) use certificate::ends_ms as certificate_ends_ms;
pub(super) use proxy::read as read_proxy;
pub(crate) use tls::TlsError;

/// How the connections of a listener are carried.
pub(super) struct Carrier {
    tls: Option<Arc<ServerConfig>>,
    identity: Option<Identity>,
    websocket: bool,
    message_bytes_max: usize,
}

/// What a WebSocket message may have beyond the largest packet: clients put several small ones into one.
const MESSAGE_BYTES_MORE: usize = 64 * 1024;

/// The bytes of one client.
pub(super) enum Transport {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
    WebSocket(Box<WebSocket<Socket>>),
    WebSocketTls(Box<WebSocket<TlsStream<Socket>>>),
}

/// A client whose handshakes are done.
pub(super) struct Carried {
    pub(super) transport: Transport,
    /// The name that its certificate proves, if the listener takes it for the user name.
    pub(super) username: Option<Box<str>>,
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error("the certificate has no name that could be a user name")]
    NoName,
    #[error("WebSocket: {0}")]
    WebSocket(Box<tokio_tungstenite::tungstenite::Error>),
}

impl Carrier {
    pub(super) fn new(settings: &Listener, packet_bytes_max: usize) -> Result<Carrier, TlsError> {
        let tls = settings.tls.as_ref();
        Ok(Carrier {
            tls: tls.map(tls::server_config).transpose()?,
            identity: tls.and_then(|tls| tls.identity),
            websocket: settings.websocket,
            message_bytes_max: packet_bytes_max + MESSAGE_BYTES_MORE,
        })
    }

    /// What the client has to begin with, if that is not CONNECT.
    pub(super) fn first_handshake(&self) -> Option<&'static str> {
        if self.tls.is_some() { Some("TLS") } else { self.websocket.then_some("WebSocket") }
    }

    /// Makes the TLS handshake, if there is to be one.
    pub(super) async fn secure(&self, socket: Socket) -> Result<Secured, HandshakeError> {
        let Some(config) = &self.tls else { return Ok(Secured::Plain(socket)) };
        let stream =
            TlsAcceptor::from(Arc::clone(config)).accept(socket).await.map_err(HandshakeError::Tls)?;
        Ok(Secured::Tls(Box::new(stream)))
    }

    /// Makes the WebSocket handshake, if there is to be one.
    pub(super) async fn frame(&self, secured: Secured) -> Result<Carried, HandshakeError> {
        let username = match &secured {
            Secured::Plain(_) => None,
            Secured::Tls(stream) => self.username(stream)?,
        };
        let fail = |error| HandshakeError::WebSocket(Box::new(error));
        let bytes_max = self.message_bytes_max;
        let transport = match (secured, self.websocket) {
            (Secured::Plain(socket), false) => Transport::Plain(socket),
            (Secured::Tls(stream), false) => Transport::Tls(stream),
            (Secured::Plain(socket), true) => {
                Transport::WebSocket(Box::new(WebSocket::accept(socket, bytes_max).await.map_err(fail)?))
            }
            (Secured::Tls(stream), true) => {
                Transport::WebSocketTls(Box::new(WebSocket::accept(*stream, bytes_max).await.map_err(fail)?))
            }
        };
        Ok(Carried { transport, username })
    }

    /// The name of the client's certificate. One without a certificate has none, and needs a password.
    fn username(&self, stream: &TlsStream<Socket>) -> Result<Option<Box<str>>, HandshakeError> {
        let Some(identity) = self.identity else { return Ok(None) };
        let certificates = stream.get_ref().1.peer_certificates();
        let Some(certificate) = certificates.and_then(|chain| chain.first()) else { return Ok(None) };
        certificate::name(certificate, identity).map(Some).ok_or(HandshakeError::NoName)
    }
}

impl Secured {
    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Secured::Tls(_))
    }
}

impl Carried {
    /// One that has nothing to shake hands about.
    pub(super) fn plain(socket: Socket) -> Carried {
        Carried { transport: Transport::Plain(socket), username: None }
    }
}

/// A client whose TLS handshake is done, if there was one.
pub(super) enum Secured {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        read: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(stream) => Pin::new(stream).poll_read(context, read),
            Transport::Tls(stream) => Pin::new(stream).poll_read(context, read),
            Transport::WebSocket(stream) => Pin::new(stream).poll_read(context, read),
            Transport::WebSocketTls(stream) => Pin::new(stream).poll_read(context, read),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Transport::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Transport::WebSocket(stream) => Pin::new(stream).poll_write(context, bytes),
            Transport::WebSocketTls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(context),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(context),
            Transport::WebSocket(stream) => Pin::new(stream).poll_flush(context),
            Transport::WebSocketTls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Transport::WebSocket(stream) => Pin::new(stream).poll_shutdown(context),
            Transport::WebSocketTls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
