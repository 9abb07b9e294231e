//! kill -9 and SIGSTOP of the leader and of a follower, quorum lost and found, several processes at once.

use std::time::Instant;

use relent::Change;
use relent_etcd::{Member, MemberError};
use tokio::sync::{mpsc, oneshot};

use super::{
    around::{Between, Call},
    server::{Node, Server, Settings, Version, abreast, eventually, lane, ms, with_url},
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

/// The member to which it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Leader,
    Follower,
    /// The leader and as many more as it takes to lose the quorum.
    Quorum,
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    AddLearner,
    Promote,
    Remove,
    AddVoter,
}

const OPERATIONS: [Operation; 4] = [Operation::AddLearner, Operation::Promote, Operation::Remove, Operation::AddVoter];

/// A cluster, and the node that comes and goes.
struct Rounds {
    server: Server,
    at: usize,
    made: u32,
}

impl Rounds {
    async fn new(version: Version, voters: usize, strict: bool) -> Self {
        let flags = vec![format!("--strict-reconfig-check={strict}")];
        let mut server = Server::start_with(version, voters, Settings { flags, ..Settings::default() }).await;
        let at = server.new_node();
        Self { server, at, made: 0 }
    }

    async fn victims(&self, victim: Victim) -> Vec<usize> {
        let (leader, old) = (self.server.leader().await, self.at);
        let others = (1..=old).map(|step| (leader + step) % old).filter(|at| *at != leader);
        match victim {
            Victim::Leader => vec![leader],
            Victim::Follower => others.take(1).collect(),
            Victim::Quorum => {
                let members = self.server.members().list().await.unwrap();
                let voters = members.iter().filter(|member| !member.learner).count();
                std::iter::once(leader).chain(others).take(voters - voters / 2).collect()
            }
        }
    }

    /// The trouble comes when the first change is on its way, and is over a second later: it ends as wanted.
    async fn round(&mut self, operation: Operation, victim: Victim, trouble: Trouble) {
        let told = format!("{trouble:?} of {victim:?} during {operation:?}");
        let victims = self.victims(victim).await;
        let (at, server) = (self.at, &mut self.server);
        let (url, endpoints) = (server.nodes[at].peer_url(), server.nodes[..at].iter().map(Node::client_url));
        let (about_to, mut asked) = mpsc::channel(1);
        let policy = relent::Policy::new().every(ms(100)).attempt_timeout(ms(1000)).finish_within(ms(60_000));
        let members = server.members_of(endpoints, Paused(about_to)).policy(&policy);
        let whom = url.clone();
        let run = tokio::spawn(async move {
            match operation {
                Operation::AddLearner => members.ensure_learner([&whom]).unwrap().await.map(drop),
                Operation::AddVoter => members.ensure_voter([&whom]).unwrap().await.map(drop),
                Operation::Promote => members.ensure_promoted(whom.as_str()).unwrap().await.map(drop),
                Operation::Remove => members.ensure_removed(whom.as_str()).unwrap().await.map(drop),
            }
        });
        let go = asked.recv().await.unwrap_or_else(|| panic!("{told}: it never acted"));
        let mut go = Some(go);
        if trouble == Trouble::Kill {
            go.take().map(|go| go.send(()));
        }
        // Before the request has left, on its way, and about when it is answered.
        let way = [0, 1, 3][self.made as usize % 3];
        if way > 0 {
            tokio::time::sleep(ms(way)).await;
        }
        for victim in &victims {
            match trouble {
                Trouble::Kill => server.kill(*victim),
                Trouble::Freeze => server.freeze(*victim),
            }
        }
        go.map(|go| go.send(()));
        let back = async {
            tokio::time::sleep(ms(1000)).await;
            for victim in &victims {
                match trouble {
                    Trouble::Kill => server.run(*victim),
                    Trouble::Freeze => server.thaw(*victim),
                }
            }
        };
        let allowed = async {
            while let Some(go) = asked.recv().await {
                let _ = go.send(());
            }
        };
        let ((), (), ended) = tokio::join!(back, allowed, run);
        ended.unwrap().unwrap_or_else(|gave_up| panic!("{told}: {gave_up}\n{}", server.logs()));
        let listed = server.members().list().await.unwrap_or_else(|error| panic!("{told}: {error}"));
        let (count, member) = with_url(&listed, &url);
        let expected = match operation {
            Operation::AddLearner => (1, Some(true)),
            Operation::Promote | Operation::AddVoter => (1, Some(false)),
            Operation::Remove => (0, None),
        };
        assert_eq!((count, member.map(|member| member.learner)), expected, "{told}: {listed:?}");
        match operation {
            Operation::AddLearner | Operation::AddVoter => {
                server.join(at).await;
                server.caught_up(at).await;
            }
            Operation::Promote => {}
            Operation::Remove => server.wipe(at),
        }
        if matches!(operation, Operation::AddVoter) {
            server.members().ensure_removed(url.as_str()).unwrap().await.unwrap();
            server.wipe(at);
        }
        self.made += 1;
    }
}

