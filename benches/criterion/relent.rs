//! What polls, attempts, permits and queues take: `cargo bench`. Against peers: `benches/compare`.
#![allow(missing_docs, reason = "criterion's macros write a function without")]

use std::{
    future::{Ready, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use relent::{Backoff, Check, KeyedLimiter, Limiter, Policy, Rate, TimedQueue, poll, retry};

const SECOND: Duration = Duration::from_secs(1);

/// Polls a future until it is ready.
fn drive<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}

/// Answers at its second poll, as a call over a network does.
async fn pending_once() -> Result<u32, ()> {
    let mut polled = false;
    std::future::poll_fn(|_| if std::mem::replace(&mut polled, true) { Poll::Ready(Ok(1)) } else { Poll::Pending })
        .await
}

fn fails(times: u32, number: u32) -> Ready<Result<u32, u32>> {
    ready(if number <= times { Err(number) } else { Ok(number) })
}

fn attempts(c: &mut Criterion) {
    let mut group = c.benchmark_group("attempts");
    group.bench_function("by hand, pending once", |b| b.iter(|| drive(pending_once())));
    group.bench_function("pending once", |b| b.iter(|| drive(retry(|_| pending_once()).into_future())));
    group.bench_function("first try", |b| b.iter(|| drive(retry(|_| fails(0, 1)).into_future())));
    let deadlines = Policy::new().attempt_timeout(SECOND).finish_within(10 * SECOND);
    group.bench_function("first try, both deadlines", |b| {
        b.iter(|| drive(retry(|_| fails(0, 1)).policy(&deadlines).into_future()));
    });
    let zero = || Backoff::fixed(Duration::ZERO);
    group.bench_function("three failures", |b| {
        b.iter(|| drive(retry(|attempt| fails(3, attempt.number())).backoff(zero()).into_future()));
    });
    group.bench_function("four failures for good", |b| {
        b.iter(|| drive(retry(|_| fails(9, 1)).backoff(zero()).max_attempts(4).into_future()));
    });
    group.bench_function("poll, ready", |b| {
        b.iter(|| drive(poll(|_| ready(Check::<_, ()>::Ready(1))).into_future()));
    });
    group.finish();
}

fn limiter(c: &mut Criterion) {
    let mut group = c.benchmark_group("limiter");
    let limiter = Limiter::new(Rate::per_second(1_000_000_000), 1_000_000_000);
    group.bench_function("try_acquire", |b| b.iter(|| limiter.try_acquire(black_box(1))));
    group.bench_function("acquire, granted at once", |b| b.iter(|| drive(limiter.acquire(1))));
    group.bench_function("throttled first try", |b| {
        b.iter(|| drive(retry(|_| fails(0, 1)).throttle(&limiter).into_future()));
    });
    for keys in [1_000_u64, 100_000] {
        let keyed = KeyedLimiter::new(Rate::per_second(1_000_000), 1_000_000);
        for key in 0..keys {
            let _ = keyed.try_acquire(&key, 1);
        }
        let mut key = 0;
        group.bench_function(format!("keyed, one of {keys}"), |b| {
            b.iter(|| {
                key = (key + 7919) % keys;
                keyed.try_acquire(&key, 1)
            });
        });
    }
    group.finish();
}

fn queue(c: &mut Criterion) {
    let mut group = c.benchmark_group("queue");
    for entries in [1_000_u64, 100_000] {
        let queue = TimedQueue::<u64, u64>::new();
        let handle = queue.handle();
        for key in 0..entries {
            let _ = handle.schedule(key, key, Duration::from_millis(key));
        }
        let mut key = 0;
        group.bench_function(format!("reschedule one of {entries}"), |b| {
            b.iter(|| {
                key = (key + 7919) % entries;
                handle.reschedule(key, key, Duration::from_millis(key + 1))
            });
        });
    }
    group.bench_function("a thousand in and out", |b| {
        b.iter_batched(
            TimedQueue::<u64, u64>::new,
            |mut queue| {
                let handle = queue.handle();
                for key in 0..1000 {
                    let _ = handle.schedule(key, key, Duration::ZERO);
                }
                while !handle.is_empty() {
                    let _ = drive(queue.next()).map(relent::queue::Due::done);
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn in_a_runtime(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let _entered = runtime.as_ref().map(tokio::runtime::Runtime::enter);
    attempts(c);
    limiter(c);
    queue(c);
}

criterion_group! {
    name = all;
    config = Criterion::default().warm_up_time(SECOND / 2).measurement_time(2 * SECOND);
    targets = in_a_runtime
}
criterion_main!(all);
