#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| twinlock_fuzz::backup(input));
