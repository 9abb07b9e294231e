//! Real etcd processes, each cluster with its own ports and data; gone when it is dropped, also by a panic.

use std::{
    env,
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use relent_etcd::{ClusterHealth, EtcdCluster, Member, Members};

use super::around::{Around, Between, Judge, Running};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V34,
    V35,
}

impl Version {
    pub(crate) const BOTH: [Self; 2] = [Self::V34, Self::V35];

    fn binary(self) -> PathBuf {
        let (variable, version) = match self {
            Self::V34 => ("RELENT_ETCD_34", "etcd-3.4"),
            Self::V35 => ("RELENT_ETCD_35", "etcd-3.5"),
        };
        let path = env::var_os(variable).unwrap_or_else(|| {
            panic!("this test needs a real etcd, and {variable} is not set: run `eval \"$(tests/get-servers {version})\"` first")
        });
        PathBuf::from(path)
    }
}

/// Settings that one cluster has and others have not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// For the client port: certificate, key, and the authority that clients must be signed by.
    pub(crate) tls: Option<[PathBuf; 3]>,
    pub(crate) flags: Vec<String>,
    /// All members advertise the client URL of the first.
    pub(crate) shared_url: bool,
}

pub(crate) struct Server {
    version: Version,
    settings: Settings,
    folder: PathBuf,
    pub(crate) nodes: Vec<Node>,
    running: Running,
    judge: Judge,
}

pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) client: SocketAddr,
    pub(crate) peer: SocketAddr,
    data: PathBuf,
    arguments: Vec<String>,
    child: Option<Child>,
}

static NUMBER: AtomicU32 = AtomicU32::new(0);
static PORTS: AtomicU32 = AtomicU32::new(0);

/// Below those that the system gives to connections: a node that comes back must find its port free.
fn free_port() -> SocketAddr {
    loop {
        let number = PORTS.fetch_add(1, Ordering::Relaxed) + std::process::id().wrapping_mul(97);
        let port = 10_000 + u16::try_from(number % 20_000).unwrap();
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().unwrap();
        }
    }
}

impl Server {
    /// A new cluster of so many voters, healthy.
    pub(crate) async fn start(version: Version, voters: usize) -> Self {
        Self::start_with(version, voters, Settings::default()).await
    }

    pub(crate) async fn start_with(version: Version, voters: usize, settings: Settings) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("relent-etcd-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let running = Running::default();
        let judge = Judge { running: Some(Running::clone(&running)), ..Judge::default() };
        let mut server = Self { version, settings, folder, nodes: Vec::new(), running, judge };
        for number in 1..=voters {
            let node = server.node(&format!("n{number}"));
            server.nodes.push(node);
        }
        let all = server.nodes.iter().map(Node::initial).collect::<Vec<_>>().join(",");
        for at in 0..voters {
            server.nodes[at].arguments =
                vec!["--initial-cluster".into(), all.clone(), "--initial-cluster-state=new".into()];
            server.run(at);
        }
        if server.settings.tls.is_none() {
            server.healthy().await;
        }
        server
    }

    fn node(&self, name: &str) -> Node {
        let (client, peer) = (free_port(), free_port());
        let data = self.folder.join(format!("{name}-{}", peer.port()));
        Node { name: name.to_owned(), client, peer, data, arguments: Vec::new(), child: None }
    }

