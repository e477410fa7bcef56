//! Threads that work on one table at the same time. Also what a run under `valgrind` or an address
//! sanitizer takes: `cargo test -p pets_core --test table_stress --no-run`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use pets_core::placement::Slot;
use pets_core::table::{
    Change, Changes, Counted, Cursor, ScanEnd, Schema, SlotState, Table, Unserved, Why,
};
use pets_core::term::hash::hash_exact;
use pets_core::term::word::{Kind, header, small, small_value};

const SCHEMA: Schema = Schema::set(1);

/// Small enough for valgrind, large enough for every rare case of the scheduler.
const ROUNDS: i64 = 20_000;

/// Small integers whose slots are among the first `slots`, so that few slots hold many objects.
fn keys_in(slots: usize, count: usize) -> Vec<i64> {
    (0..).filter(|&key| Slot::of(hash_exact(&[small(key)])).index() < slots).take(count).collect()
}

fn put(table: &Table, words: &[u64]) {
    table.insert(&SCHEMA.object(words).unwrap()).unwrap();
}

/// Sets the flag when the thread ends, also by a panic: nobody waits for it then.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn counters_stay_exact_while_their_slots_grow_and_shrink() {
    let table = Table::new(SCHEMA, SlotState::Owned);
    let keys = keys_in(2, 400);
    let (counters, others) = keys.split_at(8);
    for &key in counters {
        put(&table, &[header(Kind::Tuple, 3), small(key), small(0), small(0)]);
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for thread in 0..2 {
            let table = &table;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let words = [small(counters[(round % 8) as usize])];
                    // Both counters of an object: only one of them can be changed in place.
                    let position = 2 + (round / 8 + thread) as usize % 2;
                    let key = SCHEMA.key(&words);
                    if table.add_to_counter(&key, position, 1).unwrap() != Counted::Undecided {
                        continue;
                    }
                    table
                        .update(&key, |record, out| {
                            record.unwrap().copy_to(out);
                            out[position] = small(small_value(out[position]) + 1);
                            (Change::Put, ())
                        })
                        .unwrap();
                }
            });
        }
        let (table, done) = (&table, &done);
        scope.spawn(move || {
            while !done.load(Ordering::Acquire) {
                for &key in others {
                    put(table, &[header(Kind::Tuple, 2), small(key), small(1)]);
                }
                for &key in others {
                    assert!(table.remove(&SCHEMA.key(&[small(key)])).unwrap());
                }
            }
        });
        let _ended = Ended(done);
        let guard = || pets_core::epoch::pin();
        // Sums only grow, and never faster than both counters together.
        let mut before = [0; 8];
        for round in 0..ROUNDS {
            let index = (round % 8) as usize;
            let guard = guard();
            let words = [small(counters[index])];
            let record = table.get(&SCHEMA.key(&words), &guard).unwrap().unwrap();
            let object: Vec<u64> = record.first().words().collect();
            assert_eq!(object[1], words[0]);
            let sum = small_value(object[2]) + small_value(object[3]);
            assert!(before[index] <= sum && sum <= 2 * ROUNDS);
            before[index] = sum;
        }
    });
    let guard = pets_core::epoch::pin();
    let mut total = 0;
    for &key in counters {
        let words = [small(key)];
        let record = table.get(&SCHEMA.key(&words), &guard).unwrap().unwrap();
        total += small_value(record.first().word(2)) + small_value(record.first().word(3));
    }
    assert_eq!(total, 2 * ROUNDS);
    assert_eq!(table.len(), 8);
}

/// `{Key, Stamp, <<Stamp, ...>>, Stamp}` with as many words as the stamp wants.
fn stamped(key: i64, stamp: i64) -> Vec<u64> {
    let size = (stamp % 5) as usize;
    let mut words = vec![header(Kind::Tuple, 4), small(key), small(stamp)];
    words.push(header(Kind::Binary, 8 * size as u64));
    words.extend(std::iter::repeat_n(stamp as u64, size));
    words.push(small(stamp));
    words
}

