//! Some hundred damaged buffers; the command runs as many as asked for.

use tidegate_crash::campaign::{self, Kind};

#[test]
#[ignore = "finds what the salvage does not do yet: run `cargo run -p tidegate-crash -- corrupt 600`"]
fn damaged_buffers_start_and_give_what_is_whole() {
    campaign::run(Kind::Corrupt, 0..600, 2, |_| ()).unwrap().assert_faultless();
}
