//! Nodes that come, go and restart in order while clients write and read: what an operator does to a
//! cluster that is fine.
//!
//! It asks any node over HTTP, and asks another one when that does not answer: every change goes on
//! where it stopped.

mod grow;
pub(super) mod operator;
mod rolling;
mod shrink;

use std::sync::Arc;
use std::time::Duration;

use super::client::Clients;
use super::error::ClusterError;
use super::load::Load;
use super::nodes::Nodes;
use super::observed::Observed;
use super::options::Options;
use super::phase::Phase;

/// What came of the changes that were asked for.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Changes {
    /// From the start of the first new process until leaders are on all nodes.
    pub grew: Option<Duration>,
    /// Until the last removed process knew that it was removed.
    pub shrank: Option<Duration>,
    /// What clients noticed of the restarts.
    pub restarts: Option<Arc<Phase>>,
    /// What went wrong without ending the job.
    pub faults: Vec<String>,
}

/// The cluster that is changed, and who looks at it.
pub(super) struct Site<'a> {
    pub(super) nodes: &'a mut Nodes,
    pub(super) clients: &'a Clients,
    pub(super) observed: &'a mut Observed,
    pub(super) faults: Vec<String>,
}

/// Whether so many nodes can go.
///
/// # Errors
///
/// [`ClusterError::TooManyGone`].
pub fn check(options: &Options) -> Result<(), ClusterError> {
    let (nodes, shrink) = (options.nodes + options.grow, options.shrink);
    if shrink > 0 && nodes < shrink + 3 {
        return Err(ClusterError::TooManyGone { shrink, nodes });
    }
    Ok(())
}

/// Makes the changes one after the other, while the load goes on.
///
/// # Errors
///
/// [`ClusterError`], when something is refused or does not come in time, or a node ends by itself.
pub async fn change(
    options: &Options,
    nodes: &mut Nodes,
    clients: &Clients,
    observed: &mut Observed,
    load: &Load,
) -> Result<Changes, ClusterError> {
    let mut changes = Changes::default();
    let mut site = Site {
        nodes,
        clients,
        observed,
        faults: Vec::new(),
    };
    if options.grow > 0 {
        changes.grew = Some(site.grow(options.grow).await?);
    }
    if options.shrink > 0 {
        changes.shrank = Some(site.shrink(options.shrink).await?);
    }
    if options.rolling_restart {
        load.begin_phase();
        let restarted = site.restart_all().await;
        changes.restarts = load.end_phase();
        restarted?;
    }
    changes.faults = site.faults;
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Arguments {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn three_nodes_are_left_and_not_one_less() {
        let of = |line: &str| {
            let words = ["kv-cluster"].into_iter().chain(line.split(' '));
            check(&Arguments::parse_from(words).options)
        };
        of("--nodes 3 --grow 2 --shrink 2").unwrap();
        of("--nodes 2 --grow 1").unwrap();
        assert!(matches!(
            of("--nodes 3 --grow 2 --shrink 3"),
            Err(ClusterError::TooManyGone {
                shrink: 3,
                nodes: 5
            })
        ));
    }
}
