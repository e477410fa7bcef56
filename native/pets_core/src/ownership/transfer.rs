use std::fmt;

use serde::{Deserialize, Serialize};

/// One attempt to send one slot, named by its sender.
///
/// Every message and every batch of data that belongs to the attempt carries it, so that nothing
/// left over from an earlier attempt (a late answer, data of a link that broke) can be taken for a
/// part of this one. No two attempts of a node share one, restarts included.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TransferId(u64);

/// A machine would have to start more than a million transfers for each millisecond of its life
/// to reach the ids of its successor.
const BITS_PER_MILLISECOND: u32 = 20;

impl TransferId {
    /// The first id of a machine created at this time.
    pub(super) fn first(started_at_ms: u64) -> TransferId {
        TransferId(started_at_ms << BITS_PER_MILLISECOND)
    }

    /// Returns this id and moves on to the next.
    pub(super) fn take(&mut self) -> TransferId {
        let id = *self;
        self.0 = self.0.wrapping_add(1);
        id
    }

    /// The number of the transfer.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The transfer with this number, as [`number`](Self::number) gave it.
    pub const fn new(number: u64) -> TransferId {
        TransferId(number)
    }
}

impl fmt::Display for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
