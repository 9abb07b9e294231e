//! Which kinds of errors can be told: the second half of [`Reason`], which is always inferred.

use std::{error::Error, fmt, ops::Deref};

use super::chain::{WORDLESS, chain};

/// An error that can be told to an operator, with every cause below it: an [`Error`]; a `Box<dyn Error>`,
/// `anyhow::Error` or the like; a string.
///
/// That of [`GaveUp::sentence`](crate::GaveUp::sentence) and of the listener `Tracing`. `K` says which kind it is and
/// is always inferred: Rust has no way to say "an error or else a text" without it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither an error nor a text",
    note = "implement `std::error::Error` for it, or make it a text with `.map_error(|error| ..)`"
)]
pub trait Reason<K> {
    /// Writes it, causes and all.
    fn tell(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// An [`Error`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AsError;

/// What leads to a `dyn Error`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AsBox;

/// What leads to a `dyn Error + Send + Sync`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AsSendBox;

/// A string.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AsText;

impl<E: Error> Reason<AsError> for E {
    fn tell(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&chain(self), f)
    }
}

impl<E: Deref<Target = dyn Error>> Reason<AsBox> for E {
    fn tell(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&chain(&**self), f)
    }
}

impl<E: Deref<Target = dyn Error + Send + Sync>> Reason<AsSendBox> for E {
    fn tell(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&chain(&**self), f)
    }
}

impl<E: AsRef<str>> Reason<AsText> for E {
    fn tell(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.as_ref();
        f.write_str(if text.is_empty() { WORDLESS } else { text })
    }
}
