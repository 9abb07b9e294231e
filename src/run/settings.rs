//! The vocabulary: the same words, with the same meaning, on every builder.

/// Gives a builder with the fields `operation`, `when`, `listener`, `policy` and `shared` its words.
///
/// `errors` is the bound that the operation's error is named by, `undecided` the one of operations whose errors are
/// classified by `.when(..)`, where not all are.
macro_rules! settings {
    ($builder:ident, $operation:path, $error:ty) => {
        crate::run::settings::settings!($builder, $operation, $error, $operation);
    };
    ($builder:ident, $operation:path, $error:ty, $undecided:path) => {
        impl<O, W, L, G> $builder<O, W, L, G> {
            /// Takes the settings that are data from `policy`. What it does not set stays as it is here: the cadence,
            /// `attempt_timeout`, `on_cut`, `max_retry_after`. The bounds (`start_within`, `finish_within`,
            /// `max_attempts`, with `final_try` and `delay_first`) are replaced as one set.
            pub fn policy(mut self, policy: &crate::policy::schedule::Policy) -> Self {
                self.policy.take_over(policy);
                self
            }

            /// The pause from the *end* of one attempt to the start of the next.
            #[inline]
            pub fn backoff(mut self, backoff: crate::policy::schedule::backoff::Backoff) -> Self {
                self.policy = self.policy.backoff(backoff);
                self
            }

            /// Attempts start on a grid of this period, laid at the first start. A tick that passes while an attempt
            /// runs is skipped, never made up for. With a backoff as well, the later of the two counts.
            #[inline]
            pub fn every(mut self, period: std::time::Duration) -> Self {
                self.policy = self.policy.every(period);
                self
            }

            /// Gives each run a grid of its own: the first pause is any between half of `every` and one and a half, at
            /// random, and the grid is laid where it ends. Runs that begin together then never meet again. Without
            /// `every` it has no effect.
            #[inline]
            pub fn random_phase(mut self) -> Self {
                self.policy = self.policy.random_phase();
                self
            }

            /// The per-call deadline. A call that still runs after it is cut, that is dropped: a failed attempt whose
            /// outcome is unknown.
            #[inline]
            pub fn attempt_timeout(mut self, timeout: std::time::Duration) -> Self {
                self.policy = self.policy.attempt_timeout(timeout);
                self
            }

            /// Attempts may *start* up to and including this long after the run began. One in flight is left to finish.
            #[inline]
            pub fn start_within(mut self, window: std::time::Duration) -> Self {
                self.policy.set_start_within(window);
                self
            }

            /// The hard bound on everything: waits, limiter, attempts. An attempt in flight is cut there, and none
            /// starts then or later, however late a timer or a permit came.
            #[inline]
            pub fn finish_within(mut self, bound: std::time::Duration) -> Self {
                self.policy.set_finish_within(bound);
                self
            }

            /// At most so many attempts. 0 is none: the run ends at once and says so.
            #[inline]
            pub fn max_attempts(mut self, attempts: u32) -> Self {
                self.policy.set_max_attempts(attempts);
                self
            }

            /// One last attempt at exactly the end of the start window; without a window, at
            /// `finish_within - attempt_timeout`. Otherwise no effect. Unless set, a run stops at once rather than
            /// sleep to no purpose.
            #[inline]
            pub fn final_try(mut self) -> Self {
                self.policy = self.policy.final_try();
                self
            }

            /// Waits one step of the cadence before the first attempt, which otherwise starts at once.
            #[inline]
            pub fn delay_first(mut self) -> Self {
                self.policy = self.policy.delay_first();
                self
            }

            /// What follows an attempt that ended without an answer, since its own deadline cut it or it was dropped.
            /// `Fatal` is for calls that must not run twice. Default: retry.
            #[inline]
            pub fn on_cut(mut self, decision: impl Into<crate::policy::schedule::attempts::Decision>) -> Self {
                self.policy = self.policy.on_cut(decision);
                self
            }

            /// At most this much of what a server asks for with [`RetryAfter`](crate::Decision::RetryAfter) is waited.
            #[inline]
            pub fn max_retry_after(mut self, most: std::time::Duration) -> Self {
                self.policy = self.policy.max_retry_after(most);
                self
            }
        }

        impl<O, W, L, G> $builder<O, W, L, G> {
            /// What a server asks of this run by [`RetryAfter`](crate::Decision::RetryAfter) holds for all that share
            /// its limiters. See [`Policy::share_retry_after`](crate::Policy::share_retry_after).
            #[inline]
            pub fn share_retry_after(mut self) -> Self {
                self.policy = self.policy.share_retry_after();
                self
            }
        }

        impl<O, W, L, G> $builder<O, W, L, G> {
            /// What follows an error: `bool` (true is retry) or a [`Decision`](crate::Decision). Default: retry them
            /// all. A run has one such rule: said again, or after [`profile`](Self::profile), this one counts alone.
            #[inline]
            pub fn when<F, D>(self, when: F) -> $builder<O, F, L, G>
            where
                O: $undecided,
                F: FnMut(&$error) -> D,
                D: Into<crate::policy::schedule::attempts::Decision>,
            {
                self.classify(when)
            }

            /// [`when`](Self::when) for a rule that is a type, so that the run can be named.
            #[inline]
            pub fn classify<C>(self, when: C) -> $builder<O, C, L, G>
            where
                O: $undecided,
                C: crate::operation::Classify<$error>,
            {
                let Self { operation, listener, policy, shared, .. } = self;
                $builder { operation, when, listener, policy, shared }
            }
        }

        impl<O: $operation, W, L, G> $builder<O, W, L, G> {
            /// Hears of attempts, waits and the end: a closure, whose type is inferred. A second listener hears after
            /// the first.
            #[inline]
            pub fn notify<N>(self, listener: N) -> $builder<O, W, (L, N), G>
            where
                N: FnMut(&crate::events::Event<'_, $error>),
            {
                self.listen(listener)
            }

            /// [`notify`](Self::notify) for a listener that is a type, as those in [`events`](crate::events) are.
            #[inline]
            pub fn listen<N>(self, listener: N) -> $builder<O, W, (L, N), G>
            where
                N: crate::events::Listener<$error>,
            {
                let Self { operation, when, listener: before, policy, shared } = self;
                $builder { operation, when, listener: (before, listener), policy, shared }
            }
        }

        impl<O: $operation, W, L, G: crate::builder::Share> $builder<O, W, L, G> {
            /// All that the calls of one client have in common: its policy (see [`policy`](Self::policy)), limiters,
            /// budgets, classification and listeners. What is said after it holds for this run alone. Before `when`,
            /// which may then say another classification. See [`Profile`](crate::Profile).
            pub fn profile<C, N>(
                self,
                profile: &crate::profile::Profile<$error, C, N>,
            ) -> $builder<O, C, (L, N), G::With>
            where
                W: crate::operation::Unclassified,
                C: crate::operation::Classify<$error> + Clone,
                N: crate::events::Listener<$error> + Clone,
            {
                let Self { operation, listener, policy, shared, .. } = self.policy(&profile.policy);
                let (when, listener) = (profile.when.clone(), (listener, profile.listener.clone()));
                $builder {
                    operation,
                    when,
                    listener,
                    policy,
                    shared: shared.share(|before| before.and(&profile.shared)),
                }
            }
        }

        impl<O, W, L, G: crate::builder::Share> $builder<O, W, L, G> {
            /// Stops now when the token is cancelled: in a wait, in the limiter, in the attempt. Nothing starts once it
            /// is; an attempt that is ready with its answer at that moment still counts. Given twice, either stops it.
            #[inline]
            pub fn cancel_on(self, token: tokio_util::sync::CancellationToken) -> $builder<O, W, L, G::With> {
                self.share(|shared| shared.cancel_on(token))
            }

            /// Stops now when the future is done, as [`cancel_on`](Self::cancel_on) does: a shutdown signal, the
            /// receiver of a channel. It is polled by the run, and not before it begins.
            #[inline]
            pub fn cancel_when<F: Future>(self, until: F) -> $builder<O, W, L, crate::builder::Until<G, F>> {
                let Self { operation, when, listener, policy, shared } = self;
                $builder { operation, when, listener, policy, shared: crate::builder::Until::new(shared, until) }
            }

            /// Takes a permit of this limiter before each attempt. The wait for it counts towards `start_within` and
            /// `finish_within`, never towards `attempt_timeout`; one that cannot fit ends the run at once with
            /// [`Stop::Limiter`](crate::Stop::Limiter), the last real error untouched. Of two, permits of both are
            /// taken together or none; the same one given twice is one. A run that is first in the list of the one made
            /// later, and waits for the one made earlier, keeps its place, and those behind it wait as well: make the
            /// one that is slowest last.
            pub fn throttle(self, limiter: &crate::limiter::Limiter) -> $builder<O, W, L, G::With> {
                let limiter = limiter.clone();
                self.share(|shared| shared.throttle(limiter))
            }

            /// Asks this budget, shared with other runs, before each retry; refused, the run ends with
            /// [`Stop::Budget`](crate::Stop::Budget). Of two, both must allow it, and a refusal of one takes nothing
            /// from the other; the same one given twice, by a profile and here, is one.
            pub fn budget(self, budget: &crate::budget::Budget) -> $builder<O, W, L, G::With> {
                let budget = budget.clone();
                self.share(|shared| shared.budget(budget))
            }

            fn share(
                self,
                set: impl FnOnce(crate::builder::Controls) -> crate::builder::Controls,
            ) -> $builder<O, W, L, G::With> {
                let Self { operation, when, listener, policy, shared } = self;
                $builder { operation, when, listener, policy, shared: shared.share(set) }
            }
        }
    };
}

pub(crate) use settings;
