//! Runs one path under callgrind and reads the count. It must not know what the count should be.

use std::process::Command;

use crate::Failure;

/// The compiler by which this program was built; see `build.rs`.
const RUSTC: &str = env!("GUARD_RUSTC");

/// What a count depends on beside the code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tools {
    pub(crate) rustc: String,
    pub(crate) valgrind: String,
}

/// The tools here; `None` without valgrind.
pub(crate) fn tools() -> Option<Tools> {
    let output = Command::new("valgrind").arg("--version").output().ok()?;
    let valgrind = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| Tools {
        rustc: RUSTC.to_owned(),
        valgrind: valgrind.trim().to_owned(),
    })
}

/// The instructions that one path takes, its setup and its end apart.
pub(crate) fn count(path: &str) -> Result<u64, Failure> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        // Counts only inside `paths::guarded_work`, whatever its type parameters are.
        .arg("--toggle-collect=*guarded_work*")
        .arg(std::env::current_exe()?)
        .args(["path", path])
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{path} failed under valgrind:\n{said}").into());
    }
    collected(&said).ok_or_else(|| format!("valgrind counted nothing of {path}:\n{said}").into())
}

/// The number behind `Collected :`, which is above 0 where anything was counted.
fn collected(said: &str) -> Option<u64> {
    let (_, after) = said.split_once("Collected :")?;
    let count = after.split_whitespace().next()?.parse().ok()?;
    (count > 0).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_stands_behind_its_word() {
        let said = "==7== Events    : Ir\n==7== Collected : 1234\n==7== I   refs:      1,234\n";
        assert_eq!(collected(said), Some(1_234));
        assert_eq!(collected("==7== Collected : 0\n"), None);
        assert_eq!(collected("==7== I   refs:      1,234\n"), None);
    }
}
