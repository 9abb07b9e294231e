//! `TimedQueue` beside tokio-util's `DelayQueue` with a map from keys to its entries, once with the hasher of the
//! standard library and once with relent's, and a task that sleeps per item.

use std::{
    collections::HashMap,
    env,
    future::poll_fn,
    hash::{BuildHasher, RandomState},
    hint::black_box,
    process::Command,
    thread,
    time::Duration,
};

use cpu_time::ThreadTime;
use hashbrown::DefaultHashBuilder;
use relent::{TimedQueue, queue::QueueHandle};
use tokio::{task::JoinHandle, time::sleep_until};
use tokio_util::time::{DelayQueue, delay_queue};

use crate::measure::{Figure, Row, Unit, Work, runtime};

pub fn works() -> Vec<Work> {
    let work = |name, relent, peer, peer_like_us| Work {
        name,
        bare: None,
        relent,
        hand: None,
        peers: vec![(DELAY_QUEUE, peer), (DELAY_QUEUE_LIKE_US, peer_like_us)],
        rows: &[Row::SeededInstructions],
    };
    vec![
        work(
            "queue of 1,000, schedule and cancel",
            |rt, n| rt.block_on(async { in_and_out(&mut Relent::of(1000), n) }),
            |rt, n| rt.block_on(async { in_and_out(&mut Mapped::<RandomState>::of(1000), n) }),
            |rt, n| rt.block_on(async { in_and_out(&mut Mapped::<DefaultHashBuilder>::of(1000), n) }),
        ),
        work(
            "queue of 1,000, reschedule",
            |rt, n| rt.block_on(async { move_about(&mut Relent::of(1000), 1000, n) }),
            |rt, n| rt.block_on(async { move_about(&mut Mapped::<RandomState>::of(1000), 1000, n) }),
            |rt, n| rt.block_on(async { move_about(&mut Mapped::<DefaultHashBuilder>::of(1000), 1000, n) }),
        ),
    ]
}

/// All that do the same with so many entries.
macro_rules! timed {
    ($name:literal, $does:ident($entries:literal)) => {
        Figure {
            name: $name,
            unit: Unit::Nanoseconds,
            relent: || $does::<Relent>($entries),
            hand: None,
            peers: vec![
                (DELAY_QUEUE, || $does::<Mapped<RandomState>>($entries)),
                (DELAY_QUEUE_LIKE_US, || $does::<Mapped<DefaultHashBuilder>>($entries)),
                ("a task each", || $does::<Tasks>($entries)),
            ],
        }
    };
}

pub fn figures() -> Vec<Figure> {
    let bytes = |name, relent, peers| Figure { name, unit: Unit::Bytes, relent, hand: None, peers };
    let mut go = timed!("queue, 10,000 in and out", fires(10_000));
    let mut allocated = Figure {
        unit: Unit::VaryingBytes,
        ..bytes(
            "queue, 10,000 in and out, allocated an item",
            || turnover::<Relent>(10_000),
            vec![
                (DELAY_QUEUE, || turnover::<Mapped<RandomState>>(10_000)),
                ("a task each", || turnover::<Tasks>(10_000)),
            ],
        )
    };
    if env::var_os(CLIENT_GO).is_some() {
        go.peers.push(("client-go", || client_go()[0]));
        allocated.peers.push(("client-go", || client_go()[1]));
    } else {
        eprintln!(
            "client-go's delaying queue is NOT MEASURED: {CLIENT_GO} is not set; eval \"$(.ci/client-go build)\""
        );
    }
    vec![
        timed!("queue of 10, schedule and cancel", cancels(10)),
        timed!("queue of 100, schedule and cancel", cancels(100)),
        timed!("queue of 1,000, schedule and cancel", cancels(1000)),
        timed!("queue of 10,000, schedule and cancel", cancels(10_000)),
        timed!("queue of 100,000, schedule and cancel", cancels(100_000)),
        timed!("queue of 1,000,000, schedule and cancel", cancels(1_000_000)),
        timed!("queue of 1,000, reschedule", moves(1000)),
        timed!("queue of 100,000, reschedule", moves(100_000)),
        timed!("queue of 1,000,000, reschedule", moves(1_000_000)),
        timed!("queue of 1,000, schedule and fire", fires(1000)),
        timed!("queue of 100,000, schedule and fire", fires(100_000)),
        timed!("queue of 1,000,000, schedule and fire", fires(1_000_000)),
        timed!("queue of 1,000,000, fill", fills(1_000_000)),
        go,
        allocated,
        bytes(
            "queue of 100,000, heap an entry",
            || heap::<Relent>(100_000),
            vec![(DELAY_QUEUE, || heap::<Mapped<RandomState>>(100_000)), ("a task each", || heap::<Tasks>(100_000))],
        ),
        bytes(
            "queue of 1,000,000, heap an entry",
            || heap::<Relent>(1_000_000),
            vec![
                (DELAY_QUEUE, || heap::<Mapped<RandomState>>(1_000_000)),
                ("a task each", || heap::<Tasks>(1_000_000)),
            ],
        ),
    ]
}

