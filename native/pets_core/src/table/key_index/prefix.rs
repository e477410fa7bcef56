//! The first bits of a key, in the term order.
//!
//! A row of bits for each term, such that a lesser term never has the greater row: where two rows
//! differ they decide, where they are the same the terms have to be compared. Four bits tell the
//! type, in the order of types; what follows depends on it:
//!
//! | type | bits | after that |
//! | --- | --- | --- |
//! | number | 60, see below; 1 where the number is greater than these tell | the next term if the last bit is 0 |
//! | atom | its text, each byte one more than it is; a byte 0 | the next term |
//! | `[]` | | the next term |
//! | tuple | 8 of arity | its elements, if there are not 255 or more |
//! | list | | its first element, and then nothing |
//! | pid | serial and id | nothing |
//! | map | its size | nothing |
//! | bitstring | its bits | nothing |
//! | others | | nothing |
//!
//! Nothing is as zeroes without an end. The next term is the one that follows in a tuple; it may
//! follow only where the bits before it are the same for equal terms alone.
//!
//! Numbers have five of the types' codes, so that every small integer has 64 bits of its own, and
//! floats of everyday size differ from each other, too:
//!
//! | code | numbers | 60 bits |
//! | --- | --- | --- |
//! | 0 | below -2^59 | the complement of those of the magnitude |
//! | 1 | from -2^59, below -2^31 | rounded down |
//! | 2 | from -2^31, below 2^31 | 32 bits before the binary point and 28 after it |
//! | 3 | from 2^31, below 2^59 | rounded down |
//! | 4 | from 2^59 | 11 bits of exponent, 49 of the fraction |
//!
//! What depends on the name of a node, which may change, has no part in this: references and ports
//! have their type's code only.

use std::cmp::Ordering;

use crate::term::atoms;
use crate::term::word::{self, Kind};

const CODE_BITS: usize = 4;
const FIELD_BITS: u32 = 60;
const FIELD: u64 = (1 << FIELD_BITS) - 1;

const BELOW: u64 = 0;
const WIDE_NEGATIVE: u64 = 1;
const MIDDLE: u64 = 2;
const WIDE_POSITIVE: u64 = 3;
const ABOVE: u64 = 4;
const ATOM: u64 = 5;
const REFERENCE: u64 = 6;
const FUN: u64 = 7;
const PORT: u64 = 8;
const PID: u64 = 9;
const TUPLE: u64 = 10;
const MAP: u64 = 11;
const NIL: u64 = 12;
const LIST: u64 = 13;
const BITS: u64 = 14;

/// Bits behind the binary point of a number in the middle.
const FRACTION_BITS: u32 = 28;
/// Where the middle ends.
const MIDDLE_END: i64 = 1 << (FIELD_BITS - FRACTION_BITS - 1);
/// What makes a field of 60 bits with a sign one without.
const OFFSET: i64 = 1 << (FIELD_BITS - 1);

/// Bits that the arity of a tuple has; larger ones count as the largest.
const ARITY_BITS: usize = 8;
const ARITY_MAX: u64 = (1 << ARITY_BITS) - 1;
const EXPONENT_BITS: u32 = 11;
const EXPONENT_MAX: u64 = (1 << EXPONENT_BITS) - 1;
/// The exponent of the least number above.
const ABOVE_EXPONENT: u64 = 59;

/// Words of a prefix.
pub(super) const WORDS: usize = 5;

/// The first 320 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix([u64; WORDS]);

impl Prefix {
    pub(super) const ZERO: Prefix = Prefix([0; WORDS]);

    /// That of the term that `words` starts with.
    ///
    /// # Panics
    /// When `words` does not start with a whole term.
    #[inline]
    pub(super) fn of(words: &[u64]) -> Self {
        let first = words[0];
        if word::is_small(first) {
            return Prefix([of_small(word::small_value(first)), 0, 0, 0, 0]);
        }
        of_any(words)
    }

    /// The 64 bits after so many bytes, at most [`MAX_SKIP`].
    #[inline]
    pub(super) fn after(&self, bytes: usize) -> u64 {
        let (word, shift) = (bytes / 8, bytes % 8 * 8);
        if shift == 0 {
            return self.0[word];
        }
        self.0[word] << shift | self.0[word + 1] >> (64 - shift)
    }

