//! What two states of the `meta` group tell of the nodes. Pure.

use super::event::Event;
use crate::{MetaState, NodeStanding};

/// The nodes that stand otherwise in `now` than in `before`, in the order of their ids; last, that
/// `me` was removed.
pub(crate) fn standing_changes(before: &MetaState, now: &MetaState, me: u64) -> Vec<Event> {
    let nodes = now.nodes.iter().filter_map(|(&node, entry)| {
        let from = before.standing(node);
        let to = entry.standing;
        (from != Some(to)).then_some(Event::StandingChanged { node, from, to })
    });
    let mut events: Vec<_> = nodes.collect();
    let removed = |state: &MetaState| state.standing(me) == Some(NodeStanding::Removed);
    if removed(now) && !removed(before) {
        events.push(Event::RemovedFromCluster);
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GroupName, Meta, MetaCommand, MetaReply, NewGroup, NodeRecord};

    #[test]
    fn each_change_is_told_once_and_my_own_removal_at_last() {
        let meta = Meta::new();
        let empty = meta.state();
        let node = |id: u64| NodeRecord::new(id, [format!("10.0.0.{id}:4000")]);
        let name = GroupName::parse("meta").unwrap();
        let found = MetaCommand::Found {
            uid: 7,
            founder: node(1),
            joining: vec![node(2)],
            meta: NewGroup::new(name, [1]),
            groups: Vec::new(),
        };
        assert_eq!(meta.apply(&found), MetaReply::Done);
        let founded = meta.state();
        let changed = |node, from, to| Event::StandingChanged { node, from, to };
        let (joining, member) = (NodeStanding::Joining, NodeStanding::Member);
        assert_eq!(
            standing_changes(&empty, &founded, 2),
            [changed(1, None, member), changed(2, None, joining)]
        );
        assert_eq!(standing_changes(&founded, &founded, 2), []);
        let mut gone = MetaState::clone(&founded);
        gone.nodes.get_mut(&2).unwrap().standing = NodeStanding::Removed;
        let removed = changed(2, Some(joining), NodeStanding::Removed);
        let told = standing_changes(&founded, &gone, 2);
        assert_eq!(told, [removed.clone(), Event::RemovedFromCluster]);
        assert_eq!(standing_changes(&founded, &gone, 1), [removed]);
    }
}
