//! A recorder that keeps everything in one map.

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use ::metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    set_default_local_recorder,
};
use relent::{Backoff, Check, Policy, ensure, events::Metrics, poll, retry};

const MS: Duration = Duration::from_millis(1);

/// `name{label=value,..}` and what was counted or recorded there.
#[derive(Clone, Default)]
struct Ledger {
    entries: Arc<Mutex<BTreeMap<String, Vec<f64>>>>,
    described: Arc<Mutex<Vec<String>>>,
}

struct Entry {
    ledger: Ledger,
    name: String,
}

impl Ledger {
    fn entry(&self, key: &Key) -> Arc<Entry> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(Entry { ledger: self.clone(), name: format!("{}{{{}}}", key.name(), labels.join(",")) })
    }

    fn take(&self) -> Vec<String> {
        let entries = std::mem::take(&mut *self.entries.lock().unwrap());
        entries.into_iter().map(|(name, values)| format!("{name} {values:?}")).collect()
    }
}

impl Entry {
    fn add(&self, value: f64) {
        self.ledger.entries.lock().unwrap().entry(self.name.clone()).or_default().push(value);
    }
}

impl CounterFn for Entry {
    fn increment(&self, value: u64) {
        assert_eq!(value, 1);
        self.add(1.0);
    }

    fn absolute(&self, _: u64) {
        panic!("never set");
    }
}

impl HistogramFn for Entry {
    fn record(&self, value: f64) {
        self.add(value);
    }
}

impl Recorder for Ledger {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.described.lock().unwrap().push(format!("counter {} {unit:?}", key.as_str()));
    }

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        panic!("there is none");
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.described.lock().unwrap().push(format!("histogram {} {unit:?}", key.as_str()));
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.entry(key))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        panic!("there is none");
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.entry(key))
    }
}