#[test]
fn readers_and_scans_see_whole_objects_of_the_right_key() {
    let table = Table::new(SCHEMA, SlotState::Owned);
    let keys = keys_in(2, 64);
    let (stay, come_and_go) = keys.split_at(32);
    for &key in stay {
        put(&table, &stamped(key, 1));
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for thread in 0..2 {
            let (table, done) = (&table, &done);
            scope.spawn(move || {
                let mut stamp = thread;
                while !done.load(Ordering::Acquire) {
                    stamp += 2;
                    put(table, &stamped(stay[(stamp % 32) as usize], stamp));
                    let key = come_and_go[(stamp % 32) as usize];
                    put(table, &stamped(key, stamp));
                    table.remove(&SCHEMA.key(&[small(key)])).unwrap();
                }
            });
        }
        let _ended = Ended(&done);
        for round in 0..ROUNDS {
            let guard = pets_core::epoch::pin();
            let key = keys[(round % 64) as usize];
            let words = [small(key)];
            match table.get(&SCHEMA.key(&words), &guard).unwrap() {
                Some(record) => {
                    let object: Vec<u64> = record.first().words().collect();
                    assert_eq!(object, stamped(key, small_value(object[2])));
                }
                None => assert!(come_and_go.contains(&key), "{key} was never deleted"),
            }
            if round % 50 == 0 {
                let mut seen = Vec::new();
                let mut cursor = Cursor::START;
                loop {
                    let end = table.scan(cursor, 40, &guard, |record| {
                        let object: Vec<u64> = record.words().collect();
                        let key = small_value(object[1]);
                        assert_eq!(object, stamped(key, small_value(object[2])));
                        seen.push(key);
                    });
                    match end {
                        ScanEnd::More(next) if next.slot().index() < 2 => cursor = next,
                        ScanEnd::More(_) | ScanEnd::Done => break,
                        ScanEnd::Blocked(..) => panic!("all slots are owned"),
                    }
                }
                for key in stay {
                    assert_eq!(seen.iter().filter(|&seen| seen == key).count(), 1);
                }
                let shown = seen.len();
                seen.sort_unstable();
                seen.dedup();
                assert_eq!(shown, seen.len(), "a key was shown twice");
            }
        }
    });
}

#[test]
fn list_inserts_are_one_step_for_other_writers() {
    let table = Table::new(SCHEMA, SlotState::Owned);
    let keys = keys_in(40, 6);
    let won = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..3 {
            let (table, keys, won) = (&table, &keys, &won);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let stamp = 3 * round + thread;
                    // In another order each time: locks must not depend on it.
                    let turn = (round + thread) as usize % keys.len();
                    let order = keys[turn..].iter().chain(&keys[..turn]);
                    let words: Vec<_> = order.map(|&key| stamped(key, stamp)).collect();
                    let objects: Vec<_> =
                        words.iter().map(|words| SCHEMA.object(words).unwrap()).collect();
                    if !table.insert_new_many(&objects).unwrap() {
                        continue;
                    }
                    // Nobody else can have inserted anything as long as one of these is there.
                    won.fetch_add(1, Ordering::Relaxed);
                    for object in &objects {
                        assert!(table.remove_object(object).unwrap());
                    }
                }
            });
        }
    });
    assert!(won.into_inner() > 0);
    assert!(table.is_empty());
}

/// Moves a slot from one table to another while everybody goes on.
fn hand_over(from: &Table, to: &Table, slot: Slot) {
    to.wipe(slot).unwrap();
    from.begin_copy(slot).unwrap();
    let mut cursor = Cursor::at(slot);
    loop {
        let guard = pets_core::epoch::pin();
        let end = from.scan_slot(cursor, 20, &guard, |record| {
            let words: Vec<u64> = record.words().collect();
            to.stage_put(&SCHEMA.object(&words).unwrap()).unwrap();
        });
        match end {
            ScanEnd::Done => break,
            ScanEnd::More(next) => cursor = next,
            ScanEnd::Blocked(..) => panic!("a slot that is being copied serves reads"),
        }
    }
    while from.changes_len(slot) > 4 {
        send(from, to, slot, &from.take_changes(slot).unwrap());
    }
    send(from, to, slot, &from.freeze(slot).unwrap());
    from.grant(slot).unwrap();
    to.adopt(slot).unwrap();
    from.release(slot).unwrap();
}

