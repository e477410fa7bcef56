//! Threads that work on one ordered index at the same time. Also what a run under an address
//! sanitizer takes.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use pets_core::epoch;
use pets_core::table::key_index::{Cursor, KeyIndex};
use pets_core::term::walk::{append_bytes, append_words};
use pets_core::term::word::{Kind, header, small, small_value};

/// Keys that are numbers in the order of these numbers.
trait Keys: Sync {
    fn words(&self, number: u64) -> Vec<u64>;
    fn number(&self, words: &[u64]) -> u64;
}

struct Integers;

impl Keys for Integers {
    fn words(&self, number: u64) -> Vec<u64> {
        vec![small(number as i64)]
    }

    fn number(&self, words: &[u64]) -> u64 {
        small_value(words[0]) as u64
    }
}

/// With a common beginning, which makes nodes skip it, and blocks of their own.
struct Texts;

impl Keys for Texts {
    fn words(&self, number: u64) -> Vec<u64> {
        let text = format!("a common beginning {number:08}");
        let mut words = vec![header(Kind::Binary, text.len() as u64)];
        append_words(text.as_bytes(), &mut words);
        words
    }

    fn number(&self, words: &[u64]) -> u64 {
        let mut bytes = Vec::new();
        append_bytes(&words[1..], 27, &mut bytes);
        std::str::from_utf8(&bytes[19..]).unwrap().parse().unwrap()
    }
}

/// Some even, some dense: every eighth number is there all the time.
const STEP: u64 = 8;
const NUMBERS: u64 = 24_000;
const ROUNDS: u64 = 24;

/// Sets the flag when the thread ends, also by a panic: nobody waits for it then.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Whether a number comes and goes, by the writer who has those that leave `own` over.
fn comes_and_goes(number: u64, own: u64) -> bool {
    !number.is_multiple_of(STEP) && number % 2 == own
}

fn scattered(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40
}

/// Fills and empties, by different roads.
fn write(index: &KeyIndex, keys: &dyn Keys, own: u64) {
    for round in 0..ROUNDS {
        let mut numbers: Vec<u64> = (0..NUMBERS).filter(|&n| comes_and_goes(n, own)).collect();
        match round % 3 {
            0 => numbers.sort_by_key(|&n| scattered(n)),
            1 => numbers.reverse(),
            _ => {}
        }
        for &number in &numbers {
            assert!(index.insert(&keys.words(number)), "{number} was there");
        }
        match round % 4 {
            0 => {
                let removed = index.remove_where(|words| comes_and_goes(keys.number(words), own));
                assert_eq!(removed, numbers.len());
            }
            1 => numbers.sort_by_key(|&n| scattered(n + round)),
            _ => {}
        }
        for &number in numbers.iter().filter(|_| round % 4 != 0) {
            assert!(index.remove(&keys.words(number)), "{number} was lost");
        }
    }
}

fn check_scan(keys: &dyn Keys, cursor: Cursor<'_, '_>, ascending: bool) {
    let mut shown: Vec<u64> = cursor.map(|key| keys.number(key.words())).collect();
    if !ascending {
        shown.reverse();
    }
    assert!(shown.is_sorted_by(|a, b| a < b), "shown twice or out of order");
    let stayed: Vec<u64> = shown.into_iter().filter(|n| n.is_multiple_of(STEP)).collect();
    assert!(stayed.into_iter().eq((0..NUMBERS).step_by(STEP as usize)), "something was missed");
}

fn read(index: &KeyIndex, keys: &dyn Keys, done: &AtomicBool, seed: u64) {
    let mut round = seed;
    while !done.load(Ordering::Acquire) {
        round += 1;
        let guard = epoch::pin();
        check_scan(keys, index.ascending(Bound::Unbounded, &guard), true);
        check_scan(keys, index.descending(Bound::Unbounded, &guard), false);
        for n in 0..1_000 {
            // Somewhere between two numbers that are there.
            let number = scattered(n * 1_000 + round) % (NUMBERS - STEP);
            let (below, above) = (number / STEP * STEP, number / STEP * STEP + STEP);
            let guard = epoch::pin();
            let words = keys.words(number);
            let found = |key: Option<pets_core::table::key_index::KeyRef<'_>>| {
                keys.number(key.expect("there is always one").words())
            };
            let after = found(index.after(&words, &guard));
            assert!(number < after && after <= above, "{after} after {number}");
            let before = found(index.at_or_before(&words, &guard));
            assert!(below <= before && before <= number, "{before} before {number}");
            let there = keys.words(below);
            assert_eq!(found(index.at_or_after(&there, &guard)), below);
            assert_eq!(found(index.at_or_before(&there, &guard)), below);
        }
    }
}

fn stress(keys: &dyn Keys) {
    let index = KeyIndex::new();
    for number in (0..NUMBERS).step_by(STEP as usize) {
        assert!(index.insert(&keys.words(number)));
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (index, done) = (&index, &done);
        let readers: Vec<_> =
            (0..2).map(|seed| scope.spawn(move || read(index, keys, done, seed))).collect();
        let _ended = Ended(done);
        let other = scope.spawn(move || write(index, keys, 1));
        write(index, keys, 0);
        other.join().unwrap();
        done.store(true, Ordering::Release);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
    let guard = epoch::pin();
    check_scan(keys, index.ascending(Bound::Unbounded, &guard), true);
    assert_eq!(index.len(&guard) as u64, NUMBERS / STEP);
}

#[test]
fn integers_that_stay_are_always_found() {
    stress(&Integers);
}

#[test]
fn texts_that_stay_are_always_found() {
    stress(&Texts);
}

#[test]
fn threads_that_take_turns_on_a_few_keys_lose_nothing() {
    // The tree is empty again and again.
    let index = KeyIndex::new();
    thread::scope(|scope| {
        for own in 0..3 {
            let index = &index;
            scope.spawn(move || {
                for round in 0..30_000 {
                    let words = [small(3 * (round % 5) + own)];
                    assert!(index.insert(&words));
                    let guard = epoch::pin();
                    assert_eq!(index.at_or_after(&words, &guard).unwrap().words(), words);
                    assert!(index.remove(&words));
                }
            });
        }
    });
    assert!(index.is_empty());
}
