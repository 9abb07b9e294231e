//! Members on the paused clock: what their limiters grant, and what becomes of them when the ledger fails.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Waker},
    time::Duration,
};

use relent::{
    ConfigError, Limiter, Rate,
    fleet::{Fleet, FleetEvent, FleetMember, Ledger, LedgerError, MemoryLedger, Stored, StoredStream, Trouble},
    limiter::Refused,
    Stop, retry,
};
use tokio::time::{Instant, advance, sleep, timeout};

const TTL: Duration = Duration::from_secs(10);
/// How long a share is valid.
const VALID: Duration = Duration::from_secs(9);
const RATE: u32 = 100;
const BURST: u32 = 50;

pub(super) fn fleet<L: Ledger>(ledger: L) -> Fleet<L> {
    Fleet::new(ledger, "host").rate(Rate::per_second(RATE)).burst(BURST).ttl(TTL).unwrap()
}

async fn joined(ledger: &MemoryLedger) -> FleetMember {
    let member = fleet(ledger.clone()).join().unwrap();
    timeout(TTL, member.ready()).await.expect("a share");
    member
}

/// Takes permits one after the other for ever, and notes when it got them.
pub(super) fn hungry(limiter: &Limiter, granted: &Arc<Mutex<Vec<Instant>>>) -> tokio::task::JoinHandle<()> {
    let (limiter, granted) = (limiter.clone(), Arc::clone(granted));
    tokio::spawn(async move {
        loop {
            limiter.ready().await;
            granted.lock().unwrap().push(Instant::now());
        }
    })
}

/// In every window at most `burst + rate * (w + catch-up)` came out: a bucket that fills at the rate never runs dry.
pub(super) fn keeps_the_law(granted: &[Instant], rate: u32, burst: u32) {
    let catch_up = u128::from(rate) * 10_000_000;
    let full = u128::from(burst) * 1_000_000_000 + catch_up;
    let (mut level, mut before) = (full, granted.first().copied());
    for instant in granted {
        let passed = instant.duration_since(before.unwrap()).as_nanos();
        level = full.min(level + passed * u128::from(rate));
        level = level.checked_sub(1_000_000_000).expect("within burst + rate * window");
        before = Some(*instant);
    }
}

/// What happens to a process that is stopped: time passes, and no task runs.
pub(super) fn stopped_for(duration: Duration) {
    let advance = pin!(advance(duration));
    let _ = advance.poll(&mut Context::from_waker(Waker::noop()));
}

#[tokio::test(start_paused = true)]
async fn one_member_has_all_and_begins_empty() {
    let ledger = MemoryLedger::new();
    let member = joined(&ledger).await;
    let share = member.share();
    assert_eq!(
        (share.rate, share.burst, share.of, share.members),
        (Rate::per_second(RATE), BURST, Rate::per_second(RATE), 1)
    );
    assert_eq!(member.limiter().available(), 0);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(member.limiter().available(), BURST);
    assert!(ledger.text().unwrap().contains("share 100/s burst 50 want 0/s ttl 10s states 100/s burst 50"));
}

#[tokio::test(start_paused = true)]
async fn ten_members_use_all_of_the_rate_and_no_more() {
    let ledger = MemoryLedger::new();
    let granted = Arc::default();
    let mut members = Vec::new();
    for _ in 0..10 {
        let member = fleet(ledger.clone()).join().unwrap();
        hungry(member.limiter(), &granted);
        members.push(member);
        sleep(Duration::from_millis(300)).await;
    }
    sleep(Duration::from_secs(20)).await;
    let shares: Vec<_> = members.iter().map(|member| (member.share().rate, member.share().burst)).collect();
    assert_eq!(shares, [(Rate::per_second(10), 5); 10]);
    let before = granted.lock().unwrap().len();
    sleep(Duration::from_secs(60)).await;
    let during = granted.lock().unwrap().len() - before;
    assert!((5_990..=6_010).contains(&during), "{during} permits in a minute");
    // One leaves, one is dropped.
    members.pop().unwrap().leave().await.unwrap();
    drop(members.pop());
    sleep(Duration::from_secs(40)).await;
    assert!(members.iter().all(|member| member.share().rate == Rate::new(100, Duration::from_secs(8)).unwrap()));
    keeps_the_law(&granted.lock().unwrap(), RATE, BURST);
}

