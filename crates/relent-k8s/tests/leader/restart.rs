//! An API server that is killed and starts again under three candidates and a wait, all of a user whose rights come from RBAC:
//! just started, a server refuses such a user for a moment. No candidate ends.
//!
//! On the server that `RELENT_KUBECONFIG` names, where `RELENT_KUBE_RESTART` is the command that restarts it
//! (`.ci/apiserver start` says both); on the API server inside this process the same in virtual time.

use std::{
    collections::BTreeMap,
    io::Write,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::api::{
    authentication::v1::TokenRequest,
    core::v1::{ConfigMap, ServiceAccount},
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api, Client, Config,
    api::PostParams,
    config::{AuthInfo, KubeConfigOptions, Kubeconfig},
};
use relent::leader::{ElectError, ElectionEvent, Ended, Timing, elect};
use relent_apiserver::{AccessRule, ApiServer};
use relent_k8s::{LeaseLock, wait};
use serde_json::json;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

const S: fn(u64) -> Duration = Duration::from_secs;
const MS: fn(u64) -> Duration = Duration::from_millis;
const NAMESPACE: &str = "default";
const RESTARTS: usize = 4;

/// Which one leads, by its own word, and how often one did.
#[derive(Clone, Default)]
struct Terms(Arc<Mutex<(Option<String>, u32)>>);

struct InOffice(Terms);

impl Terms {
    fn begin(&self, candidate: &str) -> InOffice {
        let mut terms = self.0.lock().unwrap();
        assert_eq!(terms.0, None, "{candidate} leads while another does");
        *terms = (Some(candidate.to_owned()), terms.1 + 1);
        InOffice(self.clone())
    }

    fn leader(&self) -> Option<String> {
        self.0.lock().unwrap().0.clone()
    }
}

impl Drop for InOffice {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().0 = None;
    }
}

/// A server, an administrator of it, and a user that may do just what candidates and a wait need.
struct World {
    admin: Client,
    bound: Client,
    restart: Restart,
}

enum Restart {
    Command(String),
    InProcess(ApiServer),
}

impl World {
    async fn restart(&self) {
        match &self.restart {
            Restart::Command(command) => {
                let status = Command::new("sh").args(["-c", command]).status().unwrap();
                assert!(status.success(), "{command}: {status}");
            }
            Restart::InProcess(server) => {
                server.restart(MS(1_500), MS(500));
                sleep(MS(2_000)).await;
            }
        }
    }

    /// Until the server answers its administrator again.
    async fn serves(&self) {
        let maps: Api<ConfigMap> = Api::namespaced(self.admin.clone(), NAMESPACE);
        let served = async {
            while !matches!(timeout(S(2), maps.list(&Default::default())).await, Ok(Ok(_))) {
                sleep(MS(50)).await;
            }
        };
        timeout(S(90), served).await.expect("the server serves again within 90 s");
    }
}

#[tokio::test(start_paused = true)]
async fn in_process() {
    let server = ApiServer::new();
    server.user("admin", "admin");
    server.user("bound", "bound");
    for resource in ["leases.coordination.k8s.io", "configmaps"] {
        server.rule(AccessRule::allow().user("bound").resource(resource).namespace(NAMESPACE));
    }
    server.rule(AccessRule::deny().user("bound"));
    let (admin, bound) = (server.client_with_token("admin"), server.client_with_token("bound"));
    no_candidate_ends(World { admin, bound, restart: Restart::InProcess(server) }, &name()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_real_server() {
    let [Ok(path), Ok(command)] = ["RELENT_KUBECONFIG", "RELENT_KUBE_RESTART"].map(std::env::var) else {
        let _ = writeln!(
            std::io::stderr(),
            "restart: NOT RUN on a real server: RELENT_KUBE_RESTART (.ci/apiserver) is not set"
        );
        return;
    };
    let file = Kubeconfig::read_from(path).expect("a kubeconfig");
    let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.expect("a cluster");
    config.default_retry = false;
    let admin = Client::try_from(config.clone()).expect("a client");
    let name = name();
    config.auth_info = AuthInfo { token: Some(bound_token(&admin, &name).await.into()), ..AuthInfo::default() };
    let bound = Client::try_from(config).expect("a client");
    no_candidate_ends(World { admin, bound, restart: Restart::Command(command) }, &name).await;
}

fn name() -> String {
    format!("relent-{:x}", crate::real_time::fastrand_name())
}

/// A service account with a role of its own, and a token for it.
async fn bound_token(admin: &Client, name: &str) -> String {
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), NAMESPACE);
    let metadata = json!({ "name": name });
    let account = serde_json::from_value(json!({ "metadata": metadata })).unwrap();
    accounts.create(&PostParams::default(), &account).await.unwrap();
    let role: Role = serde_json::from_value(json!({ "metadata": metadata, "rules": [
        { "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update", "watch"] },
        { "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"] },
    ]}))
    .unwrap();
    Api::namespaced(admin.clone(), NAMESPACE).create(&PostParams::default(), &role).await.unwrap();
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": metadata,
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name },
        "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": NAMESPACE }],
    }))
    .unwrap();
    Api::namespaced(admin.clone(), NAMESPACE).create(&PostParams::default(), &binding).await.unwrap();
    let request: TokenRequest = serde_json::from_value(json!({ "spec": { "audiences": [] } })).unwrap();
    let token = accounts.create_token_request(name, &PostParams::default(), &request).await.unwrap();
    token.status.unwrap().token.unwrap()
}

