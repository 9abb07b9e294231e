//! Candidates in Go, on client-go's own elector, and ours contend for one Lease: on the API server inside this process and,
//! where `RELENT_KUBECONFIG` names one, on a real one.
//!
//! `RELENT_CLIENT_GO` names the program; `.ci/client-go build` makes it of `client-go/main.go`.
//!
//! Who leads holds the chair, a locked file. The kernel lets go of it when its holder dies, and tells at once when two want it.

use std::{
    fs::File,
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant, SystemTime},
};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use relent::{
    k8s::LeaseLock,
    leader::{Change, Elect, ElectError, Ended, Loss, Timing, elect, watch},
    testing::{
        kube::{ApiServer, Listening},
        proxy::{Proxy, Wire},
    },
};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{sleep, timeout},
};

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

/// One Lease on one server, and the chair.
struct World {
    /// Unique: of the Lease and of the folder.
    name: String,
    folder: PathBuf,
    program: PathBuf,
    kubeconfig: PathBuf,
    config: Config,
    client: Client,
    _port: Option<Listening>,
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Never silently.
fn not_run(where_: &str, missing: &str) -> Option<World> {
    let _ = writeln!(std::io::stderr(), "client-go: NOT RUN {where_}: {missing} is not set");
    None
}

impl World {
    async fn ours() -> Option<Self> {
        let Some(program) = variable("RELENT_CLIENT_GO") else {
            return not_run("on the in-process server", "RELENT_CLIENT_GO (.ci/client-go build)");
        };
        let port = ApiServer::new().listen().await.unwrap();
        let text = port.kubeconfig();
        Some(
            Self::new(program, Some(port), |folder| {
                let path = folder.join("kubeconfig");
                std::fs::write(&path, text).unwrap();
                path
            })
            .await,
        )
    }

    async fn real() -> Option<Self> {
        let Some(program) = variable("RELENT_CLIENT_GO") else {
            return not_run("on a real server", "RELENT_CLIENT_GO (.ci/client-go build)");
        };
        let Some(path) = variable("RELENT_KUBECONFIG") else {
            return not_run("on a real server", "RELENT_KUBECONFIG");
        };
        Some(Self::new(program, None, |_| path).await)
    }

