//! Some hundred damaged buffers; the command runs as many as asked for.

use tidegate_crash::campaign::{self, Kind};

#[test]
fn damaged_buffers_start_and_give_what_is_whole() {
    campaign::run(Kind::Corrupt, 0..600, 2, |_| ()).unwrap().assert_faultless();
}

/// Found by these seeds: leaves that changed places, so that reading went past rows and took them for settled.
#[test]
fn a_tree_out_of_order_is_noticed_before_anything_is_taken_for_settled() {
    for seed in [300_641, 301_572, 301_745] {
        let tally = campaign::run(Kind::Corrupt, seed..seed + 1, 1, |_| ()).unwrap();
        assert!(tally.is_faultless() && tally.incomplete.is_empty(), "{tally}");
    }
}

/// Found by this seed: a file that ends in the middle of a value was taken for a disk that fails, and read again and again.
#[test]
fn a_file_cut_in_a_value_is_salvaged() {
    campaign::run(Kind::Corrupt, 22..23, 1, |_| ()).unwrap().assert_faultless();
}
