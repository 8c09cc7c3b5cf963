//! On what it was measured.

use std::fmt;
use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

use serde::{Deserialize, Serialize};

/// What figures depend on. What cannot be found is told as such.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    cores: usize,
    processor: String,
    memory_gib: f64,
    kernel: String,
    rustc: String,
    commit: String,
    /// Of the last minute before the start: what else ran here.
    load: String,
}

const UNKNOWN: &str = "unknown";

impl Machine {
    pub(crate) fn here() -> Self {
        let kib = field("/proc/meminfo", "MemTotal").and_then(|total| {
            let number = total.split_whitespace().next()?;
            number.parse::<f64>().ok()
        });
        let or_unknown = |told: Option<String>| told.unwrap_or_else(|| UNKNOWN.to_owned());
        Self {
            cores: available_parallelism().map_or(0, usize::from),
            processor: or_unknown(field("/proc/cpuinfo", "model name")),
            memory_gib: kib.unwrap_or_default() / 1024.0 / 1024.0,
            kernel: or_unknown(line("/proc/sys/kernel/osrelease")),
            rustc: or_unknown(said("rustc", &["--version"])),
            commit: or_unknown(said("git", &["rev-parse", "--short", "HEAD"])),
            load: or_unknown(line("/proc/loadavg").map(|line| first_word(&line))),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cores,
            processor,
            memory_gib,
            kernel,
            rustc,
            commit,
            load,
        } = self;
        write!(
            f,
            "{cores} cores ({processor}), {memory_gib:.0} GiB, Linux {kernel}, {rustc}, commit {commit}; \
             load before the start {load}"
        )
    }
}

/// The value of the first line of a name in a file such as `/proc/meminfo`.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    value_of(&text, name)
}

fn value_of(text: &str, name: &str) -> Option<String> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(found, _)| found.trim() == name)?;
    Some(value.trim().to_owned())
}

fn line(file: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().next().map(str::to_owned)
}

fn first_word(line: &str) -> String {
    line.split_whitespace().next().unwrap_or(UNKNOWN).to_owned()
}

fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "processor\t: 0\nmodel name\t: A: Core\nmodel\t\t: 7\n";
        assert_eq!(value_of(text, "model name").as_deref(), Some("A: Core"));
        assert_eq!(value_of(text, "model").as_deref(), Some("7"));
        assert_eq!(value_of(text, "name"), None);
    }

    #[test]
    fn what_is_not_known_is_said() {
        assert_eq!(said("a-program-that-is-not-there", &[]), None);
        assert!(Machine::here().to_string().contains(" cores ("));
    }
}