    async fn new(program: PathBuf, port: Option<Listening>, kubeconfig: impl FnOnce(&Path) -> PathBuf) -> Self {
        let name = format!("relent-go-{:x}", super::lease::fastrand_name());
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir(&folder).unwrap();
        let kubeconfig = kubeconfig(&folder);
        let read = Kubeconfig::read_from(&kubeconfig).expect("a kubeconfig");
        let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.expect("a cluster");
        let client = relent::k8s::client(config.clone()).expect("a client");
        Self { name, folder, program, kubeconfig, config, client, _port: port }
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// The holder, how often it changed, the resourceVersion, and when it was renewed.
    async fn record(&self) -> (String, i32, u128, SystemTime) {
        let lease = self.leases().get(&self.name).await.unwrap();
        let spec = lease.spec.unwrap();
        (
            spec.holder_identity.unwrap_or_default(),
            spec.lease_transitions.unwrap_or(0),
            lease.metadata.resource_version.unwrap().parse().unwrap(),
            spec.renew_time.unwrap().0.into(),
        )
    }

    fn lock(&self, client: &Client) -> LeaseLock {
        LeaseLock::new(client.clone(), "default", &self.name).unwrap()
    }

    fn chair(&self) -> PathBuf {
        self.folder.join("chair")
    }

    /// The same server, through a proxy.
    async fn through_proxy(&self) -> (Client, Proxy) {
        let mut config = self.config.clone();
        let (host, tls) =
            (config.cluster_url.host().unwrap().to_owned(), config.cluster_url.scheme_str() == Some("https"));
        let port = config.cluster_url.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let bare = host.trim_matches(['[', ']']);
        let server: SocketAddr = tokio::net::lookup_host((bare, port)).await.unwrap().next().expect("an address");
        let proxy = Proxy::start(server).await.unwrap();
        if tls {
            config.tls_server_name.get_or_insert_with(|| bare.to_owned());
        }
        let scheme = if tls { "https" } else { "http" };
        config.cluster_url = format!("{scheme}://{}", proxy.address()).parse().unwrap();
        (relent::k8s::client(config).unwrap(), proxy)
    }

    async fn clean_up(self) {
        self.leases().delete(&self.name, &Default::default()).await.unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A candidate in Go, in its own process.
struct Go {
    identity: String,
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl Go {
    fn start(world: &World, identity: &str) -> Self {
        Self::start_on(world, identity, &world.chair())
    }

    fn start_on(world: &World, identity: &str, chair: &Path) -> Self {
        let log = world.folder.join(format!("{identity}.log"));
        let mut command = Command::new(&world.program);
        command.arg("--kubeconfig").arg(&world.kubeconfig).arg("--chair").arg(chair);
        command.args(["--name", &world.name, "--identity", identity]);
        for (flag, value) in [("--lease", LEASE), ("--renew", RENEW), ("--retry", RETRY)] {
            command.args([flag, &format!("{}ms", value.as_millis())]);
        }
        command.kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", world.program.display()));
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { identity: identity.to_owned(), process, lines, log }
    }

    /// Waits until it says that, and passes over all else.
    async fn says(&mut self, wanted: &str) -> Instant {
        let mut said = Vec::new();
        loop {
            let line = timeout(PATIENCE, self.lines.next_line()).await.map(Result::unwrap);
            match line {
                Ok(Some(line)) if line == wanted => return Instant::now(),
                Ok(Some(line)) if line != "two leaders" => said.push(line),
                other => panic!(
                    "{}: {other:?} instead of {wanted:?} after {said:?}; its log:\n{}",
                    self.identity,
                    self.log()
                ),
            }
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it goes on for so long without leading.
    async fn only_follows_for(&mut self, time: Duration) {
        if let Ok(line) = timeout(time, self.says("leading")).await {
            panic!("{} leads: {line:?}", self.identity);
        }
    }

    /// It leads on: the Lease stays its own, and it does not say that it lost it.
    async fn leads_on_for(&mut self, world: &World, time: Duration) {
        if let Ok(line) = timeout(time, self.says("lost")).await {
            panic!("{} has lost: {line:?}", self.identity);
        }
        let (holder, transitions, _, _) = world.record().await;
        assert_eq!((holder.as_str(), transitions), (self.identity.as_str(), 1));
    }

    async fn signal(&self, signal: &str) {
        let id = self.process.id().expect("it runs").to_string();
        assert!(Command::new("kill").args([signal, &id]).status().await.unwrap().success());
    }

    /// Tells it to end, between two renewals: one that is cut off by the end keeps client-go from releasing.
    async fn is_told_to_end(&self, world: &World) {
        let before = world.record().await.3;
        let renewed = async {
            while world.record().await.3 == before {
                sleep(RETRY / 20).await;
            }
        };
        timeout(PATIENCE, renewed).await.expect("a renewal");
        sleep(RETRY / 5).await;
        self.signal("-TERM").await;
    }

    async fn exits(mut self) {
        self.says("over").await;
        assert!(timeout(PATIENCE, self.process.wait()).await.unwrap().unwrap().success());
    }
}

/// One of our candidates; its work ends when it has to, or when it is stopped.
struct Ours {
    led: oneshot::Receiver<u128>,
    stop: Option<oneshot::Sender<()>>,
    sees: mpsc::UnboundedReceiver<String>,
    task: JoinHandle<Result<Ended<Instant>, ElectError>>,
}

impl Ours {
    fn start(elect: Elect<LeaseLock>, chair: PathBuf) -> Self {
        let (lead, led) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let (see, sees) = mpsc::unbounded_channel();
        let elect = elect.on_change(move |change| {
            if let Change::Holder(Some(holder)) = change {
                let _ = see.send(holder.clone());
            }
        });
        let run = elect.run(move |term| async move {
            let held = File::create(chair).unwrap();
            held.try_lock().expect("two leaders");
            let _ = lead.send(term.fence());
            tokio::select! {
                () = term.lost() => {}
                _ = stopped => {}
            }
            drop(held);
            Instant::now()
        });
        Self { led, stop: Some(stop), sees, task: tokio::spawn(run) }
    }

    /// Waits until it leads: its fence, and when that was known.
    async fn leads(&mut self) -> (u128, Instant) {
        let fence = timeout(PATIENCE, &mut self.led).await.expect("it leads in time").expect("it leads");
        (fence, Instant::now())
    }

    async fn only_follows_for(&mut self, time: Duration) {
        let led = timeout(time, &mut self.led).await;
        assert!(led.is_err(), "it leads: {led:?}");
    }

    async fn sees(&mut self, holder: &str) {
        while timeout(PATIENCE, self.sees.recv()).await.expect("it sees the holder").expect("it goes on") != holder {}
    }

    /// Ends its work, and waits until it has released.
    async fn stop(mut self) {
        let _ = self.stop.take().unwrap().send(());
        let ended = timeout(PATIENCE, self.task).await.expect("it ends").unwrap().unwrap();
        assert!(matches!(ended, Ended::Finished(_)), "{ended:?}");
    }
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
            let lock = LeaseLock::new(relent::k8s::client(config).unwrap(), "default", name).unwrap();
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
