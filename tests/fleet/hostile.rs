//! A hostile world around real members and real limiters, on the paused clock: the ledger fails, hangs, loses answers
//! and answers twice; members join, leave, are dropped; the record is deleted; processes are stopped; callers wait,
//! cancel, hold and give back. In no window do more permits come out than the law allows.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use proptest::prelude::*;
use relent::{Limiter, fleet::FleetMember, fleet::MemoryLedger};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::support::{fleet, hungry, keeps_the_law, stopped_for};

#[derive(Clone, Debug)]
enum Event {
    Join,
    Leave(usize),
    Drop(usize),
    Delete,
    Fail(usize),
    Hang(usize),
    Lose(usize),
    Repeat(usize),
    Heal,
    Silent(bool),
    Stop(Duration),
    /// Takes what it can get at once.
    Take(usize),
    /// Waits for some at once, and goes away.
    Cancel(usize, u32),
    /// Holds a reservation, and gives it back.
    Hold(usize, u32),
    Pause(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let member = 0_usize..8;
    prop_oneof![
        3 => Just(Event::Join),
        1 => member.clone().prop_map(Event::Leave),
        1 => member.clone().prop_map(Event::Drop),
        1 => Just(Event::Delete),
        2 => (1_usize..12).prop_map(Event::Fail),
        2 => (1_usize..6).prop_map(Event::Hang),
        2 => (1_usize..6).prop_map(Event::Lose),
        2 => (1_usize..6).prop_map(Event::Repeat),
        1 => Just(Event::Heal),
        1 => any::<bool>().prop_map(Event::Silent),
        2 => (0_u64..20_000).prop_map(|length| Event::Stop(Duration::from_millis(length))),
        4 => member.clone().prop_map(Event::Take),
        2 => (member.clone(), 1_u32..5).prop_map(|(member, permits)| Event::Cancel(member, permits)),
        2 => (member.clone(), 1_u32..5).prop_map(|(member, permits)| Event::Hold(member, permits)),
        1 => member.prop_map(Event::Pause),
    ]
}

#[derive(Default)]
struct World {
    ledger: Option<MemoryLedger>,
    members: Vec<FleetMember>,
    tasks: Vec<JoinHandle<()>>,
    granted: Arc<Mutex<Vec<Instant>>>,
}

impl World {
    fn take(&self, limiter: &Limiter) {
        while limiter.try_acquire(1).is_ok() {
            self.granted.lock().unwrap().push(Instant::now());
        }
    }

    async fn happen(&mut self, event: Event) {
        let ledger = self.ledger.clone().unwrap();
        let at = |index: usize| index.checked_rem(self.members.len());
        match event {
            Event::Join if self.members.len() < 6 => {
                let member = fleet(ledger).join().unwrap();
                self.tasks.push(hungry(member.limiter(), &self.granted));
                self.members.push(member);
            }
            Event::Leave(index) => {
                if let Some(index) = at(index) {
                    let leave = self.members.remove(index).leave();
                    self.tasks.push(tokio::spawn(async { drop(leave.await) }));
                }
            }
            Event::Drop(index) => {
                if let Some(index) = at(index) {
                    let member = self.members.remove(index);
                    let limiter = member.limiter().clone();
                    drop(member);
                    assert!(limiter.try_acquire(1).is_err(), "it was dropped");
                }
            }
            Event::Delete => ledger.delete(),
            Event::Fail(calls) => ledger.fail(calls),
            Event::Hang(calls) => ledger.hang(calls),
            Event::Lose(calls) => ledger.lose_answers(calls),
            Event::Repeat(calls) => ledger.repeat(calls),
            Event::Heal => ledger.heal(),
            Event::Silent(silent) => ledger.announce(!silent),
            Event::Stop(length) => {
                stopped_for(length);
                self.members.iter().for_each(|member| self.take(member.limiter()));
            }
            Event::Take(index) => {
                if let Some(index) = at(index) {
                    self.take(self.members[index].limiter());
                }
            }
            Event::Cancel(index, permits) => {
                if let Some(index) = at(index) {
                    let waited = self.members[index].limiter().acquire(permits);
                    if timeout(Duration::from_millis(300), waited).await == Ok(Ok(())) {
                        self.granted.lock().unwrap().extend((0..permits).map(|_| Instant::now()));
                    }
                }
            }
            Event::Hold(index, permits) => {
                if let Some(held) = at(index).and_then(|index| self.members[index].limiter().reserve(permits).ok()) {
                    self.tasks.push(tokio::spawn(async move {
                        sleep(Duration::from_secs(6)).await;
                        drop(held);
                    }));
                }
            }
            Event::Pause(index) => {
                if let Some(index) = at(index) {
                    self.members[index].limiter().pause_for(Duration::from_secs(3));
                }
            }
            Event::Join => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_law_holds(events in prop::collection::vec((event(), 0_u64..8_000), 5..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let granted = runtime.block_on(async {
            let ledger = Some(MemoryLedger::new());
            let mut world = World { ledger, ..World::default() };
            world.happen(Event::Join).await;
            for (event, pause) in events {
                world.happen(event).await;
                sleep(Duration::from_millis(pause)).await;
            }
            // Healed, a member that lives has a share in the end.
            world.ledger.as_ref().unwrap().heal();
            sleep(Duration::from_secs(60)).await;
            assert!(world.members.iter().all(|member| member.share().burst > 0), "{:?}", world.members);
            let granted = world.granted.lock().unwrap().clone();
            drop(world);
            granted
        });
        keeps_the_law(&granted, 100, 50);
    }
}
