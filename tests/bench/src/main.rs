//! Measurements of Quicraft. Every figure in the documents names the subcommand that shows it.

mod add_node;
mod all;
mod bulk;
mod cluster;
mod eviction;
mod file_machine;
mod handshake_flood;
mod heartbeats;
mod memory;
mod mixed;
mod pages;
mod pair;
mod peers;
mod report;
mod rpc;
mod scale;
mod snapshot_memory;
mod snapshot_resume;
mod wan;

use clap::{Parser, Subcommand};

/// Measures Quicraft.
#[derive(Debug, Parser)]
#[command(name = "quicraft-bench", version, about)]
struct Arguments {
    #[command(subcommand)]
    measurement: Measurement,
}

#[derive(Debug, Subcommand)]
enum Measurement {
    /// All comparisons, one after the other, and their figures in one file.
    All(all::Options),
    /// Plots and the tables of docs/performance.md, from the figures of `all`.
    Plot(pages::Options),
    /// What it takes to take a node into 1,000 idle groups, beside one group alone.
    AddNode(add_node::Options),
    /// Writes per second of three nodes over a function call, Quicraft and gRPC.
    Cluster(cluster::Options),
    /// How long a link lives on when its peer was removed, suspended or revoked, or has expired.
    Eviction(eviction::Options),
    /// Small calls beside gRPC, TLS over TCP and bare quinn: calls a second, latency, CPU.
    Rpc(rpc::Options),
    /// One snapshot beside gRPC, TLS over TCP and bare quinn: bytes a second and CPU.
    Bulk(bulk::Options),
    /// How late heartbeats are beside a snapshot and beside large batches; and gRPC's.
    Mixed(mixed::Options),
    /// Heartbeats of 1 to 10,000 groups beside gRPC: CPU, datagrams, memory of an idle group.
    Heartbeats(heartbeats::Options),
    /// What full meshes of 3 to 33 nodes cost: links, tasks, memory of an idle link, time.
    Scale(scale::Options),
    /// One mesh of `scale`; started by it.
    #[command(hide = true)]
    ScaleMesh(scale::MeshOptions),
    /// The resident memory of sender and receiver while a snapshot travels between two processes.
    SnapshotMemory(snapshot_memory::Options),
    /// One of the two processes of `snapshot-memory`; started by it.
    #[command(hide = true)]
    SnapshotMemoryNode(snapshot_memory::NodeOptions),
    /// What a snapshot sends through three cuts of its link, and whether it survives its receiver.
    SnapshotResume(snapshot_resume::Options),
    /// One of the two processes of `snapshot-resume`; started by it.
    #[command(hide = true)]
    SnapshotResumeNode(snapshot_resume::NodeOptions),
    /// Commits of three nodes 20 to 200 ms apart, with losses, in virtual time.
    Wan(wan::Options),
    /// What 5,000 handshakes that nobody finishes cost a node, and whether a real peer gets in.
    HandshakeFlood(handshake_flood::Options),
    /// The node of `handshake-flood`; started by it.
    #[command(hide = true)]
    HandshakeFloodNode(handshake_flood::NodeOptions),
}

/// Threads that run the tasks of all peers of a comparison, on whatever machine.
const WORKERS: usize = 2;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let comparing = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .enable_all()
            .build()
    };
    match Arguments::parse().measurement {
        Measurement::All(options) => runtime.block_on(all::run(options)),
        Measurement::Plot(options) => pages::run(&options),
        Measurement::AddNode(options) => runtime.block_on(add_node::run(options)),
        Measurement::Cluster(options) => comparing()?.block_on(cluster::run(options)),
        Measurement::Eviction(options) => runtime.block_on(eviction::run(options)),
        Measurement::Rpc(options) => comparing()?.block_on(rpc::run(options)),
        Measurement::Bulk(options) => comparing()?.block_on(bulk::run(options)),
        Measurement::Mixed(options) => comparing()?.block_on(mixed::run(options)),
        Measurement::Heartbeats(options) => comparing()?.block_on(heartbeats::run(options)),
        Measurement::Scale(options) => comparing()?.block_on(scale::run(options)),
        Measurement::ScaleMesh(options) => comparing()?.block_on(scale::run_mesh(options)),
        Measurement::SnapshotMemory(options) => runtime.block_on(snapshot_memory::run(options)),
        Measurement::SnapshotMemoryNode(options) => {
            runtime.block_on(snapshot_memory::run_node(options))
        }
        Measurement::SnapshotResume(options) => runtime.block_on(snapshot_resume::run(options)),
        Measurement::SnapshotResumeNode(options) => {
            runtime.block_on(snapshot_resume::run_node(options))
        }
        Measurement::Wan(options) => wan::run(&options),
        Measurement::HandshakeFlood(options) => runtime.block_on(handshake_flood::run(options)),
        Measurement::HandshakeFloodNode(options) => {
            runtime.block_on(handshake_flood::run_node(options))
        }
    }
}
