#![no_main]

#[path = "../src/preamble.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target::survives(bytes));
