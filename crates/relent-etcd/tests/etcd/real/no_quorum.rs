//! The model beside real etcd, both without a quorum: what is refused at once, late, or not answered at all.

use std::{collections::BTreeMap, time::Duration};

use relent_etcd::model::{Model, Release};
use relent_etcd::{CallError, Cluster, Code, EtcdCluster};
use tokio::time::{Instant, timeout};

use super::server::{Server, Version, abreast, eventually, lane, ms};

const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    AtOnce,
    /// After etcd's own time for a request: 5 s and two elections.
    Late,
    Never,
}

type Answers = BTreeMap<&'static str, (When, Option<(Code, String)>)>;

/// The members of a cluster of four voters, of which one runs and one never started, and a learner that runs.
struct Ids {
    running: u64,
    dead: u64,
    unstarted: u64,
    learner: u64,
}

async fn answers(cluster: &impl Cluster, at: &str, ids: &Ids) -> Answers {
    async fn answer<T>(call: impl Future<Output = Result<T, CallError>>) -> (When, Option<(Code, String)>) {
        let begin = Instant::now();
        let Ok(answer) = timeout(DEADLINE, call).await else { return (When::Never, None) };
        let error = answer.err().expect("nothing can be changed");
        let CallError::Answered { code, message } = error else { panic!("{error}") };
        let when = match begin.elapsed() {
            passed if passed < ms(1500) => When::AtOnce,
            passed if passed > ms(5000) => When::Late,
            passed => panic!("{message} after {passed:?}"),
        };
        (when, Some((code, message)))
    }
    let urls = |port: u16| [format!("http://127.0.0.1:{port}")];
    let (voter, learner) = (urls(31), urls(32));
    let (add_voter, add_learner, running, dead, unstarted, unknown, gone_learner, promote) = tokio::join!(
        answer(cluster.add(at, &voter, false)),
        answer(cluster.add(at, &learner, true)),
        answer(cluster.remove(at, ids.running)),
        answer(cluster.remove(at, ids.dead)),
        answer(cluster.remove(at, ids.unstarted)),
        answer(cluster.remove(at, 77)),
        answer(cluster.remove(at, ids.learner)),
        answer(cluster.promote(at, ids.learner)),
    );
    [
        ("add a voter", add_voter),
        ("add a learner", add_learner),
        ("remove the one that runs", running),
        ("remove a dead one", dead),
        ("remove one that never started", unstarted),
        ("remove one that is unknown", unknown),
        ("remove the learner", gone_learner),
        ("promote the learner", promote),
    ]
    .into()
}

async fn of_etcd(version: Version) -> Answers {
    let mut server = Server::start(version, 3).await;
    let members = server.members();
    let at = server.new_node();
    let learner_url = server.nodes[at].peer_url();
    members.ensure_learner([&learner_url]).unwrap().every(ms(100)).await.unwrap();
    server.join(at).await;
    server.caught_up(at).await;
    let cluster = EtcdCluster::new([server.nodes[0].client_url()], etcd_client::ConnectOptions::new()).unwrap();
    let endpoint = cluster.endpoints()[0].clone();
    let new = ["http://127.0.0.1:9".to_owned()];
    let unstarted = eventually("settled", async || cluster.add(&endpoint, &new, false).await.ok()).await;
    let listed = members.list().await.unwrap();
    let id = |url: String| listed.iter().find(|member| member.peer_urls.contains(&url)).unwrap().id;
    let ids = Ids {
        running: id(server.nodes[0].peer_url()),
        dead: id(server.nodes[1].peer_url()),
        unstarted,
        learner: id(learner_url),
    };
    server.kill(1);
    server.kill(2);
    // Until the others are seen to be gone, and the leader has given up.
    tokio::time::sleep(ms(3000)).await;
    Box::pin(answers(&cluster, &endpoint, &ids)).await
}

/// In virtual time.
fn of_the_model(release: Release) -> Answers {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let model = Model::new(3);
        model.release(release);
        let (cluster, at) = (model.client(), "http://etcd-1:2379");
        let learner = cluster.add(at, &["http://etcd-4:2380".to_owned()], true).await.unwrap();
        model.start("http://etcd-4:2380");
        tokio::time::sleep(ms(6000)).await;
        let unstarted = cluster.add(at, &["http://etcd-5:2380".to_owned()], false).await.unwrap();
        model.stop("http://etcd-2:2380");
        model.stop("http://etcd-3:2380");
        tokio::time::sleep(ms(3000)).await;
        answers(&cluster, at, &Ids { running: 1, dead: 2, unstarted, learner }).await
    })
}

#[test]
fn the_model_answers_as_etcd_does() {
    let both = [(Version::V34, Release::V3_4), (Version::V35, Release::V3_5)];
    let etcds = abreast(both.map(|(version, _)| lane(move || of_etcd(version))).into());
    for ((version, release), etcd) in both.into_iter().zip(etcds) {
        println!("{version:?}: {etcd:#?}");
        assert_eq!(of_the_model(release), etcd, "{version:?}");
    }
}
