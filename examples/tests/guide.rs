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

/// The lines of a text without their indentation; formatting may break them elsewhere.
fn squeezed(text: &str) -> String {
    text.split_whitespace().collect()
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
            let found = sources.iter().any(|source| source.contains(&part));
            assert!(
                found,
                "the block at line {line} is no code of the examples: {part}"
            );
        }
    }
}
