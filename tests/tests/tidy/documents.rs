//! README.md, SECURITY.md and the code: the tables of limits show the values that the code has, and the
//! README all of them; the tests that SECURITY.md names are there.

use std::collections::BTreeMap;

use crate::source::{Source, read, tree};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// The constants of a file of limits, with their values as the table writes them.
fn limits(source: &Source) -> BTreeMap<String, String> {
    let code: Vec<_> = source.code().map(|(_, line)| line).collect();
    let code = code.join(" ");
    let mut numbers = BTreeMap::from([("KIB".to_owned(), KIB), ("MIB".to_owned(), MIB)]);
    let mut shown = BTreeMap::new();
    for declaration in code.split("pub const ").skip(1) {
        let (declaration, _) = declaration.split_once(';').expect("a constant ends");
        let (name, rest) = declaration.split_once(':').expect("a constant has a type");
        let (kind, value) = rest.split_once('=').expect("a constant has a value");
        let value = value.trim();
        let text = if kind.trim() == "Duration" {
            duration(value)
        } else {
            let number = sum(value, &numbers);
            numbers.insert(name.to_owned(), number);
            if name.contains("BYTES") {
                bytes(number)
            } else {
                grouped(number)
            }
        };
        shown.insert(name.to_owned(), text);
    }
    shown
}

/// A sum of products of numbers and known names.
fn sum(text: &str, known: &BTreeMap<String, u64>) -> u64 {
    let product = |term: &str| -> u64 {
        let factors = term.split('*').map(|factor| {
            let factor = factor.trim();
            let number = factor.replace('_', "").parse().ok();
            number
                .or_else(|| known.get(factor).copied())
                .unwrap_or_else(|| panic!("{factor} is not understood"))
        });
        factors.product()
    };
    text.split('+').map(product).sum()
}

fn duration(text: &str) -> String {
    let inside = text.split(['(', ')']).nth(1).expect("a number in brackets");
    let number = sum(inside, &BTreeMap::new());
    let milliseconds = if text.contains("from_secs") {
        number * 1_000
    } else {
        number
    };
    assert!(
        text.contains("from_secs") || text.contains("from_millis"),
        "{text} is not understood"
    );
    match milliseconds {
        minutes if minutes % 60_000 == 0 => format!("{} min", minutes / 60_000),
        seconds if seconds % 1_000 == 0 => format!("{} s", seconds / 1_000),
        milliseconds => format!("{milliseconds} ms"),
    }
}

fn bytes(number: u64) -> String {
    match number {
        number if number % MIB == 0 => format!("{} MiB", number / MIB),
        number if number > MIB && number % (MIB / 2) == 0 => format!("{}.5 MiB", number / MIB),
        number if number % KIB == 0 => format!("{} KiB", number / KIB),
        number => format!("{} bytes", grouped(number)),
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The rows of README.md that begin with the name of a constant.
fn documented(text: &str) -> BTreeMap<String, String> {
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|');
        let name = cells.next()?.trim().strip_suffix('`')?;
        let constant = name
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        constant.then(|| Some((name.to_owned(), cells.next()?.trim().to_owned())))?
    });
    rows.collect()
}

#[test]
fn the_table_of_limits_is_the_codes() {
    let actual = limits(&read("transport/src/limits.rs"));
    let shown = documented(&read("README.md").text);
    let wrong: Vec<_> = actual
        .iter()
        .filter(|(name, value)| shown.get(*name) != Some(value))
        .map(|(name, value)| format!("README.md needs the row | `{name}` | {value} | ... |"))
        .collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    let gone: Vec<_> = shown
        .keys()
        .filter(|name| !actual.contains_key(*name))
        .collect();
    assert!(
        gone.is_empty(),
        "README.md has rows for limits that are gone: {gone:?}"
    );
}

/// The tests that a text names, as `file::name_of_the_test`.
fn named_tests(text: &str) -> Vec<&str> {
    let words = text.split('`').skip(1).step_by(2);
    let named = words.filter_map(|word| {
        let (file, test) = word.split_once("::")?;
        let snake = |name: &str| {
            name.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        (snake(file) && snake(test) && test.contains('_')).then_some(test)
    });
    named.collect()
}

#[test]
fn security_md_names_limits_and_tests_that_are_there() {
    let text = read("SECURITY.md").text;
    let actual = limits(&read("transport/src/limits.rs"));
    let shown = documented(&text);
    assert!(shown.len() > 20, "{shown:?}");
    let wrong: Vec<_> = shown
        .iter()
        .filter(|(name, value)| actual.get(*name) != Some(value))
        .map(|(name, value)| format!("{name} is {:?}, not {value}", actual.get(name)))
        .collect();
    assert!(wrong.is_empty(), "SECURITY.md: {wrong:?}");
    let tests = named_tests(&text);
    assert!(tests.len() > 15, "{tests:?}");
    let known = |test: &str| {
        let declared = format!("fn {test}(");
        let mut sources = tree().iter().filter(|file| file.is_rust());
        sources.any(|file| file.text.contains(&declared))
    };
    let gone: Vec<_> = tests.into_iter().filter(|test| !known(test)).collect();
    assert!(
        gone.is_empty(),
        "SECURITY.md names tests that are gone: {gone:?}"
    );
    let sample = "`a::one_test`, `B::two_tests`, three_tests, `a::four`";
    assert_eq!(named_tests(sample), ["one_test"]);
}

#[test]
fn values_are_read_and_written_as_people_do() {
    let source = Source::new(
        "transport/src/limits.rs",
        "const KIB: usize = 1024;\n/// Bytes.\npub const A_BYTES: usize = 7 * MIB + 512 * KIB;\n\
         pub const B: usize = 16_384;\npub const C: Duration = Duration::from_secs(300);\n\
         pub const D: Duration =\n    Duration::from_millis(1_500);\npub const E: usize = B + 1;\n\
         pub const F_BYTES_MAX: usize = 65_507;\npub const G_BYTES: u64 = 256 * 1024;\n",
    );
    let limits = limits(&source);
    let of = |name: &str| limits[name].as_str();
    assert_eq!(
        (of("A_BYTES"), of("B"), of("C")),
        ("7.5 MiB", "16,384", "5 min")
    );
    assert_eq!((of("D"), of("E")), ("1500 ms", "16,385"));
    assert_eq!(
        (of("F_BYTES_MAX"), of("G_BYTES")),
        ("65,507 bytes", "256 KiB")
    );
    let rows = documented("| `A_BYTES` | 7.5 MiB | text |\n| `lower` | 1 | x |\n| A | 1 |");
    assert_eq!(rows.len(), 1);
}
