//! Processes of the system that change the membership at once: this test binary, run again. One is killed and started anew.

use std::{
    collections::HashSet,
    env,
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    },
};

use relent::etcd::{EtcdCluster, Member, Members};

use super::{
    around::{Around, Between, Call, Judge},
    server::{Node, Server, Settings, Version, abreast, eventually, lane, ms, with_url},
};

/// Names the work of a process that a test has started: an operation, whom it is about, and the endpoints.
const JOB: &str = "RELENT_TEST_JOB";
/// Set if it is to hold each change for a while.
const HOLD: &str = "RELENT_TEST_HOLD";
const SAYS: &str = "process: ";
const SENDS: &str = "about to send";

// ===== the process

/// Tells the one that has started it when a change is about to be sent.
struct Announced;

impl Between for Announced {
    type Held = ();

    async fn before(&self, call: Call, _: &str) {
        if call == Call::Change {
            println!("{SAYS}{SENDS}");
            if env::var_os(HOLD).is_some() {
                tokio::time::sleep(ms(500)).await;
            }
        }
    }
}

/// Does the work if there is some: then this process was started for it.
fn is_a_job() -> bool {
    let Ok(job) = env::var(JOB) else { return false };
    let words: Vec<&str> = job.split(' ').collect();
    let [operation, whom, endpoints] = words[..] else { panic!("{job}") };
    let cluster = EtcdCluster::new(endpoints.split(','), etcd_client::ConnectOptions::new()).unwrap();
    let judge = Judge::default();
    let policy = relent::Policy::new().every(ms(50)).attempt_timeout(ms(2000)).finish_within(ms(60_000));
    let members = Members::new(Around::new(cluster, Announced, judge.clone())).unwrap().policy(&policy);
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        if operation == "join" {
            let learner = members.ensure_learner([whom]).unwrap().await;
            let learner = match learner {
                Ok(learner) => {
                    println!("{SAYS}learner {:x} {:?}", learner.value.id, learner.change);
                    learner.value.id
                }
                // It had got further before it was killed.
                Err(gave_up) => match gave_up.last_error() {
                    Some(relent::etcd::MemberError::IsVoter(member)) => member.id,
                    _ => panic!("{gave_up}"),
                },
            };
            let voter = members.ensure_promoted(learner).unwrap().await.unwrap_or_else(|gave_up| panic!("{gave_up}"));
            println!("{SAYS}voter {:x} {:?}", voter.value.id, voter.change);
        } else {
            let id = u64::from_str_radix(whom, 16).unwrap();
            let gone = members.ensure_removed(id).unwrap().await.unwrap_or_else(|gave_up| panic!("{gave_up}"));
            println!("{SAYS}gone {:?}", gone.change);
        }
    });
    println!("{SAYS}{} judged", judge.judged.load(std::sync::atomic::Ordering::SeqCst));
    true
}

// ===== who starts it

struct Process {
    child: Arc<Mutex<Child>>,
    lines: Receiver<String>,
    heard: Vec<String>,
    ended: bool,
}

/// When a process is killed: when it has said these one after the other, and so many milliseconds later.
#[derive(Clone, Copy, Debug)]
struct Moment {
    said: &'static [&'static str],
    after: u64,
    /// Whether it holds each change for longer than that.
    holds: bool,
}

