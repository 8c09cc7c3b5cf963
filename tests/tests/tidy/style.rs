//! Habits that every file keeps (CONTRIBUTING.md, style).

use crate::rule::{allows, at, holds, notices};
use crate::source::Source;

/// Lines that a file may have, its inline tests apart. A longer one holds two things.
const FILE_LINES_MAX: usize = 500;

/// Every file opens with what it is for.
fn opens_with_its_purpose(source: &Source) -> Vec<String> {
    let first = source.text.lines().next().unwrap_or("");
    if !source.is_rust()
        || first
            .strip_prefix("//! ")
            .is_some_and(|text| text.len() > 20)
    {
        return Vec::new();
    }
    vec![at(
        source,
        1,
        "a file opens with `//!` and a sentence on what it is for",
    )]
}

#[test]
fn every_file_opens_with_its_purpose() {
    let rule = opens_with_its_purpose;
    holds(rule);
    notices(
        rule,
        "certs/src/a.rs",
        "use std::fs;\n//! Reads files from the disk.",
    );
    notices(rule, "certs/src/a.rs", "//! Placeholder.");
    notices(rule, "certs/src/a.rs", "");
    allows(rule, "certs/src/a.rs", "//! Reads files from the disk.");
    allows(rule, "Makefile", "help:");
}

fn short_enough(source: &Source) -> Vec<String> {
    if !source.is_rust() || source.is_test {
        return Vec::new();
    }
    let inline_tests = source.text.find("#[cfg(test)]\nmod tests {");
    let lines = source.text[..inline_tests.unwrap_or(source.text.len())]
        .lines()
        .count();
    if lines <= FILE_LINES_MAX {
        return Vec::new();
    }
    vec![at(
        source,
        lines,
        &format!("a file has at most {FILE_LINES_MAX} lines"),
    )]
}

#[test]
fn no_file_is_long() {
    holds(short_enough);
    let lines = |count: usize| "let a = 1;\n".repeat(count);
    let (limit, past) = (lines(FILE_LINES_MAX), lines(FILE_LINES_MAX + 1));
    allows(short_enough, "certs/src/a.rs", &limit);
    notices(short_enough, "certs/src/a.rs", &past);
    let with_tests = format!("{limit}#[cfg(test)]\nmod tests {{\n{past}}}\n");
    allows(short_enough, "certs/src/a.rs", &with_tests);
}

/// Marks of unfinished work, put together here so that this file does not hold them.
fn finished(source: &Source) -> Vec<String> {
    let marks = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["X", "XX"],
        ["unimple", "mented!"],
    ]
    .map(|parts| parts.concat());
    let found = source.lines().filter(|(_, line)| {
        let stands_alone = |mark: &String| {
            line.match_indices(mark.as_str()).any(|(place, _)| {
                let ends = [
                    line[..place].chars().next_back(),
                    line[place + mark.len()..].chars().next(),
                ];
                !ends.into_iter().flatten().any(char::is_alphanumeric)
            })
        };
        marks.iter().any(stands_alone)
    });
    found
        .map(|(line, _)| {
            at(
                source,
                line,
                "unfinished work is done or told to the maintainers, not left here",
            )
        })
        .collect()
}

#[test]
fn nothing_is_left_unfinished() {
    holds(finished);
    notices(
        finished,
        "certs/src/a.rs",
        &format!("// {}: later", ["TO", "DO"].concat()),
    );
    notices(
        finished,
        "README.md",
        &format!("({})", ["FIX", "ME"].concat()),
    );
    allows(finished, "certs/src/a.rs", "let mastodon = 1;");
}

/// A path of the machine on which something was written.
fn machine_paths(source: &Source) -> Vec<String> {
    let roots = ["work", "root", "home", "tmp", "Users"];
    let found = source.lines().filter(|(_, line)| {
        roots.iter().any(|root| {
            let path = format!("/{root}/");
            line.match_indices(&path).any(|(place, _)| {
                let before = line[..place].chars().next_back();
                // Behind a word it is the middle of another path, or of an address.
                before.is_none_or(|c| !(c.is_alphanumeric() || "._-}*".contains(c)))
            })
        })
    });
    found
        .map(|(line, _)| at(source, line, "a path of one machine"))
        .collect()
}

#[test]
fn no_path_of_a_machine_is_committed() {
    let path = |root: &str| format!("cd /{root}/quicraft");
    holds(machine_paths);
    notices(machine_paths, "README.md", &path("home"));
    notices(machine_paths, "Makefile", &path("tmp"));
    allows(
        machine_paths,
        "README.md",
        "https://example.org/work/page and target/tmp/a",
    );
}

/// A name that says nothing draws everything to it.
fn speaking_names(source: &Source) -> Vec<String> {
    let silent = ["utils", "util", "helpers", "helper", "common", "misc"];
    let parts = source.path.trim_end_matches(".rs").split('/');
    let found = parts.filter(|part| source.is_rust() && silent.contains(part));
    found
        .map(|part| at(source, 1, &format!("`{part}` does not say what is inside")))
        .collect()
}

#[test]
fn files_and_folders_have_speaking_names() {
    holds(speaking_names);
    notices(speaking_names, "certs/src/utils.rs", "");
    notices(speaking_names, "tests/tests/common/mod.rs", "");
    allows(speaking_names, "certs/src/clock.rs", "");
}
