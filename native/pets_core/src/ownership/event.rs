use std::time::Duration;

use super::{Message, TransferId};
use crate::placement::{Epoch, NodeName, Slot};

/// Something that happened outside the machine.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A node hosts this table too, and the two tables are compatible. The shell begins to
    /// connect; what is sent meanwhile waits for the link or is reported by
    /// [`LinkDown`](Event::LinkDown).
    MemberUp {
        /// The node.
        node: NodeName,
        /// Its weight, until its own claims say it.
        weight: u32,
    },
    /// A node is dead: it will not serve its slots again under the claims that it had. When it was
    /// restarted this is reported before [`MemberUp`](Event::MemberUp) of the new one; and before
    /// messages of the new one if the old one never sent any, or the two could not be told apart.
    MemberDown {
        /// The node.
        node: NodeName,
    },
    /// A node stopped hosting this table in good order, having handed over what it could.
    MemberGone {
        /// The node.
        node: NodeName,
    },
    /// The ordered link to a member stands (again). Reported after each
    /// [`LinkDown`](Event::LinkDown) when the connection is back; the first one may be reported.
    LinkUp {
        /// The member.
        node: NodeName,
    },
    /// The ordered link to a member broke, in either direction: messages may have been lost. It
    /// is reported before any message or data from a new connection of that member is handed
    /// over: what came before the gap must not be taken together with what comes after it.
    LinkDown {
        /// The member.
        node: NodeName,
    },
    /// A message came.
    Message {
        /// The member that sent it.
        from: NodeName,
        /// What it says.
        message: Message,
    },
    /// After [`Effect::Copy`](super::Effect::Copy): the snapshot is sent and the log of changes
    /// is short.
    CopyCaughtUp {
        /// The slot being copied.
        slot: Slot,
        /// The attempt it belongs to.
        transfer: TransferId,
    },
    /// After [`Effect::Freeze`](super::Effect::Freeze) or [`Effect::Merge`](super::Effect::Merge):
    /// everything that there is has been given to the link.
    Flushed {
        /// The slot that was sent.
        slot: Slot,
        /// The attempt it belongs to.
        transfer: TransferId,
    },
    /// A node answered an operation with `moved`: it believes in this owner.
    RouteHint {
        /// The slot of the operation.
        slot: Slot,
        /// The epoch of the answer.
        epoch: Epoch,
        /// The owner of the answer.
        owner: NodeName,
    },
    /// This node wants to leave: every slot is to be handed over.
    LeaveSelf {
        /// When to give up, on the machine's clock.
        deadline: Duration,
    },
    /// Time has passed; to be reported a few times in each of the machine's time limits.
    Tick,
}
