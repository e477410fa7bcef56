//! The reclamation protocol in every interleaving that loom finds:
//! `RUSTFLAGS="--cfg loom" cargo test -p pets_core --release --lib epoch::model`.

#[path = "protocol.rs"]
mod protocol;

mod sync {
    use loom::sync::atomic::fence;
    pub(super) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

    /// Both sides run the barrier here: what the kernel's one amounts to.
    pub(super) fn light_barrier() {
        fence(Ordering::SeqCst);
    }

    pub(super) fn heavy_barrier() {
        fence(Ordering::SeqCst);
    }

    pub(super) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(super) fn new(value: T) -> Self {
            Mutex(loom::sync::Mutex::new(value))
        }

        pub(super) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().expect("a model that panicked has ended")
        }
    }
}

use std::collections::VecDeque;

use loom::sync::Arc;
use loom::thread;

use self::protocol::{Global, Retired};
use self::sync::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Mutex, Ordering};

unsafe fn mark_freed(data: *mut ()) {
    // SAFETY: the flags live as long as the model.
    unsafe { &*data.cast::<AtomicBool>() }.store(true, Ordering::Relaxed);
}

/// A state of its own for each run of a model.
fn global() -> Global {
    Global {
        epoch: AtomicU64::new(1),
        participants: AtomicPtr::new(std::ptr::null_mut()),
        waiting: Mutex::new(VecDeque::new()),
        left: AtomicUsize::new(0),
    }
}

/// Who has found a gate open is through when the one that shut it has waited.
#[test]
fn nobody_is_behind_a_gate_that_was_shut_a_grace_period_ago() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let global = Arc::new(global());
        let open = Arc::new(AtomicBool::new(true));
        let done = Arc::new(AtomicU64::new(0));
        let user = {
            let (global, open, done) = (Arc::clone(&global), Arc::clone(&open), Arc::clone(&done));
            thread::spawn(move || {
                let participant = global.join();
                participant.announce(&global);
                if open.load(Ordering::Acquire) {
                    done.store(1, Ordering::Relaxed);
                }
                participant.give_up();
            })
        };
        open.store(false, Ordering::Release);
        let end = global.end_of_grace();
        while !global.has_come_to(end) {
            thread::yield_now();
        }
        let seen = done.load(Ordering::Relaxed);
        user.join().expect("the user ended");
        assert_eq!(done.load(Ordering::Relaxed), seen, "somebody was still behind the gate");
    });
}

/// A reader that holds a block it has reached never sees it freed, while a writer unlinks it,
/// retires it, and drives the epoch on.
#[test]
fn a_reader_never_meets_a_freed_block() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let global = Arc::new(global());
        // Leaked like the blocks of a table that are still linked: a model is short.
        let block: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
        let link = Arc::new(AtomicPtr::new(std::ptr::from_ref(block).cast_mut()));
        let reader = {
            let (global, link) = (Arc::clone(&global), Arc::clone(&link));
            thread::spawn(move || {
                let participant = global.join();
                participant.announce(&global);
                let reached = link.load(Ordering::Acquire);
                // SAFETY: blocks of the model are never freed in truth.
                if let Some(block) = unsafe { reached.as_ref() } {
                    assert!(!block.load(Ordering::Relaxed), "freed while it could be reached");
                }
                participant.give_up();
            })
        };
        link.store(std::ptr::null_mut(), Ordering::Release);
        let data = std::ptr::from_ref(block).cast_mut().cast();
        let batch = global.seal(vec![Retired { data, free: mark_freed }]);
        global.leave(batch);
        for _ in 0..3 {
            global.try_advance();
            global.collect();
        }
        reader.join().expect("the reader ended");
    });
}
