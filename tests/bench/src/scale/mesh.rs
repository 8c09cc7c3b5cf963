//! One mesh in this process, from nodes without links to all links idle.

use std::net::Ipv4Addr;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::quicraft::{introduce, meshed, start};
use crate::memory;
use crate::pair::{Failure, report};

/// How long a mesh may take.
const LIMIT: Duration = Duration::from_secs(60);

/// One mesh.
#[derive(Debug, Args)]
pub(crate) struct MeshOptions {
    #[arg(long)]
    nodes: u64,
    #[arg(long)]
    seconds: f64,
}

/// What it was.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Mesh {
    pub(super) links: u64,
    /// Tasks of the runtime, quinn's drivers among them.
    pub(super) tasks: f64,
    /// What this process has grown by since its nodes had no link, for each end of each link. Memory
    /// that handshakes took and the allocator keeps is in it, and the pages of each endpoint's
    /// receive buffer that were touched for the first time: it is a bound from above. What a link
    /// holds, counted by the allocator, is in `transport/tests/memory.rs`.
    pub(super) bytes_per_idle_link_end: f64,
    /// From the moment in which all nodes learn of each other.
    pub(super) mesh_seconds: f64,
}

pub(crate) async fn run_mesh(options: MeshOptions) -> Result<(), Failure> {
    let nodes: Vec<u64> = (1..=options.nodes).collect();
    // Each has an address of its own, as on machines of their own: places at the handshake are shared
    // out by address.
    let address = |node| Ipv4Addr::new(127, 0, 1, u8::try_from(node).unwrap_or(u8::MAX));
    let transports = start(&nodes, address)?;
    let before = memory::resident()?;
    let started = Instant::now();
    introduce(&transports)?;
    timeout(LIMIT, meshed(&transports)).await??;
    let took = started.elapsed();
    sleep(Duration::from_secs_f64(options.seconds)).await;

    let links = options.nodes * (options.nodes - 1) / 2;
    let grown = memory::resident()?.saturating_sub(before);
    report(&Mesh {
        links,
        tasks: Handle::current().metrics().num_alive_tasks() as f64,
        bytes_per_idle_link_end: grown as f64 / (2 * links) as f64,
        mesh_seconds: took.as_secs_f64(),
    })
}
