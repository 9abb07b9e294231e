//! Waiting for the permits of a key.

use std::{
    borrow::Borrow,
    fmt,
    hash::Hash,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_core::future::FusedFuture;

use super::{KeyedLimiter, request::Tried};
use crate::{
    limiter::{AcquireInner, Limiter, One, PermitSource, Refused, Several},
    time::Instant,
};

/// Waits for permits of a key; made by [`KeyedLimiter::acquire`].
///
/// It joins the wait list of the key at the first poll; see [`Acquire`](crate::limiter::Acquire).
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct KeyedAcquire<'a, K, Q>
where
    K: Eq + Hash + Borrow<Q>,
    Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
{
    inner: AcquireInner<KeySource<'a, K, Q>, Several>,
}

/// Waits for one permit of a key; made by [`KeyedLimiter::ready`].
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct KeyedReady<'a, K, Q>
where
    K: Eq + Hash + Borrow<Q>,
    Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
{
    inner: AcquireInner<KeySource<'a, K, Q>, One>,
}

/// A key and the limiters it is one of.
struct KeySource<'a, K, Q: ?Sized> {
    keyed: &'a KeyedLimiter<K>,
    key: &'a Q,
}

/// The limiter of a key, while a task waits for it. Dropped, the key needs none any more, if this was the last.
struct KeyLimiter<'a, K: Eq + Hash> {
    keyed: &'a KeyedLimiter<K>,
    hash: u64,
    slot: u32,
    /// There until it is dropped.
    limiter: Option<Limiter>,
}

impl<K: Eq + Hash> KeyedLimiter<K> {
    /// Waits for one permit of this key, however long it takes; see [`Limiter::ready`].
    ///
    /// # Cancel safety
    /// Dropped before it is done it has taken nothing; its place in the order is lost.
    ///
    /// # Panics
    /// In a wait, outside of a runtime with a timer.
    pub fn ready<'a, Q>(&'a self, key: &'a Q) -> KeyedReady<'a, K, Q>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        KeyedReady::new(self, key)
    }

    /// Waits for `permits` of this key, all of them at once; see [`Limiter::acquire`].
    ///
    /// # Errors
    /// [`Refused::TooFar`] where the wait does not fit into its bound, and [`Refused::OverBurst`].
    ///
    /// # Cancel safety
    /// Dropped before it is done it has taken nothing; its place in the order is lost.
    ///
    /// # Panics
    /// In a wait, outside of a runtime with a timer.
    pub fn acquire<'a, Q>(&'a self, key: &'a Q, permits: u32) -> KeyedAcquire<'a, K, Q>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        KeyedAcquire::new(self, key, permits)
    }
}

impl<'a, K, Q> KeyedAcquire<'a, K, Q>
where
    K: Eq + Hash + Borrow<Q>,
    Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
{
    pub(super) fn new(keyed: &'a KeyedLimiter<K>, key: &'a Q, permits: u32) -> Self {
        Self { inner: AcquireInner::new(KeySource { keyed, key }, Several::new(permits)) }
    }

    /// Waits no longer than this, counted from the first poll. Permits at exactly its end are in time.
    pub fn within(mut self, allowed: Duration) -> Self {
        self.inner.request_mut().within(allowed);
        self
    }

    /// Waits no longer than until then. Permits at exactly that instant are in time.
    pub fn by(mut self, instant: Instant) -> Self {
        self.inner.request_mut().by(instant);
        self
    }
}

impl<K, Q> Future for KeyedAcquire<'_, K, Q>
where
    K: Eq + Hash + Borrow<Q>,
    Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
{
    type Output = Result<(), Refused>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.inner.poll_acquire(cx, "KeyedAcquire")
    }
}

impl<K, Q> FusedFuture for KeyedAcquire<'_, K, Q>
where
    K: Eq + Hash + Borrow<Q>,
    Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
{
    fn is_terminated(&self) -> bool {
        self.inner.is_done()
    }
}

impl<K, Q> fmt::Debug for KeyedAcquire<'_, K, Q>
where
    K: Eq + Hash + Borrow<Q>,
    Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedAcquire").field("request", self.inner.request()).finish_non_exhaustive()
    }
}

impl<'a, K, Q> KeyedReady<'a, K, Q>
where
    K: Eq + Hash + Borrow<Q>,
    Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
{
    pub(super) fn new(keyed: &'a KeyedLimiter<K>, key: &'a Q) -> Self {
        Self { inner: AcquireInner::new(KeySource { keyed, key }, One) }
    }
}

impl<K, Q> Future for KeyedReady<'_, K, Q>
where
    K: Eq + Hash + Borrow<Q>,
    Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.inner.poll_ready(cx, "KeyedReady")
    }
}

impl<K, Q> FusedFuture for KeyedReady<'_, K, Q>
where
    K: Eq + Hash + Borrow<Q>,
    Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
{
    fn is_terminated(&self) -> bool {
        self.inner.is_done()
    }
}

impl<K, Q> fmt::Debug for KeyedReady<'_, K, Q>
where
    K: Eq + Hash + Borrow<Q>,
    Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedReady").finish_non_exhaustive()
    }
}

impl<'a, K, Q> PermitSource for KeySource<'a, K, Q>
where
    K: Eq + Hash + Borrow<Q>,
    Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
{
    type Limiter = KeyLimiter<'a, K>;

    #[inline]
    fn now(&self) -> u64 {
        self.keyed.now()
    }

    #[inline]
    fn try_take(&self, now: u64, permits: u32) -> bool {
        match self.keyed.try_take(now, self.key, permits) {
            Tried::Taken => true,
            Tried::ReadyIn(_) => false,
            Tried::Unknown => self.keyed.try_acquire_unpacked(now, self.key, permits).is_ok(),
        }
    }

    fn limiter(&self) -> KeyLimiter<'a, K> {
        let (hash, slot, limiter) = self.keyed.promote(self.key);
        KeyLimiter { keyed: self.keyed, hash, slot, limiter: Some(limiter) }
    }
}

impl<K: Eq + Hash> Borrow<Limiter> for KeyLimiter<'_, K> {
    fn borrow(&self) -> &Limiter {
        match &self.limiter {
            Some(limiter) => limiter,
            None => unreachable!("it was dropped"),
        }
    }
}

impl<K: Eq + Hash> Drop for KeyLimiter<'_, K> {
    fn drop(&mut self) {
        self.limiter = None;
        self.keyed.demote(self.hash, self.slot);
    }
}
