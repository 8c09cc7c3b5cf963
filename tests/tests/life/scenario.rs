//! What is explored, and within which bounds. A bound of dials is one for each end; a world that
//! has used its dials up still has to come to rest, with new ones.

use super::world::{Budget, LARGER, Rules, SMALLER};

/// Two eager nodes that start at once, and one call of the smaller one.
pub(crate) fn pair(name: &'static str, dials: [u8; 2], change: impl FnOnce(&mut Budget)) -> Rules {
    let mut budget = Budget {
        dials: [dials[SMALLER], dials[LARGER], 0],
        ..Budget::default()
    };
    change(&mut budget);
    Rules {
        name,
        ordered: true,
        stood: true,
        eager: [true; 2],
        idle: false,
        clone: None,
        slow_drains: false,
        calls: [1, 0],
        budget,
    }
}

impl Rules {
    pub(crate) fn calls(mut self, calls: [u8; 2]) -> Self {
        self.calls = calls;
        self
    }

    /// Links that end have not stood, so that the backoff goes on.
    pub(crate) fn fleeting(mut self) -> Self {
        self.stood = false;
        self
    }

    /// Restarts do not count: the epoch is always 0.
    pub(crate) fn unordered(mut self) -> Self {
        self.ordered = false;
        self
    }

    /// Links are kept only while they are used.
    pub(crate) fn by_need(mut self) -> Self {
        self.eager = [false; 2];
        self.idle = true;
        self
    }

    /// Links that nobody needs are given up.
    pub(crate) fn idle(mut self) -> Self {
        self.idle = true;
        self
    }

    /// Another process of the larger node, of this epoch, dials at the same time.
    pub(crate) fn cloned(mut self, epoch: u8, dials: u8) -> Self {
        self.clone = Some(epoch);
        self.budget.dials[super::world::CLONE] = dials;
        self
    }

    /// A connection may drain for so long that its limit ends it.
    pub(crate) fn slow(mut self) -> Self {
        self.slow_drains = true;
        self
    }
}
