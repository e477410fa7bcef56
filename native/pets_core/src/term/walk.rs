//! Finding one's way in encoded terms: where a term ends, and where its parts are.
//!
//! An encoding is a pre-order: a header says how many payload words and how many terms follow it.
//! So the end of a term is found by counting the terms still to be read, without a stack, and
//! nesting costs nothing. Everything here but [`validate`] trusts its input to be well formed and
//! panics (never more) when it is not.

use std::ops::Range;

use super::order;
use super::word::{self, Kind};

/// What follows a word: payload words first, then terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Payload words that are no terms.
    pub words: usize,
    /// Terms that follow the payload words.
    pub terms: usize,
}

impl Layout {
    /// What follows a header of this kind and count. `None` for counts that no memory can hold.
    #[inline]
    pub const fn of(kind: Kind, count: u64) -> Option<Self> {
        // Counts have 56 bits, so that none of these sums can overflow.
        let n = count as usize;
        let (words, terms) = match kind {
            Kind::Tuple | Kind::List => (0, n),
            Kind::ImproperList => (0, n + 1),
            Kind::Map => (0, n * 2),
            Kind::Binary => (n.div_ceil(8), 0),
            Kind::Bitstring => (n.div_ceil(64), 0),
            Kind::BigPositive
            | Kind::BigNegative
            | Kind::Float
            | Kind::Pid
            | Kind::Port
            | Kind::Reference
            | Kind::Export => (n, 0),
            Kind::Fun => (word::FUN_FIXED_WORDS, n),
        };
        // A 64-bit address space is what the immediates assume anyhow.
        if size_of::<usize>() < 8 && count > u32::MAX as u64 {
            return None;
        }
        Some(Layout { words, terms })
    }
}

/// The index after the term that starts at `at`.
///
/// # Panics
/// When `words` does not hold a whole term there.
#[inline]
pub fn skip(words: &[u64], at: usize) -> usize {
    if word::is_immediate(words[at]) {
        return at + 1;
    }
    skip_terms(words, at, 1)
}

/// The index after `count` terms, the first of which starts at `at`.
///
/// # Panics
/// When `words` does not hold that many terms there.
pub fn skip_terms(words: &[u64], mut at: usize, count: usize) -> usize {
    let mut left = count;
    while left > 0 {
        let (payload, terms) = match word::split_header(words[at]) {
            None => (0, 0),
            Some((kind, count)) => match Layout::of(kind, count) {
                Some(layout) => (layout.words, layout.terms),
                None => (0, 0),
            },
        };
        at += 1 + payload;
        left = left - 1 + terms;
    }
    assert!(at <= words.len(), "a term ends beyond its words");
    at
}

/// The arity of an encoded tuple; `None` when the term is no tuple.
#[inline]
pub fn arity(words: &[u64]) -> Option<usize> {
    match word::split_header(*words.first()?) {
        Some((Kind::Tuple, arity)) => Some(arity as usize),
        _ => None,
    }
}

/// Where the `n`th element (from 1) of an encoded tuple is. `None` when the term is no tuple or
/// has no such element.
#[inline]
pub fn element(tuple: &[u64], n: usize) -> Option<Range<usize>> {
    let arity = arity(tuple)?;
    if n == 0 || n > arity {
        return None;
    }
    let mut start = 1;
    for _ in 1..n {
        start = skip(tuple, start);
    }
    Some(start..skip(tuple, start))
}

/// The parts of a tuple, a list or a map one after the other, each as its words.
///
/// A map gives keys and values in turn; an improper list gives its tail last; anything else,
/// `[]` included, gives nothing.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    words: &'a [u64],
    at: usize,
    left: usize,
}

impl<'a> Elements<'a> {
    /// The parts of the term that `words` starts with.
    pub fn of(words: &'a [u64]) -> Self {
        let left = match words.first().copied().and_then(word::split_header) {
            Some((Kind::Tuple | Kind::List, count)) => count as usize,
            Some((Kind::ImproperList, count)) => count as usize + 1,
            Some((Kind::Map, count)) => count as usize * 2,
            _ => 0,
        };
        Elements { words, at: 1, left }
    }

    /// The index, in the words given, of the part that comes next.
    pub fn position(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u64];

