//! How a slot without an owner gets one again.
//!
//! A slot is an orphan when its owner died, or when nobody is known to own it. The member that
//! ranks first for it claims it, empty, but only after every other live member has said what it
//! knows, in one and the same view of the members: the slot may have been on its way when its
//! owner died, and then somebody has it. Two members that are about to claim one slot need each
//! other's answer, and the one with the smaller name does not give way.
//!
//! A node whose grant is in doubt and whose receiver died asks in the same way whether the
//! receiver passed the slot on; if nobody heard of it, it takes the slot back with its data.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::record::{Held, Seen, Yield};
use super::{Body, Effect, Heard, Machine, Notice, Origin, Run, SlotSet};
use crate::placement::{Epoch, NodeName, Slot};

/// The state of this node's search for owners.
#[derive(Debug)]
pub(super) struct Recovery {
    round: Option<Round>,
    /// Names the next round.
    next_round: u64,
    /// No round begins before.
    not_before: Duration,
    /// When nothing was found to resolve, when to look again at the latest.
    look_again: Duration,
    /// No lineage is founded before: the nodes that made this one a joiner have come up by then.
    founds_from: Duration,
    /// Claims of live members that the last round heard of only from others. If the member says
    /// again that it knows nothing of it, now that the claim must have reached it, it is false.
    hearsay: BTreeMap<Slot, (NodeName, Epoch)>,
    /// When the orphans that others should claim were last reported to them.
    reported: Duration,
}

/// One question to all live members.
#[derive(Debug)]
struct Round {
    id: u64,
    slots: SlotSet,
    /// Nobody has a lineage yet: this node founds one.
    founding: bool,
    /// Who has not answered yet.
    waiting: BTreeSet<NodeName>,
    /// When the question was last sent.
    asked: Duration,
    heard: BTreeMap<Slot, Findings>,
}

/// What a round has heard about one slot.
#[derive(Clone, Debug, Default)]
struct Findings {
    /// The best claim that a member made for itself.
    direct: Option<(Claim, NodeName)>,
    /// The best claim of another member that has a grant in doubt.
    in_doubt: Option<(Claim, NodeName)>,
    /// The claim with the highest epoch, whoever told it.
    latest: Seen,
}

/// A claim that a member made for itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Claim {
    epoch: Epoch,
    origin: Origin,
}

impl Claim {
    /// Whether this is what became of data granted at that epoch: the same data, later.
    fn continues(self, granted: Option<Epoch>, origin: Origin) -> bool {
        granted.is_some_and(|granted| self.epoch >= granted) && self.origin == origin
    }

    /// Puts this claim in the place of a worse one.
    fn improve(self, by: &NodeName, best: &mut Option<(Claim, NodeName)>) {
        let better = match best {
            None => true,
            Some((best, node)) => {
                self.epoch > best.epoch || (self.epoch == best.epoch && by < node)
            }
        };
        if better {
            *best = Some((self, by.clone()));
        }
    }
}

impl Recovery {
    pub(super) fn new(not_before: Duration, founds_from: Duration) -> Recovery {
        Recovery {
            round: None,
            next_round: 0,
            not_before,
            look_again: Duration::ZERO,
            founds_from,
            hearsay: BTreeMap::new(),
            reported: Duration::ZERO,
        }
    }

    /// Drops the round under way, because it asked another set of members.
    pub(super) fn restart(&mut self) {
        self.round = None;
        self.look_again = Duration::ZERO;
        self.hearsay.clear();
    }

    pub(super) fn not_before(&mut self, time: Duration) {
        self.not_before = self.not_before.max(time);
    }

    /// The question to a member may have been lost: the next tick repeats it.
    pub(super) fn ask_again(&mut self, node: &NodeName) {
        if let Some(round) = &mut self.round
            && round.waiting.contains(node)
        {
            round.asked = Duration::ZERO;
        }
    }
}

impl Findings {
    fn add(&mut self, by: &NodeName, heard: &Heard) {
        let Heard { run: Run { epoch, .. }, owner, origin, in_doubt } = heard;
        let (epoch, owner) = (*epoch, owner.clone());
        let claim = Claim { epoch, origin: *origin };
        if *in_doubt {
            claim.improve(by, &mut self.in_doubt);
        } else if owner.as_ref() == Some(by) {
            claim.improve(by, &mut self.direct);
        }
        let later = epoch > self.latest.epoch
            || (epoch == self.latest.epoch && self.latest.owner.is_none());
        if later {
            self.latest = Seen { epoch, owner };
        }
    }
}

