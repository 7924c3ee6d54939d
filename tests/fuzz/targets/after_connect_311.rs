#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tidegate::fuzz::after_connect_311(input));
