//! Each comparison in small: it ends, and tells every figure that the documents name.

use std::process::Command;

fn report(arguments: &[&str]) -> serde_json::Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quicraft-bench"));
    command.args(arguments).arg("--json");
    let output = command.output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    println!("{said}{failed}");
    assert!(output.status.success());
    let report = said.lines().last().expect("a report");
    serde_json::from_str(report).expect("one JSON object")
}

/// A run this short says nothing about speed, so any figure above 0 will do.
fn assert_figure(report: &serde_json::Value, path: &str) {
    let figure = report.pointer(path).and_then(serde_json::Value::as_f64);
    let figure = figure.unwrap_or_else(|| panic!("no {path} in {report}"));
    assert!(figure.is_finite() && figure > 0.0, "{path} is {figure}");
}

#[test]
fn small_calls_are_compared() {
    let report = report(&["rpc", "--seconds", "0.05", "--rounds", "1"]);
    for key in [
        "/calls_256_vs_tonic",
        "/calls_256_vs_bare",
        "/p50_1_vs_tonic",
        "/p50_1_vs_bare",
        "/cpu_256_vs_tonic",
    ] {
        assert_figure(&report, key);
    }
    for peer in ["quicraft", "tonic", "tls", "bare"] {
        for in_flight in [1, 16, 64, 256, 1_024] {
            for figure in [
                "calls_per_second",
                "p50_us",
                "p99_us",
                "p999_us",
                "cpu_us_per_call",
            ] {
                assert_figure(&report, &format!("/medians/{peer}/{in_flight}/{figure}"));
            }
        }
    }
}

#[test]
fn snapshots_are_compared() {
    let report = report(&["bulk", "--mib", "4", "--rounds", "1"]);
    for key in ["/default_vs_bare", "/jumbo_vs_tonic", "/jumbo_vs_tls"] {
        assert_figure(&report, key);
    }
    for way in [
        "quicraft_default",
        "quicraft_jumbo",
        "bare_default",
        "bare_jumbo",
        "tonic_64k",
        "tonic_256k",
        "tonic_1m",
        "tls",
    ] {
        for figure in ["mb_per_second", "cpu_s_per_gb"] {
            assert_figure(&report, &format!("/medians/{way}/{figure}"));
        }
    }
}

#[test]
fn heartbeats_beside_loads_are_compared() {
    let report = report(&["mixed", "--seconds", "0.05", "--rounds", "1"]);
    for key in [
        "/idle_p99_ms",
        "/snapshot_p99_ms",
        "/append_p99_ms",
        "/tonic_snapshot_p99_ms",
    ] {
        assert_figure(&report, key);
    }
    for peer in ["quicraft", "tonic"] {
        for load in ["snapshot", "append"] {
            assert_figure(&report, &format!("/medians/{peer}/{load}/mb_per_second"));
        }
    }
}

#[test]
fn heartbeats_of_many_groups_are_compared() {
    let report = report(&["heartbeats", "--seconds", "0.3", "--rounds", "1"]);
    for key in [
        "/cpu_10000_vs_tonic",
        "/datagrams_1000_vs_100",
        "/bytes_per_idle_group",
    ] {
        assert_figure(&report, key);
    }
    for peer in ["quicraft", "tonic", "driver"] {
        for groups in [1, 100, 1_000, 10_000] {
            for figure in ["heartbeats_per_second", "cpu_us_per_heartbeat"] {
                assert_figure(&report, &format!("/medians/{peer}/{groups}/{figure}"));
            }
        }
    }
}
