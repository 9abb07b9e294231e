//! A stream that connects anew, against servers by a script.

mod model;
mod types;

use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt::Write,
    future::{Future, pending, ready},
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_core::{FusedStream, Stream};
use futures_util::{StreamExt, stream};
use relent::{
    Backoff, Budget, CancellationToken, Decision, GaveUp, Jitter, Last, Limiter, Ratio,
    events::Event,
    stream::{Streamed, reconnect},
};
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// One connection: how long it takes to connect, and what becomes of it.
#[derive(Clone, Copy, Debug)]
struct Link {
    /// Seconds.
    connects_in: u64,
    refused: bool,
    /// An item each second until then.
    lives: u64,
    /// How it goes, unless it lives for ever.
    breaks: Breaks,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Breaks {
    Ends,
    Fails,
    Never,
}

const GOOD: Link = Link { connects_in: 0, refused: false, lives: 0, breaks: Breaks::Never };

fn refused() -> Link {
    Link { refused: true, ..GOOD }
}

fn breaks_after(lives: u64) -> Link {
    Link { lives, breaks: Breaks::Fails, ..GOOD }
}

fn ends_after(lives: u64) -> Link {
    Link { lives, breaks: Breaks::Ends, ..GOOD }
}

type Source = Pin<Box<dyn Stream<Item = Result<u64, String>> + Send>>;

/// Connects by a script. When it is over, connections live for ever.
#[derive(Clone, Debug)]
struct Server {
    links: Arc<Mutex<VecDeque<Link>>>,
    began: Instant,
    /// When it was asked, in seconds.
    asked: Arc<Mutex<Vec<u64>>>,
    /// Cloned into each call and each connection.
    alive: Arc<()>,
}

impl Server {
    fn new(links: impl IntoIterator<Item = Link>) -> Self {
        Self {
            links: Arc::new(Mutex::new(links.into_iter().collect())),
            began: Instant::now(),
            asked: Arc::default(),
            alive: Arc::default(),
        }
    }

    fn connect(&self) -> impl Future<Output = Result<Source, String>> + Send + use<> {
        let (link, number) = {
            let mut asked = self.asked.lock().unwrap();
            asked.push(self.began.elapsed().as_secs());
            (self.links.lock().unwrap().pop_front().unwrap_or(GOOD), asked.len())
        };
        let alive = self.alive.clone();
        async move {
            sleep(secs(link.connects_in)).await;
            if link.refused {
                return Err(format!("refused {number}"));
            }
            let items = stream::unfold((0, alive), move |(second, alive)| async move {
                match (second < link.lives, link.breaks) {
                    (false, Breaks::Ends) => None,
                    (false, Breaks::Fails) => Some((Err(format!("reset {number}")), (second, alive))),
                    _ => {
                        sleep(SECOND).await;
                        Some((Ok(second + 1), (second + 1, alive)))
                    }
                }
            });
            Ok(Box::pin(items) as Source)
        }
    }

    fn asked(&self) -> Vec<u64> {
        self.asked.lock().unwrap().clone()
    }

