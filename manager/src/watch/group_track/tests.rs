//! What a change of samples tells, and what it does not.

use std::sync::Arc;

use quicraft_transport::GroupId;

use super::*;
use crate::GroupName;

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);
const ZERO: Duration = Duration::ZERO;

/// The longest election timeout of the samples.
const LIMIT: Duration = Duration::from_secs(2);

fn name() -> GroupName {
    GroupName::parse("orders/0").unwrap()
}

fn sample(term: u64, leader: Option<u64>) -> GroupSample {
    let config = openraft::Config {
        election_timeout_max: 2_000,
        ..openraft::Config::default()
    };
    GroupSample {
        status: GroupStatus {
            name: name(),
            id: GroupId::new(1),
            failure: None,
            term: term.to_string(),
            leader,
            voters: vec![1, 2, 3],
            learners: Vec::new(),
            last_log_index: Some(10),
            applied_index: Some(10),
            snapshot_index: None,
            since_quorum: None,
        },
        term: Some(term),
        closing: false,
        config: Arc::new(config),
        followers: None,
    }
}

fn follower(node: u64, matched: u64, since_acked: Duration) -> FollowerSample {
    FollowerSample {
        node,
        matched: Some(matched),
        since_acked: Some(since_acked),
    }
}

fn leading(last: u64, followers: &[FollowerSample]) -> GroupSample {
    let mut sample = sample(1, Some(1));
    sample.status.last_log_index = Some(last);
    sample.followers = Some(followers.to_vec());
    sample
}

fn names(seen: &Seen) -> Vec<&'static str> {
    seen.events.iter().map(Event::name).collect()
}

fn followers(track: &GroupTrack) -> &[FollowerReport] {
    track.report().unwrap().followers.as_deref().unwrap()
}

#[test]
fn an_election_is_told_from_its_start_to_its_end() {
    let (mut track, now) = (GroupTrack::default(), Instant::now());
    let mut see = |term, leader| {
        let seen = track.observe(sample(term, leader), now);
        (names(&seen), seen.elections)
    };
    assert_eq!(see(4, None), (vec![], 0), "nothing is known of before");
    assert_eq!(see(5, None), (vec!["election_started"], 1));
    assert_eq!(see(5, None), (vec![], 0));
    assert_eq!(see(7, None), (vec!["election_lost", "election_started"], 2));
    assert_eq!(see(7, Some(2)), (vec!["leader_changed"], 0));
    assert_eq!(see(7, Some(2)), (vec![], 0));
    assert_eq!(see(7, None), (vec!["leader_changed"], 0));
    assert_eq!(see(8, Some(3)), (vec!["leader_changed"], 1));
    // A leader that was elected again in another term is still the leader.
    assert_eq!(see(9, Some(3)), (vec![], 1));
}

#[test]
fn a_change_of_leader_names_both_and_the_term() {
    let (mut track, now) = (GroupTrack::default(), Instant::now());
    track.observe(sample(1, Some(1)), now);
    let seen = track.observe(sample(2, Some(3)), now);
    let changed = Event::LeaderChanged {
        group: name(),
        from: Some(1),
        to: Some(3),
        term: "2".to_owned(),
    };
    assert_eq!(seen.events, [changed]);
}

#[test]
fn members_and_failures_are_told_once_and_an_orderly_end_is_no_failure() {
    let (mut track, now) = (GroupTrack::default(), Instant::now());
    track.observe(sample(1, Some(1)), now);
    let mut other = sample(1, Some(1));
    other.status.learners = vec![4];
    assert_eq!(
        names(&track.observe(other.clone(), now)),
        ["membership_changed"]
    );
    assert_eq!(names(&track.observe(other.clone(), now)), [""; 0]);
    other.status.failure = Some("the disk is full".to_owned());
    assert_eq!(names(&track.observe(other.clone(), now)), ["group_failed"]);
    assert_eq!(names(&track.observe(other, now)), [""; 0]);
    let mut track = GroupTrack::default();
    track.observe(sample(1, Some(1)), now);
    let mut closing = sample(1, Some(1));
    closing.status.failure = Some("raft stopped".to_owned());
    closing.closing = true;
    assert_eq!(names(&track.observe(closing, now)), [""; 0]);
}

