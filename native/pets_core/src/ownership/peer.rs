use std::time::Duration;

use super::record::{Held, Yield};
use super::{Lineage, Machine};
use crate::placement::NodeName;

/// How long a node that went down is remembered: it may come back with questions about the time
/// before.
const FORGET_AFTER: Duration = Duration::from_secs(3_600);

/// What a machine knows about another member.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) weight: u32,
    pub(super) leaving: bool,
    /// Whether its claims, in this machine's lineage or without one, are known.
    pub(super) ready: bool,
    /// Whether what is sent there has a chance to arrive.
    pub(super) linked: bool,
    /// The lineage of its last message.
    pub(super) lineage: Option<Lineage>,
    /// When its machine was created, once it has said something.
    pub(super) started_at_ms: Option<u64>,
    /// Since when another machine has been speaking from that node, if one has.
    replaced: Option<Duration>,
    /// When it was last sent this node's claims.
    pub(super) told: Duration,
}

impl Machine {
    pub(super) fn member_up(&mut self, node: NodeName, weight: u32) {
        if node == self.config.node {
            return;
        }
        if self.peers.get(&node).is_some_and(|peer| peer.replaced.is_some()) {
            self.member_lost(&node, false);
        }
        if !self.peers.contains_key(&node) {
            self.peers.insert(
                node.clone(),
                Peer {
                    weight,
                    leaving: false,
                    ready: false,
                    linked: true,
                    lineage: None,
                    started_at_ms: None,
                    replaced: None,
                    told: self.now,
                },
            );
            self.departed.remove(&node);
            self.strangers.remove(&node);
            self.recovery.restart();
            self.rank();
        }
        self.send_claims(&node, true);
    }

    /// Others know these nodes as members. One that is not known here will come up soon, and until
    /// then nobody can say that a slot has no owner.
    pub(super) fn heard_of(&mut self, nodes: &[NodeName]) {
        let until = self.now + self.config.limits.patience;
        for node in nodes {
            let known = *node == self.config.node
                || self.peers.contains_key(node)
                || self.departed.contains_key(node);
            if !known {
                self.strangers.entry(node.clone()).or_insert(until);
            }
        }
    }

    pub(super) fn forget_departed(&mut self) {
        let now = self.now;
        self.strangers.retain(|_, &mut until| now < until);
        let (departed, unconfirmed) = (&mut self.departed, &mut self.unconfirmed);
        departed.retain(|node, &mut since| {
            let recent = now < since + FORGET_AFTER;
            if !recent {
                unconfirmed.retain(|(sender, _)| sender != node);
            }
            recent
        });
    }

    /// Takes a member out. What it owned has no owner any more, and what was under way between
    /// it and this node has ended; a grant in doubt stays in doubt until the others were asked.
    pub(super) fn member_lost(&mut self, node: &NodeName, graceful: bool) {
        self.strangers.remove(node);
        if self.peers.remove(node).is_none() {
            return;
        }
        self.end_exchanges(node);
        for slot in self.slots() {
            let Some(record) = self.record(slot) else { continue };
            let disowned = record.seen.owner.as_ref() == Some(node);
            if disowned {
                self.disown(slot);
            }
            self.update(slot, |record| {
                if let Held::Granted { to, widowed, .. } = &mut record.held
                    && to == node
                {
                    *widowed = true;
                }
            });
        }
        self.departed.insert(node.clone(), self.now);
        self.recovery.restart();
        if graceful {
            // Those it handed its slots to are about to say so.
            self.recovery.not_before(self.now + self.config.limits.grace);
        }
        self.rank();
    }

    pub(super) fn link_up(&mut self, node: &NodeName) {
        let Some(peer) = self.peers.get(node) else { return };
        if peer.linked {
            // The link was replaced: what was sent on the old one may be lost.
            self.end_exchanges(node);
        }
        if let Some(peer) = self.peers.get_mut(node) {
            peer.linked = true;
        }
        self.replan = true;
        self.send_claims(node, true);
        self.recovery.ask_again(node);
    }

    pub(super) fn link_down(&mut self, node: &NodeName) {
        if let Some(peer) = self.peers.get_mut(node) {
            peer.linked = false;
            self.end_exchanges(node);
        }
    }

    /// Ends what is under way with a node and cannot go on after messages were lost.
    fn end_exchanges(&mut self, node: &NodeName) {
        for slot in self.slots() {
            match self.record(slot).map(|record| &record.held) {
                Some(Held::Sending { to, .. }) if to == node => self.stop_sending(slot),
                Some(Held::Staging { from, .. }) if from == node => self.wipe(slot),
                Some(Held::Yielding(Yield::Trying { to, .. })) if to == node => {
                    self.stop_merge(slot);
                }
                _ => {}
            }
        }
        self.pins.drop_from(node);
        self.replan = true;
    }

    /// Whether a message comes from a machine that has taken the place of the member's, whose end
    /// has not been reported yet. It is not listened to until then: what it knows nothing of may
    /// have been done by the other.
    pub(super) fn is_replaced(&mut self, from: &NodeName, started_at_ms: u64) -> bool {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(from) else { return true };
        let replaced = *peer.started_at_ms.get_or_insert(started_at_ms) != started_at_ms;
        if replaced {
            peer.replaced.get_or_insert(now);
        }
        replaced
    }

    /// Takes members for dead of which another machine has been speaking for long.
    pub(super) fn give_up_replaced(&mut self) {
        let patience = self.config.limits.patience;
        let replaced: Vec<(NodeName, u32)> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.replaced.is_some_and(|since| self.now >= since + patience))
            .map(|(node, peer)| (node.clone(), peer.weight))
            .collect();
        for (node, weight) in replaced {
            self.member_up(node, weight);
        }
    }

    pub(super) fn leaving(&mut self, node: &NodeName) {
        if let Some(peer) = self.peers.get_mut(node)
            && !peer.leaving
        {
            peer.leaving = true;
            self.rank();
        }
    }

    /// Members whose slots this node may send: known, linked and staying.
    pub(super) fn receives(&self, node: &NodeName) -> bool {
        self.peers.get(node).is_some_and(|peer| peer.ready && peer.linked && !peer.leaving)
    }
}
