//! Random programs on a table against a `BTreeMap`, with slots that change their state.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use pets_core::placement::Slot;
use pets_core::table::{
    Change, Counted, Cursor, Direction, Entry, NextError, Record, ScanEnd, Schema, SlotState,
    Table, TableType, Unserved, Why,
};
use pets_core::term::hash::hash_exact;
use pets_core::term::word::{Kind, header, small, small_value};
use pets_core::term::{order, walk};
use proptest::prelude::*;

/// Keys below this number share eight slots, so that these grow and shrink.
const DENSE: u16 = 3_000;

/// Keys of two lengths.
fn key_words(key: u16) -> Vec<u64> {
    static KEYS: LazyLock<Vec<Vec<u64>>> = LazyLock::new(|| {
        let words = |n: i64| match n % 3 {
            0 => vec![header(Kind::Binary, 16), n as u64, 7],
            _ => vec![small(n)],
        };
        let is_dense = |words: &Vec<u64>| Slot::of(hash_exact(words)).index() < 8;
        (0..).map(words).filter(is_dense).take(DENSE.into()).collect()
    });
    match KEYS.get(usize::from(key)) {
        Some(words) => words.clone(),
        None => vec![small(i64::from(key) << 40)],
    }
}

fn object_words(key: u16, values: &[i64]) -> Vec<u64> {
    let mut words = vec![header(Kind::Tuple, 1 + values.len() as u64)];
    words.extend(key_words(key));
    words.extend(values.iter().map(|&value| small(value)));
    words
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u16, Vec<i64>),
    InsertNew(u16, Vec<i64>),
    InsertMany(Vec<(u16, i64)>),
    InsertNewMany(Vec<(u16, i64)>),
    Remove(u16),
    RemoveObject(u16, Vec<i64>),
    Take(u16),
    Add(u16, i64),
    Update(u16, Option<Vec<i64>>),
    Clear,
    State(u16, u8),
    Check,
}

fn op(keys: u16) -> impl Strategy<Value = Op> {
    let values = || prop::collection::vec(-3i64..3, 0..4);
    let pairs = || prop::collection::vec((0..keys, -3i64..3), 0..6);
    prop_oneof![
        20 => (0..keys, values()).prop_map(|(k, v)| Op::Insert(k, v)),
        4 => (0..keys, values()).prop_map(|(k, v)| Op::InsertNew(k, v)),
        3 => pairs().prop_map(Op::InsertMany),
        3 => pairs().prop_map(Op::InsertNewMany),
        9 => (0..keys).prop_map(Op::Remove),
        4 => (0..keys, values()).prop_map(|(k, v)| Op::RemoveObject(k, v)),
        4 => (0..keys).prop_map(Op::Take),
        6 => (0..keys, -5i64..5).prop_map(|(k, i)| Op::Add(k, i)),
        4 => (0..keys, prop::option::of(values())).prop_map(|(k, v)| Op::Update(k, v)),
        1 => Just(Op::Clear),
        3 => (0..keys, 0u8..4).prop_map(|(k, s)| Op::State(k, s)),
        3 => Just(Op::Check),
    ]
}

/// The table's own order: by hash, then by the words of the key. Each key with the values of its
/// objects.
type Model = BTreeMap<(u64, Vec<u64>), (u16, Vec<Vec<i64>>)>;

struct World {
    schema: Schema,
    table: Table,
    model: Model,
    /// Slots that were moved to a receiver: its table is the second one.
    receiver: Table,
}

fn place(key: u16) -> (u64, Vec<u64>) {
    let words = key_words(key);
    (hash_exact(&words), words)
}

impl World {
    fn new(table_type: TableType) -> Self {
        let schema = Schema::new(table_type, 1);
        World {
            schema,
            table: Table::new(schema, SlotState::Owned),
            model: Model::new(),
            receiver: Table::new(schema, SlotState::Foreign),
        }
    }

    fn state_of(&self, key: u16) -> SlotState {
        self.table.state(Slot::of(place(key).0))
    }

