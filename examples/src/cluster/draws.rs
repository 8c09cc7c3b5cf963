//! Numbers that follow from a seed. Pure: no process, no clock.

/// Numbers that follow from a seed. A hash, because no generator promises the same numbers in its
/// next version.
#[derive(Debug)]
pub(super) struct Draws(blake3::OutputReader);

impl Draws {
    /// For one purpose; the same seed gives another purpose other numbers.
    pub(super) fn new(purpose: &str, seed: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(purpose.as_bytes())
            .update(&seed.to_le_bytes());
        Self(hasher.finalize_xof())
    }

    /// A number from the first to the last of `bounds`, both included.
    pub(super) fn between(&mut self, (first, last): (u64, u64)) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        first + u64::from_le_bytes(bytes) % (last - first + 1)
    }

    pub(super) fn one_in(&mut self, number: u64) -> bool {
        self.between((1, number)) == 1
    }

    /// The place of one of so many; 0 if there is none.
    pub(super) fn one_of(&mut self, number: usize) -> usize {
        let last = (number as u64).saturating_sub(1);
        usize::try_from(self.between((0, last))).unwrap_or(0)
    }
}
