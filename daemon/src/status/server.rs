//! HTTP on the status port: a handful of GETs.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::{Status, metrics};

/// Those who look, at a time; more wait.
const CONNECTIONS_MAX: usize = 16;
/// For a request to be sent.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection ends after so long, whatever it does.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
/// The longest head of a request; no request has a body.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// After the system could not give a connection.
const PAUSE: Duration = Duration::from_millis(100);

const PAGE: &str = include_str!("page.html");
/// The page uses nothing that it does not bring.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:";

type Answer = Response<Full<Bytes>>;

/// Serves for ever.
pub(super) async fn serve(listener: TcpListener, status: Rc<Status>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let status = Rc::clone(&status);
                spawn_local(async move {
                    converse(stream, peer, &status).await;
                    drop(place);
                });
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

async fn converse(stream: TcpStream, peer: SocketAddr, status: &Rc<Status>) {
    let answer = |request: Request<Incoming>| {
        let answer = route(request.method(), request.uri().path(), status);
        async move { Ok::<_, Infallible>(answer) }
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service_fn(answer));
    if let Ok(Err(error)) = timeout(CONNECTION_TIMEOUT, pin!(connection)).await {
        debug!("status port: {peer}: {error}");
    }
}

fn route(method: &Method, path: &str, status: &Status) -> Answer {
    if method != Method::GET && method != Method::HEAD {
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".into());
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    match path {
        "/" => page(),
        "/livez" => verdict(status.health.live()),
        "/readyz" => verdict(status.health.ready()),
        "/metrics" => exposed(status),
        "/status.json" => shown(status),
        _ => plain(StatusCode::NOT_FOUND, "there are /, /metrics, /livez, /readyz and /status.json\n".into()),
    }
}

fn typed(code: StatusCode, kind: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = code;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

fn plain(code: StatusCode, body: String) -> Answer {
    typed(code, "text/plain; charset=utf-8", body)
}

fn page() -> Answer {
    let mut answer = typed(StatusCode::OK, "text/html; charset=utf-8", PAGE.into());
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    answer
}

fn verdict(verdict: Result<(), &'static str>) -> Answer {
    match verdict {
        Ok(()) => plain(StatusCode::OK, "ok\n".into()),
        Err(why) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

fn exposed(status: &Status) -> Answer {
    let exposition = metrics::exposition(status.watched.snapshot(), status.health.ready().is_ok());
    match exposition {
        Ok(text) => typed(StatusCode::OK, metrics::CONTENT_TYPE, text),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn shown(status: &Status) -> Answer {
    match serde_json::to_string(&status.shown()) {
        Ok(text) => typed(StatusCode::OK, "application/json", text),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}