#[tokio::test(start_paused = true)]
async fn every_run_and_attempt_is_counted_once() {
    let ledger = Ledger::default();
    let _guard = set_default_local_recorder(&ledger);

    retry(|attempt| async move {
        match attempt.number() {
            1 => Err("no"),
            2 => std::future::pending().await,
            _ => Ok(()),
        }
    })
    .backoff(Backoff::fixed(40 * MS))
    .attempt_timeout(20 * MS)
    .listen(Metrics::new("fetch"))
    .await
    .unwrap();
    assert_eq!(
        ledger.take(),
        [
            "relent_attempts_total{run=fetch,outcome=cut} [1.0]",
            "relent_attempts_total{run=fetch,outcome=failed} [1.0]",
            "relent_attempts_total{run=fetch,outcome=succeeded} [1.0]",
            "relent_run_seconds{run=fetch,stop=succeeded} [0.1]",
            "relent_runs_total{run=fetch,stop=succeeded} [1.0]",
        ]
    );

    let never = poll(|_| async { Check::<(), String>::NotYet }).every(250 * MS).max_attempts(3);
    never.listen(Metrics::new("wait")).await.unwrap_err();
    assert_eq!(
        ledger.take(),
        [
            "relent_attempts_total{run=wait,outcome=not_ready} [1.0, 1.0, 1.0]",
            "relent_run_seconds{run=wait,stop=attempts} [0.5]",
            "relent_runs_total{run=wait,stop=attempts} [1.0]",
        ]
    );

    let dropped = retry(|_| std::future::pending::<Result<(), String>>()).listen(Metrics::new("hang"));
    tokio::time::timeout(5 * MS, dropped.into_future()).await.unwrap_err();
    assert_eq!(
        ledger.take(),
        ["relent_attempts_total{run=hang,outcome=dropped} [1.0]", "relent_runs_total{run=hang,stop=dropped} [1.0]"]
    );
    let waiting =
        retry(|_| async { Err::<(), _>("no") }).backoff(Backoff::fixed(40 * MS)).listen(Metrics::new("pause"));
    tokio::time::timeout(5 * MS, waiting.into_future()).await.unwrap_err();
    assert_eq!(
        ledger.take(),
        ["relent_attempts_total{run=pause,outcome=failed} [1.0]", "relent_runs_total{run=pause,stop=dropped} [1.0]"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_loop_of_ones_own_is_counted_once() {
    let ledger = Ledger::default();
    let _guard = set_default_local_recorder(&ledger);
    let policy = Policy::new().every(100 * MS).max_attempts(2);
    let mut run = policy.begin::<String>().listen(Metrics::new("loop"));
    // Dropped without being used, and asked twice for what is not there.
    drop(run.next().await.unwrap());
    assert!(run.next().await.unwrap().run(async { Err::<(), _>("no".to_owned()) }).await.is_none());
    run.next().await.unwrap_err();
    run.next().await.unwrap_err();
    drop(run);
    assert_eq!(
        ledger.take(),
        [
            "relent_attempts_total{run=loop,outcome=cut} [1.0]",
            "relent_attempts_total{run=loop,outcome=failed} [1.0]",
            "relent_run_seconds{run=loop,stop=attempts} [0.1]",
            "relent_runs_total{run=loop,stop=attempts} [1.0]",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn acts_are_counted_once() {
    let ledger = Ledger::default();
    let _guard = set_default_local_recorder(&ledger);
    let acts = Cell::new(0);
    let look = |_| async { Ok::<_, &str>((acts.get() == 3).then_some(())) };
    let act = |()| async {
        acts.set(acts.get() + 1);
        match acts.get() {
            1 => Err("busy"),
            2 => std::future::pending().await,
            _ => Ok(()),
        }
    };
    ensure(look, act).every(50 * MS).attempt_timeout(10 * MS).listen(Metrics::new("set")).await.unwrap();
    assert_eq!(
        ledger.take(),
        [
            "relent_acts_total{run=set,outcome=cut} [1.0]",
            "relent_acts_total{run=set,outcome=failed} [1.0]",
            "relent_acts_total{run=set,outcome=succeeded} [1.0]",
            "relent_attempts_total{run=set,outcome=cut} [1.0]",
            "relent_attempts_total{run=set,outcome=failed} [1.0]",
            "relent_attempts_total{run=set,outcome=succeeded} [1.0]",
            "relent_run_seconds{run=set,stop=succeeded} [0.1]",
            "relent_runs_total{run=set,stop=succeeded} [1.0]",
        ]
    );
}

/// Another listener, which hears it first, ends the run when it hears of a start.
#[tokio::test(start_paused = true)]
async fn what_was_not_called_is_counted_as_that() {
    let ledger = Ledger::default();
    let _guard = set_default_local_recorder(&ledger);
    let token = relent::CancellationToken::new();
    let run = retry(|_| async { Ok::<_, &str>(()) }).cancel_on(token.clone()).notify(|_| token.cancel());
    run.listen(Metrics::new("once")).await.unwrap_err();
    let token = relent::CancellationToken::new();
    let run = ensure(|_| async { Ok::<Option<()>, &str>(None) }, |()| async { Ok(()) }).cancel_on(token.clone());
    let run = run.notify(|event| {
        if let relent::events::Event::Acting { .. } = event {
            token.cancel();
        }
    });
    run.listen(Metrics::new("set")).await.unwrap_err();
    assert_eq!(
        ledger.take(),
        [
            "relent_acts_total{run=set,outcome=not_called} [1.0]",
            "relent_attempts_total{run=once,outcome=not_called} [1.0]",
            "relent_attempts_total{run=set,outcome=not_ready} [1.0]",
            "relent_run_seconds{run=once,stop=cancelled} [0.0]",
            "relent_run_seconds{run=set,stop=cancelled} [0.0]",
            "relent_runs_total{run=once,stop=cancelled} [1.0]",
            "relent_runs_total{run=set,stop=cancelled} [1.0]",
        ]
    );
}

#[test]
fn what_is_described_is_what_is_written() {
    let ledger = Ledger::default();
    let _guard = set_default_local_recorder(&ledger);
    Metrics::describe();
    assert_eq!(
        *ledger.described.lock().unwrap(),
        [
            "counter relent_attempts_total Some(Count)",
            "counter relent_acts_total Some(Count)",
            "counter relent_runs_total Some(Count)",
            "histogram relent_run_seconds Some(Seconds)",
        ]
    );
}
