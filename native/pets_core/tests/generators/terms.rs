//! Random terms for the tests of `pets_core::term`, chosen so that terms that are equal or nearly
//! so come up often.

// Each test uses its part of this.
#![allow(dead_code)]

use pets_core::term::atoms::{Vm, test_vm};
use pets_core::term::order;
use pets_core::term::word::{self, Kind};
use proptest::prelude::*;

/// A term as a test writes it down.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Term {
    Nil,
    Int(i128),
    Float(f64),
    Atom(String),
    Binary(Vec<u8>),
    /// Bytes, and how many bits of the last one count (1 to 7).
    Bits(Vec<u8>, u8),
    Tuple(Vec<Term>),
    /// Elements and a tail, which may be any term.
    List(Vec<Term>, Box<Term>),
    Map(Vec<(Term, Term)>),
    /// Node (none for this one) and creation, id, serial.
    Pid(Option<(String, u32)>, u32, u32),
    Port(Option<(String, u32)>, u64),
    Reference(Option<(String, u32)>, Vec<u32>),
    /// Module, index, old unique value, free variables.
    Fun(String, u32, u32, Vec<Term>),
    Export(String, String, u8),
}

impl Term {
    /// The encoding of this term.
    pub(crate) fn words(&self) -> Vec<u64> {
        let mut out = Vec::new();
        self.append(&mut out);
        out
    }

    fn append(&self, out: &mut Vec<u64>) {
        let vm = test_vm::install();
        match self {
            Term::Nil => out.push(word::NIL),
            Term::Int(value) => append_int(*value, out),
            Term::Float(value) => out.extend([word::header(Kind::Float, 1), value.to_bits()]),
            Term::Atom(text) => out.push(test_vm::atom(text)),
            Term::Binary(bytes) => {
                out.push(word::header(Kind::Binary, bytes.len() as u64));
                append_bytes(bytes, out);
            }
            Term::Bits(bytes, bits) => {
                let mut bytes = bytes.clone();
                if let Some(last) = bytes.last_mut() {
                    *last &= !(0xFF >> bits);
                }
                let count = (bytes.len() as u64 - 1) * 8 + u64::from(*bits);
                out.push(word::header(Kind::Bitstring, count));
                append_bytes(&bytes, out);
            }
            Term::Tuple(elements) => {
                out.push(word::header(Kind::Tuple, elements.len() as u64));
                elements.iter().for_each(|element| element.append(out));
            }
            Term::List(elements, tail) => {
                let mut elements: Vec<&Term> = elements.iter().collect();
                let mut tail = &**tail;
                while let Term::List(more, next) = tail {
                    elements.extend(more);
                    tail = next;
                }
                if elements.is_empty() {
                    return tail.append(out);
                }
                let kind = if *tail == Term::Nil { Kind::List } else { Kind::ImproperList };
                out.push(word::header(kind, elements.len() as u64));
                elements.iter().for_each(|element| element.append(out));
                if kind == Kind::ImproperList {
                    tail.append(out);
                }
            }
            Term::Map(pairs) => {
                let mut pairs: Vec<_> =
                    pairs.iter().map(|(key, value)| (key.words(), value.words())).collect();
                pairs.sort_by(|a, b| order::cmp_keys(&a.0, &b.0));
                pairs.dedup_by(|a, b| a.0 == b.0);
                out.push(word::header(Kind::Map, pairs.len() as u64));
                pairs.into_iter().for_each(|(key, value)| out.extend(key.into_iter().chain(value)));
            }
            Term::Pid(None, id, serial) => {
                let parts = pets_core::term::atoms::PidParts { id: *id, serial: *serial };
                out.push(vm.pid_from_parts(parts).expect("a local pid within bounds"));
            }
            Term::Pid(Some((node, creation)), id, serial) => {
                let parts = [*creation, *id, *serial].map(u64::from);
                out.extend([word::header(Kind::Pid, 4), test_vm::atom(node)]);
                out.extend(parts);
            }
            Term::Port(None, id) => {
                out.push(vm.port_from_id(*id).expect("a local port within bounds"));
            }
            Term::Port(Some((node, creation)), id) => {
                out.extend([word::header(Kind::Port, 3), test_vm::atom(node)]);
                out.extend([u64::from(*creation), *id]);
            }
            Term::Reference(node, ids) => {
                out.push(word::header(Kind::Reference, 2 + ids.len() as u64));
                match node {
                    None => out.extend([word::NIL, 0]),
                    Some((name, creation)) => {
                        out.extend([test_vm::atom(name), u64::from(*creation)]);
                    }
                }
                out.extend(ids.iter().copied().map(u64::from));
            }
            Term::Fun(module, index, old_uniq, free) => {
                // The rest follows from these, as it does in real code.
                let (arity, old_index) = (u64::from(index % 3), u64::from(*index));
                let high = u64::from(*old_uniq) * 0x9E37_79B9;
                out.extend([word::header(Kind::Fun, free.len() as u64), test_vm::atom(module)]);
                out.extend([arity, u64::from(*index), high, 7]);
                out.push(old_index << 32 | u64::from(*old_uniq));
                free.iter().for_each(|free| free.append(out));
            }
            Term::Export(module, function, arity) => {
                out.extend([word::header(Kind::Export, 3), test_vm::atom(module)]);
                out.extend([test_vm::atom(function), u64::from(*arity)]);
            }
        }
    }

