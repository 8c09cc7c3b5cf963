//! The main job: `kv-cluster --kill-leader`; and drills of their own, as subcommands. See the
//! library's `cluster` for what they do.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use quicraft_examples::cluster::{
    BadDaysOptions, Job, KilledChangesOptions, Options, PowerOnOptions, RotateOptions, run,
};
use quicraft_examples::kv::process::{self, NodeArgs};

/// Starts a cluster of node processes on this machine, writes to it from many clients, kills the
/// leader of the most groups if told to, and proves that no acknowledged write was lost
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Kill, stop, pause and restart nodes under load, and look whether all is as before
    BadDays(BadDaysOptions),
    /// Add and remove nodes under load, kill whoever does it at a drawn step, and ask another one
    KilledChanges(KilledChangesOptions),
    /// Start all nodes at once, and measure the links between them
    PowerOn(PowerOnOptions),
    /// Replace all certificates under load, and the CA too, without losing a call
    Rotate(RotateOptions),
    /// Run one node; the jobs start this very program with this
    #[command(hide = true, name = "node")]
    Node(Box<NodeArgs>),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run(&match arguments.part {
        Some(Part::Node(node)) => return process::run(*node),
        Some(Part::BadDays(options)) => Job::BadDays(options),
        Some(Part::KilledChanges(options)) => Job::KilledChanges(options),
        Some(Part::PowerOn(options)) => Job::PowerOn(options),
        Some(Part::Rotate(options)) => Job::Rotate(options),
        None => Job::Main(arguments.options),
    })
}
