//! The first 64 bits of a key, in the term order.
//!
//! A number for each term, such that a lesser term never has the greater number: where two numbers
//! differ they decide, where they are the same the terms have to be compared. Four bits tell the
//! type, in the order of types. What follows of a number, of a local identifier or of a binary's
//! first bytes is 60 bits; of a tuple its arity, and then what its first element has; of a
//! list what its first element has.
//!
//! Numbers have five of the types' codes, so that every small integer has a prefix of its own, and
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
//! What depends on the name of a node, which may change, has no part in a prefix: references and
//! ports have their type's code only.

use crate::term::atoms;
use crate::term::word::{self, Kind};

const CODE_BITS: u32 = 4;
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
const ARITY_BITS: u32 = 8;
const ARITY_MAX: u64 = (1 << ARITY_BITS) - 1;
const EXPONENT_BITS: u32 = 11;
const EXPONENT_MAX: u64 = (1 << EXPONENT_BITS) - 1;
/// The exponent of the least number above.
const ABOVE_EXPONENT: u64 = 59;

/// The prefix of the term that `words` starts with.
///
/// # Panics
/// When `words` does not start with a whole term.
#[inline]
pub(super) fn of(words: &[u64]) -> u64 {
    let first = words[0];
    if word::is_small(first) { of_small(word::small_value(first)) } else { of_other(words) }
}

#[inline]
fn of_small(value: i64) -> u64 {
    if (-MIDDLE_END..MIDDLE_END).contains(&value) {
        return code(MIDDLE, field(value << FRACTION_BITS));
    }
    code(if value < 0 { WIDE_NEGATIVE } else { WIDE_POSITIVE }, field(value))
}

/// The word of the small integer with this prefix.
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
    bits: u64,
    room: u32,
}

impl Bits {
    fn push(&mut self, value: u64, width: u32) {
        if width <= self.room {
            self.room -= width;
            self.bits |= value << self.room;
        } else {
            self.bits |= value >> (width - self.room);
            self.room = 0;
        }
    }
}

fn of_other(words: &[u64]) -> u64 {
    let mut bits = Bits { bits: 0, room: u64::BITS };
    // Each round takes four bits at least, however deep the term is.
    let mut at = 0;
    while bits.room > 0 {
        match word::split_header(words[at]) {
            Some((Kind::Tuple, arity)) => {
                bits.push(TUPLE, CODE_BITS);
                bits.push(arity.min(ARITY_MAX), ARITY_BITS);
                // Beyond, the arities may differ, which count before the elements.
                if arity == 0 || arity >= ARITY_MAX {
                    break;
                }
                at += 1;
            }
            Some((Kind::List | Kind::ImproperList, _)) => {
                bits.push(LIST, CODE_BITS);
                at += 1;
            }
            _ => {
                let whole = of_leaf(&words[at..]);
                bits.push(whole, u64::BITS);
                break;
            }
        }
    }
    bits.bits
}

/// Of a term that is neither a tuple nor a list.
fn of_leaf(words: &[u64]) -> u64 {
    let first = words[0];
    let Some((kind, count)) = word::split_header(first) else {
        return match first {
            _ if word::is_small(first) => of_small(word::small_value(first)),
            _ if word::is_atom(first) => code(ATOM, text(atoms::text(first))),
            _ if word::is_local_port(first) => code(PORT, 0),
            _ if word::is_local_pid(first) => {
                let parts = atoms::vm().pid_to_parts(first);
                code(PID, pid(parts.serial.into(), parts.id.into()))
            }
            _ => code(NIL, 0),
        };
    };
    match kind {
        Kind::Float => float(f64::from_bits(words[1])),
        Kind::BigPositive => code(ABOVE, magnitude(&words[1..=count as usize])),
        Kind::BigNegative => code(BELOW, FIELD - magnitude(&words[1..=count as usize])),
        Kind::Reference => code(REFERENCE, 0),
        Kind::Fun | Kind::Export => code(FUN, 0),
        Kind::Port => code(PORT, 0),
        Kind::Pid => code(PID, pid(words[4], words[3])),
        Kind::Map => code(MAP, count.min(FIELD)),
        Kind::Binary | Kind::Bitstring if count > 0 => {
            code(BITS, words[1].swap_bytes() >> CODE_BITS)
        }
        Kind::Binary | Kind::Bitstring => code(BITS, 0),
        Kind::Tuple | Kind::List | Kind::ImproperList => unreachable!("`of_other` enters these"),
    }
}

/// The first bytes of a text.
fn text(text: &str) -> u64 {
    let mut bytes = [0; 8];
    let count = text.len().min(8);
    bytes[..count].copy_from_slice(&text.as_bytes()[..count]);
    u64::from_be_bytes(bytes) >> CODE_BITS
}

/// Serial and id, in this order. Ids that a local pid cannot have count as the largest.
fn pid(serial: u64, id: u64) -> u64 {
    const ID_BITS: u32 = 28;
    debug_assert!(serial >> 32 == 0, "serials have 32 bits");
    (serial << ID_BITS | id.min((1 << ID_BITS) - 1)) & FIELD
}

fn float(value: f64) -> u64 {
    let limit = OFFSET as f64;
    let middle = MIDDLE_END as f64;
    let (exponent, fraction) = (value.to_bits() >> 52 & 0x7FF, value.to_bits() << 12);
    // Only beyond the limits is the exponent used, and there it is no less than this.
    let beyond = || above(exponent - 1023, fraction);
    if value >= limit {
        code(ABOVE, beyond())
    } else if value < -limit {
        code(BELOW, FIELD - beyond())
    } else if value >= middle {
        code(WIDE_POSITIVE, field(value.floor() as i64))
    } else if value < -middle {
        code(WIDE_NEGATIVE, field(value.floor() as i64))
    } else {
        // To scale up by a power of two is exact.
        let scaled = value * (1_u64 << FRACTION_BITS) as f64;
        code(MIDDLE, field(scaled.floor() as i64))
    }
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
    use crate::term::word::{SMALL_MAX, SMALL_MIN, small};

    #[test]
    fn a_small_integer_comes_back_from_its_prefix() {
        let edge = 1 << 31;
        let edges = [SMALL_MIN, -edge, 0, edge, SMALL_MAX];
        for value in edges.into_iter().flat_map(|edge| edge - 2..=edge + 2) {
            if (SMALL_MIN..=SMALL_MAX).contains(&value) {
                assert_eq!(small_word(of(&[small(value)])), small(value), "{value}");
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
            vec![word::header(Kind::Map, 1), small(1), small(7)],
            vec![word::NIL],
            vec![word::header(Kind::List, 1), small(1)],
            vec![word::header(Kind::Binary, 0)],
            binary(1),
            binary(0xFF),
        ];
        for pair in rising.windows(2) {
            assert!(of(&pair[0]) < of(&pair[1]), "{pair:x?}");
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let mut deep = vec![word::header(Kind::Tuple, 1); 1_000_000];
        deep.push(word::NIL);
        assert_eq!(of(&deep), of(&deep[..100]));
    }
}
