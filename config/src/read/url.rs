//! Where a broker is: `mqtt://host:port` or `mqtts://host:port`, and of one that speaks WebSocket `ws://host:port/path` or
//! `wss://host:port/path`.

use std::net::Ipv6Addr;

use crate::Url;

/// The longest host name (RFC 1035, 2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// Where brokers speak WebSocket, if nothing else is said.
const WEBSOCKET_PATH: &str = "/mqtt";

/// The longest path, in bytes; tokens that stand in its query may be long.
const PATH_BYTES_MAX: usize = 4096;

/// What is wrong with a text, and what to do about it.
type Wrong = (String, &'static str);

/// Reads the URL of a broker.
pub(super) fn parse(text: &str) -> Result<Url, Wrong> {
    let form = "write `mqtt://host:1883`, or `mqtts://host:8883` for TLS; `ws://host/mqtt` or `wss://host/mqtt` for \
                WebSocket";
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err((format!("`{text}` is no URL of a broker"), form));
    };
    let (encrypted, default_port, rest, websocket) = match scheme {
        "mqtt" => (false, 1883, rest, None),
        "mqtts" => (true, 8883, rest, None),
        "ws" | "wss" => {
            let (authority, path) = split_path(rest)?;
            let (encrypted, port) = if scheme == "wss" { (true, 443) } else { (false, 80) };
            (encrypted, port, authority, Some(path.to_owned()))
        }
        _ => return Err((format!("`{scheme}` is no scheme of a broker"), form)),
    };
    let (host, port) = authority(rest, form)?;
    Ok(Url { host, port: port.unwrap_or(default_port), encrypted, websocket })
}

/// Splits what follows `wss://` before its path, which goes into the first line of an HTTP request (RFC 9112, 3.2.1).
fn split_path(rest: &str) -> Result<(&str, &str), Wrong> {
    let Some((authority, path)) = rest.find('/').and_then(|at| rest.split_at_checked(at)) else {
        return Ok((rest, WEBSOCKET_PATH));
    };
    let allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'"' | b'<' | b'>' | b'\\');
    if path.len() > PATH_BYTES_MAX || !path.bytes().all(allowed) {
        let help = "a path has at most 4096 letters of ASCII, and no spaces; others are written as `%20`";
        return Err((format!("`{path}` is no path of a URL"), help));
    }
    Ok((authority, path))
}

/// Reads the URL of a proxy, `http://host:port`: host and port.
pub(super) fn parse_proxy(text: &str) -> Result<(String, u16), Wrong> {
    let form = "write `http://host:3128`";
    let rest =
        text.strip_prefix("http://").ok_or_else(|| (format!("`{text}` is no URL of a proxy"), form))?;
    let (host, port) = authority(rest, form)?;
    Ok((host, port.unwrap_or(3128)))
}

/// Whether this can be the name or the address of a host.
pub(super) fn is_host(text: &str) -> bool {
    host_of(text).is_some()
}

/// Reads what follows the scheme.
fn authority(text: &str, form: &'static str) -> Result<(String, Option<u16>), Wrong> {
    if text.contains('@') {
        return Err((
            "a URL cannot have a user in it".to_owned(),
            "write `username` and `password` beside the URL",
        ));
    }
    let authority = text.strip_suffix('/').unwrap_or(text);
    if authority.contains(['/', '?']) {
        return Err(("this URL has no path".to_owned(), form));
    }
    let (host, port) = split_port(authority).ok_or_else(|| {
        (
            format!("`{authority}` has no good port"),
            "a port is 1 to 65535; an IPv6 address is written in brackets, as in `mqtt://[::1]:1883`",
        )
    })?;
    let host = host_of(host).ok_or_else(|| (format!("`{host}` is no host name and no address"), form))?;
    Ok((host.to_owned(), port))
}

/// Splits `host:1883`; an address in brackets keeps them.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let after_address = authority.rfind(']').unwrap_or(0);
    let colon = authority.get(after_address..)?.find(':').map(|at| after_address + at);
    let Some((host, port)) = colon.and_then(|colon| authority.split_at_checked(colon)) else {
        return Some((authority, None));
    };
    let port = port.get(1..)?;
    let port = port.parse().ok().filter(|number| *number != 0 && !port.starts_with('+'))?;
    Some((host, Some(port)))
}

