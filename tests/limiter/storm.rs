//! The retry storm: clients that call [`retry`], a server of fixed capacity, an outage, and what is left afterwards.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    ops::Range,
    rc::Rc,
    time::Duration,
};

use relent::{Backoff, Budget, Ratio, retry};
use tokio::{
    sync::oneshot,
    task::{LocalSet, spawn_local},
    time::{Instant, MissedTickBehavior, interval, sleep},
};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// How long a call takes the server: it answers so many a second, and no more.
const CALL: Duration = Duration::from_millis(20);
/// A client comes this often, so nine tenths of the capacity are used.
const CLIENT: [Duration; 2] = [Duration::from_millis(22), Duration::from_millis(23)];
const OUTAGE: Range<Duration> = secs(20)..secs(50);
/// What is done between these is what is left.
const AFTERWARDS: Range<Duration> = secs(90)..secs(120);
/// After this a client gives an attempt up. The server does not know, and does the work all the same.
const PATIENCE: Duration = secs(1);
/// So many calls fit before the server. More are refused, which takes so long.
const QUEUE: usize = 100;
const REFUSAL: Duration = Duration::from_millis(10);
const ATTEMPTS: u32 = 5;

/// First attempts, attempts, good answers.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    firsts: u32,
    attempts: u32,
    good: u32,
}

#[derive(Debug)]
struct Storm {
    all: Counts,
    outage: Counts,
    afterwards: Counts,
}

struct Server {
    start: Instant,
    calls: RefCell<VecDeque<oneshot::Sender<()>>>,
    counts: [Cell<Counts>; 3],
}

impl Server {
    /// Counts it where the client it is for belongs, by the time it came.
    fn count(&self, came: Duration, count: impl Fn(&mut Counts)) {
        let parts = [true, OUTAGE.contains(&came), AFTERWARDS.contains(&came)];
        for (cell, _) in self.counts.iter().zip(parts).filter(|(_, here)| *here) {
            let mut counts = cell.get();
            count(&mut counts);
            cell.set(counts);
        }
    }

    async fn call(&self) -> Result<(), &'static str> {
        if self.calls.borrow().len() >= QUEUE {
            sleep(REFUSAL).await;
            return Err("busy");
        }
        let (answer, answered) = oneshot::channel();
        self.calls.borrow_mut().push_back(answer);
        answered.await.map_err(|_| "hung up")
    }

    /// Answers one call after the other, and none during the outage. One whose client has gone costs as much as any.
    async fn serve(&self) {
        let mut ready = interval(CALL);
        ready.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ready.tick().await;
            if !OUTAGE.contains(&self.start.elapsed())
                && let Some(answer) = self.calls.borrow_mut().pop_front()
            {
                _ = answer.send(());
            }
        }
    }

    async fn client(&self, budget: Option<Budget>) {
        let came = self.start.elapsed();
        self.count(came, |counts| counts.firsts += 1);
        let run = retry(|_| {
            // Attempts count when they are made.
            self.count(self.start.elapsed(), |counts| counts.attempts += 1);
            self.call()
        })
        .backoff(Backoff::fixed(Duration::from_millis(50)))
        .attempt_timeout(PATIENCE)
        .max_attempts(ATTEMPTS);
        let outcome = match &budget {
            Some(budget) => run.budget(budget).await,
            None => run.await,
        };
        if outcome.is_ok() {
            self.count(came, |counts| counts.good += 1);
        }
    }
}

/// Clients come as they please, whatever becomes of those before them.
async fn storm(budget: Option<Budget>) -> Storm {
    let start = Instant::now();
    let server = Rc::new(Server { start, calls: RefCell::default(), counts: Default::default() });
    let all = LocalSet::new();
    let serving = all.spawn_local({
        let server = server.clone();
        async move { server.serve().await }
    });
    all.run_until(async {
        let mut clients = Vec::new();
        for pause in CLIENT.iter().cycle() {
            if start.elapsed() >= AFTERWARDS.end {
                break;
            }
            let (server, budget) = (server.clone(), budget.clone());
            clients.push(spawn_local(async move { server.client(budget).await }));
            sleep(*pause).await;
        }
        for client in clients {
            client.await.unwrap();
        }
        serving.abort();
    })
    .await;
    let [all, outage, afterwards] = [0, 1, 2].map(|part| server.counts[part].get());
    Storm { all, outage, afterwards }
}

#[tokio::test(start_paused = true)]
async fn with_a_budget_the_storm_passes_and_without_one_it_stays() {
    let without = storm(None).await;
    println!("without a budget: {without:?}");
    assert!(without.outage.attempts > 4 * without.outage.firsts, "the test has no teeth: {without:?}");
    assert!(2 * without.afterwards.good < without.afterwards.firsts, "the test has no teeth: {without:?}");

    let reserve = 10;
    let with = storm(Some(Budget::ratio(Ratio::percent(5)).reserve(reserve))).await;
    println!("with 5 %: {with:?}");
    assert_eq!(with.all.firsts, without.all.firsts);
    for part in [with.all, with.outage] {
        assert!(part.attempts - part.firsts <= part.firsts / 20 + reserve + 1, "{with:?}");
    }
    assert_eq!(with.afterwards.good, with.afterwards.firsts, "{with:?}");
}
