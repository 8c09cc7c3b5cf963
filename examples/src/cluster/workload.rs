//! Which bytes are written: every key and value follows from the seed and a number.

use crate::kv::shard::group_of;

/// The writes of one run. Two of the same seed and sizes are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workload {
    seed: u64,
    groups: u64,
    value_bytes: usize,
}

impl Workload {
    /// Writes of `value_bytes` each to `groups` groups.
    #[must_use]
    pub const fn new(seed: u64, groups: u64, value_bytes: usize) -> Self {
        Self {
            seed,
            groups,
            value_bytes,
        }
    }

    /// The key of write `number`; no two are the same.
    #[must_use]
    pub fn key(&self, number: u64) -> String {
        let mut salt = [0; 4];
        self.bytes(b"key", number).fill(&mut salt);
        format!("key-{number}-{:08x}", u32::from_le_bytes(salt))
    }

    /// The value of write `number`.
    #[must_use]
    pub fn value(&self, number: u64) -> Vec<u8> {
        let mut value = vec![0; self.value_bytes];
        self.bytes(b"value", number).fill(&mut value);
        value
    }

    /// The group that `key` belongs to.
    #[must_use]
    pub fn group(&self, key: &str) -> u64 {
        group_of(key.as_bytes(), self.groups)
    }

    /// As many bytes as are wanted. A hash, because no generator promises the same bytes in its
    /// next version.
    fn bytes(&self, purpose: &[u8], number: u64) -> blake3::OutputReader {
        blake3::Hasher::new()
            .update(&self.seed.to_le_bytes())
            .update(&number.to_le_bytes())
            .update(purpose)
            .finalize_xof()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
        let one = Workload::new(1, 4, 64);
        assert_eq!(one.key(7), Workload::new(1, 4, 64).key(7));
        assert_eq!(one.value(7), Workload::new(1, 4, 64).value(7));
        assert_ne!(one.value(7), Workload::new(2, 4, 64).value(7));
        assert_ne!(one.value(7), one.value(8));
        assert_ne!(one.key(7), one.key(8));
        assert_eq!(one.value(7).len(), 64);
        assert!(Workload::new(1, 4, 0).value(7).is_empty());
    }
}
