//! Incident 1: kubeadm reads a ConfigMap with a short retry, every 50 ms for 350 ms.

use std::{path::Path, time::Duration};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Config,
    api::PostParams,
    client::ClientBuilder,
    config::{KubeConfigOptions, Kubeconfig},
};
use relent::{GaveUp, Last, Limiter, Rate, Stop};
use relent_apiserver::{ApiServer, Fault, Verb};
use relent_k8s::{self as k8s, ApiError, RetryAfterLayer};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    Options,
    stage::{Failed, Stage, Timeline, real_time, virtual_time},
};

const SPACE: &str = "kube-system";
const NAME: &str = "kube-proxy";

type Got = Result<ConfigMap, GaveUp<ApiError>>;

pub(crate) fn play(options: &Options, stage: &mut Stage) -> Result<(), Failed> {
    match &options.kubeconfig {
        Some(file) => real_time(on_a_cluster(stage, file))?,
        None => virtual_time(in_process(stage))?,
    }
}

fn maps(client: &Client) -> Api<ConfigMap> {
    Api::namespaced(client.clone(), SPACE)
}

/// A server with the map, and a client as `k8s::client` makes one.
async fn cluster() -> Result<(ApiServer, Client), kube::Error> {
    let server = ApiServer::new();
    let client = ClientBuilder::new(server.clone(), "default").with_layer(&RetryAfterLayer::default()).build();
    let maps = Api::namespaced(client.clone(), SPACE);
    let mut map = ConfigMap::default();
    map.metadata.name = Some(NAME.to_owned());
    map.data = Some([("config.conf".to_owned(), "mode: iptables".to_owned())].into());
    maps.create(&PostParams::default(), &map).await?;
    server.clear_journal();
    Ok((server, client))
}

fn on_get(fault: Fault) -> Fault {
    fault.verb(Verb::Get).path("**/configmaps/*")
}

/// What every part shows of a run.
fn show(stage: &Stage, timeline: &Timeline, got: &Got) {
    stage.timeline(timeline);
    stage.ended(&got.as_ref().map(|map| map.data.clone().unwrap_or_default()));
}

/// What is checked of a run without a value.
fn gave_up(stage: &mut Stage, got: &Got, attempts: u32, millis: u64, stop: &Stop, cause: &str) {
    match got {
        Ok(_) => stage.check("it gives up", false, true),
        Err(gave_up) => {
            stage.check("attempts", gave_up.attempts(), attempts);
            stage.check("it ended after", gave_up.elapsed(), Duration::from_millis(millis));
            stage.check("why it stopped", gave_up.stop().as_str(), stop.as_str());
            let named = gave_up.to_string().contains(cause);
            stage.check(&format!("the error says `{cause}`"), named, true);
        }
    }
}

/// What is checked of a run with a value.
fn has_it(stage: &mut Stage, got: &Got, server: &ApiServer, calls: usize, start: Instant, millis: u64) {
    stage.check("it has the map", got.is_ok(), true);
    stage.check("calls that the server saw", server.journal().len(), calls);
    stage.check("it took", start.elapsed(), Duration::from_millis(millis));
}

async fn in_process(stage: &mut Stage) -> Result<(), Failed> {
    slow_answer(stage).await?;
    hanging_call(stage).await?;
    absent_map(stage).await?;
    drained_limiter(stage).await?;
    burst(stage).await?;
    retry_after(stage).await?;
    cancel(stage).await
}

