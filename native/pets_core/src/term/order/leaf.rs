//! The order of types, and of terms that no other term is in.

use std::cmp::Ordering;

use crate::term::atoms;
use crate::term::walk::Layout;
use crate::term::word::{self, Kind};

/// The place of a term's type in the term order, by the term's first word.
pub(super) fn rank(word: u64) -> u8 {
    match word::split_header(word) {
        None if word::is_small(word) => 0,
        None if word::is_atom(word) => 1,
        None if word::is_local_port(word) => 4,
        None if word::is_local_pid(word) => 5,
        None => 8,
        Some((kind, _)) => match kind {
            Kind::BigPositive | Kind::BigNegative | Kind::Float => 0,
            Kind::Reference => 2,
            Kind::Fun | Kind::Export => 3,
            Kind::Port => 4,
            Kind::Pid => 5,
            Kind::Tuple => 6,
            Kind::Map => 7,
            Kind::List | Kind::ImproperList => 9,
            Kind::Binary | Kind::Bitstring => 10,
        },
    }
}

/// Whether a header is one of a term that has terms in it.
pub(super) fn has_terms(header: Option<(Kind, u64)>) -> bool {
    matches!(
        header,
        Some((Kind::Tuple | Kind::List | Kind::ImproperList | Kind::Map | Kind::Fun, _))
    )
}

/// Payload words after a first word.
pub(super) fn payload_words(header: Option<(Kind, u64)>) -> usize {
    match header.and_then(|(kind, count)| Layout::of(kind, count)) {
        Some(layout) => layout.words,
        None => 0,
    }
}

/// Compares terms of different types, or terms without terms in them. `Equal` for two terms of
/// one type that do have terms in them.
pub(super) fn leaves(x: &[u64], y: &[u64], exact: bool) -> Ordering {
    let (x_rank, y_rank) = (rank(x[0]), rank(y[0]));
    if x_rank != y_rank {
        return x_rank.cmp(&y_rank);
    }
    match x_rank {
        0 => numbers(Number::of(x), Number::of(y), exact),
        1 if x[0] == y[0] => Ordering::Equal,
        1 => atoms::text(x[0]).cmp(atoms::text(y[0])),
        2 => references(x, y),
        3 => exports(x, y),
        4 => ports(x, y),
        5 => pids(x, y),
        10 => bits(x, y),
        _ => Ordering::Equal,
    }
}

enum Number<'a> {
    Small(i64),
    /// Whether it is negative, and its magnitude.
    Big(bool, &'a [u64]),
    Float(f64),
}

impl<'a> Number<'a> {
    fn of(words: &'a [u64]) -> Self {
        match word::split_header(words[0]) {
            Some((Kind::BigPositive, count)) => Number::Big(false, &words[1..=count as usize]),
            Some((Kind::BigNegative, count)) => Number::Big(true, &words[1..=count as usize]),
            Some(_) => Number::Float(f64::from_bits(words[1])),
            None => Number::Small(word::small_value(words[0])),
        }
    }
}

fn numbers(x: Number, y: Number, exact: bool) -> Ordering {
    match (x, y) {
        (Number::Small(x), Number::Small(y)) => x.cmp(&y),
        (Number::Small(_), Number::Big(negative, _)) => sign(negative).reverse(),
        (Number::Big(negative, _), Number::Small(_)) => sign(negative),
        (Number::Big(x_negative, x), Number::Big(y_negative, y)) => {
            match (x_negative, y_negative) {
                (false, false) => magnitudes(x, y),
                (true, true) => magnitudes(y, x),
                (negative, _) => sign(negative),
            }
        }
        (Number::Float(x), Number::Float(y)) if exact => x.total_cmp(&y),
        (Number::Float(x), Number::Float(y)) => order(x, y),
        (_, Number::Float(_)) if exact => Ordering::Less,
        (Number::Float(_), _) if exact => Ordering::Greater,
        (Number::Small(x), Number::Float(y)) => small_and_float(x, y),
        (Number::Float(x), Number::Small(y)) => small_and_float(y, x).reverse(),
        (Number::Big(negative, x), Number::Float(y)) => big_and_float(negative, x, y),
        (Number::Float(x), Number::Big(negative, y)) => big_and_float(negative, y, x).reverse(),
    }
}

/// How a number beyond all others compares with them.
fn sign(negative: bool) -> Ordering {
    if negative { Ordering::Less } else { Ordering::Greater }
}

fn order(x: f64, y: f64) -> Ordering {
    x.partial_cmp(&y).expect("an encoded float is a number")
}

fn magnitudes(x: &[u64], y: &[u64]) -> Ordering {
    x.len().cmp(&y.len()).then_with(|| x.iter().rev().cmp(y.iter().rev()))
}

fn small_and_float(x: i64, y: f64) -> Ordering {
    // Within this every float's whole part is an `i64`, and beyond it there is no small integer.
    let limit = -(word::SMALL_MIN as f64);
    if y >= limit {
        return Ordering::Less;
    }
    if y < -limit {
        return Ordering::Greater;
    }
    let whole = y.trunc();
    x.cmp(&(whole as i64)).then_with(|| order(whole, y))
}

