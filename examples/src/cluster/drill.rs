//! The bad day: the node that leads the most groups is killed with SIGKILL, restarted on the same
//! ports, and watched until it has caught up.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::client::Clients;
use super::error::ClusterError;
use super::limits::{CATCH_UP, PORTS_AGAIN, RESTART_AFTER, START};
use super::load::Load;
use super::nodes::{Nodes, lost_its_port};
use super::observed::Observed;
use super::status::Status;
use super::wait::{Look, until};

/// What the kill and the restart have shown.
#[derive(Debug)]
#[non_exhaustive]
pub struct Drill {
    /// The node that was killed.
    pub node: u64,
    /// The groups that it led.
    pub led: Vec<u64>,
    /// From the first packet between the restarted node and a peer to admission; the slowest peer.
    pub admitted: Duration,
    /// From the start of the restarted node's transport to its last link.
    pub linked: Duration,
    /// From the restart to the moment when it had applied all that was committed before it.
    pub recovered: Duration,
}

/// Kills, restarts and watches, while the load goes on.
///
/// # Errors
///
/// [`ClusterError`], when something does not come in time or a node ends by itself.
pub async fn drill(
    nodes: &mut Nodes,
    clients: &Clients,
    observed: &mut Observed,
    load: &Load,
    groups: u64,
    seed: u64,
) -> Result<Drill, ClusterError> {
    // Its counters end with it, so this look also notes the links of its first run.
    let (victim, led) = most_leading(nodes, clients, observed, seed).await?;
    let killed = nodes.kill(victim).await?;
    load.watch_outage(groups, killed, Instant::now());

    sleep(RESTART_AFTER).await;
    let restarted = Instant::now();
    let committed = committed(nodes, clients, observed, victim).await?;
    nodes.start(victim)?;
    let own = until(
        "a restarted node with all its groups",
        CATCH_UP,
        async || look_at_restarted(nodes, clients, observed, victim, restarted, &committed).await,
    )
    .await?;
    Ok(Drill {
        node: own.node,
        led,
        admitted: admitted(&own),
        linked: linked(&own),
        recovered: restarted.elapsed(),
    })
}

/// The place of the node that leads the most groups, by the leaders' own word, and these groups.
async fn most_leading(
    nodes: &mut Nodes,
    clients: &Clients,
    observed: &mut Observed,
    seed: u64,
) -> Result<(usize, Vec<u64>), ClusterError> {
    until("a node that leads", START, async || {
        nodes.check()?;
        let all = match observed.ask_all(clients, nodes.len()).await {
            Ok(all) => all,
            Err(missing) => return Ok(Look::Missing(missing)),
        };
        let led: Vec<_> = all.iter().map(Status::led).enumerate().collect();
        let most = led.iter().map(|(_, led)| led.len()).max().unwrap_or(0);
        if most == 0 {
            return Ok(Look::Missing("a node that leads a group".to_owned()));
        }
        let mut most: Vec<_> = led
            .into_iter()
            .filter(|(_, led)| led.len() == most)
            .collect();
        // Of those that lead as many, the seed chooses, so that nodes that dial and nodes that
        // are dialled are both killed.
        let chosen = usize::try_from(seed % most.len() as u64).unwrap_or(0);
        Ok(Look::There(most.swap_remove(chosen)))
    })
    .await
}

/// How far each group is committed, as far as the nodes that are left know.
pub(super) async fn committed(
    nodes: &mut Nodes,
    clients: &Clients,
    observed: &mut Observed,
    without: usize,
) -> Result<BTreeMap<u64, u64>, ClusterError> {
    until("the status of the nodes that are left", START, async || {
        nodes.check()?;
        let mut committed = BTreeMap::new();
        for node in (0..nodes.len()).filter(|&node| node != without) {
            let status = match clients.status(node).await {
                Ok(status) => status,
                Err(why) => {
                    let id = nodes.id(node);
                    return Ok(Look::Missing(format!("the status of node {id} ({why})")));
                }
            };
            observed.note(&status);
            for group in &status.groups {
                let known = committed.entry(group.group).or_insert(0);
                *known = group.committed.unwrap_or(0).max(*known);
            }
        }
        Ok(Look::There(committed))
    })
    .await
}

