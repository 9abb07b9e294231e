//! Incident 2: a bad timing that nobody hears of, and then the election itself: a leader that is frozen, one whose calls hang,
//! and a clean handover.

use std::{
    fmt,
    future::poll_fn,
    path::Path,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, api::DeleteParams};
use relent::{
    ConfigError,
    k8s::{self, LeaseLock},
    leader::{self, Change, ElectError, Ended, Lock, Manager, Term, Timing},
    testing::kube::{ApiServer, Fault, Verb},
};
use tokio::{
    select,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Options,
    stage::{Failed, Stage, real_time, virtual_time},
};

const SECOND: Duration = Duration::from_secs(1);
const SPACE: &str = "default";
const NAMES: [&str; 3] = ["a", "b", "c"];
/// How often the scene looks.
const LOOK: Duration = Duration::from_millis(5);

pub(crate) fn play(options: &Options, stage: &mut Stage) -> Result<(), Failed> {
    virtual_time(bad_timing(stage))??;
    if let Some(file) = &options.kubeconfig {
        return real_time(on_a_cluster(stage, file))?;
    }
    if !options.real {
        // The jitter is drawn from here: the same instants each time, though not always the same names.
        fastrand::seed(6);
        return virtual_time(in_process(stage))?;
    }
    #[cfg(feature = "etcd")]
    return real_time(on_etcd(stage))?;
    #[cfg(not(feature = "etcd"))]
    Err("--real needs the feature etcd: cargo run --example incidents --features demo,etcd -- leader --real".into())
}

async fn bad_timing(stage: &mut Stage) -> Result<(), Failed> {
    const REASON: &str =
        "renew_deadline 20s: must be less than lease * (1 - 2 * clock_drift), here 13.5s of a lease of 15s";
    let bad = || Timing::new(15 * SECOND, 20 * SECOND, 2 * SECOND);

    stage.part(
        "a lease of 15 s and a renew deadline of 20 s",
        "looked at its settings only when it started, and named a rule without the numbers",
    );
    let alone = bad();
    stage.ended(&alone);
    stage.check("the reason", alone.err().map(|error| error.to_string()), Some(REASON.to_owned()));

    stage.part(
        "the same in a manager with a running task",
        "on the error it waited for the end of an election that had never begun: it hung, and the reason never came out",
    );
    let manager = Manager::new();
    let stopped = CancellationToken::new();
    let webhook = stopped.clone();
    manager.add("webhook", |stop: CancellationToken| async move {
        stop.cancelled().await;
        webhook.cancel();
        Ok::<_, ConfigError>(())
    })?;
    let led = CancellationToken::new();
    let controller = led.clone();
    manager.add_leader("controller", |_| async move {
        controller.cancel();
        Ok::<_, ConfigError>(())
    })?;
    let lock = LeaseLock::new(ApiServer::new().client(), SPACE, "controller")?;
    manager.elect_by(async move { Ok::<_, ConfigError>(leader::elect(lock, "a").timing(bad()?)) })?;
    let start = Instant::now();
    let ended = timeout(60 * SECOND, manager.run(CancellationToken::new())).await?;
    stage.ended(&ended);
    stage.check("it took", start.elapsed(), Duration::ZERO);
    let reason = ended.err().map(|error| error.to_string());
    stage.check("the reason", reason, Some(format!("election failed: {REASON}")));
    stage.check("the webhook was told to stop", stopped.is_cancelled(), true);
    stage.check("the controller was started", led.is_cancelled(), false);
    Ok(())
}

async fn in_process(stage: &mut Stage) -> Result<(), Failed> {
    let server = ApiServer::new();
    let timing = Timing::default();
    let lock = LeaseLock::new(server.client(), SPACE, "incidents")?;
    let place = Place { lock, timing, server: Some(&server) };
    place.play(stage, "on the Lease of an API server in this process, in virtual time").await
}