async fn rounds(version: Version, voters: usize, strict: bool, plan: Vec<(Victim, Trouble)>) -> u32 {
    let mut rounds = Rounds::new(version, voters, strict).await;
    for (victim, trouble) in plan {
        for operation in OPERATIONS {
            rounds.round(operation, victim, trouble).await;
        }
    }
    println!("{version:?} of {voters}, strict {strict}: {} rounds", rounds.made);
    rounds.made
}

/// Of three and of five, without etcd's own check that all have been connected for five seconds: it would hold up each round, and
/// nothing but ours keeps the quorum. And with it.
#[test]
fn killed_and_frozen_in_each_operation() {
    use {Trouble::*, Victim::*};
    let start = Instant::now();
    let all = [Kill, Freeze].map(|trouble| [Leader, Follower, Quorum].map(|victim| (victim, trouble))).concat();
    let mut lanes = Vec::new();
    for version in Version::BOTH {
        for voters in [3, 5] {
            let all = all.clone();
            lanes.push(lane(move || rounds(version, voters, false, all)));
        }
        lanes.push(lane(move || rounds(version, 3, true, vec![(Leader, Kill), (Follower, Freeze)])));
    }
    let made: u32 = abreast(lanes).into_iter().sum();
    println!("killed and frozen: {made} rounds, {} s", start.elapsed().as_secs());
    assert_eq!(made, 2 * 4 * (2 * 6 + 2));
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
        assert!(gave_up.to_string().contains("(never acted)"), "what there is is not known: {gave_up}");

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

/// Says when a list is about to be asked for, after the read that goes before it.
struct BetweenReadAndList(mpsc::Sender<oneshot::Sender<()>>);

impl Between for BetweenReadAndList {
    type Held = ();
    const SPLIT: bool = true;

    async fn before(&self, call: Call, _: &str) {
        if call == Call::List {
            let (go, gone) = oneshot::channel();
            if self.0.send(go).await.is_ok() {
                let _ = gone.await;
            }
        }
    }
}

/// The process is killed between the read and the list, and another one started in its place. What it lists as soon as it serves
/// is what there was: a change just before the read is in it, and had to be replayed from its log.
#[test]
fn a_member_that_is_started_anew_lists_nothing_old() {
    let rounds = async |version: Version| {
        let flags = vec!["--strict-reconfig-check=false".to_owned()];
        let mut server = Server::start_with(version, 3, Settings { flags, ..Settings::default() }).await;
        let mut listed = 0;
        for port in 1..=12_usize {
            let at = port % 3;
            let url = format!("http://127.0.0.1:{port}");
            let (about_to, mut asked) = mpsc::channel(1);
            let members = server.members_of([server.nodes[at].client_url()], BetweenReadAndList(about_to));
            server.members().ensure_learner([&url]).unwrap().every(ms(20)).await.unwrap();
            let list = tokio::spawn(async move { members.list().await });
            let go = asked.recv().await.unwrap();
            server.kill(at);
            server.run(at);
            // As soon as it serves.
            let address = server.nodes[at].client;
            eventually("it listens", async || tokio::net::TcpStream::connect(address).await.ok()).await;
            let _ = go.send(());
            match list.await.unwrap() {
                Ok(members) => {
                    assert_eq!(with_url(&members, &url).0, 1, "{version:?}: {members:?}");
                    listed += 1;
                }
                Err(error) => assert_eq!(error.decision(), relent::Decision::Retry, "{error}"),
            }
            eventually("it is back", async || {
                let direct = server.members_of([server.nodes[at].client_url()], ());
                direct.list().await.ok()
            })
            .await;
            server.members().ensure_removed(url.as_str()).unwrap().every(ms(20)).await.unwrap();
        }
        println!("{version:?}: {listed} of 12 lists came from a process that was started anew");
        assert!(listed > 0);
    };
    abreast(Version::BOTH.map(|version| lane(move || rounds(version))).into());
}

/// Also where something answers at the URL that it advertises: all members have one, as behind a Service.
#[tokio::test]
async fn a_dead_learner_behind_a_shared_url() {
    for version in Version::BOTH {
        // The address of the first one, which is another's for all others.
        let mut server = Server::start_with(version, 1, Settings { shared_url: true, ..Settings::default() }).await;
        let at = server.new_node();
        let url = server.nodes[at].peer_url();
        let members = server.members();
        members.ensure_learner([&url]).unwrap().every(ms(100)).await.unwrap();
        server.join(at).await;
        eventually("started", async || members.list().await.ok()?.iter().all(Member::started).then_some(())).await;
        server.caught_up(at).await;
        server.kill(at);
        let gave_up = members.ensure_joined([&url]).unwrap().every(ms(100)).finish_within(ms(1500)).await.unwrap_err();
        let told = gave_up.to_string();
        assert!(matches!(gave_up.last_error(), Some(MemberError::NotAnswering { .. })), "{told}");
        assert!(told.contains("at its client url answers another member"), "{told}");
        let ill = members.wait_healthy().every(ms(100)).finish_within(ms(1500)).await.unwrap_err();
        assert!(ill.to_string().contains("1 of 2 members are well"), "{ill}");
        assert!(members.list().await.is_ok(), "the one voter still is a quorum");
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
