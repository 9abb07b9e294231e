//! `poll` by its own rules.

use std::time::Duration;

use relent::{Check, Stop, poll};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn it_looks_every_second_unless_told_otherwise() {
    let began = Instant::now();
    let third = poll(|attempt| async move { (attempt.number() == 3).then_some(attempt.number()) }).await;
    assert_eq!((third.unwrap(), began.elapsed()), (3, Duration::from_secs(2)));
}

#[tokio::test(start_paused = true)]
async fn only_an_err_goes_through_when() {
    let classified = std::cell::Cell::new(0);
    let gave_up = poll(|attempt| async move {
        match attempt.number() {
            1 => Ok(Check::NotYet),
            2 => Ok(Check::NotYetBecause("half way")),
            3 => Err("blip"),
            _ => Ok(Check::<(), _>::Fatal("gone for good")),
        }
    })
    .when(|error: &&str| {
        classified.set(classified.get() + 1);
        *error == "blip"
    })
    .await
    .unwrap_err();
    assert_eq!(classified.get(), 1);
    assert_eq!((gave_up.stop(), gave_up.last_error()), (&Stop::Fatal, Some(&"gone for good")));
    assert_eq!(gave_up.attempts(), 4);
}