async fn slow_answer(stage: &mut Stage) -> Result<(), Failed> {
    stage.part(
        "a slow answer on the boundary: the first call fails after 340 ms, and the next tick is at 350 ms",
        "its last tick and its deadline came due together at 350 ms; whether there was another try was a matter of luck",
    );
    let (server, client) = cluster().await?;
    server.inject(on_get(Fault::status(503).after(Duration::from_millis(340)).times(1)));
    let (timeline, start) = (Timeline::default(), Instant::now());
    let got = k8s::get_config_map(&client, SPACE, NAME).notify(timeline.listener()).await;
    show(stage, &timeline, &got);
    has_it(stage, &got, &server, 2, start, 350);

    stage.say("one millisecond more, and there is no tick left; it says so at once, and what the server said:");
    let (server, client) = cluster().await?;
    server.inject(on_get(Fault::status(503).after(Duration::from_millis(351)).times(1)));
    let timeline = Timeline::default();
    let got = k8s::get_config_map(&client, SPACE, NAME).notify(timeline.listener()).await;
    show(stage, &timeline, &got);
    gave_up(stage, &got, 1, 351, &Stop::StartWindow, "the server is currently unable to handle the request");
    Ok(())
}

async fn hanging_call(stage: &mut Stage) -> Result<(), Failed> {
    stage.part(
        "a hanging call",
        "only the client's own 10 s ended the call; the 350 ms were long over by then, there was no second try, and the join failed",
    );
    let (server, client) = cluster().await?;
    server.inject(on_get(Fault::hang().times(1)));
    let timeline = Timeline::default();
    let got = k8s::get_config_map(&client, SPACE, NAME).notify(timeline.listener()).await;
    show(stage, &timeline, &got);
    gave_up(
        stage,
        &got,
        1,
        10_000,
        &Stop::StartWindow,
        "reading configmaps \"kube-proxy\" in the namespace \"kube-system\"); last attempt: cut after 10s by its own deadline",
    );

    stage.say("with a deadline per call that is shorter than the window, it gets its second try:");
    let (server, client) = cluster().await?;
    server.inject(on_get(Fault::hang().times(1)));
    let (timeline, start) = (Timeline::default(), Instant::now());
    let got = k8s::get_config_map(&client, SPACE, NAME)
        .attempt_timeout(Duration::from_millis(100))
        .notify(timeline.listener())
        .await;
    show(stage, &timeline, &got);
    has_it(stage, &got, &server, 2, start, 100);
    Ok(())
}

async fn absent_map(stage: &mut Stage) -> Result<(), Failed> {
    stage.part(
        "an absent map, which the caller can do without",
        "asked for it for the whole 350 ms, although `not found` is an answer, and drained the client's limiter with it",
    );
    let (server, client) = cluster().await?;
    let timeline = Timeline::default();
    let got = k8s::get_config_map(&client, SPACE, "kubelet-config").notify(timeline.listener()).await;
    show(stage, &timeline, &got);
    gave_up(stage, &got, 1, 0, &Stop::Fatal, "configmaps \"kubelet-config\" not found");
    let absent = got.as_ref().err().and_then(GaveUp::last_error).is_some_and(ApiError::is_not_found);
    stage.check("the caller can tell, and fall back", absent, true);
    stage.check("calls that the server saw", server.journal().len(), 1);
    Ok(())
}

async fn drained_limiter(stage: &mut Stage) -> Result<(), Failed> {
    stage.part(
        "an absent map that is waited for, with a drained limiter: 5 per second, burst 10, nothing left",
        "the limiter saw that a permit would come too late, and its complaint about a deadline took the place of `not found`: the \
         caller could not fall back, and kubeadm failed. The first fix dropped such errors, and where there was no other, it \
         returned neither a map nor an error: a crash",
    );
    let (server, client) = cluster().await?;
    let limiter = Limiter::per_second(5).burst(10);
    limiter.try_acquire(10)?;
    let timeline = Timeline::default();
    let got =
        k8s::get_when_created(&maps(&client), "kubelet-config").throttle(&limiter).notify(timeline.listener()).await;
    show(stage, &timeline, &got);
    let refused = got.as_ref().err().map(|gave_up| gave_up.stop().clone());
    stage.check("the limiter ended it", matches!(refused, Some(Stop::Limiter { .. })), true);
    let absent = got.as_ref().err().and_then(GaveUp::last_error).is_some_and(ApiError::is_not_found);
    stage.check("`not found` is beside the refusal", absent, true);
    stage.check("it ended after", got.as_ref().err().map(GaveUp::elapsed), Some(Duration::from_millis(250)));
    stage.check("calls that the server saw", server.journal().len(), 1);

    stage.say("with the limiter's rate at one in ten seconds and nothing left, no call is made; it says so rather than nothing:");
    server.clear_journal();
    limiter.set_rate(Rate::new(1, Duration::from_secs(10))?);
    stage.check("a permit is there", limiter.try_acquire(1).is_ok(), false);
    let timeline = Timeline::default();
    let got = k8s::get_config_map(&client, SPACE, NAME).throttle(&limiter).notify(timeline.listener()).await;
    show(stage, &timeline, &got);
    let refused = got.as_ref().err().is_some_and(|gave_up| matches!(gave_up.stop(), Stop::Limiter { .. }));
    stage.check("the limiter ended it", refused, true);
    let never = got.as_ref().err().is_some_and(|gave_up| matches!(gave_up.last(), Last::NotStarted));
    stage.check("it says that nothing was attempted", never, true);
    stage.check("calls that the server saw", server.journal().len(), 0);
    Ok(())
}

