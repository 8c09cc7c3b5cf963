//! The patches of `tests/sabotage` keep up with the code: what each takes out is still there, and so
//! is the test that has to notice. Whether it does notice, only `make sabotage` shows.

use crate::rule::{allows, holds, notices};
use crate::source::{Source, tree};

fn keeps_up(source: &Source) -> Vec<String> {
    if !source.path.starts_with("tests/sabotage/") || !source.path.ends_with(".patch") {
        return Vec::new();
    }
    let path = &source.path;
    let Some((header, patch)) = source.text.split_once("\ndiff --git ") else {
        return vec![format!("{path}: there is no patch behind the header")];
    };
    let field = |name: &str| header.lines().find_map(|line| line.strip_prefix(name));
    let mut wrong = Vec::new();
    if field("Removes: ").is_none_or(|text| text.len() < 20) {
        wrong.push(format!("{path}: it does not say which promise it removes"));
    }
    let test = field("Caught by: cargo test --locked ")
        .and_then(|command| command.rsplit_once(" -- --exact "))
        .and_then(|(_, test)| test.rsplit("::").next());
    match test {
        None => wrong.push(format!("{path}: it does not name one test")),
        Some(test) => {
            let declared = format!("fn {test}(");
            let known = tree()
                .iter()
                .any(|file| file.is_rust() && file.text.contains(&declared));
            if !known {
                wrong.push(format!("{path}: there is no test {test}"));
            }
        }
    }
    let target = patch.lines().find_map(|line| line.strip_prefix("--- a/"));
    let file = tree()
        .iter()
        .find(|file| Some(file.path.as_str()) == target);
    for line in patch.lines().filter(|line| !line.starts_with("---")) {
        let Some(removed) = line.strip_prefix('-') else {
            continue;
        };
        if !file.is_some_and(|file| file.text.lines().any(|line| line == removed)) {
            wrong.push(format!(
                "{path}: what it removes is not there any more: {removed}"
            ));
        }
    }
    wrong
}

#[test]
fn sabotages_keep_up_with_the_code() {
    let count = tree()
        .iter()
        .filter(|source| source.path.ends_with(".patch"))
        .count();
    assert!(count >= 7, "{count} sabotages were found");
    holds(keeps_up);
    let patch = |test: &str, line: &str| {
        format!(
            "Removes: nothing, because it is a sample\n\
             Caught by: cargo test --locked -p quicraft-tests --test tidy -- --exact a::{test}\n\n\
             diff --git a/Makefile b/Makefile\n--- a/Makefile\n+++ b/Makefile\n-{line}\n"
        )
    };
    let (path, test) = ("tests/sabotage/a.patch", "sabotages_keep_up_with_the_code");
    let line = ".DEFAULT_GOAL := help";
    allows(keeps_up, path, &patch(test, line));
    notices(keeps_up, path, &patch("a_test_that_is_gone", line));
    notices(keeps_up, path, &patch(test, "a line that is gone"));
    notices(
        keeps_up,
        path,
        &patch(test, line).replace("Removes", "Breaks"),
    );
    notices(keeps_up, path, "Removes: nothing");
}
