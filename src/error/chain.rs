//! The text of an error down to its first cause.

use std::{error::Error, fmt, iter::successors};

use super::GaveUp;

/// An error whose sources go round in a circle is told this far.
const LEVELS: usize = 64;

/// What is told of an error whose text is empty, as those of its causes are.
pub(super) const WORDLESS: &str = "an error without a text";

/// Displays an error and every cause below it, "A: B: C".
///
/// Many errors say only where something failed ("transport error", "error sending request for url") and leave the
/// reason to their [`source`](Error::source). A level is left out if the text told last already ends with it, as that
/// of errors does that repeat their source.
///
/// [`GaveUp`](crate::GaveUp) tells its error like this; in a listener of your own, this does.
///
/// ```
/// #[derive(Debug, thiserror::Error)]
/// #[error("not connected")]
/// struct NotConnected(#[source] std::io::Error);
///
/// let error = NotConnected(std::io::Error::other("no route to host"));
/// assert_eq!(error.to_string(), "not connected");
/// assert_eq!(relent::error::chain(&error).to_string(), "not connected: no route to host");
/// ```
#[must_use]
pub fn chain<'a>(error: &'a (dyn Error + 'a)) -> impl fmt::Display + 'a {
    Chain(error)
}

struct Chain<'a>(&'a (dyn Error + 'a));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = self.0.to_string();
        let mut silent = told.is_empty();
        f.write_str(&told)?;
        for cause in successors(self.0.source(), |&cause| cause.source()).take(LEVELS) {
            let text = cause.to_string();
            if !told.ends_with(&text) {
                let colon = if told.is_empty() { "" } else { ": " };
                write!(f, "{colon}{text}")?;
                told = text;
                silent = false;
            }
        }
        if silent { f.write_str(WORDLESS) } else { Ok(()) }
    }
}

/// A [`GaveUp`] whose text leaves its cause out and whose [`source`](Error::source) is the error that the operation
/// gave: what [`GaveUp::chained`] makes.
///
/// Without such an error the text says all there is, and the source is `None`.
#[derive(Debug)]
pub struct Chained<E>(pub(super) GaveUp<E>);

impl<E> Chained<E> {
    /// The end of the run.
    #[must_use]
    pub fn into_inner(self) -> GaveUp<E> {
        self.0
    }

    /// The end of the run, by reference.
    #[must_use]
    pub fn get_ref(&self) -> &GaveUp<E> {
        &self.0
    }
}

impl<E> fmt::Display for Chained<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.summary().fmt(f)
    }
}

impl<E: Error + 'static> Error for Chained<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let error: &(dyn Error + 'static) = self.0.last_error()?;
        // The box is no level of its own: what is looked for is inside.
        Some(error.downcast_ref::<BoxedError>().map_or(error, |boxed| boxed.get_ref()))
    }
}

/// An error of any kind, as one type that is an [`Error`]: what [`GaveUp::boxed`] makes.
///
/// ```
/// # async fn run() -> Result<(), relent::GaveUp<relent::error::BoxedError>> {
/// # async fn load() -> anyhow::Result<()> { Ok(()) }
/// relent::retry(async |_| load().await).max_attempts(3).await.map_err(relent::GaveUp::boxed)
/// # }
/// ```
#[derive(Debug)]
pub struct BoxedError(pub(super) Box<dyn Error + Send + Sync>);

impl fmt::Display for BoxedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Error for BoxedError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

impl BoxedError {
    /// Any error, as [`GaveUp::boxed`] makes it one.
    #[must_use]
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(error.into())
    }

    /// The error inside.
    #[must_use]
    pub fn into_inner(self) -> Box<dyn Error + Send + Sync> {
        self.0
    }

    /// The error inside, by reference: `downcast_ref` works on it.
    #[must_use]
    pub fn get_ref(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error with these texts below it.
    #[derive(Debug)]
    struct Level(&'static str, Option<Box<Self>>);

    impl fmt::Display for Level {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Level {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|level| level as _)
        }
    }

    fn told(texts: &[&'static str]) -> String {
        let levels = texts.iter().rfold(None, |below, text| Some(Box::new(Level(text, below))));
        chain(&*levels.unwrap()).to_string()
    }

    #[test]
    fn every_level_is_told_that_was_not() {
        assert_eq!(told(&["a"]), "a");
        assert_eq!(told(&["a", "b", "c"]), "a: b: c");
        assert_eq!(told(&["a: b", "b", "c"]), "a: b: c", "told by the one above");
        assert_eq!(told(&["a: c", "b", "c"]), "a: c: b: c", "told, but not by the one above");
        assert_eq!(told(&["a: b: c", "b: c", "c"]), "a: b: c");
        assert_eq!(told(&["a", "a", "b"]), "a: b", "transparent");
        assert_eq!(told(&["a: c", "c", "", "c"]), "a: c");
        assert_eq!(told(&["", "b"]), "b");
        assert_eq!(told(&["a", ""]), "a");
        assert_eq!(told(&[""]), WORDLESS);
        assert_eq!(told(&["", ""]), WORDLESS);
    }

    #[derive(Debug)]
    struct Circle;

    impl fmt::Display for Circle {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("round")
        }
    }

    impl Error for Circle {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&Circle)
        }
    }

    #[test]
    fn a_circle_has_an_end() {
        assert_eq!(chain(&Circle).to_string(), "round");
    }
}
