//! What a commit costs when the nodes are far apart and the network loses packets.
//!
//! Three nodes on the in-memory network, in virtual time: the real transport, TLS and QUIC, with a
//! clock that runs only when nothing else does, so that the speed of this machine changes nothing.
//! The leader sends each entry to two followers and needs one of them.

mod figures;
mod groups;
mod one_group;
mod setting;

use std::thread;
use std::time::Duration;

use clap::Args;

use self::figures::Figures;
use self::setting::Controller;
use self::setting::Setting;
use crate::pair::Failure;

/// What is measured.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Round trips, milliseconds.
    #[arg(long, value_delimiter = ',', default_values_t = [20, 50, 100, 200])]
    round_trips: Vec<u64>,
    /// Lost datagrams of a hundred.
    #[arg(long, value_delimiter = ',', default_values_t = [0.0, 0.1, 1.0, 3.0])]
    losses: Vec<f64>,
    /// Clients of the one group, beside one alone.
    #[arg(long, default_value_t = 64)]
    clients: u32,
    /// Groups of one client each, at 100 ms with and without a loss of 1 %.
    #[arg(long, default_value_t = 64)]
    groups: u64,
    /// Virtual seconds of each.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// How often everything is measured, each time with other losses.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Prints one JSON object as the last line.
    #[arg(long)]
    json: bool,
}

/// Where groups of one client each are looked at.
const GROUPS_ROUND_TRIP: u64 = 100;
const GROUPS_LOSS: f64 = 1.0;

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let losses_fine = options.losses.iter().all(|loss| (0.0..50.0).contains(loss));
    let round_trips_fine = options
        .round_trips
        .iter()
        .all(|ms| (2..=1_000).contains(ms));
    if !losses_fine || !round_trips_fine || options.clients == 0 || options.groups == 0 {
        return Err("losses below 50 %, round trips of 2 to 1,000 ms, a client and a group".into());
    }
    // Each has a clock of its own, so they may run at the same time.
    let both = thread::scope(|scope| {
        let running =
            Controller::ALL.map(|controller| scope.spawn(move || all(options, controller)));
        running.map(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| Err("a run has panicked".to_owned()))
        })
    });
    let mut figures = Figures::default();
    for of_one in both {
        figures.merge(of_one?);
    }
    println!("{figures}");
    if options.json {
        println!("{}", figures.json()?);
    }
    Ok(())
}

/// All places with one controller. The failure is a text, because it crosses threads.
fn all(options: &Options, controller: Controller) -> Result<Figures, String> {
    let mut figures = Figures::default();
    measure(options, controller, &mut figures).map_err(|error| error.to_string())?;
    Ok(figures)
}

fn measure(
    options: &Options,
    controller: Controller,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let time = Duration::from_secs(options.seconds);
    for seed in 1..=u64::from(options.rounds) {
        for &round_trip in &options.round_trips {
            for &loss in &options.losses {
                let setting = Setting::new(controller, round_trip, loss, seed);
                let taken = setting.run(one_group::write(&setting, options.clients, time))?;
                figures.add_one_group(&setting, &taken)?;
            }
        }
        for loss in [0.0, GROUPS_LOSS] {
            let setting = Setting::new(controller, GROUPS_ROUND_TRIP, loss, seed);
            let taken = setting.run(groups::write(&setting, options.groups, time))?;
            figures.add_groups(&setting, &taken)?;
        }
    }
    Ok(())
}
