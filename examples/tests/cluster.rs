//! The main job as a newcomer runs it, only smaller: real processes, a real SIGKILL.
#![expect(clippy::unwrap_used, reason = "a test ends where something fails")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use quicraft_examples::cluster::wait::{Look, until};
use serde_json::Value;
use tempfile::TempDir;

/// The main job with its folders in `place`, so that what it leaves behind is found.
fn kv_cluster(place: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kv-cluster"));
    command
        .args(arguments)
        .env("TMPDIR", place.path())
        .env_remove("RUST_LOG");
    command
}

/// Processes with this folder on their command line.
#[cfg(target_os = "linux")]
fn processes_in(place: &Path) -> Vec<String> {
    let place = place.to_str().unwrap();
    let all = fs::read_dir("/proc").unwrap();
    // A process may end while we look.
    all.filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(place))
        .collect()
}

#[cfg(not(target_os = "linux"))]
fn processes_in(_place: &Path) -> Vec<String> {
    Vec::new()
}

fn assert_nothing_left(place: &TempDir) {
    assert_eq!(processes_in(place.path()), Vec::<String>::new());
    let files: Vec<_> = fs::read_dir(place.path()).unwrap().collect();
    assert!(files.is_empty(), "{files:?}");
}

/// The promise of the whole project, in small: nothing acknowledged is lost, one link per pair.
#[test]
fn a_killed_leader_loses_no_write() {
    let place = tempfile::tempdir().unwrap();
    let arguments = [
        "--nodes",
        "3",
        "--groups",
        "4",
        "--writes",
        "400",
        "--kill-leader",
        "--json",
    ];
    let output = kv_cluster(&place, &arguments).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}\n{stderr}");

    let report: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    let number = |name: &str| {
        report[name]
            .as_f64()
            .unwrap_or_else(|| panic!("{name} in {report}"))
    };
    assert_eq!(number("nodes"), 3.0);
    assert_eq!(number("groups"), 4.0);
    assert_eq!(number("writes_acked"), 400.0);
    assert_eq!(number("writes_lost"), 0.0);
    assert_eq!(report["digests_differ"], serde_json::json!([]));
    assert_eq!(number("links_per_pair"), 1.0);
    assert_eq!(number("leader_kills"), 1.0);
    // Nobody leads on in an old term: each of the killed node's groups had an election.
    assert!(number("groups_led_by_killed") >= 2.0, "{report}");
    assert!(
        number("elections") >= number("groups_led_by_killed"),
        "{report}"
    );
    assert!(number("retries") > 0.0, "{report}");
    assert!(
        number("failover_max_ms") >= number("failover_p95_ms"),
        "{report}"
    );
    for name in [
        "writes_unknown",
        "writes_per_second",
        "p50_ms",
        "p99_ms",
        "recovered_ms",
        "admitted_ms",
    ] {
        number(name);
    }
    assert_nothing_left(&place);
}