/// On an idle group nothing lags, and yet a follower is dead that acknowledges no heartbeat.
#[test]
fn w23_silence_kills_on_an_idle_group_as_well() {
    let (mut track, start) = (GroupTrack::default(), Instant::now());
    let mut see = |at: Duration, silent: Duration| {
        let sample = leading(10, &[follower(2, 10, silent), follower(3, 10, 50 * MS)]);
        let seen = track.observe(sample, start + at);
        let first = followers(&track)[0].clone();
        (seen.died, seen.back, first.liveness, first.lag)
    };
    let nothing = || (Vec::new(), Vec::new());
    let (died, back) = nothing();
    assert_eq!(see(S, ZERO), (died, back, Liveness::Alive, ZERO));
    let (died, back) = nothing();
    assert_eq!(see(3 * S, LIMIT), (died, back, Liveness::Alive, ZERO));
    let past = LIMIT + MS;
    let dead = vec![(2, past)];
    assert_eq!(see(4 * S, past), (dead, vec![], Liveness::Dead, past));
    let (died, back) = nothing();
    assert_eq!(see(5 * S, 3 * S), (died, back, Liveness::Dead, 3 * S));
    assert_eq!(
        see(6 * S, 10 * MS),
        (vec![], vec![2], Liveness::Alive, ZERO)
    );
    assert_eq!(followers(&track)[1].liveness, Liveness::Alive);
}

#[test]
fn who_never_answered_this_leader_is_silent_as_long_as_it_leads() {
    let (mut track, start) = (GroupTrack::default(), Instant::now());
    let mute = FollowerSample {
        node: 2,
        matched: None,
        since_acked: None,
    };
    let mut see = |at: Duration| {
        let seen = track.observe(leading(10, std::slice::from_ref(&mute)), start + at);
        let first = &followers(&track)[0];
        assert_eq!(first.lag_entries, None, "nobody knows");
        (seen.died, first.liveness)
    };
    assert_eq!(see(ZERO), (vec![], Liveness::Unknown));
    assert_eq!(see(LIMIT), (vec![], Liveness::Unknown));
    let past = LIMIT + MS;
    assert_eq!(see(past), (vec![(2, past)], Liveness::Dead));
    // It leads no more, and again: a new count begins.
    track.observe(sample(2, Some(3)), start + 10 * S);
    let seen = track.observe(leading(10, &[mute]), start + 11 * S);
    assert_eq!(seen.died, []);
}

/// It never answered, as it was added a moment ago, by a leader that led for long.
#[test]
fn who_was_just_added_has_not_been_silent() {
    let (mut track, start) = (GroupTrack::default(), Instant::now());
    let alone = || leading(10, &[follower(2, 10, ZERO)]);
    let both = || {
        let added = FollowerSample {
            node: 4,
            matched: None,
            since_acked: None,
        };
        leading(10, &[follower(2, 10, ZERO), added])
    };
    track.observe(alone(), start);
    let late = start + 10 * LIMIT;
    assert_eq!(track.observe(both(), late).died, []);
    assert_eq!(followers(&track)[1].liveness, Liveness::Unknown);
    assert_eq!(track.observe(both(), late + LIMIT).died, []);
    let past = LIMIT + MS;
    assert_eq!(track.observe(both(), late + past).died, [(4, past)]);
    // Taken out and in again, it begins anew.
    track.observe(alone(), late + 2 * LIMIT);
    assert_eq!(track.observe(both(), late + 4 * LIMIT).died, []);
}

#[test]
fn without_heartbeats_an_idle_follower_is_no_dead_one() {
    let (mut track, now) = (GroupTrack::default(), Instant::now());
    let mut see = |last| {
        let mut sample = leading(last, &[follower(2, 10, 10 * S)]);
        Arc::make_mut(&mut sample.config).enable_heartbeat = false;
        track.observe(sample, now);
        followers(&track)[0].liveness
    };
    assert_eq!(see(10), Liveness::Unknown);
    assert_eq!(see(11), Liveness::Dead);
}

#[test]
fn a_lag_in_seconds_is_the_age_of_the_oldest_entry_that_is_lacking() {
    let (mut track, start) = (GroupTrack::default(), Instant::now());
    let mut see = |at: Duration, last: u64, matched: u64| {
        let sample = leading(
            last,
            &[follower(2, matched, 50 * MS), follower(3, last, MS)],
        );
        track.observe(sample, start + at);
        let first = &followers(&track)[0];
        (first.lag_entries.unwrap(), first.lag)
    };
    assert_eq!(see(ZERO, 10, 10), (0, ZERO));
    // Under steady writes a healthy follower is a few entries behind and never a second.
    assert_eq!(see(S, 1_010, 1_000), (10, ZERO));
    assert_eq!(see(2 * S, 2_010, 2_000), (10, ZERO));
    assert_eq!(
        see(3 * S, 3_010, 2_005),
        (1_005, S),
        "2,006 was there at 2 s"
    );
    assert_eq!(see(4 * S, 3_010, 2_005), (1_005, 2 * S));
    assert_eq!(
        see(5 * S, 3_010, 2_010),
        (1_000, 2 * S),
        "2,011 was there at 3 s"
    );
    assert_eq!(see(6 * S, 3_010, 3_010), (0, ZERO));
}
