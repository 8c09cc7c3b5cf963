//! Which figures are drawn. The names of keys are those of the measurements' last lines.

use serde_json::Value;

use super::bars::Bars;
use super::scale::Run;
use crate::all::{Collected, Measurement};

/// Every plot for which there are figures, with the name of its file.
pub(crate) fn all(collected: &Collected) -> Vec<(&'static str, String)> {
    let of = |name: &str| collected.of(name);
    let plots = [
        ("rpc.svg", of("rpc").map(calls)),
        ("rpc-cpu.svg", of("rpc").map(cpu_of_calls)),
        ("bulk.svg", of("bulk").map(bulk)),
        ("mixed.svg", of("mixed").map(mixed)),
        ("heartbeats.svg", of("heartbeats").map(heartbeats)),
        (
            "cluster-1.svg",
            of("cluster").map(|cluster| writes(cluster, ONE_GROUP)),
        ),
        (
            "cluster-64.svg",
            of("cluster").map(|cluster| writes(cluster, GROUPS)),
        ),
        ("wan-p50.svg", of("wan").map(|wan| commits(wan, P50))),
        ("wan-p99.svg", of("wan").map(|wan| commits(wan, P99))),
    ];
    let drawn = plots
        .into_iter()
        .filter_map(|(file, bars)| Some((file, bars?.svg()?)));
    drawn.collect()
}

const IN_FLIGHT: [&str; 5] = ["1", "16", "64", "256", "1024"];

/// Keys and names of peers.
const PEERS: [(&str, &str); 4] = [
    ("quicraft", "Quicraft"),
    ("tonic", "tonic gRPC"),
    ("tls", "TLS over TCP"),
    ("bare", "bare quinn"),
];

/// A series: a value for each group, by the pointer to it.
fn series<const N: usize>(
    from: &Measurement,
    name: &str,
    groups: [&str; N],
    pointer: impl Fn(&str) -> String,
) -> (String, Vec<Option<f64>>) {
    let values = groups.into_iter().map(|group| from.figure(&pointer(group)));
    (name.to_owned(), values.collect())
}

fn names<const N: usize>(groups: [&str; N]) -> Vec<String> {
    groups.map(str::to_owned).to_vec()
}

fn calls(rpc: &Measurement) -> Bars {
    let others = PEERS.iter().filter(|(key, _)| *key != "quicraft");
    Bars {
        title: "Small calls a second: Quicraft over each peer (higher is better)",
        unit: "ratio of medians",
        run: Run::Ratio,
        groups_are: "calls in flight, 256 B out and 64 B back",
        groups: names(IN_FLIGHT),
        series: others
            .map(|(key, name)| {
                let named = format!("over {name}");
                series(rpc, &named, IN_FLIGHT, |calls| {
                    format!("/calls_{calls}_vs_{key}")
                })
            })
            .collect(),
        command: rpc.command.clone(),
    }
}

fn cpu_of_calls(rpc: &Measurement) -> Bars {
    Bars {
        title: "Processor time of a small call, both ends (lower is better)",
        unit: "us a call, log",
        run: Run::Log,
        groups_are: "calls in flight, 256 B out and 64 B back",
        groups: names(IN_FLIGHT),
        series: PEERS
            .iter()
            .map(|(key, name)| {
                let pointer = |calls: &str| format!("/medians/{key}/{calls}/cpu_us_per_call");
                series(rpc, name, IN_FLIGHT, pointer)
            })
            .collect(),
        command: rpc.command.clone(),
    }
}

fn bulk(bulk: &Measurement) -> Bars {
    const WAYS: [&str; 2] = ["default", "jumbo"];
    let peers = [
        ("bare", "bare quinn"),
        ("tonic", "tonic gRPC at its best"),
        ("tls", "TLS over TCP"),
    ];
    Bars {
        title: "A snapshot's bytes a second: Quicraft over each peer (higher is better)",
        unit: "ratio of medians",
        run: Run::Ratio,
        groups_are: "largest datagram of Quicraft and bare quinn",
        groups: vec!["default".to_owned(), "jumbo path".to_owned()],
        series: peers
            .iter()
            .map(|(key, name)| {
                let named = format!("over {name}");
                series(bulk, &named, WAYS, |way| format!("/{way}_vs_{key}"))
            })
            .collect(),
        command: bulk.command.clone(),
    }
}

