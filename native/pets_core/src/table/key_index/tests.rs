//! The shape of the tree: splits, joins and what is left of them.

use std::ops::Bound;

use super::leaf::MAX_KEYS;
use super::*;
use crate::term::word::{self, Kind, small};

fn int(key: i64) -> Vec<u64> {
    vec![small(key)]
}

fn binary(text: &str) -> Vec<u64> {
    let mut words = vec![word::header(Kind::Binary, text.len() as u64)];
    crate::term::walk::append_words(text.as_bytes(), &mut words);
    words
}

/// Numbers below `count` in a scattered order.
fn scattered(count: i64) -> impl Iterator<Item = i64> {
    (0..count).map(move |n| n * 7919 % count)
}

fn keys<'g>(cursor: Cursor<'_, 'g>) -> Vec<Vec<u64>> {
    cursor.map(|key| key.words().to_vec()).collect()
}

/// Checks the index against the keys it must have, in order.
fn assert_has(index: &KeyIndex, expected: &[Vec<u64>]) {
    let guard = epoch::pin();
    assert_eq!(index.len(&guard), expected.len());
    assert_eq!(keys(index.ascending(Bound::Unbounded, &guard)), expected);
    let mut backwards = keys(index.descending(Bound::Unbounded, &guard));
    backwards.reverse();
    assert_eq!(backwards, expected);
    for (at, key) in expected.iter().enumerate() {
        let words = |found: Option<KeyRef<'_>>| found.map(|found| found.words().to_vec());
        assert_eq!(words(index.after(key, &guard)), expected.get(at + 1).cloned());
        let before = at.checked_sub(1).map(|before| expected[before].clone());
        assert_eq!(words(index.before(key, &guard)), before);
        assert_eq!(words(index.at_or_after(key, &guard)).as_ref(), Some(key));
        assert_eq!(words(index.at_or_before(key, &guard)).as_ref(), Some(key));
    }
}

#[test]
fn an_empty_index_has_nothing_and_takes_nothing() {
    let index = KeyIndex::new();
    let guard = epoch::pin();
    assert!(index.first(&guard).is_none() && index.last(&guard).is_none());
    assert!(index.after(&int(1), &guard).is_none() && index.before(&int(1), &guard).is_none());
    assert!(!index.remove(&int(1)));
    assert_eq!((index.len(&guard), index.memory_bytes(&guard)), (0, 0));
    assert!(index.insert(&int(1)) && index.remove(&int(1)));
    assert!(index.is_empty());
    assert_eq!(index.memory_bytes(&guard), 0);
}

#[test]
fn small_integers_come_and_go_through_three_levels() {
    let index = KeyIndex::new();
    let count = 10_007;
    let all: Vec<_> = (0..count).map(int).collect();
    for key in scattered(count) {
        assert!(index.insert(&int(key)));
        assert!(!index.insert(&int(key)));
    }
    assert_has(&index, &all);
    for key in scattered(count).filter(|key| key % 100 != 0) {
        assert!(index.remove(&int(key)));
        assert!(!index.remove(&int(key)));
    }
    let left: Vec<_> = (0..count).filter(|key| key % 100 == 0).map(int).collect();
    assert_has(&index, &left);
    for key in left {
        assert!(index.remove(&key));
    }
    assert!(index.is_empty());
}

#[test]
fn keys_with_one_prefix_are_told_apart() {
    let index = KeyIndex::new();
    let mut all: Vec<_> =
        (0..4999).map(|n| binary(&format!("a common beginning {n:05}"))).collect();
    for n in scattered(4999) {
        assert!(index.insert(&all[n as usize]));
    }
    assert_has(&index, &all);
    let guard = epoch::pin();
    assert_eq!(index.after(&binary("a"), &guard).unwrap().words(), all[0]);
    assert_eq!(index.before(&binary("b"), &guard).unwrap().words(), all[4998]);
    for n in scattered(4999).filter(|n| n % 3 > 0) {
        assert!(index.remove(&all[n as usize]));
    }
    let mut n = 0;
    all.retain(|_| {
        n += 1;
        (n - 1) % 3 == 0
    });
    assert_has(&index, &all);
}

#[test]
fn keys_that_come_in_order_fill_their_leaves() {
    let bytes_per_key = |keys: &mut dyn Iterator<Item = i64>| {
        let index = KeyIndex::new();
        keys.for_each(|key| assert!(index.insert(&int(key))));
        let guard = epoch::pin();
        index.memory_bytes(&guard) as f64 / index.len(&guard) as f64
    };
    assert!(bytes_per_key(&mut (0..100_000)) < 9.0);
    assert!(bytes_per_key(&mut (0..100_000).rev()) < 9.0);
    assert!(bytes_per_key(&mut scattered(100_003)) < 10.0);
}