async fn burst(stage: &mut Stage) -> Result<(), Failed> {
    stage.part("a burst of 503", "got over it, if it was shorter than the 350 ms; otherwise it told the last error");
    let (server, client) = cluster().await?;
    server.inject(on_get(Fault::status(503).times(3)));
    let (timeline, start) = (Timeline::default(), Instant::now());
    let got = k8s::get_config_map(&client, SPACE, NAME).notify(timeline.listener()).await;
    show(stage, &timeline, &got);
    has_it(stage, &got, &server, 4, start, 150);

    stage.say("and one that does not end:");
    server.inject(on_get(Fault::status(503)));
    let timeline = Timeline::default();
    let got = k8s::get_config_map(&client, SPACE, NAME).notify(timeline.listener()).await;
    show(stage, &timeline, &got);
    gave_up(stage, &got, 8, 350, &Stop::StartWindow, "the server is currently unable to handle the request");
    Ok(())
}

async fn retry_after(stage: &mut Stage) -> Result<(), Failed> {
    stage.part(
        "an overloaded server, in plain text, asks for one second, again and again",
        "left that to its client, which waits and tries again inside the call, whatever the 350 ms say",
    );
    let (server, client) = cluster().await?;
    server.inject(on_get(Fault::overloaded(1)));
    let timeline = Timeline::default();
    let got = k8s::get_config_map(&client, SPACE, NAME).notify(timeline.listener()).await;
    show(stage, &timeline, &got);
    // What a server asks for does not count against the default window, 10 s in all at most.
    gave_up(
        stage,
        &got,
        11,
        10_000,
        &Stop::StartWindow,
        "Too many requests, please try again later (come back in 1 s)",
    );
    stage.check("calls that the server saw", server.journal().len(), 11);

    stage.say("asked for once, it is waited for:");
    let (server, client) = cluster().await?;
    server.inject(on_get(Fault::overloaded(1).times(1)));
    let (timeline, start) = (Timeline::default(), Instant::now());
    let got = k8s::get_config_map(&client, SPACE, NAME).notify(timeline.listener()).await;
    show(stage, &timeline, &got);
    has_it(stage, &got, &server, 2, start, 1_000);
    Ok(())
}

async fn cancel(stage: &mut Stage) -> Result<(), Failed> {
    stage.part(
        "a cancel after 120 ms",
        "could not be cancelled: since the last fix its calls ran on a background context, and Ctrl-C did not reach them",
    );
    for (fault, attempts, what) in [(Fault::status(503), 3, "in a pause"), (Fault::hang(), 1, "in a call")] {
        stage.say(format!("{what}:"));
        let (server, client) = cluster().await?;
        server.inject(on_get(fault));
        let (timeline, token) = (Timeline::default(), CancellationToken::new());
        let get = k8s::get_config_map(&client, SPACE, NAME).cancel_on(token.clone()).notify(timeline.listener());
        let cancel = async {
            tokio::time::sleep(Duration::from_millis(120)).await;
            token.cancel();
        };
        let (got, ()) = tokio::join!(get.into_future(), cancel);
        show(stage, &timeline, &got);
        let cause = if attempts == 1 { "cancelled after 120ms" } else { "unable to handle the request" };
        gave_up(stage, &got, attempts, 120, &Stop::Cancelled, cause);
    }
    Ok(())
}

