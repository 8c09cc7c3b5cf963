//! Many groups of one client each, on the same links: whether a packet that one group lost delays
//! another one.
//!
//! What a datagram carries cannot be seen from outside, but when it left can. Each group writes at its
//! own moment of a round trip, so a write is taken for touched if the network dropped anything on the
//! way to a follower when its entry left, or on the way back when its acknowledgement did, within a
//! margin. That takes many for touched that lost nothing, and none that lost its own packet at its
//! first sending for untouched.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::try_join_all;
use quicraft_tests::sim::{Latencies, MS, SimCluster};
use tokio::time::{Instant, interval, sleep};

use super::one_group::{commit, terms};
use super::setting::Setting;
use crate::pair::Failure;

/// How much later than it should an entry or an acknowledgement may leave, milliseconds: timers have
/// a resolution of one, in each step of a write and of the look at what was dropped.
const MARGIN: u64 = 3;

/// What the groups gave.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) all: Latencies,
    /// Writes at whose moments nothing was dropped.
    pub(super) untouched: Latencies,
    pub(super) leader_changes: u64,
}

/// A write that was committed.
#[derive(Clone, Copy, Debug)]
struct Write {
    /// Milliseconds since the first one.
    at: u64,
    took: Duration,
}

/// When something was dropped, milliseconds since the first write.
#[derive(Debug, Default)]
struct Drops {
    to_followers: BTreeSet<u64>,
    to_leader: BTreeSet<u64>,
}

impl Drops {
    /// Whether something was dropped when the entry of this write left, or its acknowledgement.
    fn touch(&self, write: &Write, round_trip: u64) -> bool {
        let near = |drops: &BTreeSet<u64>, at| drops.range(at..=at + MARGIN).next().is_some();
        near(&self.to_followers, write.at) || near(&self.to_leader, write.at + round_trip / 2)
    }
}

pub(super) async fn write(
    setting: &Setting,
    groups: u64,
    time: Duration,
) -> Result<Taken, Failure> {
    let cluster = SimCluster::start(setting.spec(groups)).await;
    let (terms_before, start) = (terms(&cluster), Instant::now());
    let end = start + time;
    let count = u32::try_from(groups)?;
    let clients = cluster.groups().zip(0_u32..).map(|(group, number)| {
        let cluster = &cluster;
        async move {
            sleep(setting.round_trip() * number / count).await;
            let mut writes = Vec::new();
            while Instant::now() < end {
                let at = millis_since(start);
                let took = commit(cluster, group).await?;
                writes.push(Write { at, took });
            }
            Ok::<_, Failure>(writes)
        }
    });
    let mut clients = Box::pin(try_join_all(clients));
    let (mut drops, mut looks) = (Drops::default(), interval(MS));
    let mut lost = lost(&cluster);
    let writes = loop {
        tokio::select! {
            writes = &mut clients => break writes?.concat(),
            _ = looks.tick() => {
                let now = self::lost(&cluster);
                if now.0 > lost.0 {
                    drops.to_followers.insert(millis_since(start));
                }
                if now.1 > lost.1 {
                    drops.to_leader.insert(millis_since(start));
                }
                lost = now;
            }
        }
    };
    let untouched = writes.iter();
    let untouched = untouched.filter(|write| !drops.touch(write, setting.round_trip));
    Ok(Taken {
        untouched: untouched.map(|write| write.took).collect(),
        all: writes.iter().map(|write| write.took).collect(),
        leader_changes: terms(&cluster) - terms_before,
    })
}

fn millis_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// What was lost so far on the way from the leader to others, and from others to it. Node 1 founds
/// all groups and leads them.
fn lost(cluster: &SimCluster) -> (u64, u64) {
    const LEADER: u64 = 1;
    let ip = |node| cluster.address(node).ip();
    let lost = |from, to| cluster.switch.counters(ip(from), ip(to)).dropped.lost;
    let others = cluster.nodes().map(|node| node.id);
    others
        .filter(|&other| other != LEADER)
        .fold((0, 0), |(there, back), other| {
            (there + lost(LEADER, other), back + lost(other, LEADER))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_touches_the_writes_of_its_moment_and_way() {
        let drops = Drops {
            to_followers: BTreeSet::from([10]),
            to_leader: BTreeSet::from([200]),
        };
        let touched = |at| {
            let took = MS;
            drops.touch(&Write { at, took }, 100)
        };
        assert!((7..=10).all(touched));
        assert!(!touched(6) && !touched(11));
        assert!((147..=150).all(touched));
        assert!(!touched(146) && !touched(151) && !touched(200));
    }
}
