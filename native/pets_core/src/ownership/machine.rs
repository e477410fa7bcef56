use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::Duration;

use super::conflict::Pins;
use super::peer::Peer;
use super::record::{Held, Record, Yield};
use super::recovery::Recovery;
use super::{
    Body, Config, Effect, Event, Lineage, MemberStatus, Message, Notice, Origin, Role, Run,
    SlotSet, Status, TransferId,
};
use crate::placement::{Epoch, NodeName, Ranking, Slot};

/// The ownership of one table's slots, as one node sees it and takes part in it.
///
/// A pure state machine: [`handle`](Machine::handle) takes what happened and the time, and
/// answers with what is to be done. It has no clock, no randomness and no I/O, and the same events
/// give the same effects.
///
/// ```
/// use std::time::Duration;
/// use pets_core::ownership::{Config, Effect, Machine, Role};
///
/// let mut effects = Vec::new();
/// let config = Config::new("a@h".into(), 8, Role::Founder, 1_700_000_000_000);
/// let machine = Machine::new(config, Duration::ZERO, &mut effects);
/// assert_eq!(effects[0], Effect::Found);
/// assert_eq!(machine.status().owned, 4096);
/// assert!(machine.is_settled());
/// ```
#[derive(Debug)]
pub struct Machine {
    pub(super) config: Config,
    pub(super) lineage: Option<Lineage>,
    /// The latest time heard of; it never goes back.
    pub(super) now: Duration,
    pub(super) peers: BTreeMap<NodeName, Peer>,
    /// Who should own what: over the live members that are not leaving.
    pub(super) ranking: Ranking,
    /// One for each slot. Changed through [`Machine::put`] and [`Machine::update`], which keep
    /// the sets below.
    records: Vec<Record>,
    pub(super) sets: Sets,
    pub(super) next_transfer: TransferId,
    /// Members that went down or away, and when.
    pub(super) departed: BTreeMap<NodeName, Duration>,
    /// Nodes that others know as members and this one does not yet, and until when they matter.
    pub(super) strangers: BTreeMap<NodeName, Duration>,
    /// Grants taken whose senders may not know it yet, by sender. Kept when the sender goes down:
    /// it may be back with the question.
    pub(super) unconfirmed: BTreeSet<(NodeName, TransferId)>,
    /// Merges under way into slots of this node; such a slot stays here.
    pub(super) pins: Pins,
    /// Slots that were refused, and until when they are not offered.
    pub(super) backoff: BTreeMap<Slot, Duration>,
    /// Where the search for the next slot to send goes on.
    pub(super) cursor: Slot,
    /// Something has changed that may let a slot be sent or merged.
    pub(super) replan: bool,
    /// Slots that became ours and of which the others have not been told.
    pub(super) announce: SlotSet,
    /// Slots whose owners were asked since the last tick.
    pub(super) enquired: SlotSet,
    pub(super) recovery: Recovery,
    pub(super) leave: Option<Leave>,
    settled: bool,
    out: Vec<Effect>,
}

/// The state of a node that is leaving.
#[derive(Debug)]
pub(super) struct Leave {
    pub(super) deadline: Duration,
    /// [`Effect::Left`] has been said.
    pub(super) left: bool,
    /// [`Effect::LeaveTimedOut`] has been said.
    pub(super) timed_out: bool,
}

/// The slots in each situation, derived from their records.
#[derive(Debug, Default)]
pub(super) struct Sets {
    /// Owned or in doubt.
    pub(super) owned: SlotSet,
    /// Owned, not on its way, and should be elsewhere.
    pub(super) misplaced: SlotSet,
    /// Offered, being copied or frozen.
    pub(super) sending: SlotSet,
    /// Granted, without an answer.
    pub(super) granted: SlotSet,
    /// Being received.
    pub(super) staging: SlotSet,
    /// Held until they are merged into the owner's copy.
    pub(super) yielding: SlotSet,
    /// Those of them with an attempt under way.
    pub(super) merging: SlotSet,
    /// Without an owner that is known.
    pub(super) orphans: SlotSet,
    /// Another node's, and should be a third one's or ours.
    pub(super) astray: SlotSet,
}

