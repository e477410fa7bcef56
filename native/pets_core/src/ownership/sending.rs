//! The way of a slot out of this node.

use std::time::Duration;

use super::record::{Held, MergePhase, Phase, Seen, Yield};
use super::{Body, Effect, Machine, Notice, Origin, TransferId};
use crate::placement::{Epoch, NodeName, Slot};

impl Machine {
    /// Offers slots to the members that should own them, as many as the window has room for.
    pub(super) fn offer_next(&mut self) {
        let window = self.config.limits.window;
        let mut under_way = self.sets.sending.len() + self.answers_expected();
        if self.sets.misplaced.is_empty() || under_way >= window {
            return;
        }
        // Where the last search ended the next one goes on, so that slots whose receiver is not
        // there do not keep the others waiting.
        let misplaced = self.sets.misplaced.clone();
        for slot in misplaced.iter_from(self.cursor) {
            if under_way >= window {
                break;
            }
            if self.offer(slot) {
                under_way += 1;
                self.cursor = slot;
            }
        }
    }

    /// Grants whose answer is under way; those to a node without a link would only fill the
    /// window.
    fn answers_expected(&self) -> usize {
        self.sets
            .granted
            .iter()
            .filter(|&slot| {
                matches!(self.record(slot).map(|record| &record.held),
                    Some(Held::Granted { to, .. })
                        if self.peers.get(to).is_some_and(|peer| peer.linked))
            })
            .count()
    }

    fn offer(&mut self, slot: Slot) -> bool {
        if self.pins.holds(slot) || self.backoff.get(&slot).is_some_and(|&until| self.now < until) {
            return false;
        }
        let Some(to) = self.ranking.owner(slot).filter(|to| self.receives(to)).cloned() else {
            return false;
        };
        let Some(epoch) = self.record(slot).map(|record| record.epoch) else { return false };
        let transfer = self.next_transfer.take();
        let since = self.now;
        self.put(slot, Held::Sending { to: to.clone(), transfer, phase: Phase::Offered, since });
        self.send(&to, Body::Offer { slot, transfer, epoch });
        true
    }

    /// What is being sent of this attempt to this node, if it is.
    fn sending(&self, slot: Slot, id: TransferId) -> Option<(&NodeName, Phase)> {
        match &self.record(slot)?.held {
            Held::Sending { to, transfer, phase, .. } if *transfer == id => Some((to, *phase)),
            _ => None,
        }
    }

    fn advance(&mut self, slot: Slot, next: Phase) {
        self.update(slot, |record| {
            if let Held::Sending { phase, .. } = &mut record.held {
                *phase = next;
            }
        });
    }

    pub(super) fn accepted(&mut self, from: &NodeName, slot: Slot, transfer: TransferId) {
        match self.sending(slot, transfer) {
            Some((to, Phase::Offered)) if to == from => {
                let to = to.clone();
                self.advance(slot, Phase::Copying);
                self.push(Effect::Copy { slot, to, transfer });
            }
            // Sent twice.
            Some(_) => {}
            // Given up meanwhile, and the word of it was lost or is under way.
            None => self.send(from, Body::Cancel { slot, transfer }),
        }
    }

    pub(super) fn refused(&mut self, from: &NodeName, slot: Slot, transfer: TransferId) {
        if self.sending(slot, transfer).is_some_and(|(to, _)| to == from) {
            self.stop_sending(slot);
            self.back_off(slot);
        }
    }

    fn back_off(&mut self, slot: Slot) {
        self.backoff.insert(slot, self.now + self.config.limits.backoff);
    }

    /// Ends an attempt to send a slot that has not been granted: it is served as before.
    pub(super) fn stop_sending(&mut self, slot: Slot) {
        let Some(Held::Sending { phase, .. }) = self.record(slot).map(|record| &record.held) else {
            return;
        };
        if *phase != Phase::Offered {
            self.push(Effect::Resume { slot });
        }
        self.put(slot, Held::Owned);
        self.replan = true;
    }

    pub(super) fn copy_caught_up(&mut self, slot: Slot, transfer: TransferId) {
        if let Some((to, Phase::Copying)) = self.sending(slot, transfer) {
            let to = to.clone();
            self.advance(slot, Phase::Frozen);
            self.push(Effect::Freeze { slot, to, transfer });
        }
    }

    pub(super) fn flushed(&mut self, slot: Slot, transfer: TransferId) {
        if let Some((to, Phase::Frozen)) = self.sending(slot, transfer) {
            let to = to.clone();
            self.grant(slot, to, transfer);
            return;
        }
        let merge = match self.record(slot).map(|record| &record.held) {
            Some(Held::Yielding(Yield::Trying {
                to,
                transfer: id,
                phase: MergePhase::Sending,
                ..
            })) if *id == transfer => to.clone(),
            _ => return,
        };
        self.advance_merge(slot, MergePhase::Sent);
        self.send(&merge, Body::Merged { slot, transfer });
    }

