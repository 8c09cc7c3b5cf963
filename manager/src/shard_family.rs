//! Families of shards: which group of a family holds a key. It must not know where a group runs.

use std::num::NonZeroU32;

use crate::{GroupName, InvalidGroupName, shard_hash};

/// Shards of one family. 65,536 are more than a process can run groups, and still a list that a
/// person can be shown. More are refused.
const SHARDS_MAX: u32 = 1 << 16;

/// A family of groups that share keys among them: `orders` with 32 shards is the groups `orders/0`
/// to `orders/31`.
///
/// The number of shards is part of the data: with another number most keys belong to another shard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ShardFamily {
    name: String,
    shards: NonZeroU32,
}

/// Why a family cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NewFamilyError {
    /// The name is none.
    #[error(transparent)]
    Name(#[from] InvalidGroupName),
    /// The number of shards cannot be.
    #[error(transparent)]
    Count(#[from] InvalidShardCount),
}

/// A number of shards that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("family {family} cannot have {count} shards; it must have 1 to 65536")]
#[non_exhaustive]
pub struct InvalidShardCount {
    /// The family.
    pub family: String,
    /// The number.
    pub count: u32,
}

/// A shard that the family does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("family {family} has no shard {shard}; its last one is {last}")]
#[non_exhaustive]
pub struct ShardOutOfRange {
    /// The family.
    pub family: String,
    /// The shard that was asked for.
    pub shard: u32,
    /// The last one that there is.
    pub last: u32,
}

impl ShardFamily {
    /// A family of `shards` groups, 1 to 65,536.
    ///
    /// # Errors
    ///
    /// [`NewFamilyError`] names what is wrong, with the value.
    pub fn new(name: &str, shards: u32) -> Result<Self, NewFamilyError> {
        GroupName::single(name)?;
        let invalid = || InvalidShardCount {
            family: name.to_owned(),
            count: shards,
        };
        let shards = NonZeroU32::new(shards)
            .filter(|shards| shards.get() <= SHARDS_MAX)
            .ok_or_else(invalid)?;
        let name = name.to_owned();
        Ok(Self { name, shards })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of its shards.
    #[must_use]
    pub const fn shards(&self) -> u32 {
        self.shards.get()
    }

    /// The shard that holds `key`: [`shard_hash`] modulo the number of shards.
    ///
    /// The result never changes for a key and a number of shards.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a number modulo one of 32 bits has 32 bits"
    )]
    pub fn shard_of(&self, key: &[u8]) -> u32 {
        (shard_hash(key) % u64::from(self.shards.get())) as u32
    }

    /// The group that holds `key`.
    #[must_use]
    pub fn group_of(&self, key: &[u8]) -> GroupName {
        GroupName::of_shard(&self.name, self.shard_of(key))
    }

    /// The group of a shard.
    ///
    /// # Errors
    ///
    /// [`ShardOutOfRange`] if the family has no such shard.
    pub fn group(&self, shard: u32) -> Result<GroupName, ShardOutOfRange> {
        let last = self.shards() - 1;
        if shard > last {
            let family = self.name.clone();
            return Err(ShardOutOfRange {
                family,
                shard,
                last,
            });
        }
        Ok(GroupName::of_shard(&self.name, shard))
    }

    /// All its groups, in the order of their numbers.
    pub fn groups(&self) -> impl Iterator<Item = GroupName> + '_ {
        (0..self.shards()).map(|shard| GroupName::of_shard(&self.name, shard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden values: a change here moves keys to other groups.
    #[test]
    fn keys_stay_where_they_are() {
        let orders = ShardFamily::new("orders", 32).unwrap();
        let shards = [b"a", b"b", b"c", b"d", b"e"].map(|key| orders.shard_of(key));
        assert_eq!(shards, [23, 16, 10, 21, 7]);
        // The hash of nothing ends in 0xaf, and 0xaf modulo 32 is 15.
        assert_eq!(orders.shard_of(b""), 15);
        assert_eq!(orders.group_of(b"order-4711").to_string(), "orders/25");
    }

    #[test]
    fn keys_are_spread() {
        for shards in [2, 3, 16, 100] {
            let family = ShardFamily::new("user", shards).unwrap();
            let mut found = vec![0_u32; shards as usize];
            let keys = 1_000 * shards;
            for key in 0..keys {
                found[family.shard_of(format!("user-{key}").as_bytes()) as usize] += 1;
            }
            // A fair share is 1,000 with a deviation of some 32; 20 % off is six of them.
            assert!(
                found.iter().all(|count| (800..=1_200).contains(count)),
                "{found:?}"
            );
        }
    }

    #[test]
    fn counts_at_the_limits_and_one_past_them() {
        assert_eq!(ShardFamily::new("a", 1).unwrap().shard_of(b"key"), 0);
        assert!(ShardFamily::new("a", SHARDS_MAX).is_ok());
        for count in [0, SHARDS_MAX + 1] {
            let error = ShardFamily::new("a", count).unwrap_err();
            assert!(matches!(error, NewFamilyError::Count(error) if error.count == count));
        }
        let error = ShardFamily::new("A", 1).unwrap_err();
        assert!(matches!(error, NewFamilyError::Name(error) if error.name == "A"));
    }

    #[test]
    fn a_shard_out_of_range_is_named() {
        let family = ShardFamily::new("user", 4).unwrap();
        assert_eq!(family.group(3).unwrap().to_string(), "user/3");
        let error = family.group(4).unwrap_err();
        assert_eq!(
            error.to_string(),
            "family user has no shard 4; its last one is 3"
        );
        let names: Vec<_> = family.groups().map(|group| group.to_string()).collect();
        assert_eq!(names, ["user/0", "user/1", "user/2", "user/3"]);
    }
}
