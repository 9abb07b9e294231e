//! What the guide says of Go's packages holds: their rules, written down here as their sources have them, against ours.
//! Each row of the migration table is compared, and each difference that it names is seen.
//!
//! Read at: apimachinery eed236ce, client-go 32ce75a7, golang.org/x/time 2b4e439, controller-runtime 86a0d40e.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::unchecked_time_subtraction,
    reason = "Go counts in floats, and these are written down as it has them"
)]

use std::time::Duration;

mod election;
mod rate;
mod retry;
mod wait;
mod workqueue;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
