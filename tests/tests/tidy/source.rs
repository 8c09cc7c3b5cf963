//! Reading the tree: files as they are, and Rust as code without comments, strings and tests.
//!
//! This room must not know any rule.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The folders that hold what is committed, beside the files at the top.
const FOLDERS: [&str; 6] = ["certs", "transport", "manager", "tests", "examples", ".ci"];

/// A text file of the tree.
pub(crate) struct Source {
    /// From the top of the tree, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text line by line, but blank where it is a comment, inside a string, or a test.
    code: String,
    /// Whether the whole file is compiled for tests only.
    pub(crate) is_test: bool,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = if path.ends_with(".rs") {
            without_tests(&without_prose(text))
        } else {
            String::new()
        };
        let is_test = path
            .split('/')
            .rev()
            .skip(1)
            .any(|folder| folder == "tests")
            && !path.starts_with("tests/src/");
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
            is_test,
        }
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The lines of code with their numbers.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.code.lines())
    }

    /// The lines of the text with their numbers.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }

    /// The lines of code in which `word` stands as a name of its own.
    pub(crate) fn naming(&self, word: &str) -> impl Iterator<Item = (usize, &str)> {
        self.code()
            .filter(move |(_, line)| names(line).any(|name| name == word))
    }

    /// The modules that this file declares for tests only, as paths without an ending.
    fn test_modules(&self) -> Vec<String> {
        let folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let lines: Vec<_> = self.text.lines().map(str::trim).collect();
        let declared = lines.windows(2).filter_map(|pair| {
            let for_tests =
                pair[0].starts_with("#[cfg(test)]") || pair[0].starts_with("#[cfg(all(test");
            let name = pair[1].rsplit("mod ").next()?.strip_suffix(';')?;
            (for_tests && pair[1].contains("mod ")).then(|| format!("{folder}/{name}"))
        });
        declared.collect()
    }
}

/// The names in a line of code.
pub(crate) fn names(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|name| !name.is_empty())
}

/// The top of the tree.
pub(crate) fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A file of the tree that must be there.
pub(crate) fn read(path: &str) -> Source {
    let text = fs::read_to_string(top().join(path))
        .unwrap_or_else(|error| panic!("{path} cannot be read: {error}"));
    Source::new(path, &text)
}

/// Every text file that is committed, in the order of the paths.
pub(crate) fn tree() -> &'static [Source] {
    static TREE: LazyLock<Vec<Source>> = LazyLock::new(read_tree);
    &TREE
}

fn read_tree() -> Vec<Source> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(top()).expect("the top of the tree") {
        let path = entry.expect("an entry of the top").path();
        if path.is_file() {
            paths.push(path);
        }
    }
    for folder in FOLDERS {
        collect(&top().join(folder), &mut paths);
    }
    paths.sort();
    // A file that is not text is nobody's source.
    let mut sources: Vec<_> = paths.iter().filter_map(|path| load(path)).collect();
    let test_modules: Vec<_> = sources.iter().flat_map(Source::test_modules).collect();
    for source in &mut sources {
        source.is_test |= test_modules.iter().any(|module| {
            let rest = source.path.strip_prefix(module.as_str());
            rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        });
    }
    assert!(sources.len() > 100, "the tree was not found at {:?}", top());
    sources
}

fn load(path: &Path) -> Option<Source> {
    let text = fs::read_to_string(path).ok()?;
    let relative = path.strip_prefix(top()).expect("a path below the top");
    let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
    Some(Source::new(&parts.join("/"), &text))
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}")) {
        let path = entry.expect("an entry of a folder").path();
        if path.is_file() {
            paths.push(path);
        } else if path.file_name().is_some_and(|name| name != "target") {
            collect(&path, paths);
        }
    }
}