fn send(from: &Table, to: &Table, slot: Slot, changes: &Changes) {
    if changes.cleared {
        to.wipe(slot).unwrap();
    }
    let guard = pets_core::epoch::pin();
    for changed in changes.keys() {
        match from.peek(&changed.key(), &guard) {
            Some(record) => {
                let words: Vec<u64> = record.first().words().collect();
                to.stage_put(&SCHEMA.object(&words).unwrap()).unwrap();
            }
            None => to.stage_remove(&changed.key()).unwrap(),
        }
    }
}

/// Runs an operation at the table that serves it, as long as that takes.
fn served<R>(tables: &[Table; 2], operation: impl Fn(&Table) -> Result<R, Unserved>) -> R {
    let mut at = 0;
    loop {
        match operation(&tables[at]) {
            Ok(result) => return result,
            Err(Unserved { why: Why::Elsewhere, .. }) => at = 1 - at,
            Err(Unserved { why: Why::Wait, .. }) => thread::yield_now(),
        }
    }
}

#[test]
fn nothing_is_lost_or_missed_while_a_slot_goes_to_and_fro() {
    let tables = [Table::new(SCHEMA, SlotState::Owned), Table::new(SCHEMA, SlotState::Foreign)];
    let slot = Slot::new(0).unwrap();
    let keys = keys_in(1, 60);
    for &key in &keys[..40] {
        put(&tables[0], &[header(Kind::Tuple, 2), small(key), small(0)]);
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (tables, keys, done) = (&tables, &keys, &done);
        scope.spawn(move || {
            while !done.load(Ordering::Acquire) {
                hand_over(&tables[0], &tables[1], slot);
                hand_over(&tables[1], &tables[0], slot);
            }
        });
        scope.spawn(move || {
            // Keys that are deleted stay deleted, and the other way round.
            for round in 0..ROUNDS {
                let key = keys[40 + (round % 20) as usize];
                let words = [header(Kind::Tuple, 2), small(key), small(round)];
                let object = SCHEMA.object(&words).unwrap();
                assert!(served(tables, |table| table.insert_new(&object)), "came back");
                assert!(served(tables, |table| table.remove_object(&object)), "was lost");
            }
        });
        let _ended = Ended(done);
        for round in 0..ROUNDS {
            let words = [small(keys[(round % 40) as usize])];
            let key = SCHEMA.key(&words);
            let sum = served(tables, |table| table.add_to_counter(&key, 2, 1));
            assert_eq!(sum, Counted::Value(small(round / 40 + 1)));
            let there = served(tables, |table| table.contains(&key, &pets_core::epoch::pin()));
            assert!(there, "a key was missed");
        }
    });
}

#[test]
fn clearing_meets_every_write_before_or_after_it() {
    let table = Table::new(SCHEMA, SlotState::Owned);
    let keys = keys_in(64, 200);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (table, keys, done) = (&table, &keys, &done);
        scope.spawn(move || {
            let _ended = Ended(done);
            for _ in 0..ROUNDS / 200 {
                let words: Vec<_> = keys.iter().map(|&key| stamped(key, 4)).collect();
                let objects: Vec<_> =
                    words.iter().map(|words| SCHEMA.object(words).unwrap()).collect();
                // All or nothing for the clearing, too.
                table.insert_many(&objects).unwrap();
            }
        });
        while !done.load(Ordering::Acquire) {
            table.clear_owned().unwrap();
            let guard = pets_core::epoch::pin();
            table.scan(Cursor::START, usize::MAX, &guard, |record| {
                let object: Vec<u64> = record.words().collect();
                assert_eq!(object, stamped(small_value(object[1]), 4));
            });
        }
    });
    let left = table.len();
    assert!(left == 0 || left == keys.len(), "{left} of a list are left");
    table.clear_owned().unwrap();
    assert_eq!(table.len(), 0);
}
