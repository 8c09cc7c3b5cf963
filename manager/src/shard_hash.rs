//! The hash from key to shard. It must not change: keys would be looked for in other groups.

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// The hash of a key: FNV-1a in 64 bits, and then the mixing step of `SplitMix64`.
///
/// It is part of a host's data, and so it never changes. Any language can compute it:
///
/// 1. `h = 0xcbf29ce484222325`; for each byte of the key `h = (h xor byte) * 0x100000001b3`;
/// 2. `h = (h xor (h >> 30)) * 0xbf58476d1ce4e5b9`; `h = (h xor (h >> 27)) * 0x94d049bb133111eb`;
///    `h = h xor (h >> 31)`.
///
/// All in 64 bits without a sign, overflow cut. The second step is there because FNV leaves keys
/// that differ only at their end close together in the upper bits, which choose the shard.
///
/// It spreads ordinary keys and is no protection against keys that were chosen to fall together:
/// whoever can choose keys can find some for any public function.
#[must_use]
pub const fn shard_hash(key: &[u8]) -> u64 {
    let mut hash = OFFSET;
    let mut place = 0;
    while place < key.len() {
        hash = (hash ^ key[place] as u64).wrapping_mul(PRIME);
        place += 1;
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
