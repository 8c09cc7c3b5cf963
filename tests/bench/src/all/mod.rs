//! All comparisons, one after the other, and what they said in one file, from which tables and plots
//! are made (`pages`). It must not know what a measurement measures.
//!
//! Each runs in a process of its own, as by hand, so that none finds another's memory or connections.

mod collected;
mod machine;

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::pair::Failure;

pub(crate) use collected::{Collected, Measurement};
pub(crate) use machine::Machine;

/// The measurements with their options, about 12 minutes in all on two idle cores. The options stand
/// here and are not left to defaults, so that the whole keeps its time: rounds times the seconds of a
/// round, which the reasons name.
const PLAN: [(&str, &[&str]); 8] = [
    // 24 s a round.
    ("rpc", &["--seconds", "1", "--rounds", "5"]),
    // 8 GiB a round, 20 to 25 s.
    ("bulk", &["--mib", "1024", "--rounds", "3"]),
    // Two snapshots, 30 s.
    ("snapshot-resume", &["--mib", "1024"]),
    // 29 s a round.
    ("mixed", &["--seconds", "4", "--rounds", "3"]),
    // 29 s a round.
    ("heartbeats", &["--seconds", "2", "--rounds", "3"]),
    // 31 s a round, and 10 s in which clusters start and end.
    ("cluster", &["--seconds", "1", "--rounds", "3"]),
    // In virtual time; 46 s of processor time a round, on both cores at once.
    ("wan", &["--seconds", "15", "--rounds", "3"]),
    // 8 s a round.
    ("scale", &["--rounds", "3"]),
];

/// One that takes longer than this has stopped.
const LIMIT: Duration = Duration::from_secs(600);

/// What is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where `figures.json` is written. What it says of other measurements stays.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// Only these measurements.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

/// Runs all, and fails at the end if one has failed.
pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let known = |name: &String| PLAN.iter().any(|(planned, _)| planned == name);
    if let Some(unknown) = options.only.iter().find(|name| !known(name)) {
        return Err(format!("{unknown} is none of the measurements").into());
    }
    let wanted =
        |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    let mut collected = Collected::read_or_new(&options.out)?;
    collected.machine = Machine::here();
    let (started, mut failed) = (Instant::now(), Vec::new());
    for (name, arguments) in PLAN.into_iter().filter(|(name, _)| wanted(name)) {
        match measure(name, arguments).await {
            Ok((measurement, status)) => {
                collected.put(measurement);
                // After each, so that a failure later on costs nothing that is there.
                collected.write(&options.out)?;
                if !status.success() {
                    failed.push(format!("{name}: {status}"));
                }
            }
            Err(error) => failed.push(format!("{name}: {error}")),
        }
    }
    println!(
        "took {:.0} s; {}",
        started.elapsed().as_secs_f64(),
        Collected::place(&options.out).display()
    );
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed.join("\n").into())
    }
}

/// Runs one, and shows what it says while it says it. One that misses its own bound fails behind its
/// figures, which count all the same.
async fn measure(name: &str, arguments: &[&str]) -> Result<(Measurement, ExitStatus), Failure> {
    let command = format!("quicraft-bench {name} {} --json", arguments.join(" "));
    println!("\n$ {command}");
    let started = Instant::now();
    let mut child = Command::new(std::env::current_exe()?)
        .arg(name)
        .args(arguments)
        .arg("--json")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
    let said = timeout(LIMIT, async {
        let mut said = Vec::new();
        while let Some(line) = lines.next_line().await? {
            println!("{line}");
            said.push(line);
        }
        Ok::<_, Failure>((said, child.wait().await?))
    });
    let (said, status) = said.await??;
    let measurement = Measurement::new(name, &command, started.elapsed(), said)
        .map_err(|error| format!("{status}: {error}"))?;
    Ok((measurement, status))
}
