//! What a command says when it has done its work: lines for people, or one object for machines.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::{Map, Value};

/// What a command says.
#[derive(Debug)]
pub(crate) struct Report {
    lines: Vec<String>,
    warnings: Vec<String>,
    fields: Map<String, Value>,
    ok: bool,
    exit: u8,
}

impl Report {
    /// It was done.
    pub(crate) fn done() -> Self {
        Self {
            lines: Vec::new(),
            warnings: Vec::new(),
            fields: Map::new(),
            ok: true,
            exit: 0,
        }
    }

    /// The answer is no.
    pub(crate) fn say_no(&mut self) {
        self.ok = false;
        self.exit = 1;
    }

    /// Answers by an exit code.
    pub(crate) const fn exit_with(&mut self, code: u8) {
        self.exit = code;
    }

    /// A line on stdout.
    pub(crate) fn line(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    /// A line on stderr that does not change the exit code.
    pub(crate) fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    /// A member of the JSON object.
    pub(crate) fn field(&mut self, name: &str, value: impl Into<Value>) {
        self.fields.insert(name.to_owned(), value.into());
    }

    pub(crate) fn print(self, command: &str, json: bool) -> ExitCode {
        let mut out = String::new();
        let mut aside = String::new();
        if json {
            let mut object = Map::new();
            object.insert("ok".to_owned(), self.ok.into());
            object.insert("command".to_owned(), command.into());
            object.extend(self.fields);
            object.insert("warnings".to_owned(), self.warnings.into());
            out = format!("{}\n", Value::Object(object));
        } else {
            push_lines(&mut out, "", &self.lines);
            push_lines(&mut aside, "quicraft-certs: warning: ", &self.warnings);
        }
        write_both(&out, &aside, self.exit)
    }
}

fn push_lines(to: &mut String, prefix: &str, lines: &[String]) {
    for line in lines {
        // Writing to a string does not fail.
        let (Ok(()) | Err(_)) = writeln!(to, "{prefix}{line}");
    }
}

/// Writes to stdout and stderr. If nobody takes what is said, the work does not count as done: a
/// script that lost the answer must not go on.
pub(crate) fn write_both(out: &str, aside: &str, exit: u8) -> ExitCode {
    let told = io::stdout()
        .write_all(out.as_bytes())
        .and_then(|()| io::stdout().flush())
        .and_then(|()| io::stderr().write_all(aside.as_bytes()));
    match told {
        Ok(()) => ExitCode::from(exit),
        Err(_) => ExitCode::from(exit.max(1)),
    }
}
