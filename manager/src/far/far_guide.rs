//! Who may lead a group that this node does not host: whoever served last, or else its members in
//! turn.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::forward::Guide;

/// Names the present members of a group.
pub(super) type Members = Arc<dyn Fn() -> Vec<u64> + Send + Sync>;

pub(super) struct FarGuide {
    me: u64,
    members: Members,
    /// Whoever served last, until it does not.
    served: Mutex<Option<u64>>,
}

impl FarGuide {
    pub(super) fn new(me: u64, members: Members) -> Self {
        Self {
            me,
            members,
            served: Mutex::default(),
        }
    }

    fn served(&self) -> MutexGuard<'_, Option<u64>> {
        // An id is whole, whoever panicked.
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guide for FarGuide {
    fn leader(&self) -> Option<u64> {
        *self.served()
    }

    fn others(&self) -> Vec<u64> {
        let members = (self.members)().into_iter();
        members.filter(|&node| node != self.me).collect()
    }

    async fn another_than(&self, _leader: Option<u64>) {
        // Nobody tells this node; the wait ends by itself.
        std::future::pending().await
    }

    fn note(&self, node: u64, served: bool) {
        let mut last = self.served();
        if served {
            *last = Some(node);
        } else if *last == Some(node) {
            *last = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_served_last_is_asked_until_it_does_not_serve() {
        let guide = FarGuide::new(4, Arc::new(|| vec![1, 4, 2]));
        assert_eq!((guide.leader(), guide.others()), (None, vec![1, 2]));
        guide.note(2, true);
        assert_eq!(guide.leader(), Some(2));
        guide.note(1, false);
        assert_eq!(guide.leader(), Some(2));
        guide.note(2, false);
        assert_eq!(guide.leader(), None);
    }
}
