//! What an ordered index says about its memory, against what was really allocated. Alone in its
//! process: the allocator counts for everybody.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use pets_core::epoch;
use pets_core::table::key_index::KeyIndex;
use pets_core::term::walk::append_words;
use pets_core::term::word::{Kind, header, small};

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: everything is done by the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocated() -> usize {
    ALLOCATED.load(Ordering::Relaxed)
}

/// Runs something on a thread of its own, which keeps nothing when it has ended, and frees what was
/// retired.
fn apart(work: impl FnOnce() + Send) {
    thread::scope(|scope| {
        scope.spawn(work).join().unwrap();
        let collect = || (0..1_000).for_each(|_| epoch::pin().flush());
        scope.spawn(collect).join().unwrap();
    });
}

/// What the reclamation keeps for itself: lists that have grown.
const SLACK: usize = 16 * 1024;

fn assert_true(index: &KeyIndex, before: usize) {
    let said = index.memory_bytes(&epoch::pin()) as f64;
    let real = allocated() as f64 - before as f64;
    assert!(
        (said - real).abs() <= 0.01 * real + SLACK as f64,
        "{said} bytes, but {real} are allocated"
    );
}

fn text(number: u64) -> Vec<u64> {
    let text = format!("a common beginning {number}");
    let mut words = vec![header(Kind::Binary, text.len() as u64)];
    append_words(text.as_bytes(), &mut words);
    words
}

/// Numbers in a scattered order.
fn scattered(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(move |n| n * 7919 % count)
}

fn come_and_go(make: fn(u64) -> Vec<u64>, count: u64, most_for_each: f64) {
    apart(|| {});
    let before = allocated();
    let index = KeyIndex::new();
    assert_true(&index, before);
    apart(|| scattered(count).for_each(|n| assert!(index.insert(&make(n)))));
    assert_true(&index, before);
    let full = index.memory_bytes(&epoch::pin());
    let for_each = full as f64 / count as f64;
    assert!(for_each < most_for_each, "{for_each} bytes for each key");
    apart(|| scattered(count).filter(|n| n % 50 > 0).for_each(|n| assert!(index.remove(&make(n)))));
    assert_true(&index, before);
    assert!(index.memory_bytes(&epoch::pin()) < full / 25, "leaves are joined");
    apart(|| scattered(count).filter(|n| n % 50 > 0).for_each(|n| assert!(index.insert(&make(n)))));
    assert_true(&index, before);
    let mut n = 0;
    let third = |_: &[u64]| {
        n += 1;
        n % 3 == 0
    };
    apart(|| assert_eq!(index.remove_where(third) as u64, count / 3));
    assert_true(&index, before);
    // SAFETY: nobody writes.
    apart(|| unsafe { index.clear() });
    assert_eq!(index.memory_bytes(&epoch::pin()), 0);
    // A clearing of this size is freed by a thread of its own.
    while allocated() > before + SLACK {
        apart(|| {});
    }
    apart(|| scattered(count).for_each(|n| assert!(index.insert(&make(n)))));
    apart(|| drop(index));
    assert!(allocated() <= before + SLACK, "everything is given back");
}

#[test]
fn memory_is_told_truly_and_comes_back() {
    come_and_go(|n| vec![small(n as i64 * 1000)], 400_009, 10.0);
    come_and_go(text, 200_003, 64.0);
}
