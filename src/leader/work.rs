//! What is run in a term: once, or again and again.

use super::term::Term;

/// What is run in each term: a closure from [`Term`] to a future, by way of [`Elect::run`](super::Elect::run).
pub trait TermWork {
    /// The work of one term.
    type Future: Future;

    /// Begins the work of a term. It is called once, or once for each term if it is to be run [`again`](Self::again).
    fn begin(&mut self, term: Term) -> Self::Future;

    /// Whether to campaign again after a term was lost.
    fn again(&self) -> bool;
}

/// Work for one term.
#[derive(Debug)]
pub struct OneTerm<F>(Option<F>);

/// Work for one term after the other.
#[derive(Debug)]
pub struct EachTerm<F>(F);

impl<F> OneTerm<F> {
    pub(super) fn new(work: F) -> Self {
        Self(Some(work))
    }
}

impl<F> EachTerm<F> {
    pub(super) fn new(work: F) -> Self {
        Self(work)
    }
}

// ===== impl TermWork =====

impl<F: FnOnce(Term) -> Fut, Fut: Future> TermWork for OneTerm<F> {
    type Future = Fut;

    fn begin(&mut self, term: Term) -> Fut {
        (self.0.take().expect("one term only"))(term)
    }

    fn again(&self) -> bool {
        false
    }
}

impl<F: FnMut(Term) -> Fut, Fut: Future> TermWork for EachTerm<F> {
    type Future = Fut;

    fn begin(&mut self, term: Term) -> Fut {
        (self.0)(term)
    }

    fn again(&self) -> bool {
        true
    }
}
