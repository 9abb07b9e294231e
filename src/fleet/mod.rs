//! One rate that many processes keep together, on the store that they already have.
//!
//! A limiter in each process multiplies with the replicas; a call of a shared store for each request is a hop, and a
//! fixed division wastes. Here each process holds a *share* of one rate for the time of a lease, and waits on its own
//! [`Limiter`](crate::Limiter): there is one small write to the store in every few seconds and none for a request, and
//! the sum of all shares is never above the rate. A share moves to where it is asked for.
//!
//! ```
//! use std::time::Duration;
//! use relent::{Rate, fleet::{Fleet, MemoryLedger}, retry};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let ledger = MemoryLedger::new();
//! let member = Fleet::new(ledger, "web").rate(Rate::per_second(100)).burst(200).ttl(Duration::from_secs(10))?.join()?;
//! member.ready().await;
//! let limiter = member.limiter();
//! limiter.acquire(1).await?;
//! # async fn call() -> Result<(), std::io::Error> { Ok(()) }
//! retry(async |_| call().await).throttle(limiter).await?;
//! // At the end of the process: the others have its share at once, and not after a ttl.
//! member.leave().await?;
//! # Ok(()) }
//! ```
//!
//! `cargo run --example fleet --release`, in the repository, plays ten members in virtual time: they join, one crashes,
//! one leaves and comes back, the store is gone for a while; it prints the shares and what a counting server would see.
//!
//! # What is kept
//! At every instant the sum of the rates of all shares that are in use is at most the rate, and that of their bursts at
//! most the burst; in every window `w` at most `burst + rate * (w + catch-up)` permits come out of all of them
//! together. That holds through lost, late and doubled calls, conflicts, partitions, crashes, processes that are
//! stopped or suspended, a record that is deleted, and clocks that run up to [`clock_drift`](Fleet::clock_drift) too
//! fast or too slow. Two exceptions: after the rate was lowered the sum may be above it for
//! [`FleetExplained::after_lowering`]; and after the *store* was restored from a backup it may be for a ttl, unless the
//! record is deleted then. Waits for more permits than the burst of a share that shrank while they waited are granted
//! all the same.
//!
//! It is cooperative: whatever does not ask the limiter is not limited.
//!
//! # What to expect
//! - The store gone: a share is used up to its end, `ttl * (1 - 2 * clock_drift)` after its last confirmed refresh was
//!   sent. Then waits without a bound wait, and others are refused at once with
//!   [`Refused::NoShare`](crate::limiter::Refused::NoShare), and runs with [`Stop::NoShare`](crate::Stop::NoShare).
//!   Both say since when and what was wrong last: "the limiter's share of the fleet limits/api lapsed 12s ago: key
//!   limits/api: no answer within 1.5s". Or see [`Fleet::floor_for`].
//! - A process that has asked for little has a small share while others are busy. Its first requests wait up to two
//!   refreshes; [`Fleet::want_at_least`] avoids that, for a little of the rate.
//! - The burst is shared evenly, so `acquire(n)` needs a burst of at least `n` times the number of members. There are
//!   never more members with a share than permits in the burst.
//! - After a crash a share lies idle for more than a ttl; one that [leaves](FleetMember::leave) gives it back at once.
//! - Where there is no record yet, or it was deleted, nothing *new* is given for `max_ttl`. To spare a first deployment
//!   that, lay it down beforehand: the two lines `relent fleet 1` and `settled`.
//! - One record serves 100 to 300 members, and 1,000 at most, at a `max_ttl` of 400 s where a call takes 8 ms:
//!   [`Fleet::explain`] says what that means. (Simulated, 1,000 that start within a second are all in after 12 s, at
//!   first with ten conflicts for each; evenly after three minutes; then 12 writes a second of 125 kB; after a crash
//!   evenly within 8 minutes.) Those beyond have no share and hear of [`Trouble::Full`]. A larger fleet is several
//!   fleets: `k` ledgers with a `k`th of rate and burst each, and each process a member of one. That keeps the law;
//!   what one of them leaves unused is not for the others.
//! - Up to 20 members watch the record. In larger fleets the reports would be most of the load, and are left out.
//!
//! # The record
//! It is made to be read by people, with `etcdctl get` or `kubectl get -o yaml`:
//! ```text
//! relent fleet 1
//! rate 200/s
//! settled 9f86d081884c7d65 write 17
//! member web_43e1f2a09b77c3d8 share 120/s burst 100 want 120/s ttl 10s states 100/s burst 200 beat 43e1f2a09b77c3d9
//! member web_5f3a09b7c3d843e1 share 80/s burst 100 want 200/s ttl 10s states 100/s burst 200 beat 09b75f3ac3d843e5
//! ```
//! `rate` and `burst`, each in a line of its own, are an operator's word and go over what the processes state; they may
//! be added, changed and removed at any time. Without them the smallest value that any member states is in force, so
//! that two versions of a program in a rollout agree. All else is the members' own.

mod builder;
mod call;
mod driver;
mod events;
mod explain;
mod ledger;
mod member;
mod memory;
mod share;

pub use self::{
    builder::Fleet,
    events::{FleetEvent, Trouble},
    explain::FleetExplained,
    ledger::{Ledger, LedgerError, Stored, StoredStream},
    member::FleetMember,
    memory::MemoryLedger,
    share::MemberShare,
};
