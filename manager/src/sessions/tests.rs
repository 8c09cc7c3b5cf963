//! What runs once, what is too old to tell, and that a snapshot forgets nothing.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use quicraft_transport::raft::{Codec as _, RaftCodec};

use super::numbers::Numbers;
use super::table::{Delivery, SessionTable, StaleCommand};
use super::{CommandId, SessionLimits};

const fn id(client: u128, opened: u64, sequence: u64) -> CommandId {
    CommandId {
        client,
        opened,
        sequence,
    }
}

fn table(clients: u32, window: u32) -> SessionTable<u64> {
    SessionTable::new(SessionLimits::new(clients, window))
}

/// Runs a command whose answer is its log index.
fn apply(table: &mut SessionTable<u64>, id: CommandId, at: u64) -> Result<u64, StaleCommand> {
    table.apply(id, at, || at)
}

fn copy(table: &SessionTable<u64>) -> SessionTable<u64> {
    let mut bytes = bytes::BytesMut::new();
    RaftCodec::encode(table, &mut bytes).unwrap();
    RaftCodec::decode(&bytes).unwrap()
}

#[test]
fn the_defaults_are_those_of_the_documentation() {
    let limits = SessionLimits::default();
    assert_eq!((limits.clients, limits.window), (1_024, 64));
    assert_eq!(SessionLimits::new(0, 0), SessionLimits::new(1, 1));
}

#[test]
fn the_last_answer_of_a_window_is_kept_and_the_one_before_is_stale() {
    let mut table = table(1, 3);
    for sequence in 1..=4 {
        assert_eq!(
            apply(&mut table, id(7, 0, sequence), 10 + sequence),
            Ok(10 + sequence)
        );
    }
    assert_eq!(apply(&mut table, id(7, 0, 2), 20), Ok(12));
    let error = apply(&mut table, id(7, 0, 1), 21).unwrap_err();
    assert_eq!(error.id.sequence, 1);
    assert!(error.to_string().contains("00000007 is too old"), "{error}");
}

#[test]
fn commands_under_way_come_in_any_order() {
    let mut table = table(1, 3);
    for (at, sequence) in [(1, 3), (2, 1), (3, 2)] {
        assert_eq!(apply(&mut table, id(7, 0, sequence), at), Ok(at));
    }
    // A jump past the window makes what never came too old as well.
    assert_eq!(apply(&mut table, id(7, 0, 9), 4), Ok(4));
    assert_eq!(table.judge(id(7, 0, 6), 5), Delivery::Stale);
    assert_eq!(table.judge(id(7, 0, 7), 5), Delivery::Fresh);
    assert_eq!(table.judge(id(7, 0, 0), 5), Delivery::Stale);
    assert_eq!(table.judge(id(8, 5, 0), 5), Delivery::Stale);
}

#[test]
fn the_client_that_was_silent_longest_is_forgotten_and_never_taken_for_a_new_one() {
    let mut table = table(2, 8);
    apply(&mut table, id(1, 0, 1), 10).unwrap();
    apply(&mut table, id(2, 0, 1), 11).unwrap();
    // 1 is heard of again, by a repetition.
    apply(&mut table, id(1, 0, 1), 12).unwrap();
    apply(&mut table, id(3, 9, 1), 13).unwrap();
    assert_eq!(table.clients(), 2);
    assert_eq!(apply(&mut table, id(1, 0, 1), 14), Ok(10));
    assert!(apply(&mut table, id(2, 0, 1), 15).is_err());
    assert!(apply(&mut table, id(2, 0, 2), 16).is_err());
    // The last of 2 was at 11: a client that was opened before may be 2, and one from then on is not.
    assert_eq!(table.judge(id(4, 10, 1), 17), Delivery::Stale);
    assert_eq!(table.judge(id(4, 11, 1), 17), Delivery::Fresh);
}

#[test]
fn a_number_is_given_up_to_the_window_and_not_past_it() {
    let numbers = Numbers::new(3);
    let oldest = numbers.take().unwrap();
    let second = numbers.take().unwrap();
    let third = numbers.take().unwrap();
    assert_eq!(third.sequence(), 3);
    assert!(numbers.take().is_none());
    // Others that end make no room while the oldest is under way.
    drop((second, third));
    assert!(numbers.take().is_none());
    drop(oldest);
    assert_eq!(numbers.take().map(|number| number.sequence()), Some(4));
}

