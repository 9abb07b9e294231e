//! Against a naive loop over the script.

use std::{
    pin::pin,
    task::{Context, Poll},
};

use futures_core::Stream;
use futures_util::StreamExt;
use proptest::prelude::*;
use relent::{
    Stop,
    stream::{Streamed, reconnect},
};
use tokio::time::sleep;

use super::{Breaks, GOOD, Link, SECOND, Server, breaks_after, each_second, refused, secs};

fn links() -> impl Strategy<Value = Vec<Link>> {
    let link = (0..4_u64, any::<bool>(), 0..12_u64, any::<bool>()).prop_map(|(connects_in, refused, lives, ends)| {
        Link { connects_in, refused, lives, breaks: if ends { Breaks::Ends } else { Breaks::Fails } }
    });
    prop::collection::vec(link, 0..20)
}

/// The same by a loop over the script: when it connects, and what it yields.
fn model(links: &[Link], bound: u64, healthy: u64, timeout: u64) -> (Vec<u64>, Vec<String>) {
    let (mut now, mut begin, mut lost) = (0, 0, None::<u64>);
    let (mut asked, mut told) = (vec![], vec![]);
    let mut attempts = 0;
    for link in links.iter().chain(std::iter::once(&GOOD)) {
        asked.push(now);
        attempts += 1;
        let left = bound - (now - begin);
        if link.connects_in > timeout.min(left) {
            now += timeout.min(left);
            if left <= timeout {
                told.push("gave up".to_owned());
                return (asked, told);
            }
        } else {
            now += link.connects_in;
            if !link.refused {
                told.push(match lost.take() {
                    None => "up".to_owned(),
                    Some(at) => format!("up after {}s, {attempts}", now - at),
                });
                if link.breaks == Breaks::Never {
                    return (asked, told);
                }
                told.extend((1..=link.lives).map(|item| item.to_string()));
                now += link.lives;
                if link.lives >= healthy {
                    begin = now;
                }
                if now + 1 - begin < bound {
                    told.push("lost".to_owned());
                }
                (lost, attempts) = (Some(now), 0);
            }
        }
        if now + 1 - begin >= bound {
            told.push("gave up".to_owned());
            return (asked, told);
        }
        now += 1;
    }
    unreachable!("the last connection stays")
}

proptest! {
    #[test]
    fn it_does_as_a_naive_loop_would(links in links(), bound in 1..40_u64, healthy in 1..10_u64, timeout in 1..5_u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (asked, told) = runtime.block_on(async {
            let server = Server::new(links.clone());
            let run = reconnect(|_| server.connect())
                .backoff(each_second().reset_after(secs(healthy)))
                .attempt_timeout(secs(timeout))
                .finish_within(secs(bound));
            let mut stream = pin!(run.into_stream());
            let mut told = vec![];
            let mut forever = false;
            while let Some(item) = stream.next().await {
                told.push(match item {
                    Ok(Streamed::Connected(gap)) => {
                        forever = server.asked().len() > links.len();
                        gap.map_or("up".to_owned(), |gap| format!("up after {}s, {}", gap.length().as_secs(), gap.attempts()))
                    }
                    Ok(Streamed::Item(item)) => item.to_string(),
                    Ok(_) => "lost".to_owned(),
                    Err(gave_up) => {
                        assert_eq!(*gave_up.stop(), Stop::Deadline);
                        "gave up".to_owned()
                    }
                });
                if forever {
                    break;
                }
            }
            (server.asked(), told)
        });
        let expected = model(&links, bound, healthy, timeout);
        prop_assert_eq!((asked, told), expected);
    }
}

/// Asked again although nothing woke it, it changes nothing.
#[tokio::test(start_paused = true)]
async fn a_poll_too_many_changes_nothing() {
    let server = Server::new([breaks_after(2), refused(), breaks_after(1)]);
    let mut stream = Box::pin(reconnect(|_| server.connect()).backoff(each_second()).into_stream());
    let mut told = 0;
    while server.asked().len() < 4 {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        if let Poll::Ready(item) = stream.as_mut().poll_next(&mut cx) {
            assert!(item.is_some());
            told += 1;
        } else {
            sleep(SECOND / 4).await;
        }
    }
    // Up, two items, lost, up, one item, lost, up.
    assert_eq!((told, server.asked()), (8, vec![0, 3, 4, 6]));
}