    /// Compares so many bytes of two prefixes.
    #[inline]
    pub(super) fn cmp_first(&self, other: &Self, bytes: usize) -> Ordering {
        let (whole, rest) = (bytes / 8, bytes % 8 * 8);
        self.0[..whole].cmp(&other.0[..whole]).then_with(|| {
            if rest == 0 {
                return Ordering::Equal;
            }
            (self.0[whole] >> (64 - rest)).cmp(&(other.0[whole] >> (64 - rest)))
        })
    }

    /// How many bytes two prefixes have in common, [`MAX_SKIP`] at most.
    pub(super) fn common_with(&self, other: &Self) -> usize {
        let differing = self.0.iter().zip(&other.0).position(|(a, b)| a != b);
        let bytes = differing.map_or(8 * WORDS, |at| {
            8 * at + (self.0[at] ^ other.0[at]).leading_zeros() as usize / 8
        });
        bytes.min(MAX_SKIP)
    }

    /// The first words.
    pub(super) fn words(&self) -> &[u64; WORDS] {
        &self.0
    }

    /// One with these first words.
    pub(super) fn from_words(words: &[u64]) -> Self {
        let mut prefix = [0; WORDS];
        prefix[..words.len()].copy_from_slice(words);
        Prefix(prefix)
    }
}

/// The most bytes after which 64 bits are asked for.
pub(super) const MAX_SKIP: usize = 8 * (WORDS - 1);

#[inline]
fn of_small(value: i64) -> u64 {
    if (-MIDDLE_END..MIDDLE_END).contains(&value) {
        return code(MIDDLE, field(value << FRACTION_BITS));
    }
    code(if value < 0 { WIDE_NEGATIVE } else { WIDE_POSITIVE }, field(value))
}

/// The word of the small integer whose first 64 bits these are.
#[inline]
pub(super) fn small_word(prefix: u64) -> u64 {
    let value = (prefix & FIELD) as i64 - OFFSET;
    word::small(if prefix >> FIELD_BITS == MIDDLE { value >> FRACTION_BITS } else { value })
}

#[inline]
fn code(code: u64, field: u64) -> u64 {
    debug_assert!(field <= FIELD);
    code << FIELD_BITS | field
}

#[inline]
fn field(value: i64) -> u64 {
    (value + OFFSET) as u64
}

/// Bits that are filled from the top; what has no room any more is left out.
struct Bits {
    words: [u64; WORDS],
    used: usize,
}

impl Bits {
    const ALL: usize = 64 * WORDS;

    /// Appends the lowest `width` bits of a number that has no others, 64 at most.
    #[inline]
    fn push(&mut self, value: u64, width: usize) {
        let (word, used) = (self.used / 64, self.used % 64);
        self.used += width;
        if word >= WORDS || width == 0 {
            return;
        }
        let value = value << (64 - width);
        self.words[word] |= value >> used;
        if used > 0 && word + 1 < WORDS {
            self.words[word + 1] |= value << (64 - used);
        }
    }
}

fn of_any(words: &[u64]) -> Prefix {
    let mut bits = Bits { words: [0; WORDS], used: 0 };
    // Terms that may follow. Each takes four bits at least, however deep it is.
    let mut left = 1;
    let mut at = 0;
    while left > 0 && bits.used < Bits::ALL {
        left -= 1;
        match word::split_header(words[at]) {
            Some((Kind::Tuple, arity)) => {
                bits.push(TUPLE << ARITY_BITS | arity.min(ARITY_MAX), CODE_BITS + ARITY_BITS);
                // Beyond, the arities may differ, which count before the elements.
                if arity >= ARITY_MAX {
                    break;
                }
                left += arity as usize;
                at += 1;
            }
            Some((Kind::List | Kind::ImproperList, _)) => {
                bits.push(LIST, CODE_BITS);
                left = 1;
                at += 1;
            }
            Some((Kind::Float, _)) => {
                let (whole, exact) = float(f64::from_bits(words[at + 1]));
                bits.push(whole, 64);
                bits.push((!exact).into(), 1);
                if !exact {
                    break;
                }
                at += 2;
            }
            Some((kind, count)) => {
                push_last(&mut bits, kind, count, &words[at..]);
                break;
            }
            None => {
                if !push_immediate(&mut bits, words[at]) {
                    break;
                }
                at += 1;
            }
        }
    }
    Prefix(bits.words)
}

