//! The errors inside an error: where a broken connection says what broke it.

use std::{error::Error, io};

/// An error may name itself as its source: no chain is followed further than this.
const DEPTH: usize = 16;

/// An error, then what it is about, down to the root.
pub(super) fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| below(*error)).take(DEPTH)
}

fn below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    // An `io::Error` that wraps another passes it over as its source.
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

/// The first I/O error in the chain that is not just a wrapper.
pub(super) fn io_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    let kinds = chain(error).filter_map(|error| error.downcast_ref::<io::Error>()).map(io::Error::kind);
    kinds.fold(None, |known, kind| match known {
        Some(known) if known != io::ErrorKind::Other => Some(known),
        _ => Some(kind),
    })
}

/// Whether any error of the chain says this.
pub(super) fn says(error: &(dyn Error + 'static), text: &str) -> bool {
    chain(error).any(|error| error.to_string().contains(text))
}

/// What is at the root, in its own words.
pub(super) fn root(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map_or_else(|| error.to_string(), ToString::to_string)
}
