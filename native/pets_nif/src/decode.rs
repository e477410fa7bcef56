//! The flat encoding back into terms of the VM.

use pets_core::table::Record;
use pets_core::term::word::{self, Kind};
use pets_core::term::{etf, walk};
use rustler::sys;

use crate::build::{build, listed_flat};
use crate::heap;
use crate::raw::{Env, Term};
use crate::stored::Stored;

/// Words that can be read one by one: a slice, or a record whose words may change while they are
/// read.
pub(crate) trait Words {
    /// The number of words.
    fn len(&self) -> usize;
    /// The word at `index`, which must be within the encoding and behind its first word.
    fn word(&self, index: usize) -> u64;
    /// The next `count` words from `index` on, in the same case.
    fn run(&self, index: usize, count: usize) -> impl Iterator<Item = u64>;
    /// The word at `index`, which may be the first one.
    fn first(&self, index: usize) -> u64;
    /// The words of the term that starts at `at`, as a slice; only rare kinds ask for it.
    fn to_vec(&self, at: usize) -> Vec<u64>;
    /// A binary of as many bytes, which start with the word at `index`, if it can be one that refers
    /// to them where they are.
    fn shared_binary(&self, _env: Env, _index: usize, _bytes: usize) -> Option<Term> {
        None
    }
}

impl Words for [u64] {
    #[inline]
    fn len(&self) -> usize {
        <[u64]>::len(self)
    }

    #[inline]
    fn word(&self, index: usize) -> u64 {
        self[index]
    }

    #[inline]
    fn run(&self, index: usize, count: usize) -> impl Iterator<Item = u64> {
        self[index..index + count].iter().copied()
    }

    #[inline]
    fn first(&self, index: usize) -> u64 {
        self[index]
    }

    fn to_vec(&self, at: usize) -> Vec<u64> {
        self[at..walk::skip(self, at)].to_vec()
    }
}

/// A part of the encoding that the caller already has as a term.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    /// Where its encoding starts.
    pub(crate) at: usize,
    /// Words of its encoding.
    pub(crate) len: usize,
    pub(crate) term: Term,
}

impl Known {
    /// No part: there is nothing at its place.
    pub(crate) const NOTHING: Known = Known { at: usize::MAX, len: 0, term: Term(word::NIL) };
}

/// A compound term under construction; its finished parts lie on the value stack from `base` on.
struct Frame {
    kind: Kind,
    left: usize,
    base: usize,
}

/// Makes the term that is encoded at `at`; `known` is taken as it is instead of being built again.
///
/// Depth costs heap, not stack.
#[inline]
pub(crate) fn decode<W: Words + ?Sized>(
    env: Env,
    words: &W,
    at: usize,
    known: Option<Known>,
) -> Term {
    let first = words.first(at);
    if word::is_immediate(first) {
        return Term(first);
    }
    if let Some(layout) = heap::layout()
        && let Some(term) =
            build(layout, env, words, at, known.as_ref().unwrap_or(&Known::NOTHING), false)
    {
        return term;
    }
    decode_by_interface(env, words, at, known)
}

/// The list of the one object of a record; `known` as for [`decode`].
#[inline]
pub(crate) fn decode_object(env: Env, record: Record<'_>, known: &Known) -> Term {
    if let Some(layout) = heap::layout() {
        if let Some(list) = listed_flat(layout, env, std::iter::once(Stored::new(record))) {
            return list;
        }
        if let Some(list) = build(layout, env, &Stored::new(record), 0, known, true) {
            return list;
        }
    }
    env.cons(decode_by_interface(env, &Stored::new(record), 0, Some(*known)), Term(word::NIL))
}

/// The list of the objects of records; `known` tells what is known of each.
#[inline]
pub(crate) fn decode_objects<'g>(
    env: Env,
    records: impl Iterator<Item = Record<'g>> + Clone,
    known: impl Fn(Record<'g>) -> Known,
) -> Term {
    if let Some(layout) = heap::layout()
        && let Some(list) = listed_flat(layout, env, records.clone().map(Stored::new))
    {
        return list;
    }
    let objects = records.map(|record| decode(env, &Stored::new(record), 0, Some(known(record))));
    env.list(&objects.collect::<Vec<_>>())
}

/// What [`decode`] makes, with a call for each part: where the layout of terms is unknown, or for
/// terms that are not written by hand.
#[cold]
#[inline(never)]
pub(crate) fn decode_by_interface<W: Words + ?Sized>(
    env: Env,
    words: &W,
    mut at: usize,
    known: Option<Known>,
) -> Term {
    let mut frames: Vec<Frame> = Vec::new();
    let mut values: Vec<Term> = Vec::new();
    loop {
        // One term, or the header of one.
        let value = match known {
            Some(known) if known.at == at => {
                at += known.len;
                Some(known.term)
            }
            _ => match part(env, words, &mut at) {
                Ok(value) => Some(value),
                Err((kind, parts)) => {
                    frames.push(Frame { kind, left: parts, base: values.len() });
                    (parts == 0).then(|| close(env, &mut frames, &mut values))
                }
            },
        };
        let Some(mut value) = value else { continue };
        // A finished term may finish the terms around it.
        loop {
            let Some(frame) = frames.last_mut() else { return value };
            values.push(value);
            frame.left -= 1;
            if frame.left > 0 {
                break;
            }
            value = close(env, &mut frames, &mut values);
        }
    }
}

