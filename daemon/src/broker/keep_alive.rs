//! When to ping the cloud, and when its silence means that it is gone (MQTT, section 3.1.2.10).

/// The keep-alive of one connection.
#[derive(Debug)]
pub(crate) struct KeepAlive {
    interval_ms: u64,
    answer_ms: u64,
    written_ms: u64,
    /// When a ping was sent that nothing has followed yet.
    asked_ms: Option<u64>,
    /// When something was sent that will not be acknowledged, and nothing was heard since.
    doubt_ms: Option<u64>,
}

/// What is not acknowledged is followed by a ping after so long, so that a cloud that has gone is noticed.
const DOUBT_MS: u64 = 1000;

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing.
    Nothing,
    /// Send PINGREQ, and say so by [`KeepAlive::handle_ping`].
    Ping,
    /// The ping was not answered in time.
    Lost,
}

impl KeepAlive {
    /// Pings after `interval_ms` in which nothing was written; gives up `answer_ms` after an unanswered ping.
    pub(crate) fn new(interval_ms: u64, answer_ms: u64, now_ms: u64) -> Self {
        KeepAlive { interval_ms, answer_ms, written_ms: now_ms, asked_ms: None, doubt_ms: None }
    }

    /// Something other than a ping was sent.
    pub(crate) fn handle_written(&mut self, now_ms: u64) {
        self.written_ms = now_ms;
    }

    /// Something was sent that will not be acknowledged.
    pub(crate) fn handle_doubt(&mut self, now_ms: u64) {
        self.doubt_ms.get_or_insert(now_ms);
    }

    /// Something was heard, whatever it was.
    pub(crate) fn handle_heard(&mut self) {
        self.asked_ms = None;
        self.doubt_ms = None;
    }

    /// A ping was sent.
    pub(crate) fn handle_ping(&mut self, now_ms: u64) {
        self.written_ms = now_ms;
        self.asked_ms.get_or_insert(now_ms);
        self.doubt_ms = None;
    }

    /// What is due at this time.
    pub(crate) fn poll(&self, now_ms: u64) -> Due {
        match self.asked_ms {
            Some(asked_ms) if now_ms >= asked_ms + self.answer_ms => Due::Lost,
            _ if now_ms >= self.ping_ms() => Due::Ping,
            _ => Due::Nothing,
        }
    }

    /// When [`KeepAlive::poll`] is next worth calling.
    pub(crate) fn deadline_ms(&self) -> u64 {
        let ping_ms = self.ping_ms();
        self.asked_ms.map_or(ping_ms, |asked_ms| ping_ms.min(asked_ms + self.answer_ms))
    }

    fn ping_ms(&self) -> u64 {
        let quiet_ms = self.written_ms + self.interval_ms;
        self.doubt_ms.map_or(quiet_ms, |doubt_ms| quiet_ms.min(doubt_ms + DOUBT_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::{Due, KeepAlive};

    #[test]
    fn a_quiet_connection_is_pinged_and_a_silent_one_given_up() {
        let mut keep_alive = KeepAlive::new(1000, 300, 0);
        assert_eq!((keep_alive.poll(999), keep_alive.deadline_ms()), (Due::Nothing, 1000));
        assert_eq!(keep_alive.poll(1000), Due::Ping);
        keep_alive.handle_ping(1000);
        assert_eq!((keep_alive.poll(1299), keep_alive.deadline_ms()), (Due::Nothing, 1300));
        assert_eq!(keep_alive.poll(1300), Due::Lost);
        keep_alive.handle_heard();
        assert_eq!((keep_alive.poll(1300), keep_alive.deadline_ms()), (Due::Nothing, 2000));
    }

    #[test]
    fn what_is_written_puts_the_ping_off() {
        let mut keep_alive = KeepAlive::new(1000, 300, 0);
        keep_alive.handle_written(900);
        assert_eq!((keep_alive.poll(1000), keep_alive.deadline_ms()), (Due::Nothing, 1900));
    }

    #[test]
    fn a_second_ping_does_not_hide_that_the_first_was_not_answered() {
        let mut keep_alive = KeepAlive::new(100, 250, 0);
        keep_alive.handle_ping(100);
        assert_eq!(keep_alive.poll(200), Due::Ping);
        keep_alive.handle_ping(200);
        assert_eq!(keep_alive.poll(350), Due::Lost);
    }

    #[test]
    fn what_will_not_be_acknowledged_is_followed_by_a_ping() {
        let mut keep_alive = KeepAlive::new(30_000, 300, 0);
        for now_ms in [100, 500, 900] {
            keep_alive.handle_written(now_ms);
            keep_alive.handle_doubt(now_ms);
        }
        assert_eq!((keep_alive.poll(1099), keep_alive.poll(1100)), (Due::Nothing, Due::Ping));
        keep_alive.handle_ping(1100);
        assert_eq!((keep_alive.poll(1399), keep_alive.poll(1400)), (Due::Nothing, Due::Lost));
        keep_alive.handle_heard();
        assert_eq!(keep_alive.deadline_ms(), 31_100, "nothing is in doubt any more");
    }
}