/// The restarted node, when it lacks nothing any more.
pub(super) async fn look_at_restarted(
    nodes: &mut Nodes,
    clients: &Clients,
    observed: &mut Observed,
    node: usize,
    restarted: Instant,
    committed: &BTreeMap<u64, u64>,
) -> Result<Look<Status>, ClusterError> {
    match nodes.check() {
        Ok(()) => {}
        // Somebody took a port meanwhile; it may be free again soon.
        Err(ClusterError::NodeEnded { node: id, status })
            if id == nodes.id(node)
                && lost_its_port(status)
                && restarted.elapsed() < PORTS_AGAIN =>
        {
            nodes.start(node)?;
            return Ok(Look::Missing("its ports".to_owned()));
        }
        Err(error) => return Err(error),
    }
    let status = match clients.status(node).await {
        Ok(status) => status,
        Err(why) => return Ok(Look::Missing(format!("its status ({why})"))),
    };
    observed.note(&status);
    Ok(behind(&status, nodes.len(), committed).map_or(Look::There(status), Look::Missing))
}

/// What a restarted node still lacks.
fn behind(own: &Status, nodes: usize, committed: &BTreeMap<u64, u64>) -> Option<String> {
    let linked = own.links.iter().filter(|link| link.connected).count();
    if linked + 1 < nodes {
        let down = own.links.iter().find(|link| !link.connected);
        let problem = down.and_then(|link| link.last_problem.as_deref());
        let (all, problem) = (nodes - 1, problem.unwrap_or("no problem known"));
        return Some(format!("links: it has {linked} of {all} ({problem})"));
    }
    committed.iter().find_map(|(&group, &index)| {
        let own = own.groups.iter().find(|own| own.group == group);
        let applied = own.and_then(|own| own.applied).unwrap_or(0);
        (applied < index)
            .then(|| format!("entries of group {group}: it has applied {applied} of {index}"))
    })
}

/// How long the slowest peer took to let the node in: for a link that the node dialled from the
/// start of its transport, failed dials included; for one that the peer dialled from the first
/// packet of that dial.
fn admitted(own: &Status) -> Duration {
    slowest(own.links.iter().map(|link| {
        if link.dialled_by == Some(own.node) {
            link.established_in_ms
        } else {
            link.handshake_ms
        }
    }))
}

/// From the start of the node's transport to its last link, whoever dialled it.
fn linked(own: &Status) -> Duration {
    slowest(own.links.iter().map(|link| link.established_in_ms))
}

fn slowest(millis: impl Iterator<Item = Option<u64>>) -> Duration {
    Duration::from_millis(millis.flatten().max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restarted(applied: u64, connected: bool) -> Status {
        let json = serde_json::json!({
            "node": 2,
            "groups": [{ "group": 0, "state": "follower", "term": 1, "applied": applied,
                         "digest": "" }],
            "links": [
                { "peer": 1, "connected": true, "dialled_by": 1, "links_max": 1,
                  "established_in_ms": 700, "handshake_ms": 6 },
                { "peer": 3, "connected": connected, "dialled_by": 2, "links_max": 1,
                  "established_in_ms": 9, "handshake_ms": 4 },
            ],
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_node_is_back_with_all_links_and_entries() {
        let committed = BTreeMap::from([(0, 10)]);
        assert_eq!(behind(&restarted(10, true), 3, &committed), None);
        let named = behind(&restarted(9, true), 3, &committed).unwrap();
        assert!(named.contains("applied 9 of 10"), "{named}");
        let named = behind(&restarted(10, false), 3, &committed).unwrap();
        assert!(named.contains("1 of 2"), "{named}");
        // A link that is not known at all is missing as well.
        assert!(behind(&restarted(10, true), 4, &committed).is_some());
    }

    #[test]
    fn a_peers_own_waits_do_not_count_as_admission() {
        let own = restarted(10, true);
        assert_eq!(admitted(&own), Duration::from_millis(9));
        assert_eq!(linked(&own), Duration::from_millis(700));
    }
}
