//! What nodes hold when nothing happens: links, calls in flight, tasks, descriptors.
//!
//! All of it is as it was before the first event, or something has leaked. Which node leads a group
//! may have changed, and a leader has tasks for each follower, so the tasks of all nodes are
//! compared in one sum; descriptors do not depend on who leads, so each node has its own number.
//! Not in the sum is what belongs to open streams, which stay for a while after their last use and
//! have a bound of their own, nor what carries heartbeats, of which there is one for each pair of a
//! node that leads and a follower, so that their number is another one when fewer nodes lead.

use std::collections::BTreeMap;

use quicraft_transport::limits::{CALL_STREAMS_IDLE_MAX, SNAPSHOT_STREAMS_MAX};
use tokio::time::{Duration, Instant};

use super::super::client::Clients;
use super::super::error::ClusterError;
use super::super::limits::{REST, STEADY, STEADY_LOOKS};
use super::super::nodes::Nodes;
use super::super::observed::Observed;
use super::super::seen::descriptors;
use super::super::status::{Status, missing, not_one_link};
use super::super::wait::{Look, until};

/// What the nodes hold, in the order of their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holding {
    /// Alive tasks of each node, but for those of its peers' streams and of its heartbeats.
    pub tasks: Vec<u64>,
    /// Open streams of the peers of each node, and those of them that carry appends.
    pub streams: Vec<(u64, u64)>,
    /// Open descriptors of each node.
    pub descriptors: Vec<u64>,
}

/// What was above its place at every look so far. What has leaked stays; a heartbeat that is just under
/// way, or its handler, is not there at the next look. On a busy machine something always is.
#[derive(Debug, Default)]
struct Leaks {
    /// The fewest calls in flight from a node to a peer.
    calls: BTreeMap<(u64, u64), u64>,
    /// Whether there were as many tasks as before, once.
    tasks: bool,
    /// Whether there were as many descriptors as before, once.
    descriptors: bool,
}

impl Leaks {
    /// Looks once more, and says what is still above its place.
    fn look(&mut self, all: &[Status], before: &Holding, now: &Holding) -> Option<String> {
        for status in all {
            for link in &status.links {
                let fewest = self.calls.entry((status.node, link.peer));
                let fewest = fewest.or_insert(link.in_flight);
                *fewest = link.in_flight.min(*fewest);
            }
        }
        let sum = |tasks: &[u64]| tasks.iter().sum::<u64>();
        self.tasks |= sum(&now.tasks) == sum(&before.tasks);
        self.descriptors |= before.descriptors == now.descriptors;
        let busy = self.calls.iter().find(|(_, calls)| **calls > 0);
        let busy = busy.map(|((node, peer), calls)| {
            format!("an end of {calls} calls from node {node} to {peer}")
        });
        let differs = || format!("what was there before: {before:?}, and now: {now:?}");
        busy.or_else(|| (!self.tasks || !self.descriptors).then(differs))
    }
}

/// How the nodes came to rest after the last event.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Rest {
    /// From the last event; absent if they did not in time.
    pub took: Option<Duration>,
    /// What was missing at the last look, if anything was.
    pub missing: Option<String>,
    /// Calls in flight that were there at every look.
    pub in_flight: u64,
    /// What the nodes held at the last look.
    pub holding: Holding,
    /// What they said at the last look.
    pub all: Vec<Status>,
}

/// Waits until what the nodes hold stands still: the numbers before the first event.
///
/// # Errors
///
/// [`ClusterError`], when they do not in time.
pub async fn steady(
    nodes: &mut Nodes,
    watchers: &Clients,
    observed: &mut Observed,
) -> Result<Holding, ClusterError> {
    let (mut last, mut equal) = (Holding::default(), 0);
    until("nodes that stand still", STEADY, async || {
        nodes.check()?;
        let (all, now) = match look(nodes, watchers, observed).await? {
            Look::There(seen) => seen,
            Look::Missing(missing) => return Ok(Look::Missing(missing)),
        };
        if let Some(missing) = missing(&all).or_else(|| in_flight(&all)) {
            equal = 0;
            return Ok(Look::Missing(missing));
        }
        equal = if now == last { equal + 1 } else { 0 };
        last = now;
        Ok(if equal >= STEADY_LOOKS {
            Look::There(last.clone())
        } else {
            Look::Missing(format!("the same numbers again: {last:?}"))
        })
    })
    .await
}

/// Waits until the nodes are as they were `before`, at most [`REST`] from `since`.
///
/// # Errors
///
/// [`ClusterError`], when a node ends by itself; that they do not come to rest is in the answer.
pub async fn rest(
    nodes: &mut Nodes,
    watchers: &Clients,
    observed: &mut Observed,
    before: &Holding,
    since: Instant,
) -> Result<Rest, ClusterError> {
    let mut rest = Rest::default();
    let mut leaks = Leaks::default();
    let left = (since + REST).saturating_duration_since(Instant::now());
    let waited = until("nodes at rest", left, async || {
        nodes.check()?;
        let (all, holding) = match look(nodes, watchers, observed).await? {
            Look::There(seen) => seen,
            Look::Missing(missing) => return Ok(Look::Missing(missing)),
        };
        let missing = missing(&all)
            .or_else(|| not_one_link(&all))
            .or_else(|| too_many_streams(&all))
            .or_else(|| leaks.look(&all, before, &holding));
        (rest.all, rest.holding) = (all, holding);
        Ok(missing.map_or(Look::There(()), Look::Missing))
    })
    .await;
    rest.in_flight = leaks.calls.values().sum();
    match waited {
        Ok(()) => rest.took = Some(since.elapsed()),
        Err(ClusterError::NotInTime { missing, .. }) => rest.missing = Some(missing),
        Err(error) => return Err(error),
    }
    Ok(rest)
}

