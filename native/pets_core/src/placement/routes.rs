use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::{Epoch, NodeName, SLOTS, Slot};

/// A member's place in the list of names of a [`Routes`]; it never changes its meaning there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MemberIndex(u16);

impl MemberIndex {
    /// Where the member stands in an array beside the routes, in order of first mention.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What this node believes about a slot: who owns it and since which epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// The epoch of the claim that this route comes from.
    pub epoch: Epoch,
    /// The owner; `None` while nobody is known to own the slot.
    pub owner: Option<MemberIndex>,
}

/// For each slot the owner that this node believes in: what an operation reads to find its way.
///
/// A flat array of words, epoch and owner in one, so that an operation costs one load and never
/// sees the owner of one claim with the epoch of another. One thread at a time publishes (the one
/// that runs the ownership machine); any number read.
#[derive(Debug)]
pub struct Routes {
    /// Epoch in the upper 48 bits, member index in the lower 16. Written by [`Routes::publish`]
    /// only.
    routes: Box<[AtomicU64]>,
    /// Names by [`MemberIndex`]; grows only, so that an index read from `routes` stays valid.
    names: ArcSwap<Vec<NodeName>>,
}

/// The member index that means nobody.
const NOBODY: u64 = 0xFFFF;
const INDEX_BITS: u32 = 16;

impl Routes {
    /// Routes that know nothing yet.
    pub fn new() -> Routes {
        Routes {
            routes: (0..SLOTS).map(|_| AtomicU64::new(NOBODY)).collect(),
            names: ArcSwap::default(),
        }
    }

    /// The owner of the slot as far as this node knows. One load.
    #[inline]
    pub fn owner(&self, slot: Slot) -> Option<MemberIndex> {
        self.route(slot).owner
    }

    /// The owner and its epoch, of the same claim. One load.
    #[inline]
    pub fn route(&self, slot: Slot) -> Route {
        // Acquire pairs with the Release in `publish`: whoever sees the index finds its name.
        unpack(self.routes[slot.index()].load(Ordering::Acquire))
    }

    /// Makes `owner` the slot's route from now on, at `epoch`.
    ///
    /// The caller decides which claim is the better one; nothing is compared here, because a new
    /// lineage may start again at a lower epoch.
    pub fn publish(&self, slot: Slot, epoch: Epoch, owner: Option<&NodeName>) {
        let index = owner.and_then(|name| self.member(name));
        let word = (epoch.number().min(Epoch::MAX.number()) << INDEX_BITS)
            | index.map_or(NOBODY, |index| u64::from(index.0));
        // Release pairs with the Acquire in `route`: the name was pushed before.
        self.routes[slot.index()].store(word, Ordering::Release);
    }

    /// The index of this name, given to it now if it has none.
    ///
    /// `None` when 65,535 other names have been used: the route is then unknown rather than wrong.
    pub fn member(&self, name: &NodeName) -> Option<MemberIndex> {
        loop {
            let names = self.names.load();
            if let Some(index) = position(&names, name) {
                return Some(index);
            }
            if names.len() as u64 >= NOBODY {
                return None;
            }
            let mut longer = Vec::clone(&names);
            longer.push(name.clone());
            // Another thread may have been faster: then the name is looked for once more.
            self.names.compare_and_swap(&names, Arc::new(longer));
        }
    }

    /// The name behind an index of these routes.
    pub fn name(&self, index: MemberIndex) -> Option<NodeName> {
        self.names.load().get(index.index()).cloned()
    }

    /// The name of the slot's owner; for the slow paths, an operation compares indices.
    pub fn owner_name(&self, slot: Slot) -> Option<NodeName> {
        self.name(self.owner(slot)?)
    }
}

impl Default for Routes {
    fn default() -> Routes {
        Routes::new()
    }
}

fn position(names: &[NodeName], name: &NodeName) -> Option<MemberIndex> {
    names.iter().position(|known| known == name).map(|index| MemberIndex(index as u16))
}

#[inline]
fn unpack(word: u64) -> Route {
    let index = word & NOBODY;
    Route {
        epoch: Epoch::new(word >> INDEX_BITS),
        owner: (index != NOBODY).then_some(MemberIndex(index as u16)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    #[test]
    fn what_is_published_is_read() {
        let routes = Routes::new();
        let slot = Slot::of(u64::MAX);
        assert_eq!(routes.route(slot), Route { epoch: Epoch::NONE, owner: None });
        routes.publish(slot, Epoch::new(7), Some(&"a@h".into()));
        routes.publish(Slot::of(0), Epoch::MAX, Some(&"b@h".into()));
        assert_eq!(routes.route(slot).epoch, Epoch::new(7));
        assert_eq!(routes.owner_name(slot), Some("a@h".into()));
        assert_eq!(routes.route(Slot::of(0)).epoch, Epoch::MAX);
        assert_eq!(routes.owner_name(Slot::of(0)), Some("b@h".into()));
        routes.publish(slot, Epoch::new(8), None);
        assert_eq!(routes.route(slot), Route { epoch: Epoch::new(8), owner: None });
    }

    #[test]
    fn an_index_keeps_its_name() {
        let routes = Routes::new();
        let a = routes.member(&"a@h".into()).expect("room");
        let b = routes.member(&"b@h".into()).expect("room");
        assert_ne!(a, b);
        assert_eq!(routes.member(&"a@h".into()), Some(a));
        assert_eq!(routes.name(b), Some("b@h".into()));
        assert_eq!(routes.name(MemberIndex(9)), None);
    }

    #[test]
    fn readers_see_whole_routes_whose_owner_has_a_name() {
        let routes = Routes::new();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        let route = routes.route(Slot::of(0));
                        if let Some(owner) = route.owner {
                            let name = routes.name(owner).expect("published after its name");
                            assert_eq!(name.as_str(), format!("n{}", route.epoch));
                        }
                    }
                });
            }
            for epoch in 1..2_000 {
                let name = NodeName::from(format!("n{epoch}"));
                routes.publish(Slot::of(0), Epoch::new(epoch), Some(&name));
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}
