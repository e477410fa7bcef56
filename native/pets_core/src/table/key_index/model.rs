//! Readers without a lock against writers, and writers against each other, in every interleaving
//! that loom finds:
//! `RUSTFLAGS="--cfg loom" cargo test -p pets_core --release --lib key_index::model`.
//!
//! The tree is the real one on loom's atomics, with small nodes. Memory is not given back while a
//! model runs. Instead every thread notes, when it is pinned, what was retired before, and must
//! never meet any of that: epochs keep everything else alive.

use std::cell::RefCell;
use std::collections::HashSet;
use std::num::NonZero;
use std::ptr::NonNull;

use loom::sync::{Arc, Mutex};
use loom::thread;

use super::cursor::{Cursor, Direction, Start};
use super::inner::{self, Inner};
use super::key::{self, Probe};
use super::leaf::{self, Leaf};
use super::reclaim::Reclaim;
use super::{KeyIndex, tree};
use crate::term::word::{self, Kind};

loom::thread_local! {
    /// What the thread must not meet any more.
    static PINNED: RefCell<Option<HashSet<usize>>> = RefCell::new(None);
}

/// Called with the address of every node and block that is looked at.
pub(super) fn note_met(address: NonZero<usize>) {
    PINNED.with(|pinned| {
        let retired = pinned.borrow();
        let met = retired.as_ref().is_some_and(|retired| retired.contains(&address.get()));
        assert!(!met, "what was retired before was met");
    });
}

#[derive(Default)]
struct World {
    index: KeyIndex,
    retired: Mutex<Retired>,
}

#[derive(Default)]
struct Retired {
    addresses: HashSet<usize>,
    leaves: Vec<NonNull<leaf::Header>>,
    nodes: Vec<NonNull<inner::Header>>,
    keys: Vec<u64>,
}

// SAFETY: the pointers are to heap memory that is freed when the model has ended.
unsafe impl Send for Retired {}

impl Reclaim for World {
    unsafe fn retire_leaf(&self, leaf: Leaf<'_>) {
        let mut retired = self.retired.lock().unwrap();
        assert!(retired.addresses.insert(leaf.as_ptr().addr().get()), "retired twice");
        retired.leaves.push(leaf.as_ptr());
    }

    unsafe fn retire_inner(&self, node: Inner<'_>) {
        let mut retired = self.retired.lock().unwrap();
        assert!(retired.addresses.insert(node.as_ptr().addr().get()), "retired twice");
        retired.nodes.push(node.as_ptr());
    }

    unsafe fn retire_key(&self, stored: u64) {
        if word::is_header(stored) {
            let mut retired = self.retired.lock().unwrap();
            assert!(retired.addresses.insert(stored as usize), "retired twice");
            retired.keys.push(stored);
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let retired = std::mem::take(&mut *self.retired.lock().unwrap());
        // SAFETY: all threads of the model have ended.
        unsafe {
            retired.leaves.into_iter().for_each(|leaf| Leaf::from_ptr(leaf).free());
            retired.nodes.into_iter().for_each(|node| Inner::from_ptr(node).free());
            retired.keys.into_iter().for_each(|stored| key::free(stored));
        }
    }
}

/// A key of the models: a small integer or, with the same order, one in a block.
fn words(key: i64) -> Vec<u64> {
    if key < 1000 {
        vec![word::small(key)]
    } else {
        vec![word::header(Kind::Tuple, 1), word::small(key)]
    }
}

fn number(words: &[u64]) -> i64 {
    word::small_value(words[words.len() - 1])
}

impl World {
    fn with(keys: impl IntoIterator<Item = i64>) -> Arc<World> {
        let world = Arc::new(World::default());
        keys.into_iter().for_each(|key| world.insert(key));
        world
    }

    /// Runs something as a thread that is pinned.
    fn pinned<R>(&self, work: impl FnOnce() -> R) -> R {
        let addresses = self.retired.lock().unwrap().addresses.clone();
        PINNED.with(|pinned| *pinned.borrow_mut() = Some(addresses));
        let result = work();
        PINNED.with(|pinned| *pinned.borrow_mut() = None);
        result
    }

