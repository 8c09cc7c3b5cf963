//! libFuzzer's wrapper of `quicraft_tests::fuzz::refusal`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _taken = quicraft_tests::fuzz::refusal(data);
});
