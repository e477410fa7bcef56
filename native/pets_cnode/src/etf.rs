//! Just enough of the external term format to find the parts of a term, without trust.
//!
//! Nothing is decoded: terms stay bytes. The walk is a loop over a counter, so that neither
//! depth nor announced counts cost stack or memory.

use std::ops::Range;

pub(crate) const VERSION: u8 = 131;

const SMALL_INTEGER: u8 = 97;
const INTEGER: u8 = 98;
const ATOM: u8 = 100;
const SMALL_TUPLE: u8 = 104;
const LARGE_TUPLE: u8 = 105;
const SMALL_ATOM: u8 = 115;
const ATOM_UTF8: u8 = 118;
const SMALL_ATOM_UTF8: u8 = 119;

pub(crate) const NEW_PID: u8 = 88;
pub(crate) const PID: u8 = 103;
pub(crate) const REFERENCE: u8 = 101;
pub(crate) const NEW_REFERENCE: u8 = 114;
pub(crate) const NEWER_REFERENCE: u8 = 90;

fn u8_at(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at).map(|&byte| byte as usize)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<usize> {
    let two = bytes.get(at..at.checked_add(2)?)?;
    Some(usize::from(u16::from_be_bytes(two.try_into().ok()?)))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(four.try_into().ok()?) as usize)
}

/// Index after the term that starts at `at`; `None` when it is cut off, is not well-formed as to
/// sizes and counts, or needs a context that we do not have (atom caches, compressed terms).
pub(crate) fn skip(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut terms_left: usize = 1;
    while terms_left > 0 {
        // Each term takes a byte at least: a count beyond that is a lie, and is not walked.
        if terms_left > bytes.len().checked_sub(at)? {
            return None;
        }
        terms_left -= 1;
        let tag = bytes[at];
        let body = at + 1;
        let (fixed, children) = match tag {
            SMALL_INTEGER => (1, 0),
            INTEGER => (4, 0),
            99 => (31, 0),
            70 => (8, 0),
            ATOM | ATOM_UTF8 | 107 => (2 + u16_at(bytes, body)?, 0),
            SMALL_ATOM | SMALL_ATOM_UTF8 => (1 + u8_at(bytes, body)?, 0),
            106 => (0, 0),
            SMALL_TUPLE => (1, u8_at(bytes, body)?),
            LARGE_TUPLE => (4, u32_at(bytes, body)?),
            108 => (4, u32_at(bytes, body)?.checked_add(1)?),
            109 => (u32_at(bytes, body)?.checked_add(4)?, 0),
            77 => (u32_at(bytes, body)?.checked_add(5)?, 0),
            110 => (2 + u8_at(bytes, body)?, 0),
            111 => (u32_at(bytes, body)?.checked_add(5)?, 0),
            116 => (4, u32_at(bytes, body)?.checked_mul(2)?),
            // The size of a fun includes the size field itself.
            112 => (u32_at(bytes, body).filter(|&size| size >= 4)?, 0),
            113 => (0, 3),
            PID => (with_node(bytes, body, 9)?, 0),
            NEW_PID => (with_node(bytes, body, 12)?, 0),
            102 | REFERENCE => (with_node(bytes, body, 5)?, 0),
            89 => (with_node(bytes, body, 8)?, 0),
            120 => (with_node(bytes, body, 12)?, 0),
            NEW_REFERENCE => (2 + with_node(bytes, body + 2, 1 + 4 * u16_at(bytes, body)?)?, 0),
            NEWER_REFERENCE => (2 + with_node(bytes, body + 2, 4 + 4 * u16_at(bytes, body)?)?, 0),
            _ => return None,
        };
        at = body.checked_add(fixed)?;
        if at > bytes.len() {
            return None;
        }
        terms_left = terms_left.checked_add(children)?;
    }
    Some(at)
}

/// Size of a node's atom at `at` and `rest` bytes of numbers after it.
fn with_node(bytes: &[u8], at: usize, rest: usize) -> Option<usize> {
    let atom = match *bytes.get(at)? {
        ATOM | ATOM_UTF8 => 3 + u16_at(bytes, at + 1)?,
        SMALL_ATOM | SMALL_ATOM_UTF8 => 2 + u8_at(bytes, at + 1)?,
        _ => return None,
    };
    atom.checked_add(rest)
}

/// The elements of the tuple at the start of `bytes`, and where it ends; `None` when there is no
/// tuple, or one of more than `N` elements.
pub(crate) fn tuple<const N: usize>(bytes: &[u8]) -> Option<(Elements<'_, N>, usize)> {
    let (arity, mut at) = match *bytes.first()? {
        SMALL_TUPLE => (u8_at(bytes, 1)?, 2),
        LARGE_TUPLE => (u32_at(bytes, 1)?, 5),
        _ => return None,
    };
    if arity > N {
        return None;
    }
    let mut elements = Elements { bytes, ranges: std::array::from_fn(|_| 0..0), arity };
    for range in &mut elements.ranges[..arity] {
        let end = skip(bytes, at)?;
        *range = at..end;
        at = end;
    }
    Some((elements, at))
}

/// The elements of a tuple of at most `N`.
pub(crate) struct Elements<'a, const N: usize> {
    bytes: &'a [u8],
    ranges: [Range<usize>; N],
    arity: usize,
}

