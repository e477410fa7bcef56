//! Comparing terms with maps in them.
//!
//! Pairs are stored in an order of this process, and the term order of maps goes by their keys'
//! term order. So two maps are walked pair by pair to their end. Equal maps come out as equal; else
//! the result is that of the least key, in term order, among the keys that only one map has or,
//! when both have the same keys, among those with different values. To find it, keys are
//! compared in their turn, and there may be maps in keys: what waits for a result waits on a stack.
//! No word of a value is walked more than once, however deep it is nested.

use std::cmp::Ordering;
use std::ops::Range;

use super::{Step, Walk, cmp_keys};
use crate::term::{walk, word};

/// A comparison and all that it is waiting for.
#[derive(Default)]
pub(super) struct Comparison<'a> {
    pending: Vec<Pending<'a>>,
}

enum Pending<'a> {
    /// The keys of two maps with one pair each are being compared; the walk that met the maps.
    OnlyKey(Walk<'a>),
    /// The values of a pair are being compared.
    Value(Pairs<'a>),
    /// Two keys are being compared.
    Least(Least<'a>),
}

/// Two maps of one size, and what is known of their pairs so far.
struct Pairs<'a> {
    /// The walk that met the maps, the maps counted as read.
    resume: Walk<'a>,
    pairs_left: u64,
    /// Where the keys passed are, in `x` and in `y`.
    keys: Vec<(Range<usize>, Range<usize>)>,
    /// Whether they are the same in both.
    same_keys: bool,
    /// The pairs whose values differ, by the index of their keys, and how.
    differing: Vec<(usize, Ordering)>,
}

/// The search for the least of some keys.
struct Least<'a> {
    /// The walk that met the maps, at the end of the maps.
    resume: Walk<'a>,
    /// Each key, and what the comparison of the maps comes to if it is the least.
    candidates: Vec<(&'a [u64], Ordering)>,
    best: usize,
    next: usize,
}

/// What to do next.
enum Next<'a> {
    Walk(Walk<'a>),
    Decided(Walk<'a>, Ordering),
}

impl<'a> Comparison<'a> {
    /// Compares the terms that a walk is in front of.
    pub(super) fn run(mut self, walk: Walk<'a>) -> Ordering {
        let mut next = Next::Walk(walk);
        loop {
            next = match next {
                Next::Walk(mut walk) => match walk.run() {
                    Step::Done(order) => Next::Decided(walk, order),
                    Step::Maps(pairs) => self.enter_maps(walk, pairs),
                },
                Next::Decided(walk, order) => match self.pending.pop() {
                    None => return order,
                    Some(Pending::OnlyKey(mut resume)) => {
                        resume.i = walk::skip_terms(walk.x, walk.i, walk.x_left);
                        resume.j = walk::skip_terms(walk.y, walk.j, walk.y_left);
                        match order {
                            Ordering::Equal => Next::Walk(resume),
                            _ => Next::Decided(resume, order),
                        }
                    }
                    Some(Pending::Value(mut pairs)) => {
                        if order.is_ne() {
                            pairs.differing.push((pairs.keys.len() - 1, order));
                        }
                        let i = walk::skip_terms(walk.x, walk.i, walk.x_left);
                        let j = walk::skip_terms(walk.y, walk.j, walk.y_left);
                        self.next_pair(pairs, i, j)
                    }
                    Some(Pending::Least(mut least)) => {
                        if order.is_lt() {
                            least.best = least.next;
                        }
                        least.next += 1;
                        self.next_candidate(least)
                    }
                },
            };
        }
    }

    fn enter_maps(&mut self, walk: Walk<'a>, pairs: u64) -> Next<'a> {
        if pairs == 1 {
            // Nothing to find: the key comes first, and the value is one more term to read.
            let (i, j) = (walk.i + 1, walk.j + 1);
            self.pending.push(Pending::OnlyKey(walk));
            return Next::Walk(Walk {
                i,
                j,
                x_left: 1,
                y_left: 1,
                parting: None,
                exact: true,
                ..walk
            });
        }
        let mut resume = walk;
        resume.x_left -= 1;
        resume.y_left -= 1;
        let pairs = Pairs {
            resume,
            pairs_left: pairs,
            keys: Vec::new(),
            same_keys: true,
            differing: Vec::new(),
        };
        self.next_pair(pairs, walk.i + 1, walk.j + 1)
    }

    /// Goes on with the pairs that start at `i` and `j`.
    fn next_pair(&mut self, mut pairs: Pairs<'a>, mut i: usize, mut j: usize) -> Next<'a> {
        let (x, y) = (pairs.resume.x, pairs.resume.y);
        while pairs.pairs_left > 0 {
            pairs.pairs_left -= 1;
            let (x_key, y_key) = (i..walk::skip(x, i), j..walk::skip(y, j));
            (i, j) = (x_key.end, y_key.end);
            pairs.same_keys = pairs.same_keys && x[x_key.clone()] == y[y_key.clone()];
            pairs.keys.push((x_key, y_key));
            if pairs.same_keys && word::is_immediate(x[i]) && x[i] == y[j] {
                (i, j) = (i + 1, j + 1);
                continue;
            }
            if pairs.same_keys {
                let exact = pairs.resume.exact;
                let value = Walk { i, j, x_left: 1, y_left: 1, parting: None, exact, x, y };
                self.pending.push(Pending::Value(pairs));
                return Next::Walk(value);
            }
            (i, j) = (walk::skip(x, i), walk::skip(y, j));
        }
        let candidates = match pairs.same_keys {
            true => {
                let key = |pair: usize| &x[pairs.keys[pair].0.clone()];
                pairs.differing.iter().map(|(pair, order)| (key(*pair), *order)).collect()
            }
            false => unshared(x, y, &pairs.keys),
        };
        let resume = Walk { i, j, ..pairs.resume };
        if candidates.is_empty() {
            return Next::Walk(resume);
        }
        self.next_candidate(Least { resume, candidates, best: 0, next: 1 })
    }

    fn next_candidate(&mut self, least: Least<'a>) -> Next<'a> {
        let (best, order) = least.candidates[least.best];
        match least.candidates.get(least.next) {
            None => Next::Decided(least.resume, order),
            Some((key, _)) => {
                let walk = Walk::new(key, best, true);
                self.pending.push(Pending::Least(least));
                Next::Walk(walk)
            }
        }
    }
}

/// The keys that only one of two maps has. Where the least one is, the other map has a greater
/// key in its place, so that the map with it is the lesser one.
fn unshared<'a>(
    x: &'a [u64],
    y: &'a [u64],
    keys: &[(Range<usize>, Range<usize>)],
) -> Vec<(&'a [u64], Ordering)> {
    let mut only = Vec::new();
    let mut ours = keys.iter().map(|(key, _)| &x[key.clone()]).peekable();
    let mut theirs = keys.iter().map(|(_, key)| &y[key.clone()]).peekable();
    loop {
        let side = match (ours.peek(), theirs.peek()) {
            (None, None) => return only,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(one), Some(other)) => cmp_keys(one, other),
        };
        if side.is_le()
            && let Some(key) = ours.next()
            && side.is_ne()
        {
            only.push((key, Ordering::Less));
        }
        if side.is_ge()
            && let Some(key) = theirs.next()
            && side.is_ne()
        {
            only.push((key, Ordering::Greater));
        }
    }
}
