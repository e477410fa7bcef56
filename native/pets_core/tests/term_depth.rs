//! Nesting 100,000 deep on a stack of 256 KiB, and counts that no bytes could fill.

use std::cmp::Ordering;
use std::thread;

use pets_core::term::etf::{self, DecodeError, Limits};
use pets_core::term::word::{self, Kind, NIL, small};
use pets_core::term::{atoms, hash, order, walk};

const DEPTH: usize = 100_000;

fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    atoms::test_vm::install();
    let thread = thread::Builder::new().stack_size(256 * 1024).spawn(test).expect("a thread");
    thread.join().expect("no overflow and no failed assertion");
}

/// `before`, as often as the depth says, then the core, then as many times `after`.
fn nested(before: &[u64], core: u64, after: &[u64]) -> Vec<u64> {
    let mut words = before.repeat(DEPTH);
    words.push(core);
    words.extend(after.repeat(DEPTH));
    words
}

fn everything(before: Vec<u64>, after: Vec<u64>) {
    on_a_small_stack(move || {
        let one = nested(&before, small(1), &after);
        let two = nested(&before, small(2), &after);
        assert_eq!(walk::skip(&one, 0), one.len());
        assert_eq!(walk::validate(&one), Ok(one.len()));
        assert_ne!(hash::hash_exact(&one), hash::hash_exact(&two));
        assert_ne!(hash::hash_loose(&one), hash::hash_loose(&two));
        assert_eq!(order::cmp(&one, &two), Ordering::Less);
        assert_eq!(order::cmp(&two, &one), Ordering::Greater);
        assert_eq!(order::cmp(&one, &one), Ordering::Equal);
        assert!(order::eq_loose(&one, &one));
        assert!(!order::eq_loose(&one, &two));
        assert_eq!(order::cmp_exact(&one, &two), Ordering::Less);
        let mut bytes = Vec::new();
        etf::encode(&one, &mut bytes).expect("within the format's bounds");
        let mut back = Vec::new();
        assert_eq!(etf::decode(&bytes, &mut back, &Limits::default()), Ok(bytes.len()));
        assert!(back == one);
        for cut in [1, bytes.len() / 2, bytes.len() - 1] {
            let mut none = Vec::new();
            let cut = etf::decode(&bytes[..cut], &mut none, &Limits::default());
            assert_eq!(cut, Err(DecodeError::Truncated));
        }
    });
}

#[test]
fn deep_tuples() {
    everything(vec![word::header(Kind::Tuple, 2), small(0)], vec![]);
    everything(vec![word::header(Kind::Tuple, 2)], vec![NIL]);
}

#[test]
fn deep_lists() {
    everything(vec![word::header(Kind::List, 1)], vec![]);
    everything(vec![word::header(Kind::List, 2), small(0)], vec![]);
    everything(vec![word::header(Kind::ImproperList, 1)], vec![small(7)]);
}

#[test]
fn deep_map_values() {
    everything(vec![word::header(Kind::Map, 1), small(0)], vec![]);
    everything(vec![word::header(Kind::Map, 2), small(0)], vec![small(1), small(2)]);
}

#[test]
fn deep_map_keys() {
    everything(vec![word::header(Kind::Map, 1)], vec![small(0)]);
}

#[test]
fn deep_funs() {
    let mut fun = vec![word::header(Kind::Fun, 1), atoms::test_vm::atom("m")];
    fun.extend([0, 1, 2, 3, 4 << 32 | 5]);
    everything(fun, vec![]);
}

#[test]
fn deep_maps_whose_pairs_come_in_another_order() {
    on_a_small_stack(|| {
        let mut bytes = [116, 0, 0, 0, 2, 97, 9].repeat(DEPTH);
        bytes.extend([97, 1]);
        bytes.extend([97, 8, 97, 0].repeat(DEPTH));
        let mut words = Vec::new();
        assert_eq!(etf::decode(&bytes, &mut words, &Limits::default()), Ok(bytes.len()));
        assert_eq!(walk::validate(&words), Ok(words.len()));
        let pairs = [word::header(Kind::Map, 2), small(8), small(0), small(9)];
        assert!(words[..4 * DEPTH] == pairs.repeat(DEPTH));
        assert_eq!(words[4 * DEPTH..], [small(1)]);

        // In keys each level has to be settled before the next, and that is bounded.
        let mut bytes = [116, 0, 0, 0, 2].repeat(DEPTH);
        bytes.extend([97, 1]);
        bytes.extend([97, 0, 97, 8, 97, 0].repeat(DEPTH));
        let mut words = Vec::new();
        let refused = etf::decode(&bytes, &mut words, &Limits::default());
        assert_eq!(refused, Err(DecodeError::KeysTooDeep));
    });
}

#[test]
fn counts_beyond_the_bytes_are_refused_before_anything_is_reserved() {
    let headers: [&[u8]; 7] = [
        &[105, 255, 255, 255, 255, 97, 1],
        &[108, 255, 255, 255, 255, 97, 1],
        &[116, 127, 255, 255, 255, 97, 1],
        &[109, 255, 255, 255, 255, 1],
        &[77, 255, 255, 255, 255, 1, 1],
        &[111, 255, 255, 255, 255, 0, 1],
        &[107, 255, 255, 1],
    ];
    for bytes in headers {
        let mut out = Vec::new();
        let refused = etf::decode(bytes, &mut out, &Limits::default());
        assert_eq!(refused, Err(DecodeError::Truncated), "{bytes:?}");
        assert!(out.capacity() < 1024);
    }
}

#[test]
fn limits_are_kept() {
    atoms::test_vm::install();
    let list = [&[108, 0, 0, 0, 100][..], &[106; 101]].concat();
    let mut out = Vec::new();
    let limits = |max_words| Limits { max_words, ..Limits::default() };
    assert_eq!(etf::decode(&list, &mut out, &limits(100)), Err(DecodeError::TooLarge));
    assert!(out.is_empty());
    assert_eq!(etf::decode(&list, &mut out, &limits(101)), Ok(list.len()));

    let none = Limits { atoms: atoms::AtomBudget::new(0), ..Limits::default() };
    let known = atoms::test_vm::atom("known before");
    let mut named = vec![119, 12];
    named.extend(b"known before");
    out.clear();
    assert_eq!(etf::decode(&named, &mut out, &none), Ok(14));
    assert_eq!(out, [known]);
    named[2] = b'u';
    let refused = etf::decode(&named, &mut out, &none);
    assert_eq!(refused, Err(DecodeError::Atom(atoms::InternError::Exhausted)));
    assert_eq!(etf::decode(&named, &mut out, &Limits::default()), Ok(14));
    // Once it is there it is as good as any other.
    assert_eq!(etf::decode(&named, &mut out, &none), Ok(14));
    assert!(atoms::AtomBudget::used() >= 1);
}
