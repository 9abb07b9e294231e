//! Incident 1: kubeadm reads a ConfigMap with a short retry, every 50 ms for 350 ms.

use std::{error, fmt, path::Path, time::Duration};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Config, Error,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use relent::{
    Decision, GaveUp, Last, Stop, retry,
    testing::kube::{ApiServer, Fault, Verb},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Options,
    stage::{Failed, Stage, Timeline, real_time, virtual_time},
};

const NAME: &str = "kube-proxy";

pub(crate) fn play(options: &Options, stage: &mut Stage) -> Result<(), Failed> {
    match &options.kubeconfig {
        Some(file) => real_time(on_a_cluster(stage, file))?,
        None => virtual_time(in_process(stage))?,
    }
}

/// An error of the client in the words of the server alone.
#[derive(Debug)]
struct Refused(Error);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Error::Api(status) => write!(f, "{} ({})", status.message, status.code),
            error => write!(f, "{error}"),
        }
    }
}

impl error::Error for Refused {}

/// Reads the map: a final answer ends the run at once, anything else is tried again.
async fn fetch(
    maps: &Api<ConfigMap>,
    name: &str,
    attempt_timeout: Duration,
    cancel: CancellationToken,
    timeline: &Timeline,
) -> Result<ConfigMap, GaveUp<Refused>> {
    retry(async |_| maps.get(name).await.map_err(Refused))
        .every(Duration::from_millis(50))
        .start_within(Duration::from_millis(350))
        .attempt_timeout(attempt_timeout)
        .when(judge)
        .cancel_on(cancel)
        .notify(timeline.listener())
        .await
}

fn judge(refused: &Refused) -> Decision {
    match &refused.0 {
        Error::Api(status) if matches!(status.code, 400 | 401 | 403 | 404 | 422) => Decision::Fatal,
        Error::Api(status) => {
            let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
            if seconds > 0 { Decision::RetryAfter(Duration::from_secs(seconds.into())) } else { Decision::Retry }
        }
        _ => Decision::Retry,
    }
}

const LONG: Duration = Duration::from_secs(10);

/// A server with the map, and its maps.
async fn cluster() -> Result<(ApiServer, Api<ConfigMap>), Error> {
    let server = ApiServer::new();
    let maps = Api::namespaced(server.client(), "kube-system");
    let mut map = ConfigMap::default();
    map.metadata.name = Some(NAME.to_owned());
    map.data = Some([("config.conf".to_owned(), "mode: iptables".to_owned())].into());
    maps.create(&PostParams::default(), &map).await?;
    Ok((server, maps))
}

/// What is checked of a run: how many attempts, how long, why it stopped.
fn check<T>(stage: &mut Stage, result: &Result<T, GaveUp<Refused>>, attempts: u32, millis: u64, stop: &Stop) {
    match result {
        Ok(_) => stage.check("it gives up", false, true),
        Err(gave_up) => {
            stage.check("attempts", gave_up.attempts(), attempts);
            stage.check("milliseconds", gave_up.elapsed(), Duration::from_millis(millis));
            stage.check("why it stopped", gave_up.stop().as_str(), stop.as_str());
        }
    }
}

