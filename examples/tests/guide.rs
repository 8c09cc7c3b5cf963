//! The guide is true: its three stops run, and its code is theirs.
#![expect(clippy::unwrap_used, reason = "a test ends where something fails")]

use std::fs;
use std::path::Path;

use quicraft_examples::guide::{on_manager, on_transport, own_network};

#[tokio::test]
async fn stop_one_runs_on_its_own_network() {
    own_network::run().await.unwrap();
}

#[tokio::test]
async fn stop_two_runs_on_the_transport() {
    let data = tempfile::tempdir().unwrap();
    on_transport::run(data.path()).await.unwrap();
}

#[tokio::test]
async fn stop_three_runs_on_the_manager_and_grows() {
    let data = tempfile::tempdir().unwrap();
    on_manager::run(data.path()).await.unwrap();
}

/// Code as it is whatever breaks its lines: without spaces, and without a comma before what ends.
fn squeezed(text: &str) -> String {
    let mut text: String = text.split_whitespace().collect();
    for (comma, end) in [(",)", ")"), (",}", "}"), (",]", "]")] {
        text = text.replace(comma, end);
    }
    text
}

/// The blocks of Rust in a text, with the line that each begins at.
fn blocks(text: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        match &mut open {
            None if line == "```rust" => open = Some((number, String::new())),
            Some(_) if line == "```" => blocks.extend(open.take()),
            Some((_, block)) => {
                block.push_str(line);
                block.push('\n');
            }
            None => {}
        }
    }
    assert!(open.is_none(), "a block does not end");
    blocks
}

/// Every block of the guide stands in the code that the tests above run. A line `// ...` leaves
/// something out.
#[test]
fn the_guide_shows_nothing_but_code_that_runs() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = fs::read_to_string(here.join("../docs/guide.md")).unwrap();
    let sources: Vec<String> = fs::read_dir(here.join("src/guide"))
        .unwrap()
        .map(|file| squeezed(&fs::read_to_string(file.unwrap().path()).unwrap()))
        .collect();
    let blocks = blocks(&guide);
    assert!(blocks.len() >= 8, "{} blocks", blocks.len());
    for (line, block) in blocks {
        for part in block.split("// ...\n") {
            let part = squeezed(part);
            // The comma after the last of some parts goes in the source, before what ends.
            let part = part.trim_end_matches(',');
            let found = sources.iter().any(|source| source.contains(part));
            assert!(
                found,
                "the block at line {line} is no code of the examples: {part}"
            );
        }
    }
}

/// The variants of an enum in a source file.
fn variants(file: &str, name: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let head = format!("pub enum {name} {{\n");
    let start = text.find(&head).unwrap() + head.len();
    let body = &text[start..start + text[start..].find("\n}").unwrap()];
    let lines = body.lines().filter_map(|line| line.strip_prefix("    "));
    let named = lines.filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()));
    named
        .map(|line| {
            line.chars()
                .take_while(|one| one.is_alphanumeric())
                .collect()
        })
        .collect()
}

/// Whoever meets an error at night finds it in the guide.
#[test]
fn the_guide_says_what_to_do_about_every_error() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guide.md");
    let guide = fs::read_to_string(guide).unwrap();
    let tables: String = guide
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    for (file, name) in [
        ("../manager/src/cluster/error.rs", "ClusterError"),
        ("../manager/src/error.rs", "RequestError"),
    ] {
        let variants = variants(file, name);
        assert!(variants.len() >= 7, "{name}: {variants:?}");
        for variant in variants {
            let told = tables.contains(&format!("`{variant}`"));
            assert!(told, "{name}::{variant} stands in no table of the guide");
        }
    }
}
