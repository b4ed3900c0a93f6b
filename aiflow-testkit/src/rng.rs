//! Random numbers that repeat: which faults does a seed stand for?

use std::hash::{BuildHasher, Hasher, RandomState};

/// Names the environment variable that sets the seed of random tests, to repeat a failure.
pub const SEED_VARIABLE: &str = "AIFLOW_TEST_SEED";

/// The generator SplitMix64: small, fast, the same on every machine. Not for secrets.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The generator of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).expect("less than the bound, which is a u64")
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: u8) -> bool {
        self.below(100) < u64::from(percent)
    }
}

/// The seed in [`SEED_VARIABLE`], or a fresh one.
///
/// # Panics
/// If the variable is set and not a number.
#[must_use]
pub fn test_seed() -> u64 {
    match std::env::var(SEED_VARIABLE) {
        Ok(text) => text.parse().expect("AIFLOW_TEST_SEED is a number"),
        Err(_) => RandomState::new().build_hasher().finish(),
    }
}

/// Names the environment variable that makes random tests longer: so many times as many cases.
pub const ROUNDS_VARIABLE: &str = "AIFLOW_TEST_ROUNDS";

/// How many cases a random test tries that tries `n` by itself.
///
/// # Panics
/// If [`ROUNDS_VARIABLE`] is set and not a number.
#[must_use]
pub fn test_rounds(n: usize) -> usize {
    match std::env::var(ROUNDS_VARIABLE) {
        Ok(text) => n.saturating_mul(text.parse().expect("AIFLOW_TEST_ROUNDS is a number")),
        Err(_) => n,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_gives_the_published_sequence() {
        let mut rng = Rng::new(1_234_567);
        assert_eq!(rng.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(rng.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn chances_are_about_right_at_the_ends() {
        let mut rng = Rng::new(7);
        assert!((0..1000).all(|_| !rng.chance(0)));
        assert!((0..1000).all(|_| rng.chance(100)));
    }
}