    fn insert(&self, key: i64) {
        // SAFETY: nothing is freed before the model ends.
        let inserted =
            unsafe { self.pinned(|| self.index.insert_with(&Probe::new(&words(key)), self)) };
        assert!(inserted, "{key} was there");
    }

    fn remove(&self, key: i64) {
        // SAFETY: nothing is freed before the model ends.
        let removed =
            unsafe { self.pinned(|| self.index.remove_with(&Probe::new(&words(key)), self)) };
        assert!(removed, "{key} was not there");
    }

    fn remove_where(&self, condemned: impl Fn(i64) -> bool) {
        // SAFETY: nothing is freed before the model ends.
        unsafe {
            self.pinned(|| self.index.remove_where_with(|words| condemned(number(words)), self))
        };
    }

    fn walk(&self, direction: Direction, start: Start<'_>, most: usize) -> Vec<i64> {
        self.pinned(|| {
            // SAFETY: nothing is freed before the model ends.
            let cursor = unsafe { Cursor::new(self.index.root(), direction, start) };
            cursor.take(most).map(|key| number(key.words())).collect()
        })
    }

    /// Walks through all keys, and checks their order.
    fn scan(&self, direction: Direction) -> Vec<i64> {
        let mut shown = self.walk(direction, Start::Edge, 1000);
        if direction == Direction::Descending {
            shown.reverse();
        }
        assert!(shown.is_sorted_by(|a, b| a < b), "out of order: {shown:?}");
        shown
    }

    fn after(&self, key: i64) -> Option<i64> {
        let words = words(key);
        self.walk(Direction::Ascending, Start::Key(Probe::new(&words), false), 1).pop()
    }

    fn before(&self, key: i64) -> Option<i64> {
        let words = words(key);
        self.walk(Direction::Descending, Start::Key(Probe::new(&words), false), 1).pop()
    }

    /// Checks what is there when all threads have ended.
    fn assert_has(&self, keys: impl IntoIterator<Item = i64>) {
        let keys: Vec<i64> = keys.into_iter().collect();
        assert_eq!(self.scan(Direction::Ascending), keys);
        assert_eq!(self.scan(Direction::Descending), keys);
        assert_eq!(self.index.counts().0 as usize, keys.len());
        if let Some(root) = NonNull::new(self.index.root()) {
            // SAFETY: nobody else is there any more.
            assert_eq!(tree::counts(unsafe { Inner::from_ptr(root) }), self.recount());
        }
    }

    /// Keys and bytes, from the leaves.
    fn recount(&self) -> (u64, u64) {
        fn below(node: Inner<'_>) -> (u64, u64) {
            let own = node.own_bytes() as u64 + node.separator_bytes();
            (0..node.count()).fold((0, own), |(keys, bytes), place| {
                // SAFETY: nobody else is there any more.
                let (more, size) = match node.level() {
                    1 => {
                        let leaf = unsafe { node.leaf(place) };
                        (leaf.count() as u64, leaf.bytes())
                    }
                    // SAFETY: as above.
                    _ => below(unsafe { node.inner(place) }),
                };
                (keys + more, bytes + size)
            })
        }
        // SAFETY: as above.
        below(unsafe { Inner::from_ptr(NonNull::new(self.index.root()).unwrap()) })
    }
}

/// Runs a writer against another thread that may start at any time, and then a last look.
fn check(
    world: impl Fn() -> Arc<World> + Sync + Send + 'static,
    writer: impl Fn(&World) + Clone + Sync + Send + 'static,
    other: impl Fn(&World) + Sync + Send + 'static,
    at_last: impl Fn(&World) + Sync + Send + 'static,
) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 20_000;
    builder.check(move || {
        let world = world();
        let writing = {
            let (world, writer) = (Arc::clone(&world), writer.clone());
            thread::spawn(move || writer(&world))
        };
        other(&world);
        writing.join().unwrap();
        at_last(&world);
    });
}

