//! What is read of an error: by `{}`, `{:#}`, `{:?}`, under anyhow and thiserror, and by reporters that walk the
//! sources.
//!
//! `texts.txt` is for a person to read. After a change, `RENEW=1 cargo test --test engine texts` writes it anew.

use std::{error::Error, fmt, fmt::Write, future::pending, io, iter::successors, time::Duration};

use anyhow::Context;
use relent::{Backoff, GaveUp, error::Reason, retry};

use crate::snapshot::compare;

const MS: Duration = Duration::from_millis(1);

/// The same in most of them.
const G: &str = "gave up after 2 attempts in 50ms: at most 2 attempts were allowed";

fn refused() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, "Connection refused (os error 111)")
}

/// Says where, and leaves why to its source: as the errors of reqwest, hyper and tonic do.
#[derive(Debug)]
struct Where(&'static str, Option<Box<dyn Error + Send + Sync>>);

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for Where {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.1.as_deref().map(|source| source as _)
    }
}

fn below(texts: &[&'static str], cause: impl Into<Box<dyn Error + Send + Sync>>) -> Where {
    let (first, rest) = texts.split_first().unwrap();
    let source = if rest.is_empty() { cause.into() } else { below(rest, cause).into() };
    Where(first, Some(source))
}

/// As sqlx does: the text of the source, and the source.
#[derive(Debug, thiserror::Error)]
enum Database {
    #[error("error communicating with database: {0}")]
    Io(#[from] io::Error),
    #[error("pool timed out while waiting for an open connection")]
    PoolTimedOut,
}

#[derive(Debug, thiserror::Error)]
enum Store {
    #[error("user 7 not loaded")]
    Load(#[source] Database),
    #[error(transparent)]
    Database(#[from] Database),
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

async fn twice<E>(error: impl Fn() -> E) -> GaveUp<E> {
    retry(|_| {
        let error = error();
        async { Err::<(), _>(error) }
    })
    .backoff(Backoff::fixed(50 * MS))
    .max_attempts(2)
    .await
    .unwrap_err()
}

fn sources(error: &(dyn Error + 'static)) -> String {
    let levels: Vec<_> = successors(error.source(), |&level| level.source()).map(ToString::to_string).collect();
    if levels.is_empty() { "none".to_owned() } else { levels.join(" <- ") }
}

fn debug(error: &anyhow::Error) -> String {
    let text = format!("{error:?}");
    text.split("\n\nStack backtrace")
        .next()
        .unwrap_or_default()
        .replace("\n\n", "\n")
        .replace('\n', "\n                | ")
}

#[derive(Default)]
struct Table(String);

impl Table {
    fn line(&mut self, how: &str, text: impl fmt::Display) {
        writeln!(self.0, "  {how:13} {text}").unwrap();
    }

    fn head(&mut self, what: &str) {
        writeln!(self.0, "\n{what}").unwrap();
    }

    /// Everything that is read of `end()`, whose error is an [`Error`].
    async fn error<E: Error + Send + Sync + 'static>(&mut self, what: &str, end: impl AsyncFn() -> GaveUp<E>) {
        self.head(what);
        let gave_up = end().await;
        self.line("{}", &gave_up);
        assert_eq!(format!("{gave_up:#}"), gave_up.to_string());
        assert_eq!(gave_up.sentence().to_string(), gave_up.to_string());
        self.line("{:?}", format_args!("{gave_up:?}"));
        self.line("summary", gave_up.summary());
        self.line("sources", sources(&gave_up));
        let error = anyhow::Error::from(gave_up).context("loading");
        self.line("anyhow {:#}", format_args!("{error:#}"));
        self.line("anyhow {:?}", debug(&error));
        let chained = end().await.chained();
        self.line("chained", &chained);
        self.line("- sources", sources(&chained));
        let error = anyhow::Error::from(chained).context("loading");
        self.line("- anyhow {:#}", format_args!("{error:#}"));
        self.line("- anyhow {:?}", debug(&error));
        for (how, error) in [
            ("#[source]", Caller::Source(end().await)),
            ("#[from] {0}", Caller::From(end().await)),
            ("transparent", Caller::Transparent(end().await)),
        ] {
            self.line(how, relent::error::chain(&error));
        }
    }

    /// What is read of an error that is none, and of what becomes of it.
    async fn other<E, K: 'static>(&mut self, what: &str, error: impl Fn() -> E)
    where
        E: Reason<K> + fmt::Debug + Into<Box<dyn Error + Send + Sync>>,
    {
        self.head(what);
        self.line("sentence", twice(&error).await.sentence());
        self.line("summary", twice(&error).await.summary());
        let boxed = twice(&error).await.boxed();
        self.line("boxed {}", &boxed);
        self.line("- sources", sources(&boxed));
        let chained = boxed.chained();
        self.line("- chained", &chained);
        self.line("- - sources", sources(&chained));
        let error = anyhow::Error::from(chained).context("loading");
        self.line("- - anyhow {:?}", debug(&error));
    }
}

#[tokio::test(start_paused = true)]
async fn read_by_a_person() {
    let mut table = Table(format!(
        "What is read of a run that gave up. Below, `G` is
{G}.
"
    ));
    table.error("io::Error", async || twice(refused).await).await;
    table
        .error("as of reqwest", async || {
            let texts =
                ["error sending request for url (http://127.0.0.1:1/)", "client error (Connect)", "tcp connect error"];
            twice(|| below(&texts, refused())).await
        })
        .await;
    table
        .error("as of tonic", async || twice(|| below(&["transport error", "tcp connect error"], refused())).await)
        .await;
    table.error("as of sqlx: tells its source and has it", async || twice(|| Database::Io(refused())).await).await;
    table.error("as of sqlx: without a source", async || twice(|| Database::PoolTimedOut).await).await;
    table
        .error("thiserror, two levels, the second tells the third", async || {
            twice(|| Store::Load(Database::Io(refused()))).await
        })
        .await;
    table.error("thiserror, transparent", async || twice(|| Store::from(Database::Io(refused()))).await).await;
    table
        .error("a run in a run", async || {
            let inner = twice(refused).await;
            let inner = std::cell::Cell::new(Some(inner));
            retry(|_| {
                let inner = inner.take().unwrap();
                async { Err::<(), _>(inner) }
            })
            .when(|_| false)
            .await
            .unwrap_err()
        })
        .await;
    table
        .error("cut, never an error", async || {
            retry(|_| pending::<io::Result<()>>()).finish_within(80 * MS).await.unwrap_err()
        })
        .await;
    table
        .error("cut, an error before", async || {
            retry(
                async |attempt| if attempt.number() == 1 { Err(refused()) } else { pending::<io::Result<()>>().await },
            )
            .backoff(Backoff::fixed(50 * MS))
            .finish_within(80 * MS)
            .await
            .unwrap_err()
        })
        .await;
    table.other("&'static str", || "out of luck").await;
    table.other("String", || "out of luck".to_owned()).await;
    table.other("Cow<'static, str>", || std::borrow::Cow::Borrowed("out of luck")).await;
    table
        .other("anyhow::Error", || {
            Err::<(), _>(refused()).context("dialing 10.0.0.1:5432").context("opening the pool").unwrap_err()
        })
        .await;
    table
        .other("Box<dyn Error + Send + Sync>", || -> Box<dyn Error + Send + Sync> {
            below(&["transport error", "tcp connect error"], refused()).into()
        })
        .await;
    let (head, rows) = table.0.split_at(table.0.find("\n\n").unwrap());
    compare("tests/engine/texts.txt", &format!("{head}{}", rows.replace(G, "G")));
}
