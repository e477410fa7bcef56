use serde::{Deserialize, Serialize};

use super::{Lineage, Origin, SlotSet, TransferId};
use crate::placement::{Epoch, NodeName, Slot};

/// What one machine says to the machine of the same table on another node.
///
/// Messages from one node to another arrive in the order in which they were sent, in one sequence
/// with the data of the slots, for as long as the link between them lives. A break loses what was
/// under way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Message {
    /// When the sender's machine was created: tells it from an earlier one on the same node.
    pub started_at_ms: u64,
    /// The lineage that the sender belongs to when it sends; a joiner belongs to none at first.
    pub lineage: Option<Lineage>,
    /// What is said.
    pub body: Body,
}

/// What a [`Message`] says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Body {
    /// All there is to know about the sender: the first word on every link.
    Claims(Claims),
    /// The sender wants to own nothing any more.
    Leaving,
    /// The sender is the owner of these slots.
    Owner(Vec<Run>),
    /// Do you own these slots, and if not, who does?
    Enquire(SlotSet),
    /// May I send you the slot? It is at this epoch.
    Offer {
        /// The slot to be moved.
        slot: Slot,
        /// The attempt that this begins.
        transfer: TransferId,
        /// The sender's epoch of the slot.
        epoch: Epoch,
    },
    /// Yes: staging is open for this transfer.
    Accept {
        /// The slot of the offer.
        slot: Slot,
        /// The attempt that was offered.
        transfer: TransferId,
    },
    /// Not now.
    Refuse {
        /// The slot of the offer.
        slot: Slot,
        /// The attempt that was offered.
        transfer: TransferId,
    },
    /// The sender of the slot has given the attempt up; also for a merge.
    Cancel {
        /// The slot of the attempt.
        slot: Slot,
        /// The attempt that ends.
        transfer: TransferId,
    },
    /// Everything is sent: you own the slot, at this epoch.
    Grant {
        /// The slot that changes its owner.
        slot: Slot,
        /// The attempt that the data came with.
        transfer: TransferId,
        /// The new owner's epoch.
        epoch: Epoch,
        /// Where the slot's data began.
        origin: Origin,
    },
    /// I have taken it.
    Granted {
        /// The slot of the grant.
        slot: Slot,
        /// The attempt that succeeded.
        transfer: TransferId,
    },
    /// I have not taken this grant and never will.
    NotMine {
        /// The slot of the grant.
        slot: Slot,
        /// The attempt that failed.
        transfer: TransferId,
    },
    /// Have you taken this grant?
    Ask {
        /// The slot of the grant.
        slot: Slot,
        /// The attempt in doubt.
        transfer: TransferId,
    },
    /// I know that you have taken it: you need not remember.
    Confirm {
        /// The attempt that both know to have succeeded.
        transfer: TransferId,
    },
    /// What do you know about the owners of these slots? I am about to claim those without one.
    Survey {
        /// Names the question.
        round: u64,
        /// The slots asked about.
        slots: SlotSet,
        /// Those among them that the sender has a copy of, granted to a node that died.
        in_doubt: SlotSet,
    },
    /// What I know, as long as my view of the members is this one.
    SurveyAnswer {
        /// The question's name.
        round: u64,
        /// Those whom the sender holds to be alive, itself included.
        members: Vec<NodeName>,
        /// Slots that the sender is about to claim itself, and has the better right to.
        contested: SlotSet,
        /// The best claims that the sender knows of, its own included.
        heard: Vec<Heard>,
    },
    /// These slots have no owner that I know of, since these epochs, and you rank first for them.
    Orphans(Vec<Run>),
    /// The best claims to these slots that the sender knows of.
    Known(Vec<Heard>),
    /// Your claim to the slot is better than mine: may I send you what I have, to be merged?
    MergeOffer {
        /// The slot that two nodes own.
        slot: Slot,
        /// The attempt that this begins.
        transfer: TransferId,
    },
    /// Yes: I own the slot and will keep it until you are done.
    MergeAccept {
        /// The slot of the offer.
        slot: Slot,
        /// The attempt that was offered.
        transfer: TransferId,
    },
    /// No, or no longer: I do not own the slot, or it is being moved.
    MergeRefuse {
        /// The slot of the offer.
        slot: Slot,
        /// The attempt that was offered.
        transfer: TransferId,
    },
    /// Everything is sent.
    Merged {
        /// The slot that was merged.
        slot: Slot,
        /// The attempt that the data came with.
        transfer: TransferId,
    },
    /// And taken: forget your copy.
    MergeTaken {
        /// The slot that was merged.
        slot: Slot,
        /// The attempt that succeeded.
        transfer: TransferId,
    },
}

