//! Epoch-based reclamation: memory that readers without a lock may still look at is freed when
//! none of them can.
//!
//! The scheme is Fraser's (*Practical lock-freedom*, 2004). A reader is *pinned* while it looks at
//! shared memory and announces the global epoch that it saw then. The epoch advances only when
//! every pinned reader has announced the present one. What is retired is kept with the epoch in
//! which it was, and freed two epochs later.
//!
//! # Why this is safe
//!
//! Let a block be unlinked and then retired with epoch `e`. A reader that can reach it had
//! announced its epoch `r`, and loaded the block's address before it was unlinked. Between the
//! reader's announcement and its load, and between the unlinking and the reading of `e`, there is
//! a full barrier each; hence if the load did not see the unlinking, whoever read `e` comes after
//! the announcement, and `r <= e`. As long as the reader is pinned the epoch cannot go beyond
//! `r + 1`, that is, it stays below `e + 2`: the block is not freed.
//!
//! # Waiting for others
//!
//! [`synchronize`] returns when every thread that was pinned at its call has been unpinned since.
//! It runs the full barrier and then reads the epoch, `e`. A thread that was pinned before the
//! barrier had announced some `r <= e`, as above, and keeps the epoch below `r + 2 <= e + 2` as
//! long as it is pinned; a thread that is pinned after it sees all that the caller did before. So
//! it is enough to wait until the epoch is `e + 2`.
//!
//! # Why not a library
//!
//! The reader's barrier is the dearest part of a lookup: 6 to 8 ns of about 30. Readers are far more
//! frequent than reclaimers, so the barrier is made asymmetric: readers only keep the compiler
//! from reordering, and a reclaimer has the kernel run a full barrier on every core that runs a
//! thread of this process (`membarrier(2)`), once for each batch of retired blocks. Where the
//! kernel has no such call readers use an ordinary barrier.

#[cfg(all(test, loom))]
mod model;
mod protocol;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::ptr;

use protocol::{Batch, Global, Participant, Retired};
use sync::{AtomicPtr, AtomicU64, AtomicUsize, Mutex};

/// Retired blocks that a thread gathers before it looks for what can be freed.
const BATCH: usize = 512;
/// A batch with this many bytes is full, however few blocks it has.
const BATCH_BYTES: usize = 1 << 20;

/// What a thread keeps for itself.
struct Local {
    participant: &'static Participant,
    /// How many guards the thread has.
    guards: Cell<usize>,
    retired: RefCell<Vec<Retired>>,
    retired_bytes: Cell<usize>,
    /// Full batches that wait for their epoch to pass, oldest first.
    waiting: RefCell<VecDeque<Batch>>,
}

static GLOBAL: Global = Global {
    epoch: AtomicU64::new(1),
    participants: AtomicPtr::new(ptr::null_mut()),
    waiting: Mutex::new(VecDeque::new()),
    left: AtomicUsize::new(0),
};

thread_local! {
    /// The same as `OWNER`'s, for a quick look: null before the first use and after the end.
    static LOCAL: Cell<*const Local> = const { Cell::new(ptr::null()) };
    static OWNER: LocalOwner = LocalOwner(Local::new());
}

/// Gives a thread's state up when the thread ends.
struct LocalOwner(Box<Local>);

impl Local {
    fn new() -> Box<Self> {
        Box::new(Local {
            participant: GLOBAL.join(),
            guards: Cell::new(0),
            retired: RefCell::new(Vec::new()),
            retired_bytes: Cell::new(0),
            waiting: RefCell::new(VecDeque::new()),
        })
    }
}

impl Drop for LocalOwner {
    fn drop(&mut self) {
        LOCAL.set(ptr::null());
        self.0.leave_all();
        self.0.participant.give_up();
    }
}

/// Keeps the calling thread pinned: what it can reach meanwhile is not freed.
pub struct Guard {
    local: *const Local,
    /// A guard stays on the thread that it announces for.
    thread: PhantomData<*const ()>,
}

/// Pins the calling thread. Nested guards cost next to nothing.
#[inline]
pub fn pin() -> Guard {
    let mut local = LOCAL.get();
    if local.is_null() {
        local = first_use();
    }
    // SAFETY: the state lives until its thread ends, or, where that is ending already, for ever.
    let state = unsafe { &*local };
    let guards = state.guards.get();
    state.guards.set(guards + 1);
    if guards == 0 {
        state.participant.announce(&GLOBAL);
    }
    Guard { local, thread: PhantomData }
}