/// Nothing in the cluster is changed but one Lease, which is deleted again.
async fn on_a_cluster(stage: &mut Stage, file: &Path) -> Result<(), Failed> {
    let client: Client = k8s::client_from(file).await?;
    let name = format!("relent-incidents-{}-{:08x}", std::process::id(), fastrand::u32(..));
    let lock = LeaseLock::new(client.clone(), SPACE, &name)?;
    let place = Place { lock, timing: short()?, server: None };
    let played = place.play(stage, &format!("on the Lease {SPACE}/{name} of a cluster, in real time")).await;
    let leases: Api<Lease> = Api::namespaced(client, SPACE);
    let deleted = leases.delete(&name, &DeleteParams::default()).await;
    played?;
    deleted?;
    stage.check("the Lease is left behind", leases.get_opt(&name).await?.is_some(), false);
    Ok(())
}

#[cfg(feature = "etcd")]
async fn on_etcd(stage: &mut Stage) -> Result<(), Failed> {
    let server = crate::server::Server::start(crate::server::Version::V35, 1).await;
    let options = etcd_client::ConnectOptions::new();
    let lock = relent::etcd::EtcdLock::new([server.nodes[0].client_url()], options, "incidents")?;
    let place = Place { lock, timing: short()?, server: None };
    place.play(stage, "on a key of real etcd 3.5, started for this, in real time").await
}

/// For real time: nobody wants to wait for 15 s.
fn short() -> Result<Timing, ConfigError> {
    Timing::new(4 * SECOND, 5 * SECOND / 2, SECOND / 2)
}

/// What happens in an election, seen from outside.
struct World {
    start: Instant,
    /// Up to where the lines have been read, and the lines.
    diary: Mutex<(usize, Vec<(Duration, String)>)>,
    terms: Mutex<Vec<Begun>>,
    register: Mutex<Register>,
}

/// A term that has begun.
#[derive(Clone)]
struct Begun {
    who: &'static str,
    term: Term,
    /// Other terms that were valid then.
    others: usize,
}

/// What the work writes to: it refuses an older fence.
#[derive(Default)]
struct Register {
    /// For each fence: whose, and its first and last write.
    spans: Vec<Span>,
    refused: u32,
}

struct Span {
    who: &'static str,
    fence: u128,
    first: Duration,
    last: Duration,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    fn new() -> Arc<Self> {
        let start = Instant::now();
        Arc::new(Self { start, diary: Mutex::default(), terms: Mutex::default(), register: Mutex::default() })
    }

    fn note(&self, text: impl fmt::Display) {
        locked(&self.diary).1.push((self.start.elapsed(), text.to_string()));
    }

    /// Prints what is new.
    fn read(&self, stage: &Stage) {
        let mut diary = locked(&self.diary);
        for (at, text) in &diary.1[diary.0..] {
            stage.say(format_args!("{:>9} | {text}", format!("{} ms", at.as_millis())));
        }
        diary.0 = diary.1.len();
    }

    fn said(&self, text: &str) -> bool {
        locked(&self.diary).1.iter().any(|(_, line)| line.contains(text))
    }

    fn begin(&self, who: &'static str, term: &Term) {
        let mut terms = locked(&self.terms);
        let others = terms.iter().filter(|begun| !begun.term.valid_for().is_zero()).count();
        terms.push(Begun { who, term: term.clone(), others });
    }

    fn begun(&self) -> usize {
        locked(&self.terms).len()
    }

    /// The term after `before` others.
    async fn leader(&self, before: usize, within: Duration) -> Result<Begun, Failed> {
        self.until(within, "nobody leads", || locked(&self.terms).get(before).cloned()).await
    }

    /// Looks until there is something.
    async fn until<T>(&self, within: Duration, not: &str, look: impl Fn() -> Option<T>) -> Result<T, Failed> {
        let start = Instant::now();
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            if start.elapsed() > within {
                return Err(format!("{not} after {} ms", within.as_millis()).into());
            }
            sleep(LOOK).await;
        }
    }

    async fn over(&self, term: &Term, within: Duration) -> Result<(), Failed> {
        self.until(within, "the term is still valid", || term.valid_for().is_zero().then_some(())).await
    }

    fn write(&self, who: &'static str, fence: u128) -> bool {
        let (mut register, now) = (locked(&self.register), self.start.elapsed());
        match register.spans.last_mut() {
            Some(span) if span.fence > fence => {
                register.refused += 1;
                return false;
            }
            Some(span) if span.fence == fence => span.last = now,
            _ => register.spans.push(Span { who, fence, first: now, last: now }),
        }
        true
    }
}

/// Whether a process is frozen.
#[derive(Default)]
struct Gate(Mutex<(bool, Option<Waker>)>);