impl Machine {
    /// A machine for a table that has just been created on this node, with the first effects.
    pub fn new(config: Config, now: Duration, effects: &mut Vec<Effect>) -> Machine {
        let slots = Slot::all().take(config.slots).count();
        let config = Config { slots, ..config };
        let mut machine = Machine {
            lineage: None,
            now,
            peers: BTreeMap::new(),
            ranking: Ranking::default(),
            records: vec![Record::new(); slots],
            sets: Sets::default(),
            next_transfer: TransferId::first(config.started_at_ms),
            departed: BTreeMap::new(),
            strangers: BTreeMap::new(),
            unconfirmed: BTreeSet::new(),
            pins: Pins::default(),
            backoff: BTreeMap::new(),
            cursor: Slot::of(0),
            replan: false,
            announce: SlotSet::new(),
            enquired: SlotSet::new(),
            recovery: Recovery::new(now + config.limits.grace, now + config.limits.patience),
            leave: None,
            settled: false,
            out: Vec::new(),
            config,
        };
        mem::swap(&mut machine.out, effects);
        if machine.config.role == Role::Founder {
            machine.lineage = Some(machine.birth());
            machine.push(Effect::Found);
            let origin = machine.new_origin();
            for slot in machine.slots() {
                let record = &mut machine.records[slot.index()];
                record.held = Held::Owned;
                record.epoch = Epoch::FIRST;
                record.origin = origin;
                machine.publish(slot);
            }
        }
        machine.rank();
        machine.proceed(false);
        mem::swap(&mut machine.out, effects);
        machine
    }

    /// Takes note of an event at this time, and appends what is to be done to `effects`.
    pub fn handle(&mut self, now: Duration, event: Event, effects: &mut Vec<Effect>) {
        self.now = self.now.max(now);
        mem::swap(&mut self.out, effects);
        let tick = matches!(event, Event::Tick);
        match event {
            Event::MemberUp { node, weight } => self.member_up(node, weight),
            Event::MemberDown { node } => self.member_lost(&node, false),
            Event::MemberGone { node } => self.member_lost(&node, true),
            Event::LinkUp { node } => self.link_up(&node),
            Event::LinkDown { node } => self.link_down(&node),
            Event::Message { from, message } => self.receive(&from, message),
            Event::CopyCaughtUp { slot, transfer } => self.copy_caught_up(slot, transfer),
            Event::Flushed { slot, transfer } => self.flushed(slot, transfer),
            Event::RouteHint { slot, epoch, owner } => self.route_hint(slot, epoch, &owner),
            Event::LeaveSelf { deadline } => self.leave_self(deadline),
            Event::Tick => self.tick(),
        }
        self.proceed(tick);
        mem::swap(&mut self.out, effects);
    }

    /// Whether data of this transfer may be put into the slot's staging area.
    pub fn stages(&self, slot: Slot, from: &NodeName, transfer: TransferId) -> bool {
        self.record(slot).is_some_and(|record| record.stages(from, transfer))
    }

    /// Whether objects of this transfer may be merged into the slot.
    pub fn merges(&self, slot: Slot, from: &NodeName, transfer: TransferId) -> bool {
        self.pins.has(slot, from, transfer)
            && self.record(slot).is_some_and(|record| matches!(record.held, Held::Owned))
    }

    /// Whether every slot is where it belongs, as far as this node knows: all members have said
    /// what they own, no slot is on its way in or out, none is without an owner, and each is with
    /// the member that ranks first for it.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// The lineage that this node belongs to; a joiner belongs to none at first.
    pub fn lineage(&self) -> Option<&Lineage> {
        self.lineage.as_ref()
    }

    /// Who should own which slot, over the members that are not leaving.
    pub fn ranking(&self) -> &Ranking {
        &self.ranking
    }

    /// The epoch of this node's ownership of a slot; `None` when it does not serve it as owner.
    pub fn owned_epoch(&self, slot: Slot) -> Option<Epoch> {
        self.record(slot).filter(|record| record.is_served()).map(|record| record.epoch)
    }