fn contains(shown: &[i64], keys: impl IntoIterator<Item = i64>) {
    for key in keys {
        assert!(shown.contains(&key), "{key} was missed: {shown:?}");
    }
}

/// Both directions, from the edge and from a key.
fn look_everywhere(world: &World, there: &[i64]) {
    for direction in [Direction::Ascending, Direction::Descending] {
        contains(&world.scan(direction), there.iter().copied());
    }
}

#[test]
fn a_key_that_comes_hides_none() {
    check(
        || World::with([0, 20]),
        |world| world.insert(10),
        |world| {
            assert!(matches!(world.after(0), Some(10 | 20)));
            assert!(matches!(world.before(20), Some(10 | 0)));
        },
        |world| world.assert_has([0, 10, 20]),
    );
}

#[test]
fn a_key_that_goes_hides_none_and_its_block_is_not_met_later() {
    check(
        || World::with([1000, 1010, 1020]),
        |world| {
            world.remove(1010);
            world.insert(1015);
        },
        |world| {
            assert!(matches!(world.after(1000), Some(1010 | 1015 | 1020)));
            assert!(matches!(world.after(1010), Some(1015 | 1020)));
        },
        |world| world.assert_has([1000, 1015, 1020]),
    );
}

#[test]
fn the_first_key_and_the_last_one() {
    check(
        || World::with([]),
        |world| {
            world.insert(1);
            world.remove(1);
            world.insert(2);
        },
        |world| {
            let shown = world.scan(Direction::Ascending);
            assert!(matches!(shown[..], [] | [1] | [2]), "{shown:?}");
        },
        |world| world.assert_has([2]),
    );
}

#[test]
fn two_who_bring_the_first_key_lose_nothing() {
    check(
        || World::with([]),
        |world| {
            world.insert(1);
            world.remove(1);
        },
        |world| world.insert(2),
        |world| world.assert_has([2]),
    );
}

#[test]
fn a_leaf_that_is_split_hides_nothing() {
    check(
        || World::with([0, 10, 20, 30]),
        |world| world.insert(15),
        |world| {
            look_everywhere(world, &[0, 10, 20, 30]);
            assert!(matches!(world.after(10), Some(15 | 20)));
        },
        |world| world.assert_has([0, 10, 15, 20, 30]),
    );
}

#[test]
fn a_root_that_is_split_hides_nothing() {
    // Three full leaves of four, under one node.
    let there: Vec<i64> = (0..12).map(|n| n * 10).collect();
    let keys = there.clone();
    check(
        move || World::with(keys.iter().copied()),
        |world| world.insert(55),
        move |world| {
            contains(&world.scan(Direction::Ascending), there.iter().copied());
            assert!(matches!(world.before(60), Some(50 | 55)));
        },
        |world| {
            world.assert_has(
                (0..12).map(|n| n * 10).chain([55]).collect::<std::collections::BTreeSet<_>>(),
            )
        },
    );
}

#[test]
fn a_leaf_that_goes_leaves_its_range_to_the_next() {
    check(
        || World::with([0, 10, 20, 30, 40]),
        // The leaf of the greatest key goes, and the key comes again elsewhere.
        |world| {
            world.remove(40);
            world.insert(40);
        },
        |world| look_everywhere(world, &[0, 10, 20, 30]),
        |world| world.assert_has([0, 10, 20, 30, 40]),
    );
}

#[test]
fn the_first_leaf_goes_and_nothing_is_shown_twice() {
    check(
        || World::with([40, 30, 20, 10, 0]),
        |world| {
            world.remove(0);
            world.insert(0);
        },
        |world| look_everywhere(world, &[10, 20, 30, 40]),
        |world| world.assert_has([0, 10, 20, 30, 40]),
    );
}

