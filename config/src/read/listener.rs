//! `[[listener]]`: where devices connect.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::access::{access, listener_access};
use super::buffer::path;
use super::{Input, table};
use crate::files::Place;
use crate::mistake::Mistake;
use crate::section::{Section, Text};
use crate::{Access, Bind, Identity, Listener, ListenerTls};

/// The port of MQTT without TLS, as registered with IANA.
const PORT: u16 = 1883;

const LISTENERS_MAX: usize = 64;

/// What `sun_path` of a Unix socket takes, without the zero at its end (unix(7)).
const SOCKET_PATH_BYTES_MAX: usize = 107;

const SOCKET_MODE: u32 = 0o660;

const BIND_HELP: &str =
    "write an IP address and a port, such as \"0.0.0.0:1883\", or \"unix:/path/of/a.sock\"";

pub(super) fn listeners(root: &mut Section<'_, '_>, input: &Input<'_>) -> Vec<Listener> {
    let shared =
        table(root, "access", |section| access(section, input, &Access::default())).unwrap_or_default();
    let access_place = root.key("access").unwrap_or(root.place);
    let nodes = root.tables("listener");
    if let Some(node) = nodes.get(LISTENERS_MAX) {
        root.mistakes
            .push(Mistake::error(&node.place, format!("there can be at most {LISTENERS_MAX} listeners")));
    }
    let mut listeners: Vec<(Listener, Text<'_>)> = Vec::new();
    for node in nodes.iter().take(LISTENERS_MAX) {
        let Some(mut section) = Section::open(node, "listener", root.mistakes) else { continue };
        if let Some((listener, text)) = listener(&mut section, input, &shared, access_place) {
            match listeners.iter().find(|(other, _)| is_same(&other.bind, &listener.bind)) {
                Some((_, first)) => section.mistakes.push(super::name::twice("the address", text, *first)),
                None => listeners.push((listener, text)),
            }
        }
        section.finish();
    }
    if nodes.is_empty() && root.key("source").is_none() {
        let listener = Listener {
            bind: Bind::Tcp((Ipv4Addr::LOCALHOST, PORT).into()),
            tls: None,
            websocket: false,
            proxy_protocol: false,
            access: shared,
        };
        check_way_in(&listener, access_place, root.mistakes);
        return vec![listener];
    }
    listeners.into_iter().map(|(listener, _)| listener).collect()
}

fn listener<'t>(
    section: &mut Section<'t, '_>,
    input: &Input<'_>,
    shared: &Access,
    access_place: &Place,
) -> Option<(Listener, Text<'t>)> {
    let bound = bind(section, input.folder);
    let is_unix = matches!(bound, Some((Bind::Unix { .. }, _)));
    if is_unix {
        let help = "whoever may open the socket is on this host; leave it out";
        section.misplaced("tls", "a Unix socket has no TLS", help);
        section.misplaced("proxy_protocol", "a Unix socket has no address that a proxy could tell", help);
    }
    let (tls, proxy_protocol) = match is_unix {
        true => (None, false),
        false => (tls(section, input.folder), section.flag("proxy_protocol").unwrap_or(false)),
    };
    let websocket = section.flag("websocket").unwrap_or(false);
    let access = listener_access(section, input, shared);
    let (bind, text) = bound?;
    let listener = Listener { bind, tls, websocket, proxy_protocol, access };
    let place = section.key("access").unwrap_or(access_place);
    check_way_in(&listener, place, section.mistakes);
    Some((listener, text))
}

/// A listener that lets nobody in is hardly meant.
fn check_way_in(listener: &Listener, place: &Place, mistakes: &mut Vec<Mistake>) {
    let by_certificate = listener.tls.as_ref().is_some_and(|tls| tls.identity.is_some());
    if !listener.access.anonymous && listener.access.logins.is_none() && !by_certificate {
        let help =
            "add `password_file = \"passwd\"` to `[access]`, or `anonymous = true` to let every device in";
        let mistake =
            Mistake::error(place, "no device may connect: there is neither a password file nor `anonymous`");
        let mistake = mistake.help(help);
        // One place, one mistake, for however many listeners.
        if !mistakes.contains(&mistake) {
            mistakes.push(mistake);
        }
    }
}

fn is_same(one: &Bind, other: &Bind) -> bool {
    match (one, other) {
        (Bind::Tcp(one), Bind::Tcp(other)) => one == other && one.port() != 0,
        (Bind::Unix { path: one, .. }, Bind::Unix { path: other, .. }) => one == other,
        _ => false,
    }
}

