//! Incident 3: kubeadm adds, promotes and removes members of etcd; the answers are lost.

use std::time::Duration;

use relent::{Change, Policy};
use relent_etcd::model::{CallFault, Model, ModelCall};
use relent_etcd::{MemberError, Members};

use crate::{
    Options,
    stage::{Failed, Stage, Timeline, virtual_time},
};

const NEW: &str = "http://etcd-4:2380";
const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn play(options: &Options, stage: &mut Stage) -> Result<(), Failed> {
    if !options.real {
        stage.say("on a model of etcd's rules of membership, in virtual time (with `--features demo,etcd -- etcd --real`: on real etcd)");
        return virtual_time(on_the_model(stage))?;
    }
    #[cfg(feature = "etcd")]
    return real::play(stage);
    #[cfg(not(feature = "etcd"))]
    Err("--real needs the feature etcd: cargo run --example incidents --features demo,etcd -- etcd --real".into())
}

/// What came and went at the servers.
fn calls(stage: &Stage, model: &Model) {
    for (at, text) in model.history() {
        stage.say(format_args!("{:>6} ms | {text}", at.as_millis()));
    }
}

async fn on_the_model(stage: &mut Stage) -> Result<(), Failed> {
    let policy = Policy::new().every(SECOND / 2).attempt_timeout(2 * SECOND).finish_within(120 * SECOND);

    stage.part(
        "the answer of the add is lost",
        "its next try was told `Peer URLs already exists`, and so was every other for two minutes; then the join failed, with a \
         member added that nobody started",
    );
    let model = Model::new(3);
    model.start_joined_after(Some(3 * SECOND));
    model.fault(ModelCall::Add, [CallFault::LostAfter]);
    let members = Members::new(model.client())?.policy(&policy);
    let timeline = Timeline::default();
    let added = members.ensure_learner([NEW])?.notify(timeline.listener()).await;
    calls(stage, &model);
    stage.timeline(&timeline);
    stage.ended(&added.as_ref().map(|added| added.value.to_string()));
    stage.check("how it came to be", added.as_ref().ok().map(|added| added.change), Some(Change::AppliedDespiteError));
    stage.check("adds that were sent", model.calls(ModelCall::Add), 1);
    let with_url = model.members().iter().filter(|member| member.peer_urls.contains(&NEW.to_owned())).count();
    stage.check("members with its url", with_url, 1);

    stage.part(
        "the learner is promoted, and that answer is lost too",
        "its next try was told `can only promote a learner member`, for two minutes",
    );
    tokio::time::sleep(4 * SECOND).await;
    model.fault(ModelCall::Promote, [CallFault::HangAfter]);
    let timeline = Timeline::default();
    let promoted = members.ensure_promoted(NEW)?.notify(timeline.listener()).await;
    stage.timeline(&timeline);
    stage.ended(&promoted.as_ref().map(|promoted| promoted.value.to_string()));
    let change = promoted.as_ref().ok().map(|promoted| (promoted.value.learner, promoted.change));
    stage.check("a voter, and how it came to be", change, Some((false, Change::AppliedDespiteError)));

    stage.part(
        "a remove whose answer is lost, and whose endpoint is down from then on",
        "every try went to the same endpoint; `member not found` was repeated too",
    );
    model.fault(ModelCall::Remove, [CallFault::LostAfter]);
    model.stop("http://etcd-1:2380");
    let timeline = Timeline::default();
    let gone = members.ensure_removed("http://etcd-1:2380")?.notify(timeline.listener()).await;
    stage.timeline(&timeline);
    stage.check(
        "it is gone",
        gone.is_ok_and(|gone| gone.value.removed.is_some_and(|member| member.name == "etcd-1")),
        true,
    );
    stage.check("members", model.members().len(), 3);

    stage.part(
        "what cannot be done is said at once, or with its reason",
        "all of it was repeated for two minutes; a voter that was asked for and found as a learner was taken for done",
    );
    let sent = model.calls(ModelCall::Add);
    stage.say(format_args!(
        "error: {}",
        members.ensure_learner(["etcd-9:2380"]).err().map_or(String::new(), |error| error.to_string())
    ));
    let voter = members.ensure_learner([NEW])?.await;
    stage.ended(&voter);
    let kind = voter
        .is_err_and(|gave_up| gave_up.attempts() == 1 && matches!(gave_up.last_error(), Some(MemberError::IsVoter(_))));
    stage.check("a voter is not taken for a learner", kind, true);
    let lonely = Model::new(1);
    let second = Members::new(lonely.client())?.ensure_voter(["http://etcd-2:2380"])?.await;
    stage.ended(&second);
    stage.check(
        "the quorum is kept",
        (second.is_err_and(|gave_up| gave_up.is_fatal()), lonely.calls(ModelCall::Add)),
        (true, 0),
    );
    model.stop("http://etcd-2:2380");
    model.stop("http://etcd-3:2380");
    let lost = members.ensure_learner(["http://etcd-5:2380"])?.finish_within(10 * SECOND).await;
    stage.ended(&lost);
    stage.check("without a quorum nothing is sent", (lost.is_err(), model.calls(ModelCall::Add)), (true, sent));
    Ok(())
}

