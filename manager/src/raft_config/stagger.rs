//! Election timeouts that differ between groups and between the voters of a group. It must not know
//! what a group holds.

use openraft::Config;

/// The part of the range of election timeouts by which groups are moved. It counts twice, in the
/// lease and in the timeout after it: with the presets a quarter makes the failover of the last group
/// a sixth longer, which is less than what chance adds.
const GROUPS_SHARE: u64 = 4;

/// Voters of a group are spread over so many places, by their ids, again and again.
const PLACES: u64 = 4;

/// Each place is so much of the range later than the one before: the last one begins at 3/8 of it.
const PLACE_SHARE: u64 = 8;

/// The same settings for one of many groups: when a node dies that led many, their elections are
/// spread over time, and over the nodes that are left.
///
/// `position` is the group's, and has to be **the same on every node**: its number on the wire is
/// the best choice. Its golden-ratio fraction moves the whole range of election timeouts by up to a
/// quarter of its width, so that any run of consecutive numbers is spread evenly, the first by nothing.
/// `node` is this node's id: of the voters of a group another one is first in each of four
/// consecutive groups, by up to 3/8 of the range.
///
/// All nodes of a group get the same `election_timeout_max`, because it is also the leader's lease:
/// a follower with a shorter one could elect another leader while the old one still serves lease
/// reads. So use it on all nodes or on none, and change it as any election timeout, by a restart of
/// all nodes with reads by index meanwhile.
///
/// Settings that openraft would refuse stay refused; a range of less than 8 ms is not spread.
#[must_use]
pub fn staggered(config: &Config, position: u64, node: u64) -> Config {
    let min = config.election_timeout_min;
    let width = config.election_timeout_max.saturating_sub(min);
    let later = part(width / GROUPS_SHARE, position);
    let place = node.wrapping_add(position) % PLACES;
    let mut staggered = config.clone();
    staggered.election_timeout_min = min
        .saturating_add(later)
        .saturating_add(place * (width / PLACE_SHARE));
    staggered.election_timeout_max = config.election_timeout_max.saturating_add(later);
    staggered
}

/// The golden-ratio fraction of `position`, as a part of `whole`: of any n consecutive positions, the
/// largest gap between neighbours is less than three times the mean.
fn part(whole: u64, position: u64) -> u64 {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    let fraction = position.wrapping_mul(GOLDEN);
    let product = u128::from(whole) * u128::from(fraction);
    // The upper half of a product of two u64.
    u64::try_from(product >> 64).unwrap_or(whole)
}
