//! The hash from key to shard. It must not change: keys would be looked for in other groups.

/// The hash of a key: the first 8 bytes of its BLAKE3 hash, as a little-endian number.
///
/// It is part of a host's data, and so it never changes. Any language with BLAKE3 can compute it. It
/// spreads keys evenly whatever they look like, and keys cannot be made to fall together but by
/// trying them out.
#[must_use]
pub fn shard_hash(key: &[u8]) -> u64 {
    let hash = blake3::hash(key);
    // BLAKE3 has 32 bytes, so the first 8 are always there.
    hash.as_bytes()
        .first_chunk()
        .map_or(0, |first| u64::from_le_bytes(*first))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hash of nothing is the first test vector of BLAKE3: af1349b9f5f9a1a6...
    #[test]
    fn the_hash_is_blake3() {
        assert_eq!(shard_hash(b""), 0xa6a1_f9f5_b949_13af);
    }
}
