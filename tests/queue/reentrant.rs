//! No foreign code runs under the queue's lock: keys, values, errors and wakers whose drop uses a handle, and wakers
//! that do when they are called.

use std::{
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use relent::{
    Backoff, TimedQueue,
    queue::{Due, Job, QueueHandle, Scheduled},
};

/// Uses a handle of its queue when it is dropped, and when it is woken.
#[derive(Clone)]
struct Nosy(u32, Arc<OnceLock<QueueHandle<Nosy, Nosy>>>);

impl Nosy {
    fn look(&self) {
        if let Some(handle) = self.1.get() {
            let _ = (handle.len(), handle.running(), handle.due(), handle.take_given_up().len());
        }
    }
}

impl Drop for Nosy {
    fn drop(&mut self) {
        self.look();
    }
}

impl Wake for Nosy {
    fn wake(self: Arc<Self>) {
        self.look();
    }
}

impl Hash for Nosy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl PartialEq for Nosy {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Nosy {}

impl std::fmt::Debug for Nosy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nosy")
    }
}

/// In a thread of its own: a deadlock fails instead of hanging.
fn ends(test: impl FnOnce() + Send + 'static) {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let _entered = runtime.enter();
        test();
        sender.send(()).unwrap();
    });
    receiver.recv_timeout(Duration::from_secs(60)).expect("it hangs, or has panicked");
}

struct Stage {
    queue: TimedQueue<Nosy, Nosy>,
    handle: QueueHandle<Nosy, Nosy>,
    cell: Arc<OnceLock<QueueHandle<Nosy, Nosy>>>,
}

impl Stage {
    fn new(attempts: u32) -> Self {
        let queue = TimedQueue::new().backoff(Backoff::fixed(Duration::ZERO)).max_attempts(attempts);
        let (handle, cell) = (queue.handle(), Arc::default());
        OnceLock::set(&cell, queue.handle()).unwrap();
        Self { queue, handle, cell }
    }

    fn nosy(&self, number: u32) -> Nosy {
        Nosy(number, self.cell.clone())
    }

    fn waker(&self) -> Waker {
        Waker::from(Arc::new(self.nosy(0)))
    }
}

#[test]
fn wakers() {
    ends(|| {
        let mut stage = Stage::new(9);
        let _ = stage.handle.schedule(stage.nosy(1), stage.nosy(1), Duration::MAX);
        let mut idle = std::pin::pin!(stage.handle.drain());
        for _ in 0..3 {
            // Each replaces the one before, and is the last that owns it.
            let waker = stage.waker();
            assert!(stage.queue.poll_due(&mut Context::from_waker(&waker)).is_pending());
            assert!(idle.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        let mut working = Box::pin(stage.queue.run(|_| async { Ok::<_, Nosy>(()) }).into_future());
        for _ in 0..3 {
            let waker = Waker::from(Arc::new(Nosy(0, stage.cell.clone())));
            assert!(working.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        drop(working);
        let _ = stage.handle.cancel_all();
    });
}

#[test]
fn keys_values_and_errors() {
    ends(|| {
        for attempts in [1, 2] {
            let mut stage = Stage::new(attempts);
            let noop = &mut Context::from_waker(Waker::noop());
            for round in 0..6 {
                let (key, value) = (|| stage.nosy(1), || stage.nosy(2));
                let handle = stage.handle.clone();
                let _ = handle.schedule(key(), value(), Duration::ZERO);
                let _ = handle.schedule(key(), value(), Duration::ZERO);
                let _ = handle.reschedule(key(), value(), Duration::ZERO);
                let _ = handle.bring_forward(key(), value(), Duration::MAX);
                let _ = handle.begin_anew(key(), value(), Duration::ZERO);
                let (again, error) = (key(), stage.nosy(3));
                let other = (stage.nosy(8), stage.nosy(8));
                let Poll::Ready(Some(due)) = stage.queue.poll_due(noop) else { panic!("{round}") };
                if round % 2 == 1 {
                    let _ = handle.schedule(again, due.value().clone(), Duration::ZERO);
                }
                match round {
                    0 | 1 => drop(due.done()),
                    2 | 3 => drop(due.fail(error)),
                    _ => drop(due),
                }
                let _ = handle.schedule(other.0, other.1, Duration::MAX);
                let _ = handle.cancel(&Nosy(8, Arc::default()));
                drop(handle.cancel_all());
                drop(handle.take_given_up());
            }
            stage.handle.close();
            let key = stage.nosy(1);
            let _ = stage.handle.schedule(key.clone(), key, Duration::ZERO);
        }
    });
}

#[test]
fn a_run_and_its_futures() {
    ends(|| {
        let mut stage = Stage::new(2);
        for key in 1..5 {
            let _ = stage.handle.schedule(stage.nosy(key), stage.nosy(key), Duration::ZERO);
        }
        let cell = stage.cell.clone();
        let work = stage.queue.run(|job: Job<Nosy, Nosy>| {
            let error = Nosy(9, cell.clone());
            async move {
                match job.key.0 {
                    1 => Ok(()),
                    2 => Err(error),
                    _ => std::future::pending().await,
                }
            }
        });
        let mut working = Box::pin(work.concurrency(4).unwrap().into_future());
        let waker = Waker::from(Arc::new(Nosy(0, cell.clone())));
        assert!(working.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        drop(working);
        drop(stage.queue);
        assert_eq!(stage.handle.cancel_all().len() + stage.handle.take_given_up().len(), 2);
    });
}

/// Owns a guard, which ends with it.
struct Owner(#[expect(dead_code, reason = "it is dropped with the waker")] Mutex<Option<Due<u32, u32>>>);

impl Wake for Owner {
    fn wake(self: Arc<Self>) {}
}

/// Notes that it was called.
#[derive(Default)]
struct Called(AtomicBool);

impl Wake for Called {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

/// A waker that owns the guard of a key is replaced: what follows the run of that key is due. The consumer takes it in
/// the same poll, or is woken.
#[test]
fn a_guard_that_goes_with_a_waker_wakes_the_consumer() {
    ends(|| {
        let noop = &mut Context::from_waker(Waker::noop());
        for with_the_consumers_own in [false, true] {
            let mut queue = TimedQueue::new().max_attempts(1);
            let handle = queue.handle();
            assert_eq!(handle.schedule(1, 1, Duration::ZERO), Scheduled::New);
            let Poll::Ready(Some(due)) = queue.poll_due(noop) else { panic!("it is due") };
            let _ = handle.schedule(1, 2, Duration::ZERO);
            let owner = Waker::from(Arc::new(Owner(Mutex::new(Some(due)))));
            let mut drain = std::pin::pin!(handle.drain());
            if with_the_consumers_own {
                assert!(queue.poll_due(&mut Context::from_waker(&owner)).is_pending());
            } else {
                assert!(drain.as_mut().poll(&mut Context::from_waker(&owner)).is_pending());
            }
            drop(owner);
            let called = Arc::<Called>::default();
            let polled = queue.poll_due(&mut Context::from_waker(&Waker::from(called.clone())));
            assert!(drain.as_mut().poll(noop).is_pending());
            if polled.is_pending() {
                assert!(called.0.load(SeqCst), "nothing woke it");
                let Poll::Ready(Some(due)) = queue.poll_due(noop) else { panic!("it is due") };
                assert_eq!(due.done(), 2);
            } else {
                let Poll::Ready(Some(due)) = polled else { panic!("it is due") };
                assert_eq!(due.done(), 2);
            }
            assert_eq!(handle.take_given_up().len(), 1);
            assert_eq!(drain.as_mut().poll(noop), Poll::Ready(0));
        }
    });
}
