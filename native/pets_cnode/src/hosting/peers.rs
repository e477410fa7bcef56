//! The ordered streams to other nodes: one for each, shared by all tables.
//!
//! What the ownership machines say and the data of slots on their way go out in one order. A
//! machine's message never waits for room, because losing one is the same as a broken link; data
//! does, so that at most [`DATA_BYTES`] of it are between a message and its way out.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use pets_core::placement::NodeName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::wire;
use crate::{BulkLink, Direction, Node, PeerName};

/// Data that may wait in a stream. It bounds the memory, and the pause of a slot whose grant
/// stands behind other slots' data.
const DATA_BYTES: usize = 1 << 20;

/// A message, and the room that it takes until it is handed to the link.
type Outgoing = (Vec<u8>, Option<OwnedSemaphorePermit>);

/// A peer as the tables see it.
struct Peer {
    cnode: PeerName,
    stream: Stream,
    /// A cast that is arriving in parts.
    parts: Vec<u8>,
    /// Calls of [`Peers::reconnect`] to be let pass, and how many it will be after the next attempt.
    rest: u32,
    next_rest: u32,
}

/// The longest rest between two attempts to connect, in calls of [`Peers::reconnect`].
const LONGEST_REST: u32 = 32;

/// Which directions of the link to a C-node stand.
#[derive(Clone, Copy, Default)]
struct Link {
    outgoing: bool,
    incoming: bool,
}

impl Link {
    fn stands(self) -> bool {
        self.outgoing && self.incoming
    }
}

/// The sending end of the stream to a peer.
#[derive(Clone)]
pub(super) struct Stream {
    /// Bounded for data by `room`, for messages by the protocol: a machine says a few things
    /// about each slot and then waits for answers.
    queue: mpsc::UnboundedSender<Outgoing>,
    room: Arc<Semaphore>,
}

/// A stream that has ended, with whatever was sent on it last.
#[derive(Debug)]
pub(super) struct StreamEnded;

impl Stream {
    /// Sends a message, behind everything sent before.
    pub(super) fn send(&self, message: Vec<u8>) {
        // A stream that has ended is reported as a broken link.
        let _ = self.queue.send((message, None));
    }

    /// Sends data as soon as there is room for it.
    pub(super) async fn send_data(&self, data: Vec<u8>) -> Result<(), StreamEnded> {
        let cost = data.len().clamp(1, DATA_BYTES) as u32;
        let room = Arc::clone(&self.room).acquire_many_owned(cost).await;
        let room = room.map_err(|_| StreamEnded)?;
        self.queue.send((data, Some(room))).map_err(|_| StreamEnded)
    }
}

/// What a change of a link means for the tables.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Both directions stand.
    Up(NodeName),
    /// A direction broke.
    Down(NodeName),
    /// Nothing new.
    None,
}

/// All peers.
pub(super) struct Peers {
    known: Mutex<Known>,
    /// The C-nodes of `known`, for operations on their way; written under its lock.
    cnodes: ArcSwap<HashMap<NodeName, PeerName>>,
}

#[derive(Default)]
struct Known {
    /// By the name of their BEAM node.
    by_node: HashMap<NodeName, Peer>,
    /// By the name of their C-node, known or not: a node may connect before it is made known.
    links: HashMap<PeerName, Link>,
}

impl Peers {
    pub(super) fn new() -> Self {
        Peers { known: Mutex::new(Known::default()), cnodes: ArcSwap::default() }
    }

