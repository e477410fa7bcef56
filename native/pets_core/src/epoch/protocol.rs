//! The protocol of [`super`], without threads' own state: the model check runs this very file on
//! loom's atomics.

use std::collections::VecDeque;

use super::sync::{
    AtomicBool, AtomicPtr, AtomicU64, Mutex, Ordering, heavy_barrier, light_barrier,
};

/// Batches freed in one go, so that no caller pays for more than a few others.
const FREED_AT_ONCE: usize = 4;

/// Something to be called with a pointer when nobody looks at it any more.
pub(super) struct Retired {
    pub(super) data: *mut (),
    pub(super) free: unsafe fn(*mut ()),
}

// SAFETY: [`super::Guard::retire`] demands that `free` may run on any thread.
unsafe impl Send for Retired {}

/// Blocks that were retired in one epoch.
pub(super) struct Batch {
    epoch: u64,
    retired: Vec<Retired>,
}

/// What a thread announces; never freed, but used again by another thread when its own has ended.
pub(super) struct Participant {
    /// 0 while the thread is not pinned, else twice the epoch it saw when it was pinned, plus 1.
    /// Written by its thread, read by whoever wants to advance the epoch.
    announced: AtomicU64,
    /// Whether a thread has it.
    taken: AtomicBool,
    /// Set before it is published, then never changed.
    next: *const Participant,
}

// SAFETY: all fields that change are atomic; `next` points to a participant, which is never freed.
unsafe impl Sync for Participant {}

/// The state that all threads share.
pub(super) struct Global {
    pub(super) epoch: AtomicU64,
    /// The newest participant; the list only grows.
    pub(super) participants: AtomicPtr<Participant>,
    /// Batches that wait for their epoch to pass, oldest first.
    pub(super) waiting: Mutex<VecDeque<Batch>>,
}

impl Participant {
    /// Pins: what the thread can reach from now on is not freed.
    #[inline]
    pub(super) fn announce(&self, global: &Global) {
        let epoch = global.epoch.load(Ordering::Relaxed);
        // Relaxed: the barrier that follows orders it before the loads of the reader.
        self.announced.store(epoch << 1 | 1, Ordering::Relaxed);
        light_barrier();
    }

    /// Unpins.
    #[inline]
    pub(super) fn withdraw(&self) {
        // Release pairs with the Acquire in `try_advance`: all that the reader did comes before
        // what is freed because of this.
        self.announced.store(0, Ordering::Release);
    }

    /// Leaves the participant to another thread.
    pub(super) fn give_up(&self) {
        self.withdraw();
        // Release pairs with the Acquire in `join`: the next thread finds it unpinned.
        self.taken.store(false, Ordering::Release);
    }
}

impl Global {
    /// Hands blocks that one thread has retired to all, with the epoch of now.
    pub(super) fn seal(&self, retired: Vec<Retired>) {
        // Between the unlinking of all these and the reading of the epoch.
        heavy_barrier();
        let mut waiting = self.waiting.lock();
        let epoch = self.epoch.load(Ordering::Relaxed);
        waiting.push_back(Batch { epoch, retired });
    }

    /// A participant for a thread that has none.
    pub(super) fn join(&self) -> &'static Participant {
        // Acquire pairs with the Release below: who sees a participant sees its fields.
        let mut at = self.participants.load(Ordering::Acquire).cast_const();
        // SAFETY: participants are never freed.
        while let Some(participant) = unsafe { at.as_ref() } {
            // Acquire pairs with the Release of the thread that gave it up.
            let free = participant.taken.compare_exchange(
                false,
                true,
                Ordering::Acquire,
                Ordering::Relaxed,
            );
            if free.is_ok() {
                return participant;
            }
            at = participant.next;
        }
        let mut head = self.participants.load(Ordering::Relaxed);
        let participant = Box::leak(Box::new(Participant {
            announced: AtomicU64::new(0),
            taken: AtomicBool::new(true),
            next: head,
        }));
        loop {
            participant.next = head;
            // Release pairs with the Acquire loads of the list's head.
            match self.participants.compare_exchange(
                head,
                participant,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return participant,
                Err(newer) => head = newer,
            }
        }
    }

    /// Advances the epoch if every pinned thread has seen the present one.
    fn try_advance(&self) -> u64 {
        let epoch = self.epoch.load(Ordering::Relaxed);
        // Between whatever was done before, and the look at the announcements.
        heavy_barrier();
        let mut at = self.participants.load(Ordering::Acquire).cast_const();
        // SAFETY: participants are never freed.
        while let Some(participant) = unsafe { at.as_ref() } {
            // Acquire pairs with the Release in `withdraw`.
            let announced = participant.announced.load(Ordering::Acquire);
            if announced & 1 == 1 && announced >> 1 != epoch {
                return epoch;
            }
            at = participant.next;
        }
        // Release and Acquire: a thread that frees because of this epoch comes after all that the
        // looks above have seen, on whichever thread they were made.
        match self.epoch.compare_exchange(epoch, epoch + 1, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => epoch + 1,
            Err(now) => now,
        }
    }

    /// Frees batches whose epoch has passed, a few at a time.
    pub(super) fn collect(&self) {
        let epoch = self.try_advance();
        for _ in 0..FREED_AT_ONCE {
            let batch = {
                let mut waiting = self.waiting.lock();
                match waiting.front() {
                    Some(batch) if batch.epoch + 2 <= epoch => waiting.pop_front(),
                    _ => None,
                }
            };
            let Some(batch) = batch else { return };
            for retired in batch.retired {
                // SAFETY: two epochs have passed since it was retired (see the module's text), and
                // whoever retired it vouched for the call.
                unsafe { (retired.free)(retired.data) };
            }
        }
    }
}
