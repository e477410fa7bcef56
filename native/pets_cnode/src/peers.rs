//! The peers that this node has links to, or is making them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::bulk::BulkSession;
use crate::calls::{Calls, CallsChannel, MAX_PEERS};
use crate::peer_name::PeerName;

/// The present link of a kind.
pub(crate) struct Present<L> {
    /// May be closed already.
    pub(crate) current: Option<Arc<L>>,
    /// The peer was forgotten: no link may be made through this entry any more.
    pub(crate) removed: bool,
}

impl<L> Default for Present<L> {
    fn default() -> Self {
        Self { current: None, removed: false }
    }
}

/// One peer, and the present links to it.
pub(crate) struct Peer<T> {
    pub(crate) name: PeerName,
    /// Where it stands in [`Peers::by_index`]; part of the ids of its calls.
    pub(crate) index: u16,
    pub(crate) calls: Mutex<Present<CallsChannel<T>>>,
    pub(crate) bulk: Mutex<Present<BulkSession>>,
    /// Held by the task of a bulk link for as long as the handler takes that link for up: the
    /// next link waits for it.
    pub(crate) bulk_gate: tokio::sync::Mutex<()>,
    /// Where the generations of the next calls link begin.
    pub(crate) generation: AtomicU32,
}

impl<T> Peer<T> {
    /// An empty table for the next calls link, which continues the last one's generations.
    pub(crate) fn next_calls(&self, last: Option<&CallsChannel<T>>) -> Calls<T> {
        let generation = match last {
            Some(last) => last.lock().owner.generation(),
            None => self.generation.load(Ordering::Relaxed),
        };
        Calls::new(self.index, generation)
    }
}

/// All peers, by name for calls and by index for cancelling them.
pub(crate) struct Peers<T> {
    by_name: scc::HashIndex<PeerName, Arc<Peer<T>>>,
    by_index: RwLock<Vec<Option<Arc<Peer<T>>>>>,
    /// Spreads the generations of peers that come to use the same index one after the other.
    seed: AtomicU32,
}

impl<T: 'static> Peers<T> {
    pub(crate) fn new() -> Self {
        Self {
            by_name: scc::HashIndex::new(),
            by_index: RwLock::new(Vec::new()),
            seed: AtomicU32::new(0),
        }
    }

    /// The entry of a peer, made if it is not there; `None` when there are too many.
    pub(crate) fn get_or_insert(&self, name: &PeerName) -> Option<Arc<Peer<T>>> {
        if let Some(peer) = self.get(name) {
            return Some(peer);
        }
        let mut by_index = self.by_index.write();
        if let Some(peer) = self.get(name) {
            return Some(peer);
        }
        let free = by_index.iter().position(Option::is_none).unwrap_or(by_index.len());
        if free >= MAX_PEERS {
            return None;
        }
        let peer = Arc::new(Peer {
            name: name.clone(),
            index: u16::try_from(free).ok()?,
            calls: Mutex::default(),
            bulk: Mutex::default(),
            bulk_gate: tokio::sync::Mutex::new(()),
            generation: AtomicU32::new(self.seed.fetch_add(0x0061_C889, Ordering::Relaxed)),
        });
        if free == by_index.len() {
            by_index.push(None);
        }
        by_index[free] = Some(Arc::clone(&peer));
        // Cannot be there: entries are only made under the lock of `by_index`.
        let _ = self.by_name.insert_sync(name.clone(), Arc::clone(&peer));
        Some(peer)
    }

    pub(crate) fn get(&self, name: &PeerName) -> Option<Arc<Peer<T>>> {
        self.by_name.peek_with(name, |_, peer| Arc::clone(peer))
    }

    pub(crate) fn at(&self, index: usize) -> Option<Arc<Peer<T>>> {
        self.by_index.read().get(index).cloned().flatten()
    }

    /// Forgets a peer, so that its index can be used again.
    pub(crate) fn remove(&self, name: &PeerName) -> Option<Arc<Peer<T>>> {
        let mut by_index = self.by_index.write();
        let peer = self.get(name)?;
        self.by_name.remove_sync(name);
        by_index[usize::from(peer.index)] = None;
        Some(peer)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Peer<T>>> {
        self.by_index.read().iter().flatten().cloned().collect()
    }
}