fn mixed(mixed: &Measurement) -> Bars {
    const LOADS: [&str; 3] = ["idle", "snapshot", "append"];
    let shown = [
        ("quicraft", "p50_ms", "Quicraft p50"),
        ("quicraft", "p99_ms", "Quicraft p99"),
        ("tonic", "p50_ms", "tonic p50"),
        ("tonic", "p99_ms", "tonic p99"),
    ];
    Bars {
        title: "Latency of heartbeats and votes beside a load (lower is better)",
        unit: "ms, log",
        run: Run::Log,
        groups_are: "what runs beside them on the same connection",
        groups: ["nothing", "a snapshot", "8 MiB append batches"]
            .map(str::to_owned)
            .to_vec(),
        series: shown
            .iter()
            .map(|(peer, figure, name)| {
                series(mixed, name, LOADS, |load| {
                    format!("/medians/{peer}/{load}/{figure}")
                })
            })
            .collect(),
        command: mixed.command.clone(),
    }
}

fn heartbeats(heartbeats: &Measurement) -> Bars {
    const NUMBERS: [&str; 4] = ["1", "100", "1000", "10000"];
    let shown = [
        ("quicraft", "Quicraft"),
        ("tonic", "tonic gRPC"),
        ("driver", "the driver alone"),
    ];
    Bars {
        title: "Processor time of a heartbeat, both ends (lower is better)",
        unit: "us a heartbeat, log",
        run: Run::Log,
        groups_are: "groups, each with a heartbeat every 100 ms to one peer",
        groups: names(NUMBERS),
        series: shown
            .iter()
            .map(|(key, name)| {
                let pointer =
                    |groups: &str| format!("/medians/{key}/{groups}/cpu_us_per_heartbeat");
                series(heartbeats, name, NUMBERS, pointer)
            })
            .collect(),
        command: heartbeats.command.clone(),
    }
}

/// A number of groups, and the title of its plot.
type Writes = (&'static str, &'static str);

const ONE_GROUP: Writes = (
    "1",
    "Writes a second of three nodes, one group (higher is better)",
);
const GROUPS: Writes = (
    "64",
    "Writes a second of three nodes, 64 groups (higher is better)",
);

fn writes(cluster: &Measurement, (groups, title): Writes) -> Bars {
    const CLIENTS: [&str; 4] = ["1", "64", "1024", "4096"];
    let networks = [
        ("quicraft", "Quicraft"),
        ("tonic", "tonic gRPC"),
        ("channel", "function call (ceiling)"),
    ];
    Bars {
        title,
        unit: "writes a second, log",
        run: Run::Log,
        groups_are: "clients, each with one write at a time",
        groups: names(CLIENTS),
        series: networks
            .iter()
            .map(|(key, name)| {
                let pointer =
                    |clients: &str| format!("/medians/{key}/{clients}/{groups}/writes_per_second");
                series(cluster, name, CLIENTS, pointer)
            })
            .collect(),
        command: cluster.command.clone(),
    }
}

/// A figure, and the title of its plot.
type Commits = (&'static str, &'static str);

const P50: Commits = (
    "commit_p50_ms",
    "Commit of one client across data centres, median (CUBIC)",
);
const P99: Commits = (
    "commit_p99_ms",
    "Commit of one client across data centres, 99th percentile (CUBIC)",
);

fn commits(wan: &Measurement, (figure, title): Commits) -> Bars {
    // As the measurement names them: by number, not by text.
    let sorted = |value: Option<&Value>| -> Vec<String> {
        let keys = value
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(|map| map.keys());
        let mut keys: Vec<(f64, &String)> = keys
            .filter_map(|key| Some((key.parse().ok()?, key)))
            .collect();
        keys.sort_by(|one, other| one.0.total_cmp(&other.0));
        keys.into_iter().map(|(_, key)| key.clone()).collect()
    };
    let trips = sorted(wan.figures.pointer("/medians/cubic"));
    let losses = trips.first().map(|trip| format!("/medians/cubic/{trip}"));
    let losses = sorted(losses.and_then(|losses| wan.figures.pointer(&losses)));
    let series = losses.iter().map(|loss| {
        let pointer = |trip: &String| format!("/medians/cubic/{trip}/{loss}/{figure}");
        let values = trips.iter().map(|trip| wan.figure(&pointer(trip)));
        (format!("{loss} % lost"), values.collect())
    });
    Bars {
        title,
        unit: "ms, log",
        run: Run::Log,
        groups_are: "round trip, ms",
        series: series.collect(),
        groups: trips,
        command: wan.command.clone(),
    }
}