/// Counts descriptors first: nobody asks a node for anything then.
async fn look(
    nodes: &Nodes,
    watchers: &Clients,
    observed: &mut Observed,
) -> Result<Look<(Vec<Status>, Holding)>, ClusterError> {
    let mut holding = Holding::default();
    for node in 0..nodes.len() {
        let Some(pid) = nodes.pid(node) else {
            return Ok(Look::Missing(format!("node {}", nodes.id(node))));
        };
        holding.descriptors.push(descriptors(pid)?);
    }
    Ok(match observed.ask_all(watchers, nodes.len()).await {
        Ok(all) => {
            holding.tasks = all.iter().map(|status| status.tasks).collect();
            holding.streams = all.iter().map(peer_streams).collect();
            Look::There((all, holding))
        }
        Err(missing) => Look::Missing(missing),
    })
}

fn peer_streams(status: &Status) -> (u64, u64) {
    let links = status.links.iter();
    links.fold((0, 0), |(streams, sessions), link| {
        (streams + link.peer_streams, sessions + link.peer_sessions)
    })
}

/// A link with more streams of the peer than its groups and its pool of calls account for.
fn too_many_streams(all: &[Status]) -> Option<String> {
    all.iter().find_map(|status| {
        // Those that take writes, and the meta group.
        let groups = status.groups.len() as u64 + 1;
        let kept = (CALL_STREAMS_IDLE_MAX + SNAPSHOT_STREAMS_MAX) as u64;
        let leaked = status
            .links
            .iter()
            .find(|link| link.peer_sessions > groups || link.peer_streams > groups + kept)?;
        Some(format!(
            "an end of {} streams, {} of them with appends, from node {} to {}",
            leaked.peer_streams, leaked.peer_sessions, leaked.peer, status.node
        ))
    })
}

fn in_flight(all: &[Status]) -> Option<String> {
    all.iter().find_map(|status| {
        let busy = status.links.iter().find(|link| link.in_flight > 0)?;
        Some(format!(
            "an end of {} calls from node {} to {}",
            busy.in_flight, status.node, busy.peer
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(tasks: &[u64], descriptors: &[u64]) -> Holding {
        Holding {
            tasks: tasks.to_vec(),
            streams: Vec::new(),
            descriptors: descriptors.to_vec(),
        }
    }

    fn status(node: u64, in_flight: u64) -> Status {
        let json = serde_json::json!({
            "node": node,
            "groups": [],
            "links": [{ "peer": 3 - node, "connected": true, "links_max": 1,
                        "in_flight": in_flight }],
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn leaders_may_move_but_nothing_may_leak() {
        let before = holding(&[30, 20, 20], &[9, 9, 9]);
        let look = |now: &Holding| Leaks::default().look(&[], &before, now);
        assert_eq!(look(&holding(&[20, 30, 20], &[9, 9, 9])), None);
        assert!(look(&holding(&[20, 31, 20], &[9, 9, 9])).is_some());
        assert!(look(&holding(&[20, 29, 20], &[9, 9, 9])).is_some());
        assert!(look(&holding(&[30, 20, 20], &[8, 10, 9])).is_some());
    }

    #[test]
    fn what_is_there_at_every_look_has_leaked_and_nothing_else() {
        let before = holding(&[5], &[9]);
        let mut leaks = Leaks::default();
        let mut look =
            |one, two, now: &Holding| leaks.look(&[status(1, one), status(2, two)], &before, now);
        let busy = look(1, 4, &holding(&[7], &[9])).unwrap();
        assert!(busy.contains("1 calls from node 1 to 2"), "{busy}");
        let busy = look(0, 5, &holding(&[7], &[9])).unwrap();
        assert!(busy.contains("4 calls from node 2 to 1"), "{busy}");
        let tasks = look(3, 0, &holding(&[7], &[9])).unwrap();
        assert!(tasks.contains("before"), "{tasks}");
        assert_eq!(look(3, 3, &before), None);
    }

    #[test]
    fn streams_have_a_bound() {
        let with = |streams: usize, sessions: usize| {
            let mut status = status(1, 0);
            status.links[0].peer_streams = streams as u64;
            status.links[0].peer_sessions = sessions as u64;
            too_many_streams(&[status])
        };
        let kept = CALL_STREAMS_IDLE_MAX + SNAPSHOT_STREAMS_MAX;
        // No group that takes writes, so that the meta group's is the only one.
        assert_eq!(with(kept + 1, 1), None);
        assert!(with(kept + 2, 1).is_some());
        assert!(with(2, 2).is_some());
    }

    #[test]
    fn calls_are_looked_at() {
        let pair = |in_flight| [status(1, 0), status(2, in_flight)];
        assert_eq!(in_flight(&pair(0)), None);
        let busy = in_flight(&pair(4)).unwrap();
        assert!(busy.contains("4 calls from node 2 to 1"), "{busy}");
    }
}
