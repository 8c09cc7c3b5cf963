//! Which group a key belongs to.

/// The group of `key` among `groups` groups, numbered from 0: the first 8 bytes of the key's blake3
/// hash as a little-endian number, modulo `groups`.
///
/// It is part of the stored data: another function, or another number of groups, would look for
/// old keys in the wrong group. With no group at all the answer is 0.
#[must_use]
pub fn group_of(key: &[u8], groups: u64) -> u64 {
    let hash = blake3::hash(key);
    let first = hash.as_bytes().first_chunk().copied().unwrap_or_default();
    u64::from_le_bytes(first).checked_rem(groups).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// These must never change; see [`group_of`].
    #[test]
    fn keys_stay_where_they_are() {
        // blake3("") begins with af1349b9f5f9a1a6, see the test vectors of BLAKE3.
        assert_eq!(group_of(b"", u64::MAX), 0xa6a1_f9f5_b949_13af);
        assert_eq!(group_of(b"", 16), 15);
        assert_eq!(group_of(b"anything", 1), 0);
        assert_eq!(group_of(b"anything", 0), 0);
    }

    #[test]
    fn keys_are_spread_over_all_groups() {
        let mut found = [0_u32; 16];
        for number in 0..16_000 {
            let group = group_of(format!("key-{number}").as_bytes(), 16);
            found[usize::try_from(group).unwrap()] += 1;
        }
        assert!(
            found.iter().all(|&count| (800..1200).contains(&count)),
            "{found:?}"
        );
    }
}