type Candidate = JoinHandle<Result<Ended<()>, ElectError>>;

fn candidate(world: &World, lease: &str, identity: String, terms: &Terms, token: &CancellationToken) -> Candidate {
    let lock = LeaseLock::new(world.bound.clone(), NAMESPACE, lease).unwrap();
    let timing = Timing::new(S(6), S(4), S(1)).unwrap();
    let (terms, token) = (terms.clone(), token.clone());
    tokio::spawn(async move {
        let told = identity.clone();
        let elect = elect(lock, identity.clone()).timing(timing).cancel_on(token).on_event(move |change| {
            if let ElectionEvent::Trouble(error) = change {
                say(&format!("{told}: {error}"));
            }
        });
        elect
            .again()
            .run(|term| {
                let _in_office = terms.begin(&identity);
                async move {
                    let _in_office = _in_office;
                    term.lost().await;
                }
            })
            .await
    })
}

/// What the user hears until `over`: which answers, how often, and for how long in all.
fn probe(world: &World, lease: &str, over: CancellationToken) -> JoinHandle<BTreeMap<String, (u32, Duration)>> {
    let leases: Api<k8s_openapi::api::coordination::v1::Lease> = Api::namespaced(world.bound.clone(), NAMESPACE);
    let lease = lease.to_owned();
    tokio::spawn(async move {
        let mut heard = BTreeMap::<_, (u32, Duration)>::new();
        while !over.is_cancelled() {
            let asked = Instant::now();
            let answer = match timeout(S(2), leases.get(&lease)).await {
                Ok(Ok(_)) => "200".to_owned(),
                Ok(Err(kube::Error::Api(status))) => status.code.to_string(),
                Ok(Err(_)) => "no connection".to_owned(),
                Err(_) => "no answer in 2s".to_owned(),
            };
            sleep(MS(10)).await;
            let (count, lasted) = heard.entry(answer).or_default();
            *count += 1;
            *lasted += asked.elapsed();
        }
        heard
    })
}

fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "restart: {line}");
}

async fn until_one_leads(terms: &Terms) -> String {
    let leads = async {
        loop {
            match terms.leader() {
                Some(leader) => break leader,
                None => sleep(MS(20)).await,
            }
        }
    };
    timeout(S(60), leads).await.expect("one of three leads within 60 s")
}

async fn no_candidate_ends(world: World, name: &str) {
    let (terms, token) = (Terms::default(), CancellationToken::new());
    let candidates: Vec<Candidate> =
        ["a", "b", "c"].iter().map(|who| candidate(&world, name, format!("{who}-{name}"), &terms, &token)).collect();
    let maps: Api<ConfigMap> = Api::namespaced(world.bound.clone(), NAMESPACE);
    let waited = {
        let name = name.to_owned();
        tokio::spawn(
            async move { wait(maps, &name, |map: Option<&ConfigMap>| map.is_some()).finish_within(S(600)).await },
        )
    };
    until_one_leads(&terms).await;
    for round in 1..=RESTARTS {
        let (began, over) = (Instant::now(), CancellationToken::new());
        let probe = probe(&world, name, over.clone());
        world.restart().await;
        world.serves().await;
        // A lease and more: a term that did not outlive the restart has been followed by another.
        sleep(S(8)).await;
        over.cancel();
        let leader = until_one_leads(&terms).await;
        let heard = probe.await.unwrap();
        say(&format!("round {round}: the user heard {heard:.2?}; {leader} leads after {:.1?}", began.elapsed()));
        for candidate in &candidates {
            assert!(!candidate.is_finished(), "a campaign has ended in round {round}");
        }
        assert!(!waited.is_finished(), "the wait has ended in round {round}: {:?}", waited.await.unwrap().err());
        if let Restart::InProcess(server) = &world.restart {
            server.lift_faults();
        }
    }
    let map = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
    Api::<ConfigMap>::namespaced(world.admin.clone(), NAMESPACE).create(&PostParams::default(), &map).await.unwrap();
    let seen =
        timeout(S(60), waited).await.expect("the map is seen").unwrap().unwrap_or_else(|error| panic!("{error}"));
    assert!(seen.is_some_and(|map| map.metadata.name.as_deref() == Some(name)));
    token.cancel();
    for candidate in candidates {
        let ended = candidate.await.unwrap().unwrap_or_else(|error| panic!("{error}"));
        assert!(matches!(ended, Ended::Cancelled { .. }), "{ended:?}");
    }
    say(&format!("{RESTARTS} restarts, {} terms; none ended", terms.0.lock().unwrap().1));
}
