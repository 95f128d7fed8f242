//! Fuzzes [`onsale::fuzz::batch_body`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| onsale::fuzz::batch_body(bytes));
