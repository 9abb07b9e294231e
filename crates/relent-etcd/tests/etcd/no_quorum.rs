//! The model without a quorum, and with a part of the voters: what etcd answers at once, late, or never.

use std::time::Duration;

use relent_etcd::model::{Model, ModelCall, ModelClient, Release};
use relent_etcd::{CallError, Cluster, Code, Member};
use tokio::time::{Instant, sleep, timeout};

const S: Duration = Duration::from_secs(1);
const AT: &str = "http://etcd-1:2379";
const NEW: &str = "http://etcd-9:2380";

fn urls(number: u32) -> [String; 1] {
    [format!("http://etcd-{number}:2380")]
}

/// The answer, and after how many seconds; `None` if there is none within a minute.
async fn answer<T>(call: impl Future<Output = Result<T, CallError>>) -> Option<(String, Code, u64)> {
    let begin = Instant::now();
    let error = timeout(60 * S, call).await.ok()?.err().expect("it was carried out");
    let CallError::Answered { code, message } = &error else { panic!("{error}") };
    assert!(!error.in_doubt(), "{error}");
    Some((message.trim_start_matches("etcdserver: ").to_owned(), *code, begin.elapsed().as_secs()))
}

fn at_once(message: &str, code: Code) -> (String, Code, u64) {
    (message.to_owned(), code, 0)
}

/// Three voters, of which one runs; a learner that runs, and a member that never started.
async fn without_quorum(release: Release, voter_unstarted: bool) -> (Model, ModelClient, u64, Member) {
    let model = Model::new(3);
    model.release(release);
    model.max_learners(2);
    let client = model.client_of([AT]);
    let learner = client.add(AT, &urls(4), true).await.unwrap();
    model.start("http://etcd-4:2380");
    sleep(10 * S).await;
    client.add(AT, &[NEW.to_owned()], !voter_unstarted).await.unwrap();
    let unstarted = model.members().into_iter().find(|member| !member.started()).unwrap();
    sleep(10 * S).await;
    model.stop("http://etcd-2:2380");
    model.stop("http://etcd-3:2380");
    sleep(10 * S).await;
    assert!(!model.has_quorum());
    (model, client, learner, unstarted)
}

#[tokio::test(start_paused = true)]
async fn without_a_quorum() {
    for (release, voter) in [(Release::V3_4, false), (Release::V3_5, true), (Release::V3_6, false)] {
        let (model, client, learner, unstarted) = without_quorum(release, voter).await;
        let told = format!("{release:?}, the one that never started is a voter: {voter}");
        let unhealthy = Some(at_once("unhealthy cluster", Code::Unavailable));
        let not_enough = Some(at_once("re-configuration failed due to not enough started members", Code::Unknown));
        // Four voters of which three have started: a fifth may come, as far as that goes; of two, one must be left.
        assert_eq!(answer(client.add(AT, &urls(7), false)).await, unhealthy, "{told}");
        assert_eq!(answer(client.add(AT, &urls(7), true)).await, unhealthy, "{told}");
        assert_eq!(answer(client.remove(AT, 1)).await, unhealthy, "the one that runs; {told}");
        for (id, what) in [(2, "dead"), (unstarted.id, "never started"), (77, "unknown"), (learner, "a learner")] {
            assert_eq!(answer(client.remove(AT, id)).await, None, "{what}; {told}");
        }
        let no_leader = Some(("no leader".to_owned(), Code::Unavailable, 7));
        assert_eq!(answer(client.promote(AT, learner)).await, no_leader, "{told}");
        let changes = model.changes();
        // What was sent and not answered may be carried out yet.
        model.start("http://etcd-2:2380");
        model.start("http://etcd-3:2380");
        sleep(S).await;
        assert_eq!(model.changes() - changes, 3, "{told}: {:#?}", model.history());

        let two = Model::new(1);
        two.release(release);
        let client = two.client_of([AT]);
        assert_eq!(answer(client.remove(AT, 1)).await, not_enough, "the last");
        client.add(AT, &urls(2), false).await.unwrap();
        assert!(!two.has_quorum());
        assert_eq!(answer(client.add(AT, &urls(3), false)).await, not_enough);
        assert_eq!(answer(client.remove(AT, 1)).await, not_enough);
    }
}

/// One that is cut off from the others sees them dead; it is dead to them.
#[tokio::test(start_paused = true)]
async fn cut_off() {
    let model = Model::new(3);
    let client = model.client();
    model.isolate("http://etcd-1:2380");
    sleep(10 * S).await;
    let unhealthy = Some(at_once("unhealthy cluster", Code::Unavailable));
    assert_eq!(answer(client.add(AT, &urls(7), true)).await, unhealthy);
    assert_eq!(answer(client.remove(AT, 1)).await, unhealthy);
    assert_eq!(answer(client.remove(AT, 2)).await, None);
    assert_eq!(answer(client.remove("http://etcd-2:2379", 3)).await, unhealthy, "one of two that run");
    client.remove("http://etcd-2:2379", 1).await.unwrap();
}

/// 3.6 adds while a quorum of those there would be is connected; before, all had to be.
#[tokio::test(start_paused = true)]
async fn one_of_five_is_down() {
    for (release, voters, adds) in [
        (Release::V3_4, 5, false),
        (Release::V3_5, 5, false),
        (Release::V3_6, 5, true),
        (Release::V3_6, 3, false),
        (Release::V3_6, 4, true),
    ] {
        let model = Model::new(voters);
        model.release(release);
        model.stop("http://etcd-2:2380");
        sleep(10 * S).await;
        for learner in [true, false] {
            let added = model.client_of([AT]).add(AT, &urls(if learner { 8 } else { 9 }), learner).await;
            assert_eq!(added.is_ok(), adds, "{release:?} of {voters}, learner {learner}: {added:?}");
        }
        assert_eq!(model.quorum_losses(), 0);
    }
}

/// From 3.5 on a list is agreed upon: it is one call, and hangs where there is no quorum. A learner refuses it, with
/// another code from 3.6 on.
#[tokio::test(start_paused = true)]
async fn lists_of_each_release() {
    for release in [Release::V3_4, Release::V3_5, Release::V3_6] {
        let model = Model::new(3);
        model.release(release);
        let client = model.client();
        let members = relent_etcd::Members::new(model.client_of([AT])).unwrap();
        assert_eq!(members.list().await.unwrap().len(), 3);
        let barriers = model.calls(ModelCall::Barrier);
        assert_eq!((barriers, model.calls(ModelCall::List)), (u32::from(release == Release::V3_4), 1), "{release:?}");

        client.add(AT, &[NEW.to_owned()], true).await.unwrap();
        model.start(NEW);
        sleep(S).await;
        let at = "http://etcd-9:2379";
        let refused = match client.agreed_members(at).await {
            Ok(None) => client.barrier(at).await.unwrap_err(),
            other => other.unwrap_err(),
        };
        let CallError::Answered { code, message } = &refused else { panic!("{refused}") };
        assert_eq!(message, "etcdserver: rpc not supported for learner");
        let expected = if release == Release::V3_6 { Code::FailedPrecondition } else { Code::Unavailable };
        assert_eq!((*code, refused.class()), (expected, relent_etcd::CallErrorClass::Elsewhere));

        model.isolate("http://etcd-1:2380");
        let begin = Instant::now();
        let error = members.list().await.unwrap_err();
        assert!(error.to_string().ends_with("no answer: nothing within 5s"), "{error}");
        assert_eq!(begin.elapsed(), 5 * S);
        // The others know.
        assert_eq!(relent_etcd::Members::new(model.client()).unwrap().list().await.unwrap().len(), 4);
    }
}
