//! Candidates that are processes, on three members of a real etcd: processes and members are frozen and killed, connections
//! are cut. The leaders write to a register that refuses an older fence; its history would show any overlap.
//!
//! All instants are of the monotonic clock that the processes of one machine share.

mod candidate;
mod world;

use std::time::{Duration, Instant};

use relent::{
    leader::Timing,
    testing::proxy::{Proxy, Wire},
};
use rustix::process::Signal;
use tokio::time::sleep;

use crate::{
    child::{monotonic, settings},
    server::Version,
};

use self::{candidate::candidate, world::World};

const S: fn(u64) -> Duration = Duration::from_secs;
const MS: fn(u64) -> Duration = Duration::from_millis;
/// A machine that has other things to do.
const MARGIN: Duration = Duration::from_secs(5);
const REGISTER: &str = "register";

fn timing() -> Timing {
    Timing::new(MS(6_000), MS(4_300), MS(400)).unwrap().call_timeout(MS(800)).unwrap()
}

impl World {
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
        assert_eq!(now, next, "the one that woke up disturbs no other");
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

    /// Without a quorum the term ends, and no other begins.
    async fn quorum_lost(&mut self) {
        let (fence, _) = self.leader().await;
        self.server.kill(0);
        self.server.kill(1);
        let over = self
            .until("its term has ended", timing().renew_deadline() + S(1) + MARGIN, |world| world.terms[&fence].over)
            .await;
        sleep(MS(500)).await;
        self.read();
        assert!(self.terms.range(fence + 1..).next().is_none(), "a candidate leads without a quorum");
        self.server.run(0);
        self.server.run(1);
        let next = self.leader_above(fence).await;
        assert!(self.terms[&next.0].marks[0].at > over);
        self.rounds += 1;
        self.server.healthy().await;
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
