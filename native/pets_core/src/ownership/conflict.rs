//! What happens when two nodes own one slot: two founders met, or a split healed.
//!
//! The claim with the higher epoch stays, at equal epochs that of the smaller name. The other
//! node stops writes at once and sends what it has to the winner, which takes every object whose
//! key it does not have.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::record::{Held, MergePhase, Phase, Seen, Yield};
use super::{Body, Effect, Lineage, Machine, SlotSet, TransferId};
use crate::placement::{Epoch, NodeName, Slot};

/// Merges that were accepted and have not ended. A slot with one is not sent anywhere.
#[derive(Debug, Default)]
pub(super) struct Pins(BTreeMap<Slot, BTreeSet<(NodeName, TransferId)>>);

impl Pins {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn holds(&self, slot: Slot) -> bool {
        self.0.contains_key(&slot)
    }

    pub(super) fn has(&self, slot: Slot, from: &NodeName, transfer: TransferId) -> bool {
        self.0.get(&slot).is_some_and(|pins| pins.contains(&(from.clone(), transfer)))
    }

    /// Accepts a merge; an earlier one of the same node into the slot has ended then.
    fn add(&mut self, slot: Slot, from: &NodeName, transfer: TransferId) {
        let pins = self.0.entry(slot).or_default();
        pins.retain(|(sender, _)| sender != from);
        pins.insert((from.clone(), transfer));
    }

    fn drop_slot(&mut self, slot: Slot) {
        self.0.remove(&slot);
    }

    pub(super) fn drop_one(&mut self, slot: Slot, from: &NodeName, transfer: TransferId) {
        self.retain(|at, pin| at != slot || pin.0 != *from || pin.1 != transfer);
    }

    pub(super) fn drop_from(&mut self, node: &NodeName) {
        self.retain(|_, pin| pin.0 != *node);
    }

    pub(super) fn drop_ended(&mut self, node: &NodeName, ended: impl Fn(TransferId) -> bool) {
        self.retain(|_, pin| pin.0 != *node || !ended(pin.1));
    }

    fn retain(&mut self, keep: impl Fn(Slot, &(NodeName, TransferId)) -> bool) {
        self.0.retain(|&slot, pins| {
            pins.retain(|pin| keep(slot, pin));
            !pins.is_empty()
        });
    }
}

impl Machine {
    /// Whether another's claim is better than ours at `own`.
    pub(super) fn better(&self, by: &NodeName, epoch: Epoch, own: Epoch) -> bool {
        epoch > own || (epoch == own && *by < self.config.node)
    }

    /// Yields a slot that we serve if a live member has a better claim.
    pub(super) fn yield_to_better(&mut self, slot: Slot) {
        let Some(record) = self.record(slot) else { return };
        let outdone = match &record.seen.owner {
            Some(owner) => self.better(owner, record.seen.epoch, record.epoch),
            None => false,
        };
        if record.is_served() && outdone {
            self.hold(slot);
        }
    }

    /// Moves to the lineage of a peer, which is older than ours or the first we hear of: what we
    /// own is from now on a copy, to be merged into that of its owner in the new lineage.
    pub(super) fn adopt_lineage(&mut self, lineage: Lineage) {
        self.lineage = Some(lineage);
        self.recovery.restart();
        self.recovery.not_before(self.now + self.config.limits.grace);
        self.announce = SlotSet::new();
        for slot in self.slots() {
            match self.record(slot).map(|record| &record.held) {
                None => continue,
                Some(Held::Foreign | Held::Yielding(Yield::Waiting { .. })) => {}
                Some(Held::Staging { .. }) => self.wipe(slot),
                Some(Held::Owned | Held::Sending { .. }) => self.hold(slot),
                // Resolved as ever; a copy that comes back is held then.
                Some(Held::Granted { .. }) => {}
                Some(Held::Yielding(Yield::Trying { .. })) => self.stop_merge(slot),
            }
            self.update(slot, |record| {
                record.outranked = !matches!(record.held, Held::Foreign);
                record.seen = Seen::default();
            });
            self.publish(slot);
        }
        for peer in self.peers.values_mut() {
            peer.ready = false;
        }
        let peers: Vec<NodeName> = self.peers.keys().cloned().collect();
        for peer in peers {
            self.send_claims(&peer, true);
        }
    }

    /// Stops serving writes to a slot that is not ours.
    pub(super) fn hold(&mut self, slot: Slot) {
        if let Some(Held::Sending { to, transfer, .. }) =
            self.record(slot).map(|record| &record.held)
        {
            let (to, transfer) = (to.clone(), *transfer);
            self.send(&to, Body::Cancel { slot, transfer });
        }
        self.push(Effect::Hold { slot });
        self.pins.drop_slot(slot);
        self.announce.remove(slot);
        self.put(slot, Held::Yielding(Yield::Waiting { until: Duration::ZERO }));
        self.publish(slot);
        self.replan = true;
    }

