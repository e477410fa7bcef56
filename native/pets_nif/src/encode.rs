//! Terms of the VM into the flat encoding.

use pets_core::term::word::Kind;
use pets_core::term::{etf, order, word};
use rustler::sys::{self, ErlNifTermType};

use crate::raw::{Env, Term};
use crate::vm;

/// Why a term was not encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// More words than the caller allowed: try again where time does not matter.
    TooLarge,
    /// The term cannot be stored at all.
    Unsupported,
}

/// What is left to encode, innermost last. Lists keep their tail, tuples a part of the caller's heap.
enum Pending {
    Elements {
        elements: *const Term,
        left: usize,
    },
    List {
        rest: Term,
        header: usize,
        count: u64,
    },
    /// Keys and values still to come, reversed.
    Map {
        rest: Vec<Term>,
        unsorted: Option<Unsorted>,
    },
}

/// A map whose pairs can be brought into order only when their keys are encoded.
struct Unsorted {
    /// Where the encoding of the map starts.
    header: usize,
    /// Where each key and each value in turn starts.
    parts: Vec<usize>,
}

/// Appends the encoding of `term` to `out`, unless more than `limit` words would be in `out`.
///
/// The work is proportional to the size of the term; depth costs heap, not stack. On an error
/// `out` holds a partial encoding, which the caller discards.
///
/// # Errors
/// [`Refused::TooLarge`] above the limit; [`Refused::Unsupported`] for a term that the VM cannot serialise.
#[inline]
pub(crate) fn encode(
    env: Env,
    term: Term,
    out: &mut Vec<u64>,
    limit: usize,
) -> Result<(), Refused> {
    if term.is_immediate() {
        out.push(term.0);
        return Ok(());
    }
    encode_compound(env, term, out, limit)
}

fn encode_compound(env: Env, term: Term, out: &mut Vec<u64>, limit: usize) -> Result<(), Refused> {
    // Allocates nothing as long as nothing is nested, as in most objects.
    let mut pending: Vec<Pending> = Vec::new();
    open(env, term, out, &mut pending)?;
    while let Some(top) = pending.last_mut() {
        if out.len() > limit {
            return Err(Refused::TooLarge);
        }
        match top {
            Pending::Elements { elements, left } => {
                let (elements, left) = (*elements, *left);
                pending.pop();
                tuple_elements(env, elements, left, out, &mut pending)?;
            }
            Pending::List { rest, header, count } => {
                let mut nested = None;
                let mut closed = false;
                loop {
                    let Some((head, tail)) = env.list_cell(*rest) else {
                        let header = *header;
                        if rest.0 == word::NIL {
                            out[header] = word::header(Kind::List, *count);
                        } else {
                            out[header] = word::header(Kind::ImproperList, *count);
                            nested = Some(*rest);
                        }
                        closed = true;
                        break;
                    };
                    *count += 1;
                    *rest = tail;
                    if !head.is_immediate() {
                        nested = Some(head);
                        break;
                    }
                    out.push(head.0);
                    if out.len() > limit {
                        return Err(Refused::TooLarge);
                    }
                }
                if closed {
                    pending.pop();
                }
                if let Some(term) = nested {
                    open(env, term, out, &mut pending)?;
                }
            }
            Pending::Map { rest, unsorted } => match rest.pop() {
                Some(term) => {
                    if let Some(unsorted) = unsorted {
                        unsorted.parts.push(out.len());
                    }
                    open(env, term, out, &mut pending)?;
                }
                None => {
                    if let Some(unsorted) = unsorted {
                        sort_pairs(out, unsorted);
                    }
                    pending.pop();
                }
            },
        }
    }
    if out.len() > limit { Err(Refused::TooLarge) } else { Ok(()) }
}

