//! The protocol of [`super`], without threads' own state: the model check runs this very file on
//! loom's atomics.

use std::collections::VecDeque;

use super::sync::{
    AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Mutex, Ordering, heavy_barrier, light_barrier,
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
    /// Batches that wait for their epoch to pass, oldest first: large ones, and those of threads
    /// that have ended. The others stay with their threads, which keeps threads out of each
    /// other's way, in here and in the allocator.
    pub(super) waiting: Mutex<VecDeque<Batch>>,
    /// How many there are, for a look without the lock.
    pub(super) left: AtomicUsize,
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
    /// Gives blocks that one thread has retired the epoch of now, and drives the epoch on if it may.
    pub(super) fn seal(&self, retired: Vec<Retired>) -> Batch {
        let seen = self.epoch.load(Ordering::Relaxed);
        // Between the unlinking of all these and the reading of their epoch; and between the
        // reading of `seen` and the look at the announcements.
        heavy_barrier();
        let epoch = self.epoch.load(Ordering::Relaxed);
        self.advance_from(seen);
        Batch { epoch, retired }
    }

    /// Leaves a batch to whoever comes first when its epoch has passed.
    pub(super) fn leave(&self, batch: Batch) {
        let mut waiting = self.waiting.lock();
        waiting.push_back(batch);
        self.left.store(waiting.len(), Ordering::Relaxed);
    }

    /// Frees batches that were left and whose epoch has passed, a few at a time.
    pub(super) fn collect(&self) {
        for _ in 0..FREED_AT_ONCE {
            if self.left.load(Ordering::Relaxed) == 0 {
                return;
            }
            let batch = {
                let mut waiting = self.waiting.lock();
                let passed = waiting.front().is_some_and(|batch| self.has_passed(batch));
                let batch = if passed { waiting.pop_front() } else { None };
                self.left.store(waiting.len(), Ordering::Relaxed);
                batch
            };
            let Some(batch) = batch else { return };
            batch.free();
        }
    }

    /// Whether nobody can look at the blocks of a batch any more.
    pub(super) fn has_passed(&self, batch: &Batch) -> bool {
        // Acquire pairs with the AcqRel in `advance_from`: what readers did comes before.
        batch.epoch + 2 <= self.epoch.load(Ordering::Acquire)
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

    /// The epoch in which nobody is pinned any more who is pinned now.
    pub(super) fn end_of_grace(&self) -> u64 {
        // Between what the caller did before, and the reading of the epoch.
        heavy_barrier();
        self.epoch.load(Ordering::Relaxed) + 2
    }

    /// Whether an epoch has come; drives the epoch on if it has not.
    pub(super) fn has_come_to(&self, epoch: u64) -> bool {
        // Acquire pairs with the AcqRel in `advance_from`: what those did who were pinned comes
        // before what the caller does next.
        self.epoch.load(Ordering::Acquire) >= epoch || self.try_advance() >= epoch
    }

    /// Advances the epoch if every pinned thread has seen the present one; answers the epoch.
    pub(super) fn try_advance(&self) -> u64 {
        let seen = self.epoch.load(Ordering::Relaxed);
        heavy_barrier();
        self.advance_from(seen)
    }

    /// Advances the epoch if it is still `seen` and every pinned thread has seen it, too. The caller
    /// ran a heavy barrier after it read `seen`: with one before only, two threads could advance
    /// the epoch twice past a reader whose announcement neither saw.
    fn advance_from(&self, seen: u64) -> u64 {
        let mut at = self.participants.load(Ordering::Acquire).cast_const();
        // SAFETY: participants are never freed.
        while let Some(participant) = unsafe { at.as_ref() } {
            // Acquire pairs with the Release in `withdraw`.
            let announced = participant.announced.load(Ordering::Acquire);
            if announced & 1 == 1 && announced >> 1 != seen {
                return seen;
            }
            at = participant.next;
        }
        // Release and Acquire: a thread that frees because of this epoch comes after all that the
        // looks above have seen, on whichever thread they were made.
        match self.epoch.compare_exchange(seen, seen + 1, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => seen + 1,
            Err(now) => now,
        }
    }
}

impl Batch {
    /// Frees the blocks, whose epoch has passed.
    pub(super) fn free(self) {
        for retired in self.retired {
            // SAFETY: two epochs have passed since it was retired (see the text of `epoch`), and
            // whoever retired it vouched for the call.
            unsafe { (retired.free)(retired.data) };
        }
    }
}
