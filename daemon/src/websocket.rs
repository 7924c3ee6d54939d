//! MQTT in WebSocket frames (RFC 6455; MQTT 5.0, section 6): a stream of bytes over binary messages.
//!
//! Packets need not keep to the bounds of messages, so this layer looks into neither.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::http::{Response as HttpResponse, StatusCode};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

pub(crate) use tokio_tungstenite::tungstenite::Error;

/// The subprotocol that MQTT is registered under.
const SUBPROTOCOL: &str = "mqtt";

/// What an idle connection keeps for reading.
const READ_BYTES: usize = 4 * 1024;

/// The largest message of a broker, which may have many packets in it.
const ANSWER_BYTES_MAX: usize = 17 * 1024 * 1024;

/// A stream of bytes in WebSocket messages.
pub(crate) struct WebSocket<S> {
    messages: WebSocketStream<S>,
    /// What is left of the last message.
    rest: Bytes,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Makes the handshake. A client that does not offer the subprotocol `mqtt` gets 400.
    pub(crate) async fn accept(stream: S, message_bytes_max: usize) -> Result<Self, Error> {
        let config = Some(config(message_bytes_max));
        let messages = tokio_tungstenite::accept_hdr_async_with_config(stream, answer, config).await?;
        Ok(WebSocket { messages, rest: Bytes::new() })
    }

    /// Makes the handshake as a client of this host (and port), for this path. A server that does not agree on the subprotocol
    /// `mqtt` is refused.
    pub(crate) async fn connect(stream: S, host: &str, path: &str) -> Result<Self, Error> {
        let mut request = format!("ws://{host}{path}").into_client_request()?;
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        let config = Some(config(ANSWER_BYTES_MAX));
        let (messages, _) = tokio_tungstenite::client_async_with_config(request, stream, config).await?;
        Ok(WebSocket { messages, rest: Bytes::new() })
    }
}

fn config(message_bytes_max: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max))
}

#[expect(clippy::result_large_err, reason = "the signature is that of the library's callback")]
fn answer(request: &Request, mut response: Response) -> Result<Response, HttpResponse<Option<String>>> {
    let offered = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let mut offered = offered.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    if !offered.any(|protocol| protocol.trim() == SUBPROTOCOL) {
        let mut refusal =
            HttpResponse::new(Some("this port speaks the WebSocket subprotocol mqtt\n".to_owned()));
        *refusal.status_mut() = StatusCode::BAD_REQUEST;
        return Err(refusal);
    }
    response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    Ok(response)
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        read: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.messages).poll_next(context)) {
                Some(Ok(Message::Binary(bytes))) => self.rest = bytes,
                // Section 6 of MQTT 5.0 wants binary messages only.
                Some(Ok(Message::Text(_))) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "a text message")));
                }
                // The library answers pings, and a close, by itself.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(end(error)),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.rest.len().min(read.remaining());
        read.put_slice(self.rest.get(..count).unwrap_or_default());
        self.rest.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut messages = Pin::new(&mut self.messages);
        ready!(messages.as_mut().poll_ready(context)).or_else(end)?;
        messages.start_send(Message::Binary(Bytes::copy_from_slice(bytes))).or_else(end)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.messages).poll_flush(context).map(|result| result.or_else(end))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.messages).poll_close(context).map(|result| result.or_else(end))
    }
}

/// What an error means to a stream of bytes: a proper close is its end.
fn end(error: Error) -> io::Result<()> {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => Ok(()),
        Error::Io(error) => Err(error),
        error => Err(io::Error::other(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::WebSocket;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    const MESSAGE_BYTES_MAX: usize = 1 << 20;

    const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

    /// A masked frame of a client, with a mask of zeros.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            length @ 0..126 => bytes.push(0x80 | u8::try_from(length).unwrap()),
            length => {
                bytes.push(0xfe);
                bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
        }
        [bytes.as_slice(), &[0; 4], payload].concat()
    }

    /// Both ends after a handshake, and what the server answered.
    async fn open(request: &str) -> (DuplexStream, Option<WebSocket<DuplexStream>>, String) {
        let (mut client, server) = duplex(1 << 16);
        client.write_all(request.as_bytes()).await.unwrap();
        let server = WebSocket::accept(server, MESSAGE_BYTES_MAX).await.ok();
        let mut answer = vec![0; 1000];
        let count = client.read(&mut answer).await.unwrap();
        (client, server, String::from_utf8(answer[..count].to_vec()).unwrap())
    }

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    #[test]
    fn bytes_pass_whatever_the_messages_are() {
        run(async {
            let request = format!("{REQUEST}Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\n\r\n");
            let (mut client, server, answer) = open(&request).await;
            assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
            assert!(
                answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
                "the example of RFC 6455, 1.3: {answer}"
            );
            assert!(answer.to_lowercase().contains("sec-websocket-protocol: mqtt\r\n"), "{answer}");
            let mut server = server.unwrap();
            // A fragmented message with a ping between its parts, an empty one, a large one.
            let large = vec![7; 5000];
            for bytes in [
                frame(0x02, b"ab"),
                frame(0x89, b"ping"),
                frame(0x80, b"c"),
                frame(0x82, b""),
                frame(0x82, &large),
            ] {
                client.write_all(&bytes).await.unwrap();
            }
            let mut read = vec![0; 5003];
            server.read_exact(&mut read).await.unwrap();
            assert_eq!(read, [b"abc".as_slice(), &large].concat());
            server.write_all(b"xyz").await.unwrap();
            server.flush().await.unwrap();
            let mut answer = vec![0; 11];
            client.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer, b"\x8a\x04ping\x82\x03xyz");
            client.write_all(&frame(0x88, &1000_u16.to_be_bytes())).await.unwrap();
            assert_eq!(server.read(&mut read).await.unwrap(), 0, "a close is the end of the stream");
        });
    }

    #[test]
    fn who_does_not_speak_mqtt_is_refused() {
        run(async {
            for (protocol, said) in
                [("", "HTTP/1.1 400"), ("Sec-WebSocket-Protocol: chat, mqttv3.1\r\n", "HTTP/1.1 400")]
            {
                let (_, server, answer) = open(&format!("{REQUEST}{protocol}\r\n")).await;
                assert!(server.is_none() && answer.starts_with(said), "{protocol}: {answer}");
            }
            let (mut client, server) = duplex(100);
            client.write_all(b"\x10\x0d\0\x04MQTT\x04\x02\0\x0a\0\x01c").await.unwrap();
            drop(client);
            assert!(WebSocket::accept(server, MESSAGE_BYTES_MAX).await.is_err());
        });
    }

    #[test]
    fn what_breaks_the_protocol_ends_the_stream_with_an_error() {
        run(async {
            let unmasked = b"\x82\x01a".to_vec();
            let too_large =
                [&[0x82, 0xff][..], &(MESSAGE_BYTES_MAX as u64 + 1).to_be_bytes(), &[0; 4]].concat();
            for bytes in [frame(0x81, b"text"), unmasked, too_large, frame(0x83, b"reserved")] {
                let request = format!("{REQUEST}Sec-WebSocket-Protocol: mqtt\r\n\r\n");
                let (mut client, server, _) = open(&request).await;
                client.write_all(&bytes).await.unwrap();
                assert!(server.unwrap().read(&mut [0; 10]).await.is_err(), "{bytes:?}");
            }
        });
    }
}
