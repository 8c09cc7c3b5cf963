//! Groups whose founder has never come: whoever leads the meta group names another of their voters,
//! which has. A founder that was seated might have founded already, on its disk alone, so it is waited
//! for.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::{Instant, sleep_until};

use super::Cluster;
use crate::GroupName;
use crate::meta::{MetaCommand, MetaState};

/// The groups that wait for a founder who was never seated, and who could found each.
fn heirs(state: &MetaState) -> BTreeMap<GroupName, u64> {
    let seated = |node: &u64| state.nodes.get(node).is_some_and(|entry| entry.seated);
    let waiting = state.groups.iter().filter(|(_, group)| !group.founded);
    let waiting = waiting.filter(|(_, group)| !seated(&group.founder));
    let heirs = waiting.filter_map(|(name, group)| {
        let heir = group.voters.iter().copied().find(seated)?;
        Some((name.clone(), heir))
    });
    heirs.collect()
}

impl Cluster {
    /// Looks after them for as long as the cluster runs.
    pub(super) async fn name_heirs(self: Arc<Self>) {
        let Some(meta) = self.group().cloned() else {
            return;
        };
        let patience = self.config().founding_patience;
        let mut changes = self.meta.changes();
        let mut since: BTreeMap<GroupName, Instant> = BTreeMap::new();
        loop {
            let heirs = heirs(&changes.borrow_and_update());
            let now = Instant::now();
            since.retain(|group, _| heirs.contains_key(group));
            for group in heirs.keys() {
                since.entry(group.clone()).or_insert(now);
            }
            for (group, &founder) in &heirs {
                let waited = since.get(group).map_or(patience, |since| now - *since);
                if waited >= patience && meta.leader() == Some(self.me()) {
                    let group = group.clone();
                    let named = MetaCommand::NewFounder { group, founder };
                    // What fails is tried again below.
                    drop(self.note(named, now + self.config().ask_timeout).await);
                }
            }
            let first = since.values().min().map(|since| *since + patience);
            let again = first.map(|first| first.max(Instant::now() + self.config().retry_max));
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return; },
                () = sleep_until(again.unwrap_or(now)), if again.is_some() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::{Meta, NewGroup, NodeRecord};

    fn name(text: &str) -> GroupName {
        GroupName::parse(text).unwrap()
    }

    #[test]
    fn only_a_founder_that_never_came_has_an_heir() {
        let node = |id: u64| NodeRecord::new(id, [format!("10.0.0.{id}:4000")]);
        let meta = Meta::new();
        let group = |shard: u32, founder| {
            let name = name(&format!("orders/{shard}"));
            NewGroup::new(name, [1, 2, 3]).founded_by(founder)
        };
        let commands = [
            MetaCommand::Found {
                uid: 7,
                founder: node(1),
                joining: vec![node(2), node(3)],
                meta: NewGroup::new(name("meta"), [1, 2, 3]),
                groups: vec![group(0, 1), group(1, 2), group(2, 3)],
            },
            MetaCommand::Seat { node: 2 },
        ];
        for command in &commands {
            assert_eq!(meta.apply(command), crate::MetaReply::Done);
        }
        assert_eq!(
            heirs(&meta.state()),
            BTreeMap::from([(name("orders/2"), 1)])
        );
    }
}