/// Clients as they really are: each opens at the present log index, has a few commands under way,
/// and any of them reaches the log any number of times, early or late.
#[derive(Clone, Debug)]
struct Happening {
    client: u128,
    sequence_back: u64,
    new: bool,
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = (0..6_u128, 0..8_u64, any::<bool>());
    let one = one.prop_map(|(client, sequence_back, new)| Happening {
        client,
        sequence_back,
        new,
    });
    proptest::collection::vec(one, 0..200)
}

fn ids(happenings: &[Happening]) -> Vec<CommandId> {
    let mut open: BTreeMap<u128, (u64, u64)> = BTreeMap::new();
    let mut ids = Vec::new();
    for (at, happening) in happenings.iter().enumerate() {
        let entry = open.entry(happening.client).or_insert((at as u64, 1));
        if happening.new {
            entry.1 += 1;
        }
        let sequence = entry.1.saturating_sub(happening.sequence_back).max(1);
        ids.push(id(happening.client, entry.0, sequence));
    }
    ids
}

proptest! {
    /// Whatever is repeated, late or forgotten: nothing is run twice, and a repetition has the first
    /// answer.
    #[test]
    fn nothing_is_run_twice(happenings in happenings(), clients in 1..5_u32, window in 1..5_u32) {
        let mut table = table(clients, window);
        let mut ran = BTreeMap::new();
        for (at, id) in (1..).zip(ids(&happenings)) {
            let mut fresh = false;
            let answer = table.apply(id, at, || { fresh = true; at });
            if fresh {
                prop_assert_eq!(ran.insert((id.client, id.sequence), at), None, "{:?}", id);
            }
            if let Ok(answer) = answer {
                prop_assert_eq!(ran.get(&(id.client, id.sequence)), Some(&answer));
            }
            prop_assert!(table.clients() <= clients as usize);
        }
    }

    /// A client that keeps to its window and is remembered is never told that it is too old.
    #[test]
    fn who_keeps_to_the_window_is_served(happenings in happenings(), window in 1..9_u32) {
        let mut table = table(6, window);
        for (at, id) in (1..).zip(ids(&happenings)) {
            let newest = ids(&happenings[..usize::try_from(at).unwrap()]);
            let newest = newest.iter().filter(|other| other.client == id.client);
            let newest = newest.map(|other| other.sequence).max().unwrap_or_default();
            let judged = apply(&mut table, id, at);
            prop_assert_eq!(judged.is_ok(), id.sequence + u64::from(window) > newest);
        }
    }

    /// A node that got a snapshot at any moment goes on like the others.
    #[test]
    fn a_snapshot_holds_all_of_it(
        happenings in happenings(), clients in 1..5_u32, window in 1..5_u32, cut in 0..200_usize,
    ) {
        let mut table = table(clients, window);
        let mut restored = None;
        for (number, id) in ids(&happenings).into_iter().enumerate() {
            let at = number as u64 + 1;
            if number == cut {
                restored = Some(copy(&table));
            }
            let answer = apply(&mut table, id, at);
            if let Some(restored) = &mut restored {
                prop_assert_eq!(apply(restored, id, at), answer);
            }
        }
        if let Some(restored) = restored {
            prop_assert_eq!(restored, table);
        }
    }

    /// No two numbers are the same, and none is ever a window away from the oldest under way.
    #[test]
    fn numbers_stay_within_the_window(ends in proptest::collection::vec(any::<u8>(), 0..100), window in 1..9_u32) {
        let numbers = Numbers::new(window);
        let mut under_way = Vec::new();
        let mut seen = BTreeSet::new();
        for end in ends {
            if let Some(number) = numbers.take() {
                prop_assert!(seen.insert(number.sequence()));
                under_way.push(number);
            } else {
                under_way.remove(usize::from(end) % under_way.len());
            }
            let sequences = under_way.iter().map(|number| number.sequence());
            if let (Some(oldest), Some(newest)) = (sequences.clone().min(), sequences.max()) {
                prop_assert!(newest - oldest < u64::from(window));
            }
        }
    }
}