    /// This term with some of its integers written as floats: `==` and not `=:=`, but in the keys
    /// of maps, which stay as they are. `pattern` chooses which.
    pub(crate) fn loosened(&self, pattern: &mut u64) -> Term {
        let mut all = |terms: &[Term]| terms.iter().map(|term| term.loosened(pattern)).collect();
        match self {
            Term::Int(value) => {
                *pattern = pattern.rotate_right(1);
                let float = *value as f64;
                if *pattern & 1 == 1 && float as i128 == *value && value.unsigned_abs() < 1 << 100 {
                    return Term::Float(float);
                }
                self.clone()
            }
            Term::Tuple(elements) => Term::Tuple(all(elements)),
            Term::List(elements, tail) => {
                let elements = all(elements);
                Term::List(elements, Box::new(tail.loosened(pattern)))
            }
            Term::Map(pairs) => Term::Map(
                pairs.iter().map(|(key, value)| (key.clone(), value.loosened(pattern))).collect(),
            ),
            Term::Fun(module, index, old_uniq, free) => {
                Term::Fun(module.clone(), *index, *old_uniq, all(free))
            }
            other => other.clone(),
        }
    }

    /// Whether a map in a key of a map has an atom as a key. The VM compares such maps by the
    /// order in which the atoms were made, against its own documentation and unlike maps that are
    /// in no key.
    pub(crate) fn has_atom_key_in_key(&self, in_key: bool) -> bool {
        match self {
            Term::Map(pairs) => pairs.iter().any(|(key, value)| {
                in_key && matches!(key, Term::Atom(_))
                    || key.has_atom_key_in_key(true)
                    || value.has_atom_key_in_key(in_key)
            }),
            other => {
                let parts = other.parts().unwrap_or_default();
                parts.iter().any(|part| part.has_atom_key_in_key(in_key))
            }
        }
    }

    /// Whether there is a map in a value of a map. If two maps have such values with different
    /// keys, the VM goes on as if within a key: the numbers 1 and 1.0 in later values differ then.
    pub(crate) fn has_map_in_value(&self, in_value: bool) -> bool {
        match self {
            Term::Map(pairs) => {
                in_value
                    || pairs.iter().any(|(key, value)| {
                        key.has_map_in_value(false) || value.has_map_in_value(true)
                    })
            }
            other => {
                let parts = other.parts().unwrap_or_default();
                parts.iter().any(|part| part.has_map_in_value(in_value))
            }
        }
    }

    /// This term with its `at`th leaf (counted round) replaced.
    pub(crate) fn with_leaf(&self, at: usize, leaf: &Term) -> Term {
        let count = self.leaves();
        let mut left = at % count;
        self.replaced(&mut left, leaf)
    }

    fn parts(&self) -> Option<Vec<&Term>> {
        match self {
            Term::Tuple(parts) | Term::Fun(_, _, _, parts) => Some(parts.iter().collect()),
            Term::List(elements, tail) => Some(elements.iter().chain([&**tail]).collect()),
            Term::Map(pairs) => Some(pairs.iter().flat_map(|(k, v)| [k, v]).collect()),
            _ => None,
        }
    }

    fn leaves(&self) -> usize {
        match self.parts() {
            Some(parts) if !parts.is_empty() => parts.iter().map(|part| part.leaves()).sum(),
            _ => 1,
        }
    }

    fn replaced(&self, left: &mut usize, leaf: &Term) -> Term {
        let count = self.leaves();
        if *left >= count {
            *left -= count;
            return self.clone();
        }
        let Some(parts) = self.parts().filter(|parts| !parts.is_empty()) else {
            *left = usize::MAX;
            return leaf.clone();
        };
        let mut parts: Vec<Term> = parts.iter().map(|part| part.replaced(left, leaf)).collect();
        match self {
            Term::Tuple(_) => Term::Tuple(parts),
            Term::Fun(module, index, old_uniq, _) => {
                Term::Fun(module.clone(), *index, *old_uniq, parts)
            }
            Term::List(..) => {
                let tail = parts.pop().unwrap_or(Term::Nil);
                Term::List(parts, Box::new(tail))
            }
            _ => Term::Map(parts.chunks(2).map(|two| (two[0].clone(), two[1].clone())).collect()),
        }
    }
}

fn append_int(value: i128, out: &mut Vec<u64>) {
    if (word::SMALL_MIN.into()..=word::SMALL_MAX.into()).contains(&value) {
        return out.push(word::small(value as i64));
    }
    let magnitude = value.unsigned_abs();
    let words = [magnitude as u64, (magnitude >> 64) as u64];
    let used = if words[1] == 0 { 1 } else { 2 };
    let kind = if value < 0 { Kind::BigNegative } else { Kind::BigPositive };
    out.push(word::header(kind, used as u64));
    out.extend(&words[..used]);
}

