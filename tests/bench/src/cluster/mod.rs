//! Writes per second of three openraft nodes in one process, by what carries their messages.
//!
//! Log and state machine are in memory and the same for all networks, and clients write to the leaders
//! without a network between, so what differs is the network between the nodes: a function call (the
//! ceiling), Quicraft, and gRPC. Each round starts every cluster anew, one after the other.

mod channel;
mod figures;
mod grpc;
mod load;
pub(crate) mod network;
pub(crate) mod quicraft;

use std::time::Duration;

use clap::{Args, ValueEnum};

use self::channel::Channels;
use self::figures::{Figures, Place};
use self::grpc::Grpc;
use self::network::{Cluster, Network};
use self::quicraft::Quicraft;
use crate::pair::Failure;

/// What is measured.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Clients, each with one write at a time.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 1_024, 4_096])]
    clients: Vec<usize>,
    /// Groups, over which the clients are spread.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64])]
    groups: Vec<u64>,
    /// What carries the messages.
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = Kind::ALL)]
    networks: Vec<Kind>,
    /// How often everything is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long each place is measured, seconds.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Prints one JSON object as the last line.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// A function call.
    Channel,
    /// Quicraft, on real sockets.
    Quicraft,
    /// gRPC, on real sockets.
    Tonic,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Channel, Self::Quicraft, Self::Tonic];
}

pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let none = options.clients.contains(&0) || options.groups.contains(&0);
    if none || !(0.05..=60.0).contains(&options.seconds) {
        return Err("at least one client and group, and 0.05 to 60 seconds".into());
    }
    let mut figures = Figures::default();
    for round in 0..options.rounds {
        for &groups in &options.groups {
            let mut networks = options.networks.clone();
            // Nobody always comes first.
            let first = round as usize % networks.len().max(1);
            networks.rotate_left(first);
            for network in networks {
                match network {
                    Kind::Channel => measure::<Channels>(groups, &options, &mut figures).await?,
                    Kind::Quicraft => measure::<Quicraft>(groups, &options, &mut figures).await?,
                    Kind::Tonic => measure::<Grpc>(groups, &options, &mut figures).await?,
                }
            }
        }
    }
    println!("{}", figures.table()?);
    if options.json {
        println!("{}", figures.json()?);
    }
    Ok(())
}

/// One cluster, with each number of clients.
async fn measure<N: Network>(
    groups: u64,
    options: &Options,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let cluster = Cluster::<N>::start(groups).await?;
    for &clients in &options.clients {
        let time = Duration::from_secs_f64(options.seconds);
        let taken = load::write(&cluster.leaders, clients, time).await?;
        let network = N::NAME;
        let place = Place {
            groups,
            clients,
            network,
        };
        figures.add(place, &taken)?;
    }
    cluster.assert_unmoved()?;
    cluster.stop().await
}
