//! libFuzzer's wrapper of `quicraft_tests::fuzz::frame_reader`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _taken = quicraft_tests::fuzz::frame_reader(data);
});
