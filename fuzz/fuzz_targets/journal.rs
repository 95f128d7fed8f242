//! Fuzzes [`onsale_sim::fuzz::journal`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| onsale_sim::fuzz::journal(bytes));
