//! The callers on this node that wait for an outcome, by the number of their call.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::CallNumber;
use crate::CallId;
use crate::numbered::Numbered;

/// Bits of a [`CallNumber`] that tell its shard, at the low end.
const SHARD_BITS: u32 = 4;

/// A caller, and where its operation is.
struct Call<C> {
    caller: C,
    /// The request that is under way to another node.
    request: Option<CallId>,
}

/// All callers that wait. A thread always puts its calls into the same shard, so that schedulers
/// do not wait for each other.
pub(super) struct Callers<C> {
    shards: [Shard<C>; 1 << SHARD_BITS],
}

/// On cache lines of its own.
#[repr(align(128))]
struct Shard<C>(Mutex<Numbered<Call<C>>>);

impl<C> Callers<C> {
    pub(super) fn new() -> Self {
        let shard = |_| Shard(Mutex::new(Numbered::new(0)));
        Callers { shards: std::array::from_fn(shard) }
    }

    /// Takes a caller in; gives it back when there are too many.
    pub(super) fn insert(&self, caller: C) -> Result<CallNumber, C> {
        let shard = own_shard();
        let number = self.shards[shard].0.lock().insert(Call { caller, request: None });
        match number {
            Ok(number) => Ok(CallNumber(number << SHARD_BITS | shard as u64)),
            Err(call) => Err(call.caller),
        }
    }

    /// Whether the caller still waits.
    pub(super) fn contains(&self, call: CallNumber) -> bool {
        let (shard, number) = self.split(call);
        shard.lock().get_mut(number).is_some()
    }

    /// Its operation is under way to another node. The answer may have come already: then there is
    /// no caller any more.
    pub(super) fn requested(&self, call: CallNumber, request: CallId) {
        let (shard, number) = self.split(call);
        if let Some(call) = shard.lock().get_mut(number) {
            call.request = Some(request);
        }
    }

    /// Takes a caller out, and where its operation is. Whoever gets it tells it the outcome.
    pub(super) fn remove(&self, call: CallNumber) -> Option<(C, Option<CallId>)> {
        let (shard, number) = self.split(call);
        let call = shard.lock().remove(number)?;
        Some((call.caller, call.request))
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.0.lock().len()).sum()
    }

    fn split(&self, call: CallNumber) -> (&Mutex<Numbered<Call<C>>>, u64) {
        let shard = call.0 as usize & ((1 << SHARD_BITS) - 1);
        (&self.shards[shard].0, call.0 >> SHARD_BITS)
    }
}

/// The shard of this thread.
fn own_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<Option<usize>> = const { Cell::new(None) };
    }
    OWN.get().unwrap_or_else(|| {
        let shard = NEXT.fetch_add(1, Ordering::Relaxed) & ((1 << SHARD_BITS) - 1);
        OWN.set(Some(shard));
        shard
    })
}
