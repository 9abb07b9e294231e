//! Candidates in Go, on client-go's own elector, and ours contend for one Lease: on the API server inside this process and,
//! where `RELENT_KUBECONFIG` names one, on a real one.
//!
//! `RELENT_CLIENT_GO` names the program; `.ci/client-go build` makes it of `main.go`.
//!
//! The leader holds the chair, a locked file. The kernel lets go of it when its holder dies, and tells at once when two
//! want it.

mod world;

use std::{
    fs::File,
    io::Write,
    time::{Duration, Instant, SystemTime},
};

use relent::{
    leader::{Ended, Loss, Timing, elect, watch},
    testing::proxy::Wire,
};
use relent_k8s::LeaseLock;
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

use self::world::{Go, Ours, World};

const S: fn(u64) -> Duration = Duration::from_secs;
/// Long enough for a busy machine, short enough to wait for.
const LEASE: Duration = Duration::from_secs(6);
const RENEW: Duration = Duration::from_secs(4);
const RETRY: Duration = Duration::from_secs(1);
/// For what must come, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(90);

fn timing() -> Timing {
    Timing::new(LEASE, RENEW, RETRY).unwrap()
}

/// Go leads and dies; ours takes over and releases; Go takes over and releases; ours takes over.
async fn a_crash_and_two_releases(world: World) {
    let elect = |who: &str| elect(world.lock(&world.client), who).timing(timing());
    let mut first = Go::start(&world, "go-1");
    first.says("leading").await;
    let mut ours = Ours::start(elect("rust-1"), world.chair());
    ours.sees("go-1").await;
    let followed = watch(world.lock(&world.client)).next().await.unwrap();
    assert_eq!(followed.holder.as_deref(), Some("go-1"));
    ours.only_follows_for(LEASE + S(1)).await;

    first.process.kill().await.unwrap();
    let killed = Instant::now();
    let (holder, transitions, version, renewed) = world.record().await;
    assert_eq!((holder.as_str(), transitions), ("go-1", 0));
    let (fence, led) = ours.leads().await;
    assert!(SystemTime::now() >= renewed + LEASE, "a lease has to pass since the last renewal");
    let (bound, waited) = (timing().explain().after_crash() + S(10), led - killed);
    assert!(waited <= bound, "{waited:?} of {bound:?}");
    let (holder, transitions, now, _) = world.record().await;
    assert_eq!((holder.as_str(), transitions), ("rust-1", 1));
    assert!(fence > version && fence <= now, "{version} {fence} {now}");

    let mut second = Go::start(&world, "go-2");
    second.says("leader rust-1").await;
    second.only_follows_for(LEASE + S(1)).await;
    ours.stop().await;
    let released = Instant::now();
    let waited = second.says("leading").await.saturating_duration_since(released);
    assert!(waited < LEASE, "after a release it asks for no lease: {waited:?}");
    let (holder, transitions, _, _) = world.record().await;
    assert_eq!((holder.as_str(), transitions), ("go-2", 2));

    // It looks by itself after 8 s at the earliest, and the lease lasts 6 s: what is quicker was announced.
    let slow = Timing::new(S(30), S(20), S(8)).unwrap();
    let mut ours = Ours::start(elect("rust-2").timing(slow), world.chair());
    ours.sees("go-2").await;
    second.is_told_to_end(&world).await;
    let lost = second.says("lost").await;
    let (later, led) = ours.leads().await;
    let waited = led.saturating_duration_since(lost);
    assert!(waited < LEASE / 2, "{waited:?}; its log:\n{}", second.log());
    assert!(later > fence);
    let (holder, transitions, _, _) = world.record().await;
    assert_eq!((holder.as_str(), transitions), ("rust-2", 3));
    second.exits().await;
    ours.stop().await;
    let _ = writeln!(std::io::stderr(), "client-go: ours led {waited:?} after Go's last word");
    world.clean_up().await;
}

