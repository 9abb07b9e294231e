//! What compiles at a call site: a run that is spawned, for the error types and keys that people have.

use std::{borrow::Cow, future::Ready, time::Duration};

use relent::{
    TimedQueue,
    queue::{Due, Finished, Job, QueueHandle, RunWorkerFuture},
};

type Boxed = Box<dyn std::error::Error + Send + Sync>;

macro_rules! spawned {
    ($($name:ident: $key:ty, $error:ty;)*) => {$(
        #[tokio::test(start_paused = true)]
        async fn $name() {
            let task = tokio::spawn(async move {
                let mut queue = TimedQueue::new().max_attempts(2);
                let _ = queue.handle().schedule(<$key>::from("a"), 1, Duration::ZERO);
                let inferred = queue
                    .run(|job| async move { if job.value == 1 { Err(<$error>::from(error(job.key))) } else { Ok(()) } })
                    .await;
                let handle = queue.handle();
                let _ = handle.schedule(<$key>::from("b"), 1, Duration::ZERO);
                drop(handle);
                let annotated = queue
                    .run(|job: Job<$key, i32>| async move {
                        tokio::task::yield_now().await;
                        if job.value == 1 { Err(<$error>::from(error(job.key))) } else { Ok(()) }
                    })
                    .when(|_: &$error| true)
                    .notify(|_| {})
                    .on_given_up(drop)
                    .cancel_when(std::future::pending())
                    .await;
                let _ = queue.handle().schedule(<$key>::from("c"), 1, Duration::ZERO);
                let closure = queue.run(async |job: Job<$key, i32>| Err(<$error>::from(error(job.key)))).await;
                [inferred.given_up.len(), annotated.given_up.len(), closure.given_up.len()]
            });
            assert_eq!(task.await.unwrap(), [1, 0, 1]);
        }
    )*};
}

fn error(key: impl AsRef<str>) -> &'static str {
    if key.as_ref() == "a" { "no luck with a" } else { "no luck" }
}

struct Io(std::io::Error);
impl From<&'static str> for Io {
    fn from(text: &'static str) -> Self {
        Self(std::io::Error::other(text))
    }
}
impl std::fmt::Debug for Io {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

spawned! {
    str_str: &'static str, &'static str;
    str_string: &'static str, String;
    str_cow: &'static str, Cow<'static, str>;
    str_boxed: &'static str, Boxed;
    str_io: &'static str, Io;
    string_str: String, &'static str;
    string_string: String, String;
    string_cow: String, Cow<'static, str>;
    string_boxed: String, Boxed;
    string_io: String, Io;
    cow_str: Cow<'static, str>, &'static str;
    cow_boxed: Cow<'static, str>, Boxed;
}

#[tokio::test(start_paused = true)]
async fn anyhow_and_io() {
    let task = tokio::spawn(async move {
        let mut queue = TimedQueue::<&'static str, u32>::new().max_attempts(1);
        let _ = queue.handle().schedule("a", 1, Duration::ZERO);
        let anyhow = queue.run(|_| async { Err(anyhow::anyhow!("no luck")) }).await;
        let _ = queue.handle().schedule("a", 1, Duration::ZERO);
        let io = queue.run(|_| async { Err(std::io::Error::other("no luck")) }).await;
        (anyhow.given_up.len(), io.given_up.len())
    });
    assert_eq!(task.await.unwrap(), (1, 1));
}

/// A future of the run can be named where the worker is made.
#[tokio::test(start_paused = true)]
async fn a_run_can_be_named_and_owned_with_its_queue() {
    type Worker = fn(Job<&'static str, u32>) -> Ready<Result<(), &'static str>>;
    fn work<'q>(
        queue: &'q mut TimedQueue<&'static str, u32>,
    ) -> RunWorkerFuture<'q, &'static str, u32, Worker, Ready<Result<(), &'static str>>> {
        queue.run((|job| std::future::ready(if job.value > 1 { Err("no") } else { Ok(()) })) as Worker).into_future()
    }
    async fn owned<K, V, W>(mut queue: TimedQueue<K, V>, worker: W) -> Finished<K, V, W::Error>
    where
        K: std::hash::Hash + Eq + Clone,
        V: Clone,
        W: relent::queue::Worker<K, V>,
    {
        queue.run(worker).await
    }
    let mut queue = TimedQueue::new().max_attempts(1);
    let _ = queue.handle().schedule("a", 2, Duration::ZERO);
    assert_eq!(work(&mut queue).await.given_up.len(), 1);
    let _ = queue.handle().schedule("a", 2, Duration::ZERO);
    let finished = tokio::spawn(owned(queue, |_: Job<&'static str, u32>| async { Err("no") })).await.unwrap();
    assert_eq!(finished.given_up[0].error.last_error(), Some(&"no"));
}

/// The stream side: a guard is borrowed across an await in a task.
#[tokio::test(start_paused = true)]
async fn a_guard_is_shared_across_an_await() {
    fn sync<T: Sync>() {}
    sync::<Due<String, String>>();
    async fn handle(due: &Due<String, String>) {
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(due.key(), "a");
    }
    let mut queue = TimedQueue::<String, String>::new();
    let _ = queue.handle().schedule("a".to_owned(), String::new(), Duration::ZERO);
    let done = tokio::spawn(async move {
        let mut done = 0;
        while let Some(due) = queue.next().await {
            handle(&due).await;
            due.done();
            done += 1;
        }
        done
    });
    assert_eq!(done.await.unwrap(), 1);
}

/// A worker in a unit test: no queue, no clock.
#[tokio::test(start_paused = true)]
async fn a_worker_is_called_with_a_job_of_the_tests_own() {
    async fn work(job: Job<&'static str, u32>) -> Result<(), String> {
        if job.attempt.number() == 1 && job.value > 1 { Err(format!("not yet {}", job.key)) } else { Ok(()) }
    }
    let mut job = Job::new("a", 2);
    assert_eq!((job.due, job.attempt.timeout()), (tokio::time::Instant::now(), None));
    assert_eq!(work(job.clone()).await, Err("not yet a".to_owned()));
    job.value = 1;
    assert_eq!(work(job).await, Ok(()));
}

#[allow(dead_code, reason = "it need only compile")]
fn handles_are_named(handle: QueueHandle<&'static str, Cow<'static, str>>) -> impl Send {
    tokio::spawn(async move { handle.drain().await })
}

/// What one item is asked to wait holds for all that share the queue's limiter.
#[tokio::test(start_paused = true)]
async fn a_shared_retry_after_pauses_the_limiter() {
    let policy: relent::Policy = "backoff fixed 1s, share_retry_after, max_retry_after 30s".parse().unwrap();
    let mut queue = TimedQueue::new().policy(&policy);
    let limiter = relent::Limiter::per_second(100);
    for key in 0..5 {
        let _ = queue.handle().schedule(key, (), Duration::ZERO);
    }
    let began = tokio::time::Instant::now();
    let mut starts = vec![];
    let mut first = true;
    queue.close();
    let finished: Finished<u32, (), &str> = queue
        .run(|_: Job<u32, ()>| {
            starts.push(began.elapsed());
            let answer = if std::mem::take(&mut first) { Err("429") } else { Ok(()) };
            async move { answer }
        })
        .throttle(&limiter)
        .when(|_| relent::Decision::RetryAfter(Duration::MAX))
        .await;
    assert!(finished.given_up.is_empty());
    assert_eq!((starts.len(), starts[0]), (6, Duration::ZERO));
    assert!(starts[1..].iter().all(|&start| start >= Duration::from_secs(30)), "{starts:?}");
}