impl Machine {
    /// Begins a round if there is something to find out and everybody can be asked.
    pub(super) fn recover(&mut self) {
        let due = self.recovery.not_before.max(self.recovery.look_again);
        let idle = self.recovery.round.is_none() && self.now >= due;
        let complete = self.strangers.values().all(|&until| self.now >= until);
        if !idle
            || !complete
            || self.sets.orphans.is_empty()
            || self.peers.values().any(|peer| !peer.ready)
        {
            return;
        }
        let founding = self.lineage.is_none();
        if founding && !self.founds() {
            return;
        }
        let slots: SlotSet =
            self.sets.orphans.iter().filter(|&slot| founding || self.resolves(slot)).collect();
        if slots.is_empty() {
            self.recovery.look_again = self.now + self.config.limits.backoff;
            return;
        }
        let id = self.recovery.next_round;
        self.recovery.next_round += 1;
        self.recovery.round = Some(Round {
            id,
            slots,
            founding,
            waiting: self.peers.keys().cloned().collect(),
            asked: self.now,
            heard: BTreeMap::new(),
        });
        self.ask();
        self.conclude();
    }

    /// Puts the question to those who have not answered it.
    fn ask(&mut self) {
        let now = self.now;
        let Some(round) = &mut self.recovery.round else { return };
        round.asked = now;
        let waiting = round.waiting.clone();
        let granted = &self.sets.granted;
        let question = Body::Survey {
            round: round.id,
            slots: round.slots.clone(),
            in_doubt: round.slots.iter().filter(|&slot| granted.contains(slot)).collect(),
        };
        for node in waiting {
            self.send(&node, question.clone());
        }
    }

    /// Whether this node founds a lineage, where all are joiners: the one that is there longest.
    fn founds(&self) -> bool {
        self.leave.is_none()
            && self.now >= self.recovery.founds_from
            && self.peers.iter().all(|(node, peer)| {
                let later = peer.started_at_ms.is_some_and(|started| {
                    (started, node) > (self.config.started_at_ms, &self.config.node)
                });
                peer.lineage.is_none() && (later || peer.leaving)
            })
    }

    /// Whether it is for this node to find out about an orphan.
    fn resolves(&self, slot: Slot) -> bool {
        let ours = self.sets.granted.contains(slot);
        ours || self.ranking.owner(slot) == Some(&self.config.node)
    }

    pub(super) fn survey(&mut self, from: &NodeName, id: u64, slots: &SlotSet, in_doubt: &SlotSet) {
        let mut contested = SlotSet::new();
        let smaller = self.config.node < *from;
        if let Some(round) = &mut self.recovery.round {
            for slot in slots.iter() {
                // Who has data comes before who has not.
                let ours_in_doubt = self.sets.granted.contains(slot);
                if ours_in_doubt || !round.slots.contains(slot) {
                    continue;
                }
                if smaller && !in_doubt.contains(slot) {
                    contested.insert(slot);
                } else {
                    round.slots.remove(slot);
                }
            }
        }
        let heard = Heard::gather(slots.iter().filter_map(|slot| {
            let record = self.record(slot)?;
            let own = record.is_owned() && !record.outranked;
            if own {
                return Some(Heard {
                    run: Run::one(slot, record.epoch),
                    owner: Some(self.config.node.clone()),
                    origin: record.origin,
                    in_doubt: matches!(record.held, Held::Granted { .. }),
                });
            }
            (record.seen.epoch > Epoch::NONE).then(|| Heard {
                run: Run::one(slot, record.seen.epoch),
                owner: record.seen.owner.clone(),
                origin: Origin::UNKNOWN,
                in_doubt: false,
            })
        }));
        let members = self.members();
        self.send(from, Body::SurveyAnswer { round: id, members, contested, heard });
        self.conclude();
    }

    pub(super) fn survey_answer(
        &mut self,
        from: &NodeName,
        id: u64,
        members: &[NodeName],
        contested: &SlotSet,
        heard: Vec<Heard>,
    ) {
        // A member that has not noticed a death may still take a grant of the dead one, and one
        // that knows somebody whom we have not asked may have sent a slot there. It is asked
        // again on a later tick.
        let same_view = members
            .iter()
            .all(|member| *member == self.config.node || self.peers.contains_key(member));
        self.heard_of(members);
        let Some(round) = &mut self.recovery.round else { return };
        if round.id != id || !same_view || !round.waiting.remove(from) {
            return;
        }
        for slot in contested.iter() {
            round.slots.remove(slot);
        }
        for heard in heard.iter().filter(|heard| heard.run.epoch < Epoch::MAX) {
            for slot in heard.run.slots().filter(|&slot| round.slots.contains(slot)) {
                round.heard.entry(slot).or_default().add(from, heard);
            }
        }
        self.conclude();
    }

    /// Ends the round when everybody has answered.
    fn conclude(&mut self) {
        let done = |round: &mut Round| round.waiting.is_empty();
        let Some(mut round) = self.recovery.round.take_if(done) else { return };
        if round.founding {
            if self.lineage.is_some() {
                return;
            }
            self.lineage = Some(self.birth());
        }
        let before = std::mem::take(&mut self.recovery.hearsay);
        for slot in round.slots.iter() {
            let findings = round.heard.remove(&slot).unwrap_or_default();
            self.settle(slot, findings, before.get(&slot));
        }
        // What could not be decided is asked again, but not in a tight loop.
        self.recovery.not_before(self.now + self.config.limits.backoff);
        if round.founding {
            let peers: Vec<NodeName> = self.peers.keys().cloned().collect();
            for peer in peers {
                self.send_claims(&peer, false);
            }
        }
    }

