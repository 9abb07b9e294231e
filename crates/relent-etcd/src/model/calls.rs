//! What becomes of a call: on its way there, in the cluster, and on its way back.

use std::{collections::VecDeque, future::pending};

use super::{
    CallFault, Model, ModelCall, Release, client,
    membership::{Change, Membership},
    nanos,
};
use crate::{CallError, Code, time};

impl Model {
    /// Waits until `ready` says so; something may happen by itself or be done by the test meanwhile.
    async fn until<T>(&self, mut ready: impl FnMut(&mut Membership) -> Result<T, Option<u64>>) -> T {
        loop {
            let changed = self.shared.changed.notified();
            let look_again = {
                let mut state = self.now();
                match ready(&mut state.membership) {
                    Ok(value) => return value,
                    Err(at) => at.into_iter().chain(state.membership.next_event()).min(),
                }
            };
            tokio::select! {
                () = changed => {}
                () = self.wait_until(look_again) => {}
            }
        }
    }

    /// Waits until this process has a leader, and all that was agreed upon until then.
    pub(super) async fn caught_up(&self, node: u64) {
        let mut applied = None;
        self.until(|membership| {
            let applied = *applied.get_or_insert_with(|| membership.applied_at());
            if membership.leads(node) { Ok(applied) } else { Err(None) }
        })
        .await;
        self.wait_until(applied).await;
    }

    /// The way there: what becomes of the request, and which process takes it.
    pub(super) async fn send(
        &self,
        call: ModelCall,
        endpoint: &str,
        what: &str,
    ) -> Result<(CallFault, u64), CallError> {
        let (fault, latency) = {
            let mut state = self.state();
            let calls = state.calls.entry(call).or_default();
            *calls = calls.saturating_add(1);
            let fault = state.faults.get_mut(&call).and_then(VecDeque::pop_front).unwrap_or(CallFault::Fine);
            (fault, state.latency)
        };
        let lost = if fault == CallFault::Fine { String::new() } else { format!(" [{fault:?}]") };
        self.record(format_args!("{call:?} {what} at {endpoint}{lost}"));
        if fault == CallFault::Refused {
            return Err(CallError::NotSent("connection refused".into()));
        }
        time::pause(latency).await;
        if fault == CallFault::Hang {
            return pending().await;
        }
        if fault == CallFault::LostBefore {
            return Err(CallError::NoAnswer("connection reset".into()));
        }
        self.until(|membership| match membership.serving(endpoint) {
            None => Ok(Err(CallError::NotSent("connection refused".into()))),
            Some((_, true)) => Err(None),
            Some((id, false)) => Ok(Ok((fault, id))),
        })
        .await
        .and_then(|(fault, node)| match fault {
            CallFault::Answer(code, message) => Err(client::answered((code, message))),
            fault => Ok((fault, node)),
        })
    }

    /// The way back.
    pub(super) async fn answer<T>(&self, fault: CallFault, answer: Result<T, CallError>) -> Result<T, CallError> {
        let latency = self.state().latency;
        time::pause(latency).await;
        match fault {
            CallFault::HangAfter => pending().await,
            CallFault::LostAfter | CallFault::Late(_) => Err(CallError::NoAnswer("connection reset".into())),
            _ => answer,
        }
    }

    pub(super) async fn change(&self, call: ModelCall, endpoint: &str, change: Change) -> Result<u64, CallError> {
        let what = match &change {
            Change::Add { peer_urls, learner: true } => format!("{} as learner", peer_urls.join(",")),
            Change::Add { peer_urls, learner: false } => format!("{} as voter", peer_urls.join(",")),
            Change::Promote(id) | Change::Remove(id) => format!("{id:x}"),
        };
        let (fault, node) = self.send(call, endpoint, &what).await?;
        if self.now().membership.is_learner(node) {
            return self.answer(fault, Err(self.not_for_learners())).await;
        }
        let late = if let CallFault::Late(by) = fault { nanos(by) } else { 0 };
        let due = self.elapsed().saturating_add(late);
        let number = self.now().membership.request(node, change, due);
        if late > 0 {
            return self.answer(fault, Ok(0)).await;
        }
        let answer = self.until(|membership| membership.answer(number).ok_or(None)).await;
        match answer {
            Ok(_) => self.record(format_args!("{call:?} {what}: done")),
            Err((_, message)) => self.record(format_args!("{call:?} {what}: {message}")),
        }
        self.answer(fault, answer.map_err(client::answered)).await
    }

    /// What a learner says to what it does not do.
    pub(super) fn not_for_learners(&self) -> CallError {
        let code = match self.state().membership.release {
            Release::V3_6 => Code::FailedPrecondition,
            _ => Code::Unavailable,
        };
        client::answered((code, "etcdserver: rpc not supported for learner"))
    }
}