    fn grant(&mut self, slot: Slot, to: NodeName, transfer: TransferId) {
        let Some(record) = self.record(slot) else { return };
        let (epoch, origin) = (record.epoch.next(), record.origin);
        let asked = self.now;
        self.push(Effect::Grant { slot });
        self.put(slot, Held::Granted { to: to.clone(), transfer, epoch, asked, widowed: false });
        self.send(&to, Body::Grant { slot, transfer, epoch, origin });
    }

    /// The grant in doubt under this id to this node, if there is one: its epoch, and whether the
    /// node went down since.
    fn in_doubt(&self, node: &NodeName, slot: Slot, id: TransferId) -> Option<(Epoch, bool)> {
        match &self.record(slot)?.held {
            Held::Granted { to, transfer, epoch, widowed, .. } if to == node && *transfer == id => {
                Some((*epoch, *widowed))
            }
            _ => None,
        }
    }

    pub(super) fn granted(&mut self, from: &NodeName, slot: Slot, transfer: TransferId) {
        if let Some((epoch, _)) = self.in_doubt(from, slot, transfer) {
            self.release(slot, Some((from, epoch)));
        }
        // Also when it was known already: the other side remembers until it hears so.
        self.send(from, Body::Confirm { transfer });
    }

    pub(super) fn not_mine(&mut self, from: &NodeName, slot: Slot, transfer: TransferId) {
        if let Some((epoch, widowed)) = self.in_doubt(from, slot, transfer) {
            if widowed {
                // The node was thought dead, and may have passed the slot on.
                return;
            }
            self.take_back(slot, epoch);
            self.back_off(slot);
        } else {
            self.refused(from, slot, transfer);
            self.merge_refused(from, slot, transfer);
        }
    }

    /// Serves a slot again whose grant at `epoch` was not taken, and never will be.
    pub(super) fn take_back(&mut self, slot: Slot, epoch: Epoch) {
        let Some(record) = self.record(slot) else { return };
        let (outranked, origin) = (record.outranked, record.origin);
        self.replan = true;
        if outranked {
            self.hold(slot);
            return;
        }
        self.push(Effect::Resume { slot });
        self.own(slot, epoch.next(), origin);
    }

    /// Is the slot's owner from now on, at this epoch; the table serves it already.
    pub(super) fn own(&mut self, slot: Slot, epoch: Epoch, origin: Origin) {
        self.update(slot, |record| {
            record.held = Held::Owned;
            record.epoch = epoch;
            record.origin = origin;
            record.outranked = false;
        });
        self.publish(slot);
        self.announce.insert(slot);
        self.replan = true;
        self.yield_to_better(slot);
    }

    /// Forgets a slot that another node owns.
    pub(super) fn release(&mut self, slot: Slot, owner: Option<(&NodeName, Epoch)>) {
        self.push(Effect::Release { slot });
        self.update(slot, |record| {
            if let Some((owner, epoch)) = owner
                && !record.outranked
                && epoch > record.seen.epoch
            {
                record.seen = Seen { epoch, owner: Some(owner.clone()) };
            }
            record.held = Held::Foreign;
            record.outranked = false;
        });
        self.publish(slot);
        self.notify(Notice::Released(slot));
        self.replan = true;
    }

    /// Gives up attempts whose receiver should not have the slot any more. One that is frozen is
    /// as good as done.
    pub(super) fn cancel_misdirected(&mut self) {
        for slot in self.sets.sending.clone().iter() {
            let Some(Held::Sending { to, transfer, phase, .. }) =
                self.record(slot).map(|record| &record.held)
            else {
                continue;
            };
            if *phase != Phase::Frozen && self.ranking.owner(slot) != Some(to) {
                let (to, transfer) = (to.clone(), *transfer);
                self.stop_sending(slot);
                self.send(&to, Body::Cancel { slot, transfer });
            }
        }
    }

    /// Asks again where an answer is overdue.
    pub(super) fn retry_sending(&mut self) {
        for slot in self.sets.sending.clone().iter() {
            if let Some(Held::Sending { to, transfer, phase: Phase::Offered, since }) =
                self.record(slot).map(|record| &record.held)
                && self.is_overdue(*since)
            {
                let (to, transfer) = (to.clone(), *transfer);
                self.stop_sending(slot);
                self.send(&to, Body::Cancel { slot, transfer });
            }
        }
        for slot in self.sets.granted.clone().iter() {
            if matches!(self.record(slot).map(|record| &record.held),
                Some(Held::Granted { asked, .. }) if self.is_overdue(*asked))
            {
                self.ask_receiver(slot);
            }
        }
    }

    /// Whether something has been waited for since then too long.
    pub(super) fn is_overdue(&self, since: Duration) -> bool {
        self.now >= since + self.config.limits.retry
    }

    /// Asks whether a grant was taken.
    pub(super) fn ask_receiver(&mut self, slot: Slot) {
        let now = self.now;
        let mut ask = None;
        self.update(slot, |record| {
            if let Held::Granted { to, transfer, asked, widowed: false, .. } = &mut record.held {
                *asked = now;
                ask = Some((to.clone(), *transfer));
            }
        });
        if let Some((to, transfer)) = ask {
            self.send(&to, Body::Ask { slot, transfer });
        }
    }
}
