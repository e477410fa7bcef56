//! What a message does.

use super::{Body, Machine, Message};
use crate::placement::NodeName;

impl Machine {
    pub(super) fn receive(&mut self, from: &NodeName, message: Message) {
        if !self.peers.contains_key(from) {
            // Not (or no longer) a member here. It will be asked for its claims when it is.
            self.heard_of(std::slice::from_ref(from));
            return;
        }
        if self.is_replaced(from, message.started_at_ms) {
            return;
        }
        let current = match (&message.lineage, &self.lineage) {
            (Some(theirs), Some(ours)) if theirs > ours => false,
            (None, Some(_)) => false,
            (theirs, ours) if theirs == ours => true,
            (Some(theirs), _) => {
                let theirs = theirs.clone();
                self.adopt_lineage(theirs);
                true
            }
            (None, None) => true,
        };
        if let Some(peer) = self.peers.get_mut(from) {
            peer.lineage = message.lineage;
        }
        match message.body {
            Body::Claims(claims) => self.claims(from, claims, current),
            Body::Leaving => self.leaving(from),
            // What is said about one attempt is true in any lineage.
            Body::Refuse { slot, transfer } => self.refused(from, slot, transfer),
            Body::Cancel { slot, transfer } => self.cancelled(from, slot, transfer),
            Body::Granted { slot, transfer } => self.granted(from, slot, transfer),
            Body::NotMine { slot, transfer } => self.not_mine(from, slot, transfer),
            Body::Ask { slot, transfer } => self.asked(from, slot, transfer),
            Body::Confirm { transfer } => {
                self.unconfirmed.remove(&(from.clone(), transfer));
            }
            Body::Grant { slot, transfer, epoch, origin } => {
                self.grant_received(from, slot, transfer, current.then_some((epoch, origin)));
            }
            Body::MergeRefuse { slot, transfer } => self.merge_refused(from, slot, transfer),
            _ if !current => self.correct(from),
            Body::Owner(runs) => self.owners(from, &runs),
            Body::Enquire(slots) => self.enquiry(from, &slots),
            Body::Offer { slot, transfer, epoch } => self.offered(from, slot, transfer, epoch),
            Body::Accept { slot, transfer } => self.accepted(from, slot, transfer),
            Body::Survey { round, slots, in_doubt } => {
                self.survey(from, round, &slots, &in_doubt);
            }
            Body::SurveyAnswer { round, members, contested, heard } => {
                self.survey_answer(from, round, &members, &contested, heard);
            }
            Body::Orphans(runs) => self.orphans_reported(from, &runs),
            Body::Known(heard) => self.known(from, heard),
            Body::MergeOffer { slot, transfer } => self.merge_offered(from, slot, transfer),
            Body::MergeAccept { slot, transfer } => self.merge_accepted(from, slot, transfer),
            Body::Merged { slot, transfer } => self.merged(from, slot, transfer),
            Body::MergeTaken { slot, transfer } => self.merge_taken(from, slot, transfer),
        }
    }

    /// Lets a member that speaks for another lineage know ours.
    fn correct(&mut self, node: &NodeName) {
        let due = self.peers.get(node).is_some_and(|peer| self.is_overdue(peer.told));
        if due {
            self.send_claims(node, true);
        }
    }
}
