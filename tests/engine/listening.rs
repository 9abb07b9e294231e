//! What listeners hear.

use std::{cell::RefCell, time::Duration};

use relent::{
    Backoff, Limiter, Rate,
    events::{Event, Wait},
    retry,
};

const MS: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn every_step_is_heard_once_and_in_order() {
    let heard = RefCell::new(Vec::new());
    let limiter = Limiter::new(Rate::per_second(10), 1);
    let listen = |event: &Event<'_, &str>| {
        heard.borrow_mut().push(match event {
            Event::Started(attempt) => format!("{} starts", attempt.number()),
            Event::Ended { attempt, elapsed, last, again, .. } => {
                format!("{attempt} ends at {elapsed:?}: {last:?}, again in {again:?}")
            }
            Event::Waiting(Wait::Pause(pause)) => format!("pause {pause:?}"),
            Event::Waiting(Wait::Limiter(wait)) => format!("limiter {wait:?}"),
            Event::Succeeded { attempts, elapsed, .. } => format!("done after {attempts}, {elapsed:?}"),
            Event::GaveUp(gave_up) => gave_up.sentence().to_string(),
            other => panic!("{other:?}"),
        });
    };
    let mut count = 0;
    retry(|attempt| async move {
        tokio::time::sleep(10 * MS).await;
        if attempt.number() < 3 { Err("no") } else { Ok(()) }
    })
    .backoff(Backoff::fixed(40 * MS))
    .throttle(&limiter)
    .notify(listen)
    .notify(|_: &Event<'_, &str>| count += 1)
    .await
    .unwrap();
    assert_eq!(
        heard.take(),
        [
            "1 starts",
            "1 ends at 10ms: Failed(\"no\"), again in Some(40ms)",
            "pause 40ms",
            "limiter 50ms",
            "2 starts",
            "2 ends at 110ms: Failed(\"no\"), again in Some(40ms)",
            "pause 40ms",
            "limiter 50ms",
            "3 starts",
            "done after 3, 210ms",
        ]
    );
    assert_eq!(count, 10, "the second listener heard it all too");
    let gave_up = retry(|_| async { Err::<(), _>("no") }).max_attempts(1).notify(listen).await.unwrap_err();
    let told = gave_up.sentence().to_string();
    assert_eq!(heard.take(), ["1 starts", "1 ends at 0ns: Failed(\"no\"), again in None", &told]);
}
