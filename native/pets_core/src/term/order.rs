//! Erlang's term order and equalities over encoded terms.
//!
//! * `=:=` is equality of words and needs nothing from here.
//! * [`cmp`] is the order of `<`, in which 1 and 1.0 are equal; [`eq_loose`] is `==`.
//! * [`cmp_exact`] is a cheap total order that only serves to put things into *an* order, as cells
//!   in a table. It goes by words, and with them by this process.
//! * [`cmp_keys`] is the order of a map's pairs in an encoding.
//!
//! As in the VM: number < atom < reference < fun < port < pid < tuple < map < `[]` < list <
//! bitstring. Maps compare by size, then by their keys in term order, then by the values in the
//! order of the keys; among keys (and all that is in them) an integer is less than any float and
//! -0.0 is less than 0.0, so that keys which differ are never equal. This is the documented
//! order; the VM (OTP 27) departs from it in two corners, where its answer depends on the order in
//! which atoms were made (maps with atom keys within keys of maps), or on other pairs (1 and 1.0
//! in the values of maps that also have maps with different keys for values).
//!
//! Two terms are walked in step, and what is nested is kept on the heap: depth costs no stack.

use std::cmp::Ordering;

use super::walk;
use super::word::{self, Kind};

mod keys;
mod leaf;
mod maps;

pub use keys::{cmp_keys, is_plain_key};

use leaf::leaves;
use maps::Comparison;

/// Compares two encoded terms, one in each slice, by their words alone: `Equal` for `=:=`.
///
/// Not Erlang's order, and another one in each process.
#[inline]
pub fn cmp_exact(a: &[u64], b: &[u64]) -> Ordering {
    a.cmp(b)
}

/// Erlang's term order of the terms that `a` and `b` start with; integers and floats compare by
/// value, so that `Equal` is `==`.
///
/// # Panics
/// When a slice does not start with a whole term.
#[inline]
pub fn cmp(a: &[u64], b: &[u64]) -> Ordering {
    let (x, y) = (a[0], b[0]);
    if word::is_small(x) && word::is_small(y) {
        // The tags are the same, so that the words compare as the values do.
        return (x as i64).cmp(&(y as i64));
    }
    if leaf::has_terms(word::split_header(x)) && leaf::has_terms(word::split_header(y)) {
        nested(a, b)
    } else {
        leaves(a, b, false)
    }
}

fn nested(a: &[u64], b: &[u64]) -> Ordering {
    let mut walk = Walk::new(a, b, false);
    match walk.run() {
        Step::Done(order) => order,
        Step::Maps(_) => Comparison::default().run(walk),
    }
}

/// Whether the terms that `a` and `b` start with are `==`.
///
/// # Panics
/// When a slice does not start with a whole term.
pub fn eq_loose(a: &[u64], b: &[u64]) -> bool {
    if word::is_immediate(a[0]) && word::is_immediate(b[0]) {
        return a[0] == b[0];
    }
    let mut maps: Vec<EqualMaps> = Vec::new();
    let (mut i, mut j, mut left) = (0, 0, 1);
    loop {
        while left == 0 {
            let Some(map) = maps.last_mut() else { return true };
            if map.pairs_left == 0 {
                left = map.outer_left;
                maps.pop();
                continue;
            }
            map.pairs_left -= 1;
            let (key_end, other_end) = (walk::skip(a, i), walk::skip(b, j));
            if a[i..key_end] != b[j..other_end] {
                return false;
            }
            (i, j) = (key_end, other_end);
            left = 1;
        }
        left -= 1;
        let (x, y) = (a[i], b[j]);
        let header = word::split_header(x);
        if x == y {
            match header {
                None => {}
                Some((Kind::Tuple | Kind::List, count)) => left += count as usize,
                Some((Kind::ImproperList, count)) => left += count as usize + 1,
                Some((Kind::Map, count)) => {
                    maps.push(EqualMaps { pairs_left: count, outer_left: left });
                    left = 0;
                }
                Some((Kind::Fun, count)) => {
                    if leaf::funs(&a[i..], &b[j..], false).is_ne() {
                        return false;
                    }
                    (i, j) = (i + word::FUN_FIXED_WORDS, j + word::FUN_FIXED_WORDS);
                    left += count as usize;
                }
                Some(_) => {
                    if leaves(&a[i..], &b[j..], false).is_ne() {
                        return false;
                    }
                    let payload = leaf::payload_words(header);
                    (i, j) = (i + payload, j + payload);
                }
            }
        } else {
            let other = word::split_header(y);
            if leaf::has_terms(header) || leaf::has_terms(other) {
                return false;
            }
            if leaves(&a[i..], &b[j..], false).is_ne() {
                return false;
            }
            (i, j) = (i + leaf::payload_words(header), j + leaf::payload_words(other));
        }
        (i, j) = (i + 1, j + 1);
    }
}

/// Two maps with the same number of pairs, as [`eq_loose`] goes through them.
struct EqualMaps {
    pairs_left: u64,
    outer_left: usize,
}