    /// What an insertion makes of the objects of a key.
    fn put(&mut self, key: u16, values: &[i64]) {
        let (_, objects) = self.model.entry(place(key)).or_insert((key, Vec::new()));
        match self.schema.table_type() {
            TableType::Set | TableType::OrderedSet => objects.clear(),
            TableType::Bag if objects.iter().any(|object| object == values) => return,
            TableType::Bag | TableType::DuplicateBag => {}
        }
        objects.push(values.to_vec());
    }

    fn refusal(&self, key: u16) -> Option<Unserved> {
        let state = self.state_of(key);
        let why = if state == SlotState::Foreign { Why::Elsewhere } else { Why::Wait };
        (!state.serves_writes()).then_some(Unserved { slot: Slot::of(place(key).0), why })
    }

    /// The refusal of a write to several keys: the lowest slot's.
    fn refusal_of_all(&self, keys: impl Iterator<Item = u16>) -> Option<Unserved> {
        keys.filter_map(|key| self.refusal(key)).min_by_key(|refusal| refusal.slot)
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Insert(key, values) => {
                let words = object_words(*key, values);
                let object = self.schema.object(&words).unwrap();
                match self.refusal(*key) {
                    Some(refusal) => assert_eq!(self.table.insert(&object), Err(refusal)),
                    None => {
                        self.put(*key, values);
                        assert_eq!(self.table.insert(&object), Ok(()));
                    }
                }
            }
            Op::InsertNew(key, values) => {
                let words = object_words(*key, values);
                let object = self.schema.object(&words).unwrap();
                match self.refusal(*key) {
                    Some(refusal) => assert_eq!(self.table.insert_new(&object), Err(refusal)),
                    None => {
                        let absent = !self.model.contains_key(&place(*key));
                        assert_eq!(self.table.insert_new(&object), Ok(absent));
                        if absent {
                            self.put(*key, values);
                        }
                    }
                }
            }
            Op::InsertMany(pairs) => {
                let words: Vec<_> = pairs.iter().map(|(k, v)| object_words(*k, &[*v])).collect();
                let objects: Vec<_> =
                    words.iter().map(|w| self.schema.object(w).unwrap()).collect();
                let refusal = self.refusal_of_all(pairs.iter().map(|(key, _)| *key));
                assert_eq!(self.table.insert_many(&objects), refusal.map_or(Ok(()), Err));
                if refusal.is_none() {
                    for (key, value) in pairs {
                        self.put(*key, &[*value]);
                    }
                }
            }
            Op::InsertNewMany(pairs) => {
                let words: Vec<_> = pairs.iter().map(|(k, v)| object_words(*k, &[*v])).collect();
                let objects: Vec<_> =
                    words.iter().map(|w| self.schema.object(w).unwrap()).collect();
                let refusal = self.refusal_of_all(pairs.iter().map(|(key, _)| *key));
                let absent = !pairs.iter().any(|(key, _)| self.model.contains_key(&place(*key)));
                let expected = refusal.map_or(Ok(absent), Err);
                assert_eq!(self.table.insert_new_many(&objects), expected);
                if expected == Ok(true) {
                    for (key, value) in pairs {
                        self.put(*key, &[*value]);
                    }
                }
            }
            Op::Remove(key) => {
                let words = key_words(*key);
                let removed = self.table.remove(&self.schema.key(&words));
                match self.refusal(*key) {
                    Some(refusal) => assert_eq!(removed, Err(refusal)),
                    None => {
                        assert_eq!(removed, Ok(self.model.remove(&place(*key)).is_some()));
                    }
                }
            }
            Op::RemoveObject(key, values) => {
                let words = object_words(*key, values);
                let removed = self.table.remove_object(&self.schema.object(&words).unwrap());
                match self.refusal(*key) {
                    Some(refusal) => assert_eq!(removed, Err(refusal)),
                    None => {
                        let mut same = false;
                        if let Some((_, objects)) = self.model.get_mut(&place(*key)) {
                            same = objects.contains(values);
                            objects.retain(|object| object != values);
                            if objects.is_empty() {
                                self.model.remove(&place(*key));
                            }
                        }
                        assert_eq!(removed, Ok(same));
                    }
                }
            }
            Op::Take(key) => {
                let words = key_words(*key);
                let mut out = Vec::new();
                let taken = self.table.take(&self.schema.key(&words), &mut out);
                match self.refusal(*key) {
                    Some(refusal) => assert_eq!(taken, Err(refusal)),
                    None => {
                        let before = self.model.remove(&place(*key));
                        let objects = before.map_or(Vec::new(), |(_, objects)| objects);
                        assert_eq!(taken, Ok(objects.len()));
                        let words: Vec<_> =
                            objects.iter().flat_map(|values| object_words(*key, values)).collect();
                        assert_eq!(out, words);
                    }
                }
            }
            Op::Add(key, increment) => {
                let words = key_words(*key);
                let added = self.table.add_to_counter(&self.schema.key(&words), 2, *increment);
                if let Some(refusal) = self.refusal(*key) {
                    assert_eq!(added, Err(refusal));
                } else if let Ok(Counted::Value(sum)) = added {
                    assert!(!self.schema.is_bag());
                    let (_, objects) = self.model.get_mut(&place(*key)).unwrap();
                    objects[0][0] += increment;
                    assert_eq!(small_value(sum), objects[0][0]);
                }
            }
            Op::Update(..) if self.schema.is_bag() => {}
            Op::Update(key, values) => {
                let words = key_words(*key);
                let updated =
                    self.table.update(&self.schema.key(&words), |record, out| match values {
                        Some(values) => {
                            out.extend(object_words(*key, values));
                            (Change::Put, record.is_some())
                        }
                        None => (Change::Remove, record.is_some()),
                    });
                match self.refusal(*key) {
                    Some(refusal) => assert_eq!(updated, Err(refusal)),
                    None => {
                        let before = match values {
                            Some(values) => {
                                self.model.insert(place(*key), (*key, vec![values.clone()]))
                            }
                            None => self.model.remove(&place(*key)),
                        };
                        assert_eq!(updated, Ok(before.is_some()));
                    }
                }
            }
            Op::Clear => {
                let waiting = Slot::all().find(|slot| {
                    matches!(self.table.state(*slot), SlotState::Frozen | SlotState::Granted)
                });
                match waiting {
                    Some(slot) => {
                        assert_eq!(self.table.clear_owned(), Err(Unserved { slot, why: Why::Wait }))
                    }
                    None => {
                        self.table.clear_owned().unwrap();
                        let table = &self.table;
                        self.model.retain(|(hash, _), _| {
                            table.state(Slot::of(*hash)) == SlotState::Foreign
                        });
                    }
                }
            }
            Op::State(key, step) => self.step(Slot::of(place(*key).0), *step),
            Op::Check => self.check(),
        }
    }

    /// One step of a handoff, by the slot's state; `step` 0 cancels where that can be done.
    fn step(&mut self, slot: Slot, step: u8) {
        let pin = pets_core::epoch::pin();
        match (self.table.state(slot), step) {
            (SlotState::Owned, _) => {
                self.receiver.wipe(slot).unwrap();
                self.table.begin_copy(slot).unwrap();
                // Half of the snapshot now is all of it: the scan is in one step here.
                let mut staged = Vec::new();
                let end = self.table.scan_slot(Cursor::at(slot), usize::MAX, &pin, |record| {
                    staged.push(record.words().collect::<Vec<_>>());
                });
                assert_eq!(end, ScanEnd::Done);
                for words in staged {
                    self.receiver.stage_put(&self.schema.object(&words).unwrap()).unwrap();
                }
            }
            (SlotState::Foreign, _) => {
                // Taken back: the receiver's data return by merging.
                self.table.adopt(slot).unwrap();
                let mut words = Vec::new();
                self.receiver.scan_slot(Cursor::at(slot), usize::MAX, &pin, |record| {
                    words.push(record.words().collect::<Vec<_>>());
                });
                let objects: Vec<_> =
                    words.iter().map(|words| self.schema.object(words).unwrap()).collect();
                assert_eq!(self.table.merge(&objects), Ok(objects.len()));
                // Again, as after an answer that was lost.
                assert_eq!(self.table.merge(&objects), Ok(0));
                self.receiver.freeze(slot).unwrap();
                self.receiver.release(slot).unwrap();
            }
            (_, 0) => {
                self.table.resume(slot).unwrap();
                self.receiver.wipe(slot).unwrap();
            }
            (SlotState::Copying, 1) => {
                let changes = self.table.take_changes(slot).unwrap();
                self.send(slot, &changes);
            }
            (SlotState::Copying, _) => {
                let changes = self.table.freeze(slot).unwrap();
                self.send(slot, &changes);
            }
            (SlotState::Frozen, _) => self.table.grant(slot).unwrap(),
            (SlotState::Granted, _) => {
                self.receiver.adopt(slot).unwrap();
                self.table.release(slot).unwrap();
                assert_eq!(self.table.slot_len(slot), 0);
            }
        }
    }

    fn send(&self, slot: Slot, changes: &pets_core::table::Changes) {
        let pin = pets_core::epoch::pin();
        if changes.cleared {
            self.receiver.wipe(slot).unwrap();
        }
        for changed in changes.keys() {
            let entry = self.table.peek(&changed.key(), &pin);
            if entry.is_none() || self.schema.is_bag() {
                self.receiver.stage_remove(&changed.key()).unwrap();
            }
            for record in entry.iter().flat_map(|entry| entry.records()) {
                let words: Vec<u64> = record.words().collect();
                self.receiver.stage_put(&self.schema.object(&words).unwrap()).unwrap();
            }
        }
    }

    fn check(&self) {
        let pin = pets_core::epoch::pin();
        let mut here = 0;
        for ((_, words), (key, objects)) in &self.model {
            let objects: Vec<_> = objects.iter().map(|values| object_words(*key, values)).collect();
            let found = self.table.get(&self.schema.key(words), &pin);
            match self.state_of(*key) {
                SlotState::Foreign => {
                    let moved = self.receiver.get(&self.schema.key(words), &pin).unwrap().unwrap();
                    assert_eq!(all_words(moved), objects);
                    assert_eq!(found.unwrap_err().why, Why::Elsewhere);
                }
                SlotState::Granted => assert_eq!(found.unwrap_err().why, Why::Wait),
                _ => {
                    assert_eq!(all_words(found.unwrap().unwrap()), objects);
                    here += objects.len();
                }
            }
        }
        assert_eq!(self.table.len(), here);
        // The scan in small steps, passing over what is granted.
        let mut scanned = Vec::new();
        let mut cursor = Some(Cursor::START);
        while let Some(at) = cursor {
            let end = self.table.scan(at, 7, &pin, |record| {
                scanned.push(record.words().collect::<Vec<_>>());
            });
            cursor = match end {
                ScanEnd::Done => None,
                ScanEnd::More(next) => Some(next),
                ScanEnd::Blocked(at, why) => {
                    assert_eq!(why, Why::Wait);
                    Slot::new(at.slot().index() + 1).map(Cursor::at)
                }
            };
        }
        let expected: Vec<_> = self
            .model
            .values()
            .filter(|(key, _)| self.state_of(*key).serves_reads())
            .map(|(key, objects)| {
                objects.iter().map(|values| object_words(*key, values)).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(scanned, expected.concat());
        self.check_next(&expected.iter().map(|objects| objects[0].clone()).collect::<Vec<_>>());
        if self.schema.compares_keys() {
            self.check_order(expected.concat());
        }
    }

    /// The objects in the order of their keys, in both directions and in small steps.
    fn check_order(&self, mut expected: Vec<Vec<u64>>) {
        let pin = pets_core::epoch::pin();
        let key_of = |object: &Vec<u64>| {
            let range = walk::element(object, 1).unwrap();
            object[range].to_vec()
        };
        expected.sort_by(|a, b| order::cmp(&key_of(a), &key_of(b)));
        let slots: Vec<Slot> = Slot::all().collect();
        let unserved: Vec<Slot> =
            Slot::all().filter(|&slot| !self.table.state(slot).serves_reads()).collect();
        for direction in [Direction::Ascending, Direction::Descending] {
            let mut scanned = Vec::new();
            let mut after: Option<Vec<u64>> = None;
            for limit in (1..).map(|step| 1 + step % 9) {
                let at = after.as_deref();
                let chunk = self.table.scan_ordered(direction, at, &slots, limit, 50, &pin);
                assert!(chunk.records.len() <= limit);
                assert_eq!(chunk.unserved, unserved);
                scanned.extend(chunk.records.iter().map(|r| r.words().collect::<Vec<_>>()));
                if unserved.is_empty() {
                    let next = self.table.neighbour(direction, at, &pin).unwrap();
                    let first = chunk.records.first();
                    // A chunk of nothing but entries without an object goes on in the next one.
                    if first.is_some() || chunk.position.is_none() {
                        let words = |record: Record<'_>| record.words().collect::<Vec<_>>();
                        assert_eq!(next.map(words), first.map(|&record| words(record)));
                    }
                } else {
                    assert!(self.table.neighbour(direction, at, &pin).is_none());
                }
                match chunk.position {
                    Some(position) => after = Some(position),
                    None => break,
                }
            }
            assert_eq!(scanned, expected);
            expected.reverse();
        }
    }

    fn check_next(&self, expected: &[Vec<u64>]) {
        let pin = pets_core::epoch::pin();
        if self.table.slots_in(&[SlotState::Granted]) > 0 {
            return;
        }
        let mut walked = Vec::new();
        let mut at = self.table.first(Slot::new(0).unwrap(), &pin).unwrap();
        while let Some(record) = at {
            walked.push(record.words().collect::<Vec<_>>());
            let mut key = Vec::new();
            record.copy_range_to(record.key(1), &mut key);
            at = self.table.next(&self.schema.key(&key), &pin).unwrap();
        }
        assert_eq!(walked, expected);
        let absent = key_words(u16::MAX);
        match self.table.next(&self.schema.key(&absent), &pin) {
            Err(NextError::Absent | NextError::Unserved(_)) => {}
            found => panic!("the successor of an absent key: {found:?}"),
        }
    }
}

fn all_words(entry: Entry<'_>) -> Vec<Vec<u64>> {
    entry.records().map(|record| record.words().collect()).collect()
}

fn table_type() -> impl Strategy<Value = TableType> {
    prop::sample::select(vec![
        TableType::Set,
        TableType::OrderedSet,
        TableType::Bag,
        TableType::DuplicateBag,
    ])
}

fn programs(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(programs(400))]

    #[test]
    fn few_keys_do_what_a_map_does(
        table_type in table_type(),
        ops in prop::collection::vec(op(40), 0..300),
    ) {
        let mut world = World::new(table_type);
        for op in &ops {
            world.run(op);
        }
        world.check();
    }
}

