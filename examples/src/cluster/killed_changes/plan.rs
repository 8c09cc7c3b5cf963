//! Which change is made, who runs it, and at which step of which group it dies: drawn from a seed.
//! Pure: no process, no clock.
//!
//! The places before and after each step are two decks of cards, one for nodes that come and one for
//! nodes that go. A card that was dealt comes again only when its deck is empty. A cluster of three
//! grows and shrinks as often in the end, so twenty kills meet each of the twenty places once, if no
//! change passes its place by.

use quicraft_manager::{ChangeStep, GroupName, InvalidGroupName};

use super::super::draws::Draws;
use super::options::FOUNDERS;
use crate::kv::die_at::DieAt;
use crate::kv::groups::{FAMILY, meta_name};

/// The most nodes: two more than have founded the cluster, so that a majority grows and shrinks.
const MOST: usize = FOUNDERS as usize + 2;

/// What becomes of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A new one comes.
    Add,
    /// The one with this id goes.
    Remove(u64),
}

/// The steps of a node that comes, each of which every such change takes.
const ADD: [ChangeStep; 5] = [
    ChangeStep::NoteJoining,
    ChangeStep::AwaitSeat,
    ChangeStep::AddLearner,
    ChangeStep::Promote,
    ChangeStep::NoteMember,
];

/// The steps of a node that goes and leads the group.
const REMOVE: [ChangeStep; 5] = [
    ChangeStep::NoteLeaving,
    ChangeStep::MoveLeader,
    ChangeStep::Remove,
    ChangeStep::Close,
    ChangeStep::NoteRemoved,
];

/// A change whose driver is killed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pair {
    /// The change.
    pub change: Change,
    /// The id of the node that is asked first, and dies.
    pub killed: u64,
    /// The id of the node that is asked then.
    pub other: u64,
    /// Where it dies.
    pub at: DieAt,
}

/// A step, and whether it is done.
type Card = (ChangeStep, bool);

/// Draws one pair after the other.
#[derive(Debug)]
pub struct Plan {
    draws: Draws,
    groups: Vec<GroupName>,
    meta: GroupName,
    add: Vec<Card>,
    remove: Vec<Card>,
}

impl Plan {
    /// Pairs for a cluster with so many groups beside the one that holds the cluster.
    ///
    /// # Errors
    ///
    /// [`InvalidGroupName`], when there are more groups than a family can have.
    pub fn new(seed: u64, groups: u64) -> Result<Self, InvalidGroupName> {
        let groups = (0..groups).map(|group| format!("{FAMILY}/{group}").parse());
        Ok(Self {
            draws: Draws::new("killed changes", seed),
            groups: groups.collect::<Result<_, _>>()?,
            meta: meta_name()?,
            add: deck(&ADD),
            remove: deck(&REMOVE),
        })
    }

    /// The next pair of a cluster whose members have these ids, in their order.
    pub fn next(&mut self, members: &[u64]) -> Pair {
        let change = self.change(members);
        let (changed, (step, done)) = match change {
            Change::Add => (None, deal(&mut self.add, &ADD, &mut self.draws)),
            Change::Remove(node) => {
                let card = deal(&mut self.remove, &REMOVE, &mut self.draws);
                (Some(node), card)
            }
        };
        let group = self.group(step);
        let mut asked: Vec<_> = members.to_vec();
        asked.retain(|&node| Some(node) != changed);
        let killed = self.draw(&mut asked);
        Pair {
            change,
            killed,
            other: self.draw(&mut asked),
            at: DieAt::new(done, step, group),
        }
    }

    /// Nobody died: the place is met another time.
    pub fn take_back(&mut self, pair: &Pair) {
        let card = (pair.at.step, pair.at.done);
        match pair.change {
            Change::Add => self.add.push(card),
            Change::Remove(_) => self.remove.push(card),
        }
    }

    /// Nodes come and go as it happens, but the founders stay and two more are enough.
    fn change(&mut self, members: &[u64]) -> Change {
        let mut added: Vec<_> = members.to_vec();
        added.retain(|&node| node > FOUNDERS);
        let grow = if added.is_empty() || members.len() >= MOST {
            added.is_empty()
        } else {
            // Those cards that are left are all met only if the others wait for them.
            !self.add.is_empty() && self.draws.one_in(2)
        };
        if grow {
            Change::Add
        } else {
            Change::Remove(self.draw(&mut added))
        }
    }

