//! Members that advertise one client URL: of a Service, a virtual address, or localhost.

use std::time::Duration;

use relent::Stop;
use relent_etcd::model::{CallFault, Model, ModelCall, ModelClient, Release};
use relent_etcd::{MemberError, Members};
use tokio::time::{Instant, sleep};

const S: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const NEW: &str = "http://etcd-9:2380";
const SERVICE: &str = "http://etcd:2379";

fn members(model: &Model) -> Members<ModelClient> {
    let own = (1..=3).map(|number| format!("http://etcd-{number}:2379"));
    Members::new(model.client_of(own)).unwrap()
}

/// A learner that died does not answer, although something does at its URL: promoted, it would cost the quorum.
#[tokio::test(start_paused = true)]
async fn a_dead_learner_is_not_promoted() {
    for (voters, release) in [(1, Release::V3_4), (2, Release::V3_5), (3, Release::V3_6)] {
        let model = Model::new(voters);
        model.release(release);
        model.start_joined_after(Some(S));
        model.share_client_url(SERVICE);
        let members = members(&model);
        let learner = members.ensure_learner([NEW]).unwrap().await.unwrap().value;
        sleep(10 * S).await;
        model.stop(NEW);
        let gave_up = members.ensure_promoted(&learner).unwrap().finish_within(30 * S).await.unwrap_err();
        let Some(MemberError::NotAnswering { error, .. }) = gave_up.last_error() else { panic!("{gave_up}") };
        assert!(error.to_string().starts_with("at its client url answers another member: "), "{error}");
        assert_eq!((model.calls(ModelCall::Promote), model.quorum_losses(), model.has_quorum()), (0, 0, true));
        let gave_up = members.ensure_joined([NEW]).unwrap().finish_within(30 * S).await.unwrap_err();
        assert!(matches!(gave_up.last_error(), Some(MemberError::NotAnswering { .. })), "{gave_up}");

        // It runs again: whichever member's turn it is, it is heard.
        model.start(NEW);
        let begin = Instant::now();
        assert!(!members.ensure_promoted(&learner).unwrap().await.unwrap().value.learner);
        assert!(begin.elapsed() < 2 * S, "{:?}", begin.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn well_are_those_that_answer_themselves() {
    let model = Model::new(3);
    model.share_client_url(SERVICE);
    let members = members(&model);
    let begin = Instant::now();
    assert_eq!(members.wait_healthy().await.unwrap().members.len(), 3);
    assert!(begin.elapsed() < S);
    model.stop("http://etcd-2:2380");
    let gave_up = members.wait_healthy().finish_within(20 * S).await.unwrap_err();
    let told = gave_up.to_string();
    assert!(
        told.contains("2 of 3 members are well; voter 2 (http://etcd-2:2380): at its client url answers another"),
        "{told}"
    );
}

/// Two of three run behind the one URL: what would cost the quorum is not sent.
#[tokio::test(start_paused = true)]
async fn the_quorum_is_counted_by_the_members_that_answer() {
    let model = Model::new(3);
    model.share_client_url(SERVICE);
    model.stop("http://etcd-3:2380");
    let members = members(&model);
    for refused in [
        members.ensure_voter([NEW]).unwrap().finish_within(20 * S).await.map(drop).unwrap_err(),
        members.ensure_removed("http://etcd-2:2380").unwrap().finish_within(20 * S).await.map(drop).unwrap_err(),
    ] {
        assert!(matches!(refused.last_error(), Some(MemberError::WouldLoseQuorum { .. })), "{refused}");
    }
    members.ensure_removed("http://etcd-3:2380").unwrap().await.unwrap();
    assert_eq!((model.calls(ModelCall::Add), model.calls(ModelCall::Remove), model.quorum_losses()), (0, 1, 0));
}

/// An address behind which always the same one answers says nothing of the others.
#[tokio::test(start_paused = true)]
async fn one_of_them_answers_for_all() {
    let model = Model::new(3);
    model.start_joined_after(Some(S));
    model.share_client_url(SERVICE);
    let only = Members::new(Sticky(model.client_of(["http://etcd-1:2379"]))).unwrap();
    let learner = only.ensure_learner([NEW]).unwrap().await.unwrap().value;
    sleep(10 * S).await;
    let gave_up = only.ensure_promoted(&learner).unwrap().finish_within(10 * S).await.unwrap_err();
    assert!(matches!(gave_up.last_error(), Some(MemberError::NotAnswering { .. })), "{gave_up}");
    let gave_up = only.wait_healthy().finish_within(10 * S).await.unwrap_err();
    assert!(gave_up.to_string().contains("1 of 4 members are well"), "{gave_up}");
    // For an operator that knows better.
    only.may_lose_quorum().ensure_promoted(&learner).unwrap().await.unwrap();
    assert_eq!(model.quorum_losses(), 0);
}

/// Whatever URL it is asked at, the first voter answers.
struct Sticky(ModelClient);

impl relent_etcd::Cluster for Sticky {
    fn endpoints(&self) -> &[String] {
        self.0.endpoints()
    }

    async fn barrier(&self, endpoint: &str) -> Result<(), relent_etcd::CallError> {
        self.0.barrier(endpoint).await
    }

    async fn local_members(&self, endpoint: &str) -> Result<Vec<relent_etcd::Member>, relent_etcd::CallError> {
        self.0.local_members(endpoint).await
    }

    async fn add(&self, endpoint: &str, urls: &[String], learner: bool) -> Result<u64, relent_etcd::CallError> {
        self.0.add(endpoint, urls, learner).await
    }

    async fn promote(&self, endpoint: &str, id: u64) -> Result<(), relent_etcd::CallError> {
        self.0.promote(endpoint, id).await
    }

    async fn remove(&self, endpoint: &str, id: u64) -> Result<(), relent_etcd::CallError> {
        self.0.remove(endpoint, id).await
    }

    async fn status(&self, _: &str) -> Result<relent_etcd::MemberStatus, relent_etcd::CallError> {
        self.0.status("http://etcd-1:2379").await
    }
}

/// Each call hangs, once or for good, with and without a policy that says nothing of a deadline.
#[tokio::test(start_paused = true)]
async fn no_call_hangs_for_ever() {
    let mut longest = (Duration::ZERO, String::new());
    for release in [Release::V3_4, Release::V3_5, Release::V3_6] {
        for policy in
            [None, Some(relent::Policy::new()), Some(relent::Policy::new().every(100 * MS).finish_within(300 * S))]
        {
            for call in [
                ModelCall::Barrier,
                ModelCall::List,
                ModelCall::Add,
                ModelCall::Promote,
                ModelCall::Remove,
                ModelCall::Status,
            ] {
                for times in [1, 4] {
                    let model = Model::new(3);
                    model.release(release);
                    model.start_joined_after(Some(S));
                    let mut members = Members::new(model.client()).unwrap();
                    if let Some(policy) = &policy {
                        members = members.policy(policy);
                    }
                    model.fault(call, vec![CallFault::Hang; times]);
                    let what = format!("{times} of {call:?} hang, {release:?}, {policy:?}");
                    let begin = Instant::now();
                    let all = async {
                        let listed = members.list().await;
                        assert!(listed.is_ok() || times > 3, "{what}: {listed:?}");
                        let joined = members.ensure_joined([NEW]).unwrap().await.map(|joined| joined.value);
                        let joined = joined.unwrap_or_else(|gave_up| panic!("{what}: {gave_up}"));
                        members
                            .ensure_removed(&joined)
                            .unwrap()
                            .await
                            .unwrap_or_else(|gave_up| panic!("{what}: {gave_up}"));
                        members.wait_healthy().await.unwrap_or_else(|gave_up| panic!("{what}: {gave_up}"));
                    };
                    assert!(tokio::time::timeout(3600 * S, all).await.is_ok(), "{what}");
                    longest = longest.max((begin.elapsed(), what));
                }
            }
        }
    }
    println!("the longest: {longest:?}");
    assert!(longest.0 < 60 * S, "{longest:?}");
}

/// Joining is one word: a learner, in sync, a voter.
#[tokio::test(start_paused = true)]
async fn joining_is_one_word() {
    for release in [Release::V3_4, Release::V3_5, Release::V3_6] {
        let model = Model::new(1);
        model.release(release);
        let members = Members::new(model.client()).unwrap();
        let early = members.ensure_joined([NEW]).unwrap().finish_within(20 * S).await.unwrap_err();
        assert!(matches!(early.last_error(), Some(MemberError::NotStarted(_))), "{early}");
        assert_eq!((model.changes(), model.has_quorum()), (1, true), "a learner is left, which counts for no quorum");
        model.start(NEW);
        let joined = members.ensure_joined([NEW]).unwrap().await.unwrap();
        assert!(!joined.value.learner);
        let again = members.ensure_joined([NEW]).unwrap().await.unwrap();
        assert_eq!((again.change, again.value.id), (relent::Change::AlreadySo, joined.value.id));
        // What was added as a voter has joined, too.
        let first = members.ensure_joined(["http://etcd-1:2380"]).unwrap().await.unwrap();
        assert_eq!((first.change, model.quorum_losses(), model.changes()), (relent::Change::AlreadySo, 0, 2));
        assert_eq!(members.ensure_joined(["nonsense"]).unwrap_err().setting(), "peer url");
    }
}

/// A cluster that allows several learners takes several at once, and one that allows one takes one after the other.
#[tokio::test(start_paused = true)]
async fn as_many_learners_as_the_cluster_allows() {
    for (most, release) in [(1, Release::V3_4), (2, Release::V3_5), (3, Release::V3_6)] {
        let model = Model::new(3);
        model.release(release);
        model.max_learners(most);
        let members = Members::new(model.client()).unwrap();
        let mut there = 0;
        for number in 5..9 {
            let added =
                members.ensure_learner([format!("http://etcd-{number}:2380")]).unwrap().finish_within(20 * S).await;
            there += usize::from(added.is_ok());
            if let Err(gave_up) = added {
                assert_eq!(gave_up.stop(), &Stop::Deadline, "it was waited for: {gave_up}");
                assert!(gave_up.to_string().contains("too many learner members in cluster"), "{gave_up}");
            }
        }
        assert_eq!(there, most);
    }
}
