//! The lines of README.md, and those of the project's SECURITY.md, work as they stand there.

use std::process::Command;

use crate::desk::{CA, Desk, Told, command};

const README: &str = include_str!("../../README.md");

/// The lines of all blocks that are marked as shell.
fn lines(text: &str) -> String {
    let blocks = text.split("```sh\n").skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap())
        .collect()
}

#[cfg(unix)]
#[test]
fn a_new_user_can_type_the_readme() {
    let lines = lines(README);
    assert!(lines.matches("quicraft-certs ").count() >= 15, "{lines}");
    type_in(&Desk::empty(), &lines);
}

/// They begin with a cluster of three nodes.
#[cfg(unix)]
#[test]
fn an_operator_can_type_what_security_md_says() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../SECURITY.md");
    let lines = lines(&std::fs::read_to_string(file).unwrap());
    assert!(lines.matches("quicraft-certs ").count() >= 15, "{lines}");
    let desk = Desk::with_ca();
    for node in 1..=3 {
        desk.ok(&format!(
            "node issue --cluster prod.example --id {node} {CA} --out node-{node}"
        ));
    }
    type_in(&desk, &lines);
}

/// Types lines into a shell. Each must work, and none may have anything to complain about.
#[cfg(unix)]
fn type_in(desk: &Desk, lines: &str) {
    let own = command();
    let path = std::env::join_paths(
        std::iter::once(own.parent().unwrap().to_path_buf())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    )
    .unwrap();
    let told: Told = Command::new("sh")
        .args(["-e", "-u", "-c", lines])
        .env("PATH", path)
        .current_dir(desk.folder())
        .output()
        .unwrap()
        .into();
    assert_eq!(told.exit, Some(0), "{told:?}");
    assert_eq!(told.err, "", "{told:?}");
}

#[test]
fn every_command_is_in_the_readme() {
    let desk = Desk::empty();
    let help = desk.ok("--help");
    let commands = help
        .split("Commands:")
        .nth(1)
        .unwrap()
        .split("Options:")
        .next()
        .unwrap();
    let names: Vec<&str> = commands
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert_eq!(names.len(), 11, "{names:?}");
    for name in names {
        assert!(README.contains(&format!("quicraft-certs {name}")), "{name}");
    }
}
