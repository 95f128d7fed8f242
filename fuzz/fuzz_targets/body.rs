//! Fuzzes [`onsale::fuzz::body`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| onsale::fuzz::body(bytes));