/// Writes a leaf, or the beginning of a compound term with the rest left pending.
fn open(
    env: Env,
    term: Term,
    out: &mut Vec<u64>,
    pending: &mut Vec<Pending>,
) -> Result<(), Refused> {
    if term.is_immediate() {
        out.push(term.0);
        return Ok(());
    }
    if term.is_list_cell() {
        pending.push(Pending::List { rest: term, header: out.len(), count: 0 });
        out.push(0);
        return Ok(());
    }
    // SAFETY: the term belongs to this environment.
    match unsafe { sys::enif_term_type(env.0, term.to_nif()) } {
        ErlNifTermType::ERL_NIF_TERM_TYPE_TUPLE => {
            let elements = env.tuple_elements(term).ok_or(Refused::Unsupported)?;
            out.push(word::header(Kind::Tuple, elements.len() as u64));
            tuple_elements(env, elements.as_ptr(), elements.len(), out, pending)
        }
        ErlNifTermType::ERL_NIF_TERM_TYPE_MAP => open_map(env, term, out, pending),
        kind => leaf(env, term, kind, out),
    }
}

fn open_map(
    env: Env,
    map: Term,
    out: &mut Vec<u64>,
    pending: &mut Vec<Pending>,
) -> Result<(), Refused> {
    let mut pairs = map_pairs(env, map)?;
    // One word each, as atoms are: their order is known before they are encoded.
    let unsorted = if pairs.iter().all(|[key, _]| key.is_immediate()) {
        if !pairs.is_sorted_by_key(|[key, _]| key.0) {
            pairs.sort_unstable_by_key(|[key, _]| key.0);
        }
        None
    } else {
        Some(Unsorted { header: out.len(), parts: Vec::with_capacity(2 * pairs.len()) })
    };
    out.push(word::header(Kind::Map, pairs.len() as u64));
    let rest = pairs.iter().rev().flat_map(|&[key, value]| [value, key]).collect();
    pending.push(Pending::Map { rest, unsorted });
    Ok(())
}

/// Encodes elements of a tuple up to the first one that is nested, and opens that on top of those
/// behind it.
fn tuple_elements(
    env: Env,
    mut elements: *const Term,
    mut left: usize,
    out: &mut Vec<u64>,
    pending: &mut Vec<Pending>,
) -> Result<(), Refused> {
    while left > 0 {
        // SAFETY: `elements` points to `left` terms of a tuple on the caller's heap, which nothing
        // moves during the call; behind the last one it is not read.
        let element = unsafe { *elements };
        // SAFETY: as above.
        elements = unsafe { elements.add(1) };
        left -= 1;
        if element.is_immediate() {
            out.push(element.0);
            continue;
        }
        let mut tuple = None;
        if !element.is_list_cell() {
            // SAFETY: the term belongs to this environment.
            match unsafe { sys::enif_term_type(env.0, element.to_nif()) } {
                ErlNifTermType::ERL_NIF_TERM_TYPE_TUPLE => tuple = env.tuple_elements(element),
                ErlNifTermType::ERL_NIF_TERM_TYPE_MAP => {}
                kind => {
                    leaf(env, element, kind, out)?;
                    continue;
                }
            }
        }
        if left > 0 {
            pending.push(Pending::Elements { elements, left });
        }
        let Some(tuple) = tuple else { return open(env, element, out, pending) };
        // A tuple in a tuple waits for the loop of `encode_compound`: depth costs no stack.
        out.push(word::header(Kind::Tuple, tuple.len() as u64));
        pending.push(Pending::Elements { elements: tuple.as_ptr(), left: tuple.len() });
        return Ok(());
    }
    Ok(())
}

/// Writes a term that holds no other, but for funs, which the VM takes apart.
fn leaf(env: Env, term: Term, kind: ErlNifTermType, out: &mut Vec<u64>) -> Result<(), Refused> {
    match kind {
        ErlNifTermType::ERL_NIF_TERM_TYPE_BITSTRING => match env.binary_bytes(term) {
            Some(bytes) => {
                out.push(word::header(Kind::Binary, bytes.len() as u64));
                push_bytes(out, bytes);
                Ok(())
            }
            None => serialised(env, term, out),
        },
        ErlNifTermType::ERL_NIF_TERM_TYPE_FLOAT => {
            let mut value = 0.0;
            // SAFETY: the out-parameter is valid.
            if unsafe { sys::enif_get_double(env.0, term.to_nif(), &raw mut value) } == 0 {
                return Err(Refused::Unsupported);
            }
            out.push(word::header(Kind::Float, 1));
            out.push(value.to_bits());
            Ok(())
        }
        ErlNifTermType::ERL_NIF_TERM_TYPE_INTEGER => match env.integer_value(term) {
            Some(value) => {
                word::push_integer(out, i128::from(value));
                Ok(())
            }
            None => serialised(env, term, out),
        },
        _ => serialised(env, term, out),
    }
}

