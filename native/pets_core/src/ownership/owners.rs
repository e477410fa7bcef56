//! What this node believes about the owners of slots that it does not own.
//!
//! A claim that a member makes for itself counts at once. What members say about others counts when
//! it is newer. What an operation met with is only a reason to ask.

use super::record::{Held, Seen};
use super::{Body, Heard, Machine, Origin, Run, SlotSet};
use crate::placement::{Epoch, NodeName, Slot};

impl Machine {
    /// A member says that it owns these slots.
    pub(super) fn owners(&mut self, from: &NodeName, runs: &[Run]) {
        let mut worse = SlotSet::new();
        for run in runs {
            for slot in run.slots() {
                if !self.claimed(slot, from, run.epoch) {
                    worse.insert(slot);
                }
            }
        }
        if !worse.is_empty() {
            let runs = self.own_runs(worse.iter());
            self.send(from, Body::Owner(runs));
        }
    }

    /// A member says that it owns a slot. Returns whether it may go on believing so.
    pub(super) fn claimed(&mut self, slot: Slot, by: &NodeName, epoch: Epoch) -> bool {
        let Some(record) = self.record(slot) else { return true };
        if epoch >= Epoch::MAX {
            return true;
        }
        if record.is_served() && !self.better(by, epoch, record.epoch) {
            return false;
        }
        let granted = matches!(&record.held, Held::Granted { to, .. } if to == by);
        self.learn(slot, by, epoch);
        if granted {
            // By our grant, most likely, but only its answer tells.
            self.ask_receiver(slot);
        }
        self.yield_to_better(slot);
        true
    }

    /// Takes note that a live member claims a slot.
    pub(super) fn learn(&mut self, slot: Slot, owner: &NodeName, epoch: Epoch) {
        let Some(record) = self.record(slot) else { return };
        if !self.peers.contains_key(owner) {
            return;
        }
        let better = match &record.seen.owner {
            None => true,
            Some(seen) => epoch > record.seen.epoch || (epoch == record.seen.epoch && owner < seen),
        };
        if better {
            self.update(slot, |record| {
                record.seen = Seen { epoch, owner: Some(owner.clone()) };
            });
            match self.record(slot).map(|record| &record.held) {
                Some(Held::Foreign | Held::Staging { .. }) => self.publish(slot),
                Some(Held::Yielding(_)) => self.replan = true,
                _ => {}
            }
        }
    }

    /// The owner that this node believed in does not own the slot.
    pub(super) fn disown(&mut self, slot: Slot) {
        self.update(slot, |record| record.seen.owner = None);
        if matches!(self.record(slot).map(|record| &record.held), Some(Held::Foreign)) {
            self.publish(slot);
        }
    }

    /// Asks the owner that an answer of `moved` named. Hearsay of an operation is not taken for a
    /// claim, because it says nothing of its lineage.
    pub(super) fn route_hint(&mut self, slot: Slot, epoch: Epoch, owner: &NodeName) {
        let news = self.record(slot).is_some_and(|record| {
            matches!(record.held, Held::Foreign | Held::Staging { .. })
                && (record.seen.owner.is_none() || epoch > record.seen.epoch)
        });
        if news && self.peers.contains_key(owner) && self.enquired.insert(slot) {
            self.send(owner, Body::Enquire([slot].into_iter().collect()));
        }
    }

    /// Tells a member what this node knows about the owners of some slots.
    pub(super) fn enquiry(&mut self, from: &NodeName, slots: &SlotSet) {
        let mine = self.own_runs(slots.iter());
        if !mine.is_empty() {
            self.send(from, Body::Owner(mine));
        }
        let others = Heard::gather(slots.iter().filter_map(|slot| {
            let record = self.record(slot)?;
            let owner = record.seen.owner.clone().filter(|_| !record.is_owned())?;
            Some(Heard {
                run: Run::one(slot, record.seen.epoch),
                owner: Some(owner),
                origin: Origin::UNKNOWN,
                in_doubt: false,
            })
        }));
        if !others.is_empty() {
            self.send(from, Body::Known(others));
        }
    }

    /// A member says what it has heard of others.
    pub(super) fn known(&mut self, from: &NodeName, heard: Vec<Heard>) {
        let mut denied = Vec::new();
        for Heard { run, owner, .. } in heard {
            let Some(owner) = owner else { continue };
            for slot in run.slots() {
                let Some(record) = self.record(slot) else { continue };
                if record.is_owned() || run.epoch >= Epoch::MAX {
                    continue;
                }
                let (seen, unknown) = (record.seen.epoch, record.seen.owner.is_none());
                if owner == self.config.node {
                    denied.push((slot, seen));
                } else if run.epoch > seen {
                    self.learn(slot, &owner, run.epoch);
                } else if unknown && run.epoch == seen {
                    // We had a reason to drop this owner: it has to say so itself.
                    self.route_hint(slot, run.epoch, &owner);
                }
            }
        }
        if !denied.is_empty() {
            self.send(from, Body::Orphans(Run::gather(denied)));
        }
    }
}