    /// Decides about one slot of a finished round.
    fn settle(&mut self, slot: Slot, findings: Findings, before: Option<&(NodeName, Epoch)>) {
        let Some(record) = self.record(slot) else { return };
        if !record.is_orphan() {
            return;
        }
        let granted = match record.held {
            Held::Granted { epoch, .. } => Some(epoch),
            _ => None,
        };
        let (own, origin, outranked) = (record.epoch, record.origin, record.outranked);
        let known = record.seen.epoch;
        if let Some((claim, owner)) = findings.direct {
            let epoch = claim.epoch;
            match granted {
                // It has the slot by way of our grant.
                Some(_) if claim.continues(granted, origin) && !outranked => {
                    self.release(slot, Some((&owner, epoch)));
                }
                // It does not, and what we have is to be merged.
                Some(grant) => {
                    self.learn(slot, &owner, epoch);
                    self.take_back(slot, grant);
                }
                None => {
                    self.claimed(slot, &owner, epoch);
                }
            }
            return;
        }
        if let Some((doubt, holder)) = findings.in_doubt {
            if doubt.continues(granted, origin) && !outranked {
                // It is in doubt about a later grant of the same data: ours was taken.
                self.release(slot, None);
                return;
            }
            if granted.is_none() || self.better(&holder, doubt.epoch, own) {
                // It finds out.
                return;
            }
        }
        let latest = findings.latest;
        if let Some(owner) = latest.owner.filter(|owner| self.peers.contains_key(owner)) {
            let hearsay = (owner, latest.epoch);
            if latest.epoch >= known && before != Some(&hearsay) {
                self.recovery.hearsay.insert(slot, hearsay);
                return;
            }
        }
        let epoch = latest.epoch.max(known);
        match granted {
            Some(grant) => self.take_back(slot, if outranked { grant } else { grant.max(epoch) }),
            None => self.claim(slot, epoch),
        }
    }

    /// Claims a slot that nobody owns; `epoch` is the last that was heard of.
    fn claim(&mut self, slot: Slot, epoch: Epoch) {
        let Some(record) = self.record(slot) else { return };
        let origin = record.origin;
        match &record.held {
            Held::Foreign => {
                self.push(Effect::AdoptEmpty { slot });
                self.notify(Notice::Acquired(slot));
                if epoch > Epoch::NONE {
                    self.notify(Notice::Lost(slot));
                }
                let origin = self.new_origin();
                self.own(slot, epoch.next(), origin);
            }
            // We have a copy that nobody is left to take.
            Held::Yielding(attempt) => {
                if let Yield::Trying { .. } = attempt {
                    self.stop_merge(slot);
                }
                self.push(Effect::Resume { slot });
                self.own(slot, epoch.next(), origin);
            }
            Held::Staging { .. } | Held::Owned | Held::Sending { .. } | Held::Granted { .. } => {}
        }
    }

    /// A member reports slots without an owner for which it thinks that we rank first.
    pub(super) fn orphans_reported(&mut self, from: &NodeName, runs: &[Run]) {
        let mut answer = SlotSet::new();
        for run in runs {
            for slot in run.slots() {
                let Some(record) = self.record(slot) else { continue };
                let denied = record.seen.owner.as_ref() == Some(from);
                let newer = run.epoch > record.seen.epoch && run.epoch < Epoch::MAX;
                if record.is_owned() {
                    answer.insert(slot);
                } else if denied || newer {
                    let epoch = record.seen.epoch.max(run.epoch);
                    self.update(slot, |record| record.seen.epoch = epoch);
                    self.disown(slot);
                } else if record.seen.owner.is_some() {
                    answer.insert(slot);
                }
            }
        }
        if !answer.is_empty() {
            self.enquiry(from, &answer);
        }
    }

    /// Asks again, and reports orphans to those that should claim them.
    pub(super) fn retry_recovery(&mut self) {
        let now = self.now;
        let backoff = self.config.limits.backoff;
        if self.recovery.round.as_ref().is_some_and(|round| now >= round.asked + backoff) {
            self.ask();
        }
        if self.lineage.is_some()
            && now >= self.recovery.not_before
            && now >= self.recovery.reported + self.config.limits.retry
        {
            self.recovery.reported = now;
            self.report_orphans();
        }
    }

    fn report_orphans(&mut self) {
        let mut reports: BTreeMap<NodeName, Vec<(Slot, Epoch)>> = BTreeMap::new();
        for slot in self.sets.orphans.iter().filter(|&slot| !self.resolves(slot)) {
            if let (Some(record), Some(target)) = (self.record(slot), self.ranking.owner(slot)) {
                reports.entry(target.clone()).or_default().push((slot, record.seen.epoch));
            }
        }
        for (node, orphans) in reports {
            self.send(&node, Body::Orphans(Run::gather(orphans)));
        }
    }
}
