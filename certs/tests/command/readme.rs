//! The lines of README.md work as they stand there.

use std::process::Command;

use crate::desk::{Desk, Told, command};

const README: &str = include_str!("../../README.md");

/// The lines of all blocks that are marked as shell.
fn lines() -> String {
    let blocks = README.split("```sh\n").skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap())
        .collect()
}

#[cfg(unix)]
#[test]
fn a_new_user_can_type_the_readme() {
    let desk = Desk::empty();
    let lines = lines();
    assert!(lines.matches("quicraft-certs ").count() >= 15, "{lines}");
    let own = command();
    let path = std::env::join_paths(
        std::iter::once(own.parent().unwrap().to_path_buf())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    )
    .unwrap();
    let told: Told = Command::new("sh")
        .args(["-e", "-u", "-c", &lines])
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