impl Process {
    fn start(test: &str, job: &str, server: &Server, killed: Option<Moment>) -> Self {
        let endpoints = server.nodes[..3].iter().map(Node::client_url).collect::<Vec<_>>().join(",");
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(JOB, format!("{job} {endpoints}"));
        if killed.is_some_and(|moment| moment.holds) {
            command.env(HOLD, "yes");
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let (out, (line, lines)) = (child.stdout.take().unwrap(), channel());
        let child = Arc::new(Mutex::new(child));
        let process = Arc::clone(&child);
        std::thread::spawn(move || {
            let mut awaited = killed.map(|moment| moment.said.iter());
            let mut next = awaited.as_mut().and_then(Iterator::next);
            for said in BufReader::new(out).lines().map_while(Result::ok) {
                // The harness may have begun the line.
                let Some((_, said)) = said.split_once(SAYS) else { continue };
                let _ = line.send(said.to_owned());
                if next.is_some_and(|next| said.starts_with(next)) {
                    next = awaited.as_mut().and_then(Iterator::next);
                    if let (None, Some(moment)) = (next, killed) {
                        std::thread::sleep(ms(moment.after));
                        let _ = process.lock().unwrap().kill();
                    }
                }
            }
        });
        Self { child, lines, heard: Vec::new(), ended: false }
    }

    /// What it has said so far.
    fn heard(&mut self) -> &[String] {
        self.heard.extend(self.lines.try_iter());
        &self.heard
    }

    /// Whether it has ended; it must not have failed.
    fn over(&mut self) -> bool {
        if !self.ended
            && let Some(status) = self.child.lock().unwrap().try_wait().unwrap()
        {
            self.heard.extend(self.lines.try_iter());
            assert!(status.success(), "{:?}", self.heard);
            self.ended = true;
        }
        self.ended
    }

    /// Waits until it was killed; what it had said. `None` if it had ended before.
    async fn killed(mut self) -> Option<Vec<String>> {
        let status = eventually("it is killed", async || self.child.lock().unwrap().try_wait().unwrap()).await;
        // Its last line may be on its way.
        tokio::time::sleep(ms(20)).await;
        let said = self.heard().to_vec();
        assert!(status.success() || status.signal() == Some(9), "{status}: {said:?}");
        (!status.success()).then_some(said)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }
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

/// Starts whoever was added, until both processes have ended.
async fn until_both_are_voters(server: &mut Server, processes: &mut [Process; 2], joining: [usize; 2]) -> u32 {
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
        let over = processes.iter_mut().map(Process::over).filter(|over| *over).count();
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
                    let start = |at: usize| {
                        Process::start(TWO, &format!("join {}", server.nodes[at].peer_url()), &server, None)
                    };
                    let mut both = joining.map(start);
                    let looks = until_both_are_voters(&mut server, &mut both, joining).await;
                    let said = both.map(|mut process| {
                        process.heard().iter().filter(|said| *said != SENDS).cloned().collect::<Vec<_>>()
                    });
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
    let mut server = Server::start_with(version, 3, Settings { flags, tls: None }).await;
    let direct = server.members();
    let mut killed = 0;
    for moment in MOMENTS {
        let joining = [server.new_node(), server.new_node()];
        let job = |server: &Server, at: usize| format!("join {}", server.nodes[at].peer_url());
        let victim = Process::start(KILLED, &job(&server, joining[0]), &server, Some(moment));
        if moment.said.len() > 1 {
            // It is promoted only if it runs.
            let url = server.nodes[joining[0]].peer_url();
            eventually("it is there", async || with_url(&direct.list().await.ok()?, &url).1.map(drop)).await;
            server.join(joining[0]).await;
        }
        let said = victim.killed().await;
        killed += u32::from(said.is_some());

        let mut both = joining.map(|at| Process::start(KILLED, &job(&server, at), &server, None));
        until_both_are_voters(&mut server, &mut both, joining).await;
        let again = both[0].heard();
        println!("{version:?}, {moment:?}: {said:?}, then {again:?}");
        // The same one: what the killed process had added is found, and not added again.
        let id_of = |said: &[String]| {
            let line = said.iter().find(|line| line.starts_with("learner"));
            line.map(|line| line.split(' ').nth(1).unwrap().to_owned())
        };
        if let (Some(before), Some(after)) = (said.as_deref().and_then(id_of), id_of(again)) {
            assert_eq!(before, after);
        }
        for at in joining {
            direct.ensure_removed(server.nodes[at].peer_url().as_str()).unwrap().every(ms(50)).await.unwrap();
            server.wipe(at);
        }
    }

    // Killed while it removes, and somebody adds the same URL again: who it is about is told by the id.
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
        let said = Process::start(KILLED, &job, &server, Some(moment)).killed().await;
        killed += u32::from(said.is_some());
        // What was on its way has arrived; and in another second the same URL has another id.
        tokio::time::sleep(ms(1100)).await;
        let now = direct.ensure_learner([url]).unwrap().every(ms(50)).await.unwrap().value;
        let mut again = Process::start(KILLED, &job, &server, None);
        eventually("it has ended", async || again.over().then_some(())).await;
        println!("{version:?}, {moment:?} at a remove: {said:?}, then {:?}", again.heard());
        let there = direct.list().await.unwrap();
        assert!(there.iter().all(|member| member.id != first.id), "{there:?}");
        if now.id == first.id {
            there_still += 1;
        } else {
            gone_before += 1;
            assert!(there.iter().any(|member| member.id == now.id), "another one is left alone: {there:?}");
            assert!(again.heard().iter().any(|said| said == "gone AlreadySo"), "{:?}", again.heard());
        }
        direct.ensure_removed(url).unwrap().every(ms(50)).await.unwrap();
    }
    println!(
        "{version:?}: {killed} processes killed; {gone_before} removed and added again, {there_still} there still"
    );
    assert!(killed >= 9 && gone_before > 0 && there_still > 0);
}
