//! Whether a future that has ended, and is kept, wakes its task.

use std::{
    fmt,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

const S: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

#[derive(Default)]
struct Wakes(AtomicU32);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// Polls whenever it is woken, until it has ended.
async fn to_the_end<F: Future>(mut future: Pin<&mut F>, wakes: &Arc<Wakes>) -> F::Output {
    let waker = Waker::from(Arc::clone(wakes));
    for _ in 0..10_000 {
        let before = wakes.0.load(Relaxed);
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        while wakes.0.load(Relaxed) == before {
            sleep(S / 1000).await;
        }
    }
    panic!("it does not end");
}

/// Its task is not woken after its end, though time goes on and the token is cancelled.
pub(crate) async fn nothing_wakes_it_after<F: Future<Output: fmt::Debug>>(
    name: &str,
    future: F,
    token: &CancellationToken,
    ended: &str,
) {
    let mut future = pin!(future);
    let wakes = Arc::new(Wakes::default());
    let output = format!("{:?}", to_the_end(future.as_mut(), &wakes).await);
    assert!(output.starts_with(ended), "{name}: {output}");
    let before = wakes.0.load(Relaxed);
    tokio::time::advance(DAY).await;
    sleep(S).await;
    token.cancel();
    sleep(S).await;
    assert_eq!(wakes.0.load(Relaxed), before, "{name} was woken after its end: {output}");
}
