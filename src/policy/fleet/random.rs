//! Random numbers of a member: for its id, and for when it refreshes.

use super::Member;

impl Member {
    pub(super) fn draw_id(&mut self, now: u64) {
        let number = self.draw(now);
        self.id = format!("{}_{number:016x}", self.name).into();
    }

    /// A random number; where there are none, the time. SplitMix64 (Steele, Lea, Flood 2014).
    pub(super) fn draw(&mut self, now: u64) -> u64 {
        let Some(state) = self.random else { return now };
        let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random = Some(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A random number below `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.draw(0)).saturating_mul(bound.into());
        u64::try_from(product >> 64).unwrap_or(0)
    }
}