#[test]
fn integers_and_floats_share_their_places() {
    let float = |value: f64| vec![word::header(Kind::Float, 1), value.to_bits()];
    let index = KeyIndex::new();
    let mut all = Vec::new();
    for n in -300..300 {
        // Leaves that are dense at first, and are not any more later.
        all.push(int(n));
        all.push(float(n as f64 + 0.5));
    }
    for key in all.iter().step_by(2).chain(all.iter().skip(1).step_by(2)) {
        assert!(index.insert(key));
    }
    assert_has(&index, &all);
    assert!(!index.insert(&float(7.0)), "1 and 1.0 are one key");
    assert!(index.remove(&float(7.0)) && index.insert(&float(7.0)));
    assert!(index.remove(&int(7)) && index.insert(&int(7)));
    assert_has(&index, &all);
    for n in -300..300 {
        assert!(index.remove(&float(n as f64 + 0.5)));
    }
    assert_has(&index, &(-300..300).map(int).collect::<Vec<_>>());
}

#[test]
fn a_leaf_that_skipped_something_may_become_dense() {
    // Floats with the same first 64 bits, and integers that share the first of these bytes.
    let float = |n: i64| vec![word::header(Kind::Float, 1), (1e-12 * n as f64).to_bits()];
    let index = KeyIndex::new();
    for n in 1..200 {
        assert!(index.insert(&float(n)) && index.insert(&int(n)));
    }
    let removed = index.remove_where(|words| words.len() > 1);
    assert_eq!(removed, 199);
    assert_has(&index, &(1..200).map(int).collect::<Vec<_>>());
}

#[test]
fn many_keys_are_removed_at_once() {
    for text in [false, true] {
        let key =
            |n: i64| if text { binary(&format!("a common beginning {n:05}")) } else { int(n) };
        let number = |words: &[u64]| match text {
            false => word::small_value(words[0]),
            true => {
                let mut bytes = Vec::new();
                crate::term::walk::append_bytes(&words[1..], 24, &mut bytes);
                std::str::from_utf8(&bytes[19..]).unwrap().parse().unwrap()
            }
        };
        let index = KeyIndex::new();
        let count = 10_007;
        scattered(count).for_each(|n| assert!(index.insert(&key(n))));
        // Whole nodes, some leaves of a node, some keys of a leaf.
        let gone = |n: i64| (3_000..8_000).contains(&n) || n % 5 == 0;
        let left: Vec<_> = (0..count).filter(|&n| !gone(n)).map(key).collect();
        let removed = index.remove_where(|words| gone(number(words)));
        assert_eq!(removed, count as usize - left.len());
        assert_has(&index, &left);
        assert_eq!(index.remove_where(|_| false), 0);
        (0..count).filter(|&n| gone(n)).for_each(|n| assert!(index.insert(&key(n))));
        assert_eq!(index.remove_where(|_| true), count as usize);
        assert!(index.is_empty());
    }
}

#[test]
fn a_cleared_index_serves_again_and_readers_finish_what_they_began() {
    let index = KeyIndex::new();
    let count = 10 * MAX_KEYS as i64;
    (0..count).for_each(|key| assert!(index.insert(&int(key))));
    let guard = epoch::pin();
    let mut cursor = index.ascending(Bound::Unbounded, &guard);
    assert_eq!(cursor.next().unwrap().words(), int(0));
    // SAFETY: nobody writes.
    unsafe { index.clear() };
    assert!(index.is_empty() && index.insert(&int(-1)));
    assert_eq!(keys(cursor), (1..count).map(int).collect::<Vec<_>>());
    assert_has(&index, &[int(-1)]);
}

#[test]
fn a_cursor_shows_nothing_twice_when_a_range_grows_behind_it() {
    let number = |words: &[u64]| word::small_value(words[0]);
    // The keys of a node: full leaves, as they come in order. Then every other key goes, so that
    // leaves have room.
    let node = (MAX_KEYS * inner::MAX_CHILDREN) as i64;
    let count = 3 * node;
    for (direction, from) in [(Direction::Ascending, 0), (Direction::Descending, count - 2)] {
        let index = KeyIndex::new();
        (0..count).for_each(|key| assert!(index.insert(&int(key))));
        assert_eq!(index.remove_where(|words| number(words) % 2 == 1) as i64, count / 2);
        let _guard = epoch::pin();
        // SAFETY: the guard is held as long as the cursor.
        let mut cursor = unsafe { Cursor::new(index.root(), direction, Start::Edge) };
        assert_eq!(cursor.next().unwrap().words(), int(from));
        // The first node on the way goes, and its range to the one after it; there its first key
        // comes again.
        index.remove_where(|words| match direction {
            Direction::Ascending => number(words) < node,
            Direction::Descending => number(words) >= 2 * node,
        });
        assert!(index.insert(&int(from)));
        let mut shown: Vec<i64> = cursor.map(|key| number(key.words())).collect();
        if direction == Direction::Descending {
            shown.reverse();
        }
        assert!(!shown.contains(&from) && shown.is_sorted_by(|a, b| a < b));
    }
}
