//! An HTTP proxy that passes connections on (CONNECT, RFC 9110, 9.3.6).

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::must::Must;

/// A proxy; it lives as long as the test.
pub struct Proxy {
    port: u16,
    led: Arc<AtomicUsize>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Starts one that leads to where it is asked to, if `login` is in the head of the request.
    pub fn start(login: &'static str) -> Self {
        Self::with(login, None)
    }

    /// Starts one that leads to this port here, wherever it is asked to lead.
    pub fn leading_to(port: u16) -> Self {
        Self::with("", Some(port))
    }

    fn with(login: &'static str, port_here: Option<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").must("bind the proxy");
        let port = listener.local_addr().must("know the port").port();
        let led = Arc::new(AtomicUsize::new(0));
        let (count, asked) = (Arc::clone(&led), Arc::new(Mutex::new(Vec::new())));
        let noted = Arc::clone(&asked);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let note = |target: &str| noted.lock().must("note it").push(target.to_owned());
                serve(client, login, port_here, (&count, &note));
            }
        });
        Self { port, led, asked }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it was asked to lead.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().must("read what was noted").clone()
    }

    /// How many connections it has passed on.
    pub fn count(&self) -> usize {
        self.led.load(Ordering::SeqCst)
    }
}

fn serve(
    mut client: TcpStream,
    login: &str,
    port_here: Option<u16>,
    (count, note): (&AtomicUsize, &dyn Fn(&str)),
) {
    let head = read_head(&mut client);
    if !head.contains(login) {
        // Whoever has gone need not be told.
        let _ = client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
        return;
    }
    let target = head.split(' ').nth(1).must("a target").to_owned();
    note(&target);
    let target = port_here.map_or(target, |port| format!("127.0.0.1:{port}"));
    let Ok(broker) = TcpStream::connect(target) else { return };
    if client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").is_ok() {
        count.fetch_add(1, Ordering::SeqCst);
        join(client, broker);
    }
}

fn read_head(client: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).is_ok_and(|count| count == 1) {
        head.extend(byte);
    }
    String::from_utf8_lossy(&head).into_owned()
}

fn join(client: TcpStream, broker: TcpStream) {
    let both = [&client, &broker].map(|stream| stream.try_clone().must("clone a socket"));
    let [from_client, to_broker] = [client, broker];
    let [to_client, from_broker] = both;
    for (mut from, mut to) in [(from_client, to_broker), (from_broker, to_client)] {
        thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
}