#[cfg(feature = "etcd")]
mod real {
    use std::sync::Arc;

    use relent::{
        Change, Policy,
        testing::proxy::{Proxy, Wire},
    };
    use relent_etcd::MemberError;

    use crate::{
        around::{Between, Call},
        server::{Server, Version, ms, with_url},
        stage::{Failed, Stage, Timeline, real_time},
    };

    /// Keeps the answer of the first add that is carried out to itself.
    struct Kept(Arc<Proxy>);

    /// A refusal is short enough to pass: the cut is for the answer that says that it was done.
    struct Until(Arc<Proxy>);

    impl Drop for Until {
        fn drop(&mut self) {
            self.0.set(Wire::Pass);
        }
    }

    impl Between for Kept {
        type Held = Option<Until>;

        async fn before(&self, call: Call, _: &str) -> Option<Until> {
            let first = call == Call::Change && self.0.cuts() == 0;
            first.then(|| {
                self.0.set(Wire::CutAnswer { after: 120 });
                Until(Arc::clone(&self.0))
            })
        }
    }

    pub(super) fn play(stage: &mut Stage) -> Result<(), Failed> {
        if std::env::var_os("RELENT_ETCD_35").is_none() {
            return Err("--real starts etcd 3.5, and RELENT_ETCD_35 does not say where it is: eval \"$(tests/get-servers etcd-3.5)\"".into());
        }
        real_time(async {
            let mut server = Server::start(Version::V35, 3).await;
            stage.say("on three processes of real etcd 3.5, behind a proxy, in real time");
            stage.part(
                "the answer of the add is lost",
                "its next try was told `Peer URLs already exists`, for two minutes",
            );
            let direct = server.members();
            // Etcd adds no member in its first five seconds: this one waits for that.
            let first = direct.ensure_learner(["http://127.0.0.1:9"])?.await?;
            direct.ensure_removed(&first.value)?.await?;
            let proxy = Arc::new(Proxy::start(server.nodes[0].client).await?);
            let policy = Policy::new().every(ms(200)).attempt_timeout(ms(1000)).finish_within(ms(60_000));
            let behind = [format!("http://{}", proxy.address())];
            let members = server.members_of(behind, Kept(proxy)).policy(&policy);
            let timeline = Timeline::default();
            let url = "http://127.0.0.1:10";
            let added = members.ensure_learner([url])?.notify(timeline.listener()).await;
            stage.timeline(&timeline);
            stage.ended(&added.as_ref().map(|added| added.value.to_string()));
            stage.check("how it came to be", added.ok().map(|added| added.change), Some(Change::AppliedDespiteError));
            stage.check("members with its url", with_url(&direct.list().await?, url).0, 1);

            stage.part(
                "what cannot be done is said at once, or with its reason",
                "all of it was repeated for two minutes",
            );
            let voter = direct.ensure_learner([server.nodes[1].peer_url()])?.await;
            stage.ended(&voter);
            stage.check(
                "a voter is not taken for a learner",
                voter.is_err_and(|gave_up| gave_up.attempts() == 1),
                true,
            );
            let quick = policy.attempt_timeout(ms(500)).finish_within(ms(2500));
            server.kill(1);
            let third = direct.clone().policy(&quick).ensure_removed(server.nodes[2].peer_url().as_str())?.await;
            stage.ended(&third);
            let refused =
                third.is_err_and(|gave_up| matches!(gave_up.last_error(), Some(MemberError::WouldLoseQuorum { .. })));
            stage.check("with one of three down no other is removed", refused, true);
            server.kill(2);
            let lost = direct.clone().policy(&quick).ensure_removed(url)?.await;
            stage.ended(&lost);
            stage.check("without a quorum nothing is done, and nothing claimed", lost.is_err(), true);
            Ok(())
        })?
    }
}
