//! The tokens that cancel a run.

use std::{
    fmt,
    iter::once,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// What cancels a run: any of these tokens.
#[derive(Clone)]
pub(crate) struct Cancel {
    token: CancellationToken,
    /// The others, where there are several.
    also: Option<Box<Also>>,
}

#[derive(Default)]
struct Also {
    tokens: Vec<CancellationToken>,
    /// None, unless the run waits.
    waits: Vec<Pin<Box<WaitForCancellationFutureOwned>>>,
}

pin_project! {
    /// How a run waits for its cancellation: not at all, until it first does.
    #[doc(hidden)]
    #[derive(Debug, Default)]
    #[non_exhaustive]
    pub struct CancelWait {
        #[pin]
        wait: Option<WaitForCancellationFutureOwned>,
    }
}

impl Cancel {
    pub(crate) fn on(token: CancellationToken) -> Self {
        Self { token, also: None }
    }

    pub(crate) fn tokens(&self) -> impl Iterator<Item = &CancellationToken> {
        once(&self.token).chain(self.also.iter().flat_map(|also| &also.tokens))
    }

    #[cold]
    pub(crate) fn and(mut self, token: CancellationToken) -> Self {
        let also = self.also.get_or_insert_default();
        also.tokens.push(token);
        also.waits.clear();
        self
    }

    #[inline]
    pub(crate) fn is_cancelled(&self) -> bool {
        self.token.is_cancelled() || self.also.as_ref().is_some_and(|also| also.is_cancelled())
    }

    pub(crate) fn poll_cancelled(&mut self, wait: Pin<&mut CancelWait>, cx: &mut Context<'_>) -> Poll<()> {
        let mut wait = wait.project().wait;
        if wait.is_none() {
            wait.set(Some(self.token.clone().cancelled_owned()));
        }
        let cancelled = wait.as_pin_mut().is_some_and(|wait| wait.poll(cx).is_ready())
            || self.also.as_mut().is_some_and(|also| also.poll_cancelled(cx));
        if cancelled { Poll::Ready(()) } else { Poll::Pending }
    }

    /// The run no longer waits.
    #[inline]
    pub(crate) fn stop_waiting(&mut self, wait: Pin<&mut CancelWait>) {
        if wait.wait.is_some() || self.also.is_some() {
            self.let_go(wait);
        }
    }

    #[inline(never)]
    fn let_go(&mut self, mut wait: Pin<&mut CancelWait>) {
        wait.set(CancelWait::default());
        if let Some(also) = &mut self.also {
            also.waits.clear();
        }
    }
}

impl Also {
    #[inline(never)]
    fn is_cancelled(&self) -> bool {
        self.tokens.iter().any(CancellationToken::is_cancelled)
    }

    fn poll_cancelled(&mut self, cx: &mut Context<'_>) -> bool {
        if self.waits.is_empty() {
            self.waits.extend(self.tokens.iter().map(|token| Box::pin(token.clone().cancelled_owned())));
        }
        self.waits.iter_mut().any(|wait| wait.as_mut().poll(cx).is_ready())
    }
}

impl Clone for Also {
    fn clone(&self) -> Self {
        Self { tokens: self.tokens.clone(), waits: Vec::new() }
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.tokens()).finish()
    }
}