proptest! {
    #![proptest_config(programs(40))]

    /// Mostly inserts, then mostly deletions, with handoffs in between and no clearing.
    #[test]
    fn slots_that_grow_and_shrink_do_what_a_map_does(
        table_type in table_type(),
        (grow, shrink) in (
            prop::collection::vec(op(DENSE), 2_000..6_000),
            prop::collection::vec(op(DENSE), 2_000..6_000),
        )
    ) {
        let mut world = World::new(table_type);
        let wanted = |op: &&Op| !matches!(op, Op::Clear | Op::Check | Op::State(_, 4..));
        for op in grow.iter().filter(wanted) {
            match op {
                Op::Remove(key) | Op::Take(key) => world.run(&Op::Insert(*key, vec![1, 2])),
                op => world.run(op),
            }
        }
        world.check();
        for op in shrink.iter().filter(wanted) {
            match op {
                Op::Insert(key, _) | Op::Update(key, _) => world.run(&Op::Remove(*key)),
                op => world.run(op),
            }
        }
        world.check();
    }

    #[test]
    fn many_slots_do_what_a_map_does(
        table_type in table_type(),
        ops in prop::collection::vec(op(u16::MAX), 0..4_000),
    ) {
        let mut world = World::new(table_type);
        for op in ops.iter().filter(|op| !matches!(op, Op::Check)) {
            world.run(op);
        }
        world.check();
    }
}