    fn held(&self) -> usize {
        Arc::strong_count(&self.alive) - 1
    }
}

fn each_second() -> Backoff {
    Backoff::fixed(SECOND)
}

/// What it yields until it is over, or so many seconds have passed, one word each.
async fn yields(
    mut stream: Pin<&mut impl Stream<Item = Result<Streamed<u64, String>, GaveUp<String>>>>,
    seconds: u64,
) -> String {
    let until = Instant::now() + secs(seconds);
    let mut text = String::new();
    while let Ok(Some(item)) = tokio::time::timeout_at(until, stream.next()).await {
        match item {
            Ok(Streamed::Connected(None)) => text.push_str("up "),
            Ok(Streamed::Connected(Some(gap))) => {
                let error = gap.error().map_or("", String::as_str).replace(' ', "_");
                write!(text, "up({:?},{},{error}) ", gap.length(), gap.attempts()).unwrap();
            }
            Ok(Streamed::Item(item)) => write!(text, "{item} ").unwrap(),
            Ok(Streamed::Lost) => text.push_str("lost "),
            Ok(_) => unreachable!(),
            Err(gave_up) => write!(text, "{}", gave_up.sentence()).unwrap(),
        }
    }
    text.trim_end().to_owned()
}

#[tokio::test(start_paused = true)]
async fn it_connects_anew_and_tells_what_it_missed() {
    let server = Server::new([refused(), breaks_after(2), refused(), refused(), ends_after(1)]);
    let mut stream = pin!(reconnect(|_| server.connect()).backoff(each_second()).into_stream());
    let told = "up 1 2 lost up(3s,3,refused_4) 1 lost up(1s,1,) 1 2 3";
    assert_eq!(yields(stream.as_mut(), 11).await, told);
    assert_eq!(server.asked(), [0, 1, 4, 5, 6, 8]);
    // Refused, the first connection lost, and what came of that: its error is told with the gap.
    let server = Server::new([breaks_after(0)]);
    let mut stream = pin!(reconnect(|_| server.connect()).backoff(each_second()).into_stream());
    assert_eq!(yields(stream.as_mut(), 2).await, "up lost up(1s,1,reset_1) 1");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_every_connection_and_drops_it_is_one_outage() {
    let server = Server::new(vec![breaks_after(1); 99]);
    let run = reconnect(|_| server.connect()).backoff(each_second()).finish_within(9 * SECOND);
    let mut stream = pin!(run.into_stream());
    let told = yields(stream.as_mut(), 100).await;
    let end = "gave up after 5 attempts in 9s: everything must be finished within 9s; last attempt: reset 5";
    assert!(told.ends_with(&format!("lost up(1s,1,reset_4) 1 {end}")), "{told}");
    assert!(stream.is_terminated());
    assert!(stream.next().await.is_none());
    assert_eq!((server.asked(), server.held()), (vec![0, 2, 4, 6, 8], 0));
}

#[tokio::test(start_paused = true)]
async fn after_health_all_begins_anew() {
    let growing = Backoff::exponential(SECOND, 8 * SECOND).jitter(Jitter::None);
    // Refused thrice, then up for so long, and again: pauses of 1, 2, 4, and of 1, 2 after health, of 8 without.
    let outage = |lives| [refused(), refused(), refused(), ends_after(lives), refused(), refused(), ends_after(lives)];
    for (reset_after, lives, asked) in [
        (None, 30, [0, 1, 3, 7, 38, 40, 44]),
        (None, 29, [0, 1, 3, 7, 44, 52, 60]),
        (Some(5), 5, [0, 1, 3, 7, 13, 15, 19]),
        (Some(5), 4, [0, 1, 3, 7, 19, 27, 35]),
    ] {
        let server = Server::new(outage(lives));
        let backoff = reset_after.map_or(growing.clone(), |seconds| growing.clone().reset_after(secs(seconds)));
        let mut stream = pin!(reconnect(|_| server.connect()).backoff(backoff).into_stream());
        let _ = yields(stream.as_mut(), asked[6]).await;
        assert_eq!(server.asked(), asked, "{reset_after:?} {lives}");
    }
    // Bounds count from the loss, and the connection that was healthy is the first attempt.
    let links = std::iter::repeat_n([breaks_after(40), refused()], 50).flatten().chain(vec![refused(); 9]);
    let server = Server::new(links);
    let run = reconnect(|_| server.connect()).backoff(each_second()).max_attempts(3).finish_within(4 * SECOND);
    let mut stream = pin!(run.into_stream());
    let told = yields(stream.as_mut(), 10_000).await;
    assert_eq!(told.matches("up(2s,2,refused_").count(), 49, "{told}");
    assert!(
        told.ends_with(
            "lost gave up after 3 attempts in 2s: at most 3 attempts were allowed; last attempt: refused 101"
        ),
        "{told}"
    );
}

#[tokio::test(start_paused = true)]
async fn only_connecting_has_a_deadline() {
    let hangs = Link { connects_in: 1_000_000, ..GOOD };
    let server = Server::new([hangs, Link { connects_in: 1, ..GOOD }]);
    let run =
        reconnect(|_| server.connect()).backoff(each_second()).attempt_timeout(2 * SECOND).finish_within(9 * SECOND);
    let mut stream = pin!(run.into_stream());
    let told = yields(stream.as_mut(), 2_000).await;
    assert!(told.starts_with("up 1 2 3 ") && told.ends_with(" 1995 1996"), "{told}");
    assert_eq!(server.asked(), [0, 3]);
    let server = Server::new([hangs; 9]);
    let run =
        reconnect(|_| server.connect()).backoff(each_second()).attempt_timeout(2 * SECOND).finish_within(4 * SECOND);
    let told = yields(pin!(run.into_stream()), 2_000).await;
    let end = "gave up after 2 attempts in 4s: everything must be finished within 4s; last attempt: cut after 1s by the overall \
               deadline, outcome unknown";
    assert_eq!(told, end);
    assert_eq!(server.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_no_connecting_mends_is_the_last_item() {
    let server = Server::new([breaks_after(1), refused(), breaks_after(50)]);
    let run = reconnect(|_| server.connect()).backoff(each_second()).when(|error| error != "reset 3");
    let told = yields(pin!(run.into_stream()), 2_000).await;
    let end = "gave up after 1 attempt: repeating cannot mend this; last attempt: reset 3";
    assert!(told.ends_with(&format!(" 49 50 {end}")), "{told}");
    let server = Server::new([breaks_after(1)]);
    let run = reconnect(|_| server.connect()).when(|_| Decision::RetryAfter(7 * SECOND)).backoff(each_second());
    assert_eq!(yields(pin!(run.into_stream()), 9).await, "up 1 lost up(7s,1,reset_1) 1");
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_ends_it_wherever_it_is() {
    let hangs = Link { connects_in: 1_000, ..GOOD };
    for (links, up) in [
        (vec![GOOD], "up 1 2 "),
        (vec![hangs], ""),
        (vec![refused(); 9], ""),
        (vec![breaks_after(1); 9], "up 1 lost up("),
    ] {
        let (server, token) = (Server::new(links), CancellationToken::new());
        let run = reconnect(|_| server.connect()).backoff(each_second()).cancel_on(token.clone());
        let mut stream = pin!(run.into_stream());
        let cancel = async {
            sleep(2 * SECOND + SECOND / 2).await;
            token.cancel();
        };
        let (told, ()) = tokio::join!(yields(stream.as_mut(), 100), cancel);
        assert!(told.starts_with(up) && told.contains("gave up after"), "{told}");
        assert!(told.contains("cancelled"), "{told}");
        assert!(stream.is_terminated());
        assert_eq!(server.held(), 0);
    }
    // One that always has an item.
    let token = CancellationToken::new();
    let always = reconnect(|_| ready(Ok::<_, String>(stream::repeat(Ok::<_, String>(1))))).cancel_on(token.clone());
    let mut always = pin!(always.into_stream());
    assert!(matches!(always.next().await, Some(Ok(Streamed::Connected(None)))));
    assert!(matches!(always.next().await, Some(Ok(Streamed::Item(1)))));
    token.cancel();
    assert!(always.next().await.unwrap().unwrap_err().is_cancelled());
}

/// A listener that hears of the start of an attempt may cancel the stream, or take until the hard bound is over: it
/// does not connect then.
#[tokio::test(start_paused = true)]
async fn what_the_listener_of_a_start_ends_is_not_connected() {
    for cancels in [true, false] {
        let (server, token) = (Server::new([refused(), GOOD]), CancellationToken::new());
        let run =
            reconnect(|_| server.connect()).backoff(each_second()).finish_within(secs(5)).cancel_on(token.clone());
        let run = run.notify(|event| match event {
            Event::Started(attempt) if attempt.number() == 2 && cancels => token.cancel(),
            Event::Started(attempt) if attempt.number() == 2 => {
                assert!(futures_util::FutureExt::now_or_never(tokio::time::advance(secs(9))).is_none());
            }
            _ => {}
        });
        let told = yields(pin!(run.into_stream()), 9).await;
        assert!(told.contains("gave up after 2 attempts") && !told.contains("up 1"), "{told}");
        assert!(told.contains(if cancels { "cancelled" } else { "within 5s" }), "{told}");
        assert_eq!(server.asked.lock().unwrap().len(), 1, "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn dropped_anywhere_it_leaves_nothing_and_a_dropped_next_loses_nothing() {
    let server = Server::new([breaks_after(2), refused(), GOOD]);
    let limiter = Limiter::new(relent::Rate::every(10 * SECOND).unwrap(), 1);
    let run = reconnect(|_| server.connect()).backoff(each_second()).throttle(&limiter);
    let mut stream = Box::pin(run.into_stream());
    let (mut seen, mut waited) = (vec![], false);
    // Asked anew every 100 ms, as in a `select!`.
    while seen.len() < 6 {
        if let Ok(item) = tokio::time::timeout(SECOND / 10, stream.next()).await {
            match item.unwrap().unwrap() {
                Streamed::Item(item) => seen.push(item),
                Streamed::Connected(Some(gap)) => assert_eq!((gap.length(), gap.attempts()), (18 * SECOND, 2)),
                _ => {}
            }
        }
        waited |= limiter.waiters() == 1;
    }
    assert_eq!((seen, server.asked()), (vec![1, 2, 1, 2, 3, 4], vec![0, 10, 20]));
    assert!(waited);
    assert_eq!(server.held(), 1);
    drop(stream);
    assert_eq!((server.held(), limiter.waiters()), (0, 0));
    let waiting = reconnect(|_| server.connect()).throttle(&limiter).into_stream();
    let mut waiting = Box::pin(waiting);
    limiter.pause_for(100 * SECOND);
    assert!(tokio_test::task::spawn(waiting.next()).poll().is_pending());
    assert_eq!(limiter.waiters(), 1);
    drop(waiting);
    assert_eq!(limiter.waiters(), 0);
}

#[tokio::test(start_paused = true)]
async fn each_outage_counts_once_for_the_budget() {
    // Each outage is allowed one retry of its own, and the reserve is none.
    let budget = Budget::ratio(Ratio::percent(100)).reserve(0);
    let links = std::iter::repeat_n([breaks_after(40), refused()], 20).flatten();
    let server = Server::new(links.chain([breaks_after(40), refused(), refused(), refused(), refused()]));
    let run = reconnect(|_| server.connect()).backoff(each_second()).budget(&budget);
    let told = yields(pin!(run.into_stream()), 10_000).await;
    assert_eq!(told.matches("up(2s,2,refused").count(), 20, "{told}");
    assert!(told.contains("budget"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn listeners_hear_one_run() {
    let heard = Arc::new(Mutex::new(String::new()));
    let hearing = heard.clone();
    let server = Server::new([refused(), breaks_after(40)]);
    let run = reconnect(|_| server.connect()).backoff(each_second()).notify(move |event: &Event<'_, String>| {
        let mut heard = hearing.lock().unwrap();
        match event {
            Event::Started(attempt) => write!(heard, "start {}, ", attempt.number()).unwrap(),
            Event::Ended { attempt, last: Last::Failed(error), .. } => {
                write!(heard, "end {attempt}: {error}, ").unwrap();
            }
            Event::Waiting(_) => heard.push_str("wait, "),
            other => panic!("{other:?}"),
        }
    });
    let _ = yields(pin!(run.into_stream()), 50).await;
    let expected = "start 1, end 1: refused 1, wait, start 2, end 1: reset 2, wait, start 2, ";
    assert_eq!(*heard.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_loop_of_connections_that_end_at_once_lets_others_run() {
    let empty = reconnect(|_| ready(Ok::<_, Infallible>(stream::empty::<Result<u32, Infallible>>())));
    let mut empty = pin!(empty.backoff(Backoff::fixed(Duration::ZERO)).into_stream());
    let other = tokio::spawn(ready(()));
    while !other.is_finished() {
        assert!(empty.next().await.unwrap().is_ok());
    }
    // And one that never connects is silent.
    let never = reconnect(|_| pending::<Result<stream::Empty<Result<u32, Infallible>>, Infallible>>()).into_stream();
    assert!(tokio::time::timeout(SECOND, pin!(never).next()).await.is_err());
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "in connect")]
async fn a_panic_goes_through() {
    let connect =
        |_| -> std::future::Ready<Result<stream::Empty<Result<u32, String>>, String>> { panic!("in connect") };
    let _ = pin!(reconnect(connect).into_stream()).next().await;
}

/// It has waited on one that is gone, for a pause or for an answer.
#[test]
fn it_goes_on_in_another_runtime() {
    for answers in [true, false] {
        let run = reconnect(move |attempt| async move {
            match attempt.number() {
                1 if answers => Err("refused"),
                1 => pending().await,
                _ => Ok(stream::iter([Ok(1), Ok(2)])),
            }
        });
        let mut run = Box::pin(run.backoff(Backoff::fixed(secs(10))).attempt_timeout(secs(60)).into_stream());
        let runtime =
            || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let waits = runtime().block_on(async { tokio::time::timeout(SECOND, run.next()).await.is_err() });
        let connected = runtime().block_on(async { tokio::time::timeout(secs(80), run.next()).await });
        assert!(waits && matches!(connected, Ok(Some(Ok(Streamed::Connected(None))))), "{connected:?}");
    }
}

/// A stream that always has an item does not keep the task from being cancelled by another one.
#[tokio::test(start_paused = true)]
async fn a_stream_that_is_always_ready_lets_others_run() {
    let token = CancellationToken::new();
    let run = reconnect(async |_| Ok::<_, &str>(stream::repeat(Ok::<_, &str>(1)))).cancel_on(token.clone());
    let other = tokio::spawn(async move { token.cancel() });
    let mut stream = pin!(run.into_stream());
    let mut items = 0;
    let gave_up = loop {
        match stream.next().await {
            Some(Err(gave_up)) => break gave_up,
            _ => items += 1,
        }
        assert!(items < 1000, "as many as tokio lets be ready at once");
    };
    assert!(gave_up.is_cancelled() && stream.next().await.is_none());
    other.await.unwrap();
}
