//! `TimedQueue` beside tokio-util's `DelayQueue` with a map from keys to its entries, and a task that sleeps per item.

use std::{
    collections::HashMap,
    future::poll_fn,
    hint::black_box,
    thread,
    time::{Duration, Instant},
};

use relent::{TimedQueue, queue::QueueHandle};
use tokio::{task::JoinHandle, time::sleep_until};
use tokio_util::time::{DelayQueue, delay_queue};

use crate::measure::{Figure, Row, Unit, Work, runtime};

pub fn works() -> Vec<Work> {
    let work = |name, relent, peer| Work {
        name,
        bare: None,
        relent,
        hand: None,
        peers: vec![("DelayQueue and map", peer)],
        rows: vec![Row::Instructions(None), Row::Nanoseconds(None)],
        times: 200,
    };
    vec![
        work(
            "queue of 1,000, schedule and cancel",
            |rt, n| rt.block_on(async { in_and_out(&mut Relent::of(1000), n) }),
            |rt, n| rt.block_on(async { in_and_out(&mut Mapped::of(1000), n) }),
        ),
        work(
            "queue of 1,000, reschedule",
            |rt, n| rt.block_on(async { move_about(&mut Relent::of(1000), n) }),
            |rt, n| rt.block_on(async { move_about(&mut Mapped::of(1000), n) }),
        ),
    ]
}

pub fn figures() -> Vec<Figure> {
    let figure = |name, unit, relent, peers, target| Figure { name, unit, relent, hand: None, peers, target };
    let timed = |name, relent, peer: fn() -> f64| {
        figure(name, Unit::Nanoseconds, relent, vec![("DelayQueue and map", peer)], None)
    };
    vec![
        timed("queue of 100,000, schedule and cancel", || cancels::<Relent>(100_000), || cancels::<Mapped>(100_000)),
        timed(
            "queue of 1,000,000, schedule and cancel",
            || cancels::<Relent>(1_000_000),
            || cancels::<Mapped>(1_000_000),
        ),
        timed("queue of 100,000, reschedule", || moves::<Relent>(100_000), || moves::<Mapped>(100_000)),
        timed("queue of 1,000,000, reschedule", || moves::<Relent>(1_000_000), || moves::<Mapped>(1_000_000)),
        figure(
            "queue of 1,000, schedule and fire",
            Unit::Nanoseconds,
            || fires::<Relent>(1000),
            vec![("DelayQueue and map", || fires::<Mapped>(1000)), ("a task each", || fires::<Tasks>(1000))],
            None,
        ),
        figure(
            "queue of 100,000, schedule and fire",
            Unit::Nanoseconds,
            || fires::<Relent>(100_000),
            vec![("DelayQueue and map", || fires::<Mapped>(100_000)), ("a task each", || fires::<Tasks>(100_000))],
            None,
        ),
        timed("queue of 1,000,000, schedule and fire", || fires::<Relent>(1_000_000), || fires::<Mapped>(1_000_000)),
        figure(
            "queue of 100,000, heap an entry",
            Unit::Bytes,
            || heap::<Relent>(100_000),
            vec![("DelayQueue and map", || heap::<Mapped>(100_000)), ("a task each", || heap::<Tasks>(100_000))],
            None,
        ),
    ]
}

/// Far enough away to stay.
const FAR: Duration = Duration::from_secs(3600);

/// Something that keeps items until they are due.
trait Queue {
    fn new() -> Self;
    fn schedule(&mut self, key: u64, after: Duration);
    fn reschedule(&mut self, key: u64, after: Duration);
    fn cancel(&mut self, key: u64);
    /// Everything has its place and its timer.
    async fn settle(&mut self);
    /// Takes out so many that are due.
    async fn take(&mut self, items: u64);

    /// One with so many entries.
    fn of(entries: u64) -> Self
    where
        Self: Sized,
    {
        let mut queue = Self::new();
        (0..entries).for_each(|key| queue.schedule(key, FAR + Duration::from_millis(scatter(key) % 1_000_000)));
        queue
    }
}

struct Relent {
    queue: TimedQueue<u64, u64>,
    handle: QueueHandle<u64, u64>,
}

impl Queue for Relent {
    fn new() -> Self {
        let queue = TimedQueue::new();
        Self { handle: queue.handle(), queue }
    }
    fn schedule(&mut self, key: u64, after: Duration) {
        _ = black_box(self.handle.schedule(key, key, after));
    }
    fn reschedule(&mut self, key: u64, after: Duration) {
        _ = black_box(self.handle.reschedule(key, key, after));
    }
    fn cancel(&mut self, key: u64) {
        _ = black_box(self.handle.cancel(&key));
    }
    async fn settle(&mut self) {}
    async fn take(&mut self, items: u64) {
        for _ in 0..items {
            black_box(self.queue.next().await.expect("an item").done());
        }
    }
}