const DELAY_QUEUE: &str = "DelayQueue and map";
const DELAY_QUEUE_LIKE_US: &str = "DelayQueue and map, our hasher";

/// Names the program of `benches/client-go`.
const CLIENT_GO: &str = "RELENT_CLIENT_GO_QUEUE";

/// Nanoseconds and bytes an item, 10,000 in and out.
fn client_go() -> [f64; 2] {
    let program = env::var_os(CLIENT_GO).expect("its name");
    let output = Command::new(program).output().expect("client-go's queue runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    numbers.try_into().unwrap_or_else(|_| panic!("two numbers, not {text:?}"))
}

/// Far enough away to stay.
const FAR: Duration = Duration::from_secs(3600);

/// So much is timed.
const TURNS: u64 = 20_000;
/// So much at a time, between which a runtime may tidy up.
const BATCH: u64 = 1000;

/// Far away, somewhere.
fn far(n: u64) -> Duration {
    FAR + Duration::from_millis(scatter(n) % 1_000_000)
}

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
        (0..entries).for_each(|key| queue.schedule(key, far(key)));
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

struct Mapped<S> {
    queue: DelayQueue<(u64, u64)>,
    keys: HashMap<u64, delay_queue::Key, S>,
}

impl<S: BuildHasher + Default> Queue for Mapped<S> {
    fn new() -> Self {
        Self { queue: DelayQueue::new(), keys: HashMap::default() }
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
pub fn scatter(n: u64) -> u64 {
    let z = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z ^ (z >> 27)
}

fn in_and_out(queue: &mut impl Queue, times: u64) {
    for n in 0..times {
        let key = (1 << 40) + n;
        queue.schedule(key, far(n));
        queue.cancel(key);
    }
}

fn move_about(queue: &mut impl Queue, entries: u64, times: u64) {
    for n in 0..times {
        queue.reschedule(scatter(n) % entries, far(n));
    }
}

/// Time of this thread alone, a turn: what else the machine does costs it caches, but no time.
pub fn each(turns: u64, work: impl FnOnce()) -> f64 {
    let start = ThreadTime::now();
    work();
    start.elapsed().as_nanos() as f64 / turns as f64
}

fn cancels<Q: Queue>(entries: u64) -> f64 {
    runtime().block_on(async {
        let mut queue = Q::of(entries);
        queue.settle().await;
        let mut total = 0.0;
        for _ in 0..TURNS / BATCH {
            total += each(TURNS, || in_and_out(&mut queue, BATCH));
            // What was aborted goes.
            let start = ThreadTime::now();
            queue.settle().await;
            total += start.elapsed().as_nanos() as f64 / TURNS as f64;
        }
        total
    })
}

fn moves<Q: Queue>(entries: u64) -> f64 {
    runtime().block_on(async {
        let mut queue = Q::of(entries);
        queue.settle().await;
        let mut total = 0.0;
        for _ in 0..TURNS / BATCH {
            total += each(TURNS, || move_about(&mut queue, entries, BATCH));
            let start = ThreadTime::now();
            queue.settle().await;
            total += start.elapsed().as_nanos() as f64 / TURNS as f64;
        }
        total
    })
}

fn fills<Q: Queue>(entries: u64) -> f64 {
    runtime().block_on(async {
        let mut queue = Q::new();
        each(entries, || (0..entries).for_each(|key| queue.schedule(key, far(key))))
    })
}

/// Schedules within 50 ms, lets that time pass, takes all out. The wait does not count.
fn fires<Q: Queue>(entries: u64) -> f64 {
    runtime().block_on(async {
        let mut queue = Q::new();
        let start = ThreadTime::now();
        (0..entries).for_each(|key| queue.schedule(key, Duration::from_micros(scatter(key) % 50_000)));
        queue.settle().await;
        let scheduled = start.elapsed();
        thread::sleep(Duration::from_millis(60));
        let start = ThreadTime::now();
        queue.take(entries).await;
        (scheduled + start.elapsed()).as_nanos() as f64 / entries as f64
    })
}

/// Heap in use once all is scheduled, an entry.
fn heap<Q: Queue>(entries: u64) -> f64 {
    runtime().block_on(async {
        let mut queue = Q::new();
        let used = allocation_counter::measure(|| (0..entries).for_each(|key| queue.schedule(key, far(key))));
        used.bytes_current as f64 / entries as f64
    })
}

/// All heap that was asked for while items went in and came out, an item.
fn turnover<Q: Queue>(entries: u64) -> f64 {
    let runtime = runtime();
    let used = allocation_counter::measure(|| {
        runtime.block_on(async {
            let mut queue = Q::new();
            (0..entries).for_each(|key| queue.schedule(key, Duration::from_micros(scatter(key) % 50_000)));
            queue.settle().await;
            thread::sleep(Duration::from_millis(60));
            queue.take(entries).await;
        });
    });
    used.bytes_total as f64 / entries as f64
}
