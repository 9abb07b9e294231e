//! Members on the paused clock: what becomes of them when the ledger fails, and when they are stopped or dropped.

use std::{
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use relent::{
    Rate, Stop,
    fleet::{Ledger, LedgerError, MemoryLedger, Stored, StoredStream},
    limiter::Refused,
    retry,
};
use tokio::time::{Instant, sleep, timeout};

use super::support::{BURST, RATE, TTL, VALID, fleet, hungry, joined, keeps_the_law, stopped_for};

#[tokio::test(start_paused = true)]
async fn without_the_store_nothing_is_granted_after_the_share_has_lapsed() {
    let ledger = MemoryLedger::new();
    let member = joined(&ledger).await;
    let limiter = member.limiter();
    ledger.fail(usize::MAX);
    sleep(VALID).await;
    sleep(TTL).await;
    let Err(refused) = limiter.try_acquire(1) else { panic!("granted") };
    let Refused::NoShare { lapsed, .. } = refused else { panic!("{refused}") };
    assert!(lapsed > TTL - Duration::from_secs(3) && lapsed <= TTL, "{lapsed:?}");
    let said = "the limiter's share of the fleet in memory lapsed 10s ago: the ledger is not available";
    assert_eq!(refused.to_string(), said);
    // A run that may not wait for ever says the same.
    let run = || retry(async |_| Ok::<(), std::io::Error>(())).throttle(limiter).finish_within(Duration::from_secs(5));
    let gave_up = run().await.unwrap_err();
    assert_eq!(gave_up.to_string(), format!("gave up before the first attempt: {said}; nothing was attempted"));
    assert!(
        matches!(gave_up.stop(), Stop::NoShare { why, .. } if why.trouble() == Some("the ledger is not available"))
    );
    // So does one that a future may cancel.
    let cancellable = run().cancel_when(std::future::pending::<()>()).await.unwrap_err();
    assert_eq!(cancellable.to_string(), gave_up.to_string());
    assert!(gave_up.is_refused() && gave_up.stop().as_str() == "no_share");
    assert!(matches!(limiter.acquire(1).within(Duration::from_secs(5)).await, Err(Refused::NoShare { .. })));
    assert_eq!(limiter.available(), 0);
    // One without a bound waits, and a run does.
    let mut waits = pin!(limiter.ready());
    assert!(timeout(Duration::from_secs(60), &mut waits).await.is_err());
    ledger.heal();
    timeout(Duration::from_secs(5), waits).await.expect("it has a share again");
    retry(async |_| Ok::<(), String>(())).throttle(limiter).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_wait_with_a_bound_is_refused_when_the_share_lapses() {
    let ledger = MemoryLedger::new();
    let member = joined(&ledger).await;
    ledger.hang(usize::MAX);
    member.limiter().acquire(BURST).await.unwrap();
    let begun = Instant::now();
    let mut waits = Vec::new();
    for _ in 0..40 {
        let limiter = member.limiter().clone();
        waits.push(tokio::spawn(async move { limiter.acquire(BURST).within(Duration::from_secs(60)).await }));
    }
    let mut refused = 0;
    for wait in waits {
        refused += usize::from(matches!(wait.await.unwrap(), Err(Refused::NoShare { .. })));
    }
    // Half a second for each, until the share lapses.
    assert!(begun.elapsed() <= VALID && refused >= 40 - 18, "{:?} {refused}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_stopped_process_grants_nothing_as_its_first_act() {
    for (length, granted) in [(VALID / 2, true), (VALID * 94 / 100, true), (VALID, false), (VALID * 3 / 2, false)] {
        let ledger = MemoryLedger::new();
        let member = joined(&ledger).await;
        let limiter = member.limiter().clone();
        // The bucket is full by then.
        sleep(Duration::from_secs(1)).await;
        ledger.hang(usize::MAX);
        // From the send time of the last refresh, which was at the very beginning.
        stopped_for(length - Duration::from_secs(1));
        assert_eq!(limiter.try_acquire(1).is_ok(), granted, "{length:?}");
        assert_eq!(limiter.reserve(1).is_ok_and(|held| held.ready_in().is_zero()), granted, "{length:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn permits_of_a_lapsed_share_do_not_come_back() {
    let ledger = MemoryLedger::new();
    let member = joined(&ledger).await;
    let limiter = member.limiter();
    sleep(Duration::from_secs(1)).await;
    let mut held = limiter.reserve(BURST).unwrap();
    ledger.fail(usize::MAX);
    sleep(VALID * 2).await;
    assert_eq!(held.ready_in(), Duration::MAX);
    ledger.heal();
    member.ready().await;
    assert_eq!(limiter.available(), 0);
    drop(held);
    assert_eq!(limiter.available(), 0);
    held = limiter.reserve(1).unwrap();
    assert!(held.ready_in() > Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_dropped_grants_nothing() {
    let ledger = MemoryLedger::new();
    let member = joined(&ledger).await;
    let limiter = member.limiter().clone();
    sleep(Duration::from_secs(1)).await;
    drop(member);
    assert!(matches!(limiter.try_acquire(1), Err(Refused::NoShare { .. })));
    let calls = ledger.calls();
    sleep(TTL * 10).await;
    assert_eq!(ledger.calls(), calls, "no task is left");
    assert!(matches!(limiter.try_acquire(1), Err(Refused::NoShare { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_is_left_alone() {
    let ledger = MemoryLedger::new();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let events = Arc::clone(&heard);
    let member =
        fleet(ledger.clone()).on_event(move |event| events.lock().unwrap().push(format!("{event:?}"))).join().unwrap();
    member.ready().await;
    ledger.put("something else");
    sleep(TTL * 2).await;
    assert_eq!(ledger.text().unwrap(), "something else");
    assert!(member.limiter().try_acquire(1).is_err());
    assert!(heard.lock().unwrap().iter().any(|event| event.contains("its first line must be `relent fleet 1`")));
}

#[tokio::test(start_paused = true)]
async fn a_floor_begins_when_all_shares_have_lapsed() {
    let ledger = MemoryLedger::new();
    let floored = || fleet(ledger.clone()).floor_for(5).join().unwrap();
    let members = [floored(), floored()];
    let granted = Arc::default();
    members.iter().for_each(|member| drop(hungry(member.limiter(), &granted)));
    sleep(TTL).await;
    ledger.hang(usize::MAX);
    sleep(VALID + Duration::from_secs(1)).await;
    assert!(members.iter().all(|member| member.share().rate == Rate::ZERO), "they lapse first");
    sleep(Duration::from_secs(35)).await;
    let shares = members.each_ref().map(|member| (member.share().rate, member.share().burst));
    assert_eq!(shares, [(Rate::per_second(20), 10); 2]);
    ledger.heal();
    sleep(TTL).await;
    assert_eq!(members.each_ref().map(|member| member.share().rate), [Rate::per_second(50); 2]);
    keeps_the_law(&granted.lock().unwrap(), RATE, BURST);
}

/// A ledger whose calls panic now and then, and so does its stream of reports.
struct Panics(MemoryLedger);

impl Ledger for Panics {
    fn name(&self) -> String {
        self.0.name()
    }

    async fn read(&self) -> Result<Option<Stored>, LedgerError> {
        assert!(!self.0.calls().0.is_multiple_of(3), "a bug");
        self.0.read().await
    }

    async fn compare_and_swap(&self, over: Option<u128>, text: String) -> Result<u128, LedgerError> {
        let written = self.0.compare_and_swap(over, text).await;
        assert!(!self.0.calls().1.is_multiple_of(4), "a bug");
        written
    }

    fn watch(&self) -> StoredStream {
        panic!("a bug")
    }
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_panics_has_not_answered() {
    let ledger = MemoryLedger::new();
    ledger.read().await.unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let events = Arc::clone(&heard);
    let member =
        fleet(Panics(ledger.clone())).on_event(move |event| events.lock().unwrap().push(format!("{event:?}"))).join();
    let member = member.unwrap();
    for _ in 0..40 {
        sleep(Duration::from_secs(1)).await;
        // A read that panics counts for none: the next would panic as well.
        let _ = timeout(Duration::from_secs(1), ledger.read()).await;
    }
    assert!(member.share().burst > 0);
    assert!(heard.lock().unwrap().iter().any(|event| event.contains("the ledger panicked: a bug")));
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_panics_closes_the_limiter() {
    let member = fleet(MemoryLedger::new()).on_event(|_| panic!("a bug")).join().unwrap();
    let limiter = member.limiter().clone();
    sleep(TTL).await;
    assert!(limiter.try_acquire(1).is_err());
    let left = tokio::spawn(member.leave()).await.unwrap_err();
    assert_eq!(left.into_panic().downcast_ref::<&str>(), Some(&"a bug"));
}

/// The monotonic clock stands still while the machine sleeps; a share does not.
#[cfg(feature = "test-util")]
#[tokio::test(start_paused = true)]
async fn a_suspended_machine_grants_nothing_as_its_first_act() {
    use std::{
        future::Future,
        task::{Context, Waker},
    };

    let machine = relent::testing::Machine::new();
    let ledger = MemoryLedger::new();
    let member = joined(&ledger).await;
    let limiter = member.limiter().clone();
    sleep(Duration::from_secs(1)).await;
    ledger.hang(usize::MAX);
    let mut run = pin!(machine.run(async {
        let before = limiter.try_acquire(1).is_ok();
        std::future::ready(()).await;
        let mut yielded = false;
        std::future::poll_fn(|_| match std::mem::replace(&mut yielded, true) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        })
        .await;
        (before, limiter.try_acquire(1).is_ok())
    }));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(run.as_mut().poll(&mut cx).is_pending());
    machine.suspend();
    stopped_for(TTL);
    machine.resume();
    assert_eq!(run.as_mut().poll(&mut cx), std::task::Poll::Ready((true, false)));
}

/// Its reads are answered with a conflict, which there cannot be.
struct Confused(MemoryLedger);

impl Ledger for Confused {
    fn name(&self) -> String {
        self.0.name()
    }

    async fn read(&self) -> Result<Option<Stored>, LedgerError> {
        Err(LedgerError::conflict("the record has changed"))
    }

    async fn compare_and_swap(&self, over: Option<u128>, text: String) -> Result<u128, LedgerError> {
        self.0.compare_and_swap(over, text).await
    }
}

/// Nothing is swallowed: it has no share, and says why.
#[tokio::test(start_paused = true)]
async fn a_read_that_is_called_a_conflict_is_trouble() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&events);
    let member =
        fleet(Confused(MemoryLedger::new())).on_event(move |event| heard.lock().unwrap().push(format!("{event:?}")));
    let member = member.join().unwrap();
    sleep(TTL).await;
    let refused = member.limiter().try_acquire(1).unwrap_err().to_string();
    assert!(refused.ends_with(": the record has changed"), "{refused}");
    let events = events.lock().unwrap();
    assert!(events.len() < 60 && events.iter().all(|event| event.contains("the record has changed")), "{events:?}");
    assert!(!events.is_empty());
}
