//! Random programs on an ordered index of keys, against a `BTreeMap` in Erlang's term order.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Bound;

use pets_core::epoch;
use pets_core::table::key_index::{KeyIndex, KeyRef};
use pets_core::term::order;
use proptest::prelude::*;

#[path = "generators/terms.rs"]
mod terms;

use terms::{Term, leaf, pair, term};

/// A key in the order that the index must have.
#[derive(Clone, Debug)]
struct Ordered(Vec<u64>);

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> Ordering {
        order::cmp(&self.0, &other.0)
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Insert,
    Remove,
    Neighbours,
    Ranges,
    RemoveWhere,
}

fn words(found: Option<KeyRef<'_>>) -> Option<Vec<u64>> {
    found.map(|found| found.words().to_vec())
}

fn next(oracle: &BTreeSet<Ordered>, from: Bound<&Ordered>) -> Option<Vec<u64>> {
    oracle.range((from, Bound::Unbounded)).next().map(|key| key.0.clone())
}

fn previous(oracle: &BTreeSet<Ordered>, to: Bound<&Ordered>) -> Option<Vec<u64>> {
    oracle.range((Bound::Unbounded, to)).next_back().map(|key| key.0.clone())
}

/// Runs a program on keys of a pool.
fn run(pool: &[Vec<u64>], program: &[(Step, prop::sample::Index)]) -> Result<(), TestCaseError> {
    let index = KeyIndex::new();
    let mut oracle = BTreeSet::new();
    for (step, at) in program {
        let key = at.get(pool);
        let ordered = Ordered(key.clone());
        let guard = epoch::pin();
        match step {
            Step::Insert => {
                // A key that is there stays as it is, 1 or 1.0.
                let absent = !oracle.contains(&ordered);
                if absent {
                    oracle.insert(ordered);
                }
                prop_assert_eq!(index.insert(key), absent);
            }
            Step::Remove => prop_assert_eq!(index.remove(key), oracle.remove(&ordered)),
            Step::Neighbours => {
                let (after, before) = (index.after(key, &guard), index.before(key, &guard));
                prop_assert_eq!(words(after), next(&oracle, Bound::Excluded(&ordered)));
                prop_assert_eq!(words(before), previous(&oracle, Bound::Excluded(&ordered)));
                let at_or_after = index.at_or_after(key, &guard);
                prop_assert_eq!(words(at_or_after), next(&oracle, Bound::Included(&ordered)));
                let at_or_before = index.at_or_before(key, &guard);
                prop_assert_eq!(words(at_or_before), previous(&oracle, Bound::Included(&ordered)));
            }
            Step::Ranges => {
                let up = index.ascending(Bound::Included(key), &guard);
                let up: Vec<_> = up.map(|key| key.words().to_vec()).collect();
                let expected: Vec<_> =
                    oracle.range(ordered.clone()..).map(|key| key.0.clone()).collect();
                prop_assert_eq!(up, expected);
                let down = index.descending(Bound::Excluded(key), &guard);
                let down: Vec<_> = down.map(|key| key.words().to_vec()).collect();
                let expected: Vec<_> =
                    oracle.range(..ordered).rev().map(|key| key.0.clone()).collect();
                prop_assert_eq!(down, expected);
            }
            Step::RemoveWhere => {
                let before = oracle.len();
                oracle.retain(|other| *other < ordered || other.0.len() > key.len());
                let removed = index.remove_where(|words| {
                    order::cmp(words, key).is_ge() && words.len() <= key.len()
                });
                prop_assert_eq!(removed, before - oracle.len());
            }
        }
        prop_assert_eq!(index.len(&guard), oracle.len());
    }
    let guard = epoch::pin();
    let all = index.ascending(Bound::Unbounded, &guard).map(|key| key.words().to_vec());
    prop_assert_eq!(
        all.collect::<Vec<_>>(),
        oracle.iter().map(|key| key.0.clone()).collect::<Vec<_>>()
    );
    for key in &oracle {
        prop_assert!(index.remove(&key.0));
    }
    prop_assert_eq!(index.memory_bytes(&guard), 0);
    Ok(())
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        300 => Just(Step::Insert),
        150 => Just(Step::Remove),
        150 => Just(Step::Neighbours),
        10 => Just(Step::Ranges),
        1 => Just(Step::RemoveWhere),
    ]
}