/// Reads only: nothing in the cluster is changed.
async fn on_a_cluster(stage: &mut Stage, file: &Path) -> Result<(), Failed> {
    let client = k8s::client_from(file).await?;
    let mut config =
        Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &KubeConfigOptions::default()).await?;
    stage.say(format!("on {}", config.cluster_url));
    let absent = format!("relent-absent-{}", std::process::id());
    let final_answer = |stage: &mut Stage, got: &Got, cause: &str| {
        stage.check("attempts", got.as_ref().err().map(GaveUp::attempts), Some(1));
        stage.check("it is an answer", got.as_ref().is_err_and(GaveUp::is_fatal), true);
        let named = got.as_ref().is_err_and(|gave_up| gave_up.to_string().contains(cause));
        stage.check(&format!("the error says `{cause}`"), named, true);
    };

    stage.part("an absent map", "asked for it for the whole 350 ms, although `not found` is an answer");
    let timeline = Timeline::default();
    let got = k8s::get_config_map(&client, SPACE, &absent).notify(timeline.listener()).await;
    show(stage, &timeline, &got);
    final_answer(stage, &got, &absent);

    stage.part(
        "an absent map that is waited for, with a drained limiter",
        "lost `not found` to the limiter's complaint",
    );
    let limiter = Limiter::per_second(5).burst(10);
    limiter.try_acquire(10)?;
    let timeline = Timeline::default();
    let get = k8s::get_when_created(&maps(&client), &absent).throttle(&limiter);
    let got = get.notify(timeline.listener()).await;
    show(stage, &timeline, &got);
    let told = got
        .as_ref()
        .err()
        .and_then(GaveUp::last_error)
        .is_some_and(|error| error.is_not_found() || error.is_forbidden());
    stage.check("the server's answer is in the error", told, true);

    stage.part("a token that the server does not know", "repeated it for 350 ms");
    let mut unknown = config.clone();
    unknown.auth_info = kube::config::AuthInfo { token: Some("unknown".to_owned().into()), ..Default::default() };
    let timeline = Timeline::default();
    let got = k8s::get_config_map(&k8s::client(unknown)?, SPACE, NAME).notify(timeline.listener()).await;
    show(stage, &timeline, &got);
    // A server that has just started refuses for a moment: a refusal is an answer once it has lasted.
    let lasted = got.as_ref().is_err_and(|gave_up| gave_up.is_fatal() && gave_up.elapsed() >= Duration::from_secs(2));
    stage.check("it is an answer once it has lasted 2 s", lasted, true);
    let told = got.is_err_and(|gave_up| gave_up.to_string().contains("renew the token or the client certificate"));
    stage.check("the error says what to do", told, true);

    stage.part("a server that is down", "repeated the call for 350 ms, and told the last error");
    config.cluster_url = http::Uri::from_static("https://127.0.0.1:1/");
    let timeline = Timeline::default();
    let got = k8s::get_config_map(&k8s::client(config)?, SPACE, NAME).notify(timeline.listener()).await;
    show(stage, &timeline, &got);
    let stop = got.as_ref().err().map(|gave_up| gave_up.stop().as_str());
    stage.check("why it stopped", stop, Some(Stop::StartWindow.as_str()));
    stage.check("it was tried more than once", got.as_ref().is_err_and(|gave_up| gave_up.attempts() > 1), true);
    let told = got.is_err_and(|gave_up| gave_up.to_string().contains("check that the API server runs"));
    stage.check("the error says what to do", told, true);
    Ok(())
}
