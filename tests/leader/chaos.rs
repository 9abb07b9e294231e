//! Candidates that are processes, on three members of a real etcd: processes and members are frozen and killed, connections
//! are cut. The leaders write to a register that refuses an older fence; its history would show any overlap.
//!
//! All instants are of the monotonic clock that the processes of one machine share.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use etcd_client::{Client, Compare, CompareOp, ConnectOptions, GetOptions, Txn, TxnOp, WatchOptions};
use relent::{
    etcd::EtcdLock,
    leader::{Change, Term, Timing, elect},
    testing::proxy::{Proxy, Wire},
};
use rustix::process::Signal;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    child::{Process, monotonic, settings, tell, wait_for_close},
    server::{Node, Server, Version},
};

const S: fn(u64) -> Duration = Duration::from_secs;
const MS: fn(u64) -> Duration = Duration::from_millis;
/// A machine that has other things to do.
const MARGIN: Duration = Duration::from_secs(5);
const REGISTER: &str = "register";

fn timing() -> Timing {
    Timing::new(MS(6_000), MS(4_300), MS(400)).unwrap().call_timeout(MS(800)).unwrap()
}

// ===== the candidate: a process =====

#[tokio::main(flavor = "current_thread")]
async fn candidate(settings: &str) {
    let [name, lock, register]: [&str; 3] = settings.split('|').collect::<Vec<_>>().try_into().unwrap();
    let stop = CancellationToken::new();
    let closed = stop.clone();
    std::thread::spawn(move || {
        wait_for_close();
        closed.cancel();
    });
    let lock = EtcdLock::new(lock.split(','), ConnectOptions::new(), "lock").unwrap();
    let register = Arc::new(Register::new(name, register));
    let run = elect(lock, name).timing(timing()).lead_on_create().cancel_on(stop).on_change(|change| {
        if let Change::Lost(_) | Change::Trouble(_) = change {
            tell(format_args!("says {change:?}"));
        }
    });
    let ended = run.again().run(|term| work(Arc::clone(&register), term)).await;
    tell(format_args!("says {ended:?}"));
    std::process::exit(0);
}

struct Over(u128);

impl Drop for Over {
    fn drop(&mut self) {
        tell(format_args!("over {} {}", self.0, monotonic().as_nanos()));
    }
}

async fn work(register: Arc<Register>, term: Term) {
    let fence = term.fence();
    let _over = Over(fence);
    tokio::spawn(straggle(Arc::clone(&register), term.clone()));
    while !term.is_lost() {
        // In this order: it led at that time, even if it is frozen between the two.
        let at = monotonic();
        let valid = term.valid_for();
        if !valid.is_zero() {
            tell(format_args!("works {fence} {} {}", at.as_nanos(), valid.as_nanos()));
            if register.write(fence).await == Some(false) {
                tell(format_args!("refused {fence} {}", at.as_nanos()));
            }
        }
        tokio::select! {
            () = term.lost() => {}
            () = sleep(MS(20)) => {}
        }
    }
}

/// What no election can stop: a task that goes on writing with the fence of its term, also when that is long over.
async fn straggle(register: Arc<Register>, term: Term) {
    let mut late = 0;
    while late < 30 {
        let over = term.valid_for().is_zero();
        let written = register.write(term.fence()).await;
        if over {
            late += 1;
            let what = written.map_or("unknown", |taken| if taken { "taken" } else { "refused" });
            tell(format_args!("late {} {what}", term.fence()));
        }
        sleep(MS(50)).await;
    }
}

/// A key that is written only with a fence that is not lower than the one in it.
struct Register {
    name: String,
    endpoints: Vec<String>,
    next: AtomicUsize,
    client: tokio::sync::Mutex<Option<Client>>,
}

impl Register {
    fn new(name: &str, endpoints: &str) -> Self {
        let endpoints = endpoints.split(',').map(str::to_owned).collect();
        Self { name: name.to_owned(), endpoints, next: AtomicUsize::new(0), client: Default::default() }
    }

