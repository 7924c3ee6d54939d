//! A name server that answers, or never does, as it is told.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::must::Must;

const LOOK_UP_EVERY: Duration = Duration::from_millis(50);
/// QR, RD, RA: an answer to a question that wanted recursion (RFC 1035, 4.1.1).
const ANSWER: [u8; 2] = [0x81, 0x80];
const TYPE_A: [u8; 2] = [0, 1];

struct Shared {
    answers: AtomicBool,
    asked: AtomicUsize,
    ended: AtomicBool,
}

/// A name server on port 53 of a loopback address of its own. To it every name is 127.0.0.1.
pub struct Resolver {
    address: Ipv4Addr,
    shared: Arc<Shared>,
}

impl Resolver {
    /// Starts one that answers. Needs root, for the port.
    pub fn start() -> Self {
        let [.., high, low] = std::process::id().to_be_bytes();
        let addresses = (1..=254).map(|number| Ipv4Addr::new(127, number, high, low.max(1)));
        let mut sockets =
            addresses.filter_map(|address| Some((address, UdpSocket::bind((address, 53)).ok()?)));
        let (address, socket) = sockets.next().must("bind a name server to port 53 (as root)");
        socket.set_read_timeout(Some(LOOK_UP_EVERY)).must("set a read timeout");
        let shared = Arc::new(Shared {
            answers: AtomicBool::new(true),
            asked: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || serve(&serving, &socket));
        Self { address, shared }
    }

    /// The lines of a resolv.conf that leads here. The system asks twice, and waits for 5 seconds each time.
    pub fn resolv_conf(&self) -> String {
        format!("nameserver {}\n", self.address)
    }

    /// Whether it answers from now on.
    pub fn set_answers(&self, answers: bool) {
        self.shared.answers.store(answers, Ordering::SeqCst);
    }

    /// How many questions have come so far.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
    }
}

fn serve(shared: &Shared, socket: &UdpSocket) {
    let mut question = [0; 512];
    while !shared.ended.load(Ordering::SeqCst) {
        let Ok((length, from)) = socket.recv_from(&mut question) else { continue };
        shared.asked.fetch_add(1, Ordering::SeqCst);
        if let Some(answer) = question.get(..length).and_then(answer)
            && shared.answers.load(Ordering::SeqCst)
        {
            // Who has gone need not be told.
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// The answer to a question for one name: 127.0.0.1, and nothing of other types.
fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let name_bytes = question.get(12..)?.iter().position(|byte| *byte == 0)? + 1;
    let asked = question.get(12..12 + name_bytes + 4)?;
    let is_a = asked.get(name_bytes..name_bytes + 2) == Some(TYPE_A.as_slice());
    let mut answer = question.get(..2)?.to_vec();
    answer.extend(ANSWER);
    answer.extend([0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    answer.extend(asked);
    if is_a {
        // The name stands at byte 12; type A, class IN, a second to live.
        answer.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]);
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::{Resolver, answer};

    const QUESTION: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x05cloud\x04test\0\0\x01\0\x01";

    #[test]
    fn a_question_for_an_address_gets_one_and_others_get_none() {
        let said = answer(QUESTION).unwrap();
        assert!(said.starts_with(b"\x12\x34\x81\x80\0\x01\0\x01") && said.ends_with(&[0, 4, 127, 0, 0, 1]));
        let mut aaaa = QUESTION.to_vec();
        aaaa[QUESTION.len() - 3] = 28;
        assert_eq!(answer(&aaaa).unwrap().get(6..8), Some([0, 0].as_slice()));
        assert_eq!(answer(&QUESTION[..20]), None);
    }

    #[test]
    fn it_falls_silent_when_it_is_told() {
        let resolver = Resolver::start();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut answer = [0; 100];
        for answers in [true, false] {
            resolver.set_answers(answers);
            socket.send_to(QUESTION, (resolver.address, 53)).unwrap();
            assert_eq!(socket.recv(&mut answer).is_ok(), answers);
        }
        assert_eq!(resolver.asked(), 2);
        assert!(resolver.resolv_conf().starts_with("nameserver 127."));
    }
}
