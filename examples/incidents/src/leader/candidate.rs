//! A candidate: a process that can freeze, and its work.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use relent::leader::{self, ElectError, ElectionEvent, Ended, Lock, Term, Timing};
use tokio::{select, task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    SECOND,
    world::{World, locked},
};

/// Whether a process is frozen.
#[derive(Default)]
pub(super) struct Gate(Mutex<(bool, Option<Waker>)>);

impl Gate {
    pub(super) fn freeze(&self) {
        locked(&self.0).0 = true;
    }

    pub(super) fn thaw(&self) {
        let mut gate = locked(&self.0);
        gate.0 = false;
        if let Some(waker) = gate.1.take() {
            waker.wake();
        }
    }

    pub(super) fn is_shut(&self, cx: &Context<'_>) -> bool {
        let mut gate = locked(&self.0);
        gate.1 = Some(cx.waker().clone());
        gate.0
    }
}

/// One process of three.
pub(super) struct Candidate {
    pub(super) gate: Arc<Gate>,
    pub(super) stop: CancellationToken,
    pub(super) task: JoinHandle<Result<Ended<()>, ElectError>>,
}

pub(super) fn stand<L: Lock>(world: &Arc<World>, who: &'static str, lock: L, timing: Timing) -> Candidate {
    let (gate, stop) = (Arc::<Gate>::default(), CancellationToken::new());
    let heard = Arc::clone(world);
    let inside = Arc::clone(world);
    let election = leader::elect(lock, who)
        .timing(timing)
        .cancel_on(stop.clone())
        .on_event(move |change| match change {
            ElectionEvent::Elected { fence } => heard.note(format_args!("{who} leads, fence {fence}")),
            ElectionEvent::Lost(why) => heard.note(format_args!("{who} has lost its term: {why}")),
            ElectionEvent::Trouble(error) => heard.note(format_args!("{who}: a call failed: {error}")),
            _ => {}
        })
        .again()
        .run(move |term| work(Arc::clone(&inside), who, term));
    let closed = Arc::clone(&gate);
    let task = tokio::spawn(async move {
        let mut election = pin!(election);
        poll_fn(|cx| if closed.is_shut(cx) { Poll::Pending } else { election.as_mut().poll(cx) }).await
    });
    Candidate { gate, stop, task }
}

/// Writes to the register until it is told to end.
pub(super) async fn work(world: Arc<World>, who: &'static str, term: Term) {
    world.begin(who, &term);
    loop {
        if !world.write(who, term.fence()) {
            world.note(format_args!("{who}: the register refuses fence {}", term.fence()));
        }
        select! {
            () = term.lost() => break,
            () = sleep(SECOND / 4) => {}
        }
    }
    world.note(format_args!("{who}: its work was told, and has ended"));
}
