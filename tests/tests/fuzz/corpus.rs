//! The committed corpus: small messages, good and bad ones, from which a fuzzer starts.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use quicraft_tests::fuzz::TARGETS;

use crate::samples::samples;

/// Bytes of all files together: a start for the fuzzer, not what it has found in a day.
const CORPUS_BYTES_MAX: usize = 100 << 10;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The files of a target's corpus with their names.
pub(crate) fn files(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = folder().join("corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut files: Vec<_> = entries
        .map(|entry| {
            let entry = entry.expect("an entry of the corpus");
            let name = entry.file_name().into_string().expect("a name in UTF-8");
            (name, fs::read(entry.path()).expect("a file of the corpus"))
        })
        .collect();
    files.sort();
    files
}

#[test]
fn the_corpus_is_taken_and_refused_as_it_says() {
    let mut bytes = 0;
    for (target, run) in TARGETS {
        let files = files(target);
        assert!(files.len() >= 3, "{target} has a corpus");
        for (name, data) in files {
            bytes += data.len();
            let good = name.starts_with("valid-");
            assert!(good || name.starts_with("invalid-"), "{target}/{name}");
            assert_eq!(run(&data), good, "{target}/{name}");
        }
    }
    assert!(bytes <= CORPUS_BYTES_MAX, "the corpus has {bytes} bytes");
}

/// The samples are written by hand or by today's code; when the wire changes, so does the corpus.
#[test]
fn the_corpus_holds_the_samples() {
    for (target, samples) in samples() {
        let files: BTreeSet<_> = files(target).into_iter().collect();
        for sample in samples {
            assert!(
                files.contains(&sample),
                "{target}/{}: run the writer",
                sample.0
            );
        }
    }
}

#[test]
fn every_target_has_its_wrapper() {
    let entries = fs::read_dir(folder().join("fuzz_targets")).expect("the wrappers");
    let wrappers: BTreeSet<_> = entries
        .map(|entry| {
            entry
                .expect("a wrapper")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect();
    let expected: BTreeSet<_> = TARGETS
        .iter()
        .map(|(name, _)| format!("{name}.rs"))
        .collect();
    assert_eq!(wrappers, expected);
    for (name, _) in TARGETS {
        let path = folder().join("fuzz_targets").join(format!("{name}.rs"));
        let text = fs::read_to_string(path).expect("a wrapper");
        assert!(
            text.contains(&format!("quicraft_tests::fuzz::{name}(data)")),
            "{name}"
        );
    }
}

#[test]
#[ignore = "writes the committed corpus anew"]
fn write_the_corpus() {
    for (target, samples) in samples() {
        let folder = folder().join("corpus").join(target);
        fs::create_dir_all(&folder).expect("a folder of the corpus");
        for (name, data) in samples {
            fs::write(folder.join(name), data).expect("a file of the corpus");
        }
    }
}
