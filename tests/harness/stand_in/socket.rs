//! TLS, and WebSocket if it is to be, and packets over it.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::{Message, WebSocket};

use super::client::Client;
use super::{Demands, Shared};
use crate::authority::Authority;
use crate::must::Must;
use crate::wire::Frame;

/// A client that says nothing for so long has gone.
const SILENCE_MAX: Duration = Duration::from_secs(60);

type Tls = StreamOwned<ServerConnection, TcpStream>;

/// What the demands mean for TLS.
pub(super) fn server_config(demands: &Demands, authority: &Authority) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().must("choose versions");
    let builder = if demands.client_certificate {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(authority, "ca.crt")).must("trust the authority");
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        builder.with_client_cert_verifier(verifier.must("make a verifier"))
    } else {
        builder.with_no_client_auth()
    };
    let key = PrivateKeyDer::from_pem_file(authority.path("stand-in.key")).must("read the key");
    let config = builder.with_single_cert(vec![certificate(authority, "stand-in.crt")], key);
    let mut config = config.must("use the certificate");
    config.alpn_protocols = demands.alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(config)
}

fn certificate(authority: &Authority, file: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(authority.path(file)).must("read a certificate")
}

/// Serves one connection to its end; the error is why it was refused.
pub(super) fn serve(shared: &Shared, tls: &Arc<ServerConfig>, tcp: TcpStream) -> Result<(), String> {
    tcp.set_nodelay(true).and_then(|()| tcp.set_read_timeout(Some(SILENCE_MAX))).must("set up a socket");
    let connection = ServerConnection::new(Arc::clone(tls)).must("begin TLS");
    let mut stream = StreamOwned::new(connection, tcp);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).map_err(|error| format!("TLS: {error}"))?;
    }
    let demands = &shared.demands;
    let name = stream.conn.server_name().unwrap_or_default();
    if !demands.hosts.contains(&name) {
        return Err(format!("TLS: another name was asked for: `{name}`"));
    }
    if stream.conn.alpn_protocol() != demands.alpn.map(str::as_bytes) {
        return Err("TLS: the protocol was not offered (ALPN)".to_owned());
    }
    match demands.websocket {
        None => packets(&mut Plain(stream), shared),
        Some(path) => packets(&mut Framed(accept(stream, path)?), shared),
    }
}

/// Makes the WebSocket handshake.
#[expect(clippy::result_large_err, reason = "the library's type of the answer")]
fn accept(stream: Tls, path: &str) -> Result<WebSocket<Tls>, String> {
    let answer = |request: &Request, mut response: Response| {
        let protocol = request.headers().get("sec-websocket-protocol");
        if request.uri().path() != path || protocol.is_none_or(|protocol| protocol != "mqtt") {
            let mut refusal = ErrorResponse::new(Some("not here".to_owned()));
            *refusal.status_mut() = tungstenite::http::StatusCode::NOT_FOUND;
            return Err(refusal);
        }
        let protocol = "mqtt".parse().must("a header's value");
        response.headers_mut().insert("sec-websocket-protocol", protocol);
        Ok(response)
    };
    tungstenite::accept_hdr(stream, answer).map_err(|error| format!("WebSocket: {error}"))
}

/// Bytes in both directions.
trait Bytes {
    /// What comes next; nothing at the end.
    fn receive(&mut self) -> Option<Vec<u8>>;
    fn send(&mut self, bytes: Vec<u8>) -> bool;
}

struct Plain(Tls);

impl Bytes for Plain {
    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut chunk = vec![0; 64 * 1024];
        loop {
            match self.0.read(&mut chunk) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return None,
                Ok(count) => {
                    chunk.truncate(count);
                    return Some(chunk);
                }
            }
        }
    }

    fn send(&mut self, bytes: Vec<u8>) -> bool {
        self.0.write_all(&bytes).and_then(|()| self.0.flush()).is_ok()
    }
}

struct Framed(WebSocket<Tls>);

impl Bytes for Framed {
    fn receive(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.0.read() {
                Ok(Message::Binary(bytes)) => return Some(bytes.to_vec()),
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                _ => return None,
            }
        }
    }

    fn send(&mut self, bytes: Vec<u8>) -> bool {
        self.0.send(Message::binary(bytes)).is_ok()
    }
}

fn packets(stream: &mut dyn Bytes, shared: &Shared) -> Result<(), String> {
    let (mut client, mut input) = (Client::new(&shared.demands), Vec::new());
    while let Some(bytes) = stream.receive() {
        input.extend(bytes);
        let (mut at, mut begin) = (0, 0);
        while let Some(frame) = Frame::take(&input, &mut at) {
            client.handle(&frame, at - begin, &mut shared.story())?;
            begin = at;
        }
        input.drain(..at);
        if input.len() > shared.demands.packet_bytes_max {
            return Err(format!("a packet of more than {} bytes", shared.demands.packet_bytes_max));
        }
        let out = client.take_output();
        if !out.is_empty() && !stream.send(out) {
            break;
        }
    }
    Ok(())
}