#[cold]
fn first_use() -> *const Local {
    let local = OWNER.try_with(|owner| ptr::from_ref(&*owner.0));
    match local {
        Ok(local) => {
            LOCAL.set(local);
            local
        }
        // The thread is ending, and something that it drops uses us once more: a state that is
        // never given up, which costs a few bytes for each such thread.
        Err(_) => Box::leak(Local::new()),
    }
}

/// Waits until every thread that is pinned now has been unpinned. Who is pinned later sees what the
/// caller did before the call.
///
/// It spins, giving way to other threads: not for threads that must not be held up.
///
/// # Panics
/// If the calling thread is pinned, for it would wait for itself.
pub fn synchronize() {
    let local = LOCAL.get();
    // SAFETY: the state lives until its thread ends.
    let guards = unsafe { local.as_ref() }.map_or(0, |local| local.guards.get());
    assert_eq!(guards, 0, "a thread that is pinned waits for itself");
    let end = GLOBAL.end_of_grace();
    while !GLOBAL.has_come_to(end) {
        std::thread::yield_now();
    }
}

impl Guard {
    /// Has `free` called with `data` when no thread that is pinned now is pinned any more: on this
    /// thread or another, sooner or later. `bytes` is about what will be freed.
    ///
    /// # Safety
    /// Nobody who is pinned from now on can reach `data`; `free` may be called with it once, on
    /// any thread.
    #[inline]
    pub unsafe fn retire(&self, data: *mut (), free: unsafe fn(*mut ()), bytes: usize) {
        // SAFETY: a guard's state outlives it (`pin`).
        let local = unsafe { &*self.local };
        let mut retired = local.retired.borrow_mut();
        retired.push(Retired { data, free });
        let total = local.retired_bytes.get() + bytes;
        local.retired_bytes.set(total);
        if retired.len() >= BATCH || total >= BATCH_BYTES {
            drop(retired);
            if total >= BATCH_BYTES {
                local.leave_all();
            } else {
                local.keep();
            }
            GLOBAL.collect();
        }
    }

    /// Leaves what this thread has retired so far to whoever comes first, and frees what can be
    /// freed of what was left.
    pub fn flush(&self) {
        // SAFETY: a guard's state outlives it (`pin`).
        unsafe { &*self.local }.leave_all();
        GLOBAL.try_advance();
        GLOBAL.collect();
    }
}

impl Drop for Guard {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: a guard's state outlives it (`pin`).
        let state = unsafe { &*self.local };
        let guards = state.guards.get() - 1;
        state.guards.set(guards);
        if guards == 0 {
            state.participant.withdraw();
        }
    }
}

impl Local {
    fn seal(&self) -> Option<Batch> {
        let retired = self.retired.take();
        self.retired_bytes.set(0);
        (!retired.is_empty()).then(|| GLOBAL.seal(retired))
    }

    /// Keeps a full batch, and frees older ones whose epoch has passed.
    fn keep(&self) {
        let sealed = self.seal();
        self.waiting.borrow_mut().extend(sealed);
        loop {
            // Freeing may retire more: nothing is borrowed meanwhile.
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.front().is_some_and(|batch| GLOBAL.has_passed(batch)) {
                return;
            }
            let batch = waiting.pop_front();
            drop(waiting);
            if let Some(batch) = batch {
                batch.free();
            }
        }
    }

    /// Leaves everything to other threads.
    fn leave_all(&self) {
        let sealed = self.seal();
        for batch in self.waiting.take().into_iter().chain(sealed) {
            GLOBAL.leave(batch);
        }
    }
}

mod sync {
    //! What the protocol is made of, and a full barrier that is paid for by one side only.

    pub(super) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
    use std::sync::atomic::{compiler_fence, fence};

    pub(super) use parking_lot::Mutex;

    /// The readers' side.
    #[inline]
    pub(super) fn light_barrier() {
        if asymmetric::is_available() {
            compiler_fence(Ordering::SeqCst);
        } else {
            fence(Ordering::SeqCst);
        }
    }

    /// The reclaimers' side: as if every thread of the process had run a full barrier now.
    pub(super) fn heavy_barrier() {
        if !asymmetric::is_available() || !asymmetric::run() {
            fence(Ordering::SeqCst);
        }
    }

    #[cfg(target_os = "linux")]
    mod asymmetric {
        use std::sync::atomic::{AtomicU8, Ordering};

