//! The clock of events: clients that ask, time out, pause and ask again.

use std::collections::VecDeque;

use fastrand::Rng;
use relent::{
    Backoff, Rate, Ratio,
    policy::{
        limit::{bucket::Bucket, budget::RatioBudget},
        schedule::{backoff::BackoffState, jitter::series},
    },
};

use super::{
    events::Events,
    policies::Contender,
    server::{Received, Server},
};

pub(crate) const SECOND: u64 = 1_000_000_000;

/// Clients of one process share its budget and its limiter.
const PROCESS: u32 = 100;
/// A client asks every ten seconds on average.
const THINKS: f64 = 10.0;
/// A call is given up by its client after so long; the server works on it all the same.
const TIMEOUT: u64 = SECOND;

/// One storm: the same for every policy.
pub(crate) struct Storm {
    pub(crate) clients: u32,
    pub(crate) seed: u64,
    /// Calls that the server can answer in a second.
    pub(crate) capacity: f64,
    pub(crate) down: (u64, u64),
    pub(crate) recovery: u64,
    pub(crate) seconds: usize,
}

/// What came of a policy. The vectors have a place for each second.
pub(crate) struct Outcome {
    pub(crate) policy: &'static Contender,
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) calls: u64,
    /// The longest that a client waited for its answer.
    pub(crate) longest: u64,
    pub(crate) offered: Vec<u32>,
    pub(crate) answered: Vec<u32>,
    pub(crate) queue: Vec<u32>,
}

impl Outcome {
    /// The most calls in a second, in multiples of what the server can answer.
    pub(crate) fn load_factor(&self, storm: &Storm) -> f64 {
        f64::from(self.offered.iter().copied().max().unwrap_or(0)) / storm.capacity
    }

    /// How many seconds after the outage as many are answered in time as ask, and five seconds long; `None`: never.
    pub(crate) fn recovered(&self, storm: &Storm) -> Option<usize> {
        let end = usize::try_from(storm.down.1 / SECOND).ok()?;
        let enough = 0.9 * f64::from(storm.clients) / THINKS;
        let well = |second: &&[u32]| second.iter().all(|&answered| f64::from(answered) >= enough);
        self.answered[end..].windows(5).position(|window| well(&window))
    }
}

#[derive(Clone, Copy)]
enum Event {
    Asks(u32),
    Calls(u32),
    TimesOut(u32, u32),
    Answers,
    Permits(u32),
}

#[derive(Clone, Copy, Default)]
struct Client {
    began: u64,
    /// Whether it waits for the answer to a request.
    asks: bool,
    /// The call whose answer it waits for; 0: none.
    call: u32,
    calls: u32,
    /// How far it has come in the backoff, with a random series of its own.
    seed: u64,
    progress: BackoffState,
    pauses: u32,
}

struct Process {
    bucket: Bucket,
    waiting: VecDeque<u32>,
    balance: u64,
}

impl Storm {
    pub(crate) fn of(clients: u32, seed: u64) -> Self {
        let capacity = f64::from(clients) / THINKS / 0.7;
        let down = (20 * SECOND, 30 * SECOND);
        Self { clients, seed, capacity, down, recovery: 20 * SECOND, seconds: 150 }
    }

    pub(crate) fn describe(&self) -> String {
        format!(
            "{} clients in processes of {PROCESS} ask every {THINKS} s; a call times out after {} s. The server answers {:.0} calls a\n\
             second, 70 % of which is asked for, one after the other; it is down from {} s to {} s and needs {} s to be as fast as before.",
            self.clients,
            TIMEOUT / SECOND,
            self.capacity,
            self.down.0 / SECOND,
            self.down.1 / SECOND,
            self.recovery / SECOND,
        )
    }

    pub(crate) fn play(&self, policy: &'static Contender) -> Outcome {
        let mut run = Run::new(self, policy);
        while let Some((now, event)) = run.events.next() {
            run.happens(now, event);
        }
        // Those that still wait have waited long.
        let end = self.seconds as u64 * SECOND;
        let waits = run.clients.iter().filter(|client| client.asks).map(|client| end - client.began);
        run.outcome.longest = waits.max().unwrap_or(0).max(run.outcome.longest);
        run.outcome
    }
}

struct Run {
    outcome: Outcome,
    backoff: Option<Backoff>,
    rng: Rng,
    events: Events<Event>,
    clients: Vec<Client>,
    processes: Vec<Process>,
    account: RatioBudget,
    server: Server,
}