/// However the job ends, its nodes end with it.
#[cfg(unix)]
#[tokio::test]
async fn a_job_that_is_killed_leaves_no_node_behind() {
    let place = tempfile::tempdir().unwrap();
    let arguments = ["--groups", "1", "--writes", "5", "--keep"];
    let mut job = kv_cluster(&place, &arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It prints where the nodes are when they are to be kept running.
    let mut line = String::new();
    BufReader::new(job.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.starts_with("http://127.0.0.1:"), "{line}");
    let status = reqwest::get(line.trim()).await.unwrap();
    assert!(status.status().is_success());

    job.kill().unwrap();
    job.wait().unwrap();
    until(
        "the end of all nodes",
        Duration::from_secs(60),
        async || {
            let left = processes_in(place.path());
            Ok(match (reqwest::get(line.trim()).await, left.as_slice()) {
                (Err(_), []) => Look::There(()),
                _ => Look::Missing(format!("the end of {left:?}")),
            })
        },
    )
    .await
    .unwrap();
}

#[test]
fn two_nodes_cannot_lose_one() {
    let place = tempfile::tempdir().unwrap();
    let output = kv_cluster(&place, &["--nodes", "2", "--kill-leader"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("at least 3 nodes"), "{stderr}");
    assert_nothing_left(&place);
}

/// Runs a job that must succeed and returns its JSON.
fn succeeds(arguments: &[&str]) -> Value {
    let place = tempfile::tempdir().unwrap();
    let output = kv_cluster(&place, arguments).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert_nothing_left(&place);
    serde_json::from_str(stdout.lines().last().unwrap()).unwrap()
}

/// Nodes come, go and restart under load, a leader is killed besides, and no client notices. The load
/// is smaller than what `kv-cluster` makes by default: unoptimized nodes share the machine with all
/// other tests.
#[cfg(target_os = "linux")]
#[test]
fn a_cluster_grows_shrinks_and_restarts_under_load() {
    let load = ["--groups", "4", "--clients", "8", "--rate", "40"];
    let changes = ["--grow", "2", "--shrink", "2", "--rolling-restart"];
    let rest = ["--writes", "400", "--kill-leader", "--json"];
    let report = succeeds(&[&load[..], &changes, &rest].concat());
    let number = |name: &str| report[name].as_u64().unwrap_or_else(|| panic!("{report}"));
    for none in [
        "writes_lost",
        "reads_failed",
        "rolling_restart_failed_writes",
    ] {
        assert_eq!(number(none), 0, "{none}: {report}");
    }
    assert!(
        number("writes_acked") >= 400 && number("reads") > 10,
        "{report}"
    );
    assert!(number("rolling_restart_writes") > 10, "{report}");
    for time in ["grow_seconds", "shrink_seconds", "rolling_restart_p99_ms"] {
        assert!(report[time].as_f64().unwrap() > 0.0, "{time}: {report}");
    }
}

/// A node comes and goes, whoever is asked for it dies in the middle, and the same call elsewhere ends
/// it.
#[cfg(target_os = "linux")]
#[test]
fn changes_end_whoever_dies_in_them() {
    let load = ["--groups", "2", "--clients", "4", "--rate", "40"];
    let report = succeeds(&[&["killed-changes", "--pairs", "2", "--json"][..], &load].concat());
    let number = |name: &str| report[name].as_u64().unwrap_or_else(|| panic!("{report}"));
    assert_eq!((number("kills"), number("not_met")), (2, 0), "{report}");
    assert_eq!((number("writes_lost"), number("links_max")), (0, 1));
    assert!(number("writes_acked") > 10, "{report}");
    assert_eq!(report["members_wrong"], Value::Null);
    let pairs = report["pairs"].as_array().unwrap();
    let changes: Vec<_> = pairs.iter().map(|pair| pair["change"].as_str()).collect();
    assert_eq!(changes[0], Some("add"), "{report}");
    for pair in pairs {
        assert_ne!(pair["killed_node"], pair["other_node"]);
        assert_ne!(pair["killed_node"], pair["node"]);
        assert!(pair["seconds"].as_f64() > Some(0.0), "{report}");
    }
}

/// Nothing acknowledged is lost, and 10 s after the last event there is one link for each pair, no
/// call in flight, and as many tasks and descriptors as before. The seed is one that kills, stops
/// and pauses.
#[cfg(target_os = "linux")]
#[test]
fn bad_days_leave_nothing_behind() {
    let report = succeeds(&["bad-days", "--events", "12", "--seed", "8", "--json"]);
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{report}"));
    let sum = |name: &str| -> u64 {
        let numbers = report[name].as_array().unwrap();
        numbers.iter().map(&number).sum()
    };
    assert_eq!(number(&report["events"]), 12);
    for kind in ["kills", "stops", "pauses", "continues", "restarts"] {
        assert!(number(&report["happened"][kind]) > 0, "{kind}: {report}");
    }
    assert_eq!(report["links"], serde_json::json!([2, 2, 2]));
    assert_eq!(number(&report["links_max"]), 1);
    assert_eq!(number(&report["in_flight"]), 0);
    assert!(number(&report["rested_ms"]) <= 10_000);
    assert!(sum("tasks_before") > 0 && sum("tasks_after") == sum("tasks_before"));
    assert!(sum("descriptors_before") > 0);
    assert_eq!(report["descriptors_after"], report["descriptors_before"]);
    assert!(number(&report["writes_acked"]) > 100, "{report}");
    assert_eq!(number(&report["writes_lost"]), 0);
}

/// All certificates and then the CA are replaced under calls and writes, and nobody notices. What is
/// smaller here than the promise of 1,000 calls a second, which `kv-cluster rotate` holds by default,
/// is the load: unoptimized nodes share the machine with all other tests.
#[cfg(target_os = "linux")]
#[test]
fn a_rotation_of_leaves_and_ca_fails_no_call() {
    let smaller = ["--calls", "120", "--clients", "1", "--groups", "1"];
    let report = succeeds(&[&["rotate", "--json"][..], &smaller].concat());
    assert_eq!(report["steps"].as_array().unwrap().len(), 4);
    assert!(report["calls"].as_u64().unwrap() > 1_000, "{report}");
    assert!(report["writes_acked"].as_u64().unwrap() > 10, "{report}");
    for none in ["calls_failed", "elections", "retries", "writes_lost"] {
        assert_eq!(report[none], 0, "{none}: {report}");
    }
    assert_eq!(report["links_max"], 1);
}

/// Nine nodes at once: 36 links, one for each pair at any time. What takes time is looser here than
/// the promise of 2 s and fewer than two handshakes for each pair, which `kv-cluster power-on` holds
/// by default and an optimized build keeps: unoptimized signatures of nine nodes on two processors
/// outlast the grace of 250 ms in which only the smaller id dials, so both ends may.
#[cfg(target_os = "linux")]
#[test]
fn a_power_on_of_nine_nodes_makes_one_link_for_each_pair() {
    let limits = ["--mesh-ms", "10000", "--handshakes", "3"];
    let report = succeeds(&[&["power-on", "--nodes", "9", "--json"][..], &limits].concat());
    assert_eq!(report["pairs"], 36);
    assert_eq!(report["links_max"], 1);
    assert!(
        report["links_established"].as_u64().unwrap() >= 36,
        "{report}"
    );
    let handshakes = report["handshakes"].as_u64().unwrap();
    assert!((36..108).contains(&handshakes), "{report}");
}
