//! Fuzzes [`onsale_sim::fuzz::codec`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| onsale_sim::fuzz::codec(bytes));
