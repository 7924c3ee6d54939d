//! A set of record numbers, kept as a cursor (all numbers up to it) and the spans above it.
//!
//! Numbers are settled in long runs, with few interruptions, so the set is small however much it holds: in order, it is
//! one number.

use crate::varint::{self, Cursor};

/// The numbers from `from` to `to`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Span {
    pub(crate) fn new(from: u64, to: u64) -> Self {
        Self { from, to }
    }
}

/// See the module. The spans above the cursor rise, and at least one number is missing before each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    cursor: u64,
    above: Vec<Span>,
}

impl Settled {
    /// All numbers up to `cursor`.
    pub(crate) fn up_to(cursor: u64) -> Self {
        Self { cursor, above: Vec::new() }
    }

    /// All numbers up to here are in the set, the next one is not.
    pub(crate) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// How many spans lie above the cursor.
    pub(crate) fn spans_above(&self) -> usize {
        self.above.len()
    }

    /// Adds a span; an empty one changes nothing.
    pub(crate) fn insert(&mut self, span: Span) {
        if span.from > span.to || span.to <= self.cursor {
            return;
        }
        let low = span.from.saturating_sub(1);
        // The ordinary case: the next number, or the next after the last span.
        if self.above.is_empty() && low <= self.cursor {
            self.cursor = span.to;
        } else if let Some(last) = self.above.last_mut().filter(|last| last.to == low) {
            last.to = span.to;
        } else {
            self.merge(span, low);
        }
    }

    /// Adds a span by joining all that it touches.
    fn merge(&mut self, span: Span, low: u64) {
        let first = self.above.partition_point(|other| other.to < low);
        let end = self.above.partition_point(|other| other.from <= span.to.saturating_add(1));
        let touched = self.above.get(first..end).unwrap_or_default();
        let from = touched.first().map_or(span.from, |first| first.from.min(span.from));
        let to = touched.last().map_or(span.to, |last| last.to.max(span.to));
        let joined = if from.saturating_sub(1) <= self.cursor {
            self.cursor = to;
            None
        } else {
            Some(Span { from, to })
        };
        self.above.splice(first..end, joined);
    }

    pub(crate) fn contains(&self, seq: u64) -> bool {
        seq <= self.cursor || self.span_at(seq).is_some()
    }

    /// Whether all numbers of the span are in the set.
    pub(crate) fn covers(&self, span: Span) -> bool {
        span.to <= self.cursor
            || self.span_at(span.from.max(self.cursor + 1)).is_some_and(|s| s.to >= span.to)
    }

    /// The span above the cursor that has this number.
    fn span_at(&self, seq: u64) -> Option<Span> {
        let at = self.above.partition_point(|span| span.to < seq);
        self.above.get(at).copied().filter(|span| span.from <= seq)
    }

    /// The first number from `seq` on that is missing.
    pub(crate) fn next_missing(&self, seq: u64) -> u64 {
        let seq = seq.max(self.cursor + 1);
        self.span_at(seq).map_or(seq, |span| span.to + 1)
    }

    /// The last number up to `seq` that is missing, if there is one.
    pub(crate) fn last_missing(&self, seq: u64) -> Option<u64> {
        let seq = self.span_at(seq).map_or(seq, |span| span.from - 1);
        (seq > self.cursor).then_some(seq)
    }

    /// What this set has and `old`, a part of it, has not.
    pub(crate) fn since(&self, old: &Self) -> Vec<Span> {
        let mut added = Vec::new();
        let prefix = Span { from: 0, to: self.cursor };
        for span in std::iter::once(prefix).chain(self.above.iter().copied()) {
            let mut from = old.next_missing(span.from);
            while from <= span.to {
                let at = old.above.partition_point(|other| other.to < from);
                let to = old.above.get(at).map_or(u64::MAX, |other| other.from - 1).min(span.to);
                added.push(Span { from, to });
                from = old.next_missing(to + 1);
            }
        }
        added
    }

    /// The spans above the cursor, as pairs of distances.
    pub(crate) fn encode_above(&self) -> Vec<u8> {
        let (mut out, mut previous) = (Vec::new(), self.cursor);
        for span in &self.above {
            varint::put(&mut out, span.from - previous);
            varint::put(&mut out, span.to - span.from);
            previous = span.to;
        }
        out
    }

