//! Which stream of a consumer is read next: strict priority with a floor, and the share of the backlog.

use super::lane::{Lane, Order, Stream};
use super::memory::Memory;
use crate::options::{BacklogShare, Drain};

/// A lower stream that waits gets each so-manieth pick.
const FLOOR_PICKS: u8 = 16;
/// A rate gives at most so much at once.
const BURST_MS: u64 = 100;
/// Rates beyond this are as good as none, and sums stay far from the bounds of their type.
const RATE_MAX: u64 = 1 << 40;

/// Rank and stream, by falling claim.
type Streams = [(usize, Stream); 6];

const IN_ORDER: Streams = [
    (0, Stream::Backlog),
    (0, Stream::Live),
    (1, Stream::Backlog),
    (1, Stream::Live),
    (2, Stream::Backlog),
    (2, Stream::Live),
];

const LIVE_FIRST: Streams = [
    (0, Stream::Live),
    (0, Stream::Backlog),
    (1, Stream::Live),
    (2, Stream::Live),
    (1, Stream::Backlog),
    (2, Stream::Backlog),
];

/// What is read next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pick {
    pub(super) rank: usize,
    pub(super) stream: Stream,
    /// Nothing else waits.
    pub(super) alone: bool,
}

/// How one consumer is read.
#[derive(Debug)]
pub(super) struct Reading {
    streams: &'static Streams,
    pub(super) order: Order,
    pub(super) share: Share,
    /// By stream: how often it waited since it was picked.
    passed_over: [u8; 6],
}

impl Reading {
    pub(super) fn new(drain: Drain) -> Self {
        let (streams, order, share) = match drain {
            Drain::OldestFirst => (&IN_ORDER, Order::Oldest, Share::All),
            Drain::NewestFirst => (&LIVE_FIRST, Order::Newest, Share::All),
            Drain::LiveFirst { backlog } => (&LIVE_FIRST, Order::Live, Share::new(backlog)),
        };
        Self { streams, order, share, passed_over: [0; 6] }
    }

    /// Whether anything can be read.
    pub(super) fn can_pick(&self, lanes: &[Lane], memory: &Memory) -> bool {
        self.waiting(lanes, memory).contains(&true)
    }

    /// By stream, whether its next record can be read now. The high lane is not subject to the share.
    fn waiting(&self, lanes: &[Lane], memory: &Memory) -> [bool; 6] {
        let inflight = lanes.iter().skip(1).map(|lane| lane.backlog_inflight).sum();
        let share = self.share.allows(inflight);
        self.streams.map(|(rank, stream)| {
            let held_back = stream == Stream::Backlog && rank > 0 && !share;
            !held_back && lanes.get(rank).is_some_and(|lane| lane.has_next(stream, memory))
        })
    }

    /// The stream to read next: the first that waits, but one that was passed over often enough goes before it.
    pub(super) fn pick(&mut self, lanes: &[Lane], memory: &Memory) -> Option<Pick> {
        let waiting = self.waiting(lanes, memory);
        let mut levels = waiting.iter().enumerate().filter(|(_, waits)| **waits).map(|(at, _)| at);
        let first = levels.next()?;
        let alone = levels.next().is_none();
        let mut picked = first;
        if !alone {
            let starved = self.passed_over.iter().zip(waiting);
            let starved = starved.map(|(times, waits)| waits && *times >= FLOOR_PICKS - 1);
            picked = starved.into_iter().position(|starved| starved).unwrap_or(first);
            for (at, times) in self.passed_over.iter_mut().enumerate() {
                let waits = waiting.get(at).copied().unwrap_or(false) && at != first;
                *times = if at == picked || !waits { 0 } else { times.saturating_add(1) };
            }
        }
        let (rank, stream) = self.streams.get(picked).copied()?;
        Some(Pick { rank, stream, alone })
    }

    /// When the share of the backlog, which holds it back now, lets it go on.
    pub(super) fn again_in_ms(&self, lanes: &[Lane], memory: &Memory) -> Option<u64> {
        let again_in_ms = self.share.again_in_ms()?;
        let waits = |lane: &Lane| lane.has_next(Stream::Backlog, memory);
        lanes.iter().skip(1).any(waits).then_some(again_in_ms)
    }
}

/// What the backlog may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    All,
    InFlight(u64),
    Rate {
        per_s: u64,
        /// Counts bytes, not events.
        bytes: bool,
        /// Thousandths of an event or byte that may be taken; a large record may overdraw it.
        credit: i64,
        refilled_ms: u64,
    },
}

