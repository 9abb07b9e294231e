//! A subscriber that writes down everything it is told.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ::tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::set_default,
};
use relent::{Backoff, Check, Limiter, Rate, ensure, events::Tracing, poll, retry};

const MS: Duration = Duration::from_millis(1);

/// One line for each call; spans as `#1`.
#[derive(Clone, Default)]
struct Notebook {
    lines: Arc<Mutex<Vec<String>>>,
    spans: Arc<AtomicU64>,
    /// References to each span, as subscribers are to count them.
    references: Arc<Mutex<BTreeMap<u64, u32>>>,
}

impl Notebook {
    fn write(&self, line: String) {
        self.lines.lock().unwrap().push(line);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock().unwrap())
    }
}

/// Fields as ` name=value`, values as their kind shows them.
struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl Subscriber for Notebook {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "relent"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = self.spans.fetch_add(1, Ordering::Relaxed) + 1;
        self.references.lock().unwrap().insert(id, 1);
        let mut fields = Fields(String::new());
        span.record(&mut fields);
        let (name, level) = (span.metadata().name(), span.metadata().level());
        self.write(format!("open #{id} {level} {name}{}", fields.0));
        Id::from_u64(id)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let mut fields = Fields(String::new());
        values.record(&mut fields);
        self.write(format!("record #{}{}", span.into_u64(), fields.0));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        let parent = event.parent().map_or(0, Id::into_u64);
        self.write(format!("#{parent} {}{}", event.metadata().level(), fields.0));
    }

    fn enter(&self, span: &Id) {
        self.write(format!("enter #{}", span.into_u64()));
    }

    fn exit(&self, span: &Id) {
        self.write(format!("exit #{}", span.into_u64()));
    }

    fn clone_span(&self, id: &Id) -> Id {
        *self.references.lock().unwrap().get_mut(&id.into_u64()).unwrap() += 1;
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let mut references = self.references.lock().unwrap();
        let left = references.get_mut(&id.into_u64()).unwrap();
        *left -= 1;
        if *left == 0 {
            self.write(format!("close #{}", id.into_u64()));
        }
        *left == 0
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_gives_up() {
    let notebook = Notebook::default();
    let _guard = set_default(notebook.clone());
    let gave_up = retry(|attempt| async move {
        if attempt.number() == 2 {
            std::future::pending::<()>().await;
        }
        Err::<(), _>("no route")
    })
    .backoff(Backoff::fixed(40 * MS))
    .attempt_timeout(10 * MS)
    .throttle(&Limiter::new(Rate::per_second(10), 1))
    .start_within(199 * MS)
    .listen(Tracing::new("fetch config map"))
    .await
    .unwrap_err();
    // Nothing is ever entered: a run is left at every await point.
    assert_eq!(
        notebook.take(),
        [
            "open #1 INFO run what=\"fetch config map\"",
            "#1 TRACE message=attempt started attempt=1",
            "#1 INFO message=attempt failed attempt=1 elapsed=0ns error=no route",
            "#1 DEBUG message=waiting delay=40ms reason=\"pause\"",
            "#1 DEBUG message=waiting delay=60ms reason=\"limiter\"",
            "#1 TRACE message=attempt started attempt=2",
            "#1 INFO message=attempt cut attempt=2 elapsed=110ms after=10ms",
            "#1 DEBUG message=waiting delay=40ms reason=\"pause\"",
            &format!("#1 WARN message={gave_up} stop=\"limiter\" attempts=2 elapsed=150ms error=no route"),
            "record #1 stop=\"limiter\"",
            "record #1 attempts=2",
            "record #1 elapsed=150ms",
            "close #1",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_succeeds_and_a_builder_that_is_cloned() {
    let notebook = Notebook::default();
    let _guard = set_default(notebook.clone());
    let check = |attempt: relent::Attempt| async move {
        if attempt.number() == 1 { Check::<(), String>::NotYet } else { Check::Ready(()) }
    };
    let polling = poll(check).every(1000 * MS).listen(Tracing::new("wait"));
    let expected = |id| {
        [
            format!("open #{id} INFO run what=\"wait\""),
            format!("#{id} TRACE message=attempt started attempt=1"),
            format!("#{id} DEBUG message=not ready attempt=1 elapsed=0ns"),
            format!("#{id} DEBUG message=waiting delay=1s reason=\"pause\""),
            format!("#{id} TRACE message=attempt started attempt=2"),
            format!("#{id} DEBUG message=succeeded attempts=2 elapsed=1s"),
            format!("record #{id} stop=\"succeeded\""),
            format!("record #{id} attempts=2"),
            format!("record #{id} elapsed=1s"),
            format!("close #{id}"),
        ]
    };
    polling.clone().await.unwrap();
    assert_eq!(notebook.take(), expected(1));
    polling.await.unwrap();
    assert_eq!(notebook.take(), expected(2));
}

#[tokio::test(start_paused = true)]
async fn looks_and_acts_are_told_apart() {
    let notebook = Notebook::default();
    let _guard = set_default(notebook.clone());
    let acts = std::cell::Cell::new(0);
    let look = |_| async { Ok::<_, &str>((acts.get() == 3).then_some(())) };
    let act = |()| async {
        acts.set(acts.get() + 1);
        match acts.get() {
            1 => Err("busy"),
            2 => std::future::pending().await,
            _ => Ok(()),
        }
    };
    ensure(look, act).every(50 * MS).attempt_timeout(10 * MS).listen(Tracing::new("set")).await.unwrap();
    let of_acts: Vec<_> = notebook.take().into_iter().filter(|line| line.contains("message=act")).collect();
    assert_eq!(
        of_acts,
        [
            "#1 DEBUG message=acting attempt=1 elapsed=0ns",
            "#1 INFO message=act failed attempt=1 elapsed=0ns error=busy",
            "#1 DEBUG message=acting attempt=2 elapsed=50ms",
            "#1 INFO message=act cut attempt=2 elapsed=60ms after=10ms",
            "#1 DEBUG message=acting attempt=3 elapsed=100ms",
            "#1 DEBUG message=acted attempt=3 elapsed=100ms",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_dropped_run_closes_its_span() {
    let notebook = Notebook::default();
    let _guard = set_default(notebook.clone());
    let hung = retry(|_| std::future::pending::<Result<(), String>>()).listen(Tracing::new("hang"));
    tokio::time::timeout(5 * MS, hung.into_future()).await.unwrap_err();
    assert_eq!(
        notebook.take(),
        [
            "open #1 INFO run what=\"hang\"",
            "#1 TRACE message=attempt started attempt=1",
            "#1 DEBUG message=dropped before its end",
            "close #1",
        ]
    );
    // One that was never polled has no span.
    drop(retry(|_| std::future::pending::<Result<(), String>>()).listen(Tracing::new("hang")).into_future());
    assert_eq!(notebook.take(), Vec::<String>::new());
}
