//! A backoff per key.

use std::{ops::Range, time::Duration};

use proptest::{collection::vec, prelude::*};
use relent::{Backoff, Jitter, KeyedBackoff};
use tokio::{runtime::Builder, time::advance};

#[tokio::test(start_paused = true)]
async fn an_item_backs_off_on_its_own_and_is_forgotten() {
    let second = Duration::from_secs(1);
    let backoff = Backoff::exponential(second, 4 * second).jitter(Jitter::None).take(4);
    let items: KeyedBackoff<String> = KeyedBackoff::new(backoff, 10 * second);
    let delays: Vec<_> = (0..6).map(|_| items.failed("a").map(|delay| delay.as_secs())).collect();
    assert_eq!(delays, [Some(1), Some(2), Some(4), Some(4), None, None]);
    assert_eq!((items.failures("a"), items.ready_in("a")), (6, Duration::MAX));
    assert_eq!(items.failed("b"), Some(second));
    advance(second / 2).await;
    assert_eq!((items.failures("b"), items.ready_in("b")), (1, second / 2));
    advance(second * 10).await;
    assert_eq!(
        (items.failures("a"), items.failures("b")),
        (0, 1),
        "a failed more than ten seconds ago; b waited half a second less"
    );
    advance(second).await;
    assert_eq!((items.failures("b"), items.ready_in("b")), (0, Duration::ZERO));
    assert_eq!(items.len(), 2);
    items.forget_expired();
    assert!(items.is_empty());
    assert_eq!(items.failed("a"), Some(second), "from the first step again");
    assert!(items.forget("a") && !items.forget("a"));
}

#[test]
fn an_item_gets_the_delays_of_its_backoff_and_then_none() {
    let ms = Duration::from_millis;
    let chain = Backoff::fixed(ms(3))
        .take(2)
        .then(Backoff::exponential(ms(5), ms(900)).take(12))
        .then(Backoff::decorrelated(ms(2), ms(700)).take(9))
        .then(Backoff::steps([ms(1), ms(7)]));
    for seed in 0..200 {
        let backoff = chain.clone().seed(seed);
        let items: KeyedBackoff<u8> = KeyedBackoff::new(backoff.clone(), Duration::MAX);
        let mut delays = backoff.iter();
        for failure in 1..40 {
            let delay = delays.next();
            assert_eq!((items.failed(&0), items.last_delay(&0), items.failures(&0)), (delay, delay, failure));
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Fail,
    Forget,
}

fn schedules() -> impl Strategy<Value = Backoff> {
    let nanos = |range: Range<u64>| range.prop_map(Duration::from_nanos);
    let one = || {
        let (base, cap) = (nanos(0..20), nanos(0..200));
        let jitter = prop_oneof![Just(Jitter::None), Just(Jitter::Full), Just(Jitter::Equal)];
        (0..5, base, cap, jitter, 0_u32..4).prop_map(|(shape, base, cap, jitter, take)| {
            let backoff = match shape {
                0 => Backoff::fixed(base),
                1 => Backoff::exponential(base, cap),
                2 => Backoff::fibonacci(base, cap),
                3 => Backoff::decorrelated(base, cap),
                _ => return Backoff::steps([base, cap]),
            };
            let backoff = backoff.jitter(jitter);
            if take == 0 { backoff } else { backoff.take(take) }
        })
    };
    (one(), one(), any::<u64>()).prop_map(|(first, second, seed)| first.then(second).seed(seed))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Against an item that keeps its pause.
    #[test]
    fn an_item_tells_the_pause_that_it_got(
        backoff in schedules(),
        expire_after in 0_u64..300,
        steps in vec(prop_oneof![(0_u64..100).prop_map(Step::Pass), Just(Step::Fail), Just(Step::Forget)], 1..60),
    ) {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let items = KeyedBackoff::new(backoff.clone(), Duration::from_nanos(expire_after));
            let (mut now, mut naive) = (0_u64, None::<(<Backoff as IntoIterator>::IntoIter, u32, u64, Option<u64>)>);
            for step in steps {
                match step {
                    Step::Pass(nanos) => {
                        advance(Duration::from_nanos(nanos)).await;
                        now += nanos;
                    }
                    Step::Forget => {
                        items.forget(&0);
                        naive = None;
                    }
                    Step::Fail => {
                        let (mut delays, failures, ..) = naive.take().unwrap_or((backoff.iter(), 0, 0, None));
                        let delay = delays.next();
                        prop_assert_eq!(items.failed(&0), delay);
                        naive = Some((delays, failures + 1, now, delay.map(|delay| delay.as_nanos() as u64)));
                    }
                }
                naive = naive.filter(|(.., at, delay)| now <= at + delay.unwrap_or(0) + expire_after);
                let ready_in = |(.., at, delay): &(_, _, u64, Option<u64>)| {
                    delay.map_or(Duration::MAX, |delay| Duration::from_nanos((at + delay).saturating_sub(now)))
                };
                prop_assert_eq!(items.failures(&0), naive.as_ref().map_or(0, |naive| naive.1));
                prop_assert_eq!(items.ready_in(&0), naive.as_ref().map_or(Duration::ZERO, ready_in));
                let delay = naive.as_ref().and_then(|naive| naive.3);
                prop_assert_eq!(items.last_delay(&0), delay.map(Duration::from_nanos));
            }
            Ok(())
        })?;
    }
}
