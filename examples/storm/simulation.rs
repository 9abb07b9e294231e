//! The clock of events: clients that ask, time out, pause and ask again.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use fastrand::Rng;
use relent::{
    Rate, Ratio,
    backoff::Delays,
    policy::limit::{bucket::Bucket, budget::RatioBudget},
};

use super::{
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

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Asks(u32),
    Calls(u32),
    TimesOut(u32, u32),
    Answers,
    Permits(u32),
}

#[derive(Clone)]
struct Client {
    began: u64,
    /// The call whose answer it waits for.
    call: Option<u32>,
    calls: u32,
    delays: Option<Delays>,
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
        while let Some(Reverse((now, _, event))) = run.events.pop() {
            if now >= self.seconds as u64 * SECOND {
                break;
            }
            run.happens(now, event);
        }
        // Those that still wait have waited long.
        let end = self.seconds as u64 * SECOND;
        let waits = run.clients.iter().filter(|client| client.delays.is_some()).map(|client| end - client.began);
        run.outcome.longest = waits.max().unwrap_or(0).max(run.outcome.longest);
        run.outcome
    }
}

struct Run {
    outcome: Outcome,
    rng: Rng,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    number: u64,
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
            rng: Rng::with_seed(storm.seed),
            events: BinaryHeap::new(),
            number: 0,
            clients: vec![Client { began: 0, call: None, calls: 0, delays: None }; storm.clients as usize],
            processes: (0..storm.clients.div_ceil(PROCESS)).map(process).collect(),
            account,
            server: Server::new(storm.capacity, storm.down, storm.recovery),
        };
        for client in 0..storm.clients {
            let first = run.thinks();
            run.at(first, Event::Asks(client));
        }
        run
    }

    fn at(&mut self, time: u64, event: Event) {
        self.number += 1;
        self.events.push(Reverse((time, self.number, event)));
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
                let seed = self.rng.u64(..);
                let delays = self.outcome.policy.backoff.map(|backoff| backoff().seed(seed).iter());
                self.clients[client as usize].began = now;
                self.clients[client as usize].delays = delays;
                self.outcome.requests += 1;
                let process = &mut self.processes[(client / PROCESS) as usize];
                process.balance = self.account.deposit(process.balance);
                self.wants_to_call(now, client);
            }
            Event::Calls(client) => self.wants_to_call(now, client),
            Event::Permits(process) => self.grant(now, process),
            Event::TimesOut(client, call) => {
                if self.clients[client as usize].call == Some(call) {
                    self.fails(now, client);
                }
            }
            Event::Answers => {
                let (answered, next) = self.server.finish(now);
                if let Some(next) = next {
                    self.at(next, Event::Answers);
                }
                if let Some((client, call)) = answered
                    && self.clients[client as usize].call == Some(call)
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
            self.at(next, Event::Permits(process));
        }
        for client in granted {
            self.calls(now, client);
        }
    }

    fn calls(&mut self, now: u64, client: u32) {
        self.outcome.calls += 1;
        self.outcome.offered[(now / SECOND) as usize] += 1;
        let of = &mut self.clients[client as usize];
        of.calls = of.calls.wrapping_add(1);
        of.call = Some(of.calls);
        let call = of.calls;
        match self.server.receive(now, client, call) {
            Received::Refused => return self.fails(now, client),
            Received::Queued => {}
            Received::Starts(done) => self.at(done, Event::Answers),
        }
        self.at(now + TIMEOUT, Event::TimesOut(client, call));
    }

    fn fails(&mut self, now: u64, client: u32) {
        self.clients[client as usize].call = None;
        let pause = self.clients[client as usize].delays.as_mut().and_then(Iterator::next);
        let process = &mut self.processes[(client / PROCESS) as usize];
        let allowed = if self.outcome.policy.budget { self.account.withdraw(process.balance) } else { Some(0) };
        if let Some((pause, balance)) = pause.zip(allowed) {
            process.balance = balance;
            self.at(now + pause.as_nanos() as u64, Event::Calls(client));
        } else {
            self.outcome.failed += 1;
            self.ends(now, client);
        }
    }

    fn ends(&mut self, now: u64, client: u32) {
        let of = &mut self.clients[client as usize];
        self.outcome.longest = self.outcome.longest.max(now - of.began);
        (of.call, of.delays) = (None, None);
        let next = now + self.thinks();
        self.at(next, Event::Asks(client));
    }
}
