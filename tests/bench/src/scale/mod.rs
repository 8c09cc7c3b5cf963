//! What full meshes cost: links, tasks, the memory of an idle link, and the time until all are there.
//!
//! All nodes of a mesh live in one process, which is a new one for each mesh, so that no memory of an
//! earlier one is taken for that of a link.

mod mesh;

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Map, Value, json};

use self::mesh::Mesh;
pub(crate) use self::mesh::{MeshOptions, run_mesh};
use crate::pair::{Failure, Node};
use crate::report::{Spread, Table};

/// What is measured.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Nodes of a mesh.
    #[arg(long, value_delimiter = ',', default_values_t = [3, 5, 9, 33])]
    nodes: Vec<u64>,
    /// How often each is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long a mesh is left idle before its memory is looked at, seconds.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Prints one JSON object as the last line.
    #[arg(long)]
    json: bool,
}

/// All rounds of one size.
#[derive(Debug, Default)]
struct Rounds {
    links: u64,
    tasks: Spread,
    bytes_per_idle_link_end: Spread,
    mesh_seconds: Spread,
}

impl Rounds {
    fn add(&mut self, mesh: &Mesh) -> Result<(), Failure> {
        self.links = mesh.links;
        self.tasks.add(mesh.tasks)?;
        self.bytes_per_idle_link_end
            .add(mesh.bytes_per_idle_link_end)?;
        self.mesh_seconds.add(mesh.mesh_seconds)
    }
}

pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    if options.nodes.iter().any(|nodes| !(2..=254).contains(nodes)) {
        return Err("a mesh has 2 to 254 nodes".into());
    }
    if !(0.0..=60.0).contains(&options.seconds) {
        return Err("a mesh is left idle for at most 60 seconds".into());
    }
    let mut sizes: BTreeMap<u64, Rounds> = BTreeMap::new();
    let seconds = options.seconds.to_string();
    for _ in 0..options.rounds {
        for &nodes in &options.nodes {
            let said = ["--nodes", &nodes.to_string(), "--seconds", &seconds];
            let mesh: Mesh = Node::start("scale-mesh", &said)?.report().await?;
            sizes.entry(nodes).or_default().add(&mesh)?;
        }
    }
    println!("{}", table(&sizes));
    if options.json {
        println!("{}", report(&sizes));
    }
    Ok(())
}

fn table(sizes: &BTreeMap<u64, Rounds>) -> Table {
    let mut table = Table::new([
        "nodes",
        "links",
        "tasks",
        "KiB of an end of an idle link",
        "full mesh, ms",
    ]);
    for (nodes, rounds) in sizes {
        let median = |spread: &Spread, unit: f64| spread.median().unwrap_or_default() * unit;
        table.row([
            nodes.to_string(),
            rounds.links.to_string(),
            format!("{:.0}", rounds.tasks),
            format!(
                "{:.0}",
                median(&rounds.bytes_per_idle_link_end, 1.0 / 1024.0)
            ),
            format!("{:.0}", median(&rounds.mesh_seconds, 1e3)),
        ]);
    }
    table
}

/// The memory of an idle link is that of the largest mesh, where what is not of a link weighs least.
fn report(sizes: &BTreeMap<u64, Rounds>) -> Value {
    let bytes = |rounds: &Rounds| rounds.bytes_per_idle_link_end.median();
    let largest = sizes.values().next_back();
    let mesh_seconds: Map<String, Value> = sizes
        .iter()
        .map(|(nodes, rounds)| (nodes.to_string(), json!(rounds.mesh_seconds.median())))
        .collect();
    let meshes: Vec<Value> = sizes
        .iter()
        .map(|(nodes, rounds)| {
            json!({
                "nodes": nodes,
                "links": rounds.links,
                "tasks": rounds.tasks.median(),
                "bytes_per_idle_link_end": bytes(rounds),
                "mesh_seconds": rounds.mesh_seconds.median(),
            })
        })
        .collect();
    json!({
        "bytes_per_idle_link": largest.and_then(bytes).map(|end| 2.0 * end),
        "bytes_per_idle_link_end": largest.and_then(bytes),
        "mesh_seconds": mesh_seconds,
        "meshes": meshes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_mesh_says_what_a_link_takes() {
        let mut sizes: BTreeMap<u64, Rounds> = BTreeMap::new();
        for (nodes, bytes_per_idle_link_end) in [(33, 100.0), (3, 900.0), (33, 300.0)] {
            let mesh = Mesh {
                links: nodes * (nodes - 1) / 2,
                tasks: 10.0,
                bytes_per_idle_link_end,
                mesh_seconds: nodes as f64,
            };
            sizes.entry(nodes).or_default().add(&mesh).unwrap();
        }
        let report = report(&sizes);
        assert_eq!(report["bytes_per_idle_link_end"], 200.0);
        assert_eq!(report["bytes_per_idle_link"], 400.0);
        assert_eq!(report["mesh_seconds"]["3"], 3.0);
        assert_eq!(report["meshes"][1]["links"], 528);
        assert!(table(&sizes).to_string().contains("528"));
    }
}
