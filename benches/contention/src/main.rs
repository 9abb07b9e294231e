//! See `run`.

use std::{
    env,
    future::Future,
    num::NonZeroU32,
    pin::pin,
    sync::Barrier,
    task::{Context, Poll, Waker},
    thread,
    time::Instant,
};

use governor::{Quota, RateLimiter, clock::MonotonicClock};
use nix::time::{ClockId, clock_gettime};

/// More than is ever taken.
const PLENTY: u32 = 1_000_000_000;
/// So many permits are taken by each thread in a round.
const TAKES: u32 = 20_000;

/// A name, and a round on so many threads: nanoseconds a permit, of the clock and of the threads' own time.
type Contender = (&'static str, Box<dyn Fn(usize) -> [f64; 2]>);

fn main() {
    let rounds: usize = env::args().nth(1).and_then(|rounds| rounds.parse().ok()).expect("a number of rounds");
    let quota = Quota::per_second(NonZeroU32::new(PLENTY).expect("positive"));
    let now = relent::Limiter::per_second(PLENTY).burst(PLENTY);
    let before = before::Limiter::per_second(PLENTY).burst(PLENTY);
    let (now_too, before_too) = (now.clone(), before.clone());
    let monotonic = RateLimiter::direct_with_clock(quota, MonotonicClock);
    let quanta = RateLimiter::direct(quota);
    let ratelimit =
        ratelimit::Ratelimiter::builder(PLENTY.into()).initial_available(PLENTY.into()).build().expect("one");
    show(
        "try_acquire",
        rounds,
        vec![
            ("relent", contender(move || now.try_acquire(1).is_ok())),
            ("before", contender(move || before.try_acquire(1).is_ok())),
            ("governor, our clock", contender(move || monotonic.check().is_ok())),
            ("governor, quanta", contender(move || quanta.check().is_ok())),
            ("ratelimit", contender(move || ratelimit.try_wait().is_ok())),
        ],
    );
    let monotonic = RateLimiter::direct_with_clock(quota, MonotonicClock);
    let quanta = RateLimiter::direct(quota);
    show(
        "acquire",
        rounds,
        vec![
            ("relent", contender(move || ready(now_too.acquire(1)).is_ok())),
            ("before", contender(move || ready(before_too.acquire(1)).is_ok())),
            ("governor, our clock", contender(move || ready(monotonic.until_ready()) == ())),
            ("governor, quanta", contender(move || ready(quanta.until_ready()) == ())),
        ],
    );
}

/// What is ready at the first poll.
fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("there is plenty"),
    }
}

fn contender(take: impl Fn() -> bool + Sync + 'static) -> Box<dyn Fn(usize) -> [f64; 2]> {
    Box::new(move |threads| {
        let gate = Barrier::new(threads + 1);
        let mut own = 0.0;
        let wall = thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|_| {
                    scope.spawn(|| {
                        gate.wait();
                        let start = own_time();
                        (0..TAKES).for_each(|_| assert!(take()));
                        let taken = own_time() - start;
                        gate.wait();
                        taken
                    })
                })
                .collect();
            gate.wait();
            let start = Instant::now();
            gate.wait();
            let wall = start.elapsed().as_nanos() as f64;
            own = workers.into_iter().map(|worker| worker.join().expect("a worker")).sum();
            wall
        });
        let takes = f64::from(TAKES) * threads as f64;
        [wall / takes, own / takes]
    })
}

fn own_time() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock");
    time.tv_sec() as f64 * 1e9 + time.tv_nsec() as f64
}

fn show(what: &str, rounds: usize, contenders: Vec<Contender>) {
    for threads in [1, 2] {
        let mut times = vec![[Vec::new(), Vec::new()]; contenders.len()];
        for round in 0..rounds {
            for turn in 0..contenders.len() {
                let index = (round + turn) % contenders.len();
                let measured = contenders[index].1(threads);
                times[index].iter_mut().zip(measured).for_each(|(all, one)| all.push(one));
            }
        }
        let quartiles = |times: &[f64]| {
            let mut sorted = times.to_vec();
            sorted.sort_by(f64::total_cmp);
            [1, 2, 3].map(|quarter| sorted[sorted.len() * quarter / 4])
        };
        println!(
            "{what} on {threads} thread(s): ns a permit by the clock [quartiles], relent to it; the same of the threads' own time"
        );
        let relent = [0, 1].map(|which| quartiles(&times[0][which])[1]);
        for ((name, _), times) in contenders.iter().zip(&times) {
            let shown = [0, 1].map(|which| {
                let [low, middle, high] = quartiles(&times[which]);
                format!("{middle:6.1} [{low:6.1} {high:6.1}] {:5.2}", relent[which] / middle)
            });
            println!("  {name:20} {} | {}", shown[0], shown[1]);
        }
    }
}
