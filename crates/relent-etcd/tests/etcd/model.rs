//! On the model, in virtual time.

use std::time::Duration;

use relent::{Change, Stop, error::Detail};
use relent_etcd::model::{CallFault, Model, ModelCall, ModelClient};
use relent_etcd::{CallError, Cluster, MemberError, Members};
use tokio::time::{Instant, sleep};

const S: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const NEW: &str = "http://etcd-9:2380";

pub(crate) fn quick(model: &Model) -> Members<ModelClient> {
    let policy = relent::Policy::new().every(100 * MS).attempt_timeout(S).finish_within(60 * S);
    Members::new(model.client()).unwrap().policy(&policy)
}

pub(crate) const FAULTS: [CallFault; 7] = [
    CallFault::Fine,
    CallFault::Refused,
    CallFault::LostBefore,
    CallFault::LostAfter,
    CallFault::Late(Duration::from_millis(1500)),
    CallFault::Hang,
    CallFault::HangAfter,
];

#[derive(Clone, Copy, Debug)]
enum Operation {
    AddLearner,
    AddVoter,
    Promote,
    Remove,
}

/// Every placement of seven faults over the first three changes and the two looks after the first of them, for each operation.
#[tokio::test(start_paused = true)]
async fn every_placement_of_faults() {
    let (mut runs, mut despite) = (0, 0);
    for operation in [Operation::AddLearner, Operation::AddVoter, Operation::Promote, Operation::Remove] {
        for placement in 0..7_usize.pow(4) {
            let fault = |at: u32| FAULTS[placement / 7_usize.pow(at) % 7];
            let told = format!("{operation:?} with {:?}", [fault(0), fault(1), fault(2), fault(3)]);
            let model = Model::new(3);
            model.start_joined_after(Some(S));
            let members = quick(&model);
            let prepared = match operation {
                Operation::Promote | Operation::Remove => {
                    members.ensure_learner([NEW]).unwrap().await.unwrap().value.id
                }
                _ => 0,
            };
            sleep(2 * S).await;
            let (before, kind) = (
                model.changes(),
                match operation {
                    Operation::AddLearner | Operation::AddVoter => ModelCall::Add,
                    Operation::Promote => ModelCall::Promote,
                    Operation::Remove => ModelCall::Remove,
                },
            );
            model.fault(kind, [fault(0), fault(1)]);
            model.fault(ModelCall::Barrier, [CallFault::Fine, fault(2), fault(3)]);
            let change = match operation {
                Operation::AddLearner => members.ensure_learner([NEW]).unwrap().await.map(|ensured| ensured.change),
                Operation::AddVoter => members.ensure_voter([NEW]).unwrap().await.map(|ensured| ensured.change),
                Operation::Promote => members.ensure_promoted(NEW).unwrap().await.map(|ensured| ensured.change),
                Operation::Remove => members.ensure_removed(prepared).unwrap().await.map(|ensured| ensured.change),
            };
            let change = change.unwrap_or_else(|gave_up| panic!("{told}: {gave_up}\n{:#?}", model.history()));
            // What was on its way arrives, and changes nothing any more.
            sleep(10 * S).await;
            assert_eq!(model.changes() - before, 1, "{told}: {:#?}", model.history());
            let there: Vec<_> =
                model.members().into_iter().filter(|member| member.peer_urls.contains(&NEW.to_owned())).collect();
            let kinds: Vec<_> = there.iter().map(|member| member.learner).collect();
            let expected = match operation {
                Operation::AddLearner => vec![true],
                Operation::AddVoter | Operation::Promote => vec![false],
                Operation::Remove => vec![],
            };
            assert_eq!(kinds, expected, "{told}");
            assert_eq!(model.quorum_losses(), 0, "{told}");
            runs += 1;
            despite += u32::from(change == Change::AppliedDespiteError);
        }
    }
    assert!(despite > 0);
    println!("{runs} placements, {despite} applied despite an error");
}

#[tokio::test(start_paused = true)]
async fn a_stale_list_is_not_believed() {
    let model = Model::new(3);
    let (first, last) = ("http://etcd-1:2379", "http://etcd-3:2379");
    let old = model.client_of([last]);
    quick(&model).ensure_learner([NEW]).unwrap().await.unwrap();
    sleep(S).await;
    model.isolate("http://etcd-3:2380");
    quick(&model).ensure_removed(NEW).unwrap().await.unwrap();
    assert_eq!(old.local_members(last).await.unwrap().len(), 4, "it knows no better");

    // The one that knows no better is asked first, and is not believed.
    let members = Members::new(model.client_of([last, first])).unwrap();
    let ensured = members.ensure_removed(NEW).unwrap().finish_within(20 * S).await.unwrap();
    assert_eq!((ensured.change, model.calls(ModelCall::Remove)), (Change::AlreadySo, 1));

    // A follower that lags has caught up once it has answered the read.
    let model = Model::new(3);
    let (leader, follower) = (model.client_of([first]), model.client_of([last]));
    model.latency(Duration::ZERO);
    leader.add(first, &[NEW.to_owned()], true).await.unwrap();
    assert_eq!(follower.local_members(last).await.unwrap().len(), 3, "it lags");
    assert_eq!(Members::new(follower).unwrap().list().await.unwrap().len(), 4);
}

