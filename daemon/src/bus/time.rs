//! Deadlines that outlive a boot. Inside one run everything is measured in milliseconds since boot, which no one sets; what
//! is stored says how long was left at which wall time.

use tidegate_buffer::Stamp;

use super::bytes::{Reader, Writer};

/// The wall clock of a board that has not learned the time of day shows less than this: 2020-01-01.
const PLAUSIBLE_MS: i64 = 1_577_836_800_000;

/// A deadline as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// What was left when it was written.
    pub(super) left_ms: u64,
    /// When that was, by the wall clock.
    pub(super) written_ms: i64,
}

impl Moment {
    /// Writes a deadline, or that there is none.
    pub(super) fn write(deadline_ms: Option<u64>, now: Stamp, out: &mut Writer) {
        let Some(deadline_ms) = deadline_ms else { return out.u8(0) };
        out.u8(1);
        out.u64(deadline_ms.saturating_sub(now.mono_ms));
        out.i64(now.wall_ms);
    }

    pub(super) fn read(bytes: &mut Reader<'_>) -> Option<Option<Moment>> {
        match bytes.u8()? {
            0 => Some(None),
            1 => Some(Some(Moment { left_ms: bytes.u64()?, written_ms: bytes.i64()? })),
            _ => None,
        }
    }
}

/// The deadline in this run's time. Time that the wall clock cannot tell counts as not having passed: what is stored is
/// then kept too long rather than lost.
pub(super) fn again(moment: Moment, now: Stamp) -> u64 {
    let known = moment.written_ms >= PLAUSIBLE_MS && now.wall_ms >= moment.written_ms;
    let passed_ms = if known { now.wall_ms.abs_diff(moment.written_ms) } else { 0 };
    now.mono_ms.saturating_add(moment.left_ms.saturating_sub(passed_ms))
}

#[cfg(test)]
mod tests {
    use super::{Moment, Reader, Stamp, Writer, again};

    const TODAY_MS: i64 = 1_800_000_000_000;

    #[test]
    fn what_is_left_shrinks_by_the_time_that_has_passed() {
        let table = [
            (TODAY_MS, TODAY_MS + 4_000, 6_000),
            (TODAY_MS, TODAY_MS + 11_000, 0),
            (TODAY_MS, TODAY_MS - 5_000, 10_000),
            (1_000, TODAY_MS, 10_000),
            (TODAY_MS, 1_000, 10_000),
        ];
        for (written_ms, now_ms, left_ms) in table {
            let now = Stamp { mono_ms: 500, wall_ms: now_ms };
            assert_eq!(
                again(Moment { left_ms: 10_000, written_ms }, now),
                500 + left_ms,
                "{written_ms}, {now_ms}"
            );
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let now = Stamp { mono_ms: 1_000, wall_ms: TODAY_MS };
        for (deadline_ms, left_ms) in [(None, None), (Some(4_000), Some(3_000)), (Some(1), Some(0))] {
            let mut out = Writer::default();
            Moment::write(deadline_ms, now, &mut out);
            let bytes = out.into_vec();
            let read = Moment::read(&mut Reader::new(&bytes)).unwrap();
            assert_eq!(read.map(|moment| moment.left_ms), left_ms);
        }
        assert_eq!(Moment::read(&mut Reader::new(b"\x02")), None);
        assert_eq!(Moment::read(&mut Reader::new(b"\x01\0\0")), None);
    }
}
