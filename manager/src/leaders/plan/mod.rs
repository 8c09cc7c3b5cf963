//! Which group should be led by which node: pure. It must not know how a leader is moved, nor why a
//! node is unfit.
//!
//! The best assignment is a flow of least cost: first as even as the groups allow, then with as few
//! moves as possible. An assignment has the least cost if no exchange of groups around a cycle of
//! nodes makes it cheaper, so the plan cancels such cycles until there are none. What a node leads in
//! all is closed into cycles by a hub: from the hub to whoever gives a group away, and from whoever
//! gets one back to the hub.

mod cycle;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::GroupName;
use cycle::{Edge, negative_cycle};

/// A group as the plan sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LedGroup {
    /// Its name.
    pub(super) name: GroupName,
    /// Who leads it. A group without a leader has nobody to hand it over, so it is not planned.
    pub(super) leader: u64,
    /// The voters that can lead it now.
    pub(super) candidates: BTreeSet<u64>,
}

/// A leader that should be another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Handover {
    /// The group.
    pub(super) group: GroupName,
    /// Who leads it.
    pub(super) from: u64,
    /// Who should.
    pub(super) to: u64,
}

/// The handovers after which every node leads its share of `groups`: none leads two more than
/// another to which it could give one, directly or around others. Nobody in `unfit` gets a group, or
/// keeps one that has another candidate. As few groups as possible move, each once, and the same
/// input gives the same plan on every node, in the order of the names.
pub(super) fn balance(groups: &[LedGroup], unfit: &BTreeSet<u64>) -> Vec<Handover> {
    let seats = groups.iter().map(|group| Seat::new(group, unfit));
    solve(seats.collect())
}

/// The handovers after which `node` leads no group that has another candidate; what it gives away is
/// spread as evenly as possible, and no other group moves.
pub(super) fn drain(groups: &[LedGroup], node: u64, unfit: &BTreeSet<u64>) -> Vec<Handover> {
    let mut unfit = unfit.clone();
    unfit.insert(node);
    let seats = groups.iter().map(|group| {
        if group.leader == node {
            Seat::new(group, &unfit)
        } else {
            Seat::pinned(group)
        }
    });
    solve(seats.collect())
}

/// A group, whom it may be given to, and who has it in the plan so far.
#[derive(Debug)]
struct Seat<'a> {
    group: &'a LedGroup,
    open: Vec<u64>,
    holder: u64,
}

impl<'a> Seat<'a> {
    fn new(group: &'a LedGroup, unfit: &BTreeSet<u64>) -> Self {
        let fit = group.candidates.iter().filter(|node| !unfit.contains(node));
        let open: Vec<_> = fit.copied().collect();
        let Some(&first) = open.first() else {
            return Self::pinned(group);
        };
        // If the leader cannot stay, anybody: the cycles find the best.
        let stays = open.contains(&group.leader);
        Self {
            group,
            open,
            holder: if stays { group.leader } else { first },
        }
    }

    fn pinned(group: &'a LedGroup) -> Self {
        Self {
            group,
            open: vec![group.leader],
            holder: group.leader,
        }
    }

    /// How many more groups move if this one is given to `node` instead of its holder.
    fn moves(&self, node: u64) -> i64 {
        i64::from(node != self.group.leader) - i64::from(self.holder != self.group.leader)
    }
}

/// What a change costs: first the sum of squares of what each node leads, which is least where the
/// load is most even, then the number of moved groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    unevenness: i64,
    moves: i64,
}

impl std::ops::Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            unevenness: self.unevenness + other.unevenness,
            moves: self.moves + other.moves,
        }
    }
}

fn solve(mut seats: Vec<Seat<'_>>) -> Vec<Handover> {
    seats.sort_by(|one, other| one.group.name.cmp(&other.group.name));
    let open = seats.iter().flat_map(|seat| seat.open.iter().copied());
    let nodes: BTreeSet<u64> = open.collect();
    let nodes: Vec<u64> = nodes.into_iter().collect();
    // Each cycle makes the assignment cheaper by a whole number, so this ends.
    loop {
        let graph = Graph::of(&seats, &nodes);
        let Some(cycle) = negative_cycle(nodes.len() + 1, &graph.edges()) else {
            break;
        };
        for (from, to) in cycle {
            if let Some(seat) = graph.carried(from, to) {
                seats[seat].holder = nodes[to];
            }
        }
    }
    let moved = seats.iter().filter(|seat| seat.holder != seat.group.leader);
    let handovers = moved.map(|seat| Handover {
        group: seat.group.name.clone(),
        from: seat.group.leader,
        to: seat.holder,
    });
    handovers.collect()
}

/// From whom to whom a group can go, at what cost, and which group that is. A node stands at its
/// place in the order of ids; the hub comes after all.
struct Graph {
    load: Vec<i64>,
    /// The moves that it costs to bring a group from one place to another, and the seat of the group
    /// that costs fewest.
    cheapest: Vec<Vec<Option<(i64, usize)>>>,
}

impl Graph {
    fn of(seats: &[Seat<'_>], nodes: &[u64]) -> Self {
        let mut load = vec![0_i64; nodes.len()];
        let mut cheapest = vec![vec![None; nodes.len()]; nodes.len()];
        for (index, seat) in seats.iter().enumerate() {
            // Every holder is one of the open nodes of its seat.
            let Ok(from) = nodes.binary_search(&seat.holder) else {
                continue;
            };
            load[from] += 1;
            for node in seat.open.iter().filter(|&&node| node != seat.holder) {
                if let Ok(to) = nodes.binary_search(node) {
                    let offer = (seat.moves(*node), index);
                    let best = cheapest[from][to].get_or_insert(offer);
                    *best = offer.min(*best);
                }
            }
        }
        Self { load, cheapest }
    }

    fn edges(&self) -> Vec<Edge<Cost>> {
        let edge = |from, to, unevenness, moves| {
            let cost = Cost { unevenness, moves };
            Edge { from, to, cost }
        };
        let hub = self.load.len();
        let mut edges = Vec::new();
        for (from, offers) in self.cheapest.iter().enumerate() {
            let offers = offers.iter().enumerate();
            edges.extend(offers.filter_map(|(to, offer)| Some(edge(from, to, 0, (*offer)?.0))));
        }
        for (at, &load) in self.load.iter().enumerate() {
            // (load + 1)^2 - load^2 for one more, (load - 1)^2 - load^2 for one less.
            edges.push(edge(at, hub, 2 * load + 1, 0));
            edges.push(edge(hub, at, 1 - 2 * load, 0));
        }
        edges
    }

    /// The seat of the group that goes from one place to another; none to the hub and from it.
    fn carried(&self, from: usize, to: usize) -> Option<usize> {
        let offer = self.cheapest.get(from)?.get(to)?;
        offer.map(|(_, seat)| seat)
    }
}