    /// A node to be: its URL can be added, and then it can be started.
    pub(crate) fn new_node(&mut self) -> usize {
        let name = format!("n{}", self.nodes.len() + 1);
        let node = self.node(&name);
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Starts a node that was added, with the members as they are now.
    pub(crate) async fn join(&mut self, at: usize) {
        let members = self.members().list().await.unwrap();
        let (peer_url, name) = (self.nodes[at].peer_url(), self.nodes[at].name.clone());
        let initial = members.iter().filter_map(|member| {
            let url = member.peer_urls.first()?;
            let known = if *url == peer_url { &name } else { &member.name };
            (!known.is_empty()).then(|| format!("{known}={url}"))
        });
        let all = initial.collect::<Vec<_>>().join(",");
        self.nodes[at].arguments = vec!["--initial-cluster".into(), all, "--initial-cluster-state=existing".into()];
        self.run(at);
    }

    /// Waits until a node that has joined has all that the leader has. Etcd ends where a member it asks has not heard of it yet:
    /// it is started again then, as its supervisor would.
    pub(crate) async fn caught_up(&mut self, at: usize) {
        let index = async |node: &Node| {
            let mut client = etcd_client::Client::connect([node.client_url()], None).await.ok()?;
            Some(client.status().await.ok()?.raft_applied_index())
        };
        let caught_up = async |nodes: &[Node]| {
            let (here, there) = (index(&nodes[0]).await?, index(&nodes[at]).await?);
            (there >= here).then_some(())
        };
        let start = Instant::now();
        while caught_up(&self.nodes).await.is_none() {
            if self.nodes[at].child.as_mut().is_some_and(|child| child.try_wait().is_ok_and(|status| status.is_some()))
            {
                self.wipe(at);
                self.run(at);
            }
            assert!(start.elapsed() < ms(30_000), "{} never caught up\n{}", self.nodes[at].name, self.logs());
            tokio::time::sleep(ms(20)).await;
        }
        // The leader hears of it with the next heartbeat.
        tokio::time::sleep(ms(100)).await;
    }

    /// Starts the process of a node, or starts it again.
    pub(crate) fn run(&mut self, at: usize) {
        let (version, settings) = (self.version, self.settings.clone());
        let shared = settings.shared_url.then(|| self.nodes[0].client_url());
        let node = &mut self.nodes[at];
        let log = File::options().create(true).append(true).open(node.data.with_extension("log")).unwrap();
        let scheme = if settings.tls.is_some() { "https" } else { "http" };
        let (client_url, peer_url) = (format!("{scheme}://{}", node.client), node.peer_url());
        let mut command = Command::new(version.binary());
        command
            .args(["--name", &node.name, "--data-dir"])
            .arg(&node.data)
            .args(["--listen-client-urls", &client_url])
            .args(["--advertise-client-urls", shared.as_ref().unwrap_or(&client_url)])
            .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
            .args(["--heartbeat-interval=50", "--election-timeout=500", "--logger=zap", "--log-level=error"])
            .args(&node.arguments)
            .args(&settings.flags)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        if let Some([certificate, key, authority]) = &settings.tls {
            command.arg("--cert-file").arg(certificate).arg("--key-file").arg(key).arg("--client-cert-auth");
            command.arg("--trusted-ca-file").arg(authority);
        }
        if version == Version::V35 {
            command.arg("--unsafe-no-fsync");
        }
        node.child = Some(command.spawn().unwrap_or_else(|error| panic!("{}: {error}", version.binary().display())));
        self.runs(at, true);
    }

    fn runs(&self, at: usize, runs: bool) {
        let (node, mut running) = (&self.nodes[at], self.running.lock().unwrap());
        if runs {
            running.insert(node.peer_url(), node.client_url());
        } else {
            running.remove(&node.peer_url());
        }
    }

    pub(crate) fn kill(&mut self, at: usize) {
        self.runs(at, false);
        if let Some(mut child) = self.nodes[at].child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Forgets what a node knew: it may join again as another.
    pub(crate) fn wipe(&mut self, at: usize) {
        self.kill(at);
        let _ = fs::remove_dir_all(&self.nodes[at].data);
    }

    pub(crate) fn freeze(&self, at: usize) {
        self.runs(at, false);
        self.signal(at, "-STOP");
    }

    pub(crate) fn thaw(&self, at: usize) {
        self.signal(at, "-CONT");
        self.runs(at, true);
    }

    fn signal(&self, at: usize, signal: &str) {
        if let Some(child) = &self.nodes[at].child {
            assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        }
    }

    /// A client of all nodes that run, without a proxy between.
    pub(crate) fn members(&self) -> Members<Around> {
        let running = self.nodes.iter().filter(|node| node.child.is_some());
        self.members_of(running.map(Node::client_url), ())
    }

    /// A client of these endpoints, with a test between; what it changes is judged and counted.
    pub(crate) fn members_of<B: Between>(
        &self,
        endpoints: impl IntoIterator<Item = String>,
        between: B,
    ) -> Members<Around<B>> {
        let cluster = EtcdCluster::new(endpoints, etcd_client::ConnectOptions::new()).unwrap();
        Members::new(Around::new(cluster, between, self.judge.clone())).unwrap()
    }

    pub(crate) fn is_running(&self, peer_url: &str) -> bool {
        self.running.lock().unwrap().contains_key(peer_url)
    }

    /// So many changes were sent by the clients of this cluster, every one in a state in which it leaves a quorum.
    pub(crate) fn judged(&self) -> u32 {
        self.judge.judged.load(Ordering::SeqCst)
    }

    pub(crate) async fn healthy(&self) -> ClusterHealth {
        let waited =
            self.members().wait_healthy().every(ms(50)).attempt_timeout(ms(1000)).finish_within(ms(60_000)).await;
        waited.unwrap_or_else(|gave_up| panic!("{gave_up}\n{}", self.logs()))
    }

    /// Where the leader runs.
    pub(crate) async fn leader(&self) -> usize {
        let health = self.healthy().await;
        let leader = health.members.iter().find(|member| member.id == health.leader).unwrap();
        self.nodes.iter().position(|node| node.name == leader.name).unwrap()
    }

    pub(crate) fn logs(&self) -> String {
        let tail = |path: &Path| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            lines[lines.len().saturating_sub(5)..].join("\n")
        };
        let mut text = String::new();
        for node in &self.nodes {
            text += &node.name;
            text += ":\n";
            text += &tail(&node.data.with_extension("log"));
            text += "\n";
        }
        text
    }
}

impl Node {
    pub(crate) fn client_url(&self) -> String {
        format!("http://{}", self.client)
    }