    /// The set of a cursor and what `encode_above` made; what is damaged counts as missing, from there on.
    pub(crate) fn decode(cursor: u64, above: &[u8]) -> Self {
        let mut settled = Self::up_to(cursor);
        let (mut bytes, mut previous) = (Cursor::new(above), cursor);
        while let (Some(distance), Some(length)) = (bytes.take(), bytes.take()) {
            let from = previous.checked_add(distance);
            let span = from.and_then(|from| Some(Span { from, to: from.checked_add(length)? }));
            let Some(span) = span.filter(|span| span.to >> 61 == 0) else { break };
            settled.insert(span);
            previous = span.to;
        }
        settled
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::{any, prop, proptest};

    use super::{Settled, Span};

    fn set(cursor: u64, spans: &[(u64, u64)]) -> Settled {
        let mut set = Settled::up_to(cursor);
        spans.iter().for_each(|(from, to)| set.insert(Span::new(*from, *to)));
        set
    }

    #[test]
    fn spans_join_what_they_touch() {
        type Spans = &'static [(u64, u64)];
        let table: [(Spans, u64, Spans); 9] = [
            (&[(6, 8)], 8, &[]),
            (&[(2, 4)], 5, &[]),
            (&[(7, 8)], 5, &[(7, 8)]),
            (&[(7, 8), (6, 6)], 8, &[]),
            (&[(7, 8), (9, 12)], 5, &[(7, 12)]),
            (&[(7, 8), (10, 12), (9, 9)], 5, &[(7, 12)]),
            (&[(20, 25), (10, 12), (14, 14)], 5, &[(10, 12), (14, 14), (20, 25)]),
            (&[(20, 25), (10, 12), (14, 14), (11, 30)], 5, &[(10, 30)]),
            (&[(20, 25), (10, 12), (3, 21)], 25, &[]),
        ];
        for (spans, cursor, above) in table {
            let set = set(5, spans);
            let found: Vec<_> = set.above.iter().map(|span| (span.from, span.to)).collect();
            assert_eq!((set.cursor(), &found[..]), (cursor, above), "{spans:?}");
        }
    }

    #[test]
    fn damaged_bytes_count_as_missing() {
        let whole = set(5, &[(7, 8), (100, 3000)]);
        let bytes = whole.encode_above();
        assert_eq!(Settled::decode(5, &bytes), whole);
        assert_eq!(Settled::decode(5, &bytes[..bytes.len() - 1]), set(5, &[(7, 8)]));
        assert_eq!(Settled::decode(5, &[0xff; 30]), set(5, &[]));
        assert_eq!(Settled::decode(5, &[]), set(5, &[]));
    }

    proptest! {
        #[test]
        fn like_a_set_of_numbers(
            spans in prop::collection::vec((0..120_u64, 0..12_u64), 0..40), cut in any::<prop::sample::Index>()
        ) {
            let (mut set, mut old) = (Settled::default(), Settled::default());
            let mut reference = BTreeSet::from([0_u64]);
            let mut reference_old = reference.clone();
            let cut = cut.index(spans.len() + 1);
            for (at, (from, length)) in spans.into_iter().enumerate() {
                set.insert(Span::new(from, from + length));
                reference.extend(from..=from + length);
                if at < cut {
                    (old, reference_old) = (set.clone(), reference.clone());
                }
            }
            for seq in 0..140 {
                assert_eq!(set.contains(seq), reference.contains(&seq), "{seq} {set:?}");
                let next = (seq..).find(|n| !reference.contains(n));
                assert_eq!(Some(set.next_missing(seq)), next);
                assert_eq!(set.last_missing(seq), (0..=seq).rev().find(|n| !reference.contains(n)));
                let covers = (seq..=seq + 9).all(|n| reference.contains(&n));
                assert_eq!(set.covers(Span::new(seq, seq + 9)), covers, "{seq} {set:?}");
            }
            let added: Vec<u64> = set.since(&old).iter().flat_map(|span| span.from..=span.to).collect();
            assert!(added.iter().eq(reference.difference(&reference_old)), "{set:?} {old:?}");
            assert_eq!(Settled::decode(set.cursor(), &set.encode_above()), set);
            let gaps = set.above.windows(2).all(|pair| pair[0].to + 1 < pair[1].from);
            assert!(gaps && set.above.first().is_none_or(|first| first.from > set.cursor() + 1));
        }
    }
}