/// The process may have been started anew since the read, and not have caught up yet.
#[tokio::test(start_paused = true)]
async fn a_list_long_after_its_read_is_not_believed() {
    let model = Model::new(3);
    for (latency, believed) in [(1000, true), (1900, true), (2100, false)] {
        model.latency(Duration::from_millis(latency));
        let listed = Members::new(model.client()).unwrap().list().await;
        assert_eq!(listed.is_ok(), believed, "{listed:?}");
        if let Err(error) = listed {
            let told = "no answer: the list came 4.2s after the read that it belongs to, and may be old";
            assert!(error.to_string().contains(told), "{error}");
            assert_eq!(error.decision(), relent::Decision::Retry);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_cannot_answer_are_left() {
    let model = Model::new(3);
    model.start_joined_after(Some(S));
    let learner = quick(&model).ensure_learner([NEW]).unwrap().await.unwrap().value;
    sleep(2 * S).await;
    model.stop("http://etcd-1:2380");
    for hung in [false, true] {
        if hung {
            model.start("http://etcd-1:2380");
            model.freeze("http://etcd-1:2380");
        }
        let endpoints = ["http://nowhere:2379", "http://etcd-9:2379", "http://etcd-1:2379", "http://etcd-2:2379"];
        let members = Members::new(model.client_of(endpoints)).unwrap();
        let start = Instant::now();
        let ensured = members.ensure_learner([NEW]).unwrap().attempt_timeout(S).await.unwrap();
        assert_eq!((ensured.change, ensured.value.id), (Change::AlreadySo, learner.id));
        assert!(start.elapsed() <= 2 * S, "{:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn one_learner_at_a_time() {
    let model = Model::new(3);
    model.start_joined_after(Some(S));
    let joins = (5..8).map(|number| {
        let members = quick(&model);
        tokio::spawn(async move {
            let url = format!("http://etcd-{number}:2380");
            members.ensure_learner([&url]).unwrap().await?;
            members.ensure_promoted(url.as_str()).unwrap().await
        })
    });
    for join in joins.collect::<Vec<_>>() {
        assert!(!join.await.unwrap().unwrap().value.learner);
    }
    let members = model.members();
    assert_eq!(members.iter().filter(|member| !member.learner).count(), 6);
    assert_eq!((members.len(), model.quorum_losses()), (6, 0));
}

#[tokio::test(start_paused = true)]
async fn a_learner_that_died_is_not_promoted() {
    let model = Model::new(1);
    model.start_joined_after(Some(S));
    let members = quick(&model);
    members.ensure_learner([NEW]).unwrap().await.unwrap();
    sleep(2 * S).await;
    model.stop(NEW);
    let gave_up = members.ensure_promoted(NEW).unwrap().finish_within(5 * S).await.unwrap_err();
    assert!(matches!(gave_up.last_error(), Some(MemberError::NotAnswering { .. })), "{gave_up}");
    assert_eq!((model.calls(ModelCall::Promote), model.has_quorum()), (0, true));
    assert!(matches!(gave_up.detail(), Some(Detail::Ensure { acts: 0, outcome_unknown: false, .. })));

    model.start(NEW);
    assert!(!members.ensure_promoted(NEW).unwrap().await.unwrap().value.learner);
}

#[tokio::test(start_paused = true)]
async fn quorum_is_not_lost_by_a_call_of_ours() {
    let model = Model::new(3);
    model.stop("http://etcd-3:2380");
    let members = quick(&model);
    let gave_up = members.ensure_voter([NEW]).unwrap().finish_within(20 * S).await.unwrap_err();
    assert!(
        gave_up
            .to_string()
            .contains("adding http://etcd-9:2380 as a voter would leave 2 of 4 voters able to vote, 3 are needed"),
        "{gave_up}"
    );
    let gave_up = members.ensure_removed("http://etcd-2:2380").unwrap().finish_within(20 * S).await.unwrap_err();
    assert!(matches!(gave_up.last_error(), Some(MemberError::WouldLoseQuorum { .. })), "{gave_up}");
    members.ensure_removed("http://etcd-3:2380").unwrap().await.unwrap();
    assert_eq!((model.calls(ModelCall::Add), model.calls(ModelCall::Remove), model.quorum_losses()), (0, 1, 0));

    let one = Model::new(1);
    let gave_up = quick(&one).ensure_voter([NEW]).unwrap().await.unwrap_err();
    assert!(gave_up.is_fatal() && gave_up.attempts() == 1 && one.calls(ModelCall::Add) == 0, "{gave_up}");
    quick(&one).may_lose_quorum().ensure_voter([NEW]).unwrap().finish_within(10 * S).await.unwrap_err();
    assert_eq!((one.quorum_losses(), one.members().len()), (1, 2), "a caller that insists gets it");
    one.start(NEW);
    let ensured = quick(&one).ensure_voter([NEW]).unwrap().await.unwrap();
    assert_eq!(ensured.change, Change::AlreadySo);
}

#[tokio::test(start_paused = true)]
async fn removed_and_added_again() {
    let model = Model::new(3);
    let members = quick(&model);
    let first = members.ensure_learner([NEW]).unwrap().await.unwrap().value;
    // Carried out, its answer is lost, and before the list is read another adds it again.
    model.fault(ModelCall::Remove, [CallFault::LostAfter]);
    model.fault(ModelCall::Barrier, [CallFault::Fine, CallFault::Hang]);
    let again = tokio::spawn({
        let (model, first) = (model.clone(), first.id);
        async move {
            while model.members().iter().any(|member| member.id == first) {
                sleep(10 * MS).await;
            }
            model.client().add("http://etcd-1:2379", &[NEW.to_owned()], true).await
        }
    });
    sleep(2 * S).await;
    let gone = members.ensure_removed(NEW).unwrap().await.unwrap();
    let second = again.await.unwrap().unwrap();
    assert_ne!(first.id, second);
    assert_eq!(gone.value.removed.map(|member| member.id), Some(first.id));
    assert_eq!(gone.value.again.map(|member| member.id), Some(second), "left alone");
    assert_eq!(gone.change, Change::AppliedDespiteError);
    let gone = members.ensure_removed(first.id).unwrap().await.unwrap();
    assert_eq!((gone.change, model.members().len()), (Change::AlreadySo, 4));
}

#[tokio::test(start_paused = true)]
async fn bad_input_changes_nothing() {
    let model = Model::new(3);
    let members = quick(&model);
    for url in ["", "etcd-9:2380", "ftp://etcd-9:2380", "http://etcd-9", "http://etcd-9:2380/x"] {
        assert_eq!(members.ensure_learner([url]).unwrap_err().setting(), "peer url");
        assert_eq!(members.ensure_removed(url).unwrap_err().setting(), "peer url");
    }
    assert_eq!(members.ensure_voter([NEW, NEW]).unwrap_err().rule(), "it must not be given twice");
    assert_eq!(members.ensure_promoted(0).unwrap_err().setting(), "member id");
    assert_eq!(Members::new(model.client_of::<String>([])).unwrap_err().setting(), "endpoints");
    let never = members.ensure_promoted(77).unwrap().await.unwrap_err();
    assert_eq!((never.stop(), never.attempts()), (&Stop::Fatal, 1));
    assert_eq!(never.last_error().unwrap().to_string(), "no member 4d in the cluster");
    assert_eq!(members.ensure_removed(77).unwrap().await.unwrap().change, Change::AlreadySo);
    assert_eq!(model.changes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_not_well_is_named() {
    let model = Model::new(3);
    let members = quick(&model);
    let health = members.wait_healthy().await.unwrap();
    assert_eq!((health.leader, health.members.len()), (1, 3));
    model.freeze("http://etcd-3:2380");
    let gave_up = members.wait_healthy().stall_after(10 * S).await.unwrap_err();
    assert!(gave_up.is_stalled(), "{gave_up}");
    let Some(Detail::Settle { on, .. }) = gave_up.detail() else { panic!("{gave_up}") };
    assert!(on.starts_with("2 of 3 members are well; voter 3 (http://etcd-3:2380): no answer"), "{on}");
    model.thaw("http://etcd-3:2380");
    members.wait_healthy().await.unwrap();
    model.stop("http://etcd-2:2380");
    model.stop("http://etcd-3:2380");
    let gave_up = members.wait_healthy().finish_within(5 * S).await.unwrap_err();
    assert!(matches!(gave_up.stop(), Stop::Deadline | Stop::Stalled), "{gave_up}");
}

/// Permissions and wrong certificates: at once.
#[tokio::test]
async fn what_is_decided_is_not_repeated() {
    let decided = CallError::Untrusted("invalid peer certificate".into());
    let error = MemberError::Call { call: "member list", endpoint: "https://a:1".into(), error: decided };
    assert_eq!(error.decision(), relent::Decision::Fatal);
    assert_eq!(error.to_string(), "member list at https://a:1: not connected: invalid peer certificate");
}