    /// Whether it was taken; `None` if nobody knows.
    async fn write(&self, fence: u128) -> Option<bool> {
        let value = format!("{fence:020} {} {}", self.name, monotonic().as_nanos());
        // Texts of one length compare as the numbers do: what is in it must be less than the next fence.
        let older = Compare::value(REGISTER, CompareOp::Less, format!("{:020}", fence + 1));
        let transaction = Txn::new().when([older]).and_then([TxnOp::put(REGISTER, value, None)]);
        let call = async {
            let client = self.client.lock().await.take();
            let client = match client {
                Some(client) => client,
                None => {
                    let at = self.next.load(Ordering::Relaxed) % self.endpoints.len();
                    Client::connect([&self.endpoints[at]], None).await.ok()?
                }
            };
            let answer = client.kv_client().txn(transaction).await.ok()?;
            *self.client.lock().await = Some(client);
            Some(answer.succeeded())
        };
        let answer = timeout(MS(600), call).await.ok().flatten();
        if answer.is_none() {
            self.next.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }
}

// ===== the test =====

#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Duration,
    valid: Duration,
}

#[derive(Debug, Default)]
struct Led {
    name: String,
    marks: Vec<Mark>,
    over: Option<Duration>,
    refused: u32,
    late_refused: u32,
    late_taken: u32,
}

struct Slot {
    name: String,
    process: Process,
    read: usize,
    /// Between it and each member.
    proxies: Vec<Proxy>,
}

struct World {
    server: Server,
    slots: Vec<Slot>,
    terms: BTreeMap<u128, Led>,
    said: Vec<String>,
    started: usize,
    rounds: usize,
    test: &'static str,
    took: Vec<String>,
}

