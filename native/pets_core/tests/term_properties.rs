//! Properties of encoded terms: their order, hashes, walks and external form.

use std::cmp::Ordering;

use pets_core::term::atoms::test_vm;
use pets_core::term::etf::{self, Limits};
use pets_core::term::walk::Malformed;
use pets_core::term::{hash, order, walk, word};
use proptest::prelude::*;

#[path = "generators/terms.rs"]
mod terms;

use terms::{pair, term};

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_term_comes_back_from_its_external_form(term in term()) {
        let words = term.words();
        prop_assert_eq!(walk::validate(&words), Ok(words.len()));
        prop_assert_eq!(walk::skip(&words, 0), words.len());
        let mut bytes = vec![1, 2, 3];
        etf::encode(&words, &mut bytes).expect("a small term");
        // What follows the term is left alone.
        let length = bytes.len() - 3;
        bytes.extend([97, 98, 99]);
        let mut back = vec![42];
        let read = etf::decode(&bytes[3..], &mut back, &Limits::default());
        prop_assert_eq!(read, Ok(length));
        prop_assert_eq!(&back[1..], &words[..]);
    }

    #[test]
    fn the_order_is_total((a, b, _) in pair(), c in term()) {
        let (a, b, c) = (a.words(), b.words(), c.words());
        let order = order::cmp(&a, &b);
        prop_assert_eq!(order, order::cmp(&b, &a).reverse());
        prop_assert_eq!(order == Ordering::Equal, order::eq_loose(&a, &b));
        prop_assert_eq!(order::eq_loose(&a, &b), order::eq_loose(&b, &a));
        prop_assert!(order::eq_loose(&a, &a));
        if a == b {
            prop_assert_eq!(order, Ordering::Equal);
        }
        let mut three = [&a, &b, &c];
        three.sort_by(|x, y| order::cmp(x, y));
        prop_assert_ne!(order::cmp(three[0], three[2]), Ordering::Greater);
        prop_assert_eq!(
            order::cmp(three[0], three[2]) == Ordering::Equal,
            order::eq_loose(three[0], three[1]) && order::eq_loose(three[1], three[2])
        );
    }

    #[test]
    fn hashes_agree_with_the_equalities((a, b, _) in pair()) {
        let names_nodes = |term: &terms::Term| {
            let text = format!("{term:?}");
            ["Pid(", "Port(", "Reference("].iter().any(|kind| text.contains(kind))
        };
        // What differs in the node of an identifier only has the same hash.
        let tells_apart = !names_nodes(&a);
        let (a, b) = (a.words(), b.words());
        prop_assert_ne!(hash::hash_exact(&a), 0);
        prop_assert_ne!(hash::hash_loose(&a), 0);
        let exact = hash::hash_exact(&a) == hash::hash_exact(&b);
        let loose = hash::hash_loose(&a) == hash::hash_loose(&b);
        prop_assert!(exact || a != b);
        prop_assert!(loose || !order::eq_loose(&a, &b));
        if tells_apart {
            prop_assert_eq!(a == b, exact);
            prop_assert_eq!(order::eq_loose(&a, &b), loose);
        }
    }

    #[test]
    fn parts_are_found(elements in prop::collection::vec(term(), 0..6)) {
        let tuple = terms::Term::Tuple(elements.clone()).words();
        prop_assert_eq!(walk::arity(&tuple), Some(elements.len()));
        let parts: Vec<Vec<u64>> = walk::Elements::of(&tuple).map(<[u64]>::to_vec).collect();
        let expected: Vec<Vec<u64>> = elements.iter().map(terms::Term::words).collect();
        prop_assert_eq!(&parts, &expected);
        for (n, element) in expected.iter().enumerate() {
            let range = walk::element(&tuple, n + 1).expect("an element");
            prop_assert_eq!(&tuple[range], &element[..]);
        }
        prop_assert_eq!(walk::element(&tuple, 0), None);
        prop_assert_eq!(walk::element(&tuple, elements.len() + 1), None);
    }

    #[test]
    fn damaged_bytes_are_refused_or_read_as_something_whole(
        term in term(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = Vec::new();
        etf::encode(&term.words(), &mut bytes).expect("a small term");
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let limits = Limits { max_words: 10_000, ..Limits::default() };
        for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
            let mut out = vec![7];
            match etf::decode(bytes, &mut out, &limits) {
                Ok(read) => {
                    prop_assert!(read <= bytes.len());
                    prop_assert_eq!(walk::validate(&out[1..]), Ok(out.len() - 1));
                    hash::hash_exact(&out[1..]);
                    hash::hash_loose(&out[1..]);
                    prop_assert_eq!(order::cmp(&out[1..], &out[1..]), Ordering::Equal);
                }
                Err(_) => prop_assert_eq!(&out, &vec![7]),
            }
        }
    }

    #[test]
    fn damaged_words_are_noticed(
        term in term(),
        at in any::<prop::sample::Index>(),
        value in prop_oneof![any::<u64>(), (0u64..256).prop_map(|n| n << 2), 0u64..(1 << 14)],
    ) {
        let mut words = term.words();
        prop_assert_eq!(walk::validate(&words[..words.len() - 1]), Err(Malformed::Truncated));
        let at = at.index(words.len());
        words[at] = value;
        if let Ok(end) = walk::validate(&words) {
            prop_assert_eq!(walk::skip(&words, 0), end);
            prop_assert!(end <= words.len());
        }
    }
}

#[test]
fn keys_of_maps_are_told_apart_exactly() {
    use terms::Term::{Float, Int, Map, Tuple};
    let map = |key: terms::Term, value: terms::Term| Map(vec![(key, value)]).words();
    let (one, one_float) = (Int(1), Float(1.0));
    assert!(order::eq_loose(&map(one.clone(), one.clone()), &map(one.clone(), one_float.clone())));
    assert!(!order::eq_loose(&map(one.clone(), one.clone()), &map(one_float.clone(), one.clone())));
    // Integers before floats, whatever they are worth.
    let (two, one_float) = (map(Int(2), one.clone()), map(one_float, one));
    assert_eq!(order::cmp(&two, &one_float), Ordering::Less);
    let zeroes = |zero| map(Tuple(vec![Float(zero)]), Int(0));
    assert_eq!(order::cmp(&zeroes(-0.0), &zeroes(0.0)), Ordering::Less);
    assert_eq!(order::cmp(&[word::NIL], &[test_vm::atom("a")]), Ordering::Greater);
}
