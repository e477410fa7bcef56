//! Readers without a lock against a writer, in every interleaving that loom finds:
//! `RUSTFLAGS="--cfg loom" cargo test -p pets_core --release --lib table::model`.
//!
//! The slots, cells and records are the real ones on loom's atomics. Memory is not given back
//! while a model runs. Instead every reader notes, when it is pinned, what was retired before, and
//! must never meet any of that: epochs keep everything else alive.

use std::collections::HashSet;
use std::ptr::NonNull;
use std::sync::LazyLock;

use loom::sync::{Arc, Mutex};
use loom::thread;

use super::cells::Array;
use super::entry::Entry;
use super::reclaim::Reclaim;
use super::record::{Block, Record};
use super::schema::{Schema, TableType};
use super::slot::{Removed, SlotStore, Slots};
use super::state::{SlotState, Why};
use crate::term::hash::hash_exact;
use crate::term::word::{Kind, header, small};

const SCHEMA: Schema = Schema::set(1);

/// The slot of a model, and what was retired from it.
struct World {
    schema: Schema,
    slots: Slots,
    retired: Mutex<Retired>,
}

#[derive(Default)]
struct Retired {
    addresses: HashSet<usize>,
    records: Vec<NonNull<Block>>,
    /// With or without their records.
    arrays: Vec<(Array, bool)>,
    /// Anything else, with what frees it.
    others: Vec<(*mut (), unsafe fn(*mut ()))>,
}

// SAFETY: the pointers are to heap memory that is freed when the model has ended.
unsafe impl Send for Retired {}

impl Reclaim for World {
    unsafe fn retire_record(&self, record: NonNull<Block>) {
        let mut retired = self.retired.lock().unwrap();
        assert!(retired.addresses.insert(record.addr().get()), "retired twice");
        retired.records.push(record);
    }

    unsafe fn retire_array(&self, array: Array) {
        let mut retired = self.retired.lock().unwrap();
        assert!(retired.addresses.insert(array.as_ptr().addr()), "retired twice");
        retired.arrays.push((array, false));
    }

    unsafe fn retire(&self, pointer: *mut (), free: unsafe fn(*mut ()), _bytes: usize) {
        let mut retired = self.retired.lock().unwrap();
        assert!(retired.addresses.insert(pointer.addr()), "retired twice");
        retired.others.push((pointer, free));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let retired = std::mem::take(&mut *self.retired.lock().unwrap());
        // SAFETY: all threads of the model have ended.
        unsafe {
            for record in retired.records {
                Block::free(record);
            }
            for (array, records) in retired.arrays {
                array.free(records);
            }
            for (pointer, free) in retired.others {
                free(pointer);
            }
            self.slots.free();
        }
    }
}

/// A reader's pin: what must not be met any more.
struct Pin(HashSet<usize>);

/// The `n`th small integer of the first slot with this home in the smallest array.
fn key(home: usize, n: usize) -> i64 {
    static KEYS: LazyLock<Vec<(usize, i64)>> = LazyLock::new(|| {
        let place = |key| hash_exact(&[small(key)]) >> 50;
        (0..).filter(|&key| place(key) < 4).map(|key| (place(key) as usize, key)).take(40).collect()
    });
    KEYS.iter().filter(|(at, _)| *at == home).nth(n).unwrap().1
}

fn words(key: i64, a: i64, b: i64) -> [u64; 4] {
    [header(Kind::Tuple, 3), small(key), small(a), small(b)]
}