/// The leaf at `at`, which is moved behind it; or kind and number of parts of the compound term
/// whose header was there.
fn part<W: Words + ?Sized>(env: Env, words: &W, at: &mut usize) -> Result<Term, (Kind, usize)> {
    let first = words.first(*at);
    if word::is_immediate(first) {
        *at += 1;
        return Ok(Term(first));
    }
    let (kind, count) = word::split_header(first)
        .expect("stored encodings are well-formed: only `encode` and `etf::decode` make them");
    let count = count as usize;
    match kind {
        Kind::Tuple | Kind::List => {
            *at += 1;
            Err((kind, count))
        }
        Kind::ImproperList => {
            *at += 1;
            Err((kind, count + 1))
        }
        Kind::Map => {
            *at += 1;
            Err((kind, 2 * count))
        }
        Kind::Binary => {
            let term = binary(env, words, *at + 1, count);
            *at += 1 + word::words_for_bytes(count);
            Ok(term)
        }
        Kind::Float => {
            let value = f64::from_bits(words.word(*at + 1));
            *at += 2;
            // SAFETY: makes a term in a live environment; encodings hold finite floats only.
            Ok(Term::from_nif(unsafe { sys::enif_make_double(env.0, value) }))
        }
        Kind::BigPositive if count == 1 => {
            let value = words.word(*at + 1);
            *at += 2;
            // SAFETY: makes a term in a live environment.
            Ok(Term::from_nif(unsafe { sys::enif_make_uint64(env.0, value) }))
        }
        Kind::BigPositive
        | Kind::BigNegative
        | Kind::Bitstring
        | Kind::Pid
        | Kind::Port
        | Kind::Reference
        | Kind::Fun
        | Kind::Export => {
            let encoded = words.to_vec(*at);
            *at += encoded.len();
            Ok(serialised(env, &encoded))
        }
    }
}

/// The leaf at `at`, which is moved behind it, or the empty compound term.
pub(crate) fn leaf_by_interface<W: Words + ?Sized>(env: Env, words: &W, at: &mut usize) -> Term {
    part(env, words, at).unwrap_or_else(|(kind, parts)| {
        assert!(parts == 0, "a {kind:?} with parts is no leaf");
        compound(env, kind, &[])
    })
}

/// Makes the innermost compound term from its finished parts.
fn close(env: Env, frames: &mut Vec<Frame>, values: &mut Vec<Term>) -> Term {
    let frame = frames.pop().expect("closed only while a frame is open");
    let term = compound(env, frame.kind, &values[frame.base..]);
    values.truncate(frame.base);
    term
}

fn compound(env: Env, kind: Kind, parts: &[Term]) -> Term {
    match kind {
        Kind::Tuple => env.tuple(parts),
        Kind::List => env.list(parts),
        Kind::ImproperList => {
            let (tail, elements) =
                parts.split_last().expect("an improper list has a tail and an element");
            elements.iter().rev().fold(*tail, |tail, head| env.cons(*head, tail))
        }
        Kind::Map => map(env, parts),
        _ => unreachable!("part() opens only compound kinds"),
    }
}

fn map(env: Env, parts: &[Term]) -> Term {
    let keys: Vec<_> = parts.iter().step_by(2).map(|term| term.to_nif()).collect();
    let values: Vec<_> = parts.iter().skip(1).step_by(2).map(|term| term.to_nif()).collect();
    let mut term = Term(0).to_nif();
    // SAFETY: both arrays hold as many terms of this environment; encoded keys are distinct.
    let made = unsafe {
        sys::enif_make_map_from_arrays(
            env.0,
            keys.as_ptr(),
            values.as_ptr(),
            keys.len(),
            &raw mut term,
        )
    };
    assert!(made != 0, "encoded maps have distinct keys");
    Term::from_nif(term)
}

fn binary<W: Words + ?Sized>(env: Env, words: &W, start: usize, bytes: usize) -> Term {
    if let Some(shared) = words.shared_binary(env, start, bytes) {
        return shared;
    }
    let mut term = Term(word::NIL).to_nif();
    // SAFETY: the VM gives `bytes` bytes, aligned for its own words or not: each copy below is
    // unaligned and stays within them.
    unsafe {
        let data = sys::enif_make_new_binary(env.0, bytes, &raw mut term);
        let whole = bytes / 8;
        for (index, word) in words.run(start, whole).enumerate() {
            data.add(8 * index).cast::<[u8; 8]>().write_unaligned(word.to_le_bytes());
        }
        let rest = bytes % 8;
        if rest > 0 {
            let word = words.word(start + whole).to_le_bytes();
            std::ptr::copy_nonoverlapping(word.as_ptr(), data.add(8 * whole), rest);
        }
    }
    Term::from_nif(term)
}

/// The rare kinds go through the VM's own deserialiser.
fn serialised(env: Env, encoded: &[u64]) -> Term {
    let mut bytes = Vec::with_capacity(16 * encoded.len());
    etf::encode_versioned(encoded, &mut bytes)
        .expect("only terms beyond 4 GiB have no external format, and leaves are smaller");
    let mut term = Term(0).to_nif();
    // SAFETY: the bytes were made by our own encoder; the environment is live.
    let read =
        unsafe { sys::enif_binary_to_term(env.0, bytes.as_ptr(), bytes.len(), &raw mut term, 0) };
    assert!(read != 0, "the VM reads the external format of a stored term");
    Term::from_nif(term)
}
