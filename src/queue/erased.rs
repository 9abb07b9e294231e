//! The error of an attempt, whatever its type.

use std::{any::Any, error::Error, fmt};

use super::GivenUp;
use crate::error::chain;

/// What an attempt failed with, as one type for all: where items come back to a place that does not know what they were
/// tried with.
///
/// It displays what the error has to say: strings, boxed errors and [`std::io::Error`] as they display, with all
/// causes; others as they print for debugging, since the queue asks no more of an error than that.
/// [`downcast_ref`](Self::downcast_ref) and [`downcast`](Self::downcast) have the error itself.
pub struct ErasedError(Box<dyn Erased>);

trait Erased: Any + fmt::Debug + Send + Sync {}

impl<E: fmt::Debug + Send + Sync + 'static> Erased for E {}

impl ErasedError {
    pub(super) fn new<E: fmt::Debug + Send + Sync + 'static>(error: E) -> Self {
        Self(Box::new(error))
    }

    /// Whether it is an error of this type.
    #[must_use]
    pub fn is<E: 'static>(&self) -> bool {
        self.downcast_ref::<E>().is_some()
    }

    /// The error, if it is of this type.
    #[must_use]
    pub fn downcast_ref<E: 'static>(&self) -> Option<&E> {
        (&*self.0 as &dyn Any).downcast_ref()
    }

    /// The error by value, if it is of this type.
    ///
    /// # Errors
    /// It is of another type, and comes back.
    pub fn downcast<E: 'static>(self) -> Result<E, Self> {
        if !self.is::<E>() {
            return Err(self);
        }
        match (self.0 as Box<dyn Any>).downcast() {
            Ok(error) => Ok(*error),
            Err(_) => unreachable!("it was of this type"),
        }
    }
}

impl fmt::Display for ErasedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        type Boxed = Box<dyn Error + Send + Sync>;
        if let Some(text) = self.downcast_ref::<&'static str>() {
            return f.write_str(text);
        }
        if let Some(text) = self.downcast_ref::<String>() {
            return f.write_str(text);
        }
        if let Some(text) = self.downcast_ref::<std::borrow::Cow<'static, str>>() {
            return f.write_str(text);
        }
        if let Some(error) = self.downcast_ref::<Boxed>() {
            return chain(&**error).fmt(f);
        }
        if let Some(error) = self.downcast_ref::<std::io::Error>() {
            return chain(error).fmt(f);
        }
        write!(f, "{:?}", self.0)
    }
}

impl fmt::Debug for ErasedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for ErasedError {}

impl<K, V> GivenUp<K, V, ErasedError> {
    /// The same with an error of this type, as it was given to the queue. Where no attempt has failed it is of any
    /// type.
    ///
    /// # Errors
    /// The latest error is of another type. The item comes back.
    pub fn downcast<E: 'static>(self) -> Result<GivenUp<K, V, E>, Self> {
        if self.error.last_error().is_some_and(|error| !error.is::<E>()) {
            return Err(self);
        }
        let Self { key, value, error, superseded } = self;
        let error = error.map_error(|error| match error.downcast() {
            Ok(error) => error,
            Err(other) => unreachable!("it was of this type, not {other:?}"),
        });
        Ok(GivenUp { key, value, error, superseded })
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("sync failed")]
    struct SyncFailed(#[source] std::io::Error);

    /// Its source is itself.
    #[derive(Debug)]
    struct Round;

    impl fmt::Display for Round {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("round")
        }
    }

    impl Error for Round {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(self)
        }
    }

    #[test]
    fn causes_that_go_round_in_a_circle_are_told_once() {
        let boxed: Box<dyn Error + Send + Sync> = Round.into();
        assert_eq!(ErasedError::new(boxed).to_string(), "round");
        assert_eq!(ErasedError::new(std::io::Error::other(Round)).to_string(), "round");
    }

    #[test]
    fn what_it_says() {
        let boxed = |error| ErasedError::new::<Box<dyn Error + Send + Sync>>(error);
        let full = || std::io::Error::other("disk full");
        for (error, text) in [
            (ErasedError::new("disk full"), "disk full"),
            (ErasedError::new(String::from("disk full")), "disk full"),
            (ErasedError::new(Cow::Borrowed("disk full")), "disk full"),
            (ErasedError::new(full()), "disk full"),
            (boxed(Box::new(SyncFailed(full()))), "sync failed: disk full"),
            (ErasedError::new(Some(7)), "Some(7)"),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn the_error_itself_can_be_had() {
        let error = ErasedError::new(7_u32);
        assert_eq!((error.is::<u32>(), error.is::<i32>(), error.downcast_ref()), (true, false, Some(&7_u32)));
        let error = error.downcast::<String>().unwrap_err();
        assert_eq!(error.downcast::<u32>().unwrap(), 7);
    }
}
