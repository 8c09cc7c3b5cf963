//! libFuzzer's wrapper of `quicraft_tests::fuzz::admission`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _taken = quicraft_tests::fuzz::admission(data);
});
