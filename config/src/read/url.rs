//! Where a broker is: `mqtt://host:port` or `mqtts://host:port`.

use std::net::Ipv6Addr;

use crate::Url;

/// The longest host name (RFC 1035, 2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// What a URL says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) url: Url,
    pub(super) encrypted: bool,
}

/// Reads a URL.
///
/// # Errors
/// What is wrong, and what to do about it.
pub(super) fn parse(text: &str) -> Result<Parsed, (String, &'static str)> {
    let form = "write `mqtt://host:1883`, or `mqtts://host:8883` for TLS";
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err((format!("`{text}` is no URL of a broker"), form));
    };
    let (encrypted, default_port) = match scheme {
        "mqtt" => (false, 1883),
        "mqtts" => (true, 8883),
        "ws" | "wss" => return Err((format!("`{scheme}` is not built yet in this version"), form)),
        _ => return Err((format!("`{scheme}` is no scheme of a broker"), form)),
    };
    if rest.contains('@') {
        return Err((
            "a URL cannot have a user in it".to_owned(),
            "write `username` and `password` beside the URL",
        ));
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?']) {
        return Err(("a URL of a broker has no path".to_owned(), form));
    }
    let (host, port) = split_port(authority).ok_or_else(|| {
        (
            format!("`{authority}` has no good port"),
            "a port is 1 to 65535; an IPv6 address is written in brackets, as in `mqtt://[::1]:1883`",
        )
    })?;
    let host = host_of(host).ok_or_else(|| (format!("`{host}` is no host name and no address"), form))?;
    Ok(Parsed { url: Url { host: host.to_owned(), port: port.unwrap_or(default_port) }, encrypted })
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
            let expected = Parsed { url: Url { host: host.to_owned(), port }, encrypted };
            assert_eq!(parse(text), Ok(expected), "{text}");
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
            ("wss://broker", "`wss` is not built yet"),
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
