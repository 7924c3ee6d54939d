//! The header of the PROXY protocol, version 2: a balancer in front says whom a connection comes from
//! (<https://www.haproxy.org/download/1.8/doc/proxy-protocol.txt>, section 2.2).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and protocol, length.
const HEAD_BYTES: usize = 16;

/// What may follow the head: addresses (at most 216 bytes) and what a balancer adds of its own.
const REST_BYTES_MAX: usize = 2048;

/// Why a connection has no header that could be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error("no header of the PROXY protocol, version 2")]
    Missing,
    #[error("the PROXY header has a version or a command that is not known")]
    Version,
    #[error("the PROXY header is over {REST_BYTES_MAX} bytes")]
    TooLong,
    #[error("the PROXY header is shorter than its addresses")]
    Short,
    #[error("the PROXY header is not of a TCP connection")]
    NotTcp,
}

/// Reads the header, and not a byte more. `None`: the balancer speaks for itself (a health check), or does not know.
pub(in crate::listener) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<SocketAddr>, ProxyError> {
    let mut head = [0; HEAD_BYTES];
    stream.read_exact(&mut head).await.map_err(|_| ProxyError::Missing)?;
    let head = Head::parse(&head)?;
    let mut rest = vec![0; head.rest_bytes];
    stream.read_exact(&mut rest).await.map_err(|_| ProxyError::Short)?;
    head.source(&rest)
}

struct Head {
    is_local: bool,
    family: u8,
    rest_bytes: usize,
}

impl Head {
    fn parse(bytes: &[u8; HEAD_BYTES]) -> Result<Head, ProxyError> {
        let rest = bytes.strip_prefix(SIGNATURE).ok_or(ProxyError::Missing)?;
        let [version, family, high, low] = *rest else { return Err(ProxyError::Missing) };
        let rest_bytes = usize::from(u16::from_be_bytes([high, low]));
        let is_local = match version {
            0x20 => true,
            0x21 => false,
            _ => return Err(ProxyError::Version),
        };
        if rest_bytes > REST_BYTES_MAX {
            Err(ProxyError::TooLong)
        } else {
            Ok(Head { is_local, family, rest_bytes })
        }
    }

    fn source(&self, rest: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
        if self.is_local {
            return Ok(None);
        }
        match self.family {
            0x00 => Ok(None),
            0x11 => {
                let (address, rest) = rest.split_first_chunk::<4>().ok_or(ProxyError::Short)?;
                let port = source_port::<4>(rest)?;
                Ok(Some((Ipv4Addr::from(*address), port).into()))
            }
            0x21 => {
                let (address, rest) = rest.split_first_chunk::<16>().ok_or(ProxyError::Short)?;
                let port = source_port::<16>(rest)?;
                Ok(Some((Ipv6Addr::from(*address), port).into()))
            }
            _ => Err(ProxyError::NotTcp),
        }
    }
}

/// Behind the source's address stand the destination's, the source's port and the destination's.
fn source_port<const N: usize>(rest: &[u8]) -> Result<u16, ProxyError> {
    let (_, ports) = rest.split_first_chunk::<N>().ok_or(ProxyError::Short)?;
    let (source, rest) = ports.split_first_chunk::<2>().ok_or(ProxyError::Short)?;
    if rest.len() < 2 { Err(ProxyError::Short) } else { Ok(u16::from_be_bytes(*source)) }
}

#[cfg(test)]
mod tests {
    use super::{ProxyError, SIGNATURE, read};
    use proptest::prelude::*;
    use std::net::SocketAddr;

    fn read_all(mut bytes: &[u8]) -> (Result<Option<SocketAddr>, ProxyError>, usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let result = runtime.block_on(read(&mut bytes));
        (result, bytes.len())
    }

    fn header(version: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE.as_slice(), &[version, family], &length, rest].concat()
    }

    const V4: &[u8] = &[192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x34, 7, 0x5b];

    #[test]
    fn whom_a_connection_comes_from() {
        let v6 = [[0x20, 1, 0xd, 0xb8].as_slice(), &[0; 11], &[1], &[0; 16], &[0, 80, 0, 81]].concat();
        let more = [V4, b"\x03\0\x04abcd"].concat();
        for (bytes, source) in [
            (header(0x21, 0x11, V4), Some("192.0.2.7:4660")),
            (header(0x21, 0x11, &more), Some("192.0.2.7:4660")),
            (header(0x21, 0x21, &v6), Some("[2001:db8::1]:80")),
            (header(0x20, 0x11, V4), None),
            (header(0x20, 0x00, b""), None),
            (header(0x21, 0x00, b"xyz"), None),
        ] {
            let with_more = [bytes.as_slice(), b"\x10\x0d"].concat();
            let source = source.map(|source| source.parse().unwrap());
            assert_eq!(read_all(&with_more), (Ok(source), 2), "not a byte more than {bytes:?}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for (bytes, error) in [
            (b"".to_vec(), ProxyError::Missing),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n".to_vec(), ProxyError::Missing),
            (b"\x10\x0d\0\x04MQTT\x04\x02\0\x0a\0\x01c".to_vec(), ProxyError::Missing),
            (header(0x11, 0x11, V4), ProxyError::Version),
            (header(0x22, 0x11, V4), ProxyError::Version),
            (header(0x21, 0x12, V4), ProxyError::NotTcp),
            (header(0x21, 0x31, &[0; 216]), ProxyError::NotTcp),
            (header(0x21, 0x11, &[0; 2049]), ProxyError::TooLong),
            (header(0x21, 0x11, &V4[..11]), ProxyError::Short),
            (header(0x21, 0x21, V4), ProxyError::Short),
            (header(0x21, 0x11, V4)[..20].to_vec(), ProxyError::Short),
        ] {
            assert_eq!(read_all(&bytes).0, Err(error), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn noise_is_refused_or_read(noise in prop::collection::vec(any::<u8>(), 0..80), signed in any::<bool>()) {
            let bytes = if signed { [SIGNATURE.as_slice(), &noise].concat() } else { noise };
            let (result, left) = read_all(&bytes);
            prop_assert!(left <= bytes.len());
            if !signed {
                prop_assert_eq!(result, Err(ProxyError::Missing));
            }
        }

        #[test]
        fn every_source_is_read_as_it_was_written(source: std::net::SocketAddrV4, version in 0x20_u8..0x22) {
            let rest = [source.ip().octets().as_slice(), &[0; 4], &source.port().to_be_bytes(), &[0; 2]].concat();
            let expected = (version == 0x21).then_some(source.into());
            prop_assert_eq!(read_all(&header(version, 0x11, &rest)), (Ok(expected), 0));
        }
    }
}
