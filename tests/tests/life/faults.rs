//! One kind of fault at a time, and some of them together.

use super::explore::explore;
use super::scenario::pair;

#[test]
fn a_crash_and_a_restart() {
    explore(&pair("a crash", [1, 1], |b| b.crashes = 1), 4);
}

#[test]
fn a_crash_without_epochs() {
    let rules = pair("a crash without epochs", [1, 1], |b| b.crashes = 1);
    explore(&rules.unordered().fleeting(), 4);
}

#[test]
fn a_close_that_is_lost() {
    let rules = pair("a lost close", [2, 1], |b| {
        (b.lost_closes, b.renewals) = (1, 1)
    });
    explore(&rules, 8);
}

#[test]
fn a_pause() {
    explore(&pair("a pause", [1, 1], |b| b.pauses = 1).slow(), 4);
}

#[test]
fn a_partition() {
    explore(&pair("a partition", [1, 1], |b| b.partitions = 1).slow(), 8);
}

#[test]
fn a_stop_in_order() {
    explore(&pair("a stop", [1, 1], |b| b.stops = 1), 4);
}

#[test]
fn a_roster_that_bars_and_admits() {
    explore(&pair("a bar", [1, 1], |b| b.bars = 1), 4);
}

/// A7: of two processes with one identity the one that is in stays in.
#[test]
fn a_clone_of_the_same_epoch() {
    explore(&pair("a clone", [0, 1], |_| {}).cloned(1, 2), 4);
}

#[test]
fn a_clone_of_a_later_epoch() {
    explore(&pair("a later clone", [1, 1], |_| {}).cloned(2, 1), 16);
}

#[test]
fn a_clone_without_epochs_and_a_pause() {
    let rules = pair("a clone and a pause", [0, 1], |b| b.pauses = 1);
    explore(&rules.unordered().cloned(0, 1), 8);
}

// --- Larger bounds --------------------------------------------------------------------------------

#[test]
#[ignore = "minutes"]
fn a_crash_two_dials() {
    let rules = pair("a crash, two dials", [2, 2], |b| b.crashes = 1);
    explore(&rules.slow(), 64);
}

#[test]
#[ignore = "minutes"]
fn two_crashes() {
    explore(&pair("two crashes", [2, 1], |b| b.crashes = 2), 64);
}

#[test]
#[ignore = "minutes"]
fn a_pause_two_dials() {
    let rules = pair("a pause, two dials", [2, 2], |b| b.pauses = 1);
    explore(&rules.fleeting(), 64);
}

#[test]
#[ignore = "minutes"]
fn a_partition_two_dials() {
    let rules = pair("a partition, two dials", [2, 2], |b| b.partitions = 1);
    explore(&rules.slow(), 64);
}

#[test]
#[ignore = "minutes"]
fn lost_closes_and_rotations() {
    let rules = pair("lost closes and rotations", [2, 2], |b| {
        (b.lost_closes, b.renewals) = (2, 2);
    });
    explore(&rules, 64);
}

#[test]
#[ignore = "minutes"]
fn a_crash_a_rotation_and_a_lost_close() {
    let rules = pair("a crash, a rotation and a lost close", [2, 1], |b| {
        (b.crashes, b.renewals, b.lost_closes) = (1, 1, 1);
    });
    explore(&rules, 64);
}

#[test]
#[ignore = "minutes"]
fn a_partition_and_a_crash() {
    let rules = pair("a partition and a crash", [1, 1], |b| {
        (b.partitions, b.crashes) = (1, 1);
    });
    explore(&rules, 64);
}

#[test]
#[ignore = "minutes"]
fn a_stop_and_a_rotation() {
    let rules = pair("a stop and a rotation", [2, 2], |b| {
        (b.stops, b.renewals) = (1, 1)
    });
    explore(&rules, 64);
}

#[test]
#[ignore = "minutes"]
fn a_clone_that_dials_twice() {
    let rules = pair("a clone that dials twice", [1, 2], |_| {});
    explore(&rules.cloned(2, 2), 64);
}

#[test]
#[ignore = "minutes"]
fn a_clone_and_a_partition() {
    let rules = pair("a clone and a partition", [1, 1], |b| b.partitions = 1);
    explore(&rules.unordered().cloned(0, 1), 64);
}