    #[inline]
    fn next(&mut self) -> Option<&'a [u64]> {
        if self.left == 0 {
            return None;
        }
        let end = skip(self.words, self.at);
        let part = &self.words[self.at..end];
        self.at = end;
        self.left -= 1;
        Some(part)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Elements<'_> {}

/// Appends `count` bytes that are stored as words, as in a [`Kind::Binary`]'s payload.
///
/// # Panics
/// When `words` holds fewer bytes.
#[inline]
pub fn append_bytes(words: &[u64], count: usize, out: &mut Vec<u8>) {
    let whole = count / 8;
    let start = out.len();
    out.resize(start + count, 0);
    let (chunks, rest) = out[start..].as_chunks_mut::<8>();
    for (chunk, word) in chunks.iter_mut().zip(&words[..whole]) {
        *chunk = word.to_le_bytes();
    }
    if !rest.is_empty() {
        let last = words[whole].to_le_bytes();
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

/// Appends bytes as words, as a [`Kind::Binary`]'s payload has them.
#[inline]
pub fn append_words(bytes: &[u8], out: &mut Vec<u64>) {
    let (chunks, rest) = bytes.as_chunks::<8>();
    out.reserve(word::words_for_bytes(bytes.len()));
    out.extend(chunks.iter().map(|chunk| u64::from_le_bytes(*chunk)));
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        out.push(u64::from_le_bytes(last));
    }
}

/// Why words are no encoded term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The words end within a term.
    #[error("the words end within a term")]
    Truncated,
    /// A word is neither an immediate nor a known header.
    #[error("word {at} ({word:#x}) starts no term")]
    Word {
        /// Its index.
        at: usize,
        /// Its value.
        word: u64,
    },
    /// A term is not in its one canonical form, so that it would not be equal to itself.
    #[error("the term at word {at} is not in its canonical form")]
    NotCanonical {
        /// The index of its header.
        at: usize,
    },
}

/// Checks that `words` starts with one term in canonical form, and returns the index after it.
///
/// For words of doubtful origin, and for tests.
///
/// # Errors
/// What is wrong, and where.
pub fn validate(words: &[u64]) -> Result<usize, Malformed> {
    enum Open {
        Map {
            pairs_left: u64,
            last_key: Option<Range<usize>>,
            part_at: usize,
            in_key: bool,
        },
        /// The elements of an improper list, after which its tail comes.
        Elements,
    }
    // With each, the terms that follow it.
    let mut open: Vec<(Open, usize)> = Vec::new();
    let mut at = 0;
    let mut left = 1;
    loop {
        while left == 0 {
            let Some((part, outer_left)) = open.last_mut() else { return Ok(at) };
            match part {
                Open::Elements => {
                    let tail = *words.get(at).ok_or(Malformed::Truncated)?;
                    let list = word::split_header(tail)
                        .is_some_and(|(kind, _)| matches!(kind, Kind::List | Kind::ImproperList));
                    if list || tail == word::NIL {
                        return Err(Malformed::NotCanonical { at });
                    }
                    left = *outer_left + 1;
                    open.pop();
                }
                Open::Map { last_key, part_at, in_key, .. } if *in_key => {
                    let key = *part_at..at;
                    if let Some(last) = last_key
                        && order::cmp_keys(&words[last.clone()], &words[key.clone()]).is_ge()
                    {
                        return Err(Malformed::NotCanonical { at: key.start });
                    }
                    *last_key = Some(key);
                    *in_key = false;
                    left = 1;
                }
                Open::Map { pairs_left: 1, .. } => {
                    left = *outer_left;
                    open.pop();
                }
                Open::Map { pairs_left, part_at, in_key, .. } => {
                    *pairs_left -= 1;
                    *in_key = true;
                    *part_at = at;
                    left = 1;
                }
            }
        }
        let first = *words.get(at).ok_or(Malformed::Truncated)?;
        left -= 1;
        let Some((kind, count)) = word::split_header(first) else {
            let known = word::is_small(first)
                || word::is_atom(first)
                || word::is_local_pid(first)
                || word::is_local_port(first)
                || first == word::NIL;
            if word::is_header(first) || !known {
                return Err(Malformed::Word { at, word: first });
            }
            at += 1;
            continue;
        };
        let layout = Layout::of(kind, count).ok_or(Malformed::Truncated)?;
        // Each part takes a word at least, so that nothing below counts beyond the words given.
        let rest = words.len() - at - 1;
        if layout.words > rest || layout.terms > rest - layout.words {
            return Err(Malformed::Truncated);
        }
        let payload = &words[at + 1..at + 1 + layout.words];
        if !payload_is_canonical(kind, count, payload) {
            return Err(Malformed::NotCanonical { at });
        }
        at += 1 + layout.words;
        let part = match kind {
            Kind::Map if count > 0 => {
                Open::Map { pairs_left: count, last_key: None, part_at: at, in_key: true }
            }
            Kind::ImproperList => Open::Elements,
            _ => {
                left += layout.terms;
                continue;
            }
        };
        open.push((part, left));
        left = if kind == Kind::Map { 1 } else { count as usize };
    }
}

fn payload_is_canonical(kind: Kind, count: u64, payload: &[u64]) -> bool {
    let unused_is_zero = |unused_bytes: usize| match payload.last() {
        Some(last) if unused_bytes > 0 => last >> (64 - 8 * unused_bytes) == 0,
        _ => true,
    };
    match kind {
        Kind::List | Kind::ImproperList => count > 0,
        Kind::Binary => unused_is_zero(payload.len() * 8 - count as usize),
        Kind::Bitstring => {
            let bytes = (count as usize).div_ceil(8);
            let bits = count % 8;
            let last = payload.last().map_or(0, |last| last.to_le_bytes()[(bytes + 7) % 8]);
            bits != 0 && unused_is_zero(payload.len() * 8 - bytes) && last << bits == 0
        }
        Kind::BigPositive | Kind::BigNegative => match payload {
            [] => false,
            [only] if kind == Kind::BigPositive => *only > word::SMALL_MAX as u64,
            [only] => *only > word::SMALL_MIN.unsigned_abs(),
            [.., last] => *last != 0,
        },
        Kind::Float => match payload {
            [bits] => f64::from_bits(*bits).is_finite(),
            _ => false,
        },
        Kind::Pid => count == 4 && word::is_atom(payload[0]),
        Kind::Port => count == 3 && word::is_atom(payload[0]),
        Kind::Reference => {
            matches!(count, 5 | 7) && (word::is_atom(payload[0]) || payload[0] == word::NIL)
        }
        Kind::Fun => word::is_atom(payload[0]),
        Kind::Export => count == 3 && word::is_atom(payload[0]) && word::is_atom(payload[1]),
        Kind::Tuple | Kind::Map => true,
    }
}
