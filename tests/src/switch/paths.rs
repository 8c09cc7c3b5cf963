//! All paths of a switch, made when they are first used.

use std::collections::BTreeMap;
use std::net::IpAddr;

use tokio::time::Instant;

use super::conditions::Conditions;
use super::counters::Counters;
use super::path::{Fate, Path};

/// All paths, by their two ends, and the conditions of those that have none of their own.
#[derive(Debug)]
pub(super) struct Paths {
    seed: u64,
    default: Conditions,
    by_ends: BTreeMap<(IpAddr, IpAddr), Path>,
}

impl Paths {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            default: Conditions::default(),
            by_ends: BTreeMap::new(),
        }
    }

    pub(super) fn between(&mut self, from: IpAddr, to: IpAddr) -> &mut Path {
        self.by_ends
            .entry((from, to))
            .or_insert_with(|| Path::new(self.seed, from, to))
    }

    /// Decides about a datagram of `bytes` that is sent `now`, by a sender that may be cut off.
    pub(super) fn send(
        &mut self,
        from: IpAddr,
        to: IpAddr,
        bytes: usize,
        now: Instant,
        cut: bool,
    ) -> Fate {
        let path = self
            .by_ends
            .entry((from, to))
            .or_insert_with(|| Path::new(self.seed, from, to));
        path.send(now, bytes, cut, &self.default)
    }

    pub(super) fn set_default(&mut self, conditions: Conditions) {
        self.default = conditions;
        for path in self.by_ends.values_mut() {
            path.reroute();
        }
    }

    pub(super) fn conditions(&self, from: IpAddr, to: IpAddr) -> &Conditions {
        self.by_ends
            .get(&(from, to))
            .map_or(&self.default, |path| path.conditions(&self.default))
    }

    pub(super) fn unblock_all(&mut self) {
        for path in self.by_ends.values_mut() {
            path.blocked = false;
        }
    }

    pub(super) fn counters(&self, from: IpAddr, to: IpAddr) -> Counters {
        self.by_ends
            .get(&(from, to))
            .map_or_else(Counters::default, |path| path.counters)
    }

    pub(super) fn total(&self) -> Counters {
        let mut total = Counters::default();
        for path in self.by_ends.values() {
            total += path.counters;
        }
        total
    }
}