/// Appends the bits of an immediate; says whether another term may follow.
fn push_immediate(bits: &mut Bits, immediate: u64) -> bool {
    if word::is_small(immediate) {
        bits.push(of_small(word::small_value(immediate)), 64);
        bits.push(0, 1);
        return true;
    }
    if word::is_atom(immediate) {
        bits.push(ATOM, CODE_BITS);
        for &byte in atoms::text(immediate).as_bytes().iter().take(8 * WORDS) {
            // Never 256: no text has the byte 255.
            bits.push(u64::from(byte) + 1, 8);
        }
        bits.push(0, 8);
        return true;
    }
    if word::is_local_port(immediate) {
        bits.push(PORT, CODE_BITS);
        return false;
    }
    if word::is_local_pid(immediate) {
        let parts = atoms::vm().pid_to_parts(immediate);
        bits.push(code(PID, pid(parts.serial.into(), parts.id.into())), 64);
        return false;
    }
    bits.push(NIL, CODE_BITS);
    true
}

/// Appends the bits of a term after which nothing may follow.
fn push_last(bits: &mut Bits, kind: Kind, count: u64, words: &[u64]) {
    match kind {
        Kind::BigPositive | Kind::BigNegative => {
            let magnitude = magnitude(&words[1..=count as usize]);
            bits.push(
                match kind {
                    Kind::BigPositive => code(ABOVE, magnitude),
                    _ => code(BELOW, FIELD - magnitude),
                },
                64,
            );
            bits.push(1, 1);
        }
        Kind::Reference => bits.push(REFERENCE, CODE_BITS),
        Kind::Fun | Kind::Export => bits.push(FUN, CODE_BITS),
        Kind::Port => bits.push(PORT, CODE_BITS),
        Kind::Pid => bits.push(code(PID, pid(words[4], words[3])), 64),
        Kind::Map => bits.push(code(MAP, count.min(FIELD)), 64),
        Kind::Binary | Kind::Bitstring => {
            bits.push(BITS, CODE_BITS);
            let bytes = if kind == Kind::Binary { count } else { count.div_ceil(8) };
            let payload = word::words_for_bytes(bytes as usize).min(WORDS);
            words[1..=payload].iter().for_each(|word| bits.push(word.swap_bytes(), 64));
        }
        Kind::Tuple | Kind::List | Kind::ImproperList | Kind::Float => {
            unreachable!("`of_any` sees to these")
        }
    }
}

/// Serial and id, in this order. Ids that a local pid cannot have count as the largest.
fn pid(serial: u64, id: u64) -> u64 {
    const ID_BITS: u32 = 28;
    debug_assert!(serial >> 32 == 0, "serials have 32 bits");
    (serial << ID_BITS | id.min((1 << ID_BITS) - 1)) & FIELD
}

/// The first 64 bits of a float, and whether they tell it exactly.
fn float(value: f64) -> (u64, bool) {
    let limit = OFFSET as f64;
    let middle = MIDDLE_END as f64;
    let (exponent, fraction) = (value.to_bits() >> 52 & 0x7FF, value.to_bits() << 12);
    // Only beyond the limits is the exponent used, and there it is no less than this.
    let beyond = || above(exponent - 1023, fraction);
    // To scale up by a power of two is exact.
    let (kind, scaled) = if value >= limit {
        return (code(ABOVE, beyond()), false);
    } else if value < -limit {
        return (code(BELOW, FIELD - beyond()), false);
    } else if value >= middle {
        (WIDE_POSITIVE, value)
    } else if value < -middle {
        (WIDE_NEGATIVE, value)
    } else {
        (MIDDLE, value * (1_u64 << FRACTION_BITS) as f64)
    };
    (code(kind, field(scaled.floor() as i64)), scaled.floor() == scaled)
}

/// The field of a big integer's magnitude, least significant word first.
fn magnitude(words: &[u64]) -> u64 {
    let last = words[words.len() - 1];
    let shift = last.leading_zeros();
    let upper = match words {
        [.., second, last] if shift > 0 => last << shift | second >> (64 - shift),
        _ => last << shift,
    };
    above(words.len() as u64 * 64 - 1 - u64::from(shift), upper << 1)
}

