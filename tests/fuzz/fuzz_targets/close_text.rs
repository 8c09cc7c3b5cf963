//! libFuzzer's wrapper of `quicraft_tests::fuzz::close_text`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _taken = quicraft_tests::fuzz::close_text(data);
});