        const UNKNOWN: u8 = 0;
        const AVAILABLE: u8 = 1;
        const ABSENT: u8 = 2;
        /// Decided once, by the first thread that asks, and the same for all ever after: a reader
        /// that relies on it and a reclaimer that does not would be a race.
        static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);

        /// `MEMBARRIER_CMD_PRIVATE_EXPEDITED` and the command that registers for it.
        const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
        const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

        fn command(command: libc::c_int) -> bool {
            // SAFETY: the call takes three integers and touches no memory of ours.
            unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
        }

        #[inline]
        pub(super) fn is_available() -> bool {
            match STATE.load(Ordering::Relaxed) {
                UNKNOWN => ask(),
                state => state == AVAILABLE,
            }
        }

        #[cold]
        fn ask() -> bool {
            let state = if command(REGISTER_PRIVATE_EXPEDITED) { AVAILABLE } else { ABSENT };
            // Threads that ask at the same time get the same answer from the kernel.
            STATE.store(state, Ordering::Relaxed);
            state == AVAILABLE
        }

        pub(super) fn run() -> bool {
            let done = command(PRIVATE_EXPEDITED);
            // A process that is registered is never refused.
            assert!(done, "membarrier failed after it was registered");
            done
        }
    }

    #[cfg(not(target_os = "linux"))]
    mod asymmetric {
        pub(super) fn is_available() -> bool {
            false
        }

        pub(super) fn run() -> bool {
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    static FREED: AtomicUsize = AtomicUsize::new(0);

    unsafe fn count(data: *mut ()) {
        // SAFETY: the tests retire boxes of one number each.
        let number = unsafe { *Box::from_raw(data.cast::<usize>()) };
        FREED.fetch_add(number, Ordering::Relaxed);
    }

    fn retire_one() {
        let data = Box::into_raw(Box::new(1_usize)).cast();
        // SAFETY: nobody else knows the box.
        unsafe { pin().retire(data, count, 8) };
    }

    #[test]
    fn nothing_is_freed_under_a_guard_and_everything_afterwards() {
        let before = FREED.load(Ordering::Relaxed);
        let pinned = Arc::new(AtomicBool::new(false));
        let release = Arc::new(AtomicBool::new(false));
        let reader = std::thread::spawn({
            let (pinned, release) = (Arc::clone(&pinned), Arc::clone(&release));
            move || {
                let _guard = pin();
                pinned.store(true, Ordering::Release);
                while !release.load(Ordering::Acquire) {
                    std::thread::yield_now();
                }
            }
        });
        while !pinned.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        for _ in 0..10 * BATCH {
            retire_one();
        }
        for _ in 0..100 {
            pin().flush();
        }
        assert_eq!(FREED.load(Ordering::Relaxed), before, "a reader is pinned");
        release.store(true, Ordering::Release);
        reader.join().expect("the reader ended");
        // Threads of other tests may be pinned for a moment.
        while FREED.load(Ordering::Relaxed) < before + 10 * BATCH {
            pin().flush();
        }
    }

    #[test]
    fn synchronize_waits_for_who_is_pinned_and_not_for_who_comes_later() {
        let stop = Arc::new(AtomicBool::new(false));
        // A thread that is pinned again and again never keeps anybody waiting for long.
        let busy = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                while !stop.load(Ordering::Relaxed) {
                    drop(pin());
                }
            }
        });
        for _ in 0..50 {
            let pinned = Arc::new(AtomicBool::new(false));
            let through = Arc::new(AtomicBool::new(false));
            let reader = std::thread::spawn({
                let (pinned, through) = (Arc::clone(&pinned), Arc::clone(&through));
                move || {
                    let guard = pin();
                    pinned.store(true, Ordering::Release);
                    for _ in 0..20 {
                        std::thread::yield_now();
                    }
                    through.store(true, Ordering::Relaxed);
                    drop(guard);
                }
            });
            while !pinned.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            synchronize();
            assert!(through.load(Ordering::Relaxed), "it returned under a reader's guard");
            reader.join().expect("the reader ended");
        }
        stop.store(true, Ordering::Relaxed);
        busy.join().expect("the busy thread ended");
    }

    #[test]
    #[should_panic(expected = "waits for itself")]
    fn synchronize_refuses_a_thread_that_is_pinned() {
        let _guard = pin();
        synchronize();
    }

    #[test]
    fn guards_nest() {
        let outer = pin();
        drop(pin());
        // SAFETY: a guard's state outlives it.
        assert_eq!(unsafe { &*outer.local }.guards.get(), 1);
    }
}
