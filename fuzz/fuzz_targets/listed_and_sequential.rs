#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| isptar_fuzz::listed_and_sequential(data));
