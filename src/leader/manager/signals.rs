//! Ctrl-c and SIGTERM, while a manager runs.

use std::{
    io,
    task::{Context, Poll},
};

/// The signals that a run has got.
#[derive(Default)]
pub(super) struct Signals {
    got: u32,
    listening: Option<imp::Listening>,
}

impl Signals {
    /// Listens, if `wanted`, for as long as it lives.
    pub(super) fn listen(wanted: bool) -> io::Result<Self> {
        let listening = wanted.then(imp::Listening::begin).transpose()?;
        Ok(Self { got: 0, listening })
    }

    /// Ready once there was one.
    pub(super) fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_count(cx, 1)
    }

    /// Ready once there were two: one that comes while the run stops for another reason is the first.
    pub(super) fn poll_second(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_count(cx, 2)
    }

    fn poll_count(&mut self, cx: &mut Context<'_>, count: u32) -> Poll<()> {
        let Some(listening) = &mut self.listening else { return Poll::Pending };
        while self.got < count {
            match listening.poll_signal(cx) {
                Poll::Ready(()) => self.got = self.got.saturating_add(1),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }
}

#[cfg(all(unix, feature = "signal"))]
mod imp {
    use std::{
        io,
        sync::{
            Arc, Mutex, MutexGuard, PoisonError,
            atomic::{AtomicBool, Ordering},
        },
        task::{Context, Poll},
    };

    use tokio::signal::unix::{Signal, SignalKind, signal};

    /// Once tokio has listened to a signal, its default effect is gone for good. It is given back while no manager
    /// listens: by a flag that the handler of the signal reads.
    struct Process {
        /// Managers that listen.
        listeners: usize,
        /// Set exactly while there are none, and then the signals have their default effect. SeqCst: it is read in a
        /// handler.
        default_effect: Option<Arc<AtomicBool>>,
    }

    /// Held while listeners are counted and the flag is set, so that the two agree.
    static PROCESS: Mutex<Process> = Mutex::new(Process { listeners: 0, default_effect: None });

    fn process() -> MutexGuard<'static, Process> {
        PROCESS.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) struct Listening {
        signals: [Signal; 2],
    }

    impl Listening {
        pub(super) fn begin() -> io::Result<Self> {
            let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
            let mut process = process();
            if process.default_effect.is_none() {
                let flag = Arc::new(AtomicBool::new(false));
                for kind in kinds {
                    signal_hook::flag::register_conditional_default(kind.as_raw_value(), Arc::clone(&flag))?;
                }
                process.default_effect = Some(flag);
            }
            let [interrupt, terminate] = kinds;
            let signals = [signal(interrupt)?, signal(terminate)?];
            process.listeners = process.listeners.saturating_add(1);
            process.update();
            Ok(Self { signals })
        }

        pub(super) fn poll_signal(&mut self, cx: &mut Context<'_>) -> Poll<()> {
            let [interrupt, terminate] = &mut self.signals;
            if interrupt.poll_recv(cx).is_ready() || terminate.poll_recv(cx).is_ready() {
                return Poll::Ready(());
            }
            Poll::Pending
        }
    }

    impl Drop for Listening {
        fn drop(&mut self) {
            let mut process = process();
            process.listeners = process.listeners.saturating_sub(1);
            process.update();
        }
    }

    impl Process {
        fn update(&self) {
            if let Some(flag) = &self.default_effect {
                flag.store(self.listeners == 0, Ordering::SeqCst);
            }
        }
    }
}

#[cfg(all(windows, feature = "signal"))]
mod imp {
    use std::{
        io,
        task::{Context, Poll},
    };

    use tokio::signal::windows::{CtrlC, ctrl_c};

    /// Where no listener is left, tokio leaves ctrl-c its default effect.
    pub(super) struct Listening(CtrlC);

    impl Listening {
        pub(super) fn begin() -> io::Result<Self> {
            ctrl_c().map(Self)
        }

        pub(super) fn poll_signal(&mut self, cx: &mut Context<'_>) -> Poll<()> {
            self.0.poll_recv(cx).map(|_| ())
        }
    }
}

#[cfg(not(all(any(unix, windows), feature = "signal")))]
mod imp {
    use std::{
        convert::Infallible,
        io,
        task::{Context, Poll},
    };

    pub(super) struct Listening(Infallible);

    impl Listening {
        pub(super) fn begin() -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(super) fn poll_signal(&mut self, _: &mut Context<'_>) -> Poll<()> {
            match self.0 {}
        }
    }
}