/// The host without the brackets of an IPv6 address.
fn host_of(host: &str) -> Option<&str> {
    if let Some(address) = host.strip_prefix('[') {
        let address = address.strip_suffix(']')?;
        return address.parse::<Ipv6Addr>().is_ok().then_some(address);
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    ((1..=HOST_BYTES_MAX).contains(&host.len()) && host.bytes().all(allowed)).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (text, host, port, encrypted) in [
            ("mqtt://localhost", "localhost", 1883, false),
            ("mqtts://broker.example.com", "broker.example.com", 8883, true),
            ("mqtts://broker.example.com:443", "broker.example.com", 443, true),
            ("mqtt://10.0.0.1:1884/", "10.0.0.1", 1884, false),
            ("mqtt://[::1]", "::1", 1883, false),
            ("mqtts://[fe80::1]:65535", "fe80::1", 65535, true),
            ("mqtt://a_b-c:1", "a_b-c", 1, false),
        ] {
            assert_eq!(parse(text), Ok(Url { encrypted, ..Url::plain(host, port) }), "{text}");
        }
    }

    #[test]
    fn urls_of_websockets() {
        for (text, host, port, encrypted, path) in [
            ("ws://localhost", "localhost", 80, false, "/mqtt"),
            ("wss://broker.example.com", "broker.example.com", 443, true, "/mqtt"),
            ("wss://broker:8884/", "broker", 8884, true, "/"),
            ("ws://[::1]:8083/ws/mqtt?token=a%20b", "::1", 8083, false, "/ws/mqtt?token=a%20b"),
        ] {
            let websocket = Some(path.to_owned());
            assert_eq!(parse(text), Ok(Url { encrypted, websocket, ..Url::plain(host, port) }), "{text}");
        }
        let long = format!("ws://broker/{}", "x".repeat(4096));
        for (text, said) in [
            ("wss://broker/a b", "is no path"),
            ("wss://broker/a\r\nb", "is no path"),
            ("wss://broker/é", "is no path"),
            ("wss://broker/a#b", "is no path"),
            (&long, "is no path"),
            ("wss://user:secret@broker/mqtt", "cannot have a user"),
            ("ws://:80/mqtt", "is no host name"),
        ] {
            let (message, help) = parse(text).unwrap_err();
            assert!(message.contains(said) && !help.is_empty(), "{text}: {message}");
        }
    }

    #[test]
    fn proxies() {
        assert_eq!(parse_proxy("http://proxy"), Ok(("proxy".to_owned(), 3128)));
        assert_eq!(parse_proxy("http://[::1]:8080/"), Ok(("::1".to_owned(), 8080)));
        for (text, said) in [
            ("proxy:3128", "no URL of a proxy"),
            ("https://proxy", "no URL of a proxy"),
            ("http://me:secret@proxy", "cannot have a user"),
            ("http://proxy:0", "no good port"),
            ("http://proxy/path", "has no path"),
        ] {
            let (message, help) = parse_proxy(text).unwrap_err();
            assert!(message.contains(said) && !help.is_empty(), "{text}: {message}");
        }
    }

    #[test]
    fn what_is_no_url() {
        let long = format!("mqtt://{}", "x".repeat(254));
        for (text, said) in [
            ("", "is no URL"),
            ("broker:1883", "is no URL"),
            ("tcp://broker", "`tcp` is no scheme"),
            ("MQTT://broker", "`MQTT` is no scheme"),
            ("mqtt://user:secret@broker", "cannot have a user"),
            ("mqtt://broker/path", "has no path"),
            ("mqtt://broker?x=1", "has no path"),
            ("mqtt://broker:", "no good port"),
            ("mqtt://broker:0", "no good port"),
            ("mqtt://broker:65536", "no good port"),
            ("mqtt://broker:+1", "no good port"),
            ("mqtt://broker:é", "no good port"),
            ("mqtt://::1", "no good port"),
            ("mqtt://", "`` is no host name"),
            ("mqtt://bröker", "is no host name"),
            ("mqtt://[::x]", "is no host name"),
            ("mqtt://[::1", "no good port"),
            ("mqtt://a b", "is no host name"),
            (&long, "is no host name"),
        ] {
            let (message, help) = parse(text).unwrap_err();
            assert!(message.contains(said) && !help.is_empty(), "{text}: {message}");
        }
    }
}
