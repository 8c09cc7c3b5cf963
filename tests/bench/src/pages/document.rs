//! The parts of a document between `<!-- figures: NAME -->` and `<!-- end -->`, written anew. What
//! stands outside of them is people's.

use super::targets;
use crate::all::{Collected, Measurement};
use crate::pair::Failure;

const BEGIN: &str = "<!-- figures: ";
const BEGUN: &str = " -->";
const END: &str = "<!-- end -->";

/// The text with every part that can be made from what was collected. A part whose measurement is
/// missing stays as it is.
///
/// # Errors
///
/// A part that does not end.
pub(crate) fn filled(text: &str, collected: &Collected) -> Result<String, Failure> {
    let mut pieces = text.split(BEGIN);
    let mut filled = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let broken = || {
            format!(
                "a part does not end: {BEGIN}{}",
                piece.lines().next().unwrap_or("")
            )
        };
        let (name, rest) = piece.split_once(BEGUN).ok_or_else(broken)?;
        let (old, behind) = rest.split_once(END).ok_or_else(broken)?;
        let new = part(name, collected).map(|new| format!("\n\n{}\n\n", new.trim()));
        let body = new.as_deref().unwrap_or(old);
        filled += &format!("{BEGIN}{name}{BEGUN}{body}{END}{behind}");
    }
    Ok(filled)
}

fn part(name: &str, collected: &Collected) -> Option<String> {
    match name {
        "machine" => Some(format!("{}.", collected.machine)),
        "targets" => Some(cells(&targets::table(collected).to_string())),
        measurement => Some(section(collected.of(measurement)?)),
    }
}

/// The command, how long it took, and what it said.
fn section(measurement: &Measurement) -> String {
    let Measurement {
        command,
        seconds,
        said,
        ..
    } = measurement;
    let mut section = format!("`{command}` ({seconds:.0} s)\n");
    // Runs of table lines and of other lines.
    let is_table = |line: &str| line.starts_with('|');
    for run in said.chunk_by(|one, other| is_table(one) == is_table(other)) {
        let text = run.join("\n");
        let text = text.trim_matches('\n');
        if is_table(text) {
            section += &format!("\n{}\n", cells(text));
        } else if text.lines().any(|line| line.starts_with(' ')) {
            // Columns that are no table keep their places.
            section += &format!("\n```text\n{text}\n```\n");
        } else if !text.is_empty() {
            section += &format!("\n{text}\n");
        }
    }
    section
}

/// A table without the blanks that make it straight on a screen. Behind the first column are figures,
/// which stand at the right.
fn cells(table: &str) -> String {
    let line = |line: &str| {
        let cells = line.trim().trim_matches('|').split('|').map(str::trim);
        let cells = cells.enumerate().map(|(column, cell)| match column {
            0 if is_rule(cell) => "---",
            _ if is_rule(cell) => "---:",
            _ => cell,
        });
        format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
    };
    table.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// A figure that is missing is one dash.
fn is_rule(cell: &str) -> bool {
    cell.len() > 2 && cell.chars().all(|c| c == '-' || c == ':')
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn collected(said: &[&str]) -> Collected {
        let mut collected = Collected::default();
        let said = said.iter().chain(&["{}"]).map(|line| (*line).to_owned());
        let took = Duration::from_secs(3);
        let command = "quicraft-bench rpc --json";
        collected.put(Measurement::new("rpc", command, took, said.collect()).unwrap());
        collected
    }

    #[test]
    fn parts_are_written_anew_and_the_rest_stays() {
        let collected = collected(&[
            "words",
            "| a  |   b |",
            "|----|-----|",
            "| 1  | 2.0 |",
            "",
            " x  7",
        ]);
        let text = "# A\n<!-- figures: rpc -->old<!-- end -->\nB\n<!-- figures: wan -->kept<!-- end -->C\n";
        let once = filled(text, &collected).unwrap();
        let expected = "# A\n<!-- figures: rpc -->\n\n`quicraft-bench rpc --json` (3 s)\n\nwords\n\n\
                        | a | b |\n| --- | ---: |\n| 1 | 2.0 |\n\n```text\n x  7\n```\n\n<!-- end -->\nB\n\
                        <!-- figures: wan -->kept<!-- end -->C\n";
        assert_eq!(once, expected);
        assert_eq!(
            filled(&once, &collected).unwrap(),
            once,
            "a second time changes nothing"
        );
    }

    #[test]
    fn a_part_without_an_end_is_an_error() {
        assert!(filled("<!-- figures: rpc -->", &collected(&[])).is_err());
        assert!(filled("<!-- figures: rpc", &collected(&[])).is_err());
    }
}