    /// Makes a node known under the name of its C-node. One that is known keeps its stream.
    pub(super) fn add<H: crate::Handler>(
        &self,
        node: &NodeName,
        cnode: &PeerName,
        via: &Arc<Node<H>>,
    ) {
        let known = &mut *self.known.lock();
        let peers = &mut known.by_node;
        if peers.get(node).is_some_and(|peer| peer.cnode == *cnode) {
            return;
        }
        let (queue, waiting) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(DATA_BYTES));
        via.runtime().spawn(carry(Arc::clone(via), cnode.clone(), waiting, Arc::clone(&room)));
        let peer = Peer {
            cnode: cnode.clone(),
            stream: Stream { queue, room },
            parts: Vec::new(),
            rest: 1,
            next_rest: 1,
        };
        peer.stream.send(wire::open_cast());
        peers.insert(node.clone(), peer);
        self.publish(known);
    }

    /// Lets operations know which C-nodes there are.
    fn publish(&self, known: &Known) {
        let cnodes = known.by_node.iter().map(|(node, peer)| (node.clone(), peer.cnode.clone()));
        self.cnodes.store(Arc::new(cnodes.collect()));
    }

    /// Forgets a node: what is sent to it from now on goes nowhere. Returns its C-node.
    pub(super) fn remove(&self, node: &NodeName) -> Option<PeerName> {
        let mut known = self.known.lock();
        let peer = known.by_node.remove(node)?;
        self.publish(&known);
        Some(peer.cnode)
    }

    /// Forgets all nodes.
    pub(super) fn clear(&self) {
        let mut known = self.known.lock();
        *known = Known::default();
        self.publish(&known);
    }

    /// The C-nodes of all nodes, as they are now.
    pub(super) fn cnodes(&self) -> arc_swap::Guard<Arc<HashMap<NodeName, PeerName>>> {
        self.cnodes.load()
    }

    /// The stream to a node.
    pub(super) fn stream(&self, node: &NodeName) -> Option<Stream> {
        self.known.lock().by_node.get(node).map(|peer| peer.stream.clone())
    }

    /// The node whose C-node this is.
    pub(super) fn node(&self, cnode: &PeerName) -> Option<NodeName> {
        let known = self.known.lock();
        known.by_node.iter().find(|(_, peer)| peer.cnode == *cnode).map(|(node, _)| node.clone())
    }

    /// A direction of a link came up or broke.
    pub(super) fn link(&self, cnode: &PeerName, link: BulkLink, up: bool) -> Change {
        let mut known = self.known.lock();
        let state = known.links.entry(cnode.clone()).or_default();
        let stood = state.stands();
        match link.direction {
            Direction::Outgoing => state.outgoing = up,
            Direction::Incoming => state.incoming = up,
        }
        let state = *state;
        if !state.outgoing && !state.incoming {
            known.links.remove(cnode);
        }
        let Some((node, peer)) = known.by_node.iter_mut().find(|(_, peer)| peer.cnode == *cnode)
        else {
            return Change::None;
        };
        if link.direction == Direction::Incoming {
            peer.parts.clear();
        }
        match up {
            true if state.stands() && !stood => Change::Up(node.clone()),
            true => Change::None,
            // Also an attempt that failed: it may have taken messages with it.
            false => Change::Down(node.clone()),
        }
    }

    /// Tries to connect to the peers without a standing link again.
    pub(super) fn reconnect(&self) {
        let Known { by_node, links } = &mut *self.known.lock();
        for peer in by_node.values_mut() {
            if links.get(&peer.cnode).is_some_and(|link| link.outgoing) {
                (peer.rest, peer.next_rest) = (0, 1);
            } else if peer.rest > 0 {
                peer.rest -= 1;
            } else {
                peer.stream.send(wire::open_cast());
                peer.rest = peer.next_rest;
                peer.next_rest = (2 * peer.next_rest).min(LONGEST_REST);
            }
        }
    }

    /// Adds a part of a long cast; returns the whole after the last part.
    pub(super) fn part(&self, cnode: &PeerName, last: bool, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut known = self.known.lock();
        let peer = known.by_node.values_mut().find(|peer| peer.cnode == *cnode)?;
        peer.parts.extend_from_slice(bytes);
        last.then(|| std::mem::take(&mut peer.parts))
    }
}

/// Hands what is queued to the link, in order, for as long as somebody holds the sending end.
async fn carry<H: crate::Handler>(
    node: Arc<Node<H>>,
    cnode: PeerName,
    mut queue: mpsc::UnboundedReceiver<Outgoing>,
    room: Arc<Semaphore>,
) {
    while let Some((message, taken)) = queue.recv().await {
        // A failure is a broken link, which the handler is told about on its own.
        if message.len() <= wire::LONGEST_CAST {
            let _ = node.send_bulk(&cnode, message).await;
        } else {
            for part in wire::parts(&message) {
                if node.send_bulk(&cnode, part).await.is_err() {
                    break;
                }
            }
        }
        drop(taken);
    }
    room.close();
}
