//! The candidates, what they tell, and what must be so of all of it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use etcd_client::{Client, GetOptions, WatchOptions};
use relent::testing::proxy::Proxy;
use tokio::time::{sleep, timeout};

use crate::{
    child::{Process, monotonic},
    server::{Node, Server, Version},
};

use super::{MARGIN, MS, REGISTER, S, timing};

#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) at: Duration,
    pub(super) valid: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Led {
    pub(super) name: String,
    pub(super) marks: Vec<Mark>,
    pub(super) over: Option<Duration>,
    pub(super) refused: u32,
    pub(super) late_refused: u32,
    pub(super) late_taken: u32,
}

pub(super) struct Slot {
    pub(super) name: String,
    pub(super) process: Process,
    pub(super) read: usize,
    /// Between it and each member.
    pub(super) proxies: Vec<Proxy>,
}

pub(super) struct World {
    pub(super) server: Server,
    pub(super) slots: Vec<Slot>,
    pub(super) terms: BTreeMap<u128, Led>,
    pub(super) said: Vec<String>,
    pub(super) started: usize,
    pub(super) rounds: usize,
    pub(super) test: &'static str,
    pub(super) took: Vec<String>,
}

impl World {
    pub(super) async fn new(version: Version, test: &'static str) -> Self {
        let server = Server::start(version, 3).await;
        let mut client = Client::connect([server.nodes[0].client_url()], None).await.unwrap();
        client.put(REGISTER, format!("{:020} nobody 0", 0), None).await.unwrap();
        let mut world = Self {
            server,
            slots: Vec::new(),
            terms: BTreeMap::new(),
            said: Vec::new(),
            started: 0,
            rounds: 0,
            test,
            took: Vec::new(),
        };
        for _ in 0..3 {
            world.stand().await;
        }
        world
    }

    /// Another candidate.
    pub(super) async fn stand(&mut self) {
        self.started += 1;
        let name = format!("c{}", self.started);
        let mut proxies = Vec::new();
        for node in &self.server.nodes {
            proxies.push(Proxy::start(node.client).await.unwrap());
        }
        let mut lock: Vec<_> = proxies.iter().map(|proxy| format!("http://{}", proxy.address())).collect();
        lock.rotate_left(self.started % 3);
        let register: Vec<_> = self.server.nodes.iter().map(Node::client_url).collect();
        let process = Process::start(self.test, &format!("{name}|{}|{}", lock.join(","), register.join(",")));
        self.slots.push(Slot { name, process, read: 0, proxies });
    }

    pub(super) fn read(&mut self) {
        for slot in &mut self.slots {
            let lines = slot.process.told_since(slot.read);
            slot.read += lines.len();
            for line in lines {
                let parts: Vec<_> = line.split(' ').collect();
                if parts[0] == "says" {
                    self.said.push(format!("{}: {line}", slot.name));
                    continue;
                }
                let number = |at: usize| parts[at].parse::<u64>().unwrap();
                let time = |at: usize| Duration::from_nanos(number(at));
                let led = self.terms.entry(number(1).into()).or_default();
                if led.name.is_empty() {
                    led.name.clone_from(&slot.name);
                }
                assert_eq!(led.name, slot.name, "two with the fence {}", number(1));
                match parts[0] {
                    "works" => led.marks.push(Mark { at: time(2), valid: time(3) }),
                    "over" => led.over = Some(time(2)),
                    "refused" => led.refused += 1,
                    "late" if parts[2] == "refused" => led.late_refused += 1,
                    "late" => led.late_taken += u32::from(parts[2] == "taken"),
                    other => panic!("{other}"),
                }
            }
        }
    }

    pub(super) async fn until<T>(
        &mut self,
        what: &str,
        within: Duration,
        mut holds: impl FnMut(&Self) -> Option<T>,
    ) -> T {
        let began = Instant::now();
        loop {
            self.read();
            if let Some(value) = holds(self) {
                return value;
            }
            if began.elapsed() > within {
                let said = self.said.iter().rev().take(12).rev().cloned().collect::<Vec<_>>().join("\n");
                let terms: Vec<_> = self.terms.iter().map(|(fence, led)| (fence, &led.name, led.over)).collect();
                panic!("not within {within:?}: {what}\n{terms:?}\n{said}\n{}", self.server.logs());
            }
            sleep(MS(10)).await;
        }
    }

