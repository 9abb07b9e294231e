//! The endpoint of etcd whose turn it is, and the client for it.

use std::{
    fmt,
    future::poll_fn,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::Poll,
};

use etcd_client::{Client, ConnectOptions};
use relent::ConfigError;
use tokio::sync::watch;

use super::{
    channel,
    client::{checked, why},
    cluster::CallError,
};

/// All calls go to one endpoint, until a call there fails or is given up unanswered: then it is the next one's turn.
///
/// One that gave no answer at all, which costs a deadline, has its turn again only after each of the others has failed
/// twice. A client of several endpoints would choose one at random for each call, and go on giving its share to one
/// that is dead.
pub(super) struct Turns {
    endpoints: Vec<String>,
    options: ConnectOptions,
    state: Mutex<State>,
    number: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    number: u64,
    /// Which endpoint it is.
    at: usize,
    client: Option<Client>,
    /// For each endpoint the failures since its last answer, as far as they count.
    strikes: Vec<u8>,
}

/// More do not count; no answer counts as much at once.
const MOST_STRIKES: u8 = 2;

/// A client, and the number of the turn that it was made for.
pub(super) struct Turn {
    pub(super) number: u64,
    pub(super) client: Client,
}

/// A call that did not do what it was made for.
#[derive(Debug, thiserror::Error)]
#[error("{endpoint}: {error}")]
pub(super) struct Failed {
    endpoint: String,
    #[source]
    pub(super) error: CallError,
}

// ===== impl Turns =====

impl Turns {
    pub(super) fn new<U: Into<String>>(
        endpoints: impl IntoIterator<Item = U>,
        options: ConnectOptions,
    ) -> Result<Self, ConfigError> {
        let endpoints = checked(endpoints)?;
        // A member that is cut off from the others says so at once, also to a watch.
        let options = options.with_require_leader(true).with_auto_token_refresh(true);
        let state = State { strikes: vec![0; endpoints.len()], ..State::default() };
        Ok(Self { endpoints, options, state: Mutex::new(state), number: watch::Sender::new(0) })
    }

    pub(super) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// Makes a call at the endpoint whose turn it is.
    pub(super) async fn call<T>(
        &self,
        call: impl AsyncFnOnce(&mut Turn) -> Result<T, etcd_client::Error>,
    ) -> Result<T, Failed> {
        let (number, at, client) = {
            let state = self.state();
            (state.number, state.at, state.client.clone())
        };
        let endpoint = self.endpoints.get(at).map_or("", String::as_str);
        let mut call_under_way = UnderWay { turns: self, number: Some(number) };
        let answer = async {
            let client = match client {
                Some(client) => client,
                None => self.connect(number, endpoint).await?,
            };
            call(&mut Turn { number, client }).await
        };
        let answer = answer.await;
        call_under_way.number = None;
        match answer {
            Ok(answer) => {
                if let Some(strikes) = self.state().strikes.get_mut(at) {
                    *strikes = 0;
                }
                Ok(answer)
            }
            Err(error) => {
                self.pass(number);
                Err(Failed { endpoint: endpoint.to_owned(), error: why(&error) })
            }
        }
    }

    async fn connect(&self, number: u64, endpoint: &str) -> Result<Client, etcd_client::Error> {
        let client = Box::pin(channel::connect(endpoint, &self.options)).await?;
        let mut state = self.state();
        if state.number == number {
            // Another call may have been faster: one connection is enough.
            return Ok(state.client.get_or_insert(client).clone());
        }
        Ok(client)
    }

    /// The endpoint whose turn it is has failed: it is another's, unless it is already.
    pub(super) fn pass(&self, number: u64) {
        self.next(number, 1);
    }

    fn next(&self, number: u64, strikes: u8) {
        let mut state = self.state();
        if state.number != number {
            return;
        }
        let (count, at) = (self.endpoints.len(), state.at);
        if let Some(before) = state.strikes.get_mut(at) {
            *before = before.saturating_add(strikes).min(MOST_STRIKES);
        }
        // The one that failed comes last among its equals.
        let others = (1..=count).filter_map(|step| at.saturating_add(step).checked_rem(count));
        state.at = others.min_by_key(|&other| state.strikes.get(other)).unwrap_or(0);
        state.client = None;
        state.number = number.wrapping_add(1);
        let number = state.number;
        drop(state);
        self.number.send_replace(number);
    }

    /// The future's output, unless the turn passes first.
    pub(super) async fn during<F: Future>(&self, number: u64, future: F) -> Option<F::Output> {
        let mut turn = self.number.subscribe();
        let mut passed = pin!(turn.wait_for(|turn| *turn != number));
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => passed.as_mut().poll(cx).map(|_| None),
        })
        .await
    }

    pub(super) fn number(&self) -> u64 {
        self.state().number
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

/// Dropped unanswered, it passes the turn.
struct UnderWay<'t> {
    turns: &'t Turns,
    number: Option<u64>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.turns.next(number, MOST_STRIKES);
        }
    }
}