fn program(
    steps: std::ops::Range<usize>,
) -> impl Strategy<Value = Vec<(Step, prop::sample::Index)>> {
    prop::collection::vec((step(), any::<prop::sample::Index>()), steps)
}

/// Keys of one family: what they begin with is the same.
fn family() -> impl Strategy<Value = Vec<Vec<u64>>> {
    let text = prop::collection::vec(any::<u8>(), 0..40);
    let tail = prop_oneof![
        (0i128..300).prop_map(Term::Int),
        (0i128..300).prop_map(|n| Term::Float(n as f64 / 4.0)),
        leaf(),
        term(),
    ];
    let tails = prop::collection::vec(tail, 1..300);
    prop_oneof![
        // {text, Tail}, and {text, Tail, Tail}.
        (text.clone(), tails.clone()).prop_map(|(text, tails)| {
            let tuple = |(n, tail): (usize, Term)| {
                let mut elements = vec![Term::Binary(text.clone()), tail.clone()];
                elements.extend((n % 3 == 0).then_some(tail));
                Term::Tuple(elements).words()
            };
            tails.into_iter().enumerate().map(tuple).collect()
        }),
        // {{atom, 7}, Tail}
        ("[a-c]{0,30}", tails.clone()).prop_map(|(atom, tails)| {
            let first = Term::Tuple(vec![Term::Atom(atom), Term::Int(7)]);
            let tuple = |tail| Term::Tuple(vec![first.clone(), tail]).words();
            tails.into_iter().map(tuple).collect()
        }),
        // [Tail, Tail | nothing]
        tails.prop_map(|tails| {
            let list =
                |tail: Term| Term::List(vec![tail.clone(), tail], Box::new(Term::Nil)).words();
            tails.into_iter().map(list).collect()
        }),
        (text, prop::collection::vec(prop::collection::vec(0u8..3, 0..6), 1..300)).prop_map(
            |(text, ends)| {
                let binary = |end: Vec<u8>| Term::Binary([text.clone(), end].concat()).words();
                ends.into_iter().map(binary).collect()
            }
        ),
    ]
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(20_000))]

    #[test]
    fn two_keys_are_in_the_order_of_terms((a, b, _) in pair()) {
        let (a, b) = (a.words(), b.words());
        let index = KeyIndex::new();
        prop_assert!(index.insert(&a));
        let guard = epoch::pin();
        let order = order::cmp(&a, &b);
        prop_assert_eq!(index.at_or_after(&b, &guard).is_some(), order.is_ge());
        prop_assert_eq!(index.at_or_before(&b, &guard).is_some(), order.is_le());
        prop_assert_eq!(index.insert(&b), order.is_ne());
        let first = if order.is_le() { a } else { b };
        prop_assert_eq!(words(index.first(&guard)), Some(first));
    }
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn programs_on_any_keys(
        pool in prop::collection::vec(term(), 1..400),
        program in program(1..1500),
    ) {
        let pool: Vec<_> = pool.iter().map(Term::words).collect();
        run(&pool, &program)?;
    }

    #[test]
    fn programs_on_families_of_keys(
        families in prop::collection::vec(family(), 1..4),
        program in program(1..2000),
    ) {
        run(&families.concat(), &program)?;
    }

    #[test]
    fn programs_on_integers_and_floats(
        keys in prop::collection::vec((-2000i128..2000, any::<bool>()), 1..1500),
        program in program(1..4000),
    ) {
        let key = |(n, float)| match float {
            true => Term::Float(n as f64 / 2.0).words(),
            false => Term::Int(n).words(),
        };
        run(&keys.into_iter().map(key).collect::<Vec<_>>(), &program)?;
    }
}
