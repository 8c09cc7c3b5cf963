//! No fault: only dials that cross, rotations, and links that nobody needs. No call may fail.

use super::explore::explore;
use super::scenario::pair;

#[test]
fn dials_cross() {
    explore(&pair("dials cross", [2, 1], |_| {}).calls([1, 1]), 1);
}

#[test]
fn the_smaller_node_renews_its_link() {
    explore(&pair("a rotation", [2, 1], |b| b.renewals = 1), 4);
}

#[test]
fn links_that_do_not_stand_are_dialled_with_backoff() {
    let rules = pair("fleeting links", [1, 2], |b| b.changes = 1);
    explore(&rules.fleeting(), 4);
}

#[test]
fn links_by_need_are_dialled_and_given_up() {
    let rules = pair("links by need", [1, 1], |b| b.looks = 1);
    explore(&rules.by_need().calls([1, 1]), 16);
}

#[test]
fn a_need_that_ends() {
    let rules = pair("a need that ends", [1, 1], |b| (b.looks, b.lulls) = (1, 2));
    explore(&rules.idle(), 4);
}

#[test]
#[ignore = "minutes"]
fn both_renew_twice() {
    let rules = pair("two rotations", [2, 2], |b| b.renewals = 2);
    explore(&rules.calls([1, 1]), 64);
}

#[test]
#[ignore = "minutes"]
fn links_by_need_dialled_twice() {
    let rules = pair("links by need, dialled twice", [2, 2], |b| b.looks = 2);
    explore(&rules.by_need().calls([1, 1]), 64);
}

#[test]
#[ignore = "minutes"]
fn needs_that_end_on_both_sides() {
    let rules = pair("needs that end", [2, 2], |b| (b.looks, b.lulls) = (1, 2));
    explore(&rules.idle().calls([1, 1]), 64);
}
