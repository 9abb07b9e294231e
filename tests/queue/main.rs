//! Work at its time: the pure timetable, the queue, its handles, its runs.
#![allow(clippy::disallowed_methods, missing_docs, clippy::pedantic)]

mod histories;
mod naive;
mod timetable;