fn bind<'t>(section: &mut Section<'t, '_>, folder: &Path) -> Option<(Bind, Text<'t>)> {
    let node = section.require("bind", BIND_HELP)?;
    let text = section.as_text(node, "bind")?;
    if let Some(path) = text.value.strip_prefix("unix:") {
        let mode = mode(section);
        return Some((Bind::Unix { path: socket_path(section, text, &folder.join(path))?, mode }, text));
    }
    section.misplaced("mode", "only a Unix socket has a `mode`", "leave it out");
    match text.value.parse() {
        Ok(bind) => Some((Bind::Tcp(bind), text)),
        Err(_) => {
            let mistake =
                Mistake::error(text.place, format!("`{}` is not an address to listen on", text.value));
            section
                .mistakes
                .push(mistake.help(bind_help(text.value).unwrap_or_else(|| BIND_HELP.to_owned())));
            None
        }
    }
}

fn socket_path(section: &mut Section<'_, '_>, text: Text<'_>, path: &Path) -> Option<PathBuf> {
    let bytes = path.as_os_str().len();
    if text.value == "unix:" || text.value.contains('\0') || bytes > SOCKET_PATH_BYTES_MAX {
        let message = format!("the path of a Unix socket has 1 to {SOCKET_PATH_BYTES_MAX} bytes");
        section.mistakes.push(Mistake::error(text.place, message));
        return None;
    }
    Some(path.to_owned())
}

/// The permissions of a socket, in octal as chmod(1) has them.
fn mode(section: &mut Section<'_, '_>) -> u32 {
    let Some(text) = section.text("mode") else { return SOCKET_MODE };
    match u32::from_str_radix(text.value, 8) {
        Ok(mode) if mode <= 0o777 => mode,
        _ => {
            let mistake = Mistake::error(text.place, format!("`{}` is no mode of a file", text.value));
            section.mistakes.push(mistake.help("write it in octal, such as \"0660\""));
            SOCKET_MODE
        }
    }
}

fn tls(section: &mut Section<'_, '_>, folder: &Path) -> Option<ListenerTls> {
    let node = section.take("tls")?;
    let mut inner = Section::open(node, "tls", section.mistakes)?;
    for key in ["cert", "key"] {
        if inner.key(key).is_none() {
            let help = "write `tls = { cert = \"gateway.crt\", key = \"gateway.key\" }`";
            inner.mistakes.push(Mistake::error(inner.place, format!("`{key}` is missing")).help(help));
        }
    }
    let (cert, key) = (path(&mut inner, "cert", folder), path(&mut inner, "key", folder));
    let client_ca = path(&mut inner, "client_ca", folder);
    let words = [("cn", Some(Identity::CommonName)), ("san", Some(Identity::AlternativeName))];
    let identity = inner.word("identity", &words);
    let required = inner.flag("require_client_cert");
    if inner.key("client_ca").is_none() {
        let needs = [("identity", identity.is_some()), ("require_client_cert", required == Some(true))];
        for (key, _) in needs.into_iter().filter(|(_, needs)| *needs) {
            let place = inner.key(key).unwrap_or(inner.place);
            let mistake = Mistake::error(place, format!("`{key}` needs `client_ca`"));
            inner.mistakes.push(mistake.help("name a PEM file of the authorities of your devices"));
        }
    }
    inner.finish();
    let require_client_cert = required.unwrap_or(client_ca.is_some());
    Some(ListenerTls { cert: cert?, key: key?, client_ca, require_client_cert, identity })
}

/// What somebody meant who wrote half an address.
fn bind_help(text: &str) -> Option<String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(format!("write \"{}\"", SocketAddr::new(address, PORT)));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let port: u16 = port.parse().ok()?;
    match host {
        "" | "*" => Some(format!("write \"0.0.0.0:{port}\" for every address of this host")),
        "localhost" => Some(format!("write \"127.0.0.1:{port}\"")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::bind_help;

    #[test]
    fn half_addresses() {
        for (text, help) in [
            ("1883", Some("write \"0.0.0.0:1883\" for every address of this host")),
            (":1883", Some("write \"0.0.0.0:1883\" for every address of this host")),
            ("*:1883", Some("write \"0.0.0.0:1883\" for every address of this host")),
            ("localhost:1884", Some("write \"127.0.0.1:1884\"")),
            ("10.0.0.1", Some("write \"10.0.0.1:1883\"")),
            ("::1", Some("write \"[::1]:1883\"")),
            ("gateway.local:1883", None),
            ("1.2.3.4:99999", None),
            ("", None),
        ] {
            assert_eq!(bind_help(text).as_deref(), help, "{text}");
        }
    }
}
