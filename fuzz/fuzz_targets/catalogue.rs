//! Fuzzes [`onsale::fuzz::catalogue`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| onsale::fuzz::catalogue(bytes));