impl Run {
    fn new(storm: &Storm, policy: &'static Contender) -> Self {
        let outcome = Outcome {
            policy,
            requests: 0,
            failed: 0,
            calls: 0,
            longest: 0,
            offered: vec![0; storm.seconds],
            answered: vec![0; storm.seconds],
            queue: vec![0; storm.seconds],
        };
        let account = RatioBudget::new(Ratio::percent(10), 10);
        let each = f64::from(PROCESS) / THINKS * 1.2;
        let process = |_| Process {
            bucket: Bucket::new(Rate::per_second(each as u32), each as u32),
            waiting: VecDeque::new(),
            balance: account.start(),
        };
        let mut run = Self {
            outcome,
            backoff: policy.backoff.map(|backoff| backoff()),
            rng: Rng::with_seed(storm.seed),
            events: Events::until(storm.seconds as u64 * SECOND),
            clients: vec![Client::default(); storm.clients as usize],
            processes: (0..storm.clients.div_ceil(PROCESS)).map(process).collect(),
            account,
            server: Server::new(storm.capacity, storm.down, storm.recovery),
        };
        for client in 0..storm.clients {
            let first = run.thinks();
            run.plan(first, Event::Asks(client));
        }
        run
    }

    fn plan(&mut self, time: u64, event: Event) {
        self.events.plan(time, event);
    }

    /// Exponential in distribution: requests come independently of each other.
    fn thinks(&mut self) -> u64 {
        (-(1.0 - self.rng.f64()).ln() * THINKS * SECOND as f64) as u64
    }

    fn happens(&mut self, now: u64, event: Event) {
        let second = (now / SECOND) as usize;
        self.outcome.queue[second] = self.server.waiting() as u32;
        match event {
            Event::Asks(client) => {
                let of = &mut self.clients[client as usize];
                (of.began, of.asks, of.seed) = (now, true, self.rng.u64(..));
                (of.progress, of.pauses) = (BackoffState::default(), 0);
                self.outcome.requests += 1;
                let process = &mut self.processes[(client / PROCESS) as usize];
                process.balance = self.account.deposit(process.balance);
                self.wants_to_call(now, client);
            }
            Event::Calls(client) => self.wants_to_call(now, client),
            Event::Permits(process) => self.grant(now, process),
            Event::TimesOut(client, call) => {
                if self.clients[client as usize].call == call {
                    self.fails(now, client);
                }
            }
            Event::Answers => {
                let (answered, next) = self.server.finish(now);
                if let Some(next) = next {
                    self.plan(next, Event::Answers);
                }
                if let Some((client, call)) = answered
                    && self.clients[client as usize].call == call
                {
                    self.outcome.answered[second] += 1;
                    self.ends(now, client);
                }
            }
        }
    }

    fn wants_to_call(&mut self, now: u64, client: u32) {
        if self.outcome.policy.limiter {
            let process = &mut self.processes[(client / PROCESS) as usize];
            process.waiting.push_back(client);
            // The first in the line has asked for its time already.
            if process.waiting.len() == 1 {
                self.grant(now, client / PROCESS);
            }
        } else {
            self.calls(now, client);
        }
    }

    /// Lets the waiters call for which there are permits.
    fn grant(&mut self, now: u64, process: u32) {
        let mut granted = Vec::new();
        let of = &mut self.processes[process as usize];
        of.bucket.refill(now);
        of.bucket.clamp();
        while !of.waiting.is_empty() && of.bucket.try_take(1) {
            granted.extend(of.waiting.pop_front());
        }
        let next = (!of.waiting.is_empty()).then(|| of.bucket.ready_at(1));
        if let Some(next) = next {
            self.plan(next, Event::Permits(process));
        }
        for client in granted {
            self.calls(now, client);
        }
    }

    fn calls(&mut self, now: u64, client: u32) {
        self.outcome.calls += 1;
        self.outcome.offered[(now / SECOND) as usize] += 1;
        let of = &mut self.clients[client as usize];
        of.calls += 1;
        of.call = of.calls;
        let call = of.calls;
        match self.server.receive(now, client, call) {
            Received::Refused => return self.fails(now, client),
            Received::Queued => {}
            Received::Starts(done) => self.plan(done, Event::Answers),
        }
        self.plan(now + TIMEOUT, Event::TimesOut(client, call));
    }

    fn fails(&mut self, now: u64, client: u32) {
        let of = &mut self.clients[client as usize];
        of.call = 0;
        let (seed, number) = (of.seed, u64::from(of.pauses));
        let pause = self.backoff.as_ref().and_then(|backoff| of.progress.next(backoff, || series(seed, number)));
        of.pauses += 1;
        let process = &mut self.processes[(client / PROCESS) as usize];
        let allowed = if self.outcome.policy.budget { self.account.withdraw(process.balance) } else { Some(0) };
        if let Some((pause, balance)) = pause.zip(allowed) {
            process.balance = balance;
            self.plan(now + pause, Event::Calls(client));
        } else {
            self.outcome.failed += 1;
            self.ends(now, client);
        }
    }

    fn ends(&mut self, now: u64, client: u32) {
        let of = &mut self.clients[client as usize];
        self.outcome.longest = self.outcome.longest.max(now - of.began);
        (of.call, of.asks) = (0, false);
        let next = now + self.thinks();
        self.plan(next, Event::Asks(client));
    }
}
