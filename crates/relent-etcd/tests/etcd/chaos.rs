//! Operations of members among random trouble, of every release and with shared URLs.

use std::time::Duration;

use proptest::prelude::*;
use relent_etcd::Code;
use relent_etcd::model::{CallFault, Model, ModelCall, Release};
use tokio::time::sleep;

use super::model::{FAULTS, quick};

const S: Duration = Duration::from_secs(1);
const NEW: &str = "http://etcd-9:2380";

/// What the model is asked to do besides.
#[derive(Clone, Copy, Debug)]
enum Event {
    Stop(usize),
    Start(usize),
    Freeze(usize),
    Thaw(usize),
    Isolate(usize),
    Rejoin(usize),
    /// The next calls of each kind are answered so.
    Answer(usize),
    Nothing,
}

/// What etcd says while it starts, elects, or has forgotten the user.
const ANSWERS: [CallFault; 6] = [
    CallFault::Answer(Code::Unavailable, "etcdserver: no leader"),
    CallFault::Answer(Code::Unavailable, "etcdserver: not capable"),
    CallFault::Answer(Code::FailedPrecondition, "etcdserver: rpc not supported for learner"),
    CallFault::Answer(Code::Unauthenticated, "etcdserver: invalid auth token"),
    CallFault::Answer(Code::ResourceExhausted, "etcdserver: too many requests"),
    CallFault::Answer(Code::Unavailable, "etcdserver: request timed out"),
];

const CALLS: [ModelCall; 6] =
    [ModelCall::Add, ModelCall::Promote, ModelCall::Remove, ModelCall::Barrier, ModelCall::List, ModelCall::Status];

fn event() -> impl Strategy<Value = (u64, Event)> {
    let event = prop_oneof![
        (1_usize..4).prop_map(Event::Stop),
        (1_usize..4).prop_map(Event::Start),
        (1_usize..4).prop_map(Event::Freeze),
        (1_usize..4).prop_map(Event::Thaw),
        (1_usize..4).prop_map(Event::Isolate),
        (1_usize..4).prop_map(Event::Rejoin),
        (0..ANSWERS.len()).prop_map(Event::Answer),
        Just(Event::Nothing),
    ];
    (0_u64..4000, event)
}

/// 200, or as many as `PROPTEST_CASES` says, in both tests together.
fn cases() -> ProptestConfig {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::with_cases(ProptestConfig::default().cases.div_ceil(2)),
        None => ProptestConfig::with_cases(100),
    }
}

type Events = Vec<(u64, Event)>;
/// Calls, each with what becomes of it.
type Faults = Vec<(usize, usize)>;

fn trouble() -> impl Strategy<Value = (Events, Faults, Release)> {
    (
        prop::collection::vec(event(), 0..12),
        prop::collection::vec((0_usize..6, 0_usize..7), 0..30),
        prop::sample::select(vec![Release::V3_4, Release::V3_5, Release::V3_6]),
    )
}

/// Three operations one after the other, while processes die, freeze and are cut off and every call may fail in any
/// way: a value that is true, or an error; the quorum is never lost by a call of ours; and once all is well again, it
/// is as wanted.
fn play((events, faults, release): (Events, Faults, Release), shared: bool, seed: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let model = Model::new(3);
        model.release(release);
        model.start_joined_after(Some(S));
        let members = quick(&model);
        if shared {
            model.share_client_url("http://etcd:2379");
        }
        for (call, fault) in faults {
            model.fault(CALLS[call], [FAULTS[fault]]);
        }
        let trouble = tokio::spawn({
            let model = model.clone();
            async move {
                for (after, event) in events {
                    sleep(Duration::from_millis(after)).await;
                    let url = |number: usize| format!("http://etcd-{number}:2380");
                    match event {
                        Event::Stop(number) => model.stop(&url(number)),
                        Event::Start(number) => model.start(&url(number)),
                        Event::Freeze(number) => model.freeze(&url(number)),
                        Event::Thaw(number) => model.thaw(&url(number)),
                        Event::Isolate(number) => model.isolate(&url(number)),
                        Event::Rejoin(number) => model.rejoin(&url(number)),
                        Event::Answer(number) => {
                            for call in CALLS {
                                model.fault(call, [ANSWERS[number]; 5]);
                            }
                        }
                        Event::Nothing => {}
                    }
                }
                // All is well again.
                for number in 1..4 {
                    model.start(&format!("http://etcd-{number}:2380"));
                }
            }
        });
        let remove = 1 + seed % 3;
        let within = Duration::from_secs(120);
        let added = members.ensure_learner([NEW]).unwrap().finish_within(within).await;
        let added = added.unwrap_or_else(|gave_up| panic!("{gave_up}\n{:#?}", model.history()));
        let promoted = members.ensure_promoted(&added.value).unwrap().finish_within(within).await;
        let promoted = promoted.unwrap_or_else(|gave_up| panic!("{gave_up}\n{:#?}", model.history()));
        assert!(!promoted.value.learner && promoted.value.id == added.value.id);
        trouble.await.unwrap();
        let gone = members.ensure_removed(remove).unwrap().finish_within(within).await;
        gone.unwrap_or_else(|gave_up| panic!("{gave_up}\n{:#?}", model.history()));
        sleep(10 * S).await;
        let there = model.members();
        assert_eq!(there.len(), 3, "{there:?}");
        assert!(there.iter().all(|member| !member.learner && member.id != remove));
        assert_eq!(there.iter().filter(|member| member.id == added.value.id).count(), 1);
        assert_eq!(model.changes(), 3);
        assert_eq!(model.quorum_losses(), 0, "{:#?}", model.history());
    });
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn among_random_trouble(trouble in trouble(), seed: u64) {
        play(trouble, false, seed);
    }

    #[test]
    fn among_random_trouble_by_a_shared_url(trouble in trouble(), seed: u64) {
        play(trouble, true, seed);
    }
}
