//! The view that a table whose keys are placed by a callback is in.
//!
//! Which node such a key belongs to follows from the list of shards alone. A *view* is one such
//! list, known here by its *version*, a number that all nodes compute from it alike. An operation
//! says under which version its node was chosen, and is carried out only while the node is in
//! that view and the view is *open*. It is *closed* while keys move; only what moves them is then
//! carried out.

use std::sync::atomic::{AtomicU64, Ordering};

use pets_core::epoch::{self, Guard};

/// What an operation on a placed table needs to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Under {
    /// The version of the view under which the sender chose the node; less than 2^63.
    pub version: u64,
    /// Whether the view has to be open or closed.
    pub phase: Phase,
}

/// Whether a view serves its users or the movement of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Keys are where they belong, and users are served.
    Open,
    /// Keys are on their way, and users wait.
    Closed,
}

/// Why an operation was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotNow {
    /// The versions differ.
    OtherVersion,
    /// The version is the same, the phase is not the one that is needed.
    OtherPhase,
}

/// The version that every table begins with; no list of shards has it.
pub const NO_VERSION: u64 = 0;

/// The view of one table on this node.
pub(super) struct View {
    /// Twice the version, plus 1 if the view is open. Written by `close` and `open`; decisive for
    /// an operation that reads it while it is pinned, until it is unpinned.
    state: AtomicU64,
}

impl View {
    /// No view, closed.
    pub(super) fn new() -> Self {
        View { state: AtomicU64::new(NO_VERSION << 1) }
    }

    /// The present version and its phase.
    pub(super) fn get(&self) -> Under {
        // Acquire pairs with the Release in `set`.
        let state = self.state.load(Ordering::Acquire);
        let phase = if state & 1 == 1 { Phase::Open } else { Phase::Closed };
        Under { version: state >> 1, phase }
    }

    /// Whether an operation may be carried out. If so it may until `_pinned` is dropped, whatever
    /// happens to the view meanwhile: whoever changes it waits for that.
    pub(super) fn admits(&self, under: Under, _pinned: &Guard) -> Result<(), NotNow> {
        let now = self.get();
        if now.version != under.version {
            Err(NotNow::OtherVersion)
        } else if now.phase != under.phase {
            Err(NotNow::OtherPhase)
        } else {
            Ok(())
        }
    }

    /// Enters a view, closed. On return no operation of an earlier one is being carried out.
    ///
    /// # Panics
    /// See [`epoch::synchronize`].
    pub(super) fn close(&self, version: u64) {
        self.set(version << 1);
    }

    /// Opens the view if it is still the present one. On return nothing moves keys any more.
    ///
    /// # Panics
    /// See [`epoch::synchronize`].
    pub(super) fn open(&self, version: u64) -> bool {
        let is_present = self.get().version == version;
        if is_present {
            self.set(version << 1 | 1);
        }
        is_present
    }

    fn set(&self, state: u64) {
        // Release pairs with the Acquire in `get`: who is let in sees what was done before.
        self.state.store(state, Ordering::Release);
        // Who was pinned and had read the former state is through with its operation after this;
        // who is pinned later reads this state.
        epoch::synchronize();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::*;

    const V: u64 = 7;
    const SERVED: Under = Under { version: V, phase: Phase::Open };
    const MOVED: Under = Under { version: V, phase: Phase::Closed };

    fn admits(view: &View, under: Under) -> Result<(), NotNow> {
        view.admits(under, &epoch::pin())
    }

    #[test]
    fn users_are_let_in_when_it_is_open_and_movers_when_it_is_closed() {
        let view = View::new();
        assert_eq!(admits(&view, SERVED), Err(NotNow::OtherVersion));
        view.close(V);
        assert_eq!(admits(&view, SERVED), Err(NotNow::OtherPhase));
        assert_eq!(admits(&view, MOVED), Ok(()));
        assert!(view.open(V));
        assert_eq!(admits(&view, SERVED), Ok(()));
        assert_eq!(admits(&view, MOVED), Err(NotNow::OtherPhase));
        view.close(V + 1);
        assert_eq!(admits(&view, SERVED), Err(NotNow::OtherVersion));
    }

    #[test]
    fn a_view_that_has_passed_is_not_opened() {
        let view = View::new();
        view.close(V);
        assert!(!view.open(V - 1));
        assert_eq!(view.get(), MOVED);
    }

    #[test]
    fn nothing_changes_after_a_close_has_returned() {
        let view = Arc::new(View::new());
        let done = Arc::new(AtomicU64::new(0));
        view.close(V);
        view.open(V);
        let users: Vec<_> = (0..2)
            .map(|_| {
                let (view, done) = (Arc::clone(&view), Arc::clone(&done));
                std::thread::spawn(move || {
                    loop {
                        let guard = epoch::pin();
                        match view.admits(SERVED, &guard) {
                            Ok(()) => done.fetch_add(1, Ordering::Relaxed),
                            Err(NotNow::OtherPhase) => continue,
                            Err(NotNow::OtherVersion) => return,
                        };
                    }
                })
            })
            .collect();
        for _ in 0..200 {
            view.close(V);
            let before = done.load(Ordering::Relaxed);
            std::thread::yield_now();
            assert_eq!(done.load(Ordering::Relaxed), before, "a user was let in too late");
            view.open(V);
        }
        view.close(V + 1);
        for user in users {
            user.join().expect("the user ended");
        }
    }
}