struct Mapped {
    queue: DelayQueue<(u64, u64)>,
    keys: HashMap<u64, delay_queue::Key>,
}

impl Queue for Mapped {
    fn new() -> Self {
        Self { queue: DelayQueue::new(), keys: HashMap::new() }
    }
    fn schedule(&mut self, key: u64, after: Duration) {
        self.keys.entry(key).or_insert_with(|| self.queue.insert((key, key), after));
    }
    fn reschedule(&mut self, key: u64, after: Duration) {
        self.queue.reset(&self.keys[&key], after);
    }
    fn cancel(&mut self, key: u64) {
        let entry = self.keys.remove(&key).expect("a key");
        black_box(self.queue.remove(&entry));
    }
    async fn settle(&mut self) {}
    async fn take(&mut self, items: u64) {
        for _ in 0..items {
            let due = poll_fn(|cx| self.queue.poll_expired(cx)).await.expect("an item").into_inner();
            self.keys.remove(&due.0);
            black_box(due);
        }
    }
}

/// For each item a task that sleeps.
struct Tasks(HashMap<u64, JoinHandle<u64>>);

impl Queue for Tasks {
    fn new() -> Self {
        Self(HashMap::new())
    }
    fn schedule(&mut self, key: u64, after: Duration) {
        let due = tokio::time::Instant::now() + after;
        let task = async move {
            sleep_until(due).await;
            key
        };
        self.0.insert(key, tokio::spawn(task));
    }
    fn reschedule(&mut self, key: u64, after: Duration) {
        self.cancel(key);
        self.schedule(key, after);
    }
    fn cancel(&mut self, key: u64) {
        self.0.remove(&key).expect("a key").abort();
    }
    async fn settle(&mut self) {
        tokio::task::yield_now().await;
    }
    async fn take(&mut self, items: u64) {
        for key in 0..items {
            black_box(self.0.remove(&key).expect("a key").await.expect("an item"));
        }
    }
}

/// SplitMix64's way to make neighbours strangers.
fn scatter(n: u64) -> u64 {
    let z = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z ^ (z >> 27)
}

fn in_and_out(queue: &mut impl Queue, times: u64) {
    for n in 0..times {
        let key = (1 << 40) + n;
        queue.schedule(key, FAR + Duration::from_millis(scatter(n) % 1_000_000));
        queue.cancel(key);
    }
}

fn move_about(queue: &mut impl Queue, times: u64) {
    for n in 0..times {
        queue.reschedule(n % 1000, FAR + Duration::from_millis(scatter(n) % 1_000_000));
    }
}

/// The best of five rounds of `times`, each.
fn best(times: u64, mut round: impl FnMut()) -> f64 {
    let rounds = (0..5).map(|_| {
        let start = Instant::now();
        round();
        start.elapsed().as_nanos() as f64 / times as f64
    });
    rounds.fold(f64::INFINITY, f64::min)
}

fn cancels<Q: Queue>(entries: u64) -> f64 {
    runtime().block_on(async {
        let mut queue = Q::of(entries);
        best(20_000, || in_and_out(&mut queue, 20_000))
    })
}

fn moves<Q: Queue>(entries: u64) -> f64 {
    runtime().block_on(async {
        let mut queue = Q::of(entries);
        let mut n = 0;
        best(20_000, || {
            for _ in 0..20_000 {
                n += 1;
                queue.reschedule(scatter(n) % entries, FAR + Duration::from_millis(scatter(n) % 1_000_000));
            }
        })
    })
}

/// Schedules within 50 ms, lets that time pass, takes all out. The wait does not count.
fn fires<Q: Queue>(entries: u64) -> f64 {
    let round = || {
        runtime().block_on(async {
            let mut queue = Q::new();
            let start = Instant::now();
            (0..entries).for_each(|key| queue.schedule(key, Duration::from_micros(scatter(key) % 50_000)));
            queue.settle().await;
            let scheduled = start.elapsed();
            thread::sleep(Duration::from_millis(60));
            let start = Instant::now();
            queue.take(entries).await;
            (scheduled + start.elapsed()).as_nanos() as f64 / entries as f64
        })
    };
    let rounds = if entries > 100_000 { 1 } else { 5 };
    (0..rounds).map(|_| round()).fold(f64::INFINITY, f64::min)
}

/// Heap in use once all is scheduled, an entry.
fn heap<Q: Queue>(entries: u64) -> f64 {
    runtime().block_on(async {
        let mut queue = Q::new();
        let used = allocation_counter::measure(|| {
            (0..entries).for_each(|key| queue.schedule(key, FAR + Duration::from_millis(scatter(key) % 1_000_000)));
        });
        used.bytes_current as f64 / entries as f64
    })
}
