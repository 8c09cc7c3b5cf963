//! `tests/WEAKNESSES.md` and the tests: every weakness has one with its number, and every name that
//! the table has is a test.

use std::collections::BTreeMap;

use crate::source::{Source, read, tree};

/// The weaknesses that concern a manager or a transport.
const WEAKNESSES: u32 = 23;

/// The tests of each row, by the number of the weakness.
fn rows(text: &str) -> BTreeMap<u32, Vec<String>> {
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| W")?.split(" | ");
        let number = cells.next()?.trim().parse().ok()?;
        let words = cells.next()?.split_whitespace().count();
        let tests = cells.next()?.split('`').skip(1).step_by(2);
        ((2..=8).contains(&words)).then(|| (number, tests.map(str::to_owned).collect()))
    });
    rows.collect()
}

/// Whether a file has a test of this name: the attribute stands in one of the lines before it.
fn has_test(source: &Source, test: &str) -> bool {
    let declared = format!("fn {test}(");
    let lines: Vec<_> = source.text.lines().collect();
    lines.iter().enumerate().any(|(at, line)| {
        let before = &lines[at.saturating_sub(4)..at];
        let attribute = |line: &&str| line.contains("test]") || line.contains("test(");
        line.contains(&declared) && before.iter().any(attribute)
    })
}

/// The names of functions that begin as those of weaknesses do.
fn numbered(source: &Source) -> Vec<&str> {
    let declared = source.code().filter_map(|(_, line)| {
        let (_, rest) = line.split_once("fn w")?;
        let digits = rest.as_bytes().get(..3)?;
        let numbered = digits[..2].iter().all(u8::is_ascii_digit) && digits[2] == b'_';
        let end = rest.find('(')?;
        numbered.then(|| &line[line.len() - rest.len() - 1..][..=end])
    });
    declared.collect()
}

fn wrong(rows: &BTreeMap<u32, Vec<String>>, sources: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for number in 1..=WEAKNESSES {
        let tests = rows.get(&number).map_or(&[][..], Vec::as_slice);
        let prefix = format!("w{number:02}_");
        if !tests.iter().any(|test| test.starts_with(&prefix)) {
            wrong.push(format!("W{number} has no test that begins with {prefix}"));
        }
        for test in tests {
            let there = sources.iter().filter(|source| source.is_rust());
            if !there.into_iter().any(|source| has_test(source, test)) {
                wrong.push(format!("W{number} names {test}, which is no test"));
            }
        }
    }
    wrong
}

#[test]
fn every_weakness_has_its_test() {
    let rows = rows(&read("tests/WEAKNESSES.md").text);
    let wrong = wrong(&rows, tree());
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    let named: Vec<_> = tree().iter().flat_map(numbered).collect();
    assert!(named.len() > 20, "{named:?}");
}

#[test]
fn a_table_that_lies_is_noticed() {
    let table = "| W1 | two words | `w01_here`, `w01_gone` |\n| W2 | two words | `other` |\n| W3 | x | `w03_a` |";
    let read = rows(table);
    assert_eq!(read.keys().copied().collect::<Vec<_>>(), [1, 2]);
    let here = "#[tokio::test]\nasync fn w01_here() {}\nfn w01_gone() {}\n#[test]\nfn other() {}";
    // The attribute of the one before must not count for the next: five lines apart.
    let apart = here.replace("fn w01_gone", "\n\n\n\n\nfn w01_gone");
    let source = [Source::new("tests/tests/sim/a.rs", &apart)];
    let wrong = wrong(&read, &source);
    assert!(wrong.iter().any(|it| it.contains("w01_gone")), "{wrong:?}");
    assert!(
        wrong.iter().any(|it| it.starts_with("W2 has no test")),
        "{wrong:?}"
    );
    assert!(!wrong.iter().any(|it| it.contains("w01_here")), "{wrong:?}");
    assert_eq!(numbered(&source[0]), ["w01_here", "w01_gone"]);
}
