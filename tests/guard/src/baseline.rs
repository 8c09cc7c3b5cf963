//! What the paths took when somebody looked last, and how far they may be from it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::PathBuf;

use crate::Failure;
use crate::counting::Tools;
use crate::paths::Path;

/// Committed beside the code: `name count` in each line, behind the tools.
const FILE: &str = "baseline.txt";

/// The counts of all paths, and the tools they were counted with.
#[derive(Debug, Default)]
pub(crate) struct Baseline {
    tools: Tools,
    counts: BTreeMap<String, u64>,
}

impl Baseline {
    pub(crate) const fn made_with(tools: Tools) -> Self {
        Self {
            tools,
            counts: BTreeMap::new(),
        }
    }

    pub(crate) fn read() -> Result<Self, Failure> {
        let text =
            fs::read_to_string(file()).map_err(|error| format!("{}: {error}", file().display()))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, Failure> {
        let mut baseline = Self::default();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        for line in lines.filter(|line| !line.trim().is_empty()) {
            let broken = || format!("{FILE}: {line} is no name with a value");
            let (name, value) = line.split_once(' ').ok_or_else(broken)?;
            match name {
                "rustc:" => value.clone_into(&mut baseline.tools.rustc),
                "valgrind:" => value.clone_into(&mut baseline.tools.valgrind),
                path => {
                    let count = value.trim().replace('_', "");
                    baseline.insert(path, count.parse().map_err(|_| broken())?);
                }
            }
        }
        Ok(baseline)
    }

    pub(crate) fn write(&self) -> Result<(), Failure> {
        Ok(fs::write(file(), self.to_string())?)
    }

    pub(crate) fn insert(&mut self, path: &str, count: u64) {
        self.counts.insert(path.to_owned(), count);
    }

    pub(crate) fn count(&self, path: &str) -> Option<u64> {
        self.counts.get(path).copied()
    }

    /// Why counts made here cannot be compared with these. Another compiler moves a path by more than
    /// a copy does, so a tolerance that is wide enough for it would notice nothing.
    pub(crate) fn made_elsewhere(&self, here: &Tools) -> Option<String> {
        let Tools { rustc, valgrind } = &self.tools;
        if *rustc != here.rustc {
            let here = &here.rustc;
            return Some(format!("the baseline is of {rustc}, and this is {here}"));
        }
        if *valgrind != here.valgrind {
            let here = &here.valgrind;
            return Some(format!("the baseline is of {valgrind}, and this is {here}"));
        }
        None
    }

    pub(crate) fn judge(&self, path: &Path, counted: u64) -> Verdict {
        Verdict::of(path, self.count(path.name), counted)
    }
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tools { rustc, valgrind } = &self.tools;
        writeln!(
            f,
            "# Instructions of each hot path, written by `make guard-baseline`."
        )?;
        writeln!(f, "rustc: {rustc}\nvalgrind: {valgrind}")?;
        for (path, count) in &self.counts {
            writeln!(f, "{path} {count}")?;
        }
        Ok(())
    }
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(FILE)
}

/// What became of one path.
#[derive(Debug)]
pub(crate) struct Verdict {
    path: &'static str,
    tolerance_percent: f64,
    before: Option<u64>,
    counted: u64,
}

impl Verdict {
    pub(crate) const fn of(path: &Path, before: Option<u64>, counted: u64) -> Self {
        Self {
            path: path.name,
            tolerance_percent: path.tolerance_percent,
            before,
            counted,
        }
    }

    fn percent(&self) -> Option<f64> {
        let before = self.before? as f64;
        // In this order 5 of 100 are 5 %; what 105 / 100 - 1 is, is a little more.
        Some((self.counted as f64 - before) / before * 100.0)
    }

    /// Whether it is near the baseline. One that is far below is not: a baseline that is too high
    /// would hide what comes next.
    pub(crate) fn is_fine(&self) -> bool {
        let percent = self.percent();
        percent.is_some_and(|percent| percent.abs() <= self.tolerance_percent)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<14} {:>12} instructions", self.path, self.counted)?;
        let tolerance = self.tolerance_percent;
        match (self.percent(), self.is_fine()) {
            (None, _) => f.write_str(", and the baseline does not know it"),
            (Some(percent), true) => write!(f, ", {percent:+.2} %"),
            (Some(percent), false) => {
                write!(
                    f,
                    ", {percent:+.2} %: more than {tolerance} % from the baseline"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: Path = Path {
        name: "a-path",
        tolerance_percent: 5.0,
        run: || Ok(()),
    };

    fn tools() -> Tools {
        Tools {
            rustc: "rustc 1".to_owned(),
            valgrind: "valgrind-2".to_owned(),
        }
    }

    #[test]
    fn the_tolerance_holds_on_both_sides() {
        let fine = |counted| Verdict::of(&PATH, Some(1_000), counted).is_fine();
        assert!(fine(1_050) && fine(950) && fine(1_000));
        assert!(!fine(1_051) && !fine(949));
        assert!(!Verdict::of(&PATH, None, 1_000).is_fine());
    }

    #[test]
    fn a_baseline_is_read_as_it_was_written() {
        let mut written = Baseline::made_with(tools());
        written.insert("a-path", 77);
        let read = Baseline::parse(&written.to_string()).unwrap();
        assert_eq!(read.count("a-path"), Some(77));
        assert_eq!(read.made_elsewhere(&tools()), None);
        assert!(Baseline::parse("a-path many").is_err());
    }

    #[test]
    fn another_compiler_or_valgrind_is_told() {
        let baseline = Baseline::made_with(tools());
        let mut here = tools();
        here.rustc = "rustc 3".to_owned();
        assert!(baseline.made_elsewhere(&here).unwrap().contains("rustc 3"));
        let mut here = tools();
        here.valgrind = "valgrind-9".to_owned();
        assert!(
            baseline
                .made_elsewhere(&here)
                .unwrap()
                .contains("valgrind-9")
        );
    }
}
