//! The guard of the hot paths: how many instructions each takes, beside a committed baseline.
//!
//! Instructions are counted by valgrind's callgrind, which a busy machine does not disturb. The same
//! program is what is counted (`path NAME`, which runs one path once) and what counts (`check`, which
//! starts itself under valgrind for each path). No argument parser: it would be built again in the
//! guard's own profile.

mod baseline;
mod counting;
mod paths;

use std::process::ExitCode;

use baseline::{Baseline, Verdict};

type Failure = Box<dyn std::error::Error>;

const USAGE: &str = "usage: quicraft-guard check | baseline | path NAME";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["check"] => check(),
        ["baseline"] => write(),
        ["path", name] => paths::run(name).map(|()| true),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Compares every path with the baseline; `false` if one left its tolerance.
fn check() -> Result<bool, Failure> {
    let Some(here) = counting::tools() else {
        println!("skipped: instruction counts of the hot paths, because valgrind is not installed");
        return Ok(true);
    };
    let baseline = Baseline::read()?;
    if let Some(other) = baseline.made_elsewhere(&here) {
        println!("skipped: instruction counts of the hot paths, because {other}");
        println!(
            "         (make guard-baseline writes one for this machine, and prints the difference)"
        );
        return Ok(true);
    }
    let mut all_fine = true;
    for path in paths::ALL {
        let counted = counting::count(path.name)?;
        let verdict = baseline.judge(path, counted);
        println!("{verdict}");
        all_fine &= verdict.is_fine();
    }
    if !all_fine {
        println!(
            "A path that grew is looked at first. If the change is meant, make guard-baseline"
        );
        println!("writes what it takes now; the commit says why.");
    }
    Ok(all_fine)
}

/// Writes what every path takes now, and prints the difference.
fn write() -> Result<bool, Failure> {
    let here = counting::tools().ok_or("valgrind is not installed")?;
    let before = Baseline::read().unwrap_or_default();
    let mut now = Baseline::made_with(here);
    for path in paths::ALL {
        let counted = counting::count(path.name)?;
        println!("{}", Verdict::of(path, before.count(path.name), counted));
        now.insert(path.name, counted);
    }
    now.write()?;
    Ok(true)
}
