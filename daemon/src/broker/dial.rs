//! From the name of a broker to a stream of bytes: name lookup, TCP, proxy, TLS, WebSocket. It knows nothing of MQTT.
//!
//! Nothing here blocks the thread that serves devices: names are looked up, and certificates read, beside it.

mod proxy;

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tidegate_config::{Broker, Tls, Url};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{secret, tls};
use crate::websocket::{self, WebSocket};

/// How many name lookups may hang at a time. The system's cannot be cancelled.
const LOOKUPS_MAX: usize = 2;
/// The most addresses of a name that are tried.
const ADDRESSES_MAX: usize = 8;
/// How long an address is tried before the next is tried beside it (RFC 8305, section 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// A stream of bytes to the broker.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("looking up {0}: {1}")]
    Lookup(String, io::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("proxy: {0}")]
    Proxy(#[from] proxy::ProxyError),
    #[error(transparent)]
    Secret(#[from] secret::SecretError),
    #[error("TLS: {0}")]
    Tls(#[from] tls::TlsError),
    #[error("TLS: {0}")]
    Handshake(io::Error),
    #[error("WebSocket: {0}")]
    WebSocket(Box<websocket::Error>),
    #[error("{0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Opens streams for one uplink or source.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    lookups: Arc<Semaphore>,
}

impl Dialer {
    pub(crate) fn new() -> Self {
        Dialer { lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }

    /// Opens a stream. Names are looked up, and certificates and passwords read, anew each time. It has no deadline of
    /// its own, and can be cancelled at any point.
    pub(crate) async fn dial(&self, broker: &Broker, url: &Url) -> Result<Box<dyn Stream>, DialError> {
        let tls = broker.tls.as_ref().filter(|_| url.encrypted);
        let config = match tls.cloned() {
            Some(tls) => Some(spawn_blocking(move || tls::client_config(&tls)).await??),
            None => None,
        };
        let tcp = match &broker.proxy {
            None => self.connect(&url.host, url.port).await?,
            Some(settings) => {
                let login = proxy::login(settings).await?;
                let mut tcp = self.connect(&settings.host, settings.port).await?;
                proxy::open(&mut tcp, url, login.as_deref()).await?;
                tcp
            }
        };
        let (Some(config), Some(tls)) = (config, tls) else { return frame(tcp, url).await };
        let name = server_name(tls, url)?;
        let stream = TlsConnector::from(config).connect(name, tcp).await.map_err(DialError::Handshake)?;
        frame(stream, url).await
    }

    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        let addresses = self.look_up(host, port).await?;
        let tcp = connect_first(addresses).await?;
        tcp.set_nodelay(true)?;
        Ok(tcp)
    }

    /// All addresses of a name.
    async fn look_up(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, DialError> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![(address, port).into()]);
        }
        let fail = |error| DialError::Lookup(host.to_owned(), error);
        let permit = Arc::clone(&self.lookups).acquire_owned().await;
        let permit = permit.map_err(|closed| fail(io::Error::other(closed)))?;
        let name = host.to_owned();
        // The thread keeps the permit until the system answers, whether anybody still waits or not.
        let looked_up = spawn_blocking(move || {
            let _permit = permit;
            (name, port).to_socket_addrs().map(|found| found.take(ADDRESSES_MAX).collect::<Vec<_>>())
        });
        let addresses = looked_up.await?.map_err(fail)?;
        if addresses.is_empty() {
            return Err(fail(io::Error::new(io::ErrorKind::NotFound, "no address")));
        }
        Ok(addresses)
    }
}

/// Makes the WebSocket handshake, if there is to be one.
async fn frame<S: Stream + 'static>(stream: S, url: &Url) -> Result<Box<dyn Stream>, DialError> {
    let Some(path) = &url.websocket else { return Ok(Box::new(stream)) };
    let framed = WebSocket::connect(stream, &url.to_string(), path).await;
    Ok(Box::new(framed.map_err(|error| DialError::WebSocket(Box::new(error)))?))
}

/// The name that the broker's certificate has to have, and that it is asked for by.
fn server_name(tls: &Tls, url: &Url) -> Result<ServerName<'static>, tls::TlsError> {
    let name = tls.server_name.as_ref().unwrap_or(&url.host);
    Ok(ServerName::try_from(name.clone())?)
}

/// Connects to the first address that answers; the others are tried beside it after a while, so that one that leads nowhere
/// does not cost the whole time.
async fn connect_first(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut attempts = JoinSet::new();
    let mut rest = addresses.into_iter();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "no address");
    loop {
        if let Some(address) = rest.next() {
            attempts.spawn(TcpStream::connect(address));
        }
        let ended = match rest.len() {
            0 => attempts.join_next().await,
            _ => match timeout(HEAD_START, attempts.join_next()).await {
                Ok(ended) => ended,
                Err(_) => continue,
            },
        };
        match ended {
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err(error))) => failure = error,
            Some(Err(error)) => failure = io::Error::other(error),
            None => return Err(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use tokio::net::TcpListener;

    use super::{Dialer, connect_first};

    fn run<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
    }

    /// An address of a listener whose queue is full, so that it never answers; and what keeps it so.
    async fn nowhere() -> (SocketAddr, Vec<tokio::task::JoinHandle<()>>, TcpListener) {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let fill = (0..8).map(|_| {
            tokio::spawn(async move {
                let _kept = tokio::net::TcpStream::connect(address).await;
                std::future::pending::<()>().await;
            })
        });
        (address, fill.collect(), listener)
    }

    #[test]
    fn an_address_that_refuses_or_leads_nowhere_is_followed_by_the_next() {
        run(async {
            let good = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let refusing = {
                let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                gone.local_addr().unwrap()
            };
            let (nowhere, _filling, _listener) = nowhere().await;
            let address = good.local_addr().unwrap();
            let stream = connect_first(vec![refusing, nowhere, address]).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), address);
            let error = connect_first(vec![refusing]).await.unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
            assert!(connect_first(Vec::new()).await.is_err());
        });
    }

    #[test]
    fn lookups_that_hang_are_bounded_and_no_address_needs_one() {
        run(async {
            let dialer = Dialer::new();
            let _hanging: Vec<_> = (0..super::LOOKUPS_MAX)
                .map(|_| dialer.lookups.clone().try_acquire_owned().unwrap())
                .collect();
            let limit = std::time::Duration::from_millis(20);
            assert!(tokio::time::timeout(limit, dialer.look_up("localhost", 1)).await.is_err());
            let found = dialer.look_up("127.0.0.1", 7).await.unwrap();
            assert_eq!(found, [SocketAddr::from((Ipv4Addr::LOCALHOST, 7))]);
            drop(_hanging);
            assert!(!dialer.look_up("localhost", 1).await.unwrap().is_empty());
        });
    }

    #[test]
    fn a_name_that_nobody_has_is_named() {
        let error = run(Dialer::new().look_up("no-such-host.invalid", 1)).unwrap_err().to_string();
        assert!(error.contains("no-such-host.invalid"), "{error}");
    }
}
