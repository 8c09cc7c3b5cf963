//! The measurements of whole clusters in small: each ends, and tells every figure that the documents
//! name.

use std::process::Command;

use serde_json::Value;

fn report(arguments: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quicraft-bench"));
    command.args(arguments).args(["--rounds", "1", "--json"]);
    let output = command.output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    println!("{said}{failed}");
    assert!(output.status.success());
    let report = said.lines().last().expect("a report");
    serde_json::from_str(report).expect("one JSON object")
}

fn figure(report: &Value, path: &str) -> f64 {
    let figure = report.pointer(path).and_then(Value::as_f64);
    let figure = figure.unwrap_or_else(|| panic!("no {path} in {report}"));
    assert!(figure.is_finite(), "{path} is {figure}");
    figure
}

/// A run this short says nothing about speed, so any figure above 0 will do.
fn assert_figure(report: &Value, path: &str) {
    assert!(figure(report, path) > 0.0, "{path} in {report}");
}

#[test]
fn clusters_are_compared() {
    let report = report(&[
        "cluster",
        "--seconds",
        "0.2",
        "--clients",
        "1,16",
        "--groups",
        "1,2",
    ]);
    for (clients, groups) in [(1, 1), (16, 1), (1, 2), (16, 2)] {
        for peer in ["tonic", "channel"] {
            assert_figure(&report, &format!("/writes_{clients}_{groups}_vs_{peer}"));
        }
        for network in ["quicraft", "tonic", "channel"] {
            for figure in ["writes_per_second", "p50_ms", "p99_ms", "cpu_us_per_write"] {
                let path = format!("/medians/{network}/{clients}/{groups}/{figure}");
                assert_figure(&report, &path);
            }
        }
    }
}

/// Time is virtual here, so the figures are what they are anywhere.
#[test]
fn commits_cost_a_round_trip_however_far_the_nodes_are() {
    let report = report(&[
        "wan",
        "--seconds",
        "3",
        "--clients",
        "4",
        "--groups",
        "4",
        "--round-trips",
        "100",
        "--losses",
        "0,1",
    ]);
    for key in [
        "/commit_p50_100ms_over_rtt_ms",
        "/commit_p50_100ms_over_rtt_ms_bbr",
    ] {
        let over = figure(&report, key);
        assert!((0.0..=10.0).contains(&over), "{key} in {report}");
    }
    assert_figure(&report, "/p99_groups_unlost_ratio");
    assert_figure(&report, "/p99_groups_unlost_ratio_bbr");
    assert!(figure(&report, "/leader_changes") >= 0.0);
    for controller in ["cubic", "bbr"] {
        for loss in [0, 1] {
            for figure in [
                "commit_p50_ms",
                "commit_p99_ms",
                "together_p50_ms",
                "together_p99_ms",
                "writes_per_second",
            ] {
                let path = format!("/medians/{controller}/100/{loss}/{figure}");
                assert_figure(&report, &path);
            }
            let share = format!("/groups/{controller}/{loss}/untouched_percent");
            assert_figure(&report, &share);
        }
    }
}

#[test]
fn meshes_are_measured() {
    let report = report(&["scale", "--nodes", "3,4", "--seconds", "0"]);
    assert_figure(&report, "/bytes_per_idle_link");
    for (number, (nodes, links)) in [(3, 3.0), (4, 6.0)].into_iter().enumerate() {
        assert_figure(&report, &format!("/mesh_seconds/{nodes}"));
        assert_figure(&report, &format!("/meshes/{number}/tasks"));
        assert_eq!(figure(&report, &format!("/meshes/{number}/links")), links);
    }
}
