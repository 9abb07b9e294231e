//! Work at its time: the pure timetable, the queue, its handles, its runs.
#![allow(clippy::disallowed_methods, missing_docs, clippy::pedantic, clippy::erasing_op)]

mod evictions;
mod guards;
mod histories;
mod naive;
mod runs;
mod shares;
mod timetable;