/// The field of a number of at least 2^59: its exponent, and its fraction from the top bit.
fn above(exponent: u64, fraction: u64) -> u64 {
    let fraction_bits = FIELD_BITS - EXPONENT_BITS;
    let exponent = exponent - ABOVE_EXPONENT;
    if exponent >= EXPONENT_MAX {
        return EXPONENT_MAX << fraction_bits;
    }
    exponent << fraction_bits | fraction >> (64 - fraction_bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::term::atoms::test_vm;
    use crate::term::word::{SMALL_MAX, SMALL_MIN, small};

    #[test]
    fn a_small_integer_comes_back_from_its_prefix() {
        let edge = 1 << 31;
        let edges = [SMALL_MIN, -edge, 0, edge, SMALL_MAX];
        for value in edges.into_iter().flat_map(|edge| edge - 2..=edge + 2) {
            if (SMALL_MIN..=SMALL_MAX).contains(&value) {
                let first = Prefix::of(&[small(value)]).after(0);
                assert_eq!(small_word(first), small(value), "{value}");
            }
        }
    }

    #[test]
    fn prefixes_rise_strictly_where_terms_are_far_enough_apart() {
        let float = |value: f64| vec![word::header(Kind::Float, 1), value.to_bits()];
        let big = |kind, words: &[u64]| [&[word::header(kind, words.len() as u64)], words].concat();
        let binary = |byte: u8| vec![word::header(Kind::Binary, 1), byte.into()];
        let rising = [
            big(Kind::BigNegative, &[0, 0, 1]),
            float(-1e30),
            big(Kind::BigNegative, &[1 << 63]),
            float(-1e18),
            vec![small(SMALL_MIN)],
            float(-5e9),
            vec![small(-3)],
            float(-2.5),
            vec![small(0)],
            float(0.1),
            float(0.2),
            vec![small(1)],
            float(1.5),
            vec![small(1 << 40)],
            vec![small(SMALL_MAX)],
            float(1e18),
            big(Kind::BigPositive, &[1 << 63]),
            big(Kind::BigPositive, &[3 << 62]),
            float(1e30),
            vec![word::header(Kind::Tuple, 0)],
            vec![word::header(Kind::Tuple, 1), small(7)],
            vec![word::header(Kind::Tuple, 2), small(-1), small(7)],
            vec![word::header(Kind::Tuple, 2), small(1), small(7)],
            vec![word::header(Kind::Tuple, 2), small(1), small(8)],
            [vec![word::header(Kind::Tuple, 2)], float(1.0), vec![small(9)]].concat(),
            [vec![word::header(Kind::Tuple, 2)], float(1.0 + 1e-12), vec![small(0)]].concat(),
            [vec![word::header(Kind::Tuple, 2), small(1 << 40)], binary(1)].concat(),
            vec![word::header(Kind::Tuple, 2), test_vm::atom("a"), small(0)],
            vec![word::header(Kind::Tuple, 2), test_vm::atom("a"), small(1)],
            vec![word::header(Kind::Tuple, 2), test_vm::atom("a\0"), small(0)],
            vec![word::header(Kind::Tuple, 2), test_vm::atom("aa"), small(0)],
            vec![word::header(Kind::Map, 1), small(1), small(7)],
            vec![word::NIL],
            vec![word::header(Kind::List, 1), small(1)],
            vec![word::header(Kind::Binary, 0)],
            binary(1),
            binary(0xFF),
        ];
        for pair in rising.windows(2) {
            let [a, b] = [&pair[0], &pair[1]].map(|words| Prefix::of(words).0);
            assert!(a < b, "{pair:x?}");
        }
    }

    #[test]
    fn what_is_not_told_exactly_lets_nothing_after_it_decide() {
        let float = |value: f64| vec![word::header(Kind::Float, 1), value.to_bits()];
        let tuple = |parts: &[Vec<u64>]| {
            let mut words = vec![word::header(Kind::Tuple, parts.len() as u64)];
            words.extend(parts.concat());
            words
        };
        let list = |values: &[i64]| {
            let mut words = vec![word::header(Kind::List, values.len() as u64)];
            words.extend(values.iter().map(|&value| small(value)));
            words
        };
        let [zero, nine] = [vec![small(0)], vec![small(9)]];
        let pairs = [
            (
                tuple(&[float(1.0 + 1e-12), nine.clone()]),
                tuple(&[float(1.0 + 2e-12), zero.clone()]),
            ),
            (tuple(&[list(&[1]), nine.clone()]), tuple(&[list(&[1, 2]), zero.clone()])),
            (tuple(&vec![nine; 255]), tuple(&vec![zero; 300])),
        ];
        for (less, greater) in pairs {
            assert!(crate::term::order::cmp(&less, &greater).is_lt());
            assert!(Prefix::of(&less).0 <= Prefix::of(&greater).0, "{less:x?}");
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let mut deep = vec![word::header(Kind::Tuple, 1); 1_000_000];
        deep.push(word::NIL);
        assert_eq!(Prefix::of(&deep), Prefix::of(&deep[..100]));
    }
}