impl World {
    fn slot(&self) -> SlotStore<'_> {
        self.slots.get(0)
    }

    fn new(objects: &[[u64; 4]]) -> Arc<World> {
        World::of(SCHEMA, objects)
    }

    fn of(schema: Schema, objects: &[[u64; 4]]) -> Arc<World> {
        let world = Arc::new(World { schema, slots: Slots::new(1), retired: Mutex::default() });
        for object in objects {
            world.put(*object);
        }
        world
    }

    fn put(&self, words: [u64; 4]) {
        let object = self.schema.object(&words).unwrap();
        self.slot().lock().put(&object, self.schema, self);
    }

    fn remove(&self, key: i64) {
        let words = [small(key)];
        assert!(self.slot().lock().remove(&self.schema.key(&words), self.schema, self, |_| {}));
    }

    fn remove_object(&self, words: [u64; 4]) {
        let object = self.schema.object(&words).unwrap();
        let removed = self.slot().lock().remove_object(&object, self.schema, self);
        assert_ne!(removed, Removed::Nothing);
    }

    fn set_state(&self, state: SlotState) {
        self.slot().lock().set_state(state);
    }

    fn detach(&self) {
        let array = self.slot().lock().detach();
        let mut retired = self.retired.lock().unwrap();
        retired.addresses.insert(array.as_ptr().addr());
        retired.arrays.push((array, true));
    }

    fn pin(&self) -> Pin {
        Pin(self.retired.lock().unwrap().addresses.clone())
    }

    fn read(&self, key: i64, pin: &Pin) -> Result<Option<Vec<u64>>, Why> {
        Ok(self.read_all(key, pin)?.map(|objects| objects[0].clone()))
    }

    fn read_all(&self, key: i64, pin: &Pin) -> Result<Option<Vec<Vec<u64>>>, Why> {
        let words = [small(key)];
        // SAFETY: nothing is freed before the model ends.
        let found = unsafe { self.slot().read(&self.schema.key(&words), self.schema) }?;
        Ok(found.map(|entry| self.look_at_all(entry, pin)))
    }

    fn look_at_all(&self, entry: Entry<'_>, pin: &Pin) -> Vec<Vec<u64>> {
        if let Some(group) = entry.group_address() {
            assert!(!pin.0.contains(&group), "a retired group was met");
        }
        let records = entry.records();
        let len = records.len();
        let objects: Vec<_> = records.map(|record| self.look_at(record, pin)).collect();
        assert_eq!(objects.len(), len, "what is looked at has one length");
        objects
    }

    fn look_at(&self, record: Record<'_>, pin: &Pin) -> Vec<u64> {
        assert!(!pin.0.contains(&record.block().addr().get()), "a retired record was met");
        record.words().collect()
    }

    /// Every object that one scan of the slot shows, with its hash.
    fn scan(&self, pin: &Pin) -> Vec<(u64, Vec<u64>)> {
        let array = self.slot().array();
        assert!(!pin.0.contains(&array.as_ptr().addr()), "a retired array was met");
        let mut shown = Vec::new();
        let mut from = Some(0);
        while let Some(at) = from {
            let before = shown.len();
            array.run_from(at, |hash, entry| {
                shown.extend(self.look_at_all(entry, pin).into_iter().map(|words| (hash, words)));
            });
            from = shown[before..].iter().map(|(hash, _)| hash + 1).max();
        }
        shown
    }
}

/// Runs a writer against a reader that may start at any time.
fn check(
    world: impl Fn() -> Arc<World> + Sync + Send + 'static,
    writer: impl Fn(&World) + Clone + Sync + Send + 'static,
    reader: impl Fn(&World) + Sync + Send + 'static,
) {
    loom::model(move || {
        let world = world();
        let writing = {
            let (world, writer) = (Arc::clone(&world), writer.clone());
            thread::spawn(move || writer(&world))
        };
        reader(&world);
        writing.join().unwrap();
    });
}

#[test]
fn a_new_object_is_seen_whole_or_not_at_all() {
    let object = words(key(1, 0), 1, 2);
    check(
        || World::new(&[]),
        move |world| world.put(object),
        move |world| {
            let found = world.read(key(1, 0), &world.pin()).unwrap();
            assert!(found.is_none_or(|found| found == object));
        },
    );
}

#[test]
fn a_replaced_object_is_always_there_and_whole() {
    let (old, new) = (words(key(1, 0), 1, 2), words(key(1, 0), 3, 4));
    check(
        move || World::new(&[old]),
        move |world| world.put(new),
        move |world| {
            let found = world.read(key(1, 0), &world.pin()).unwrap().unwrap();
            assert!(found == old || found == new);
        },
    );
}

#[test]
fn changes_in_place_show_only_objects_that_existed() {
    let k = key(1, 0);
    let history = [words(k, 1, 1), words(k, 2, 1), words(k, 2, 2), words(k, 3, 2)];
    check(
        move || World::new(&history[..1]),
        move |world| history[1..].iter().for_each(|object| world.put(*object)),
        move |world| {
            let found = world.read(k, &world.pin()).unwrap().unwrap();
            assert!(history.iter().any(|object| found == *object), "never existed: {found:?}");
        },
    );
}

