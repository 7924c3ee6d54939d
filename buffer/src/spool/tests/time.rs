//! Stamps that were taken before the clock was right.

use std::path::Path;

use super::{Bed, PATIENCE, open_in_boot};
use crate::{Append, Options, Priority, Record, Stamp};

/// The wall time of the first boot, and what its clock believed.
const BOOT_1_MS: i64 = 1_800_000_000_000;
const NEVER_SET_MS: i64 = 0;

fn boot(dir: &Path, n: u8) -> Bed {
    open_in_boot(Options::new(dir), &["cloud"], [n; 16])
}

/// Appends a record with this stamp and makes it durable.
fn append(bed: &mut Bed, received: Stamp, expires_after_ms: Option<u64>) {
    let mut record = bed.record(Priority::Normal, b"payload");
    record.received = received;
    record.expires_after_ms = expires_after_ms;
    let mut append = Append::new();
    append.begin(record.seq);
    append.record(record);
    bed.spool.append(&mut append).unwrap();
    assert!(bed.spool.flush(PATIENCE));
}

fn up(mono_ms: u64, wall_at_boot_ms: i64) -> Stamp {
    Stamp { mono_ms, wall_ms: wall_at_boot_ms + mono_ms.cast_signed() }
}

fn drain(bed: &Bed, count: usize) -> Vec<Record> {
    bed.spool.set_online(bed.consumer(), true);
    bed.drain(count)
}

fn stamps(records: &[Record]) -> Vec<(i64, bool)> {
    records.iter().map(|record| (record.received.wall_ms, record.stamp_trusted)).collect()
}

#[test]
fn stamps_are_corrected_in_memory_and_on_disk_once_the_clock_is_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = boot(dir.path(), 1);
    append(&mut bed, up(1000, NEVER_SET_MS), None);
    bed.spool.trust_clock(up(5000, BOOT_1_MS));
    append(&mut bed, up(6000, BOOT_1_MS), None);
    let all = [(BOOT_1_MS + 1000, true), (BOOT_1_MS + 6000, true)];
    assert_eq!(stamps(&drain(&bed, 2)), all, "of this run");
    bed.spool.set_online(bed.consumer(), true);
    append(&mut bed, up(4000, NEVER_SET_MS), None);
    assert_eq!(stamps(&bed.drain(1)), [(BOOT_1_MS + 4000, true)], "from memory");
}

#[test]
fn the_trust_outlives_the_run_and_the_boot() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = boot(dir.path(), 1);
    append(&mut bed, up(1000, NEVER_SET_MS), None);
    bed.spool.trust_clock(up(5000, BOOT_1_MS));
    bed.spool.close(PATIENCE).unwrap();

    let mut bed = boot(dir.path(), 1);
    append(&mut bed, up(2000, NEVER_SET_MS), None);
    bed.spool.close(PATIENCE).unwrap();

    let mut bed = boot(dir.path(), 2);
    append(&mut bed, up(500, NEVER_SET_MS), None);
    let expected = [(BOOT_1_MS + 1000, true), (BOOT_1_MS + 2000, true), (500, false)];
    assert_eq!(stamps(&drain(&bed, 3)), expected, "of the boot before, and of one not trusted yet");
}

#[test]
fn a_clock_that_is_set_again_corrects_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = boot(dir.path(), 1);
    append(&mut bed, up(1000, NEVER_SET_MS), None);
    bed.spool.trust_clock(up(5000, BOOT_1_MS - 3000));
    append(&mut bed, up(6000, BOOT_1_MS - 3000), None);
    bed.spool.trust_clock(up(7000, BOOT_1_MS));
    bed.spool.trust_clock(up(8000, BOOT_1_MS + 200));
    bed.spool.close(PATIENCE).unwrap();
    let bed = boot(dir.path(), 2);
    let expected = [(BOOT_1_MS + 1000, true), (BOOT_1_MS + 3000, true)];
    assert_eq!(stamps(&drain(&bed, 2)), expected, "drift is not worth a change");
}

/// Rows are read by the age that is known: across a reboot from corrected stamps.
#[test]
fn records_expire_by_the_time_that_passed_over_a_reboot() {
    let now = Stamp::now();
    let hours = |n: i64| n * 3_600_000;
    let dir = tempfile::tempdir().unwrap();
    let mut bed = boot(dir.path(), 1);
    // The machine was on 10 hours ago, with a clock that had never been set; after an hour it was.
    // The boot that reads has lasted as long as this machine's, which is all that is known of it.
    let wall_at_boot_ms = now.wall_ms - hours(10) - now.mono_ms.cast_signed();
    for ttl_ms in [hours(9), hours(11)] {
        append(&mut bed, up(1000, NEVER_SET_MS), Some(ttl_ms.cast_unsigned() + now.mono_ms));
    }
    bed.spool.trust_clock(up(hours(1).cast_unsigned(), wall_at_boot_ms));
    bed.spool.close(PATIENCE).unwrap();
    let bed = boot(dir.path(), 2);
    let left = drain(&bed, 1);
    assert_eq!(bed.spool.usage().lanes[1].expired, 1);
    let left_ms = left[0].expires_in_ms(now).unwrap();
    assert!(left_ms.abs_diff(hours(1).cast_unsigned() + 1000) < 60_000, "{left_ms}");
}

#[test]
fn a_system_that_does_not_name_its_boots_corrects_only_what_it_took_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = boot(dir.path(), 0);
    bed.spool.set_online(bed.consumer(), true);
    append(&mut bed, up(1000, NEVER_SET_MS), None);
    bed.spool.trust_clock(up(5000, BOOT_1_MS));
    assert_eq!(stamps(&bed.drain(1)), [(BOOT_1_MS + 1000, true)]);
    append(&mut bed, up(2000, NEVER_SET_MS), None);
    bed.spool.close(PATIENCE).unwrap();
    assert_eq!(stamps(&drain(&boot(dir.path(), 0), 1)), [(2000, false)]);
}
