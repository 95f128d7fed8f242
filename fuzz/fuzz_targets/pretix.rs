//! Fuzzes [`onsale::fuzz::pretix`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| onsale::fuzz::pretix(bytes));
