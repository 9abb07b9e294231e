//! Members on the paused clock: what their limiters grant.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use relent::{
    ConfigError, Rate,
    fleet::{Fleet, FleetEvent, MemoryLedger, Trouble},
};
use tokio::time::{Instant, sleep, timeout};

use super::support::{BURST, RATE, TTL, fleet, hungry, joined, keeps_the_law};

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
    assert_eq!(idle.no_share_for(), None, "it has not asked");
    // One that may not wait hears why, one that may waits until it has its part.
    let refused = idle.limiter().acquire(3).within(Duration::from_secs(1)).await.unwrap_err();
    assert!(
        refused.to_string().starts_with("the limiter's share of the fleet in memory went to other members "),
        "{refused}"
    );
    sleep(TTL * 2).await;
    assert_eq!(idle.share().rate, Rate::ZERO, "what asked has gone");
    // The first request of the idle one waits for two refreshes at most.
    let begun = Instant::now();
    idle.limiter().acquire(3).await.unwrap();
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
