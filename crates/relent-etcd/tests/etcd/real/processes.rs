//! Processes of the system that change the membership at once: this test binary, run again. One is killed and started anew.

use std::{collections::HashSet, os::unix::process::ExitStatusExt, time::Duration};

use relent_etcd::{EtcdCluster, Member, Members};

use super::{
    around::{Around, Between, Call, Judge},
    child::{Process, settings, tell},
    server::{Node, Server, Settings, Version, abreast, eventually, lane, ms, with_url},
};

const SENDS: &str = "about to send";

// ===== the process

/// Tells the one that has started it when a change is about to be sent, and holds it for a while if it is to.
struct Announced {
    holds: bool,
}

impl Between for Announced {
    type Held = ();

    async fn before(&self, call: Call, _: &str) {
        if call == Call::Change {
            tell(SENDS);
            if self.holds {
                tokio::time::sleep(ms(500)).await;
            }
        }
    }
}

/// Does the work if there is some: then this process was started for it. It is an operation, the member that it is
/// about, the endpoints, and whether to hold each change for a while.
fn is_a_job() -> bool {
    let Some(job) = settings() else { return false };
    let words: Vec<&str> = job.split(' ').collect();
    let [operation, whom, endpoints, holds] = words[..] else { panic!("{job}") };
    let announced = Announced { holds: holds == "true" };
    let cluster = EtcdCluster::new(endpoints.split(','), etcd_client::ConnectOptions::new()).unwrap();
    let judge = Judge::default();
    let policy = relent::Policy::new().every(ms(50)).attempt_timeout(ms(2000)).finish_within(ms(60_000));
    let members = Members::new(Around::new(cluster, announced, judge.clone())).unwrap().policy(&policy);
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        if operation == "join" {
            let learner = members.ensure_learner([whom]).unwrap().await;
            let learner = match learner {
                Ok(learner) => {
                    tell(format_args!("learner {:x} {:?}", learner.value.id, learner.change));
                    learner.value.id
                }
                // It had got further before it was killed.
                Err(gave_up) => match gave_up.last_error() {
                    Some(relent_etcd::MemberError::IsVoter(member)) => member.id,
                    _ => panic!("{gave_up}"),
                },
            };
            let voter = members.ensure_promoted(learner).unwrap().await.unwrap_or_else(|gave_up| panic!("{gave_up}"));
            tell(format_args!("voter {:x} {:?}", voter.value.id, voter.change));
        } else {
            let id = u64::from_str_radix(whom, 16).unwrap();
            let gone = members.ensure_removed(id).unwrap().await.unwrap_or_else(|gave_up| panic!("{gave_up}"));
            tell(format_args!("gone {:?}", gone.change));
        }
    });
    tell(format_args!("{} judged", judge.judged.load(std::sync::atomic::Ordering::SeqCst)));
    true
}

// ===== what starts it

/// When a process is killed: when it has said these one after the other, and so many milliseconds later.
#[derive(Clone, Copy, Debug)]
struct Moment {
    said: &'static [&'static str],
    after: u64,
    /// Whether it holds each change for longer than that.
    holds: bool,
}

impl Moment {
    /// When to kill, told line by line what the process says.
    fn watch(self) -> impl FnMut(&str) -> Option<Duration> + Send {
        let mut awaited = self.said;
        move |said| {
            if let Some((next, rest)) = awaited.split_first()
                && said.starts_with(next)
            {
                awaited = rest;
                return rest.is_empty().then(|| ms(self.after));
            }
            None
        }
    }
}

fn start(test: &str, job: &str, server: &Server, killed: Option<Moment>) -> Process {
    let endpoints = server.nodes[..3].iter().map(Node::client_url).collect::<Vec<_>>().join(",");
    let holds = killed.is_some_and(|moment| moment.holds);
    let settings = format!("{job} {endpoints} {holds}");
    match killed {
        Some(moment) => Process::start_and_kill(test, &settings, moment.watch()),
        None => Process::start(test, &settings),
    }
}

/// Whether it has ended; it must not have failed.
fn over(process: &Process) -> bool {
    let ended = process.try_ended();
    assert!(ended.is_none_or(|status| status.success()), "{:?}", process.told());
    ended.is_some()
}

/// Waits until it was killed; what it had said. `None` if it had ended before.
async fn until_killed(process: Process) -> Option<Vec<String>> {
    let status = eventually("it is killed", async || process.try_ended()).await;
    let said = process.told();
    assert!(status.success() || status.signal() == Some(9), "{status}: {said:?}");
    (!status.success()).then_some(said)
}

/// What must hold at any time: a majority of the voters runs, there is one learner at most, and no URL twice.
async fn witness(server: &Server) -> Option<Vec<Member>> {
    let members = server.members().list().await.ok()?;
    let voters: Vec<_> = members.iter().filter(|member| !member.learner).collect();
    let running = voters.iter().filter(|voter| server.is_running(&voter.peer_urls[0])).count();
    assert!(running * 2 > voters.len(), "{members:?}");
    assert!(members.len() - voters.len() <= 1, "{members:?}");
    let urls: HashSet<_> = members.iter().map(|member| &member.peer_urls).collect();
    assert_eq!(urls.len(), members.len(), "{members:?}");
    Some(members)
}

