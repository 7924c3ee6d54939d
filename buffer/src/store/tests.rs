use super::{first_seq, row_id};
use crate::record::Priority;

#[test]
fn rows_are_ordered_by_priority_and_then_by_number() {
    let ids: Vec<i64> = Priority::ALL
        .into_iter()
        .flat_map(|priority| [0, 1, 1 << 40, (1 << 61) - 1].map(|seq| row_id(priority, seq)))
        .collect();
    assert!(ids.is_sorted_by(|a, b| a < b) && ids[0] >= 0, "{ids:?}");
    assert_eq!(first_seq(row_id(Priority::Low, 77)), 77);
}