#[test]
fn growth_hides_nothing() {
    let there: Vec<_> = (0..3).map(|n| words(key(1, n), 1, 1)).collect();
    let at_start = there.clone();
    check(
        move || World::new(&at_start),
        // The fourth key makes the array grow, the overwrite goes to the new array.
        move |world| {
            world.put(words(key(1, 3), 1, 1));
            world.put(words(key(1, 2), 5, 6));
        },
        move |world| {
            let found = world.read(key(1, 2), &world.pin()).unwrap().unwrap();
            assert!(found == there[2] || found == words(key(1, 2), 5, 6));
        },
    );
}

#[test]
fn growth_shows_a_scan_everything_once() {
    let there: Vec<_> = (0..3).map(|n| words(key(n, 0), 1, 1)).collect();
    let at_start = there.clone();
    check(
        move || World::new(&at_start),
        |world| world.put(words(key(3, 0), 1, 1)),
        move |world| {
            let shown = world.scan(&world.pin());
            for object in &there {
                assert_eq!(shown.iter().filter(|(_, words)| words == object).count(), 1);
            }
        },
    );
}

#[test]
fn a_cell_that_changes_hands_confuses_nobody() {
    let (a, b, c) = (words(key(1, 0), 1, 1), words(key(1, 1), 2, 2), words(key(1, 2), 3, 3));
    check(
        move || World::new(&[a, b]),
        // The cell of `a` becomes that of `c`, with `b` behind it.
        |world| {
            world.remove(key(1, 0));
            world.put(words(key(1, 2), 3, 3));
        },
        move |world| {
            let pin = world.pin();
            let found = world.read(key(1, 2), &pin).unwrap();
            assert!(found.is_none_or(|found| found == c));
            assert_eq!(world.read(key(1, 1), &pin).unwrap().unwrap(), b);
            let found = world.read(key(1, 0), &pin).unwrap();
            assert!(found.is_none_or(|found| found == a));
        },
    );
}

#[test]
fn the_end_of_a_run_comes_and_goes_without_a_gap() {
    let (a, b) = (words(key(1, 0), 1, 1), words(key(1, 1), 2, 2));
    check(
        move || World::new(&[a, b]),
        // Both cells become unused, then `b` moves to the first one.
        |world| {
            world.remove(key(1, 1));
            world.remove(key(1, 0));
            world.put(words(key(1, 1), 2, 2));
        },
        move |world| {
            let pin = world.pin();
            let first = world.read(key(1, 1), &pin).unwrap();
            let second = world.read(key(1, 0), &pin).unwrap();
            assert!(first.is_none_or(|found| found == b));
            assert!(second.is_none_or(|found| found == a));
        },
    );
}

#[test]
fn a_scan_shows_what_stays_once_and_every_object_with_its_hash() {
    let (a, b) = (words(key(1, 0), 1, 1), words(key(1, 1), 2, 2));
    check(
        move || World::new(&[a, b]),
        |world| {
            world.remove(key(1, 0));
            world.put(words(key(1, 2), 3, 3));
        },
        move |world| {
            let shown = world.scan(&world.pin());
            assert_eq!(shown.iter().filter(|(_, words)| *words == b).count(), 1);
            for (hash, words) in shown {
                assert_eq!(hash, hash_exact(&words[1..2]));
            }
        },
    );
}

#[test]
fn a_scan_passes_the_end_of_a_run_that_is_being_forgotten() {
    let (a, b) = (words(key(1, 0), 1, 1), words(key(1, 1), 2, 2));
    check(
        move || World::new(&[a, b]),
        |world| world.remove(key(1, 1)),
        move |world| {
            let shown = world.scan(&world.pin());
            assert_eq!(shown.iter().filter(|(_, words)| *words == a).count(), 1);
            for (hash, words) in shown {
                assert_eq!(hash, hash_exact(&words[1..2]));
            }
        },
    );
}

#[test]
fn a_slot_that_goes_away_is_never_found_empty() {
    let object = words(key(1, 0), 1, 2);
    check(
        move || World::new(&[object]),
        |world| {
            world.set_state(SlotState::Frozen);
            world.set_state(SlotState::Granted);
            world.set_state(SlotState::Foreign);
            world.detach();
        },
        move |world| match world.read(key(1, 0), &world.pin()) {
            Ok(found) => assert_eq!(found.unwrap(), object),
            Err(Why::Wait | Why::Elsewhere) => {}
        },
    );
}

