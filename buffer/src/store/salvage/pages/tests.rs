use proptest::prelude::*;
use rusqlite::{Connection, params};

use super::{PAGE_BYTES, Page, cells, local_bytes, varint};

type Row = (i64, Vec<u8>);

/// A file with these rows, among other tables, and its pages.
fn pages_with(rows: &[Row]) -> Vec<Page> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.db");
    let mut connection = Connection::open(&path).unwrap();
    connection.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF").unwrap();
    crate::store::schema::prepare(&mut connection).unwrap();
    connection.execute("INSERT INTO journal(data) VALUES (x'00')", []).unwrap();
    connection.execute("INSERT INTO lane VALUES (0, 1, 2, 3, x'', x'', NULL)", []).unwrap();
    for (at, (id, data)) in (0_i64..).zip(rows) {
        // Integers of all sizes.
        let (mask, last) = (1_i64 << (at % 64), 1_i64 << (at * 7 % 63));
        connection
            .execute("INSERT INTO batch VALUES (?1, ?2, ?3, ?4, ?5)", params![id, mask, last, at % 3, data])
            .unwrap();
    }
    connection.close().unwrap();
    let bytes = std::fs::read(path).unwrap();
    bytes.chunks_exact(PAGE_BYTES).map(|page| page.try_into().unwrap()).collect()
}

fn rows_in(pages: &[Page], budget: u64) -> Vec<Row> {
    let read = |number: u32| pages.get(usize::try_from(number).unwrap().checked_sub(1)?).copied();
    let mut left = budget;
    let found = pages.iter().flat_map(cells);
    let mut rows: Vec<Row> = found.filter_map(|cell| Some((cell.id, cell.data(&mut left, read)?))).collect();
    rows.sort();
    rows
}

fn row(id: i64, bytes: usize) -> Row {
    (id, (0..=250).cycle().take(bytes).collect())
}

#[test]
fn the_rows_that_sqlite_wrote_are_found() {
    let sizes = [0, 1, 100, 4030, 4040, 4041, 4042, 4043, 4044, 4045, 4050, 4060, 4100, 8000, 8200, 100_000];
    let rows: Vec<Row> = sizes.into_iter().enumerate().map(|(at, bytes)| row(1 << (at * 4), bytes)).collect();
    assert_eq!(rows_in(&pages_with(&rows), u64::MAX), rows);
}

#[test]
fn a_chain_that_ends_early_or_costs_too_much_gives_no_row() {
    let rows = vec![row(1, 10), row(2, 20_000)];
    let pages = pages_with(&rows);
    let cell = |id| pages.iter().flat_map(cells).find(|cell| cell.id == id).unwrap();
    assert_eq!(cell(2).data(&mut u64::MAX.clone(), |_| None), None);
    assert_eq!(cell(1).data(&mut 0, |_| None).unwrap().len(), 10);
    assert_eq!(rows_in(&pages, 10_000), rows[..1], "the budget is for overflow");
    let in_a_circle = cell(2).data(&mut u64::MAX.clone(), |_| Some([0; PAGE_BYTES])).unwrap();
    assert_eq!(in_a_circle.len(), 20_000, "what it is worth, its checksum says");
}

/// The table of section 1.6, computed by hand for pages of 4096 bytes.
#[test]
fn what_lies_in_the_leaf() {
    let table = [(0, 0), (4061, 4061), (4062, 489), (4581, 489), (8153, 4061), (8154, 489)];
    for (payload, local) in table {
        assert_eq!(local_bytes(payload), local, "{payload}");
    }
}

/// Bytes, and the value and how many bytes are left behind it.
type Case<'a> = (&'a [u8], Option<(u64, usize)>);

#[test]
fn integers_of_all_lengths() {
    let table: [Case<'_>; 7] = [
        (&[0x00], Some((0, 0))),
        (&[0x7f, 9], Some((127, 1))),
        (&[0x81, 0x00], Some((128, 0))),
        (&[0xff; 9], Some((u64::MAX, 0))),
        (&[0xff; 8], None),
        (&[0x80], None),
        (&[], None),
    ];
    for (bytes, expected) in table {
        assert_eq!(varint(bytes).map(|(value, rest)| (value, rest.len())), expected, "{bytes:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rows_of_any_size_are_found(sizes in prop::collection::vec(0..20_000_usize, 0..40)) {
        let rows: Vec<Row> = sizes.into_iter().zip(1..).map(|(bytes, id)| row(id, bytes)).collect();
        prop_assert_eq!(rows_in(&pages_with(&rows), u64::MAX), rows);
    }

    #[test]
    fn noise_gives_no_more_than_it_holds(mut page in prop::collection::vec(any::<u8>(), PAGE_BYTES), leaf in any::<bool>()) {
        if leaf {
            page[0] = 0x0d;
        }
        let page: Page = page.try_into().unwrap();
        let mut left = 1 << 20;
        for cell in cells(&page) {
            if let Some(data) = cell.data(&mut left, |_| Some(page)) {
                prop_assert!(data.len() <= PAGE_BYTES + (1 << 20));
            }
        }
    }

    #[test]
    fn damage_to_a_leaf_costs_no_other_page(flips in prop::collection::vec((0..PAGE_BYTES, any::<u8>()), 1..20)) {
        let rows: Vec<Row> = (1..40).map(|id| row(id, 900)).collect();
        let mut pages = pages_with(&rows);
        let leaves: Vec<usize> = (0..pages.len()).filter(|at| cells(&pages[*at]).next().is_some()).collect();
        let hit = leaves[leaves.len() / 2];
        let on_it = cells(&pages[hit]).count();
        flips.into_iter().for_each(|(at, bits)| pages[hit][at] ^= bits);
        let found = rows_in(&pages, 1 << 20);
        let whole = rows.iter().filter(|row| found.contains(row)).count();
        prop_assert!(whole + on_it >= rows.len());
    }
}
