//! Random histories of the whole queue on a paused clock, each step checked against a naive model: the same runs at the
//! same instants in the same order, the same answers, every value accounted for.

mod model;

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard},
    task::Poll,
};

use fastrand::Rng;
use relent::{Backoff, Decision, Jitter, TimedQueue, queue::Job};
use tokio::time::{Instant, sleep};

use self::model::{ATTEMPTS, Answer, MS, Model, PAUSE, TIMEOUT, Tally, script};

async fn history(seed: u64) -> Tally {
    let mut rng = Rng::with_seed(seed);
    let mut queue = TimedQueue::new()
        .backoff(Backoff::fixed(MS * PAUSE as u32).jitter(Jitter::None))
        .attempt_timeout(MS * TIMEOUT as u32)
        .max_attempts(ATTEMPTS);
    let concurrency = rng.usize(1..4);
    let zero = Some(Instant::now());
    let model = Arc::new(Mutex::new(Model { concurrency, zero, values: seed * 1000, ..Model::default() }));
    let lock = || -> MutexGuard<'_, Model> { model.lock().unwrap() };
    let handles = [queue.handle(), queue.handle()];
    let mut steps = rng.u32(1..30);
    let mut handles = Some(handles);
    loop {
        let work = queue.run(|job: Job<u8, u64>| {
            lock().started(&job);
            async move {
                let (lasts, answer) = script(job.value, job.attempt.number());
                if lasts > 0 {
                    sleep(MS * lasts as u32).await;
                }
                if answer == Answer::Ok { Ok(()) } else { Err(answer) }
            }
        });
        let work = work
            .concurrency(concurrency)
            .unwrap()
            .when(|answer| if *answer == Answer::Fatal { Decision::Fatal } else { Decision::Retry })
            .notify(|outcome| lock().told(outcome))
            .on_given_up(drop);
        let mut working = work.into_future();
        let mut pause = pin!(sleep(MS * 10 * rng.u32(0..4)));
        // One task acts and works, so that it is known which comes first at an instant.
        let finished = poll_fn(|cx| {
            while steps > 0 && pause.as_mut().poll(cx).is_ready() {
                steps -= 1;
                pause.as_mut().reset(Instant::now() + MS * 10 * rng.u32(0..4));
                let handle = &handles.as_ref().unwrap()[usize::from(rng.bool())];
                match rng.u8(0..20) {
                    0..13 => lock().give(&mut rng, handle),
                    13..17 => lock().cancel(rng.u8(0..8), handle),
                    17 => lock().cancel_all(handle),
                    18 if lock().running() <= 1 => return Poll::Ready(None),
                    _ => {}
                }
            }
            if steps == 0 {
                handles = None;
            }
            let polled = Pin::new(&mut working).poll(cx);
            if polled.is_pending() {
                lock().settled(handles.as_ref().map(|handles| &handles[0]));
            }
            polled.map(Some)
        })
        .await;
        drop(working);
        if let Some(finished) = finished {
            assert!(finished.given_up.is_empty() && finished.waiting.is_empty());
            break;
        }
        lock().run_dropped(&queue);
    }
    let model = lock();
    assert!(model.entries.is_empty(), "left over: {model:?}");
    model.tally
}

#[test]
fn ten_thousand_histories_of_the_queue() {
    let first = crate::first_seed();
    let mut total = Tally::default();
    for seed in first..first + 10_000 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let ran = std::panic::catch_unwind(|| runtime.block_on(history(seed)));
        let Ok(tally) = ran else { panic!("RELENT_SEED={seed}") };
        macro_rules! add {
            ($($field:ident)*) => { $(total.$field += tally.$field;)* };
        }
        add!(starts done failed gave_up superseded carried after_run kept moved cancelled dropped);
    }
    println!("10000 histories from RELENT_SEED={first}: {total:?}");
    let Tally { starts, done, failed, gave_up, superseded, carried, after_run, kept, moved, cancelled, dropped } =
        total;
    let rare = [gave_up, superseded, carried, after_run, kept, moved, cancelled, dropped];
    let least = [starts / 50, done / 20, failed / 20].into_iter().chain(rare);
    assert!(least.into_iter().min() > Some(500), "the histories were idle");
}