/// Two terms that are walked in step.
#[derive(Clone, Copy)]
struct Walk<'a> {
    x: &'a [u64],
    y: &'a [u64],
    /// The index of the next word in `x`, and in `y`.
    i: usize,
    j: usize,
    /// Terms left to be read. They differ after the start of two lists of different length.
    x_left: usize,
    y_left: usize,
    /// Of the innermost two lists of different shape that were entered: where they part. As they
    /// do differ, what was entered before them and what follows them does not count any more.
    parting: Option<Parting>,
    /// Whether integers are less than floats, as in the keys of maps.
    exact: bool,
}

/// Where two lists of different shape have no more elements in common.
#[derive(Clone, Copy)]
struct Parting {
    /// `x_left` there.
    x_left: usize,
    /// What `x` has there, and `y`.
    x_rest: Rest,
    y_rest: Rest,
}

/// What is left of a list.
#[derive(Clone, Copy)]
enum Rest {
    Elements,
    Tail,
    Nothing,
}

/// How a walk stopped.
enum Step {
    /// A difference was found, or there was none. The walk still knows how much is left.
    Done(Ordering),
    /// It stands before two maps with this number of pairs, at least 1.
    Maps(u64),
}

impl<'a> Walk<'a> {
    fn new(x: &'a [u64], y: &'a [u64], exact: bool) -> Self {
        Walk { x, y, i: 0, j: 0, x_left: 1, y_left: 1, parting: None, exact }
    }

    /// Goes on to the next decision.
    fn run(&mut self) -> Step {
        loop {
            if let Some(parting) = self.parting
                && parting.x_left == self.x_left
            {
                let x_rank = parting.x_rest.rank(self.x, self.i);
                return Step::Done(x_rank.cmp(&parting.y_rest.rank(self.y, self.j)));
            }
            if self.x_left == 0 {
                return Step::Done(Ordering::Equal);
            }
            let (a, b) = (self.x[self.i], self.y[self.j]);
            if word::is_immediate(a) && a == b {
                self.pass(1, 0);
                continue;
            }
            let (x, y) = (word::split_header(a), word::split_header(b));
            let order = match (x, y) {
                (Some((Kind::Tuple, arity)), Some((Kind::Tuple, other))) => {
                    if arity == other {
                        self.pass(1, arity as usize);
                        continue;
                    }
                    arity.cmp(&other)
                }
                (Some((Kind::Map, pairs)), Some((Kind::Map, other))) => {
                    if pairs == other && pairs > 0 {
                        return Step::Maps(pairs);
                    }
                    if pairs == other {
                        self.pass(1, 0);
                        continue;
                    }
                    pairs.cmp(&other)
                }
                (
                    Some((one @ (Kind::List | Kind::ImproperList), length)),
                    Some((other @ (Kind::List | Kind::ImproperList), other_length)),
                ) => {
                    self.enter_lists((one, length as usize), (other, other_length as usize));
                    continue;
                }
                (Some((Kind::Fun, free)), Some((Kind::Fun, _))) => {
                    let order = leaf::funs(&self.x[self.i..], &self.y[self.j..], self.exact);
                    if order.is_eq() {
                        self.pass(1 + word::FUN_FIXED_WORDS, free as usize);
                        continue;
                    }
                    order
                }
                _ => {
                    let order = leaves(&self.x[self.i..], &self.y[self.j..], self.exact);
                    if order.is_eq() {
                        // Of different size for 1 and 1.0.
                        self.i += 1 + leaf::payload_words(x);
                        self.j += 1 + leaf::payload_words(y);
                        self.x_left -= 1;
                        self.y_left -= 1;
                        continue;
                    }
                    order
                }
            };
            return Step::Done(order);
        }
    }

    /// Passes over words that need no more attention, and expects this many terms after them.
    #[inline(always)]
    fn pass(&mut self, words: usize, terms: usize) {
        self.i += words;
        self.j += words;
        self.x_left = self.x_left - 1 + terms;
        self.y_left = self.y_left - 1 + terms;
    }

    fn enter_lists(&mut self, x: (Kind, usize), y: (Kind, usize)) {
        self.pass(1, 0);
        self.x_left += x.1 + usize::from(x.0 == Kind::ImproperList);
        self.y_left += y.1 + usize::from(y.0 == Kind::ImproperList);
        if x != y {
            let common = x.1.min(y.1);
            let rest = |(kind, length): (Kind, usize)| match kind {
                _ if length > common => Rest::Elements,
                Kind::ImproperList => Rest::Tail,
                _ => Rest::Nothing,
            };
            self.parting =
                Some(Parting { x_left: self.x_left - common, x_rest: rest(x), y_rest: rest(y) });
        }
    }
}

impl Rest {
    /// The rank of this rest's type, of which two rests of different shape never have the same.
    fn rank(self, words: &[u64], at: usize) -> u8 {
        match self {
            Rest::Elements => leaf::rank(word::header(Kind::List, 1)),
            Rest::Tail => leaf::rank(words[at]),
            Rest::Nothing => leaf::rank(word::NIL),
        }
    }
}