/// Ours leads and cannot reach the server any more: its term ends first, then Go leads; and ours again after Go's release.
async fn ours_is_cut_off(world: World) {
    let (client, proxy) = world.through_proxy().await;
    let campaign = elect(world.lock(&client), "rust-1").timing(timing()).lead_on_create();
    let mut ours = Ours::start(campaign, world.chair());
    let (fence, _) = ours.leads().await;
    let mut go = Go::start(&world, "go-1");
    go.says("leader rust-1").await;
    go.only_follows_for(LEASE + S(1)).await;

    proxy.set(Wire::Blackhole);
    let cut = Instant::now();
    let leads = go.says("leading").await;
    let ended = timeout(PATIENCE, ours.task).await.expect("it ends").unwrap().unwrap();
    let Ended::Lost { why: Loss::Deadline { .. }, finished: Some(lost) } = ended else { panic!("{ended:?}") };
    assert!(lost < leads, "{:?} before the end", lost - leads);
    let taken = File::open(world.chair()).unwrap().try_lock();
    assert!(matches!(taken, Err(std::fs::TryLockError::WouldBlock)), "the chair tells nothing: {taken:?}");
    assert!(leads - cut >= LEASE - RENEW, "{:?}", leads - cut);
    let (holder, transitions, _, _) = world.record().await;
    assert_eq!((holder.as_str(), transitions), ("go-1", 1));

    proxy.set(Wire::Pass);
    let mut ours = Ours::start(elect(world.lock(&client), "rust-1").timing(timing()), world.chair());
    ours.sees("go-1").await;
    ours.only_follows_for(LEASE + S(1)).await;
    go.signal("-TERM").await;
    let (later, _) = ours.leads().await;
    assert!(later > fence);
    assert_eq!(world.record().await.1, 2);
    go.exits().await;
    ours.stop().await;
    world.clean_up().await;
}

/// The process of our leader stands still: Go leads after a lease. Once it goes on, the first look says
/// that the term is over, and the work is dropped.
async fn ours_is_frozen(world: World) {
    let (lead, led) = oneshot::channel();
    let (freeze, frozen) = std::sync::mpsc::channel::<()>();
    let (thaw, thawed) = std::sync::mpsc::channel::<()>();
    let (say, said) = oneshot::channel();
    let (config, name) = (world.config.clone(), world.name.clone());
    let ours = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let lock = LeaseLock::new(relent_k8s::client(config).unwrap(), "default", name).unwrap();
            let campaign = elect(lock, "rust-1").timing(timing()).lead_on_create();
            let run = campaign.run(|term| async move {
                lead.send(term.fence()).unwrap();
                while frozen.try_recv().is_err() {
                    sleep(Duration::from_millis(20)).await;
                }
                // Nothing else on this thread runs either.
                thawed.recv().unwrap();
                say.send((term.valid_for(), term.guard(async {}).await)).unwrap();
                std::future::pending::<()>().await;
            });
            timeout(PATIENCE * 3, run).await.expect("it ends").unwrap()
        })
    });
    let fence = timeout(PATIENCE, led).await.expect("it leads in time").expect("it leads");
    let mut go = Go::start(&world, "go-1");
    go.says("leader rust-1").await;
    go.only_follows_for(LEASE + S(1)).await;

    freeze.send(()).unwrap();
    go.says("leading").await;
    let taken = world.record().await;
    assert_eq!((taken.0.as_str(), taken.1), ("go-1", 1));
    assert!(taken.2 > fence);
    thaw.send(()).unwrap();
    let ended = tokio::task::spawn_blocking(|| ours.join().unwrap()).await.unwrap();
    assert!(matches!(ended, Ended::Lost { finished: None, .. }), "the work is dropped: {ended:?}");
    assert_eq!(said.await.unwrap(), (Duration::ZERO, None));
    // It neither renewed nor released what is Go's.
    go.leads_on_for(&world, RETRY * 3).await;
    go.signal("-TERM").await;
    go.exits().await;
    world.clean_up().await;
}

/// Go's process stands still: ours leads after a lease, and goes on when Go does. Between waking and looking Go's elector
/// believes that it leads; the fence is what keeps it out then, so it sits on a chair of its own here.
async fn go_is_frozen(world: World) {
    let mut go = Go::start_on(&world, "go-1", &world.folder.join("other"));
    go.says("leading").await;
    let mut ours = Ours::start(elect(world.lock(&world.client), "rust-1").timing(timing()), world.chair());
    ours.sees("go-1").await;
    go.signal("-STOP").await;
    let (_, _, version, renewed) = world.record().await;
    let (fence, _) = ours.leads().await;
    assert!(SystemTime::now() >= renewed + LEASE, "a lease has to pass since the last renewal");
    assert!(fence > version);

    go.signal("-CONT").await;
    go.says("lost").await;
    go.exits().await;
    let (holder, transitions, _, _) = world.record().await;
    assert_eq!((holder.as_str(), transitions), ("rust-1", 1));
    ours.stop().await;
    world.clean_up().await;
}

macro_rules! scenes {
    ($($scene:ident: $ours:ident $real:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $ours() {
            if let Some(world) = World::ours().await {
                $scene(world).await;
            }
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn $real() {
            if let Some(world) = World::real().await {
                $scene(world).await;
            }
        }
    )*};
}

scenes! {
    a_crash_and_two_releases: releases_on_ours releases_on_real;
    ours_is_cut_off: cut_off_on_ours cut_off_on_real;
    ours_is_frozen: frozen_on_ours frozen_on_real;
    go_is_frozen: go_frozen_on_ours go_frozen_on_real;
}
