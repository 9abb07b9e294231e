//! Every sentence of a [`GaveUp`](crate::GaveUp): what it means and what to do.
//!
//! A sentence has three parts: how many attempts in what time; why the run stopped (a [`Stop`](crate::Stop), whose name
//! for logs is [`Stop::as_str`](crate::Stop::as_str)); what the last attempt did (a [`Last`](crate::Last)), its error
//! with every cause.
//!
//! ```text
//! gave up after 3 attempts in 1m: no attempt may start after 1m; last attempt: no route to host
//! ```
//!
//! # Why it stopped
//!
//! | sentence | [`Stop`](crate::Stop) | cause | what to do |
//! |---|---|---|---|
//! | repeating cannot mend this | `Fatal` | `.when(..)` called the error final, or the check did (`Check::Fatal`, `Progress::Failed`, `Observed::Fatal`) | mend what the error says; if it passes by itself, let `.when(..)` say so |
//! | a call without an answer must not be repeated | `Fatal` | an attempt was cut or dropped, under `.on_cut(Decision::Fatal)` | observe whether it worked; [`ensure`](crate::ensure()) does so by itself. If it may run twice, leave `on_cut` out |
//! | at most 3 attempts were allowed; in an `ensure` "at most 2 acts were allowed" | `Attempts` | `max_attempts` were made | see the last error. For what takes long rather than costs, set `finish_within` instead |
//! | at most 0 attempts were allowed | `Attempts` | `max_attempts(0)`: nothing was tried | often a number from a configuration file that meant "no limit": leave it out |
//! | the backoff has no further delay | `BackoffEnded` | `Backoff::steps(..)` or `.take(n)` is at its end | `.then(other)` goes on; a cap never ends a run |
//! | no attempt may start after 1m | `StartWindow` | the next attempt would have started after `start_within` | see the last error. `final_try` makes one last attempt at the end of the window |
//! | everything must be finished within 1m | `Deadline` | `finish_within` is over, or the next attempt could not have started before | see the last error. If the last attempt was cut, set an `attempt_timeout` well below, so that a call that hangs gets a second try |
//! | cancelled | `Cancelled` | the token of `cancel_on` or the future of `cancel_when` | nothing: it was asked for. [`is_cancelled`](crate::GaveUp::is_cancelled) tells it from failures |
//! | the retry budget is spent | `Budget` | the budget that runs share allows no further retry: many of them fail | mend the server. With little traffic give the budget [`min_retries`](crate::Budget::min_retries) |
//! | the limiter's permit would take 1s and only 700ms could be waited | `Limiter` | others are before it, and the bounds are nearer than its turn | a higher rate or burst, fewer calls, or a longer bound |
//! | the limiter's permit would take 1s and no time was left to wait | `Limiter` | the same, at the end of the bounds | the same |
//! | the limiter will never have a permit | `Limiter` | its rate is zero, or it is paused without end | set its rate |
//! | the limiter's share of the fleet limits/api lapsed 12s ago: key limits/api: no answer within 1.5s | `NoShare` | the ledger of the [fleet](crate::fleet) cannot be reached, so nothing is granted; the words after the colon say why | mend what they say. A run without bounds waits until there is a share again; [`floor_for`](crate::fleet::Fleet::floor_for) grants a fixed part meanwhile |
//! | the limiter has waited for a first share of the fleet limits/api for 12s | `NoShare` | the record is new, and nothing is given for `max_ttl`; or there are more members than permits in the burst; or as above | wait for [`ready`](crate::fleet::FleetMember::ready) before the first call; a record laid down beforehand spares the wait |
//! | the limiter's share of the fleet limits/api went to other members 12s ago | `NoShare` | this process has asked for little lately, and others want all there is | nothing, if it was the first call in a while: it has its part two refreshes later. [`want_at_least`](crate::fleet::Fleet::want_at_least) keeps some for it |
//! | the limiter's member left the fleet limits/api 12s ago | `NoShare` | its [`FleetMember`](crate::fleet::FleetMember) has left, or was dropped | keep it for as long as the limiter is used |
//! | nothing has moved | `Stalled` | `settle` saw the same for as long as `stall_after` | see "last seen": that is where it is stuck. If it is only slow, a longer `stall_after`, or a text that tells its movement |
//! | observing has failed for longer than is tolerated | `Unobservable` | the observations of `settle` failed or were cut for as long as `tolerate_errors_for` | the operation itself may be well: mend what the error says of the observation |
//!
//! # What `settle` and `ensure` add
//!
//! | sentence | meaning |
//! |---|---|
//! | (last seen: 2 of 3 replicas ready, unchanged for 40s) | the text of the last observation and for how long it had not changed |
//! | (no progress was seen) | no observation has told of any: each failed or was cut, or the first one said that it has failed |
//! | (never acted) | `ensure` only observed: nothing was changed |
//! | (acted once, and it was not seen to be applied) | an observation after the act did not find it applied |
//! | (acted 2 times, and whether it was applied is unknown) | no observation could tell after the last act. Observe before you act again |
//!
//! # What the last attempt did
//!
//! | sentence | meaning |
//! |---|---|
//! | last attempt: no route to host | it failed, and this is its error with every cause |
//! | last attempt: not ready | the condition was not met; after a further colon, why |
//! | last attempt: cut after 500ms by its own deadline | `attempt_timeout`. "outcome unknown": it may have worked. Of what only observes that is not said |
//! | last attempt: cut after 500ms by the overall deadline | `finish_within` came while it ran |
//! | last attempt: cancelled after 500ms | the run was cancelled while it ran |
//! | last attempt: dropped after 500ms | the attempt was dropped by its caller before it answered |
//! | last attempt: not called | a listener cancelled the run, or held it up, when it heard that the attempt starts: the call was never begun |
//! | last attempt failed with an error that was handed out before | of the [cursor](crate::builder::AttemptLoop), which gives each error away once |
//! | last error: no route to host | the latest error that an attempt gave, before the last was cut or not ready |
//! | nothing was attempted | the run was refused, cancelled or over before its first attempt |