    /// The leader by a fence above this one: its fence, and where it is.
    pub(super) async fn leader_above(&mut self, fence: u128) -> (u128, usize) {
        let within = timing().explain().after_crash() + MARGIN;
        self.until("another leads", within, |world| {
            let (next, led) = world.terms.range(fence + 1..).find(|(_, led)| !led.marks.is_empty())?;
            Some((*next, world.slots.iter().position(|slot| slot.name == led.name)?))
        })
        .await
    }

    /// The leader now.
    pub(super) async fn leader(&mut self) -> (u128, usize) {
        let since = monotonic();
        let within = timing().explain().after_crash() + MARGIN;
        self.until("a candidate leads", within, |world| {
            let (fence, led) = world.terms.last_key_value()?;
            led.marks.last().filter(|mark| mark.at > since)?;
            Some((*fence, world.slots.iter().position(|slot| slot.name == led.name)?))
        })
        .await
    }

    /// Takeover after something has happened to the leader.
    pub(super) async fn taken_over(&mut self, what: &str, fence: u128, since: Duration) -> (u128, usize) {
        let next = self.leader_above(fence).await;
        let took = self.terms[&next.0].marks[0].at.saturating_sub(since);
        let bound = timing().explain().after_crash() + MARGIN;
        assert!(took <= bound, "{what}: {took:?} of {bound:?}");
        self.rounds += 1;
        self.took.push(format!("{what} {} ms", took.as_millis()));
        next
    }
}

impl World {
    /// What must be so of all of it.
    pub(super) async fn verdict(mut self, began: Instant) {
        for slot in &mut self.slots {
            slot.process.close();
        }
        for slot in &mut self.slots {
            slot.process.ended(S(25));
        }
        self.read();
        let mut led: Vec<_> = self.terms.iter().filter(|(_, led)| !led.marks.is_empty()).collect();
        led.sort_by_key(|(_, led)| led.marks[0].at);
        for two in led.windows(2) {
            let ((old, before), (new, after)) = (two[0], two[1]);
            assert!(new > old, "fences: {old}, then {new}");
            // Led until it said that it was over; else as long as it would have, had it not been stopped.
            let valid = before.marks.iter().map(|mark| mark.at + mark.valid).max().unwrap();
            let until = before.over.map_or(valid, |over| over.min(valid));
            let worked = before.marks.last().unwrap().at;
            let from = after.marks[0].at;
            assert!(from >= until && from > worked, "{} until {until:?}, {} from {from:?}", before.name, after.name);
        }
        let refused: u32 = led.iter().map(|(_, led)| led.refused).sum();
        assert_eq!(refused, 0, "a leader in its term is never refused");
        let (late_refused, late_taken) =
            led.iter().fold((0, 0), |sum, (_, led)| (sum.0 + led.late_refused, sum.1 + led.late_taken));
        let marks: usize = led.iter().map(|(_, led)| led.marks.len()).sum();
        let terms = led.len();
        let writes = self.history().await;
        println!(
            "{}: {} rounds, {terms} terms, {marks} moments of leadership without overlap; {writes} writes in the register, \
             {late_refused} late ones refused, {late_taken} taken before the next leader's first; {:?}\n  takeovers: {}",
            self.test,
            self.rounds,
            began.elapsed(),
            self.took.join(", ")
        );
    }

    /// Every value that the register ever had: fences never fall, and each is one candidate's.
    pub(super) async fn history(&self) -> usize {
        let mut client = Client::connect([self.server.nodes[0].client_url()], None).await.unwrap();
        let last = client.get(REGISTER, Some(GetOptions::new())).await.unwrap();
        let last = last.kvs()[0].mod_revision();
        let options = WatchOptions::new().with_start_revision(1);
        let mut stream = client.watch(REGISTER, Some(options)).await.unwrap();
        let (mut before, mut writes, mut at) = (0, 0, 0);
        while at < last {
            let heard = timeout(S(20), stream.message()).await.unwrap().unwrap().unwrap();
            for pair in heard.events().iter().filter_map(etcd_client::Event::kv) {
                let text = pair.value_str().unwrap();
                let (fence, rest) = text.split_once(' ').unwrap();
                let fence: u128 = fence.parse().unwrap();
                assert!(fence >= before, "the register has {text} after {before}");
                if let Some(led) = self.terms.get(&fence) {
                    assert!(rest.starts_with(&format!("{} ", led.name)), "{text} in the term of {}", led.name);
                }
                (before, at) = (fence, pair.mod_revision());
                writes += 1;
            }
        }
        writes
    }
}