#[test]
fn a_slot_that_goes_away_and_comes_back_is_never_found_empty() {
    let object = words(key(1, 0), 1, 2);
    check(
        move || World::new(&[object]),
        move |world| {
            world.set_state(SlotState::Foreign);
            world.detach();
            world.put(object);
            world.set_state(SlotState::Owned);
        },
        move |world| match world.read(key(1, 0), &world.pin()) {
            Ok(found) => assert_eq!(found.unwrap(), object),
            Err(Why::Wait | Why::Elsewhere) => {}
        },
    );
}

#[test]
fn two_writers_lose_no_increment() {
    let increment = |world: &World| {
        let words = [small(key(1, 0))];
        let changed = world.slot().lock().change_word(
            &SCHEMA.key(&words),
            SCHEMA,
            |_| Some(2),
            |word| Ok::<_, ()>(word + 16),
        );
        assert!(changed.is_some());
    };
    check(
        || World::new(&[words(key(1, 0), 0, 0), words(key(1, 1), 0, 0), words(key(1, 2), 0, 0)]),
        move |world| {
            increment(world);
            // Growth between the increments of both.
            world.put(words(key(1, 3), 0, 0));
            increment(world);
        },
        move |world| {
            increment(world);
            let found = world.read(key(1, 0), &world.pin()).unwrap().unwrap();
            assert!((small(1)..=small(3)).contains(&found[2]));
        },
    );
}

/// The objects of a key of a bag, added and removed: a reader sees them as they were at one moment.
fn check_bag(at_start: usize, history: &'static [&'static [i64]], write: fn(&World, i64)) {
    let k = key(1, 0);
    let bag = Schema::new(TableType::Bag, 1);
    let states: Vec<Vec<_>> = history
        .iter()
        .map(|state| state.iter().map(|&value| words(k, value, value).to_vec()).collect())
        .collect();
    check(
        move || {
            let objects: Vec<_> =
                (1..=at_start as i64).map(|value| words(k, value, value)).collect();
            World::of(bag, &objects)
        },
        move |world| write(world, k),
        move |world| {
            let found = world.read_all(k, &world.pin()).unwrap().unwrap_or_default();
            assert!(states.contains(&found), "never existed: {found:?}");
        },
    );
}

#[test]
fn the_objects_of_a_key_are_added_one_after_the_other() {
    check_bag(1, &[&[1], &[1, 2], &[1, 2, 3]], |world, k| {
        world.put(words(k, 2, 2));
        world.put(words(k, 3, 3));
    });
}

#[test]
fn a_full_group_is_replaced_by_a_larger_one() {
    check_bag(4, &[&[1, 2, 3, 4], &[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5, 6]], |world, k| {
        world.put(words(k, 5, 5));
        world.put(words(k, 6, 6));
    });
}

#[test]
fn an_object_leaves_the_others_as_they_are() {
    check_bag(3, &[&[1, 2, 3], &[2, 3], &[2, 3, 4], &[2, 4]], |world, k| {
        world.remove_object(words(k, 1, 1));
        world.put(words(k, 4, 4));
        world.remove_object(words(k, 3, 3));
    });
}

#[test]
fn all_objects_of_a_key_go_at_once() {
    check_bag(3, &[&[1, 2, 3], &[], &[4]], |world, k| {
        world.remove(k);
        world.put(words(k, 4, 4));
    });
}

#[test]
fn a_scan_shows_the_objects_of_a_key_whole() {
    let k = key(1, 0);
    let bag = Schema::new(TableType::DuplicateBag, 1);
    check(
        move || World::of(bag, &[words(k, 1, 1), words(k, 2, 2)]),
        move |world| {
            world.remove_object(words(k, 1, 1));
            world.put(words(k, 2, 2));
        },
        move |world| {
            let shown = world.scan(&world.pin());
            let values: Vec<_> = shown.iter().map(|(_, words)| words[2]).collect();
            let expected = [vec![1, 2], vec![2], vec![2, 2]];
            assert!(
                expected.iter().any(|state| state.iter().map(|&v| small(v)).eq(values.clone()))
            );
        },
    );
}
