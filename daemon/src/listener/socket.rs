//! Sockets that devices connect to: TCP, and Unix sockets for programs of this host.

use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use tidegate_config::Bind;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// A socket that accepts. A Unix socket's file goes with it.
pub(crate) enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// A connection, as the system gives it.
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Whom a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    Address(SocketAddr),
    /// A program of this host, by a Unix socket.
    Local,
}

impl Peer {
    /// What limits by address count: an IPv4 address, or the first 64 bits of an IPv6 address, of which whoever has one
    /// has all.
    pub(super) fn network(self) -> Option<IpAddr> {
        let Peer::Address(address) = self else { return None };
        Some(match address.ip().to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
            address => address,
        })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Address(address) => address.fmt(f),
            Peer::Local => f.write_str("local"),
        }
    }
}

impl Acceptor {
    /// Binds.
    pub(crate) async fn bind(bind: &Bind) -> io::Result<Acceptor> {
        match bind {
            Bind::Tcp(address) => TcpListener::bind(address).await.map(Acceptor::Tcp),
            Bind::Unix { path, mode } => {
                remove_left_over(path).await?;
                let listener = UnixListener::bind(path)?;
                let file = SocketFile(path.clone());
                fs::set_permissions(path, Permissions::from_mode(*mode))?;
                Ok(Acceptor::Unix(listener, file))
            }
        }
    }

    pub(super) async fn accept(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Acceptor::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Acknowledgements are small and awaited; they must not wait for each other.
                let _ = stream.set_nodelay(true);
                Ok((Socket::Tcp(stream), Peer::Address(address)))
            }
            Acceptor::Unix(listener, _) => {
                listener.accept().await.map(|(stream, _)| (Socket::Unix(stream), Peer::Local))
            }
        }
    }
}

impl fmt::Display for Acceptor {
    /// Where it listens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Acceptor::Tcp(listener) => match listener.local_addr() {
                Ok(address) => address.fmt(f),
                Err(error) => write!(f, "({error})"),
            },
            Acceptor::Unix(_, SocketFile(path)) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The file of a Unix socket; removed when the socket is closed.
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // What is left is removed at the next start.
        let _ = fs::remove_file(&self.0);
    }
}

/// Removes the socket that a killed gateway has left; one that somebody listens on stays.
async fn remove_left_over(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if !is_socket {
        // Nothing is there, or a file that is not ours to remove: bind will say so.
        return Ok(());
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
    }
}

impl Socket {
    /// Waits until the client has said something, or has gone.
    pub(super) async fn heard(&self) -> io::Result<()> {
        match self {
            // Not `readable`: that tokio says of every new connection, until a read has failed.
            Socket::Tcp(stream) => stream.peek(&mut [0]).await.map(|_| ()),
            // It cannot look ahead; but who is on this host can do worse than to say nothing.
            Socket::Unix(stream) => stream.readable().await,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        read: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(context, read),
            Socket::Unix(stream) => Pin::new(stream).poll_read(context, read),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Socket::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The kernel has what was written.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Socket::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Acceptor, Peer};
    use std::os::unix::fs::PermissionsExt;
    use tidegate_config::Bind;

    #[test]
    fn limits_count_networks() {
        for (address, network) in [
            ("192.0.2.7:1", "192.0.2.7"),
            ("[::ffff:192.0.2.7]:1", "192.0.2.7"),
            ("[2001:db8:1:2:3:4:5:6]:1", "2001:db8:1:2::"),
        ] {
            let peer = Peer::Address(address.parse().unwrap());
            assert_eq!(peer.network(), Some(network.parse().unwrap()), "{address}");
        }
        assert_eq!(Peer::Local.network(), None);
    }

    #[test]
    fn a_unix_socket_has_its_mode_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mqtt.sock");
        let bind = Bind::Unix { path: path.clone(), mode: 0o640 };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            // As a killed gateway leaves it.
            drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
            let acceptor = Acceptor::bind(&bind).await.unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
            assert_eq!(acceptor.to_string(), format!("unix:{}", path.display()));
            let second = Acceptor::bind(&bind).await;
            assert_eq!(second.err().unwrap().kind(), std::io::ErrorKind::AddrInUse);
            assert!(path.exists(), "the one that is in use stays");
            drop(acceptor);
            assert!(!path.exists());
            std::fs::write(&path, "a file of somebody else").unwrap();
            assert!(Acceptor::bind(&bind).await.is_err());
            assert!(path.exists());
        });
    }
}
