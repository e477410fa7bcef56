//! What a table says about its memory, against what was really allocated. Alone in its process:
//! the allocator counts for everybody.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pets_core::placement::Slot;
use pets_core::table::{Schema, SlotState, Table};
use pets_core::term::word::{Kind, header, small};

const SCHEMA: Schema = Schema::set(1);

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

struct Counting;

/// What the system's allocator takes on Linux: a word in front, steps of 16 bytes, 32 at least.
fn taken(layout: Layout) -> usize {
    (layout.size() + 8).next_multiple_of(16).max(32)
}

// SAFETY: everything is done by the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(taken(layout), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(taken(layout), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocated() -> usize {
    ALLOCATED.load(Ordering::Relaxed)
}

/// Frees what was retired. Each pin moves the epoch and frees a part.
fn collect() {
    for _ in 0..1_000 {
        pets_core::epoch::pin().flush();
    }
}

fn insert(table: &Table, key: i64, size: usize) {
    let mut words = vec![header(Kind::Tuple, 2), small(key), header(Kind::Binary, 8 * size as u64)];
    words.extend(std::iter::repeat_n(7, size));
    table.insert(&SCHEMA.object(&words).unwrap()).unwrap();
}

/// What the thread may keep of freed blocks for the next objects: 512 of each of the lengths that
/// objects have here, from 3 to 9 words, and the lists of them.
const KEPT: usize = 512 * (42 + 7) * 8 * 2;

fn assert_true(table: &Table, before: usize) {
    collect();
    let (said, real) = (table.memory_bytes() as f64, (allocated() - before) as f64);
    let tolerance = 0.05 * real + KEPT as f64;
    assert!((said - real).abs() <= tolerance, "{said} bytes, but {real} are allocated");
}

#[test]
fn memory_is_told_truly_and_comes_back() {
    collect();
    let before = allocated();
    let table = Arc::new(Table::new(SCHEMA, SlotState::Owned));
    assert_true(&table, before);
    let rows = 400_000;
    for key in 0..rows {
        insert(&table, key, (key % 7) as usize);
    }
    assert_true(&table, before);
    for key in 0..rows {
        insert(&table, key, (key % 5) as usize);
    }
    assert_true(&table, before);
    let full = table.memory_bytes();
    for key in (0..rows).filter(|key| key % 50 != 0) {
        table.remove(&SCHEMA.key(&[small(key)])).unwrap();
    }
    assert_true(&table, before);
    assert!(table.memory_bytes() < full / 5, "arrays shrink");
    for slot in Slot::all() {
        table.freeze(slot).unwrap();
        table.grant(slot).unwrap();
        table.release(slot).unwrap();
    }
    assert_true(&table, before);
    assert_eq!(table.len(), 0);
    table.set_all(SlotState::Owned);
    for key in 0..rows {
        insert(&table, key, 1);
    }
    table.clear_owned().unwrap();
    // A clearing of this size is freed by a thread of its own.
    let empty = size_of::<Table>() as u64 + 4096 * 40;
    assert_eq!(table.memory_bytes(), empty);
    for key in 0..rows {
        insert(&table, key, 1);
    }
    Table::dismantle_in_background(table);
    while allocated() > before + KEPT + 64 * 1024 {
        collect();
        std::thread::yield_now();
    }
}
