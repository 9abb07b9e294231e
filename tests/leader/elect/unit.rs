//! Work in a unit test, in a term that no election gives.

use std::{future::pending, time::Duration};

use relent::{leader::Term, testing::TestTerm};
use tokio::time::{Instant, sleep};

use super::{MS, S};

async fn work(term: Term) -> (Duration, Duration) {
    let began = Instant::now();
    term.lost().await;
    (began.elapsed(), term.valid_for())
}

#[tokio::test(start_paused = true)]
async fn the_work_is_told_and_has_its_grace() {
    let owner = TestTerm::new("a", 7);
    let term = owner.term();
    assert_eq!((term.identity(), term.fence(), term.is_lost(), term.valid_for()), ("a", 7, false, Duration::MAX));
    let (told, guarded) = (tokio::spawn(work(owner.term())), tokio::spawn(term.guard(pending::<()>())));
    sleep(S(1000)).await;
    assert!(!told.is_finished() && !guarded.is_finished());
    let lost = Instant::now();
    owner.lose(S(5));
    // The shorter grace holds.
    owner.lose(S(60));
    assert!(term.is_lost() && term.token().is_cancelled());
    assert_eq!(told.await.unwrap(), (S(1000), S(5)));
    assert_eq!(guarded.await.unwrap(), None);
    assert_eq!(lost.elapsed(), S(5));
}

#[tokio::test(start_paused = true)]
async fn dropped_it_is_over_at_once() {
    let owner = TestTerm::new("a", 7);
    let (term, told) = (owner.term(), tokio::spawn(work(owner.term())));
    sleep(MS(1)).await;
    drop(owner);
    assert_eq!(told.await.unwrap(), (MS(1), S(0)));
    assert_eq!((term.is_lost(), term.guard(async { 1 }).await), (true, None));
}
