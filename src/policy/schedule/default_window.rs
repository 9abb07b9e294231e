//! What a builder brings along until its user says otherwise: a window that gives way, and a final try before the end.

use std::{mem, time::Duration};

use crate::policy::{
    nanos::{FOREVER, nanos},
    schedule::{
        DEFAULT_WINDOW, Policy,
        bounds::Bounds,
        rare::{MaybeRare, Rare},
    },
};

impl Policy {
    /// [`start_within`](Self::start_within) until the user of a builder sets a bound: `start_within`, `finish_within`
    /// or `max_attempts`, or those of a policy, then hold alone. Meanwhile what servers ask for by `RetryAfter` moves
    /// the end of the window along, by `asked` in all at most.
    ///
    /// For what hands out builders that have settings already. The policy's text shows it as `start_within`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use relent::{Operation, Policy, builder::Retry};
    ///
    /// /// A call that users await as it is, or give a bound of their own.
    /// fn lookup<O: Operation<Output = Result<String, std::io::Error>>>(operation: O) -> Retry<O> {
    ///     let window = Policy::new().default_start_within(Duration::from_millis(350), Duration::from_secs(10));
    ///     Retry::new(operation).every(Duration::from_millis(50)).policy(&window)
    /// }
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
    /// # let call = async |_| Err(std::io::Error::other("no such host"));
    /// assert_eq!(lookup(call).await.unwrap_err().attempts(), 8);
    /// assert_eq!(lookup(call).finish_within(Duration::from_secs(1)).await.unwrap_err().attempts(), 20);
    /// # }
    /// ```
    pub fn default_start_within(mut self, window: Duration, asked: Duration) -> Self {
        self.bounds.start_within = nanos(window);
        let latest = nanos(window).saturating_add(nanos(asked));
        self.change_rare(|rare| rare.window_moves_to = Some(latest));
        self.flags |= DEFAULT_WINDOW;
        self
    }

