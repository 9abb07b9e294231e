//! kill -9 and SIGSTOP of the leader and of a follower, quorum lost and found, several processes at once.

use relent::{
    Change,
    etcd::{Member, MemberError},
};
use tokio::sync::{mpsc, oneshot};

use super::{
    around::{Between, Call},
    server::{Server, Version, eventually, ms, with_url},
};

/// Says when a change is about to be sent, and waits for the word to send it.
struct Paused(mpsc::Sender<oneshot::Sender<()>>);

impl Between for Paused {
    type Held = ();

    async fn before(&self, call: Call, _: &str) {
        if call == Call::Change {
            let (go, gone) = oneshot::channel();
            if self.0.send(go).await.is_ok() {
                let _ = gone.await;
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Kill,
    Freeze,
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Add,
    Promote,
    Remove,
}

/// With five voters and the trouble at the moment when the change is sent: it ends as wanted, or says why not while a voter is away;
/// and when all are back, as wanted.
async fn trouble_in_each_operation(version: Version, trouble: Trouble) {
    let mut server = Server::start(version, 5).await;
    let at = server.new_node();
    let url = server.nodes[at].peer_url();
    let urls = server.nodes[..5].iter().map(super::server::Node::client_url).collect::<Vec<_>>();
    let policy = relent::Policy::new().every(ms(100)).attempt_timeout(ms(1500)).finish_within(ms(60_000));
    let mut rounds = 0;
    for of_leader in [true, false] {
        for operation in [Operation::Add, Operation::Promote, Operation::Remove] {
            let told = format!(
                "{version:?}: {trouble:?} of {} during {operation:?}",
                if of_leader { "the leader" } else { "a follower" }
            );
            let leader = server.leader().await;
            let victim = if of_leader { leader } else { (leader + 1) % 5 };
            let (about_to, mut asked) = mpsc::channel(1);
            let members = server.members_of(urls.clone(), Paused(about_to)).policy(&policy);
            let wanted = url.clone();
            let run = tokio::spawn(async move {
                let result = match operation {
                    Operation::Add => members.ensure_learner([&wanted]).unwrap().await.map(|ensured| ensured.change),
                    Operation::Promote => {
                        members.ensure_promoted(wanted.as_str()).unwrap().await.map(|ensured| ensured.change)
                    }
                    Operation::Remove => {
                        members.ensure_removed(wanted.as_str()).unwrap().await.map(|ensured| ensured.change)
                    }
                };
                result.map_err(|gave_up| gave_up.to_string())
            });
            // The victim goes while the first change is on its way; it comes back two seconds later.
            let go = asked.recv().await.unwrap_or_else(|| panic!("{told}: it never acted"));
            match trouble {
                Trouble::Kill => {
                    let _ = go.send(());
                    server.kill(victim);
                }
                Trouble::Freeze => {
                    server.freeze(victim);
                    let _ = go.send(());
                }
            }
            let back = async {
                tokio::time::sleep(ms(2000)).await;
                match trouble {
                    Trouble::Kill => server.run(victim),
                    Trouble::Freeze => server.thaw(victim),
                }
            };
            let allowed = async {
                while let Some(go) = asked.recv().await {
                    let _ = go.send(());
                }
            };
            let ((), (), ended) = tokio::join!(back, allowed, run);
            ended.unwrap().unwrap_or_else(|gave_up| panic!("{told}: {gave_up}\n{}", server.logs()));
            let listed = server.members().list().await.unwrap();
            let (count, member) = with_url(&listed, &url);
            let expected = match operation {
                Operation::Add => (1, Some(true)),
                Operation::Promote => (1, Some(false)),
                Operation::Remove => (0, None),
            };
            assert_eq!((count, member.map(|member| member.learner)), expected, "{told}: {listed:?}");
            match operation {
                Operation::Add => {
                    server.join(at).await;
                    eventually("started", async || {
                        server.members().list().await.ok()?.iter().all(Member::started).then_some(())
                    })
                    .await;
                }
                Operation::Promote => {}
                Operation::Remove => server.wipe(at),
            }
            rounds += 1;
        }
    }
    println!("{version:?}: {rounds} rounds of {trouble:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_3_4() {
    trouble_in_each_operation(Version::V34, Trouble::Kill).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_3_5() {
    trouble_in_each_operation(Version::V35, Trouble::Kill).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_3_4() {
    trouble_in_each_operation(Version::V34, Trouble::Freeze).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_3_5() {
    trouble_in_each_operation(Version::V35, Trouble::Freeze).await;
}

#[tokio::test]
async fn quorum_lost_and_found() {
    for version in Version::BOTH {
        let mut server = Server::start(version, 3).await;
        let members = server.members();
        let learner = members.ensure_learner(["http://127.0.0.1:1"]).unwrap().every(ms(100)).await.unwrap();
        server.kill(1);
        server.kill(2);
        let gave_up = members
            .ensure_removed(learner.value.id)
            .unwrap()
            .every(ms(100))
            .attempt_timeout(ms(700))
            .finish_within(ms(3000))
            .await
            .unwrap_err();
        assert!(gave_up.is_deadline(), "{gave_up}");
        assert!(gave_up.to_string().contains("(never acted)"), "nobody can say what there is: {gave_up}");

        server.run(1);
        let gone =
            members.ensure_removed(learner.value.id).unwrap().every(ms(100)).attempt_timeout(ms(1000)).await.unwrap();
        assert_eq!(gone.change, Change::Applied, "{version:?}");

        // Two of three run: what would cost the quorum is not sent.
        let voter = members
            .ensure_voter(["http://127.0.0.1:2"])
            .unwrap()
            .every(ms(100))
            .finish_within(ms(1500))
            .await
            .unwrap_err();
        assert!(matches!(voter.last_error(), Some(MemberError::WouldLoseQuorum { able: 2, voters: 4, .. })), "{voter}");
        let healthy = server.nodes[1].peer_url();
        let refused =
            members.ensure_removed(healthy.as_str()).unwrap().every(ms(100)).finish_within(ms(1500)).await.unwrap_err();
        assert!(matches!(refused.last_error(), Some(MemberError::WouldLoseQuorum { .. })), "{refused}");
        let dead = server.nodes[2].peer_url();
        members.ensure_removed(dead.as_str()).unwrap().every(ms(100)).await.unwrap();
        assert_eq!(server.healthy().await.members.len(), 2);
    }
}

#[tokio::test]
async fn a_dead_learner_is_not_promoted() {
    let mut server = Server::start(Version::V35, 1).await;
    let at = server.new_node();
    let url = server.nodes[at].peer_url();
    let members = server.members();
    members.ensure_learner([&url]).unwrap().every(ms(100)).await.unwrap();
    server.join(at).await;
    eventually("started", async || members.list().await.ok()?.iter().all(Member::started).then_some(())).await;
    server.healthy().await;
    server.kill(at);
    let gave_up =
        members.ensure_promoted(url.as_str()).unwrap().every(ms(100)).finish_within(ms(1500)).await.unwrap_err();
    assert!(matches!(gave_up.last_error(), Some(MemberError::NotAnswering { .. })), "{gave_up}");
    assert!(members.list().await.is_ok(), "the one voter still is a quorum");
    server.run(at);
    members.ensure_promoted(url.as_str()).unwrap().every(ms(100)).await.unwrap();
}

/// Two processes, as it were: nothing is shared between them but etcd, which allows one learner at a time.
#[tokio::test]
async fn two_at_once() {
    for version in Version::BOTH {
        let mut server = Server::start(version, 3).await;
        let (one, two) = (server.new_node(), server.new_node());
        let urls = [server.nodes[one].peer_url(), server.nodes[two].peer_url()];
        let joining = urls.clone().map(|url| {
            let members = server.members();
            tokio::spawn(async move {
                let learner = members.ensure_learner([&url]).unwrap().every(ms(100)).finish_within(ms(60_000)).await?;
                members.ensure_promoted(&learner.value).unwrap().every(ms(100)).finish_within(ms(60_000)).await
            })
        });
        // Whoever was added is started.
        for _ in 0..2 {
            let at = eventually("one was added", async || {
                let listed = server.members().list().await.ok()?;
                let waits = |at: &usize| {
                    with_url(&listed, &server.nodes[*at].peer_url()).1.is_some_and(|member| !member.started())
                };
                [one, two].into_iter().find(waits)
            })
            .await;
            server.join(at).await;
            eventually("it has started", async || {
                server.members().list().await.ok()?.iter().all(Member::started).then_some(())
            })
            .await;
        }
        for joined in joining {
            let ensured = joined.await.unwrap().unwrap_or_else(|gave_up| panic!("{gave_up}"));
            assert!(!ensured.value.learner);
        }
        assert_eq!(server.healthy().await.members.len(), 5, "{version:?}");
    }
}
