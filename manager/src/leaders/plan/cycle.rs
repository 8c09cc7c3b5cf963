//! A cycle of negative cost in a graph: Bellman and Ford's search. It must not know what an edge
//! stands for.

use std::ops::Add;

/// From one place to another, at a cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge<C> {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) cost: C,
}

/// A cycle whose edges cost less than nothing together, if there is one, as the pairs of places that
/// it passes. The same edges in the same order give the same cycle.
pub(super) fn negative_cycle<C>(places: usize, edges: &[Edge<C>]) -> Option<Vec<(usize, usize)>>
where
    C: Copy + Default + Ord + Add<Output = C>,
{
    // All places are starts, at no cost: a cycle may be anywhere.
    let mut cost = vec![C::default(); places];
    let mut before: Vec<Option<usize>> = vec![None; places];
    // Without a cycle, nothing is cheaper after as many rounds as there are places.
    for _ in 0..=places {
        let mut cheaper = false;
        for edge in edges {
            let through = cost[edge.from] + edge.cost;
            if through < cost[edge.to] {
                cost[edge.to] = through;
                before[edge.to] = Some(edge.from);
                cheaper = true;
            }
        }
        if !cheaper {
            return None;
        }
        // A cycle shows long before the last round.
        if let Some(cycle) = cycle_of(&before) {
            return Some(cycle);
        }
    }
    None
}

/// A cycle in "who was before", which only a cycle of negative cost makes.
fn cycle_of(before: &[Option<usize>]) -> Option<Vec<(usize, usize)>> {
    // In whose walk a place was seen first.
    let mut seen = vec![None; before.len()];
    for start in 0..before.len() {
        let mut at = start;
        while seen[at].is_none() {
            seen[at] = Some(start);
            match before[at] {
                Some(previous) => at = previous,
                None => break,
            }
        }
        if before[at].is_some() && seen[at] == Some(start) {
            let mut cycle = Vec::new();
            let mut place = at;
            while let Some(previous) = before[place] {
                cycle.push((previous, place));
                place = previous;
                if place == at {
                    return Some(cycle);
                }
            }
        }
    }
    None
}