#[tokio::test(start_paused = true)]
async fn shares_follow_what_is_asked() {
    let ledger = MemoryLedger::new();
    let (busy, idle) = (joined(&ledger).await, joined(&ledger).await);
    let granted = Arc::default();
    hungry(busy.limiter(), &granted);
    sleep(Duration::from_secs(20)).await;
    // What the idle one does not want is the other's.
    assert_eq!(busy.share().rate, Rate::per_second(RATE));
    assert_eq!(idle.share().rate, Rate::ZERO);
    // The first request of the idle one waits for two refreshes at most.
    let begun = Instant::now();
    idle.limiter().ready().await;
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
    keeps_the_law(&granted.lock().unwrap(), RATE, BURST);
}

#[tokio::test(start_paused = true)]
async fn what_is_said_is_wanted() {
    let ledger = MemoryLedger::new();
    let said = fleet(ledger.clone()).want(Rate::per_second(30)).join().unwrap();
    let least = fleet(ledger.clone()).want_at_least(Rate::per_second(5)).join().unwrap();
    let busy = joined(&ledger).await;
    hungry(busy.limiter(), &Arc::default());
    sleep(Duration::from_secs(20)).await;
    let rates = [&said, &least, &busy].map(|member| member.share().rate);
    assert_eq!(rates, [30, 5, 65].map(Rate::per_second));
}

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
    assert!(matches!(gave_up.stop(), Stop::NoShare { why, .. } if why.trouble() == Some("the ledger is not available")));
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
async fn leaving_gives_the_share_back() {
    let ledger = MemoryLedger::new();
    let (one, other) = (joined(&ledger).await, joined(&ledger).await);
    hungry(other.limiter(), &Arc::default());
    sleep(TTL).await;
    let limiter = one.limiter().clone();
    ledger.repeat(1);
    ledger.lose_answers(2);
    let begun = Instant::now();
    one.leave().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(limiter.try_acquire(1).is_err());
    assert_eq!(ledger.text().unwrap().matches("member").count(), 1);
    sleep(Duration::from_secs(4)).await;
    assert_eq!(other.share().rate, Rate::per_second(RATE));
    // Where the ledger is gone it says so, and does not hang.
    ledger.hang(usize::MAX);
    let left = timeout(Duration::from_secs(60), other.leave()).await.expect("an end");
    assert_eq!(left.unwrap_err().to_string(), "no answer within 1.515151515s");
}