/// Blanks comments and the insides of strings, and keeps every line in its place.
fn without_prose(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (prose, end) = prose_at(rest, code.chars().next_back());
        if prose {
            code.extend(rest[..end].chars().filter(|c| *c == '\n'));
            // What was a string stays one token apart.
            code.push(' ');
            rest = &rest[end..];
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    code
}

/// Whether prose begins here, and where it ends.
fn prose_at(rest: &str, before: Option<char>) -> (bool, usize) {
    let in_name = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        return (true, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (true, rest.find("*/").map_or(rest.len(), |end| end + 2));
    }
    if rest.starts_with('"') {
        return (true, string_end(rest, 1));
    }
    if !in_name {
        let raw = rest.strip_prefix('b').unwrap_or(rest);
        if let Some(hashes) = raw.strip_prefix('r') {
            let fence = hashes.len() - hashes.trim_start_matches('#').len();
            if hashes[fence..].starts_with('"') {
                let close = format!("\"{}", "#".repeat(fence));
                let opened = rest.len() - hashes.len() + fence + 1;
                let end = rest[opened..].find(&close);
                return (
                    true,
                    end.map_or(rest.len(), |end| opened + end + close.len()),
                );
            }
        }
    }
    if let Some(inside) = rest.strip_prefix('\'') {
        let mut chars = inside.char_indices();
        // A quote is a character only if another closes it; else it opens a lifetime.
        return match (chars.next(), chars.next()) {
            (Some((_, '\\')), _) => (true, inside[2..].find('\'').map_or(2, |end| end + 4)),
            (Some(_), Some((end, '\''))) => (true, end + 2),
            _ => (false, 0),
        };
    }
    (false, 0)
}

fn string_end(rest: &str, from: usize) -> usize {
    let mut escaped = false;
    for (place, c) in rest[from..].char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return from + place + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Blanks the items that only tests compile.
fn without_tests(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(start) = ["#[cfg(test)]", "#[cfg(all(test"]
        .iter()
        .filter_map(|attribute| rest.find(attribute))
        .min()
    {
        kept.push_str(&rest[..start]);
        let end = start + item_end(&rest[start..]);
        kept.extend(rest[start..end].chars().filter(|c| *c == '\n'));
        rest = &rest[end..];
    }
    kept.push_str(rest);
    kept
}

/// The end of the item that begins here, with its attributes.
fn item_end(item: &str) -> usize {
    let (mut round, mut curly) = (0_i32, 0_i32);
    for (place, c) in item.char_indices() {
        match c {
            '(' | '[' => round += 1,
            ')' | ']' => round -= 1,
            '{' => curly += 1,
            '}' => {
                curly -= 1;
                if curly == 0 && round == 0 {
                    return place + 1;
                }
            }
            ';' | ',' if curly == 0 && round == 0 => return place + 1,
            _ => {}
        }
    }
    item.len()
}

#[test]
fn code_is_what_is_left_without_comments_strings_and_tests() {
    let source = Source::new(
        "transport/src/a.rs",
        "//! quinn\nuse a; // quinn\nlet b = \"quinn \\\" quinn\"; /* quinn\nquinn */ let c = '\"';\n\
         let d: &'quinn_life str = r#\"quinn \" quinn\"#;\n#[cfg(test)]\nmod tests {\n    use quinn;\n}\n\
         use really::quinn;\n",
    );
    let lines: Vec<_> = source.naming("quinn").map(|(line, _)| line).collect();
    assert_eq!(lines, [10]);
    assert_eq!(source.naming("quinn_life").count(), 1);
    assert_eq!(source.naming("let").count(), 3);
    assert_eq!(source.code().count(), 10);
}

#[test]
fn modules_for_tests_are_found_in_the_tree() {
    let tree = tree();
    let is_test = |path: &str| {
        let found = tree.iter().find(|source| source.path == path);
        found.unwrap_or_else(|| panic!("{path} is gone")).is_test
    };
    assert!(is_test("transport/src/raft/wire/golden.rs"));
    assert!(is_test("transport/src/raft/testing/wiring.rs"));
    assert!(is_test("tests/tests/tidy/main.rs"));
    assert!(!is_test("transport/src/raft/wire/vote.rs"));
    assert!(!is_test("tests/src/lib.rs"));
}
