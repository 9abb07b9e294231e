//! Keyed limiters against the naive ones: a plain limiter for each key, which is never forgotten.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use proptest::{collection::vec, prelude::*};
use relent::{
    KeyedLimiter, Limiter, Rate,
    limiter::{Refused, Reservation},
};
use tokio::{task::coop::unconstrained, time::advance};

type Wait = Pin<Box<dyn Future<Output = Result<(), Refused>>>>;

#[derive(Clone, Debug)]
enum Step {
    Try(u8, u32),
    /// Bounded or not.
    Wait(u8, u32, Option<Duration>),
    DropWait(usize),
    Reserve(u8, u32),
    /// Whether it is spent.
    EndReservation(usize, bool),
    Hold(u8),
    Release(usize),
    Pass(Duration),
    SetRate(Rate),
    SetBurst(u32),
    /// So many changes in a row, with so much time before each.
    SetBursts([u32; 2], u16, Duration),
    PauseAll(Duration),
    PauseOne(u8, Duration),
    ForgetIdle,
    /// So many other keys come by, and are used up: tables grow.
    Others(u16),
}

fn rates() -> impl Strategy<Value = Rate> {
    prop_oneof![
        6 => (1_u32..20, 10_u64..3000).prop_map(|(permits, ms)| Rate::new(permits, Duration::from_millis(ms)).unwrap()),
        2 => (1_u32..u32::MAX, 1_u64..u64::MAX).prop_map(|(permits, ns)| Rate::new(permits, Duration::from_nanos(ns)).unwrap()),
        1 => Just(Rate::ZERO),
        1 => Just(Rate::UNLIMITED),
    ]
}

fn bursts() -> impl Strategy<Value = u32> {
    prop_oneof![10 => 0_u32..6, 1 => any::<u32>()]
}

fn spans() -> impl Strategy<Value = Duration> {
    prop_oneof![
        4 => (0_u64..500).prop_map(Duration::from_millis),
        2 => (0_u64..100_000_000).prop_map(Duration::from_nanos),
        1 => (0_u64..100_000).prop_map(Duration::from_secs),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (0_u8..6, 0_u32..5).prop_map(|(key, permits)| Step::Try(key, permits)),
        8 => (0_u8..6, 0_u32..5, prop::option::of(spans())).prop_map(|(key, permits, bound)| Step::Wait(key, permits, bound)),
        3 => (0_usize..20).prop_map(Step::DropWait),
        2 => (0_u8..6, 1_u32..4).prop_map(|(key, permits)| Step::Reserve(key, permits)),
        2 => (0_usize..10, any::<bool>()).prop_map(|(which, spent)| Step::EndReservation(which, spent)),
        1 => (0_u8..6).prop_map(Step::Hold),
        1 => (0_usize..5).prop_map(Step::Release),
        12 => spans().prop_map(Step::Pass),
        1 => Just(Step::Pass(Duration::from_secs(366 * 24 * 3600))),
        2 => rates().prop_map(Step::SetRate),
        2 => bursts().prop_map(Step::SetBurst),
        1 => ([bursts(), bursts()], 1_u16..300, 0_u64..1_000_000)
            .prop_map(|(bursts, many, ns)| Step::SetBursts(bursts, many, Duration::from_nanos(ns))),
        1 => spans().prop_map(Step::PauseAll),
        1 => (0_u8..6, spans()).prop_map(|(key, span)| Step::PauseOne(key, span)),
        1 => Just(Step::ForgetIdle),
        1 => (1_u16..200).prop_map(Step::Others),
    ]
}

/// The naive limiters.
struct Naive {
    limiters: HashMap<u8, Limiter>,
    rate: Rate,
    burst: u32,
    paused_until: tokio::time::Instant,
    one_is_paused_until: tokio::time::Instant,
}

impl Naive {
    fn get(&mut self, key: u8) -> Limiter {
        let Self { rate, burst, paused_until, .. } = *self;
        let new = || {
            let new = Limiter::new(rate, burst);
            new.pause_for(paused_until.saturating_duration_since(tokio::time::Instant::now()));
            new
        };
        self.limiters.entry(key).or_insert_with(new).clone()
    }

