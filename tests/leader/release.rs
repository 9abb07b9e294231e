//! From the end of a leader's work to the begin of the next one's: release, report, takeover. The retry period is 5 s:
//! a candidate that found out by reading would take seconds.

use std::time::Duration;

use relent::{leader::MemoryLock, testing::lock::handovers};

#[tokio::test(start_paused = true)]
async fn a_release_is_taken_over_at_once_in_memory() {
    let took = handovers(MemoryLock::new(), 20).await;
    assert_eq!(took.last(), Some(&Duration::ZERO), "{took:?}");
}
