//! `ensure` and `settle`, in virtual time.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod nothing_starts;
mod placements;
mod settling;
mod words;
