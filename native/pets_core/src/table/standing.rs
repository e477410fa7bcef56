//! Whether a table serves all of its slots, and whether that has been so throughout.

use std::sync::atomic::{AtomicU64, Ordering};

use super::state::SlotState;

/// Counts the slots that serve no reads, and how often a slot has changed its state.
///
/// Who goes through the whole table compares it before and after: while it is the same, nothing
/// has come or gone but by writes.
pub(super) struct Standing(AtomicU64);

/// What a [`Standing`] was at a moment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen(u64);

const CHANGE: u64 = 1 << 32;

impl Standing {
    pub(super) fn new() -> Self {
        Standing(AtomicU64::new(0))
    }

    /// Notes a change of state, before it happens. The caller holds the slot's lock.
    pub(super) fn note(&self, from: SlotState, to: SlotState) {
        let unserved = u64::from(!to.serves_reads()).wrapping_sub((!from.serves_reads()).into());
        // Relaxed: whoever finds something gone because of the change has loaded, with Acquire, what
        // was stored after this, and so sees it.
        self.0.fetch_add(CHANGE.wrapping_add(unserved), Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn see(&self) -> Seen {
        // Acquire: what is looked at next is not older.
        Seen(self.0.load(Ordering::Acquire))
    }
}

impl Seen {
    /// Whether all slots serve reads.
    #[inline]
    pub(super) fn serves_all(self) -> bool {
        self.0 as u32 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_that_come_and_go_are_counted() {
        let standing = Standing::new();
        let before = standing.see();
        assert!(before.serves_all());
        standing.note(SlotState::Owned, SlotState::Copying);
        assert!(standing.see().serves_all() && standing.see() != before);
        standing.note(SlotState::Frozen, SlotState::Granted);
        standing.note(SlotState::Granted, SlotState::Foreign);
        assert!(!standing.see().serves_all());
        standing.note(SlotState::Foreign, SlotState::Owned);
        assert!(standing.see().serves_all());
    }
}
