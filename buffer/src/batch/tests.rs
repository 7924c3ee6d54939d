use bytes::Bytes;
use proptest::prelude::{any, prop, proptest};

use super::{
    BatchError, Stored, compress, decode, decode_journal, decode_placed, encode, encode_journal,
    encode_version_1,
};
use crate::boot::Boots;
use crate::record::{Priority, Record, Stamp};

const BOOT: [u8; 16] = [7; 16];

fn stored(seq: u64, consumers: u64, payload: &[u8]) -> Stored {
    let record = Record {
        seq,
        priority: Priority::High,
        received: Stamp { mono_ms: seq * 3, wall_ms: 1_700_000_000_000 + seq.cast_signed() },
        topic: Bytes::from_static(b"plant/line/7"),
        meta: Bytes::from_static(&[1, 2, 3]),
        payload: Bytes::copy_from_slice(payload),
        expires_after_ms: seq.is_multiple_of(2).then_some(seq),
        same_boot: true,
        stamp_trusted: false,
    };
    Stored { record, consumers }
}

fn batch() -> Vec<Stored> {
    (0..20).map(|n| stored(100 + n * n, 1 + n % 3, format!("payload {n}").as_bytes())).collect()
}

#[test]
fn a_batch_comes_back_as_it_was() {
    let data = encode(&batch(), BOOT).unwrap();
    assert_eq!(decode(&data, Priority::High, BOOT).unwrap(), batch());
    assert_eq!(decode(&encode(&[], BOOT).unwrap(), Priority::High, BOOT).unwrap(), []);
}

#[test]
fn a_batch_says_its_priority_and_one_of_version_1_is_believed() {
    let new = encode(&batch(), BOOT).unwrap();
    assert_eq!(decode(&new, Priority::Low, BOOT), Err(BatchError::Misplaced(Priority::High)));
    let old = encode_version_1(&batch(), BOOT).unwrap();
    assert_eq!(decode(&old, Priority::High, BOOT).unwrap(), batch());
    for (data, priority) in [(&new, Priority::High), (&old, Priority::Low)] {
        let (found, records) = decode_placed(data, Priority::Low, &Boots::default()).unwrap();
        assert_eq!((found, records.len()), (priority, 20));
        assert!(records.iter().all(|stored| stored.record.priority == priority));
    }
    let unknown = compress(&[2, 3]).unwrap();
    assert_eq!(decode(&unknown, Priority::High, BOOT), Err(BatchError::Field("priority")));
}

#[test]
fn another_boot_is_told_apart() {
    let data = encode(&batch(), BOOT).unwrap();
    assert!(decode(&data, Priority::High, [8; 16]).unwrap().iter().all(|s| !s.record.same_boot));
    let unknown = encode(&batch(), [0; 16]).unwrap();
    assert!(decode(&unknown, Priority::High, [0; 16]).unwrap().iter().all(|s| !s.record.same_boot));
}

#[test]
fn similar_records_take_few_bytes() {
    let records: Vec<_> = (0..1000).map(|n| stored(n, 1, b"{\"t\":20.5,\"unit\":\"C\"}")).collect();
    let data = encode(&records, BOOT).unwrap();
    assert!(data.len() < 4000, "{} bytes for 1000 records", data.len());
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let data = encode(&batch(), BOOT).unwrap();
    for at in 0..data.len() {
        assert!(decode(&data[..at], Priority::High, BOOT).is_err(), "cut at {at}");
        for bit in 0..8 {
            let mut bad = data.clone();
            bad[at] ^= 1 << bit;
            // A bit of the frame header may mean nothing (the reserved ones); then the content is the same.
            if let Ok(records) = decode(&bad, Priority::High, BOOT) {
                assert_eq!(records, batch(), "bit {bit} of byte {at}");
            }
        }
    }
    let mut long = data.clone();
    long.push(0);
    assert!(decode(&long, Priority::High, BOOT).is_err());
}

#[test]
fn a_later_version_is_named() {
    let data = compress(&[9]).unwrap();
    assert_eq!(decode(&data, Priority::High, BOOT), Err(BatchError::Version(9)));
}

#[test]
fn a_header_that_claims_billions_costs_nothing() {
    let mut raw = vec![2, 0];
    raw.extend_from_slice(&BOOT);
    crate::varint::put(&mut raw, u64::MAX / 2);
    raw.extend_from_slice(&[0; 40]);
    let data = compress(&raw).unwrap();
    assert_eq!(decode(&data, Priority::High, BOOT), Err(BatchError::Field("record count")));
}

#[test]
fn journals_come_back_in_order() {
    let items = vec![b"one".to_vec(), Vec::new(), vec![0; 300]];
    let data = encode_journal(&items).unwrap();
    assert_eq!(decode_journal(&data).unwrap(), items);
    assert!(decode_journal(&data[1..]).is_err());
    assert_eq!(decode_journal(&compress(&[200]).unwrap()), Err(BatchError::Field("journal")));
}

proptest! {
    #[test]
    fn any_bytes_inside_a_frame_are_decoded_or_refused(raw in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut body = vec![2, 2];
        body.extend_from_slice(&BOOT);
        body.extend_from_slice(&raw);
        let _ = decode(&compress(&body).unwrap(), Priority::Low, BOOT);
        let _ = decode(&raw, Priority::Low, BOOT);
    }

    #[test]
    fn any_records_come_back(parts in prop::collection::vec((any::<u32>(), any::<u64>(), any::<(u64, i64)>(), any::<Vec<u8>>()), 0..30)) {
        let mut seq = 0_u64;
        let records: Vec<_> = parts.into_iter().map(|(delta, mask, (mono_ms, wall_ms), payload)| {
            seq += u64::from(delta);
            let mut stored = stored(1, mask, &payload);
            stored.record.seq = seq;
            stored.record.received = Stamp { mono_ms, wall_ms };
            stored
        }).collect();
        let data = encode(&records, BOOT).unwrap();
        assert_eq!(decode(&data, Priority::High, BOOT).unwrap(), records);
    }
}

#[test]
fn large_batches_are_decoded_in_steps() {
    let large = vec![stored(1, 1, &vec![b'x'; super::AT_ONCE_BYTES_MAX]), stored(2, 1, b"small")];
    let data = encode(&large, BOOT).unwrap();
    assert_eq!(decode(&data, Priority::High, BOOT).unwrap(), large);
    assert!(decode(&data[..data.len() - 1], Priority::High, BOOT).is_err());
    let mut long = data.clone();
    long.push(0);
    assert!(decode(&long, Priority::High, BOOT).is_err());
}
