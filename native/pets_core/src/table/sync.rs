//! The atomics that slots are made of: the real ones, or loom's where `model.rs` explores their
//! interleavings.

#[cfg(not(all(test, loom)))]
mod real {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

    /// Rounds of waiting with the processor kept, each twice as long as the one before.
    const SPINNING_ROUNDS: u32 = 4;
    /// How long the first one is. A look at a lock takes its cache line from its holder, who needs
    /// it to leave the lock; and a thread that is left alone for a while takes it many times
    /// over at a tenth of the price. Two threads that count in one place take 40 ns with this, 53
    /// with 8, and 170 with 1.
    const FIRST_ROUND: u32 = 32;

    /// Passes the time of a round of waiting for a lock.
    pub(crate) fn wait(round: u32) {
        if round < SPINNING_ROUNDS {
            for _ in 0..FIRST_ROUND << round {
                std::hint::spin_loop();
            }
        } else {
            std::thread::yield_now();
        }
    }

    #[inline]
    pub(crate) fn note_holding(_holding: bool) {}
}

/// What the holder of a lock reads is what holders of it wrote, so that its loads need no place in
/// the interleavings. Loom must not even see them: it remembers one access to an atomic only, and
/// a writer that loads before it stores would hide the load of a reader from it.
#[cfg(all(test, loom))]
mod modelled {
    use std::cell::Cell;

    use loom::sync::atomic;
    pub(crate) use loom::sync::atomic::{AtomicBool, Ordering};

    loom::thread_local! {
        static HOLDS_LOCK: Cell<bool> = Cell::new(false);
    }

    pub(crate) fn note_holding(holding: bool) {
        HOLDS_LOCK.with(|holds| holds.set(holding));
    }

    pub(crate) fn wait(_round: u32) {
        loom::thread::yield_now();
    }

    macro_rules! atomic {
        ($name:ident $(<$parameter:ident>)?, $value:ty) => {
            pub(crate) struct $name $(<$parameter>)?(atomic::$name $(<$parameter>)?);

            impl $(<$parameter>)? $name $(<$parameter>)? {
                pub(crate) fn new(value: $value) -> Self {
                    Self(atomic::$name::new(value))
                }

                pub(crate) fn load(&self, ordering: Ordering) -> $value {
                    if HOLDS_LOCK.with(Cell::get) {
                        // SAFETY: all stores are made under the lock; loom checks that they
                        // happened before.
                        return unsafe { self.0.unsync_load() };
                    }
                    self.0.load(ordering)
                }

                pub(crate) fn store(&self, value: $value, ordering: Ordering) {
                    self.0.store(value, ordering);
                }
            }
        };
    }

    atomic!(AtomicPtr<T>, *mut T);
    atomic!(AtomicU32, u32);
    atomic!(AtomicU64, u64);
}

#[cfg(all(test, loom))]
pub(crate) use modelled::*;
#[cfg(not(all(test, loom)))]
pub(crate) use real::*;