impl<'a, const N: usize> Elements<'a, N> {
    #[cfg(test)]
    pub(crate) fn arity(&self) -> usize {
        self.arity
    }

    /// The bytes of an element, counted from 0.
    pub(crate) fn get(&self, index: usize) -> Option<&'a [u8]> {
        (index < self.arity).then(|| &self.bytes[self.ranges[index].clone()])
    }
}

/// The value of a small non-negative integer.
pub(crate) fn small_integer(term: &[u8]) -> Option<u32> {
    match term {
        [SMALL_INTEGER, value] => Some(u32::from(*value)),
        [INTEGER, a, b, c, d] if *a < 128 => Some(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}

/// The text of an atom; the old Latin-1 tags are read when they hold ASCII.
pub(crate) fn atom(term: &[u8]) -> Option<&str> {
    let (text, latin1) = match *term.first()? {
        ATOM => (term.get(3..)?, true),
        ATOM_UTF8 => (term.get(3..)?, false),
        SMALL_ATOM => (term.get(2..)?, true),
        SMALL_ATOM_UTF8 => (term.get(2..)?, false),
        _ => return None,
    };
    if latin1 && !text.is_ascii() {
        return None;
    }
    std::str::from_utf8(text).ok()
}

/// The reference of `[alias | Reference]`, the tag of a call that wants its answer there.
pub(crate) fn alias_of(tag: &[u8]) -> Option<&[u8]> {
    let [108, 0, 0, 0, 1, rest @ ..] = tag else { return None };
    let end = skip(rest, 0)?;
    let reference = rest.get(end..)?;
    let is_reference = matches!(reference.first()?, &REFERENCE | &NEW_REFERENCE | &NEWER_REFERENCE);
    (atom(&rest[..end])? == "alias" && is_reference).then_some(reference)
}

/// Appends an atom. The text must have at most 255 bytes, as all atoms and node names here have.
pub(crate) fn push_atom(out: &mut Vec<u8>, text: &str) {
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    out.extend_from_slice(&[SMALL_ATOM_UTF8, length]);
    out.extend_from_slice(&text.as_bytes()[..usize::from(length)]);
}

/// Appends the header of a tuple.
pub(crate) fn push_tuple(out: &mut Vec<u8>, arity: u8) {
    out.extend_from_slice(&[SMALL_TUPLE, arity]);
}

/// Appends an integer of one byte.
pub(crate) fn push_small(out: &mut Vec<u8>, value: u8) {
    out.extend_from_slice(&[SMALL_INTEGER, value]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tuple_falls_into_its_elements() {
        let mut bytes = Vec::new();
        push_tuple(&mut bytes, 3);
        push_small(&mut bytes, 6);
        push_atom(&mut bytes, "net_kernel");
        bytes.extend_from_slice(&[108, 0, 0, 0, 1, SMALL_INTEGER, 1, 106]);
        bytes.push(0xff);
        let (elements, end) = tuple::<4>(&bytes).expect("a tuple");
        assert_eq!((elements.arity(), end), (3, bytes.len() - 1));
        assert_eq!(elements.get(0).and_then(small_integer), Some(6));
        assert_eq!(elements.get(1).and_then(atom), Some("net_kernel"));
        assert_eq!(elements.get(2).map(<[u8]>::len), Some(8));
        assert_eq!(elements.get(3), None);
        assert!(tuple::<2>(&bytes).is_none());
    }

    #[test]
    fn counts_and_sizes_that_lie_are_refused() {
        for lie in [
            &[108, 0xff, 0xff, 0xff, 0xff][..],
            &[LARGE_TUPLE, 0xff, 0xff, 0xff, 0xff, 106],
            &[116, 0xff, 0xff, 0xff, 0xff, 106],
            &[109, 0xff, 0xff, 0xff, 0xff],
            &[111, 0xff, 0xff, 0xff, 0xff, 0],
            &[112, 0, 0, 0, 0],
            &[112, 0xff, 0xff, 0xff, 0xff],
            &[SMALL_ATOM_UTF8, 3, b'a'],
            &[NEW_PID, 106],
            &[NEWER_REFERENCE, 0xff, 0xff, SMALL_ATOM_UTF8, 1, b'a', 0, 0, 0, 0],
            &[80, 0, 0, 0, 1],
            &[82, 0],
            &[],
        ] {
            assert_eq!(skip(lie, 0), None, "{lie:?}");
        }
    }

    #[test]
    fn depth_costs_nothing() {
        let mut bytes = [SMALL_TUPLE, 1].repeat(1_000_000);
        assert_eq!(skip(&bytes, 0), None);
        bytes.push(106);
        assert_eq!(skip(&bytes, 0), Some(bytes.len()));
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..200_000 {
            let bytes: [u8; 24] = std::array::from_fn(|index| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let byte = (state >> 24) as u8;
                // Favour real tags, and small counts.
                if index % 2 == 0 { 70 + byte % 52 } else { byte % 4 }
            });
            if let Some(end) = skip(&bytes, 0) {
                assert!(end <= bytes.len());
            }
            let _ = tuple::<8>(&bytes);
        }
    }
}