fn big_and_float(negative: bool, x: &[u64], y: f64) -> Ordering {
    if y.abs() < -(word::SMALL_MIN as f64) || (y < 0.0) != negative {
        return sign(negative);
    }
    // The float is whole, and not more than its 53 upper bits differ from zero.
    let bits = y.to_bits();
    let exponent = (bits >> 52 & 0x7FF) as usize - 1023;
    let mantissa = (bits << 11) | 1 << 63;
    let last = x[x.len() - 1];
    let x_exponent = x.len() * 64 - 1 - last.leading_zeros() as usize;
    let magnitude = x_exponent.cmp(&exponent).then_with(|| {
        let shift = last.leading_zeros();
        let (upper, lower) = match x {
            [.., second, last] if shift > 0 => {
                (last << shift | second >> (64 - shift), second << shift)
            }
            [.., second, last] => (*last, *second),
            _ => (last << shift, 0),
        };
        upper.cmp(&mantissa).then_with(|| {
            let more = lower != 0 || x.iter().rev().skip(2).any(|part| *part != 0);
            if more { Ordering::Greater } else { Ordering::Equal }
        })
    });
    if negative { magnitude.reverse() } else { magnitude }
}

/// Name and creation of an identifier's node.
fn node(name: u64, creation: u64) -> (&'static str, u64) {
    if name == word::NIL {
        return this_node();
    }
    (atoms::text(name), creation)
}

fn this_node() -> (&'static str, u64) {
    let node = atoms::vm().node();
    (atoms::text(node.name), node.creation.into())
}

fn references(x: &[u64], y: &[u64]) -> Ordering {
    let nodes = match x[1..3] == y[1..3] {
        true => Ordering::Equal,
        false => node(x[1], x[2]).cmp(&node(y[1], y[2])),
    };
    let ids = |words: &[u64]| -> (usize, [u64; 5]) {
        let count = (words[0] >> 8) as usize - 2;
        let mut ids = [0; 5];
        ids[..count].copy_from_slice(&words[3..3 + count]);
        // The last number counts most.
        ids.reverse();
        (count, ids)
    };
    let ((x_count, x_ids), (y_count, y_ids)) = (ids(x), ids(y));
    nodes.then_with(|| x_ids.cmp(&y_ids)).then_with(|| x_count.cmp(&y_count))
}

/// Compares two functions, of which one at least is of the form `fun M:F/A`.
fn exports(x: &[u64], y: &[u64]) -> Ordering {
    let export = |words: &[u64]| matches!(word::split_header(words[0]), Some((Kind::Export, _)));
    match (export(x), export(y)) {
        (true, true) => {
            let key = |words: &[u64]| (atoms::text(words[1]), atoms::text(words[2]), words[3]);
            key(x).cmp(&key(y))
        }
        (one, other) => one.cmp(&other),
    }
}

/// Compares two local funs but for their free variables.
pub(super) fn funs(x: &[u64], y: &[u64], exact: bool) -> Ordering {
    let (x_free, y_free) = (x[0] >> 8, y[0] >> 8);
    let (x, y) = (&x[1..=word::FUN_FIXED_WORDS], &y[1..=word::FUN_FIXED_WORDS]);
    let modules = match x[0] == y[0] {
        true => Ordering::Equal,
        false => atoms::text(x[0]).cmp(atoms::text(y[0])),
    };
    let numbers = |words: &[u64], free: u64| (words[2], words[5] as u32, free);
    modules.then_with(|| numbers(x, x_free).cmp(&numbers(y, y_free))).then_with(|| {
        // Functions that differ in these only are `==` and not `=:=`.
        let others = |words: &[u64]| (words[1], words[3], words[4], words[5]);
        if exact { others(x).cmp(&others(y)) } else { Ordering::Equal }
    })
}

fn ports(x: &[u64], y: &[u64]) -> Ordering {
    let vm = atoms::vm();
    if word::is_immediate(x[0]) && word::is_immediate(y[0]) {
        return vm.port_to_id(x[0]).cmp(&vm.port_to_id(y[0]));
    }
    let key = |words: &[u64]| match word::is_immediate(words[0]) {
        true => (this_node(), vm.port_to_id(words[0])),
        false => (node(words[1], words[2]), words[3]),
    };
    key(x).cmp(&key(y))
}

fn pids(x: &[u64], y: &[u64]) -> Ordering {
    let numbers = |words: &[u64]| {
        if word::is_local_pid(words[0]) {
            let parts = atoms::vm().pid_to_parts(words[0]);
            (u64::from(parts.serial), u64::from(parts.id))
        } else {
            (words[4], words[3])
        }
    };
    let node = |words: &[u64]| match word::is_immediate(words[0]) {
        true => this_node(),
        false => node(words[1], words[2]),
    };
    numbers(x).cmp(&numbers(y)).then_with(|| {
        if word::is_immediate(x[0]) && word::is_immediate(y[0]) {
            return Ordering::Equal;
        }
        node(x).cmp(&node(y))
    })
}

fn bits(x: &[u64], y: &[u64]) -> Ordering {
    let parts = |words: &'_ [u64]| {
        let header = word::split_header(words[0]);
        let bits = match header {
            Some((Kind::Binary, bytes)) => bytes * 8,
            Some((_, bits)) => bits,
            None => 0,
        };
        (payload_words(header), bits)
    };
    let ((x_words, x_bits), (y_words, y_bits)) = (parts(x), parts(y));
    // What is missing counts as zeroes, and then the shorter one is less.
    let common = x_words.min(y_words);
    for (a, b) in x[1..=common].iter().zip(&y[1..=common]) {
        if a != b {
            return a.swap_bytes().cmp(&b.swap_bytes());
        }
    }
    x_bits.cmp(&y_bits)
}