    pub(crate) fn peer_url(&self) -> String {
        format!("http://{}", self.peer)
    }

    fn initial(&self) -> String {
        format!("{}={}", self.name, self.peer_url())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if let Some(child) = &mut node.child {
                let _ = child.kill();
            }
        }
        for node in &mut self.nodes {
            if let Some(mut child) = node.child.take() {
                let _ = child.wait();
            }
        }
        let _ = fs::remove_dir_all(&self.folder);
        if cfg!(test) && self.judged() > 0 && !std::thread::panicking() {
            println!("{:?}: {} changes sent, each left a quorum", self.version, self.judged());
        }
    }
}

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// How many members have this URL, and which is the first of them.
pub(crate) fn with_url<'m>(members: &'m [Member], url: &str) -> (usize, Option<&'m Member>) {
    let mut having = members.iter().filter(|member| member.peer_urls.iter().any(|has| has == url));
    let first = having.next();
    (having.count() + usize::from(first.is_some()), first)
}

/// Tries until it holds; says what does not if it takes too long.
pub(crate) async fn eventually<T>(what: &str, mut holds: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = holds().await {
            return value;
        }
        assert!(start.elapsed() < ms(60_000), "never: {what}");
        tokio::time::sleep(ms(50)).await;
    }
}

/// Something that is tested beside others: etcd has many a pause that one can wait for together.
pub(crate) type Lane<T> = Box<dyn FnOnce() -> T + Send>;

pub(crate) fn lane<T, F: Future<Output = T>>(make: impl FnOnce() -> F + Send + 'static) -> Lane<T> {
    Box::new(|| tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(make()))
}

/// Each on a thread of its own.
pub(crate) fn abreast<T: Send + 'static>(lanes: Vec<Lane<T>>) -> Vec<T> {
    let threads: Vec<_> = lanes.into_iter().map(std::thread::spawn).collect();
    threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
}