/// The rare kinds go through the VM's own serialiser.
fn serialised(env: Env, term: Term, out: &mut Vec<u64>) -> Result<(), Refused> {
    vm::refresh_identity();
    // The atoms of a term of this VM exist already, and cost nothing of the limit.
    let limits = etf::Limits { max_words: usize::MAX, ..etf::Limits::default() };
    let decoded = vm::serialise(env, term, |bytes| etf::decode_versioned(bytes, out, &limits));
    match decoded {
        Some(Ok(_)) => Ok(()),
        Some(Err(_)) | None => Err(Refused::Unsupported),
    }
}

/// Keys and values of a map.
fn map_pairs(env: Env, map: Term) -> Result<Vec<[Term; 2]>, Refused> {
    let mut size = 0;
    let mut iterator = std::mem::MaybeUninit::<sys::ErlNifMapIterator>::uninit();
    // SAFETY: the term is a map; the iterator is initialised by `create` and destroyed below.
    unsafe {
        if sys::enif_get_map_size(env.0, map.to_nif(), &raw mut size) == 0
            || sys::enif_map_iterator_create(
                env.0,
                map.to_nif(),
                iterator.as_mut_ptr(),
                sys::ErlNifMapIteratorEntry::ERL_NIF_MAP_ITERATOR_HEAD,
            ) == 0
        {
            return Err(Refused::Unsupported);
        }
        let iterator = iterator.as_mut_ptr();
        let mut pairs = Vec::with_capacity(size);
        let mut key = Term(0).to_nif();
        let mut value = Term(0).to_nif();
        while sys::enif_map_iterator_get_pair(env.0, iterator, &raw mut key, &raw mut value) != 0 {
            pairs.push([Term::from_nif(key), Term::from_nif(value)]);
            sys::enif_map_iterator_next(env.0, iterator);
        }
        sys::enif_map_iterator_destroy(env.0, iterator);
        Ok(pairs)
    }
}

/// Brings the pairs of a map, the last term in `out`, into canonical order.
fn sort_pairs(out: &mut Vec<u64>, unsorted: &Unsorted) {
    let ends = unsorted.parts.iter().skip(2).step_by(2).copied().chain([out.len()]);
    let (starts, _) = unsorted.parts.as_chunks::<2>();
    let mut pairs: Vec<_> =
        starts.iter().zip(ends).map(|(&[key, value], end)| (key, value, end)).collect();
    let in_order = |(a, a_end, _): &(usize, usize, usize),
                    (b, b_end, _): &(usize, usize, usize)| {
        order::cmp_exact(&out[*a..*a_end], &out[*b..*b_end])
    };
    // The VM keeps small maps in its own order of keys, which is nearly ours.
    if pairs.is_sorted_by(|a, b| in_order(a, b).is_le()) {
        return;
    }
    pairs.sort_unstable_by(in_order);
    let start = unsorted.header + 1;
    let mut sorted = Vec::with_capacity(out.len() - start);
    for (key, _, end) in pairs {
        sorted.extend_from_slice(&out[key..end]);
    }
    out.truncate(start);
    out.extend_from_slice(&sorted);
}

fn push_bytes(out: &mut Vec<u64>, bytes: &[u8]) {
    let (chunks, rest) = bytes.as_chunks::<8>();
    out.extend(chunks.iter().map(|chunk| u64::from_le_bytes(*chunk)));
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        out.push(u64::from_le_bytes(last));
    }
}