fn append_bytes(bytes: &[u8], out: &mut Vec<u64>) {
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        out.push(u64::from_le_bytes(word));
    }
}

fn int() -> impl Strategy<Value = i128> {
    let edges = [53u32, 54, 59, 60, 63, 64, 65, 100, 126];
    prop_oneof![
        6 => -2i128..4,
        2 => any::<i64>().prop_map(i128::from),
        1 => any::<i128>(),
        3 => (prop::sample::select(edges.to_vec()), -2i128..3, any::<bool>()).prop_map(
            |(shift, offset, negative)| {
                let value = (1i128 << shift) + offset;
                if negative { -value } else { value }
            }
        ),
    ]
}

const EDGE_FLOATS: [f64; 10] = [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 2.0, 1.5, 5e-324, f64::MAX];

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![
        3 => prop::sample::select(EDGE_FLOATS.to_vec()),
        3 => int().prop_map(|value| value as f64),
        1 => prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL,
    ]
}

const ATOMS: [&str; 9] = ["a", "b", "ab", "aa", "true", "", "\u{e5}", "\u{1F600}", "z"];

fn atom() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(ATOMS.to_vec())
            .prop_map(str::to_owned),
        1 => "[a-c\u{e0}-\u{e9}]{0,12}",
    ]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => prop::collection::vec(0u8..3, 0..18),
        1 => prop::collection::vec(any::<u8>(), 0..80),
    ]
}

fn node() -> impl Strategy<Value = Option<(String, u32)>> {
    let names = prop::sample::select(vec!["a@h", "b@h", "zz@h"]);
    prop::option::of((names.prop_map(str::to_owned), 1u32..4))
}

/// Terms without terms in them.
pub(crate) fn leaf() -> impl Strategy<Value = Term> {
    prop_oneof![
        4 => int().prop_map(Term::Int),
        3 => float().prop_map(Term::Float),
        3 => atom().prop_map(Term::Atom),
        2 => bytes().prop_map(Term::Binary),
        1 => (bytes(), any::<u8>(), 1u8..8).prop_map(|(mut bytes, last, bits)| {
            bytes.push(last);
            Term::Bits(bytes, bits)
        }),
        1 => Just(Term::Nil),
        1 => (node(), 0u32..3, 0u32..3).prop_map(|(n, id, serial)| Term::Pid(n, id, serial)),
        1 => (node(), 0u64..3).prop_map(|(node, id)| Term::Port(node, id)),
        1 => (node(), prop::collection::vec(1u32..3, 3))
            .prop_map(|(node, ids)| Term::Reference(node, ids)),
        1 => (("[ab]@h", 1u32..3), prop::collection::vec(1u32..3, 5))
            .prop_map(|(node, ids)| Term::Reference(Some(node), ids)),
        1 => (atom(), atom(), 0u8..3).prop_map(|(m, f, a)| Term::Export(m, f, a)),
        1 => ("[ab]", 0u32..3, 0u32..300).prop_map(|(m, i, u)| Term::Fun(m, i, u, Vec::new())),
    ]
}

/// Any term.
pub(crate) fn term() -> impl Strategy<Value = Term> {
    leaf().prop_recursive(4, 24, 5, |inner| {
        let pairs = (inner.clone(), inner.clone());
        let many = (leaf(), prop_oneof![5 => leaf(), 1 => inner.clone()]);
        prop_oneof![
            6 => prop::collection::vec(inner.clone(), 0..6).prop_map(Term::Tuple),
            4 => prop::collection::vec(inner.clone(), 0..6)
                .prop_map(|elements| Term::List(elements, Box::new(Term::Nil))),
            3 => (prop::collection::vec(inner.clone(), 1..4), inner.clone())
                .prop_map(|(elements, tail)| Term::List(elements, Box::new(tail))),
            8 => prop::collection::vec(pairs, 0..5).prop_map(Term::Map),
            // Beyond 32 pairs the VM has another kind of map.
            1 => prop::collection::vec(many, 30..50).prop_map(Term::Map),
            2 => ("[ab]", 0u32..3, 0u32..3, prop::collection::vec(inner, 0..3))
                .prop_map(|(m, i, u, free)| Term::Fun(m, i, u, free)),
        ]
    })
}

/// Two terms, which are unrelated, equal by `==`, or different in one leaf, and whether one may
/// have floats where the other one has integers.
pub(crate) fn pair() -> impl Strategy<Value = (Term, Term, bool)> {
    let nearly = (term(), any::<bool>(), any::<u64>(), any::<usize>(), leaf());
    prop_oneof![
        1 => (term(), term()).prop_map(|(one, other)| (one, other, true)),
        1 => (leaf(), leaf()).prop_map(|(one, other)| (one, other, true)),
        2 => (term(), any::<u64>()).prop_map(|(term, mut pattern)| {
            let other = term.loosened(&mut pattern);
            (term, other, true)
        }),
        3 => nearly.prop_map(|(term, loosen, mut pattern, at, leaf)| {
            let other = if loosen { term.loosened(&mut pattern) } else { term.clone() };
            (term, other.with_leaf(at, &leaf), loosen)
        }),
    ]
}
