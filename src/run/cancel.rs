//! The tokens that cancel a run.

use std::{
    fmt,
    iter::once,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// What cancels a run: a token, and what is set only with several or while it waits.
pub(crate) struct Cancel {
    token: CancellationToken,
    rest: Option<Pin<Box<Rest>>>,
}

pin_project! {
    #[derive(Default)]
    struct Rest {
        // Made when something first waits.
        #[pin]
        wait: Option<WaitForCancellationFutureOwned>,
        // Other tokens that cancel it too.
        also: Vec<Cancel>,
    }
}

impl Rest {
    #[inline(never)]
    fn is_cancelled(&self) -> bool {
        self.also.iter().any(Cancel::is_cancelled)
    }
}

impl Cancel {
    pub(crate) fn on(token: CancellationToken) -> Self {
        Self { token, rest: None }
    }

    pub(crate) fn tokens(&self) -> impl Iterator<Item = &CancellationToken> {
        let also = self.rest.iter().flat_map(|rest| &rest.also);
        once(&self.token).chain(also.map(|cancel| &cancel.token))
    }

    #[cold]
    pub(crate) fn and(mut self, token: CancellationToken) -> Self {
        let rest = self.rest.get_or_insert_with(|| Box::pin(Rest::default()));
        rest.as_mut().project().also.push(Self::on(token));
        self
    }

    #[inline]
    pub(crate) fn is_cancelled(&self) -> bool {
        self.token.is_cancelled() || self.rest.as_ref().is_some_and(|rest| rest.is_cancelled())
    }

    pub(crate) fn poll_cancelled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut rest = self.rest.get_or_insert_with(|| Box::pin(Rest::default())).as_mut().project();
        if rest.wait.is_none() {
            rest.wait.set(Some(self.token.clone().cancelled_owned()));
        }
        let cancelled = rest.wait.as_pin_mut().is_some_and(|wait| wait.poll(cx).is_ready());
        if cancelled || rest.also.iter_mut().any(|also| also.poll_cancelled(cx).is_ready()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// The same for another run.
    pub(crate) fn anew(&self) -> Self {
        let also: Vec<_> = self.tokens().skip(1).cloned().map(Self::on).collect();
        let rest = if also.is_empty() { None } else { Some(Box::pin(Rest { wait: None, also })) };
        Self { token: self.token.clone(), rest }
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.tokens()).finish()
    }
}
