//! The values that the documentation names, each limit, and what advice is worth.

use std::time::Duration;

use openraft::Config;
use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn times(config: &Config) -> [u64; 3] {
    [
        config.heartbeat_interval,
        config.election_timeout_min,
        config.election_timeout_max,
    ]
}

fn unsafe_by(config: &Config, round_trip: Duration) -> Option<(UnsafeTiming, Advice)> {
    match judge(config, round_trip) {
        TimingJudgement::Safe => None,
        TimingJudgement::Unsafe { why, advice } => Some((why, advice)),
    }
}

#[test]
fn the_presets_are_those_of_the_documentation() {
    let near = lan().validate().unwrap();
    assert_eq!(times(&near), [150, 600, 1_200]);
    assert_eq!(near.install_snapshot_timeout, 5_000);
    let far = wan(200 * MS).validate().unwrap();
    assert_eq!(times(&far), [400, 1_600, 3_200]);
    assert_eq!(far.install_snapshot_timeout, 10_000);
    assert_eq!(far.max_payload_entries, 1_024);
    for preset in [near, far] {
        assert_eq!(preset.enable_pre_vote, Some(true));
        assert_eq!(preset.enable_leader_restore, Some(false));
        assert_eq!(
            preset.heartbeat_min_interval,
            Some(preset.heartbeat_interval / 2)
        );
    }
}

#[test]
fn heartbeats_between_data_centres_are_never_closer_than_250_ms() {
    assert_eq!(times(&wan(Duration::ZERO)), [250, 1_000, 2_000]);
    assert_eq!(wan(125 * MS).heartbeat_interval, 250);
    assert_eq!(wan(126 * MS).heartbeat_interval, 252);
    assert_eq!(wan(Duration::from_micros(125_001)).heartbeat_interval, 251);
    wan(Duration::MAX).validate().unwrap();
}

#[test]
fn at_the_limit_a_round_trip_is_safe_and_past_it_the_heartbeat_is_named() {
    assert_eq!(judge(&lan(), 75 * MS), TimingJudgement::Safe);
    let past = 75 * MS + Duration::from_nanos(1);
    let (why, advice) = unsafe_by(&lan(), past).unwrap();
    let interval = 150 * MS;
    let needed = past * 2;
    assert_eq!(why, UnsafeTiming::Heartbeat { interval, needed });
    assert_eq!(advice.heartbeat, 188 * MS);
    let values = (advice.election_min, advice.election_max);
    assert_eq!(values, (752 * MS, 1_504 * MS));
}

#[test]
fn a_short_election_timeout_is_named_beside_a_good_heartbeat() {
    let config = Config {
        heartbeat_interval: 100,
        election_timeout_min: 150,
        election_timeout_max: 300,
        ..lan()
    };
    let past = Duration::from_micros(37_501);
    assert_eq!(
        unsafe_by(&config, past - Duration::from_micros(1)),
        None,
        "at the limit"
    );
    let (why, _) = unsafe_by(&config, past).unwrap();
    let timeout_min = 150 * MS;
    let needed = past * 4;
    assert_eq!(
        why,
        UnsafeTiming::Election {
            timeout_min,
            needed
        }
    );
}

#[test]
fn a_warning_says_what_to_set() {
    assert_eq!(TimingWarning::of(3, &lan(), 75 * MS), None);
    let warning = TimingWarning::of(3, &lan(), 200 * MS).unwrap();
    assert_eq!(
        warning.to_string(),
        "node 3 is 200ms away; heartbeat_interval is 150ms and should be at least 400ms; \
         set heartbeat_interval 500, election_timeout_min 2000, election_timeout_max 4000"
    );
}

/// The numbers of 64 groups in a row are spread evenly: no two groups of them begin their range in
/// the same 64th part, give or take what the golden ratio leaves.
#[test]
fn groups_in_a_row_are_spread_evenly() {
    for first in [0, 1, 17, u64::MAX - 40] {
        let positions = (0..64_u64).map(|group| first.wrapping_add(group));
        let config = wan(200 * MS);
        let mut later: Vec<_> = positions
            .map(|position| staggered(&config, position, 1).election_timeout_max)
            .collect();
        later.sort_unstable();
        let spread = 1_600 / 4;
        let gaps = later.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.max() <= Some(3 * spread / 64), "{first}: {later:?}");
        assert!(later[63] - later[0] > spread * 9 / 10, "{first}: {later:?}");
        assert!(later[63] < 3_200 + spread, "{first}: {later:?}");
    }
}

/// Of four consecutive groups each of four consecutive nodes is first in one.
#[test]
fn each_node_is_the_first_to_campaign_in_its_share_of_groups() {
    for node in 1..5_u64 {
        let first = |position: &u64| {
            let min = |node| staggered(&lan(), *position, node).election_timeout_min;
            (1..5).all(|other| min(node) <= min(other))
        };
        assert_eq!((8..12).filter(first).count(), 1, "node {node}");
    }
}

#[test]
fn position_0_at_place_0_keeps_the_settings() {
    assert_eq!(times(&staggered(&lan(), 0, 4)), times(&lan()));
}

proptest! {
    #[test]
    fn every_preset_is_valid_and_safe_for_its_round_trip(micros in 0..10_000_000_u64) {
        let round_trip = Duration::from_micros(micros);
        let config = wan(round_trip).validate().unwrap();
        prop_assert_eq!(judge(&config, round_trip), TimingJudgement::Safe);
    }

    /// Whoever follows the advice is safe, also when the round trip grows by a quarter.
    #[test]
    fn advice_that_is_followed_is_safe(
        heartbeat in 1..2_000_u64, more in 1..2_000_u64, spread in 1..2_000_u64,
        micros in 0..1_000_000_u64,
    ) {
        let mut config = Config {
            heartbeat_interval: heartbeat,
            heartbeat_min_interval: None,
            election_timeout_min: heartbeat + more,
            election_timeout_max: heartbeat + more + spread,
            ..lan()
        };
        let round_trip = Duration::from_micros(micros);
        if let Some((_, advice)) = unsafe_by(&config, round_trip) {
            config.heartbeat_interval = millis(advice.heartbeat);
            config.election_timeout_min = millis(advice.election_min);
            config.election_timeout_max = millis(advice.election_max);
            prop_assert!(config.heartbeat_interval >= heartbeat);
            config = config.validate().unwrap();
            prop_assert_eq!(judge(&config, round_trip + round_trip / 4), TimingJudgement::Safe);
        }
    }

    /// The lease is the same on all nodes of a group, and every node's settings stay valid.
    #[test]
    fn a_group_has_one_lease(
        position: u64, nodes in proptest::collection::vec(any::<u64>(), 2..8),
        micros in 0..1_000_000_u64,
    ) {
        let config = wan(Duration::from_micros(micros));
        let all = nodes.iter().map(|&node| staggered(&config, position, node));
        let all: Vec<_> = all.map(|config| config.validate().unwrap()).collect();
        for one in &all {
            prop_assert_eq!(one.election_timeout_max, all[0].election_timeout_max);
            prop_assert!(one.election_timeout_min >= config.election_timeout_min);
            prop_assert_eq!(&staggered(&config, position, nodes[0]).election_timeout_min,
                &all[0].election_timeout_min);
        }
    }
}