    /// A bound is set: the window that the builder came with, if it did, is none any more.
    #[inline]
    pub(in crate::policy) fn drop_default_window(&mut self) {
        #[cold]
        #[inline(never)]
        #[expect(
            clippy::needless_pass_by_value,
            reason = "a builder whose address is taken is copied with each setting"
        )]
        fn without_window(rare: MaybeRare) -> MaybeRare {
            rare.get().map_or(MaybeRare::NONE, |rare| MaybeRare::new(Rare { window_moves_to: None, ..rare.clone() }))
        }
        if self.has(DEFAULT_WINDOW) {
            self.bounds.start_within = FOREVER;
            self.flags &= !DEFAULT_WINDOW;
            self.rare = without_window(mem::replace(&mut self.rare, MaybeRare::NONE));
        }
    }

    /// A server asks for this pause: a default window moves along with it.
    pub(crate) fn move_window(&mut self, asked: Duration) {
        if !self.has(DEFAULT_WINDOW) {
            return;
        }
        let latest = self.rare().window_moves_to.unwrap_or(self.bounds.start_within);
        let moved = self.bounds.start_within.saturating_add(nanos(asked).min(self.most_asked()));
        self.bounds.start_within = moved.min(latest);
    }

    /// The latest end of the start window that is foreseen: a default window moves along with what servers ask for,
    /// which is known only where [`max_retry_after`](Self::max_retry_after) caps it.
    pub(in crate::policy) fn latest_window(&self) -> u64 {
        let moves = self.has(DEFAULT_WINDOW) && self.most_asked() != FOREVER;
        self.rare().window_moves_to.filter(|_| moves).unwrap_or(self.bounds.start_within)
    }

    /// Whether the start window may move.
    pub(in crate::policy) fn has_default_window(&self) -> bool {
        self.has(DEFAULT_WINDOW)
    }

    /// Where the next start would not be admitted, one last attempt starts so long before `finish_within`, or at half
    /// of that where it is shorter than twice as long. [`final_try`](Self::final_try) replaces it; a policy that is
    /// given to a builder with this one does not take it away.
    ///
    /// For what hands out builders whose last attempt needs its time, such as a read that says what was seen last. It
    /// is no part of the policy's text.
    pub fn default_final_try(mut self, before_the_end: Duration) -> Self {
        self.change_rare(|rare| rare.final_try = Some(nanos(before_the_end)));
        self
    }

    /// When the final try would start.
    pub(in crate::policy) fn final_try_at(&self) -> Option<u64> {
        let Bounds { finish_within, .. } = self.bounds;
        let before = self.rare().final_try.filter(|_| finish_within != FOREVER)?;
        let at = finish_within.saturating_sub(before.min(finish_within.div_ceil(2)));
        self.bounds.admit(at).is_ok().then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::schedule::attempts::{Attempts, Decision, Next, PolicyStop};

    fn get() -> Policy {
        let (window, asked) = (Duration::from_nanos(350), Duration::from_nanos(10_000));
        Policy::new().every(Duration::from_nanos(50)).default_start_within(window, asked)
    }

    #[test]
    fn any_bound_takes_the_place_of_the_default_window() {
        let every = Policy::new().every(Duration::from_nanos(50));
        let bound = Duration::from_secs(1);
        assert_eq!(get().start_within(bound), every.clone().start_within(bound));
        assert_eq!(get().finish_within(bound), every.clone().finish_within(bound));
        assert_eq!(get().max_attempts(3), every.clone().max_attempts(3));
        assert_eq!(every.clone().guarded_by(&get()), every);
    }

    /// Every start of a run whose attempts take no time and whose errors ask for these pauses.
    fn starts(mut policy: Policy, asked: &[u64]) -> (Vec<u64>, PolicyStop) {
        let (mut run, mut starts) = (Attempts::default(), Vec::new());
        let mut next = run.first(&policy, || 0);
        loop {
            match next {
                Next::Stop(ended) => return (starts, ended),
                Next::Start(at) => {
                    run.start(&policy, at);
                    let pause = asked.get(starts.len()).copied().unwrap_or(0);
                    starts.push(at);
                    let decision = if pause == 0 {
                        Decision::Retry
                    } else {
                        policy.move_window(Duration::from_nanos(pause));
                        Decision::RetryAfter(Duration::from_nanos(pause))
                    };
                    next = run.end(&policy, at, decision, || 0);
                }
            }
        }
    }

    proptest! {
        /// The naive rule: the time that was not asked for is at most the window, and what was is at most the cap.
        #[test]
        fn the_default_window_counts_only_what_no_server_asked_for(asked in prop::collection::vec(prop_oneof![Just(0_u64), 1_u64..6_000], 0..12)) {
            let (starts, ended) = starts(get(), &asked);
            prop_assert_eq!(ended, PolicyStop::StartWindow);
            let mut moved = 0_u64;
            for (n, &start) in starts.iter().enumerate() {
                prop_assert!(start <= 350 + moved.min(10_000), "{starts:?}");
                moved += asked.get(n).copied().unwrap_or(0);
            }
            // It stopped only because the next start would have been later than that.
            let last = *starts.last().unwrap();
            let pause = asked.get(starts.len() - 1).copied().unwrap_or(0);
            let next = (last + pause).max((last / 50 + 1) * 50);
            prop_assert!(next > 350 + moved.min(10_000), "{starts:?}");
        }

        #[test]
        fn a_final_try_is_before_the_bound_and_has_its_time(finish: u64, before in 0_u64..100_000, window: u64) {
            let policy = Policy::new().default_final_try(Duration::from_nanos(before));
            prop_assert_eq!(policy.clone().final_try_at(), None);
            let (finish_within, start_within) = (Duration::from_nanos(finish), Duration::from_nanos(window));
            if let Some(at) = policy.finish_within(finish_within).start_within(start_within).final_try_at() {
                prop_assert!(at <= window && at < finish);
                prop_assert!(finish - at >= before.min(finish / 2).max(1) || before == 0);
            } else {
                let at = finish - before.min(finish.div_ceil(2));
                prop_assert!(finish == FOREVER || at > window || at >= finish);
            }
        }
    }
}
