//! Three candidates and their troubles, wherever their lock is.

use std::{sync::Arc, time::Duration};

use relent::leader::{Ended, Lock, Timing};
use relent_apiserver::{ApiServer, Fault, Verb};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    LOOK, SECOND,
    candidate::{Candidate, stand},
    world::{Span, World, locked, observe},
};
use crate::stage::{Failed, Stage};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Where three candidates are played.
pub(super) struct Place<'s, L> {
    pub(super) lock: L,
    pub(super) timing: Timing,
    /// Whose plan of faults can let calls hang.
    pub(super) server: Option<&'s ApiServer>,
}

impl<L: Lock + Clone> Place<'_, L> {
    pub(super) async fn play(&self, stage: &mut Stage, place: &str) -> Result<(), Failed> {
        stage.part(
            &format!("three candidates, {place}; then the leader is frozen"),
            "counts its lease from the answer of a renewal, not from its request, and has no fence: what a leader of \
             yesterday writes when it wakes up is taken",
        );
        for line in self.timing.explain().to_string().lines() {
            stage.say(line);
        }
        let (world, watched) = (World::new(), CancellationToken::new());
        let observer = tokio::spawn(observe(Arc::clone(&world), watched.clone()));
        let mut candidates = NAMES.map(|who| stand(&world, who, self.lock.clone(), self.timing));

        self.frozen(stage, &world, &candidates).await?;
        if let Some(server) = self.server {
            self.hanging(stage, &world, server).await?;
        }
        self.handover(stage, &world, &mut candidates).await?;

        stage.say("the end: the other two stop");
        let mut left: Vec<_> = candidates.iter_mut().filter(|candidate| !candidate.stop.is_cancelled()).collect();
        for candidate in &left {
            candidate.stop.cancel();
        }
        for candidate in &mut left {
            let ended = timeout(self.longest(), &mut candidate.task).await???;
            stage.check("a run ended as cancelled", matches!(ended, Ended::Cancelled { .. }), true);
        }
        watched.cancel();
        let (looks, overlaps) = observer.await?;
        world.read(stage);
        summary(stage, &world);
        stage.say(format_args!("looked {looks} times"));
        stage.check("times at which two terms were valid", overlaps, 0);
        Ok(())
    }

    /// How long any part may take: beyond, the scene has failed.
    pub(super) fn longest(&self) -> Duration {
        2 * self.timing.explain().after_crash()
    }

    pub(super) async fn frozen(
        &self,
        stage: &mut Stage,
        world: &World,
        candidates: &[Candidate; 3],
    ) -> Result<(), Failed> {
        let old = world.leader(0, self.longest()).await?;
        sleep(2 * self.timing.retry_period() + SECOND / 10).await;
        let frozen = of(candidates, old.who)?;
        frozen.gate.freeze();
        let (start, left) = (Instant::now(), old.term.valid_for());
        world.note(format_args!("{} is frozen; its term is valid for another {} ms", old.who, left.as_millis()));
        world.over(&old.term, self.longest()).await?;
        world.note(format_args!("the term of {} is over, by the clock alone: it still sleeps", old.who));
        let new = world.leader(1, self.longest()).await?;
        let took = start.elapsed();
        sleep(SECOND).await;
        world.note(format_args!("{} wakes up", old.who));
        frozen.gate.thaw();
        sleep(LOOK).await;
        let taken = world.write(old.who, old.term.fence());
        world.note(format_args!(
            "a request that {} had sent before it froze arrives, with fence {}: {}",
            old.who,
            old.term.fence(),
            if taken { "taken" } else { "refused" }
        ));
        sleep(SECOND).await;
        world.read(stage);
        stage.check("another has taken over", new.who != old.who, true);
        stage.check("not before the old term was over", took >= left, true);
        let bound = self.timing.explain().after_crash();
        stage.check(&format!("within the explained {} ms", bound.as_millis()), took <= bound, true);
        stage.check("the request with the old fence was taken", taken, false);
        stage.check("the old leader leads again meanwhile", world.begun() > 2, false);
        Ok(())
    }

    pub(super) async fn hanging(&self, stage: &mut Stage, world: &World, server: &ApiServer) -> Result<(), Failed> {
        stage.part(
            "no write to the Lease is answered",
            "stops by the renew deadline, too, and returns without a reason",
        );
        let before = world.begun();
        let old = world.leader(before - 1, self.longest()).await?;
        server.inject(Fault::hang().verb(Verb::Update).path("**/leases/*"));
        let start = Instant::now();
        world.note("from now on no write is answered");
        world.over(&old.term, self.longest()).await?;
        let took = start.elapsed();
        server.lift_faults();
        world.note("writes are answered again");
        let new = world.leader(before, self.longest()).await?;
        sleep(SECOND).await;
        world.read(stage);
        let deadline = self.timing.renew_deadline();
        let reason = format!("{} has lost its term: no renewal was confirmed within {deadline:?}", old.who);
        stage.check("the loss comes with its reason", world.said(&reason), true);
        stage.check("its work ended by the renew deadline", took <= deadline + LOOK, true);
        stage.check("the next term has a greater fence", new.term.fence() > old.term.fence(), true);
        Ok(())
    }

    pub(super) async fn handover(
        &self,
        stage: &mut Stage,
        world: &World,
        candidates: &mut [Candidate; 3],
    ) -> Result<(), Failed> {
        stage.part(
            "a clean handover: the leader is told to stop",
            "gives the lock back while its work still runs; the others look every 2 s to 4.4 s",
        );
        let before = world.begun();
        let old = world.leader(before - 1, self.longest()).await?;
        let at = NAMES.iter().position(|name| *name == old.who).ok_or("an unknown leader")?;
        world.note(format_args!("{} is told to stop", old.who));
        let start = Instant::now();
        candidates[at].stop.cancel();
        let ended = timeout(self.longest(), &mut candidates[at].task).await???;
        let new = world.leader(before, self.longest()).await?;
        let took = start.elapsed();
        sleep(SECOND).await;
        world.read(stage);
        let finished = matches!(ended, Ended::Cancelled { finished: Some(()) });
        stage.check("the work ended by itself, and then the run", finished, true);
        stage.check("another leads", new.who != old.who, true);
        let bound = self.timing.retry_period();
        stage.check(&format!("within {} ms", bound.as_millis()), took <= bound, true);
        Ok(())
    }
}

pub(super) fn of<'c>(candidates: &'c [Candidate; 3], who: &str) -> Result<&'c Candidate, Failed> {
    let found = NAMES.iter().zip(candidates).find(|(name, _)| **name == who);
    Ok(found.ok_or("an unknown leader")?.1)
}

/// All terms, and what must be so of them.
pub(super) fn summary(stage: &mut Stage, world: &World) {
    stage.say("the terms, by what was written in them:");
    let register = locked(&world.register);
    for Span { who, fence, first, last } in &register.spans {
        let (first, last) = (first.as_millis(), last.as_millis());
        stage.say(format_args!("  {who}, fence {fence:>3}: from {first:>6} ms to {last:>6} ms"));
    }
    let terms = locked(&world.terms);
    let growing = terms.windows(2).all(|two| two[0].term.fence() < two[1].term.fence());
    stage.check("fences grow from term to term", growing, true);
    let apart = register.spans.windows(2).all(|two| two[0].last <= two[1].first);
    stage.check("no write between two writes of another term", apart, true);
    stage.check("each term has written", register.spans.len(), terms.len());
    stage.check("writes refused: the late one", register.refused, 1);
    let others: usize = terms.iter().map(|begun| begun.others).sum();
    stage.check("terms that were valid when another began", others, 0);
}
