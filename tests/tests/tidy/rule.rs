//! How a rule is applied: to the tree, where nothing may break it, and to samples, where it has to
//! find something.

use crate::source::{Source, tree};

/// What is wrong with a file; nothing if all is well.
pub(crate) type Rule = fn(&Source) -> Vec<String>;

/// A finding at a line.
pub(crate) fn at(source: &Source, line: usize, what: &str) -> String {
    format!("{}:{line}: {what}", source.path)
}

/// Fails if any file of the tree breaks the rule.
#[track_caller]
pub(crate) fn holds(rule: Rule) {
    let findings: Vec<_> = tree().iter().flat_map(rule).collect();
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

/// Fails if the rule finds nothing in a sample that breaks it.
#[track_caller]
pub(crate) fn notices(rule: Rule, path: &str, text: &str) {
    let findings = rule(&Source::new(path, text));
    assert!(
        !findings.is_empty(),
        "nothing was noticed in {path}:\n{text}"
    );
}

/// Fails if the rule finds something in a sample that keeps it.
#[track_caller]
pub(crate) fn allows(rule: Rule, path: &str, text: &str) {
    let findings = rule(&Source::new(path, text));
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}
