#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| isptar_fuzz::rewrite_archives(data));