#[tokio::test(start_paused = true)]
async fn a_first_deployment_waits_for_the_longest_ttl() {
    let ledger = MemoryLedger::empty();
    let troubles = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&troubles);
    let member = fleet(ledger.clone()).on_event(move |event| heard.lock().unwrap().push(event.clone())).join().unwrap();
    let begun = Instant::now();
    member.ready().await;
    assert!((30..=34).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    let troubles = troubles.lock().unwrap();
    assert!(
        matches!(troubles[..], [FleetEvent::Trouble(Trouble::Unsettled { .. }), FleetEvent::Share { .. }]),
        "{troubles:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_deleted_record_is_learned_before_anything_grows() {
    let ledger = MemoryLedger::new();
    let (one, other) = (joined(&ledger).await, joined(&ledger).await);
    let granted = Arc::default();
    hungry(one.limiter(), &granted);
    hungry(other.limiter(), &granted);
    sleep(TTL).await;
    assert_eq!([one.share().rate, other.share().rate], [Rate::per_second(50); 2]);
    ledger.delete();
    sleep(Duration::from_secs(4)).await;
    // They brought in what they had.
    let third = fleet(ledger.clone()).join().unwrap();
    hungry(third.limiter(), &granted);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(third.share().rate, Rate::ZERO);
    assert!(ledger.text().unwrap().contains("unsettled"));
    sleep(Duration::from_secs(20)).await;
    assert!(!ledger.text().unwrap().contains("unsettled"));
    let third_of_it = third.share().rate;
    assert_eq!(
        [one.share().rate, other.share().rate].iter().filter(|rate| rate.permits() == third_of_it.permits()).count(),
        2
    );
    keeps_the_law(&granted.lock().unwrap(), RATE, BURST);
}

#[tokio::test(start_paused = true)]
async fn an_operator_changes_the_rate_in_the_record() {
    let ledger = MemoryLedger::new();
    let (one, other) = (joined(&ledger).await, joined(&ledger).await);
    let edit = |lines: &str| {
        let text = ledger.text().unwrap();
        let kept: Vec<_> =
            text.lines().filter(|line| !line.starts_with("rate") && !line.starts_with("burst")).collect();
        ledger.put(kept.join("\n").replace("relent fleet 1", &format!("relent fleet 1\n{lines}")));
    };
    let shares = || (one.share().rate, one.share().burst, other.share().rate, other.share().burst);
    edit("# more\nrate 6000/m\nburst 100");
    sleep(TTL).await;
    assert_eq!(shares(), (Rate::per_second(50), 50, Rate::per_second(50), 50));
    edit("rate 300/s");
    sleep(TTL).await;
    assert_eq!(shares(), (Rate::per_second(150), 25, Rate::per_second(150), 25));
    edit("rate 0.5/s\nburst 3");
    // Within a period.
    sleep(Duration::from_millis(3_100)).await;
    let quarter = Rate::every(Duration::from_secs(4)).unwrap();
    assert_eq!((one.share().rate, other.share().rate), (quarter, quarter));
    edit("");
    one.set_rate(Rate::per_second(10)).unwrap();
    sleep(TTL).await;
    assert_eq!(shares(), (Rate::per_second(5), 25, Rate::per_second(5), 25));
    one.leave().await.unwrap();
    sleep(TTL).await;
    assert_eq!((other.share().rate, other.share().burst), (Rate::per_second(RATE), BURST));
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

#[tokio::test(start_paused = true)]
async fn wrong_settings_cannot_be() {
    let said = |error: ConfigError| error.to_string();
    let fleet = || Fleet::new(MemoryLedger::new(), "host").rate(Rate::per_second(1)).burst(1);
    let rule = "must be a limit, and at least one permit in 11 days: it is the rate of the whole fleet";
    for (rate, text) in [
        (Rate::UNLIMITED, "unlimited"),
        (Rate::ZERO, "0"),
        (Rate::new(1, Duration::from_secs(86_400 * 12)).unwrap(), "1/288h"),
    ] {
        assert_eq!(said(fleet().rate(rate).join().unwrap_err()), format!("rate {text}: {rule}"));
    }
    assert_eq!(said(fleet().burst(0).join().unwrap_err()), "burst 0: must be at least 1 for each member");
    assert_eq!(fleet().floor_for(2).join().unwrap_err().setting(), "floor_for");
    assert_eq!(fleet().floor_for(0).join().unwrap_err().setting(), "floor_for");
    for name in ["", "a b", "a\n", &"x".repeat(201)] {
        let wrong = Fleet::new(MemoryLedger::new(), name).rate(Rate::per_second(1)).burst(1).join();
        assert_eq!(wrong.unwrap_err().setting(), "name");
    }
    let ttl = fleet().ttl(Duration::from_secs(31)).unwrap_err();
    assert_eq!(
        said(ttl),
        "ttl 31s: must be at most max_ttl, here 30s: so long a lost record is learned; set max_ttl first"
    );
    assert_eq!(fleet().ttl(Duration::from_millis(99)).unwrap_err().setting(), "ttl");
    assert_eq!(fleet().max_ttl(Duration::from_secs(9)).unwrap_err().setting(), "max_ttl");
    assert_eq!(fleet().clock_drift(relent::Ratio::percent(17)).unwrap_err().setting(), "clock_drift");
    assert_eq!(
        fleet().explain(100, Duration::from_millis(5)).to_string(),
        "100 members: a share lives 21.45s, and is refreshed every 6.5s\n\
         the ledger has about 18 writes a second, and as many reads, in all up to 666 kB\n\
         even parts after a join: within 13.7s; after one has left: 13.7s; after a crash: 43.1s\n\
         a new or deleted record gives nothing new for 31.5s"
    );
}

/// The monotonic clock stands still while the machine sleeps; a share does not.
#[cfg(feature = "test-util")]
#[tokio::test(start_paused = true)]
async fn a_suspended_machine_grants_nothing_as_its_first_act() {
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