    fn is_paused(&self) -> bool {
        self.paused_until.max(self.one_is_paused_until) > tokio::time::Instant::now()
    }

    /// One that is full, and before which none waits, is as good as new.
    fn set_burst(&mut self, burst: u32) {
        let is_full = |limiter: &Limiter| {
            limiter.waiters() == 0 && (limiter.available() == limiter.max_burst() || limiter.rate().is_unlimited())
        };
        self.burst = burst;
        for limiter in self.limiters.values_mut() {
            if is_full(limiter) {
                *limiter = Limiter::new(limiter.rate(), burst);
            } else {
                limiter.set_burst(burst);
            }
        }
    }
}

static SEEN: [AtomicUsize; 4] = [const { AtomicUsize::new(0) }; 4];

fn count(what: usize) {
    SEEN[what].fetch_add(1, Relaxed);
}

async fn play(rate: Rate, burst: u32, steps: Vec<Step>) {
    let keyed: Arc<KeyedLimiter<u16>> = Arc::new(KeyedLimiter::new(rate, burst));
    let begun = tokio::time::Instant::now();
    let mut naive = Naive { limiters: HashMap::new(), rate, burst, paused_until: begun, one_is_paused_until: begun };
    let mut waits: Vec<(Wait, Wait)> = Vec::new();
    let mut reservations: Vec<(Reservation, Reservation)> = Vec::new();
    let mut held: Vec<(Limiter, u8)> = Vec::new();
    let mut others = 1000;
    for step in steps {
        match step {
            Step::Try(key, permits) => {
                let answer = keyed.try_acquire(&u16::from(key), permits);
                assert_eq!(answer, naive.get(key).try_acquire(permits), "{step:?}");
                count(usize::from(answer.is_err()));
            }
            Step::Wait(key, permits, bound) => {
                let (keyed, limiter) = (keyed.clone(), naive.get(key));
                let real = async move {
                    let key = u16::from(key);
                    let wait = keyed.acquire(&key, permits);
                    if let Some(bound) = bound { wait.within(bound).await } else { wait.await }
                };
                let expected = async move {
                    let wait = limiter.acquire(permits);
                    if let Some(bound) = bound { wait.within(bound).await } else { wait.await }
                };
                waits.push((Box::pin(real), Box::pin(expected)));
            }
            Step::DropWait(which) if which < waits.len() => drop(waits.remove(which)),
            Step::Reserve(key, permits) => {
                match (keyed.reserve(&u16::from(key), permits), naive.get(key).reserve(permits)) {
                    (Ok(real), Ok(expected)) => reservations.push((real, expected)),
                    (real, expected) => assert_eq!(real.map(drop), expected.map(drop)),
                }
            }
            Step::EndReservation(which, spent) if which < reservations.len() => {
                let (real, expected) = reservations.remove(which);
                assert_eq!(real.ready_in(), expected.ready_in());
                if spent {
                    real.spend();
                    expected.spend();
                }
            }
            Step::Hold(key) => held.push((keyed.get(&u16::from(key)), key)),
            Step::Release(which) if which < held.len() => drop(held.remove(which)),
            Step::Pass(span) => advance(span).await,
            Step::SetRate(rate) => {
                keyed.set_rate(rate);
                naive.rate = rate;
                naive.limiters.values().for_each(|limiter| limiter.set_rate(rate));
            }
            // A limiter that is paused does not tell whether it is full, and one with a reservation cannot be replaced.
            Step::SetBurst(burst) if !naive.is_paused() && reservations.is_empty() => {
                keyed.set_burst(burst);
                naive.set_burst(burst);
            }
            Step::SetBursts(bursts, many, span) if !naive.is_paused() && reservations.is_empty() => {
                // A naive limiter that is replaced must have granted nothing that is not collected.
                waits.clear();
                // Of several changes of the rate before a row so long, what is rounded off is rounded off once.
                for key in 0..6 {
                    assert_eq!(keyed.try_acquire(&u16::from(key), 0), naive.get(key).try_acquire(0));
                }
                for number in 0..many {
                    advance(span).await;
                    keyed.set_burst(bursts[usize::from(number) % 2]);
                    naive.set_burst(bursts[usize::from(number) % 2]);
                }
            }
            Step::PauseAll(span) => {
                keyed.pause_for(span);
                naive.paused_until = naive.paused_until.max(tokio::time::Instant::now() + span);
                naive.limiters.values().for_each(|limiter| limiter.pause_for(span));
            }
            Step::PauseOne(key, span) => {
                keyed.get(&u16::from(key)).pause_for(span);
                naive.get(key).pause_for(span);
                naive.one_is_paused_until = naive.one_is_paused_until.max(tokio::time::Instant::now() + span);
            }
            Step::ForgetIdle => keyed.forget_idle(),
            Step::Others(many) => {
                for _ in 0..many {
                    others += 1;
                    let _ = keyed.try_acquire(&others, 1);
                }
            }
            _ => {}
        }
        let mut cx = Context::from_waker(Waker::noop());
        waits.retain_mut(|(real, expected)| {
            let (real, expected) = (real.as_mut().poll(&mut cx), expected.as_mut().poll(&mut cx));
            assert_eq!(real, expected);
            count(2 + usize::from(real.is_ready()));
            real == Poll::Pending
        });
        for (limiter, key) in &held {
            let expected = naive.get(*key);
            let all = |limiter: &Limiter| (limiter.rate(), limiter.max_burst(), limiter.available(), limiter.waiters());
            assert_eq!(all(limiter), all(&expected));
        }
    }
    for key in 0..6 {
        assert_eq!(keyed.get(&u16::from(key)).available(), naive.get(key).available(), "{key} at the end");
    }
    // Nothing is left of those that go.
    drop((waits, reservations, held));
    advance(Duration::from_millis(1)).await;
    keyed.set_rate(Rate::UNLIMITED);
    advance(Duration::from_secs(400_000)).await;
    keyed.forget_idle();
    assert_eq!(keyed.len(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn same_answers_as_limiters_that_are_never_forgotten(rate in rates(), burst in bursts(), steps in vec(steps(), 0..150)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(unconstrained(play(rate, burst, steps)));
    }
}

/// Many keys, all of them used up from time to time and some of them full, while the settings change after every few
/// calls: more often than words can tell apart. Rates of one cost, where nothing is rounded off.
async fn play_changes(keys: u32, rounds: u32, calls: u32) {
    let random_rate = || Rate::new(fastrand::u32(0..40), Duration::from_nanos(1_000_000_007)).unwrap();
    let (mut rate, mut burst) = (random_rate(), 3);
    let keyed: KeyedLimiter<u32> = KeyedLimiter::new(rate, burst);
    let mut naive: Vec<_> = (0..keys).map(|_| Limiter::new(rate, burst)).collect();
    let one = |naive: &[Limiter], key: u32, permits: u32| {
        let expected = naive[key as usize].try_acquire(permits);
        assert_eq!(keyed.try_acquire(&key, permits), expected, "{key}");
    };
    (0..keys).for_each(|key| one(&naive, key, fastrand::u32(0..4)));
    for round in 0..rounds {
        (rate, burst) = if fastrand::bool() { (random_rate(), burst) } else { (rate, fastrand::u32(1..6)) };
        keyed.set_rate(rate);
        keyed.set_burst(burst);
        for limiter in &mut naive {
            if limiter.available() == limiter.max_burst() {
                *limiter = Limiter::new(rate, burst);
            } else {
                limiter.set_rate(rate);
                limiter.set_burst(burst);
            }
        }
        (0..fastrand::u32(0..=calls)).for_each(|_| one(&naive, fastrand::u32(0..keys), fastrand::u32(0..4)));
        if round % 16 == 0 {
            let most = if round % 512 == 0 { 1_000_000_000 } else { 30_000_000 };
            advance(Duration::from_nanos(fastrand::u64(0..most))).await;
        }
    }
    (0..keys).for_each(|key| one(&naive, key, 1));
}

#[tokio::test(start_paused = true)]
async fn same_answers_where_settings_change_after_every_few_calls() {
    for (keys, rounds, calls) in [(40, 2000, 1), (40, 1000, 5), (600, 300, 40), (2000, 300, 40)] {
        unconstrained(play_changes(keys, rounds, calls)).await;
    }
}
