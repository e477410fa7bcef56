//! The order of a map's pairs in an encoding.
//!
//! Among *plain* keys, which are small integers, atoms and binaries, it is the order in which the
//! VM itself keeps the keys of a small map since OTP 26: numbers before atoms before binaries,
//! atoms by their index. Such a map is copied in and out pair by pair, with nothing to sort. Keys
//! of other types come between atoms and binaries, by their words: they have to be in one order,
//! and it does not matter in which.

use std::cmp::Ordering;

use super::cmp_exact;
use crate::term::word::{self, Kind};

/// Whether the key that starts with this word is a small integer, an atom or a binary.
#[inline]
pub const fn is_plain_key(first: u64) -> bool {
    word::is_small(first) || word::is_atom(first) || is_binary(first)
}

#[inline]
const fn is_binary(first: u64) -> bool {
    first & 0xFF == word::header(Kind::Binary, 0)
}

/// Compares two keys, one in each slice, by their place in a map: `Equal` for `=:=`.
#[inline]
pub fn cmp_keys(a: &[u64], b: &[u64]) -> Ordering {
    let (x, y) = (a[0], b[0]);
    match (class(x), class(y)) {
        // The tags are the same, so that the words compare as the values do.
        (Class::Small, Class::Small) => (x as i64).cmp(&(y as i64)),
        (Class::Atom, Class::Atom) => x.cmp(&y),
        (Class::Binary, Class::Binary) => binaries(a, b),
        (Class::Other, Class::Other) => cmp_exact(a, b),
        (x, y) => x.cmp(&y),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Small,
    Atom,
    Other,
    Binary,
}

#[inline]
fn class(first: u64) -> Class {
    if word::is_small(first) {
        Class::Small
    } else if word::is_atom(first) {
        Class::Atom
    } else if is_binary(first) {
        Class::Binary
    } else {
        Class::Other
    }
}

/// Byte by byte, and the shorter one first where it is the beginning of the other. Words are padded
/// with zeros, so that only the lengths tell those two apart.
fn binaries(a: &[u64], b: &[u64]) -> Ordering {
    let words = |binary: &[u64]| word::words_for_bytes((binary[0] >> 8) as usize);
    let common = words(a).min(words(b));
    for (x, y) in a[1..=common].iter().zip(&b[1..=common]) {
        if x != y {
            return x.swap_bytes().cmp(&y.swap_bytes());
        }
    }
    a[0].cmp(&b[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::term::walk;

    fn binary(bytes: &[u8]) -> Vec<u64> {
        let mut words = vec![word::header(Kind::Binary, bytes.len() as u64)];
        walk::append_words(bytes, &mut words);
        words
    }

    #[test]
    fn plain_keys_are_in_the_order_of_a_small_map() {
        let mut sorted = vec![
            vec![word::small(word::SMALL_MIN)],
            vec![word::small(-1)],
            vec![word::small(0)],
            vec![word::small(word::SMALL_MAX)],
            vec![word::atom(0)],
            vec![word::atom(1 << 20)],
        ];
        let texts: [&[u8]; 9] =
            [b"", b"\0", b"\0\0", b"a", b"a\0", b"aaaaaaaa", b"aaaaaaaab", b"b", b"\xFF"];
        sorted.extend(texts.map(binary));
        for (i, a) in sorted.iter().enumerate() {
            assert!(is_plain_key(a[0]));
            for (j, b) in sorted.iter().enumerate() {
                assert_eq!(cmp_keys(a, b), i.cmp(&j), "{a:x?} {b:x?}");
            }
        }
    }

    #[test]
    fn other_keys_lie_between_atoms_and_binaries() {
        let float = vec![word::header(Kind::Float, 1), 1.0f64.to_bits()];
        for other in [float, vec![word::NIL], vec![word::header(Kind::Tuple, 0)]] {
            assert!(!is_plain_key(other[0]));
            assert_eq!(cmp_keys(&[word::atom(7)], &other), Ordering::Less);
            assert_eq!(cmp_keys(&other, &binary(b"")), Ordering::Less);
            assert_eq!(cmp_keys(&other, &other), Ordering::Equal);
        }
    }
}