impl Gate {
    fn freeze(&self) {
        locked(&self.0).0 = true;
    }

    fn thaw(&self) {
        let mut gate = locked(&self.0);
        gate.0 = false;
        if let Some(waker) = gate.1.take() {
            waker.wake();
        }
    }

    fn is_shut(&self, cx: &Context<'_>) -> bool {
        let mut gate = locked(&self.0);
        gate.1 = Some(cx.waker().clone());
        gate.0
    }
}

/// One process of three.
struct Candidate {
    gate: Arc<Gate>,
    stop: CancellationToken,
    task: JoinHandle<Result<Ended<()>, ElectError>>,
}

fn stand<L: Lock>(world: &Arc<World>, who: &'static str, lock: L, timing: Timing) -> Candidate {
    let (gate, stop) = (Arc::<Gate>::default(), CancellationToken::new());
    let heard = Arc::clone(world);
    let inside = Arc::clone(world);
    let election = leader::elect(lock, who)
        .timing(timing)
        .cancel_on(stop.clone())
        .on_change(move |change| match change {
            Change::Elected { fence } => heard.note(format_args!("{who} leads, fence {fence}")),
            Change::Lost(why) => heard.note(format_args!("{who} has lost its term: {why}")),
            Change::Trouble(error) => heard.note(format_args!("{who}: a call failed: {error}")),
            _ => {}
        })
        .again()
        .run(move |term| work(Arc::clone(&inside), who, term));
    let closed = Arc::clone(&gate);
    let task = tokio::spawn(async move {
        let mut election = pin!(election);
        poll_fn(|cx| if closed.is_shut(cx) { Poll::Pending } else { election.as_mut().poll(cx) }).await
    });
    Candidate { gate, stop, task }
}

/// Writes to the register until it is told to end.
async fn work(world: Arc<World>, who: &'static str, term: Term) {
    world.begin(who, &term);
    loop {
        if !world.write(who, term.fence()) {
            world.note(format_args!("{who}: the register refuses fence {}", term.fence()));
        }
        select! {
            () = term.lost() => break,
            () = sleep(SECOND / 4) => {}
        }
    }
    world.note(format_args!("{who}: its work was told, and has ended"));
}

/// Counts the moments at which two terms are valid.
async fn observe(world: Arc<World>, stop: CancellationToken) -> (u32, u32) {
    let (mut looks, mut overlaps) = (0, 0);
    while !stop.is_cancelled() {
        looks += 1;
        let valid = locked(&world.terms).iter().filter(|begun| !begun.term.valid_for().is_zero()).count();
        overlaps += u32::from(valid > 1);
        sleep(LOOK).await;
    }
    (looks, overlaps)
}

/// Where three candidates are played.
struct Place<'s, L> {
    lock: L,
    timing: Timing,
    /// Whose plan of faults can let calls hang.
    server: Option<&'s ApiServer>,
}

impl<L: Lock + Clone> Place<'_, L> {
    async fn play(&self, stage: &mut Stage, place: &str) -> Result<(), Failed> {
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
    fn longest(&self) -> Duration {
        2 * self.timing.explain().after_crash()
    }

    async fn frozen(&self, stage: &mut Stage, world: &World, candidates: &[Candidate; 3]) -> Result<(), Failed> {
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

    async fn hanging(&self, stage: &mut Stage, world: &World, server: &ApiServer) -> Result<(), Failed> {
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

    async fn handover(&self, stage: &mut Stage, world: &World, candidates: &mut [Candidate; 3]) -> Result<(), Failed> {
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

fn of<'c>(candidates: &'c [Candidate; 3], who: &str) -> Result<&'c Candidate, Failed> {
    let found = NAMES.iter().zip(candidates).find(|(name, _)| **name == who);
    Ok(found.ok_or("an unknown leader")?.1)
}

/// All terms, and what must be so of them.
fn summary(stage: &mut Stage, world: &World) {
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
    stage.check("nobody wrote between two writes of another term", apart, true);
    stage.check("each term has written", register.spans.len(), terms.len());
    stage.check("writes refused: the late one", register.refused, 1);
    let others: usize = terms.iter().map(|begun| begun.others).sum();
    stage.check("terms that were valid when another began", others, 0);
}
