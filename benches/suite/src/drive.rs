//! How something is done over and over.

/// Awaits something over and over: something anew each time, or something of an operation that fails three times first.
macro_rules! times {
    ($rt:expr, $n:expr, |$op:pat_param| $do:expr) => {
        times!($rt, $n, {
            let mut left = 3;
            let $op = move || {
                let fails = left > 0;
                left -= 1;
                crate::hand::fallible(std::hint::black_box(fails))
            };
            $do
        })
    };
    ($rt:expr, $n:expr, $do:expr) => {
        $rt.block_on(tokio::task::unconstrained(async {
            for _ in 0..$n {
                assert!(std::hint::black_box(&$do.await).is_done());
            }
        }))
    };
}

/// The same with what must fail.
macro_rules! failures {
    ($rt:expr, $n:expr, $do:expr) => {
        $rt.block_on(tokio::task::unconstrained(async {
            for _ in 0..$n {
                assert!(!std::hint::black_box(&$do.await).is_done());
            }
        }))
    };
}

/// The same with what is pending once and then polled again at once, so that no scheduler is counted.
macro_rules! pending {
    ($rt:expr, $n:expr, $do:expr) => {
        $rt.block_on(tokio::task::unconstrained(async {
            for _ in 0..$n {
                let mut future = std::pin::pin!(IntoFuture::into_future($do));
                let again = std::future::poll_fn(|cx| {
                    loop {
                        if let std::task::Poll::Ready(answer) = future.as_mut().poll(cx) {
                            break std::task::Poll::Ready(answer);
                        }
                    }
                });
                assert!(std::hint::black_box(&again.await).is_done());
            }
        }))
    };
}

macro_rules! with {
    ($name:ident = $value:expr, $do:expr) => {{
        let $name = $value;
        $do
    }};
}

/// What an await gives.
pub trait Answer {
    fn is_done(&self) -> bool;
}

impl<T, E> Answer for Result<T, E> {
    fn is_done(&self) -> bool {
        self.is_ok()
    }
}

/// By a token that may cancel it.
impl<T, E> Answer for Option<Result<T, E>> {
    fn is_done(&self) -> bool {
        matches!(self, Some(Ok(_)))
    }
}
