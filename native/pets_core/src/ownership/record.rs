use std::time::Duration;

use super::{Origin, TransferId};
use crate::placement::{Epoch, NodeName};

/// What a machine knows about one slot.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// What this node has of the slot.
    pub(super) held: Held,
    /// The epoch of this node's own claim; meaningful while it owns or yields the slot.
    pub(super) epoch: Epoch,
    /// Where the data began that this node has; meaningful like `epoch`.
    pub(super) origin: Origin,
    /// The slot is held under a lineage that has lost to the present one: `epoch` does not compare
    /// with anybody's, and the data is to be merged into the owner's.
    pub(super) outranked: bool,
    /// The best claim of another node that was heard of.
    pub(super) seen: Seen,
}

/// Another node's claim to a slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The highest epoch heard of.
    pub(super) epoch: Epoch,
    /// Who claims at this epoch; `None` when nobody, or somebody dead. Always a live member.
    pub(super) owner: Option<NodeName>,
}

/// What a node has of a slot.
#[derive(Clone, Debug)]
pub(super) enum Held {
    /// Nothing.
    Foreign,
    /// What has arrived of it, invisible.
    Staging { from: NodeName, transfer: TransferId },
    /// The slot, served.
    Owned,
    /// The slot, served, and on its way to another node.
    Sending { to: NodeName, transfer: TransferId, phase: Phase, since: Duration },
    /// A copy that another node may own already, at `epoch`: served by nobody here.
    Granted {
        to: NodeName,
        transfer: TransferId,
        epoch: Epoch,
        /// When the answer was last waited for.
        asked: Duration,
        /// The receiver is dead: only the others can tell whether it passed the slot on.
        widowed: bool,
    },
    /// A copy that another node owns by better right.
    Yielding(Yield),
}

/// How far a slot has got on its way out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    Offered,
    Copying,
    Frozen,
}

/// How far a slot has got on its way into the owner's copy.
#[derive(Clone, Debug)]
pub(super) enum Yield {
    /// Until the owner is known, linked and willing; not before this time.
    Waiting { until: Duration },
    /// An attempt is under way.
    Trying { to: NodeName, transfer: TransferId, phase: MergePhase, since: Duration },
}

/// How far an attempt to merge has got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum MergePhase {
    Offered,
    Sending,
    Sent,
}

impl Record {
    pub(super) fn new() -> Record {
        Record {
            held: Held::Foreign,
            epoch: Epoch::NONE,
            origin: Origin::UNKNOWN,
            outranked: false,
            seen: Seen::default(),
        }
    }

    /// Whether this node is the owner, or cannot say that it is not.
    pub(super) fn is_owned(&self) -> bool {
        matches!(self.held, Held::Owned | Held::Sending { .. } | Held::Granted { .. })
    }

    /// Whether this node serves the slot as its owner.
    pub(super) fn is_served(&self) -> bool {
        matches!(self.held, Held::Owned | Held::Sending { .. })
    }

    /// Whether nobody is known who would serve the slot.
    pub(super) fn is_orphan(&self) -> bool {
        match self.held {
            Held::Foreign | Held::Yielding(_) => self.seen.owner.is_none(),
            Held::Granted { widowed, .. } => widowed,
            Held::Staging { .. } | Held::Owned | Held::Sending { .. } => false,
        }
    }

    /// Whether this transfer from this node is being staged.
    pub(super) fn stages(&self, sender: &NodeName, id: TransferId) -> bool {
        matches!(&self.held, Held::Staging { from, transfer }
            if from == sender && *transfer == id)
    }
}
