//! PROTOCOL.md and the code: every clause is cited, every citation has its clause, and the tables of
//! numbers say what the code says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use quicraft_transport::RefusalCode;
use quicraft_transport::close::{CloseClass, CloseCode};

use crate::source::{Source, read, tree};

/// A numbered clause: a letter for the chapter, and a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Clause {
    chapter: char,
    number: u32,
}

impl Clause {
    fn parse(text: &str) -> Option<Self> {
        let mut chars = text.chars();
        let chapter = chars.next().filter(char::is_ascii_uppercase)?;
        let digits = chars.as_str();
        let canonical =
            digits.bytes().all(|digit| digit.is_ascii_digit()) && !digits.starts_with('0');
        let number = digits.parse().ok().filter(|_| canonical)?;
        Some(Self { chapter, number })
    }
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.chapter, self.number)
    }
}

/// The clauses of the document, in its order.
fn clauses(document: &str) -> Vec<Clause> {
    let marked = document.lines().filter_map(|line| {
        let (clause, _) = line.strip_prefix("**")?.split_once(".**")?;
        Clause::parse(clause)
    });
    marked.collect()
}

/// The clauses that a comment cites: it begins with them and a colon, as in `F1 to F3: the layout`
/// or `L7, R8: answers in order`.
fn cited(comment: &str) -> Vec<Clause> {
    let text = comment.trim().trim_start_matches(['/', '!']).trim_start();
    let Some((list, _)) = text.split_once(':') else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for part in list.split(", ") {
        let (first, last) = part.split_once(" to ").unwrap_or((part, part));
        let (Some(first), Some(last)) = (Clause::parse(first), Clause::parse(last)) else {
            return Vec::new();
        };
        let numbers = first.number..=last.number;
        found.extend(numbers.map(|number| Clause { number, ..first }));
    }
    found
}

fn citations(source: &Source) -> impl Iterator<Item = (usize, Clause)> {
    let comments = source
        .lines()
        .filter(|(_, line)| line.trim_start().starts_with("//"));
    let rust = source.is_rust();
    comments
        .filter(move |_| rust)
        .flat_map(|(line, text)| cited(text).into_iter().map(move |clause| (line, clause)))
}

#[test]
fn every_clause_is_cited() {
    let known = clauses(&read("PROTOCOL.md").text);
    let tree = tree();
    let cited: BTreeSet<_> = tree
        .iter()
        .flat_map(citations)
        .map(|(_, clause)| clause)
        .collect();
    let missing: Vec<_> = known
        .iter()
        .filter(|clause| !cited.contains(clause))
        .collect();
    let names: Vec<_> = missing.iter().map(ToString::to_string).collect();
    assert!(
        names.is_empty(),
        "no test and no source cites {}",
        names.join(", ")
    );
}

#[test]
fn every_citation_has_its_clause() {
    let known: BTreeSet<_> = clauses(&read("PROTOCOL.md").text).into_iter().collect();
    for source in tree() {
        for (line, clause) in citations(source) {
            assert!(
                known.contains(&clause),
                "{}:{line}: PROTOCOL.md has no {clause}",
                source.path
            );
        }
    }
}

#[test]
fn clauses_are_numbered_without_a_gap() {
    let mut last: BTreeMap<char, u32> = BTreeMap::new();
    let known = clauses(&read("PROTOCOL.md").text);
    assert!(known.len() > 40, "the clauses were not found");
    for clause in known {
        let before = last.insert(clause.chapter, clause.number).unwrap_or(0);
        assert_eq!(clause.number, before + 1, "{clause} is out of order");
    }
}

#[test]
fn a_citation_is_a_list_before_a_colon() {
    let names =
        |comment: &str| -> Vec<_> { cited(comment).iter().map(ToString::to_string).collect() };
    assert_eq!(names("    /// F5: the limit itself passes."), ["F5"]);
    assert_eq!(
        names("// F1 to F3, R8: the layout"),
        ["F1", "F2", "F3", "R8"]
    );
    assert!(names("/// As F5 says: no.").is_empty());
    assert!(names("/// F05: no.").is_empty());
    assert!(names("/// F5 and nothing else.").is_empty());
    let document = "**F1.** One.\nsee **F9.** no\n**Note.** no\n**F2.** Two.";
    let names: Vec<_> = clauses(document).iter().map(ToString::to_string).collect();
    assert_eq!(names, ["F1", "F2"]);
}

/// The rows of the tables of a document, cell by cell.
fn rows(document: &str) -> impl Iterator<Item = Vec<&str>> {
    let rows = document.lines().filter(|line| line.starts_with("| "));
    rows.map(|line| {
        line.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().trim_matches('`'))
            .collect()
    })
}

/// C1: the table is the code's.
#[test]
fn the_table_of_close_codes_is_the_codes() {
    let document = read("PROTOCOL.md").text;
    let documented: Vec<_> = rows(&document)
        .filter(|row| row.len() == 4 && row[0].starts_with("0x1"))
        .map(|row| (row[0].to_owned(), row[1].to_owned(), row[2].to_owned()))
        .collect();
    let class = |class| match class {
        CloseClass::Retry => "retry",
        CloseClass::RetryAfter => "retry-after",
        CloseClass::Fatal => "fatal",
        _ => "a class that the document does not know",
    };
    let actual: Vec<_> = CloseCode::ALL
        .iter()
        .map(|code| {
            (
                format!("{:#x}", code.to_wire()),
                code.label().to_owned(),
                class(code.class()).to_owned(),
            )
        })
        .collect();
    assert_eq!(documented, actual);
}

/// R1, R2: the table is the code's, what it does not hold reads as `Internal`.
#[test]
fn the_table_of_refusals_is_the_codes() {
    let document = read("PROTOCOL.md").text;
    let chapter = document
        .split("## R.")
        .nth(1)
        .and_then(|rest| rest.split("**R2.**").next());
    let documented: BTreeMap<u16, String> = rows(chapter.expect("the chapter of refusals"))
        .filter_map(|row| Some((row[0].parse().ok()?, row[1].to_owned())))
        .collect();
    assert!(documented.len() >= 12, "the table was not found");
    for number in 1..0x8000 {
        let code = RefusalCode::from_wire(number);
        let name = documented.get(&number).map_or("Internal", String::as_str);
        assert_eq!(format!("{code:?}"), name, "code {number}");
        if documented.contains_key(&number) {
            assert_eq!(code.to_wire(), number);
        }
    }
    assert_eq!(RefusalCode::from_wire(0x8007), RefusalCode::Application(7));
}
