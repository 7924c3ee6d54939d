use super::{Image, integer, varint};
use crate::corrupt::Template;

#[test]
fn varints_of_each_length() {
    let cases: [(&[u8], u64, usize); 5] = [
        (&[0x00], 0, 1),
        (&[0x7f], 127, 1),
        (&[0x81, 0x00], 128, 2),
        (&[0xff, 0x7f], 16_383, 2),
        (&[0xff; 9], u64::MAX, 9),
    ];
    for (bytes, value, length) in cases {
        let mut at = 0;
        assert_eq!((varint(bytes, &mut at), at), (Some(value), length));
    }
    assert_eq!(varint(&[0x80], &mut 0), None);
}

#[test]
fn integers_of_each_kind() {
    let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
    let cases =
        [(8, Some(0)), (9, Some(1)), (1, Some(1)), (2, Some(0x102)), (5, Some(0x0102_0304_0506)), (7, None)];
    for (kind, value) in cases {
        assert_eq!(integer(&bytes, &mut 0, kind), value, "{kind}");
    }
    assert_eq!(integer(&bytes, &mut 1, 6), None, "cut off");
}

#[test]
fn every_record_of_a_template_is_located() {
    for seed in 0..12 {
        let template = Template::new(seed).unwrap();
        let image = Image::new(template.files()).unwrap();
        let batches = image.batches();
        let records: u64 = batches.iter().map(|batch| batch.records).sum();
        assert_eq!(records, template.len() as u64, "template {seed}");
        assert!(batches.iter().all(|batch| image.is_undamaged(batch, template.files())));
    }
}

#[test]
fn a_changed_page_damages_what_lies_on_it_and_a_changed_log_what_follows() {
    let (mut in_database, mut in_log) = (0, 0);
    for seed in 0..6 {
        let template = Template::new(seed).unwrap();
        let image = Image::new(template.files()).unwrap();
        // A log that was cut at an idle moment has nothing to damage.
        let files = template.files().iter();
        for (file, bytes) in files.filter(|(file, bytes)| *file != "-shm" && !bytes.is_empty()) {
            let mut files = template.files().clone();
            files.get_mut(file).unwrap()[bytes.len() / 2] ^= 1;
            let batches = image.batches();
            let damaged = batches.iter().filter(|batch| !image.is_undamaged(batch, &files)).count();
            *(if file.is_empty() { &mut in_database } else { &mut in_log }) += damaged;
            assert!(damaged < batches.len() || file == "-wal", "template {seed}");
        }
        let none = image.batches().iter().filter(|batch| image.is_undamaged(batch, &[].into())).count();
        assert_eq!(none, 0, "nothing is undamaged where there are no files");
    }
    assert!(in_database > 0 && in_log > 0);
}