    /// Offers held slots to their owners, as many as the window has room for.
    pub(super) fn merge_next(&mut self) {
        let window = self.config.limits.window;
        if self.sets.yielding.is_empty() || self.sets.merging.len() >= window {
            return;
        }
        let yielding = self.sets.yielding.clone();
        for slot in yielding.iter() {
            if self.sets.merging.len() >= window {
                break;
            }
            self.offer_merge(slot);
        }
    }

    fn offer_merge(&mut self, slot: Slot) {
        let Some(record) = self.record(slot) else { return };
        let Held::Yielding(Yield::Waiting { until }) = record.held else { return };
        let Some(to) = record.seen.owner.clone() else { return };
        let reachable = self.peers.get(&to).is_some_and(|peer| peer.linked && peer.ready);
        if self.now < until || !reachable {
            return;
        }
        let transfer = self.next_transfer.take();
        let since = self.now;
        self.put(
            slot,
            Held::Yielding(Yield::Trying {
                to: to.clone(),
                transfer,
                phase: MergePhase::Offered,
                since,
            }),
        );
        self.send(&to, Body::MergeOffer { slot, transfer });
    }

    pub(super) fn merge_offered(&mut self, from: &NodeName, slot: Slot, transfer: TransferId) {
        if let Some(Held::Sending { to, transfer, phase: Phase::Offered, .. }) =
            self.record(slot).map(|record| &record.held)
        {
            // Nothing has been sent yet: the merge goes first.
            let (to, transfer) = (to.clone(), *transfer);
            self.stop_sending(slot);
            self.send(&to, Body::Cancel { slot, transfer });
        }
        if matches!(self.record(slot).map(|record| &record.held), Some(Held::Owned)) {
            self.pins.add(slot, from, transfer);
            self.send(from, Body::MergeAccept { slot, transfer });
        } else {
            self.send(from, Body::MergeRefuse { slot, transfer });
            self.enquiry(from, &[slot].into_iter().collect());
        }
    }

    /// The merge of this attempt into a slot of this node, if there is one: how far it is.
    fn merging(&self, node: &NodeName, slot: Slot, id: TransferId) -> Option<MergePhase> {
        match &self.record(slot)?.held {
            Held::Yielding(Yield::Trying { to, transfer, phase, .. })
                if to == node && *transfer == id =>
            {
                Some(*phase)
            }
            _ => None,
        }
    }

    pub(super) fn advance_merge(&mut self, slot: Slot, next: MergePhase) {
        let now = self.now;
        self.update(slot, |record| {
            if let Held::Yielding(Yield::Trying { phase, since, .. }) = &mut record.held {
                *phase = next;
                *since = now;
            }
        });
    }

    pub(super) fn merge_accepted(&mut self, from: &NodeName, slot: Slot, transfer: TransferId) {
        match self.merging(from, slot, transfer) {
            Some(MergePhase::Offered) => {
                self.advance_merge(slot, MergePhase::Sending);
                self.push(Effect::Merge { slot, to: from.clone(), transfer });
            }
            Some(_) => {}
            None => self.send(from, Body::Cancel { slot, transfer }),
        }
    }

    pub(super) fn merge_refused(&mut self, from: &NodeName, slot: Slot, transfer: TransferId) {
        if self.merging(from, slot, transfer).is_some() {
            self.stop_merge(slot);
        }
    }

    /// Ends an attempt to merge; another one follows, to whoever is the owner then.
    pub(super) fn stop_merge(&mut self, slot: Slot) {
        if let Some(Held::Yielding(Yield::Trying { phase: MergePhase::Sending, .. })) =
            self.record(slot).map(|record| &record.held)
        {
            self.push(Effect::StopMerge { slot });
        }
        let until = self.now + self.config.limits.backoff;
        self.put(slot, Held::Yielding(Yield::Waiting { until }));
        self.replan = true;
    }

    pub(super) fn merged(&mut self, from: &NodeName, slot: Slot, transfer: TransferId) {
        let taken = self.merges(slot, from, transfer);
        self.pins.drop_one(slot, from, transfer);
        self.replan = true;
        let answer = if taken {
            Body::MergeTaken { slot, transfer }
        } else {
            Body::MergeRefuse { slot, transfer }
        };
        self.send(from, answer);
    }

    pub(super) fn merge_taken(&mut self, from: &NodeName, slot: Slot, transfer: TransferId) {
        if self.merging(from, slot, transfer) == Some(MergePhase::Sent) {
            self.release(slot, None);
        }
    }

    /// Ends attempts whose answer is overdue.
    pub(super) fn retry_merges(&mut self) {
        for slot in self.sets.yielding.clone().iter() {
            let late = match self.record(slot).map(|record| &record.held) {
                Some(Held::Yielding(Yield::Trying { to, transfer, phase, since }))
                    if *phase != MergePhase::Sending && self.is_overdue(*since) =>
                {
                    Some((to.clone(), *transfer))
                }
                _ => None,
            };
            if let Some((to, transfer)) = late {
                self.stop_merge(slot);
                self.send(&to, Body::Cancel { slot, transfer });
            }
        }
    }
}
