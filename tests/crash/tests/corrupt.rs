//! Some hundred damaged buffers; the command runs as many as asked for.

use tidegate_crash::campaign::{self, Kind};

#[test]
#[ignore = "finds what the salvage does not do yet: run `cargo run -p tidegate-crash -- corrupt 600`"]
fn damaged_buffers_start_and_give_what_is_whole() {
    campaign::run(Kind::Corrupt, 0..600, 2, |_| ()).unwrap().assert_faultless();
}

/// Found by this seed: a file that ends in the middle of a value was taken for a disk that fails, and read again and again.
#[test]
fn a_file_cut_in_a_value_is_salvaged() {
    campaign::run(Kind::Corrupt, 22..23, 1, |_| ()).unwrap().assert_faultless();
}
