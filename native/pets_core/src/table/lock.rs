//! The lock of a slot: one byte, and one atomic step with a bus lock for a whole turn.
//!
//! It is held for some ten nanoseconds by nearly every operation, and for microseconds by a
//! rebuild. At that length taking and leaving it is most of what a write costs. A lock that parks
//! its waiters has to look for them when it is left, with a second locked step; this one is left
//! with a plain store. Its waiters spin for a moment, and then let others run, so that a holder
//! that was taken off its processor gets on.

use super::sync::{AtomicBool, Ordering, note_holding, wait};

/// Zero when it is free.
pub(crate) struct Lock(AtomicBool);

/// Held while a slot is changed.
pub(crate) struct LockGuard<'a>(&'a AtomicBool);

impl Lock {
    pub(crate) fn new() -> Self {
        Lock(AtomicBool::new(false))
    }

    #[inline]
    pub(crate) fn lock(&self) -> LockGuard<'_> {
        if !self.try_lock() {
            self.lock_contended();
        }
        note_holding(true);
        LockGuard(&self.0)
    }

    #[inline]
    fn try_lock(&self) -> bool {
        // Acquire pairs with the Release in `drop`: what earlier holders wrote is visible.
        self.0.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[cold]
    fn lock_contended(&self) {
        let mut round = 0;
        loop {
            wait(round);
            round += 1;
            // Only look until it is free: stores would take the line from its holder.
            if !self.0.load(Ordering::Relaxed) && self.try_lock() {
                return;
            }
        }
    }
}

impl Drop for LockGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        note_holding(false);
        // Release pairs with the Acquire in `try_lock`.
        self.0.store(false, Ordering::Release);
    }
}