    /// A group that takes the step by itself, and none for a step that a change takes once.
    fn group(&mut self, step: ChangeStep) -> Option<GroupName> {
        let groups = match step {
            ChangeStep::AddLearner
            | ChangeStep::Promote
            | ChangeStep::MoveLeader
            | ChangeStep::Remove => self.groups.len() + 1,
            // Nobody is told to close the group that holds the cluster: it tells him so itself.
            ChangeStep::Close => self.groups.len(),
            _ => return None,
        };
        let drawn = self.draws.one_of(groups);
        Some(self.groups.get(drawn).unwrap_or(&self.meta).clone())
    }

    /// Takes one out; 0 if there is none.
    fn draw(&mut self, ids: &mut Vec<u64>) -> u64 {
        if ids.is_empty() {
            return 0;
        }
        let drawn = self.draws.one_of(ids.len());
        ids.remove(drawn)
    }
}

fn deck(steps: &[ChangeStep]) -> Vec<Card> {
    let cards = steps.iter().flat_map(|&step| [(step, false), (step, true)]);
    cards.collect()
}

/// A card of the deck; of a new one, when all were dealt.
fn deal(cards: &mut Vec<Card>, steps: &[ChangeStep; 5], draws: &mut Draws) -> Card {
    if cards.is_empty() {
        *cards = deck(steps);
    }
    let drawn = draws.one_of(cards.len());
    cards.remove(drawn)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Draws so many pairs, and makes each change.
    fn drawn(seed: u64, number: usize) -> (Vec<Pair>, Vec<u64>) {
        let mut plan = Plan::new(seed, 4).unwrap();
        let mut members = vec![1, 2, 3];
        let mut last = 3;
        let mut pairs = Vec::new();
        for _ in 0..number {
            let pair = plan.next(&members);
            assert!(members.contains(&pair.killed) && members.contains(&pair.other));
            assert_ne!(pair.killed, pair.other);
            match pair.change {
                Change::Add => {
                    last += 1;
                    members.push(last);
                }
                Change::Remove(node) => {
                    assert!(node > FOUNDERS && ![pair.killed, pair.other].contains(&node));
                    let before = members.len();
                    members.retain(|&member| member != node);
                    assert_eq!(members.len() + 1, before);
                }
            }
            assert!((3..=MOST).contains(&members.len()));
            pairs.push(pair);
        }
        (pairs, members)
    }

    #[test]
    fn the_same_seed_draws_the_same_pairs() {
        assert_eq!(drawn(7, 40).0, drawn(7, 40).0);
        assert_ne!(drawn(7, 40).0, drawn(8, 40).0);
    }

    #[test]
    fn twenty_pairs_meet_every_place_once() {
        let mut largest = false;
        for seed in 0..100 {
            let (pairs, members) = drawn(seed, 40);
            assert_eq!(members.len(), 3);
            for twenty in pairs.chunks(20) {
                let met = twenty.iter().map(|pair| {
                    let add = pair.change == Change::Add;
                    (add, pair.at.step, pair.at.done)
                });
                assert_eq!(met.collect::<BTreeSet<_>>().len(), 20);
            }
            let adds = pairs.windows(2).map(|two| {
                let [one, other] = two else { return false };
                one.change == Change::Add && other.change == Change::Add
            });
            largest |= adds.into_iter().any(|twice| twice);
        }
        assert!(largest, "no cluster ever had five nodes");
    }

    #[test]
    fn groups_have_what_is_theirs() {
        let mut meta = BTreeSet::new();
        for pair in (0..100).flat_map(|seed| drawn(seed, 20).0) {
            // As the node will read it, which refuses a group where there is none.
            let text = pair.at.to_string();
            assert_eq!(text.parse::<DieAt>().unwrap(), pair.at);
            let noted = text.contains("note-") || text.contains("await-");
            assert_eq!(pair.at.group.is_none(), noted, "{text}");
            if text.ends_with(",meta") {
                meta.insert(pair.at.step);
            }
        }
        assert!(meta.contains(&ChangeStep::Promote) && meta.contains(&ChangeStep::MoveLeader));
        assert!(!meta.contains(&ChangeStep::Close));
    }

    #[test]
    fn a_place_that_was_not_met_comes_again() {
        let mut plan = Plan::new(1, 4).unwrap();
        let pair = plan.next(&[1, 2, 3]);
        let left = plan.add.clone();
        plan.take_back(&pair);
        assert_eq!(left.len() + 1, plan.add.len());
        assert_eq!(plan.add.last(), Some(&(pair.at.step, pair.at.done)));
    }
}
