//! Whether arrivals keep the order of their line.

/// How far a receiver's arrivals keep the order in which the events of a line were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// They divide into at most this many streams, each of which keeps the order: 1 is strict order, 2 is what live
    /// events beside a backlog give.
    Streams(usize),
    /// Not at all.
    Free,
}

/// The newest event of each stream of one line.
#[derive(Debug, Clone)]
pub(crate) struct Streams<E> {
    newest: Vec<E>,
}

impl<E> Default for Streams<E> {
    fn default() -> Self {
        Self { newest: Vec::new() }
    }
}

impl<E: Ord + Clone> Streams<E> {
    /// Takes the next arrival; whether it continues one of so many streams. One that continues none is left out.
    ///
    /// It continues the stream whose newest event is the closest before it: if any way to divide the arrivals into so
    /// many rising streams exists, this one does (patience sorting).
    pub(crate) fn take(&mut self, event: &E, order: Order) -> bool {
        let Order::Streams(streams_max) = order else { return true };
        let count = self.newest.len();
        let before = self.newest.iter_mut().filter(|newest| **newest < *event);
        match before.max() {
            Some(newest) => newest.clone_from(event),
            None if count < streams_max => self.newest.push(event.clone()),
            None => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{Order, Streams};

    /// The arrivals that do not fit into so many streams.
    fn misfits(order: Order, arrivals: &[u32]) -> Vec<u32> {
        let mut streams = Streams::default();
        arrivals.iter().copied().filter(|event| !streams.take(event, order)).collect()
    }

    #[test]
    fn arrivals_divide_into_so_many_streams_or_do_not() {
        let cases: [(Order, &[u32], &[u32]); 9] = [
            (Order::Streams(1), &[], &[]),
            (Order::Streams(1), &[1, 2, 5, 9], &[]),
            (Order::Streams(1), &[1, 3, 2, 4], &[2]),
            (Order::Streams(1), &[1, 5, 2, 3, 6], &[2, 3]),
            (Order::Streams(2), &[1, 3, 2, 4], &[]),
            (Order::Streams(2), &[100, 1, 101, 2, 102, 3, 103], &[]),
            (Order::Streams(2), &[100, 50, 101, 1, 51], &[1]),
            (Order::Streams(3), &[100, 50, 101, 1, 51], &[]),
            (Order::Free, &[3, 2, 1], &[]),
        ];
        for (order, arrivals, expected) in cases {
            assert_eq!(misfits(order, arrivals), expected, "{order:?} {arrivals:?}");
        }
    }

    #[test]
    fn the_closest_stream_is_continued() {
        // Were 60 to continue the stream of 10, 55 would have none.
        assert_eq!(misfits(Order::Streams(2), &[50, 10, 60, 55]), [] as [u32; 0]);
    }
}
