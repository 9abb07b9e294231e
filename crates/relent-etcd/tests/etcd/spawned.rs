//! Every caller, with every word, awaited in an async block that is spawned. It is a matter of types: this is only compiled.

use std::{future::pending, time::Duration};

use relent::{Budget, CancellationToken, Limiter, Ratio};
use relent_etcd::{Members, model::ModelClient};

/// What `tokio::spawn` asks for.
fn spawns<F>(_: F)
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
}

macro_rules! words {
    ($with:ident, $run:expr) => {{
        let mine = $with.clone();
        spawns(async move {
            let $with = &mine;
            $run.await.map(drop)
        });
        let mine = $with.clone();
        spawns(async move {
            let $with = &mine;
            let (limiter, budget) = (Limiter::unlimited(), Budget::ratio(Ratio::percent(10)));
            let run = $run.finish_within(Duration::from_secs(1)).when(|_| true).notify(|_| {}).throttle(&limiter);
            run.budget(&budget).cancel_on(CancellationToken::new()).cancel_when(pending::<()>()).await.map(drop)
        });
    }};
}

const _: fn(Members<ModelClient>) = |members| {
    words!(members, members.ensure_learner(["http://etcd-4:2380"]).unwrap());
    words!(members, members.ensure_joined(["http://etcd-4:2380"]).unwrap());
    words!(members, members.ensure_voter(["http://etcd-4:2380"]).unwrap());
    words!(members, members.ensure_promoted(4).unwrap());
    words!(members, members.ensure_removed("http://etcd-1:2380").unwrap());
    words!(members, members.wait_healthy());
};
