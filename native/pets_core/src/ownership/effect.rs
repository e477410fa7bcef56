use super::{Message, TransferId};
use crate::placement::{Epoch, NodeName, Slot};

/// Something that the shell has to do, in the order given and before the next event is handled.
///
/// Those that only begin something are said to; the others are done when the shell goes on to the
/// next effect. All effects on one slot's table state come from here.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Sends a message on the ordered link to a member, behind everything sent there before. To a
    /// member without a link it may be dropped if [`LinkDown`](super::Event::LinkDown) was or will
    /// be reported.
    Send {
        /// The receiver.
        to: NodeName,
        /// The message.
        message: Message,
    },
    /// Makes this node the owner of every slot, with an empty table.
    Found,
    /// Begins to send a slot: from now on its changes are logged (state Copying); a snapshot and
    /// then the changes go to the member, until little is left and
    /// [`CopyCaughtUp`](super::Event::CopyCaughtUp) is reported. Changes that come later are kept.
    Copy {
        /// The slot.
        slot: Slot,
        /// The receiver.
        to: NodeName,
        /// The attempt, to be sent with every batch.
        transfer: TransferId,
    },
    /// Stops writes to a slot that is being copied (state Frozen) and begins to send the last
    /// changes; then [`Flushed`](super::Event::Flushed) is reported.
    Freeze {
        /// The slot.
        slot: Slot,
        /// The receiver.
        to: NodeName,
        /// The attempt, to be sent with every batch.
        transfer: TransferId,
    },
    /// Stops reads too (state Granted). The grant itself is the next message.
    Grant {
        /// The slot.
        slot: Slot,
    },
    /// Serves the slot again (state Owned); whatever was being sent of it is no longer sent, and
    /// its log is dropped.
    Resume {
        /// The slot.
        slot: Slot,
    },
    /// Forgets a slot that another node owns now (state Foreign), data and all.
    Release {
        /// The slot.
        slot: Slot,
    },
    /// Prepares to receive a slot. From now on data of this transfer, and of no other, is put
    /// where nobody sees it.
    Stage {
        /// The slot.
        slot: Slot,
        /// The sender.
        from: NodeName,
        /// The attempt whose data is taken.
        transfer: TransferId,
    },
    /// Forgets what was received of a slot, and takes no more.
    Wipe {
        /// The slot.
        slot: Slot,
    },
    /// Makes what was received of a slot visible and serves it (state Owned).
    Adopt {
        /// The slot.
        slot: Slot,
    },
    /// Serves a slot that has no data any more (state Owned).
    AdoptEmpty {
        /// The slot.
        slot: Slot,
    },
    /// Stops writes to a slot that another node owns by better right (state Frozen, from any
    /// other); reads may go on. What was being sent of it is no longer sent.
    Hold {
        /// The slot.
        slot: Slot,
    },
    /// Begins to send all objects of a held slot to its owner, to be put where it has none with
    /// the same key; then [`Flushed`](super::Event::Flushed) is reported.
    Merge {
        /// The slot.
        slot: Slot,
        /// The owner.
        to: NodeName,
        /// The attempt, to be sent with every batch.
        transfer: TransferId,
    },
    /// Stops sending the objects of a held slot; it stays held.
    StopMerge {
        /// The slot.
        slot: Slot,
    },
    /// Publishes who owns a slot; `None`: nobody that is known.
    Route {
        /// The slot.
        slot: Slot,
        /// The epoch of the claim.
        epoch: Epoch,
        /// The owner, this node or another.
        owner: Option<NodeName>,
    },
    /// Tells those who subscribed.
    Notify(Notice),
    /// This node has nothing left to hand over, or nobody to hand it to: it may go.
    Left,
    /// The deadline for leaving has passed. Handing over goes on until the machine is dropped.
    LeaveTimedOut {
        /// How many slots are still held.
        remaining: usize,
    },
}

/// Something that subscribers hear about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// This node owns the slot, and its data is there. Not said one by one by a founder.
    Acquired(Slot),
    /// This node does not own the slot any more.
    Released(Slot),
    /// The slot's data was on a node that died; this node owns the slot, empty.
    Lost(Slot),
    /// Whether every slot is where it belongs, as far as this node knows, has changed.
    Settled(bool),
}
