//! What is read of a run that gave up on a real client, by each of the reporters that people use.
//!
//! `texts.txt` is for a person to read. After a change, `RENEW=1 cargo test` writes it anew.

use std::{
    error::Error,
    fmt::{self, Write},
    io,
    iter::successors,
    sync::{Arc, Mutex},
    time::Duration,
};

use relent::{Backoff, GaveUp, events::Tracing, retry};
use sqlx::{ConnectOptions, postgres::PgConnectOptions};
use tonic::transport::Channel;
use tonic_prost::ProstCodec;

#[path = "../../engine/snapshot.rs"]
mod snapshot;

/// The same in all of them, but for how long it took: the attempts are real.
const G: &str = "gave up after 2 attempts: at most 2 attempts were allowed";

/// Nothing listens there.
const CLOSED: &str = "http://127.0.0.1:1/";

async fn twice<E>(fail: impl AsyncFn() -> E) -> GaveUp<E> {
    retry(async |_| Err::<(), _>(fail().await))
        .backoff(Backoff::fixed(Duration::ZERO))
        .max_attempts(2)
        .await
        .unwrap_err()
}

/// Leaves out how long it took.
fn timeless(text: &str) -> String {
    let mut parts = text.split("after 2 attempts in ");
    let mut timeless = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        write!(timeless, "after 2 attempts{}", &part[part.find(':').unwrap_or(part.len())..]).unwrap();
    }
    let mut parts = timeless.split("elapsed: ");
    let mut without = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        write!(without, "elapsed: _{}", &part[part.find(',').unwrap_or(part.len())..]).unwrap();
    }
    without.replace(G, "G")
}

fn sources(error: &(dyn Error + 'static)) -> String {
    let levels: Vec<_> = successors(error.source(), |&level| level.source()).map(ToString::to_string).collect();
    if levels.is_empty() { "none".to_owned() } else { levels.join(" <- ") }
}

/// What a reporter lays out on several lines.
fn laid_out(error: &dyn fmt::Debug) -> String {
    let text = format!("{error:?}");
    let text =
        text.split("\n\nLocation:").next().unwrap_or_default().split("\n\nStack backtrace").next().unwrap_or_default();
    text.replace("\n\n", "\n").replace('\n', "\n                | ")
}

/// The three ways in which the error of a caller holds the end of a run.
#[derive(Debug, thiserror::Error)]
enum Caller<E: Error + 'static> {
    #[error("not fetched")]
    Source(#[source] GaveUp<E>),
    #[error("not fetched: {0}")]
    From(#[from] GaveUp<E>),
    #[error(transparent)]
    Transparent(GaveUp<E>),
}

/// Where `tracing` writes to.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines that `tracing` writes while something runs.
async fn traced(run: impl Future<Output = ()>) -> Vec<String> {
    let written = Written::default();
    let to = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .with_writer(move || to.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    run.await;
    drop(guard);
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    text.lines().map(|line| line.trim().to_owned()).collect()
}

#[derive(Default)]
struct Table(String);

impl Table {
    fn line(&mut self, how: &str, text: impl fmt::Display) {
        writeln!(self.0, "  {how:13} {}", timeless(&text.to_string())).unwrap();
    }

    /// Everything that is read of the end of a run whose attempts fail with what `fail` answers.
    async fn error<E: Error + Send + Sync + 'static>(&mut self, what: &str, fail: impl AsyncFn() -> E) {
        writeln!(self.0, "\n{what}").unwrap();
        let gave_up = twice(&fail).await;
        self.line("{}", &gave_up);
        self.line("sources", sources(&gave_up));
        let error = anyhow::Error::from(gave_up).context("loading");
        self.line("anyhow {:#}", format_args!("{error:#}"));
        self.line("anyhow {:?}", laid_out(&error));
        let error = eyre::Report::from(twice(&fail).await).wrap_err("loading");
        self.line("eyre {:#}", format_args!("{error:#}"));
        self.line("eyre {:?}", laid_out(&error));
        let chained = twice(&fail).await.chained();
        self.line("chained", &chained);
        self.line("- sources", sources(&chained));
        self.line("- eyre {:?}", laid_out(&eyre::Report::from(chained).wrap_err("loading")));
        for (how, error) in [
            ("#[source]", Caller::Source(twice(&fail).await)),
            ("#[from] {0}", Caller::From(twice(&fail).await)),
            ("transparent", Caller::Transparent(twice(&fail).await)),
        ] {
            self.line(how, relent::error::chain(&error));
        }
        let gave_up = twice(&fail).await;
        let told = async {
            tracing::error!(error = %gave_up, "loading");
            tracing::error!(error = &gave_up as &dyn Error, "loading");
        };
        let told = traced(told).await;
        self.line("tracing %", &told[0]);
        self.line("tracing dyn", &told[1]);
        let run = async {
            let failing = retry(async |_| Err::<(), _>(fail().await));
            let failing = failing.backoff(Backoff::fixed(Duration::ZERO)).max_attempts(2).listen(Tracing::new("load"));
            let _ = failing.await;
        };
        let listened = traced(run).await;
        self.line("listener", listened.last().map_or("nothing", |line| line.split(" stop=").next().unwrap_or(line)));
    }
}

async fn status() -> tonic::Status {
    let channel = Channel::from_static("http://127.0.0.1:1").connect_lazy();
    let mut grpc = tonic::client::Grpc::new(channel);
    match grpc.ready().await {
        Ok(()) => {}
        Err(error) => return tonic::Status::from_error(error.into()),
    }
    let path = tonic::codegen::http::uri::PathAndQuery::from_static("/store.Store/Get");
    grpc.unary::<(), (), _>(tonic::Request::new(()), path, ProstCodec::default()).await.map(drop).unwrap_err()
}

async fn not_connected() -> tonic::transport::Error {
    Channel::from_static("http://127.0.0.1:1").connect().await.map(drop).unwrap_err()
}

async fn no_database() -> sqlx::Error {
    let options: PgConnectOptions = "postgres://127.0.0.1:1/store".parse().unwrap();
    options.connect().await.map(drop).unwrap_err()
}

#[tokio::test]
async fn read_by_a_person() {
    let mut table = Table(format!(
        "What is read of a run that gave up on a client that people use. Below, `G` is
{G},
without the time that it took. `fn main() -> Result` prints `Error: ` and `{{:?}}`.
"
    ));
    table.error("reqwest: connection refused", async || reqwest::get(CLOSED).await.unwrap_err()).await;
    table.error("tonic, connecting", not_connected).await;
    table.error("tonic, a call", status).await;
    table.error("sqlx, connecting", no_database).await;
    table.error("sqlx, in the application's own error", async || Own::Load(no_database().await)).await;
    snapshot::compare("texts.txt", &table.0);
}

/// An application's own error around the client's.
#[derive(Debug, thiserror::Error)]
enum Own {
    #[error("user 7 not loaded")]
    Load(#[source] sqlx::Error),
}

/// tonic looks for its status in the chain of causes.
#[tokio::test]
async fn tonic_finds_its_status() {
    let chained = twice(async || tonic::Status::resource_exhausted("too many")).await.chained();
    let found = tonic::Status::from_error(Box::new(chained));
    assert_eq!((found.code(), found.message()), (tonic::Code::ResourceExhausted, "too many"));
    let not_chained = twice(async || tonic::Status::resource_exhausted("too many")).await;
    assert_eq!(tonic::Status::from_error(Box::new(not_chained)).code(), tonic::Code::Unknown);
}
