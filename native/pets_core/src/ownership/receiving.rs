//! The way of a slot into this node.

use super::record::Held;
use super::{Body, Effect, Machine, Notice, Origin, Run, TransferId};
use crate::placement::{Epoch, NodeName, Slot};

impl Machine {
    pub(super) fn offered(
        &mut self,
        from: &NodeName,
        slot: Slot,
        transfer: TransferId,
        epoch: Epoch,
    ) {
        if epoch >= Epoch::MAX || !self.wants(from, slot, epoch) {
            self.send(from, Body::Refuse { slot, transfer });
            self.owners(from, &[Run::one(slot, epoch)]);
            return;
        }
        if let Some(Held::Staging { .. }) = self.record(slot).map(|record| &record.held) {
            // An earlier attempt of the same sender, which it has given up.
            self.push(Effect::Wipe { slot });
        }
        self.learn(slot, from, epoch);
        self.put(slot, Held::Staging { from: from.clone(), transfer });
        self.push(Effect::Stage { slot, from: from.clone(), transfer });
        self.send(from, Body::Accept { slot, transfer });
    }

    /// Whether to take a slot that its owner offers. Where the two nodes see different members
    /// this one must agree that it should have it, or the slot might travel in circles; a node
    /// that leaves is helped in any case.
    fn wants(&self, from: &NodeName, slot: Slot, epoch: Epoch) -> bool {
        let Some(record) = self.record(slot) else { return false };
        let free = match &record.held {
            Held::Foreign => true,
            Held::Staging { from: sender, .. } => sender == from,
            Held::Owned | Held::Sending { .. } | Held::Granted { .. } | Held::Yielding(_) => false,
        };
        let owner_leaves = self.peers.get(from).is_some_and(|peer| peer.leaving);
        let rightful = self.ranking.owner(slot) == Some(&self.config.node) || owner_leaves;
        let outdated = record.seen.epoch > epoch
            && record.seen.owner.as_ref().is_some_and(|owner| owner != from);
        self.leave.is_none() && free && rightful && !outdated
    }

    pub(super) fn cancelled(&mut self, from: &NodeName, slot: Slot, transfer: TransferId) {
        if self.stages(slot, from, transfer) {
            self.wipe(slot);
        }
        self.pins.drop_one(slot, from, transfer);
        self.replan = true;
    }

    /// Forgets what was received of a slot.
    pub(super) fn wipe(&mut self, slot: Slot) {
        self.push(Effect::Wipe { slot });
        self.put(slot, Held::Foreign);
        self.publish(slot);
    }

    /// A grant at an epoch, of data with an origin; without them when it was given under a lineage
    /// that has lost.
    pub(super) fn grant_received(
        &mut self,
        from: &NodeName,
        slot: Slot,
        transfer: TransferId,
        epochs: Option<(Epoch, Origin)>,
    ) {
        if self.stages(slot, from, transfer)
            && let Some((epoch, origin)) = epochs.filter(|&(epoch, _)| epoch < Epoch::MAX)
        {
            self.push(Effect::Adopt { slot });
            self.unconfirmed.insert((from.clone(), transfer));
            self.send(from, Body::Granted { slot, transfer });
            self.notify(Notice::Acquired(slot));
            self.own(slot, epoch, origin);
        } else {
            self.asked(from, slot, transfer);
        }
    }

    /// Says whether a grant was taken. From now on the answer stays the same: what was staged for
    /// a grant that has not come by now goes.
    pub(super) fn asked(&mut self, from: &NodeName, slot: Slot, transfer: TransferId) {
        if self.stages(slot, from, transfer) {
            self.wipe(slot);
        }
        let answer = if self.unconfirmed.contains(&(from.clone(), transfer)) {
            Body::Granted { slot, transfer }
        } else {
            Body::NotMine { slot, transfer }
        };
        self.send(from, answer);
    }
}
