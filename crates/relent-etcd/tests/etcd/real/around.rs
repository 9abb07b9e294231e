//! A client's calls on their way to real etcd: a test can hold or trouble them, and every change is judged before it is sent.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use relent_etcd::{CallError, Cluster, EtcdCluster, Member, MemberStatus};

/// Which call is about to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Barrier,
    List,
    Change,
}

/// What a test does to calls before they are sent.
pub(crate) trait Between: Send + Sync + 'static {
    /// Kept until the call has ended, or was dropped.
    type Held: Send;

    fn before(&self, call: Call, endpoint: &str) -> impl Future<Output = Self::Held> + Send;

    /// Whether a list is made of a read and a list that may be old, as before 3.5.
    const SPLIT: bool = false;

    /// Whether the call goes over a new connection.
    fn fresh(_: &Self::Held) -> bool {
        false
    }
}

/// Nothing.
impl Between for () {
    type Held = ();

    async fn before(&self, _: Call, _: &str) {}
}

/// The processes that run: their client URLs by their peer URLs.
pub(crate) type Running = Arc<Mutex<HashMap<String, String>>>;

/// Whether changes leave a quorum: counted, and a panic where one does not.
#[derive(Clone, Default)]
pub(crate) struct Judge {
    /// What is known of the processes; otherwise every member that has started is taken to run.
    pub(crate) running: Option<Running>,
    pub(crate) judged: Arc<AtomicU32>,
}

#[derive(Clone, Copy)]
enum Change<'a> {
    Add(&'a [String], bool),
    Promote(u64),
    Remove(u64),
}

/// Etcd, with a test between.
pub(crate) struct Around<B = ()> {
    inner: EtcdCluster,
    between: B,
    /// Where the judge asks: not through what the test does.
    direct: Option<EtcdCluster>,
    judge: Judge,
    listed: Mutex<Vec<Member>>,
}

impl<B> Around<B> {
    pub(crate) fn new(inner: EtcdCluster, between: B, judge: Judge) -> Self {
        let running = judge.running.as_ref().map(|running| running.lock().unwrap().values().cloned().collect());
        let direct = running.filter(|urls: &Vec<String>| !urls.is_empty());
        let direct = direct.map(|urls| EtcdCluster::new(urls, etcd_client::ConnectOptions::new()).unwrap());
        Self { inner, between, direct, judge, listed: Mutex::default() }
    }

    /// The members as they are now; as this client last had them where none answers at once.
    async fn members(&self) -> Vec<Member> {
        let cluster = self.direct.as_ref().unwrap_or(&self.inner);
        let runs = |url: &String| {
            self.judge.running.as_ref().is_none_or(|map| map.lock().unwrap().values().any(|has| has == url))
        };
        for endpoint in cluster.endpoints().iter().filter(|url| runs(url)) {
            let list = cluster.agreed_members(endpoint);
            if let Ok(Ok(Some(members))) = tokio::time::timeout(Duration::from_millis(200), list).await {
                return members;
            }
        }
        self.listed.lock().unwrap().clone()
    }

    /// The rule, read literally: more than half of those that may vote afterwards run.
    async fn judge(&self, change: Change<'_>) {
        let members = self.members().await;
        let runs = |member: &Member| match &self.judge.running {
            Some(map) => member.peer_urls.iter().any(|url| map.lock().unwrap().contains_key(url)),
            None => member.started(),
        };
        let mut voters: Vec<bool> = Vec::new();
        for member in &members {
            match change {
                Change::Remove(id) if member.id == id => {}
                Change::Promote(id) if member.id == id => voters.push(runs(member)),
                _ if !member.learner => voters.push(runs(member)),
                _ => {}
            }
        }
        match change {
            Change::Add(urls, false) if !members.iter().any(|member| member.peer_urls == urls) => voters.push(false),
            _ => {}
        }
        let able = voters.iter().filter(|runs| **runs).count();
        let what = match change {
            Change::Add(urls, learner) => format!("add {urls:?}, learner {learner}"),
            Change::Promote(id) => format!("promote {id:x}"),
            Change::Remove(id) => format!("remove {id:x}"),
        };
        assert!(able * 2 > voters.len(), "{what}: {able} of {} voters would run: {members:?}", voters.len());
        self.judge.judged.fetch_add(1, Ordering::SeqCst);
    }
}

impl<B: Between> Around<B> {
    async fn before(&self, call: Call, endpoint: &str) -> (B::Held, Option<EtcdCluster>) {
        let held = self.between.before(call, endpoint).await;
        let fresh = B::fresh(&held).then(|| EtcdCluster::new([endpoint], etcd_client::ConnectOptions::new()).unwrap());
        (held, fresh)
    }
}

impl<B: Between> Cluster for Around<B> {
    fn endpoints(&self) -> &[String] {
        self.inner.endpoints()
    }

    async fn agreed_members(&self, endpoint: &str) -> Result<Option<Vec<Member>>, CallError> {
        if B::SPLIT {
            return Ok(None);
        }
        let (_held, fresh) = self.before(Call::Barrier, endpoint).await;
        let members = fresh.as_ref().unwrap_or(&self.inner).agreed_members(endpoint).await?;
        if let Some(members) = &members {
            self.listed.lock().unwrap().clone_from(members);
        }
        Ok(members)
    }

    async fn barrier(&self, endpoint: &str) -> Result<(), CallError> {
        let (_held, fresh) = self.before(Call::Barrier, endpoint).await;
        fresh.as_ref().unwrap_or(&self.inner).barrier(endpoint).await
    }

    async fn local_members(&self, endpoint: &str) -> Result<Vec<Member>, CallError> {
        let (_held, fresh) = self.before(Call::List, endpoint).await;
        let members = fresh.as_ref().unwrap_or(&self.inner).local_members(endpoint).await?;
        self.listed.lock().unwrap().clone_from(&members);
        Ok(members)
    }

    async fn add(&self, endpoint: &str, peer_urls: &[String], learner: bool) -> Result<u64, CallError> {
        self.judge(Change::Add(peer_urls, learner)).await;
        let (_held, fresh) = self.before(Call::Change, endpoint).await;
        fresh.as_ref().unwrap_or(&self.inner).add(endpoint, peer_urls, learner).await
    }

    async fn promote(&self, endpoint: &str, id: u64) -> Result<(), CallError> {
        self.judge(Change::Promote(id)).await;
        let (_held, fresh) = self.before(Call::Change, endpoint).await;
        fresh.as_ref().unwrap_or(&self.inner).promote(endpoint, id).await
    }

    async fn remove(&self, endpoint: &str, id: u64) -> Result<(), CallError> {
        self.judge(Change::Remove(id)).await;
        let (_held, fresh) = self.before(Call::Change, endpoint).await;
        fresh.as_ref().unwrap_or(&self.inner).remove(endpoint, id).await
    }

    async fn status(&self, endpoint: &str) -> Result<MemberStatus, CallError> {
        self.inner.status(endpoint).await
    }

    async fn status_anew(&self, endpoint: &str) -> Result<MemberStatus, CallError> {
        self.inner.status_anew(endpoint).await
    }
}
