//! A short smoke of every target: files of the corpus with a few bytes changed, and any bytes.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use quicraft_tests::fuzz::TARGETS;

use crate::corpus::files;

/// Inputs of each kind for each target: some seconds for all of them, unoptimised.
const CASES: u32 = 200;

/// What a fuzzer does to a file of the corpus.
#[derive(Clone, Debug)]
enum Change {
    Set(usize, u8),
    Flip(usize, u8),
    Insert(usize, u8),
    Remove(usize),
    Cut(usize),
    Join(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let place = 0..4_096_usize;
    prop_oneof![
        (place.clone(), any::<u8>()).prop_map(|(at, to)| Change::Set(at, to)),
        (place.clone(), 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        (place.clone(), any::<u8>()).prop_map(|(at, to)| Change::Insert(at, to)),
        place.clone().prop_map(Change::Remove),
        place.clone().prop_map(Change::Cut),
        place.prop_map(Change::Join),
    ]
}

fn config() -> Config {
    Config {
        // What is found becomes a file of the corpus; nothing is written beside the sources.
        failure_persistence: None,
        ..Config::with_cases(CASES)
    }
}

fn changed(mut data: Vec<u8>, changes: &[Change], others: &[(String, Vec<u8>)]) -> Vec<u8> {
    for change in changes {
        let length = data.len().max(1);
        match *change {
            Change::Insert(at, to) => data.insert(at % (data.len() + 1), to),
            Change::Join(at) => data.extend_from_slice(&others[at % others.len()].1),
            Change::Cut(at) => data.truncate(at % length),
            _ if data.is_empty() => {}
            Change::Set(at, to) => data[at % length] = to,
            Change::Flip(at, bit) => data[at % length] ^= 1 << bit,
            Change::Remove(at) => drop(data.remove(at % length)),
        }
    }
    data
}

#[test]
fn changed_files_of_the_corpus_break_no_promise() {
    for (target, run) in TARGETS {
        let files = files(target);
        let inputs = (0..files.len(), proptest::collection::vec(change(), 1..6));
        let mut runner = TestRunner::new(config());
        let result = runner.run(&inputs, |(file, changes)| {
            let data = changed(files[file].1.clone(), &changes, &files);
            let _taken = run(&data);
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("{target}: {error}"));
    }
}

#[test]
fn any_bytes_break_no_promise() {
    for (target, run) in TARGETS {
        let inputs = proptest::collection::vec(any::<u8>(), 0..400);
        let mut runner = TestRunner::new(config());
        let result = runner.run(&inputs, |data| {
            let _taken = run(&data);
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("{target}: {error}"));
    }
}
