//! What members say of themselves when they meet, and when a link between them is new.

use std::collections::BTreeSet;

use super::record::{Held, Yield};
use super::{Body, Claims, Machine, OpenTransfer, Run, SlotSet, TransferId};
use crate::placement::{NodeName, Slot};

impl Machine {
    pub(super) fn send_claims(&mut self, to: &NodeName, reply: bool) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(to) else { return };
        peer.told = now;
        let claims = Claims {
            reply,
            weight: self.config.weight,
            leaving: self.leave.is_some(),
            members: self.members(),
            owned: self.own_runs(self.sets.owned.iter()),
            open: self.open_transfers(to),
            next: self.next_transfer,
        };
        self.send(to, Body::Claims(claims));
    }

    fn open_transfers(&self, receiver: &NodeName) -> Vec<OpenTransfer> {
        let sets = [&self.sets.sending, &self.sets.granted, &self.sets.yielding];
        sets.iter()
            .flat_map(|set| set.iter())
            .filter_map(|slot| match &self.record(slot)?.held {
                Held::Sending { to, transfer, .. }
                | Held::Yielding(Yield::Trying { to, transfer, .. })
                    if to == receiver =>
                {
                    Some(OpenTransfer { slot, transfer: *transfer, granted: false })
                }
                Held::Granted { to, transfer, widowed: false, .. } if to == receiver => {
                    Some(OpenTransfer { slot, transfer: *transfer, granted: true })
                }
                _ => None,
            })
            .collect()
    }

    pub(super) fn retry_claims(&mut self) {
        let due: Vec<NodeName> = self
            .peers
            .iter()
            .filter(|(_, peer)| !peer.ready && self.is_overdue(peer.told))
            .map(|(node, _)| node.clone())
            .collect();
        for node in due {
            self.send_claims(&node, true);
        }
    }

    pub(super) fn claims(&mut self, from: &NodeName, claims: Claims, current: bool) {
        let Some(peer) = self.peers.get_mut(from) else { return };
        let ranks = peer.weight != claims.weight || peer.leaving != claims.leaving;
        peer.weight = claims.weight;
        peer.leaving = claims.leaving;
        // In a younger lineage: its claims will come again when it has adopted ours.
        peer.ready = current || peer.lineage.is_none();
        self.heard_of(&claims.members);
        self.replan = true;
        if ranks {
            self.rank();
        }
        self.ended_transfers(from, &claims);
        self.answer_open(from, &claims.open);
        if current {
            self.owners(from, &claims.owned);
            self.disown_unclaimed(from, &claims.owned);
        }
        if claims.reply {
            self.send_claims(from, false);
        }
    }

    /// Forgets what belongs to transfers that their sender does not know any more.
    fn ended_transfers(&mut self, from: &NodeName, claims: &Claims) {
        let open: BTreeSet<TransferId> = claims.open.iter().map(|open| open.transfer).collect();
        let ended = |transfer: TransferId| transfer < claims.next && !open.contains(&transfer);
        let stale: Vec<Slot> = self
            .sets
            .staging
            .iter()
            .filter(|&slot| {
                matches!(self.record(slot).map(|record| &record.held),
                    Some(Held::Staging { from: sender, transfer })
                        if sender == from && ended(*transfer))
            })
            .collect();
        for slot in stale {
            self.wipe(slot);
        }
        self.pins.drop_ended(from, ended);
        self.unconfirmed.retain(|(sender, transfer)| sender != from || !ended(*transfer));
    }

    /// Answers for the transfers whose sender waits for a word about them. Its claims came behind
    /// everything else that it sent on the link, so a grant that is not here was lost.
    fn answer_open(&mut self, from: &NodeName, open: &[OpenTransfer]) {
        for &OpenTransfer { slot, transfer, granted } in open {
            let here = self.stages(slot, from, transfer) || self.pins.has(slot, from, transfer);
            if granted {
                self.asked(from, slot, transfer);
            } else if !here {
                self.send(from, Body::NotMine { slot, transfer });
            }
        }
    }

    /// Slots that a member was believed to own and does not claim have some other owner, whose
    /// announcement may be under way, or none.
    fn disown_unclaimed(&mut self, node: &NodeName, owned: &[Run]) {
        let owned: SlotSet = owned.iter().flat_map(Run::slots).collect();
        let mut any = false;
        for slot in self.slots() {
            let believed =
                self.record(slot).is_some_and(|record| record.seen.owner.as_ref() == Some(node));
            if believed && !owned.contains(slot) {
                self.disown(slot);
                any = true;
            }
        }
        if any {
            self.recovery.not_before(self.now + self.config.limits.grace);
        }
    }
}