async fn in_process(stage: &mut Stage) -> Result<(), Failed> {
    let fault = |fault: Fault| fault.verb(Verb::Get).path("**/configmaps/*");

    stage.part(
        "a slow answer on the boundary: the first call takes 340 ms and fails, the next tick is at 350 ms",
        "at 350 ms its timer and its deadline came due together; whether it tried again was chance",
    );
    let (server, maps) = cluster().await?;
    server.inject(fault(Fault::status(503).after(Duration::from_millis(340)).times(1)));
    let timeline = Timeline::default();
    let start = tokio::time::Instant::now();
    let got = fetch(&maps, NAME, LONG, CancellationToken::new(), &timeline).await;
    stage.timeline(&timeline);
    stage.ended(&got.as_ref().map(|map| map.data.clone()));
    stage.check("it has the map", got.is_ok(), true);
    stage.check("it took", start.elapsed(), Duration::from_millis(350));
    stage.check("calls that the server saw", server.journal().len() - 1, 2);

    stage.part(
        "a hanging call",
        "the client's 10 s ended the only attempt: the 350 ms were long over, and nothing was tried again",
    );
    let (server, maps) = cluster().await?;
    server.inject(fault(Fault::hang().times(1)));
    let timeline = Timeline::default();
    let got = fetch(&maps, NAME, LONG, CancellationToken::new(), &timeline).await;
    stage.timeline(&timeline);
    stage.ended(&got);
    check(stage, &got, 1, 10_000, &Stop::StartWindow);
    let cut = got.err().is_some_and(|gave_up| matches!(gave_up.last(), Last::Cut { .. }));
    stage.check("it says that the attempt was cut", cut, true);
    stage.say("with a deadline per call that is shorter than the window, a hanging call gets its second try:");
    server.inject(fault(Fault::hang().times(1)));
    let timeline = Timeline::default();
    let got = fetch(&maps, NAME, Duration::from_millis(100), CancellationToken::new(), &timeline).await;
    stage.timeline(&timeline);
    stage.check("it has the map", got.is_ok(), true);

    stage.part(
        "an absent map",
        "asked 8 times in 350 ms, and drained the client's limiter; once, the limiter's refusal overwrote `not found`, the caller \
         did not see that it could do without the map, and the join failed",
    );
    let (server, maps) = cluster().await?;
    let timeline = Timeline::default();
    let got = fetch(&maps, "kubelet-config", LONG, CancellationToken::new(), &timeline).await;
    stage.timeline(&timeline);
    stage.ended(&got);
    check(stage, &got, 1, 0, &Stop::Fatal);
    stage.check(
        "it names the map",
        got.is_err_and(|error| error.to_string().contains("\"kubelet-config\" not found")),
        true,
    );
    drop(server);

    stage.part("a burst of 503", "was ridden out, if it was shorter than 350 ms");
    let (server, maps) = cluster().await?;
    server.inject(fault(Fault::status(503).times(3)));
    let timeline = Timeline::default();
    let start = tokio::time::Instant::now();
    let got = fetch(&maps, NAME, LONG, CancellationToken::new(), &timeline).await;
    stage.timeline(&timeline);
    stage.check("it has the map", got.is_ok(), true);
    stage.check("it took", start.elapsed(), Duration::from_millis(150));
    server.inject(fault(Fault::status(503)));
    let timeline = Timeline::default();
    let got = fetch(&maps, NAME, LONG, CancellationToken::new(), &timeline).await;
    stage.timeline(&timeline);
    stage.ended(&got);
    check(stage, &got, 8, 350, &Stop::StartWindow);

    stage.part(
        "a Retry-After that cannot fit",
        "its client waits inside the call for as long as the server asks; the 350 ms do not bound that",
    );
    let (server, maps) = cluster().await?;
    server.inject(fault(Fault::status(429).retry_after(1)));
    let timeline = Timeline::default();
    let got = fetch(&maps, NAME, LONG, CancellationToken::new(), &timeline).await;
    stage.timeline(&timeline);
    stage.ended(&got);
    check(stage, &got, 1, 0, &Stop::StartWindow);

    stage.part("a cancel after 120 ms", "could not be cancelled: the calls ran on a background context");
    let (server, maps) = cluster().await?;
    server.inject(fault(Fault::status(503)));
    let timeline = Timeline::default();
    let cancel = CancellationToken::new();
    let trigger = cancel.clone();
    let fetched = fetch(&maps, NAME, LONG, cancel, &timeline);
    let cancelled = async move {
        tokio::time::sleep(Duration::from_millis(120)).await;
        trigger.cancel();
    };
    let (got, ()) = tokio::join!(fetched, cancelled);
    stage.timeline(&timeline);
    stage.ended(&got);
    check(stage, &got, 3, 120, &Stop::Cancelled);
    let known = got.is_err_and(|gave_up| gave_up.last_error().is_some());
    stage.check("the last real error is not lost", known, true);
    Ok(())
}

async fn on_a_cluster(stage: &mut Stage, file: &Path) -> Result<(), Failed> {
    let mut config =
        Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    stage.say(format!("on {}", config.cluster_url));
    let client = Client::try_from(config.clone())?;

    stage.part("an absent map", "asked 8 times in 350 ms");
    let absent = format!("relent-absent-{}", std::process::id());
    let maps: Api<ConfigMap> = Api::namespaced(client, "kube-system");
    let timeline = Timeline::default();
    let got = fetch(&maps, &absent, LONG, CancellationToken::new(), &timeline).await;
    stage.timeline(&timeline);
    stage.ended(&got);
    stage.check("attempts", got.as_ref().err().map(GaveUp::attempts), Some(1));
    stage.check("it is final", got.as_ref().is_err_and(GaveUp::is_fatal), true);

    stage.part("a server that is down", "repeated the refusal for 350 ms, and said so");
    config.cluster_url = http::Uri::from_static("http://127.0.0.1:1/");
    let maps: Api<ConfigMap> = Api::namespaced(Client::try_from(config)?, "kube-system");
    let timeline = Timeline::default();
    let got = fetch(&maps, &absent, LONG, CancellationToken::new(), &timeline).await;
    stage.timeline(&timeline);
    stage.ended(&got);
    let stop = got.as_ref().err().map(|gave_up| gave_up.stop().as_str());
    stage.check("why it stopped", stop, Some(Stop::StartWindow.as_str()));
    stage.check("it was tried more than once", got.is_err_and(|gave_up| gave_up.attempts() > 1), true);
    Ok(())
}