    /// What this machine knows, for people to read.
    pub fn status(&self) -> Status {
        let mut believed: BTreeMap<&NodeName, usize> = BTreeMap::new();
        for record in &self.records {
            if record.is_owned() {
                *believed.entry(&self.config.node).or_default() += 1;
            } else if let Some(owner) = &record.seen.owner {
                *believed.entry(owner).or_default() += 1;
            }
        }
        let slots = |node: &NodeName| believed.get(node).copied().unwrap_or(0);
        let mut members = vec![MemberStatus {
            node: self.config.node.clone(),
            weight: self.config.weight,
            slots: slots(&self.config.node),
            ready: true,
            leaving: self.leave.is_some(),
            linked: true,
        }];
        members.extend(self.peers.iter().map(|(node, peer)| MemberStatus {
            node: node.clone(),
            weight: peer.weight,
            slots: slots(node),
            ready: peer.ready,
            leaving: peer.leaving,
            linked: peer.linked,
        }));
        members.sort_by(|a, b| a.node.cmp(&b.node));
        Status {
            node: self.config.node.clone(),
            lineage: self.lineage.clone(),
            members,
            owned: self.sets.owned.len(),
            misplaced: self.sets.misplaced.len(),
            sending: self.sets.sending.len(),
            in_doubt: self.sets.granted.len(),
            receiving: self.sets.staging.len(),
            merging: self.sets.yielding.len(),
            orphaned: self.sets.orphans.len(),
            leaving: self.leave.is_some(),
            settled: self.settled,
        }
    }

    /// The lineage that this node would found, or has founded.
    pub(super) fn birth(&self) -> Lineage {
        Lineage { founded_at_ms: self.config.started_at_ms, founder: self.config.node.clone() }
    }

    /// The origin of a slot that this node owns empty from now on.
    pub(super) fn new_origin(&mut self) -> Origin {
        Origin::new(&self.config.node, self.next_transfer.take())
    }

