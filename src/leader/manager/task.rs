//! Tasks that have not begun.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use super::error::{AnyError, Cause, ManagerError};
use crate::{error::ConfigError, leader::term::Term};

/// A task that runs, or the election.
pub(super) type TaskFuture = Pin<Box<dyn Future<Output = Result<(), Cause>> + Send>>;

/// A task that has not begun. It is given a token that tells it to stop, or the term that it runs in.
pub(super) struct Task<A> {
    pub(super) name: String,
    start: Box<dyn FnOnce(A) -> TaskFuture + Send>,
}

impl<A: 'static> Task<A> {
    pub(super) fn new<F, Fut, E>(name: impl Into<String>, task: F) -> Self
    where
        F: FnOnce(A) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<AnyError> + 'static,
    {
        let start = move |argument| -> TaskFuture {
            let work = task(argument);
            Box::pin(async move { work.await.map_err(|error| Cause::Error(error.into())) })
        };
        Self { name: name.into(), start: Box::new(start) }
    }

    /// Begins the task within its own future, so that a panic there is the task's.
    pub(super) async fn run(self, argument: A) -> Result<(), Cause> {
        (self.start)(argument).await
    }
}

/// A task that runs while this process leads.
pub(super) enum LeaderTask {
    /// In one term.
    OneTerm(Task<Term>),
    /// In each.
    EachTerm(RepeatedTask),
}

pub(super) struct RepeatedTask {
    name: String,
    /// The lock is held while the caller's function makes the future of one term: the terms of a run follow one
    /// another, so none waits for it. Whenever it is free the function can be called again, after a panic in it too.
    start: Arc<Mutex<dyn FnMut(Term) -> TaskFuture + Send>>,
}

impl RepeatedTask {
    pub(super) fn new<F, Fut, E>(name: impl Into<String>, mut task: F) -> Self
    where
        F: FnMut(Term) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<AnyError> + 'static,
    {
        let start = move |term| -> TaskFuture {
            let work = task(term);
            Box::pin(async move { work.await.map_err(|error| Cause::Error(error.into())) })
        };
        Self { name: name.into(), start: Arc::new(Mutex::new(start)) }
    }

    /// The task of one term.
    pub(super) fn task(&self) -> Task<Term> {
        let start = Arc::clone(&self.start);
        // It may have panicked in the term before; that has been its failure.
        let start = move |term| start.lock().unwrap_or_else(PoisonError::into_inner)(term);
        Task { name: self.name.clone(), start: Box::new(start) }
    }
}

impl LeaderTask {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::OneTerm(task) => &task.name,
            Self::EachTerm(task) => &task.name,
        }
    }

    pub(super) fn without_election(&self) -> ManagerError {
        let rule = "runs only while this process leads, and there is no election";
        ConfigError::new("leader task", self.name(), rule).into()
    }
}
