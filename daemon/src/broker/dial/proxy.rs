//! The way through an HTTP proxy: CONNECT (RFC 9110, section 9.3.6) with basic authentication (RFC 7617).

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tidegate_config::{Proxy, Url};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::broker::secret::{self, SecretError};

/// The longest answer of a proxy; what follows it belongs to the broker.
const ANSWER_BYTES_MAX: usize = 8 * 1024;

/// The proxy does not lead on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it refused: {0}")]
    Refused(String),
    #[error("its answer is no HTTP of at most {ANSWER_BYTES_MAX} bytes")]
    NoHttp,
}

/// What proves to the proxy who we are, if it asks for that.
pub(super) async fn login(proxy: &Proxy) -> Result<Option<String>, SecretError> {
    let (Some(username), Some(password)) = (&proxy.username, &proxy.password) else { return Ok(None) };
    let password = secret::read(password).await?;
    Ok(Some(STANDARD.encode(format!("{username}:{password}"))))
}

/// Has the proxy connect to the broker; the stream is the broker's then.
pub(super) async fn open<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    url: &Url,
    login: Option<&str>,
) -> Result<(), ProxyError> {
    let login = login.map_or_else(String::new, |login| format!("Proxy-Authorization: Basic {login}\r\n"));
    let request = format!("CONNECT {url} HTTP/1.1\r\nHost: {url}\r\n{login}\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let answer = read_head(stream).await?;
    let line = answer.lines().next().unwrap_or_default();
    match line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..)) {
        Some(status) if status.starts_with('2') => Ok(()),
        Some(status) => Err(ProxyError::Refused(status.chars().take(100).collect())),
        None => Err(ProxyError::NoHttp),
    }
}

/// Reads up to the empty line and not a byte more: what follows is not for us.
async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> Result<String, ProxyError> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= ANSWER_BYTES_MAX {
            return Err(ProxyError::NoHttp);
        }
        head.push(stream.read_u8().await?);
    }
    String::from_utf8(head).map_err(|_| ProxyError::NoHttp)
}

#[cfg(test)]
mod tests {
    use tidegate_config::Url;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::open;

    /// What is asked, how it ends, and what is left for the broker's side.
    fn talk(host: &str, login: Option<&str>, answer: &[u8]) -> (String, Result<String, String>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut us, mut proxy) = duplex(1 << 16);
            let url = Url { encrypted: true, ..Url::plain(host, 8883) };
            proxy.write_all(answer).await.unwrap();
            proxy.shutdown().await.unwrap();
            let opened = open(&mut us, &url, login).await.map_err(|error| error.to_string());
            let mut request = vec![0; 4096];
            let count = proxy.read(&mut request).await.unwrap();
            drop(proxy);
            let mut rest = String::new();
            us.read_to_string(&mut rest).await.unwrap();
            (String::from_utf8_lossy(&request[..count]).into_owned(), opened.map(|()| rest))
        })
    }

    #[test]
    fn the_broker_is_asked_for_by_name_and_what_follows_is_its_own() {
        let (request, opened) = talk("broker", None, b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\nmqtt");
        assert_eq!(request, "CONNECT broker:8883 HTTP/1.1\r\nHost: broker:8883\r\n\r\n");
        assert_eq!(opened.unwrap(), "mqtt");
        let (request, opened) = talk("::1", Some("bWU6eA=="), b"HTTP/1.0 204 \r\n\r\n");
        assert!(request.starts_with("CONNECT [::1]:8883 HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("\r\nProxy-Authorization: Basic bWU6eA==\r\n"), "{request}");
        assert!(opened.is_ok());
    }

    #[test]
    fn what_a_proxy_refuses_is_said() {
        let (_, opened) = talk("b", None, b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
        assert_eq!(opened.unwrap_err(), "it refused: 407 Proxy Authentication Required");
        for answer in [&b"SSH-2.0-x\r\n\r\n"[..], b"HTTP/1.1 \xff\r\n\r\n", b"HTTP/1.1 200 OK", &[b'x'; 9000]]
        {
            assert!(talk("b", None, answer).1.is_err());
        }
    }
}