#[test]
fn leaves_that_are_joined_hide_nothing() {
    check(
        // Two leaves, of two and three keys at first.
        || {
            let world = World::with([0, 10, 20, 30, 15]);
            world.remove(30);
            world.remove(20);
            world
        },
        |world| world.remove(10),
        |world| look_everywhere(world, &[0, 15]),
        |world| world.assert_has([0, 15]),
    );
}

#[test]
fn a_whole_node_that_goes_hides_nothing() {
    // Four full leaves, under two nodes.
    let world = || World::with((0..16).map(|n| n * 10));
    check(
        world,
        |world| world.remove_where(|key| key >= 120),
        |world| {
            contains(&world.scan(Direction::Descending), (0..12).map(|n| n * 10));
            assert!(matches!(world.after(110), Some(120 | 130 | 140 | 150) | None));
        },
        |world| world.assert_has((0..12).map(|n| n * 10)),
    );
}

#[test]
fn writers_of_one_leaf_lose_nothing() {
    check(
        || World::with([0, 40]),
        |world| {
            world.insert(10);
            world.insert(20);
        },
        |world| {
            world.insert(30);
            world.remove(40);
        },
        |world| world.assert_has([0, 10, 20, 30]),
    );
}

#[test]
fn writers_of_two_leaves_lose_nothing_when_their_node_is_replaced() {
    check(
        // Two leaves, the first of which is full.
        || World::with([0, 10, 20, 30, 40]),
        |world| world.insert(15),
        |world| {
            world.insert(50);
            world.remove(40);
        },
        |world| world.assert_has([0, 10, 15, 20, 30, 50]),
    );
}

#[test]
fn writers_who_split_nodes_below_one_parent_lose_nothing() {
    check(
        // Six full leaves, three under each of two nodes; both nodes are split.
        || World::with((0..24).map(|n| n * 10)),
        |world| world.insert(15),
        |world| world.insert(215),
        |world| {
            let keys: std::collections::BTreeSet<i64> =
                (0..24).map(|n| n * 10).chain([15, 215]).collect();
            world.assert_has(keys);
        },
    );
}

#[test]
fn a_node_that_goes_and_one_that_is_split_get_along() {
    check(
        // Four full leaves: three under one node, one under the next.
        || World::with((0..16).map(|n| n * 10)),
        |world| world.remove_where(|key| key >= 120),
        |world| world.insert(15),
        |world| {
            let keys: std::collections::BTreeSet<i64> =
                (0..12).map(|n| n * 10).chain([15]).collect();
            world.assert_has(keys);
        },
    );
}

#[test]
fn one_who_removes_many_and_one_who_splits_a_leaf_get_along() {
    check(
        || World::with((0..16).map(|n| n * 10)),
        |world| world.remove_where(|key| key % 40 == 0),
        |world| world.insert(155),
        |world| world.assert_has((0..16).map(|n| n * 10).filter(|key| key % 40 != 0).chain([155])),
    );
}

#[test]
fn a_range_that_grows_behind_a_cursor_shows_nothing_twice() {
    check(
        // The first of two nodes has one leaf, and the leaf after that has room.
        || {
            let world = World::with((0..16).rev().map(|n| n * 10));
            world.remove(50);
            world
        },
        // The first node goes, and one of its keys comes again, in a leaf of the second one.
        |world| {
            world.remove_where(|key| key < 40);
            world.insert(0);
        },
        // `scan` checks the order.
        |world| contains(&world.scan(Direction::Ascending), (6..16).map(|n| n * 10)),
        |world| world.assert_has([0, 40].into_iter().chain((6..16).map(|n| n * 10))),
    );
}

#[test]
fn the_root_goes_up_and_down_under_a_writer() {
    check(
        || World::with((0..16).map(|n| n * 10)),
        |world| {
            world.remove_where(|key| key >= 120);
            world.insert(125);
        },
        |world| {
            world.insert(55);
            world.remove(50);
        },
        |world| {
            let keys = (0..12).map(|n| n * 10).filter(|&n| n != 50).chain([55, 125]);
            world.assert_has(keys.collect::<std::collections::BTreeSet<i64>>());
        },
    );
}