    /// The slots of this machine, in ascending order.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        Slot::all().take(self.config.slots)
    }

    /// What is known of a slot; `None` for a slot that this machine does not have.
    pub(super) fn record(&self, slot: Slot) -> Option<&Record> {
        self.records.get(slot.index())
    }

    /// Changes what is held of a slot.
    pub(super) fn put(&mut self, slot: Slot, held: Held) {
        self.update(slot, |record| record.held = held);
    }

    /// Changes what is known of a slot.
    pub(super) fn update(&mut self, slot: Slot, change: impl FnOnce(&mut Record)) {
        if let Some(record) = self.records.get_mut(slot.index()) {
            change(record);
            self.classify(slot);
        }
    }

    fn classify(&mut self, slot: Slot) {
        let Some(record) = self.records.get(slot.index()) else { return };
        let target = self.ranking.owner(slot);
        let here = target == Some(&self.config.node);
        let held = &record.held;
        let sets = &mut self.sets;
        sets.owned.set(slot, record.is_owned());
        sets.misplaced.set(slot, matches!(held, Held::Owned) && target.is_some() && !here);
        sets.sending.set(slot, matches!(held, Held::Sending { .. }));
        sets.granted.set(slot, matches!(held, Held::Granted { .. }));
        sets.staging.set(slot, matches!(held, Held::Staging { .. }));
        sets.yielding.set(slot, matches!(held, Held::Yielding(_)));
        sets.merging.set(slot, matches!(held, Held::Yielding(Yield::Trying { .. })));
        sets.orphans.set(slot, record.is_orphan());
        sets.astray.set(
            slot,
            matches!(held, Held::Foreign)
                && target.is_some()
                && record.seen.owner.as_ref() != target,
        );
    }

    /// Computes who should own what, after a change of the members.
    pub(super) fn rank(&mut self) {
        let mut members: Vec<(NodeName, u32)> = self
            .peers
            .iter()
            .filter(|(_, peer)| !peer.leaving)
            .map(|(node, peer)| (node.clone(), peer.weight))
            .collect();
        if self.leave.is_none() {
            members.push((self.config.node.clone(), self.config.weight));
        }
        self.ranking = self.ranking.recompute(&members, self.config.slots);
        for slot in self.slots() {
            self.classify(slot);
        }
        self.backoff.clear();
        self.replan = true;
        self.cancel_misdirected();
    }

    pub(super) fn push(&mut self, effect: Effect) {
        self.out.push(effect);
    }

    pub(super) fn notify(&mut self, notice: Notice) {
        self.out.push(Effect::Notify(notice));
    }

    /// Says something to a member; without a link it is not said.
    pub(super) fn send(&mut self, to: &NodeName, body: Body) {
        if self.peers.get(to).is_some_and(|peer| peer.linked) {
            let message = Message {
                started_at_ms: self.config.started_at_ms,
                lineage: self.lineage.clone(),
                body,
            };
            self.out.push(Effect::Send { to: to.clone(), message });
        }
    }

    pub(super) fn broadcast(&mut self, body: &Body) {
        let peers: Vec<NodeName> = self.peers.keys().cloned().collect();
        for peer in peers {
            self.send(&peer, body.clone());
        }
    }

    /// Publishes what an operation should believe about a slot.
    pub(super) fn publish(&mut self, slot: Slot) {
        let Some(record) = self.records.get(slot.index()) else { return };
        let (epoch, owner) = match record.held {
            // A copy that is yielded answers reads here until the owner has it.
            Held::Owned | Held::Sending { .. } | Held::Granted { .. } | Held::Yielding(_) => {
                (record.epoch, Some(self.config.node.clone()))
            }
            Held::Foreign | Held::Staging { .. } => (record.seen.epoch, record.seen.owner.clone()),
        };
        self.out.push(Effect::Route { slot, epoch, owner });
    }

    /// The runs of the slots among these that this node owns.
    pub(super) fn own_runs(&self, slots: impl Iterator<Item = Slot>) -> Vec<Run> {
        Run::gather(slots.filter_map(|slot| {
            let record = self.record(slot)?;
            (record.is_owned() && !record.outranked).then_some((slot, record.epoch))
        }))
    }

    /// What follows from any event.
    fn proceed(&mut self, tick: bool) {
        if mem::take(&mut self.replan) {
            self.merge_next();
            self.offer_next();
        }
        self.recover();
        self.tell_owned(tick);
        self.check_left();
        let settled = self.compute_settled();
        if settled != self.settled {
            self.settled = settled;
            self.notify(Notice::Settled(settled));
        }
    }

    /// The members, this node included.
    pub(super) fn members(&self) -> Vec<NodeName> {
        self.peers.keys().chain([&self.config.node]).cloned().collect()
    }

    /// Tells the others what became ours: in one go when a burst is over, else now and then.
    fn tell_owned(&mut self, tick: bool) {
        let burst_over = self.sets.staging.is_empty();
        let enough = self.announce.len() >= self.config.limits.window;
        if self.announce.is_empty() || !(burst_over || enough || tick) {
            return;
        }
        let announce = mem::take(&mut self.announce);
        let runs = self.own_runs(announce.iter());
        if !runs.is_empty() {
            self.broadcast(&Body::Owner(runs));
        }
    }

    fn compute_settled(&self) -> bool {
        let sets = &self.sets;
        self.lineage.is_some()
            && sets.misplaced.is_empty()
            && sets.sending.is_empty()
            && sets.granted.is_empty()
            && sets.staging.is_empty()
            && sets.yielding.is_empty()
            && sets.orphans.is_empty()
            && sets.astray.is_empty()
            && self.pins.is_empty()
            && self.peers.values().all(|peer| peer.ready)
    }

    fn tick(&mut self) {
        self.enquired = SlotSet::new();
        self.replan = true;
        self.retry_claims();
        self.give_up_replaced();
        self.forget_departed();
        self.retry_sending();
        self.retry_merges();
        self.retry_recovery();
        self.check_deadline();
    }

    fn leave_self(&mut self, deadline: Duration) {
        if self.leave.is_none() {
            self.leave = Some(Leave { deadline, left: false, timed_out: false });
            self.broadcast(&Body::Leaving);
            self.rank();
        }
    }

    /// A node may go when it holds nothing, or when only nodes that leave too are left. A slot in
    /// doubt keeps it: the other side may be waiting to hear that it is the owner.
    fn check_left(&mut self) {
        let held = self.held_slots();
        let nobody_stays = self.ranking.members().len() == 0;
        let open = !self.sets.granted.is_empty() || !self.sets.staging.is_empty();
        let Some(leave) = &mut self.leave else { return };
        if !leave.left && (held == 0 || (nobody_stays && !open)) {
            leave.left = true;
            self.out.push(Effect::Left);
        }
    }

    fn check_deadline(&mut self) {
        let remaining = self.held_slots();
        let now = self.now;
        let Some(leave) = &mut self.leave else { return };
        if !leave.left && !leave.timed_out && now >= leave.deadline {
            leave.timed_out = true;
            self.out.push(Effect::LeaveTimedOut { remaining });
        }
    }

    fn held_slots(&self) -> usize {
        self.sets.owned.len() + self.sets.yielding.len() + self.sets.staging.len()
    }
}