impl World {
    async fn new(version: Version, test: &'static str) -> Self {
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
    async fn stand(&mut self) {
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

    fn read(&mut self) {
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

    async fn until<T>(&mut self, what: &str, within: Duration, mut holds: impl FnMut(&Self) -> Option<T>) -> T {
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

    /// Who leads by a fence above this one: its fence, and where it is.
    async fn leader_above(&mut self, fence: u128) -> (u128, usize) {
        let within = timing().explain().after_crash() + MARGIN;
        self.until("another leads", within, |world| {
            let (next, led) = world.terms.range(fence + 1..).find(|(_, led)| !led.marks.is_empty())?;
            Some((*next, world.slots.iter().position(|slot| slot.name == led.name)?))
        })
        .await
    }

    /// Who leads now.
    async fn leader(&mut self) -> (u128, usize) {
        let since = monotonic();
        let within = timing().explain().after_crash() + MARGIN;
        self.until("somebody leads", within, |world| {
            let (fence, led) = world.terms.last_key_value()?;
            led.marks.last().filter(|mark| mark.at > since)?;
            Some((*fence, world.slots.iter().position(|slot| slot.name == led.name)?))
        })
        .await
    }

    /// Takeover after something has happened to the leader.
    async fn taken_over(&mut self, what: &str, fence: u128, since: Duration) -> (u128, usize) {
        let next = self.leader_above(fence).await;
        let took = self.terms[&next.0].marks[0].at.saturating_sub(since);
        let bound = timing().explain().after_crash() + MARGIN;
        assert!(took <= bound, "{what}: {took:?} of {bound:?}");
        self.rounds += 1;
        self.took.push(format!("{what} {} ms", took.as_millis()));
        next
    }

    async fn killed(&mut self) {
        let (fence, at) = self.leader().await;
        let since = monotonic();
        self.slots[at].process.kill();
        self.taken_over("kill -9", fence, since).await;
        self.slots.remove(at);
        self.stand().await;
    }

    async fn frozen(&mut self) {
        let (fence, at) = self.leader().await;
        let name = self.slots[at].name.clone();
        let since = monotonic();
        self.slots[at].process.signal(Signal::STOP);
        let (next, _) = self.taken_over("frozen", fence, since).await;
        sleep(MS(300)).await;
        self.read();
        let refused = self.terms[&fence].late_refused;
        let woken = monotonic();
        self.slots[at].process.signal(Signal::CONT);
        // Its task that straggles is refused; its work is gone.
        self.until("the late writes are refused", S(20), |world| {
            (world.terms[&fence].late_refused > refused + 5).then_some(())
        })
        .await;
        self.until("it has seen its term end", S(20), |world| world.terms[&fence].over).await;
        let worked = self.terms[&fence].marks.iter().filter(|mark| mark.at >= woken).count();
        assert_eq!(worked, 0, "{name} has worked after it woke up");
        let (now, _) = self.leader().await;
        assert_eq!(now, next, "the one that woke up disturbs nobody");
    }

    /// Its connections are dead: it hears nothing, and nothing it says arrives.
    async fn cut_off(&mut self) {
        let (fence, at) = self.leader().await;
        let since = monotonic();
        for proxy in &self.slots[at].proxies {
            proxy.set(Wire::Blackhole);
        }
        self.taken_over("cut off", fence, since).await;
        let over = self.terms[&fence].over.expect("it has ended its work by itself") - since;
        assert!(over <= timing().renew_deadline() + MARGIN, "{over:?}");
        for proxy in &self.slots[at].proxies {
            proxy.set(Wire::Pass);
        }
    }

    async fn handed_over(&mut self) {
        let (fence, at) = self.leader().await;
        self.slots[at].process.close();
        let next = self.leader_above(fence).await;
        let released = self.terms[&fence].over.expect("its work has ended before");
        let took = self.terms[&next.0].marks[0].at - released;
        assert!(took < timing().explain().after_release() + MARGIN, "{took:?}");
        self.took.push(format!("handed over {} ms", took.as_millis()));
        self.rounds += 1;
        assert!(self.slots[at].process.ended(S(20)).success());
        self.read();
        self.slots.remove(at);
        self.stand().await;
    }

    /// The term goes on, for longer than it would without renewals.
    async fn goes_on(&mut self, what: &str, fence: u128, since: Duration) {
        let enough = since + timing().renew_deadline() + MS(400);
        self.until(what, S(20), |world| world.terms[&fence].marks.last().filter(|mark| mark.at > enough).map(drop))
            .await;
        assert_eq!(*self.terms.last_key_value().unwrap().0, fence, "{what}: the leader has changed");
        self.rounds += 1;
    }

    async fn connections_cut(&mut self) {
        let (fence, at) = self.leader().await;
        let since = monotonic();
        let before: u64 = self.slots[at].proxies.iter().map(Proxy::cuts).sum();
        for wire in [Wire::CutAnswer { after: 0 }, Wire::CutRequest { after: 0 }, Wire::CutAnswer { after: 100 }] {
            for proxy in &self.slots[at].proxies {
                proxy.set(wire);
            }
            sleep(MS(500)).await;
            for proxy in &self.slots[at].proxies {
                proxy.set(Wire::Pass);
            }
            sleep(MS(500)).await;
        }
        self.goes_on("connections are cut", fence, since).await;
        let cuts = self.slots[at].proxies.iter().map(Proxy::cuts).sum::<u64>() - before;
        assert!(cuts >= 3, "{cuts}");
    }

    /// A member of etcd is lost, the leader or a follower; two of three remain.
    async fn member(&mut self, leads: bool, kill: bool) {
        let leader = self.server.leader().await;
        let victim = if leads { leader } else { (leader + 1) % 3 };
        let what = format!(
            "{} of etcd's {}",
            if kill { "kill -9" } else { "freeze" },
            if leads { "leader" } else { "follower" }
        );
        let (fence, _) = self.leader().await;
        let since = monotonic();
        if kill {
            self.server.kill(victim)
        } else {
            self.server.freeze(victim)
        }
        self.goes_on(&what, fence, since).await;
        if kill {
            self.server.run(victim)
        } else {
            self.server.thaw(victim)
        }
        self.server.healthy().await;
    }

    /// Without a quorum the term ends, and nobody's begins.
    async fn quorum_lost(&mut self) {
        let (fence, _) = self.leader().await;
        self.server.kill(0);
        self.server.kill(1);
        let over = self
            .until("its term has ended", timing().renew_deadline() + S(1) + MARGIN, |world| world.terms[&fence].over)
            .await;
        sleep(MS(500)).await;
        self.read();
        assert!(self.terms.range(fence + 1..).next().is_none(), "somebody leads without a quorum");
        self.server.run(0);
        self.server.run(1);
        let next = self.leader_above(fence).await;
        assert!(self.terms[&next.0].marks[0].at > over);
        self.rounds += 1;
        self.server.healthy().await;
    }

    /// What must be so of all of it.
    async fn verdict(mut self, began: Instant) {
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
    async fn history(&self) -> usize {
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

fn chaos(version: Version, test: &'static str) {
    if let Some(settings) = settings() {
        return candidate(&settings);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let began = Instant::now();
        let mut world = World::new(version, test).await;
        world.killed().await;
        world.frozen().await;
        world.connections_cut().await;
        world.member(false, true).await;
        world.member(true, true).await;
        world.handed_over().await;
        world.member(false, false).await;
        world.member(true, false).await;
        world.cut_off().await;
        world.frozen().await;
        world.killed().await;
        world.quorum_lost().await;
        world.verdict(began).await;
    });
}

#[test]
fn on_etcd_3_5() {
    chaos(Version::V35, "chaos::on_etcd_3_5");
}

#[test]
fn on_etcd_3_4() {
    chaos(Version::V34, "chaos::on_etcd_3_4");
}
