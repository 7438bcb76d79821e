#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| isptar_fuzz::verify_archive(data));