impl Share {
    fn new(share: BacklogShare) -> Self {
        let rate = |per_s: u64, bytes| {
            let per_s = per_s.clamp(1, RATE_MAX);
            Self::Rate { per_s, bytes, credit: burst(per_s), refilled_ms: 0 }
        };
        match share {
            BacklogShare::InFlight(records) => Self::InFlight(u64::from(records.max(1))),
            BacklogShare::EventsPerS(events) => rate(u64::from(events), false),
            BacklogShare::BytesPerS(bytes) => rate(bytes, true),
        }
    }

    /// Whether a record of the backlog may be taken when so many of it are in flight.
    fn allows(&self, inflight: u64) -> bool {
        match self {
            Self::All => true,
            Self::InFlight(most) => inflight < *most,
            Self::Rate { bytes, credit, .. } => *credit >= least(*bytes),
        }
    }

    pub(super) fn refill(&mut self, now_ms: u64) {
        if let Self::Rate { per_s, credit, refilled_ms, .. } = self {
            let elapsed_ms = now_ms.saturating_sub(*refilled_ms).min(1 << 20);
            *refilled_ms = now_ms;
            let gained = i64::try_from(elapsed_ms.saturating_mul(*per_s)).unwrap_or(i64::MAX);
            *credit = credit.saturating_add(gained).min(burst(*per_s));
        }
    }

    /// A record of the backlog was taken.
    pub(super) fn spend(&mut self, record_bytes: usize) {
        if let Self::Rate { bytes, credit, .. } = self {
            let units = if *bytes { i64::try_from(record_bytes).unwrap_or(i64::MAX) } else { 1 };
            *credit = credit.saturating_sub(units.saturating_mul(1000));
        }
    }

    /// When a rate allows the next record.
    fn again_in_ms(&self) -> Option<u64> {
        let Self::Rate { per_s, bytes, credit, .. } = self else { return None };
        let short = u64::try_from(least(*bytes).saturating_sub(*credit)).ok().filter(|short| *short > 0)?;
        Some(short.div_ceil(*per_s))
    }
}

/// The credit that the next record needs.
fn least(bytes: bool) -> i64 {
    if bytes { 1 } else { 1000 }
}

fn burst(per_s: u64) -> i64 {
    i64::try_from((per_s * BURST_MS).max(1000)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{BacklogShare, Share};

    /// Takes what the share allows, at every millisecond of a second; returns how many records of `bytes`.
    fn taken_in_a_second(share: BacklogShare, bytes: usize) -> u64 {
        let mut share = Share::new(share);
        share.refill(5000);
        let mut taken = 0;
        for ms in 1..=1000 {
            share.refill(5000 + ms);
            while share.allows(0) {
                share.spend(bytes);
                taken += 1;
            }
        }
        taken
    }

    #[test]
    fn rates_are_kept() {
        let table = [
            (BacklogShare::EventsPerS(1), 50, 1..=2),
            (BacklogShare::EventsPerS(1000), 50, 1000..=1100),
            (BacklogShare::EventsPerS(100_000), 50, 100_000..=110_000),
            (BacklogShare::BytesPerS(1000), 50, 20..=23),
            (BacklogShare::BytesPerS(1_000_000), 50, 20_000..=22_100),
            (BacklogShare::BytesPerS(10), 5000, 1..=1),
        ];
        for (share, bytes, expected) in table {
            let taken = taken_in_a_second(share, bytes);
            assert!(expected.contains(&taken), "{share:?}: {taken}");
        }
    }

    #[test]
    fn a_rate_says_when_it_goes_on() {
        let table = [(BacklogShare::EventsPerS(1), 1, 1000), (BacklogShare::BytesPerS(100), 300, 2901)];
        for (share, bytes, wait_ms) in table {
            let mut share = Share::new(share);
            share.refill(5000);
            assert_eq!(share.again_in_ms(), None);
            share.spend(bytes);
            assert_eq!(share.again_in_ms(), Some(wait_ms), "{share:?}");
            share.refill(5000 + wait_ms - 1);
            assert!(!share.allows(0), "{share:?}");
            share.refill(5000 + wait_ms);
            assert!(share.allows(0) && share.again_in_ms().is_none(), "{share:?}");
        }
    }

    #[test]
    fn a_part_of_the_window() {
        let share = Share::new(BacklogShare::InFlight(3));
        assert!(share.allows(2) && !share.allows(3));
        assert_eq!(share.again_in_ms(), None, "an acknowledgement lets it go on, not the time");
    }
}