/// What a member says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Claims {
    /// Whether the receiver should answer with its own claims.
    pub reply: bool,
    /// The sender's weight.
    pub weight: u32,
    /// Whether the sender wants to own nothing any more.
    pub leaving: bool,
    /// The members that the sender knows, itself included.
    pub members: Vec<NodeName>,
    /// Every slot that the sender owns, those with a grant in doubt included.
    pub owned: Vec<Run>,
    /// The sender's transfers and merges to the receiver that have not ended. All others below
    /// `next` have.
    pub open: Vec<OpenTransfer>,
    /// The sender's next transfer.
    pub next: TransferId,
}

/// A transfer that has not ended, as its sender sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OpenTransfer {
    /// The slot being moved.
    pub slot: Slot,
    /// The attempt.
    pub transfer: TransferId,
    /// Whether the grant was sent; then the sender waits to hear what became of it.
    pub granted: bool,
}

/// Consecutive slots with the same epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Run {
    /// The first slot.
    pub first: Slot,
    /// How many slots there are from the first on.
    pub count: u16,
    /// The epoch of each of them.
    pub epoch: Epoch,
}

impl Run {
    /// The run of one slot.
    pub(super) fn one(slot: Slot, epoch: Epoch) -> Run {
        Run { first: slot, count: 1, epoch }
    }

    /// Gathers slots in ascending order into runs.
    pub fn gather(slots: impl IntoIterator<Item = (Slot, Epoch)>) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for (slot, epoch) in slots {
            match runs.last_mut() {
                Some(run) if run.epoch == epoch && run.end() == slot.index() => run.count += 1,
                _ => runs.push(Run { first: slot, count: 1, epoch }),
            }
        }
        runs
    }

    /// The slots of the run; those past the last slot do not exist and are left out.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        (self.first.index()..self.end()).map_while(Slot::new)
    }

    fn end(&self) -> usize {
        self.first.index() + usize::from(self.count)
    }
}

/// Consecutive slots with the same claim, as the sender has heard of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Heard {
    /// The slots and the epoch of the claim.
    pub run: Run,
    /// Who claims; `None` when the claim's owner is dead or has denied it.
    pub owner: Option<NodeName>,
    /// In a claim that the sender makes for itself: where the slots' data began.
    pub origin: Origin,
    /// Whether the owner has granted the slots away and does not know the answer.
    pub in_doubt: bool,
}

impl Heard {
    /// Joins neighbours with the same claim; they come in ascending order, one slot each.
    pub(super) fn gather(claims: impl IntoIterator<Item = Heard>) -> Vec<Heard> {
        let mut heard: Vec<Heard> = Vec::new();
        for claim in claims {
            match heard.last_mut() {
                Some(last) if last.precedes(&claim) => last.run.count += claim.run.count,
                _ => heard.push(claim),
            }
        }
        heard
    }

    fn precedes(&self, next: &Heard) -> bool {
        self.run.end() == next.run.first.index()
            && self.run.epoch == next.run.epoch
            && self.owner == next.owner
            && self.origin == next.origin
            && self.in_doubt == next.in_doubt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_join_neighbours_with_the_same_epoch() {
        let slot = |index| Slot::new(index).expect("a slot");
        let pairs = [(1, 1), (2, 1), (3, 2), (5, 2), (4095, 2)]
            .map(|(index, epoch)| (slot(index), Epoch::new(epoch)));
        let runs = Run::gather(pairs);
        assert_eq!(runs.len(), 4);
        let again: Vec<_> =
            runs.iter().flat_map(|run| run.slots().map(move |slot| (slot, run.epoch))).collect();
        assert_eq!(again, pairs);
    }

    #[test]
    fn a_run_past_the_end_has_no_more_slots_than_there_are() {
        let run =
            Run { first: Slot::new(4090).expect("a slot"), count: u16::MAX, epoch: Epoch::FIRST };
        assert_eq!(run.slots().count(), 6);
    }
}
