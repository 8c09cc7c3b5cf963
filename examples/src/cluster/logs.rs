//! What the nodes' logs tell when something is wrong: their ends, and panics. Pure: text in, text out.

use super::limits::{LOG_LINES, PANIC_LINES};

/// The last lines of every node's log, given with the node's id.
pub(super) fn last_lines(logs: impl Iterator<Item = (u64, String)>) -> String {
    let mut all = String::new();
    for (node, text) in logs {
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LOG_LINES)..);
        all.push_str(&format!("--- the end of node {node}'s log\n"));
        for line in last.unwrap_or_default() {
            all.push_str(line);
            all.push('\n');
        }
    }
    all
}

/// The nodes whose logs tell of a panic, each with the first lines that do. A group that panics has
/// stopped on that node for ever, while the process and its other groups go on; so this is a fault
/// also when nothing else is wrong.
pub(super) fn panics(logs: impl Iterator<Item = (u64, String)>) -> Vec<String> {
    logs.filter_map(|(node, text)| {
        let told: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("panicked"))
            .take(PANIC_LINES)
            .collect();
        (!told.is_empty()).then(|| format!("node {node} has panicked:\n{}", told.join("\n")))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The logs of nodes 1, 2, ... with these texts.
    fn logs(texts: &[String]) -> impl Iterator<Item = (u64, String)> {
        (1..).zip(texts.iter().cloned())
    }

    #[test]
    fn a_panic_is_found_however_long_the_log_went_on() {
        let panic = "ERROR quicraft::kv: panicked node=2 place=a.rs:7:1 message_of_panic=\"x\"";
        let later = "ERROR openraft: AppendEntries: error: panicked\n".repeat(PANIC_LINES + 5);
        let text = format!(
            "started\n{panic}\n{later}{}",
            "other\n".repeat(LOG_LINES * 2)
        );
        let found = panics(logs(&["well\n".to_owned(), text, String::new()]));
        let [one] = found.as_slice() else {
            panic!("{found:?}");
        };
        let lines: Vec<&str> = one.lines().collect();
        assert_eq!(lines[..2], ["node 2 has panicked:", panic]);
        assert_eq!(lines.len(), 1 + PANIC_LINES);
    }

    #[test]
    fn only_the_ends_are_shown() {
        let long: String = (0..=LOG_LINES)
            .map(|line| format!("line {line}\n"))
            .collect();
        let shown = last_lines(logs(&["one\n".to_owned(), long]));
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[..2], ["--- the end of node 1's log", "one"]);
        assert_eq!(lines[2..4], ["--- the end of node 2's log", "line 1"]);
        assert_eq!(lines.len(), 3 + LOG_LINES);
    }
}