/// Starts the members that were added, until both processes have ended.
async fn until_both_are_voters(server: &mut Server, processes: &[Process; 2], joining: [usize; 2]) -> u32 {
    let mut looks = 0;
    eventually("both have ended", async || {
        let members = witness(server).await?;
        looks += 1;
        for at in joining {
            let url = server.nodes[at].peer_url();
            if with_url(&members, &url).1.is_some() && !server.is_running(&url) {
                server.join(at).await;
            }
        }
        let over = processes.iter().filter(|process| over(process)).count();
        (over == 2).then_some(())
    })
    .await;
    let members = server.healthy().await.members;
    assert!(members.len() == 5 && members.iter().all(|member| !member.learner), "{members:?}");
    for at in joining {
        assert_eq!(with_url(&members, &server.nodes[at].peer_url()).0, 1, "{members:?}");
    }
    looks
}

const TWO: &str = "real::processes::two_at_once";

#[test]
fn two_at_once() {
    if is_a_job() {
        return;
    }
    abreast(
        Version::BOTH
            .map(|version| {
                lane(move || async move {
                    let mut server = Server::start(version, 3).await;
                    let joining = [server.new_node(), server.new_node()];
                    let start = |at: usize| start(TWO, &format!("join {}", server.nodes[at].peer_url()), &server, None);
                    let both = joining.map(start);
                    let looks = until_both_are_voters(&mut server, &both, joining).await;
                    let said =
                        both.map(|process| process.told().into_iter().filter(|said| said != SENDS).collect::<Vec<_>>());
                    println!("{version:?}: two processes, {looks} looks between: {said:?}");
                })
            })
            .into(),
    );
}

const fn moment(said: &'static [&'static str], after: u64) -> Moment {
    Moment { said, after, holds: false }
}

const MOMENTS: [Moment; 9] = [
    Moment { holds: true, ..moment(&[SENDS], 0) },
    moment(&[SENDS], 0),
    moment(&[SENDS], 1),
    moment(&[SENDS], 30),
    moment(&["learner"], 0),
    Moment { holds: true, ..moment(&["learner", SENDS], 0) },
    moment(&["learner", SENDS], 0),
    moment(&["learner", SENDS], 1),
    moment(&["learner", SENDS], 30),
];

const KILLED: &str = "real::processes::one_is_killed_and_started_again";

#[test]
fn one_is_killed_and_started_again() {
    if is_a_job() {
        return;
    }
    abreast(Version::BOTH.map(|version| lane(move || killed(version))).into());
}

async fn killed(version: Version) {
    // Its check that all have been connected for five seconds would hold up each round.
    let flags = vec!["--strict-reconfig-check=false".to_owned()];
    let mut server = Server::start_with(version, 3, Settings { flags, ..Settings::default() }).await;
    let direct = server.members();
    let mut killed = 0;
    for moment in MOMENTS {
        let joining = [server.new_node(), server.new_node()];
        let job = |server: &Server, at: usize| format!("join {}", server.nodes[at].peer_url());
        let victim = start(KILLED, &job(&server, joining[0]), &server, Some(moment));
        if moment.said.len() > 1 {
            // It is promoted only if it runs.
            let url = server.nodes[joining[0]].peer_url();
            eventually("it is there", async || with_url(&direct.list().await.ok()?, &url).1.map(drop)).await;
            server.join(joining[0]).await;
        }
        let said = until_killed(victim).await;
        killed += u32::from(said.is_some());

        let both = joining.map(|at| start(KILLED, &job(&server, at), &server, None));
        until_both_are_voters(&mut server, &both, joining).await;
        let again = both[0].told();
        println!("{version:?}, {moment:?}: {said:?}, then {again:?}");
        // The same one: what the killed process had added is found, and not added again.
        let id_of = |said: &[String]| {
            let line = said.iter().find(|line| line.starts_with("learner"));
            line.map(|line| line.split(' ').nth(1).unwrap().to_owned())
        };
        if let (Some(before), Some(after)) = (said.as_deref().and_then(id_of), id_of(&again)) {
            assert_eq!(before, after);
        }
        for at in joining {
            direct.ensure_removed(server.nodes[at].peer_url().as_str()).unwrap().every(ms(50)).await.unwrap();
            server.wipe(at);
        }
    }

    // Killed while it removes, and another adds the same URL again: which member it is about is told by the id.
    let (mut gone_before, mut there_still) = (0, 0);
    for moment in [
        Moment { holds: true, ..moment(&[SENDS], 0) },
        moment(&[SENDS], 0),
        moment(&[SENDS], 1),
        moment(&[SENDS, "gone"], 0),
    ] {
        let url = "http://127.0.0.1:9";
        let first = direct.ensure_learner([url]).unwrap().every(ms(50)).await.unwrap().value;
        let job = format!("remove {:x}", first.id);
        let said = until_killed(start(KILLED, &job, &server, Some(moment))).await;
        killed += u32::from(said.is_some());
        // What was on its way has arrived; and in another second the same URL has another id.
        tokio::time::sleep(ms(1100)).await;
        let now = direct.ensure_learner([url]).unwrap().every(ms(50)).await.unwrap().value;
        let again = start(KILLED, &job, &server, None);
        eventually("it has ended", async || over(&again).then_some(())).await;
        println!("{version:?}, {moment:?} at a remove: {said:?}, then {:?}", again.told());
        let there = direct.list().await.unwrap();
        assert!(there.iter().all(|member| member.id != first.id), "{there:?}");
        if now.id == first.id {
            there_still += 1;
        } else {
            gone_before += 1;
            assert!(there.iter().any(|member| member.id == now.id), "another one is left alone: {there:?}");
            assert!(again.told().iter().any(|said| said == "gone AlreadySo"), "{:?}", again.told());
        }
        direct.ensure_removed(url).unwrap().every(ms(50)).await.unwrap();
    }
    println!(
        "{version:?}: {killed} processes killed; {gone_before} removed and added again, {there_still} there still"
    );
    assert!(killed >= 9 && gone_before > 0 && there_still > 0);
}
