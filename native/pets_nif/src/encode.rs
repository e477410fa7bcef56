//! Terms of the VM into the flat encoding.

use pets_core::term::word::Kind;
use pets_core::term::{etf, order, walk, word};
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

/// What is left to encode, innermost last. Lists keep their tail, tuples a slice of the caller's heap.
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
    /// Keys and values still to come, reversed, then the pairs that start at `header` are sorted.
    Map {
        rest: Vec<Term>,
        header: usize,
    },
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
    // A tuple of immediates, the commonest object, needs no stack.
    let mut pending: Vec<Pending> = Vec::new();
    open(env, term, out, &mut pending)?;
    while let Some(top) = pending.last_mut() {
        if out.len() > limit {
            return Err(Refused::TooLarge);
        }
        match top {
            Pending::Elements { elements, left } => {
                let mut compound = None;
                // SAFETY: `elements` points to `left` terms of a tuple on the caller's heap, which
                // nothing moves during the call.
                unsafe {
                    while *left > 0 {
                        let element = **elements;
                        *elements = elements.add(1);
                        *left -= 1;
                        if element.is_immediate() {
                            out.push(element.0);
                        } else {
                            compound = Some(element);
                            break;
                        }
                    }
                }
                if *left == 0 {
                    pending.pop();
                }
                if let Some(element) = compound {
                    open(env, element, out, &mut pending)?;
                }
            }
            Pending::List { rest, header, count } => {
                let mut compound = None;
                let mut closed = false;
                loop {
                    let Some((head, tail)) = env.list_cell(*rest) else {
                        let header = *header;
                        if rest.0 == word::NIL {
                            out[header] = word::header(Kind::List, *count);
                        } else {
                            out[header] = word::header(Kind::ImproperList, *count);
                            compound = Some(*rest);
                        }
                        closed = true;
                        break;
                    };
                    *count += 1;
                    *rest = tail;
                    if head.is_immediate() {
                        out.push(head.0);
                        if out.len() > limit {
                            return Err(Refused::TooLarge);
                        }
                    } else {
                        compound = Some(head);
                        break;
                    }
                }
                if closed {
                    pending.pop();
                }
                if let Some(term) = compound {
                    open(env, term, out, &mut pending)?;
                }
            }
            Pending::Map { rest, header } => match rest.pop() {
                Some(term) => open(env, term, out, &mut pending)?,
                None => {
                    let header = *header;
                    pending.pop();
                    sort_pairs(out, header);
                }
            },
        }
    }
    if out.len() > limit { Err(Refused::TooLarge) } else { Ok(()) }
}

/// Writes a leaf, or the header of a compound term with its contents left pending.
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
    if let Some(elements) = env.tuple_elements(term) {
        out.push(word::header(Kind::Tuple, elements.len() as u64));
        if !elements.is_empty() {
            pending.push(Pending::Elements { elements: elements.as_ptr(), left: elements.len() });
        }
        return Ok(());
    }
    if let Some(bytes) = env.binary_bytes(term) {
        out.push(word::header(Kind::Binary, bytes.len() as u64));
        push_bytes(out, bytes);
        return Ok(());
    }
    // SAFETY: the term belongs to this environment.
    match unsafe { sys::enif_term_type(env.0, term.to_nif()) } {
        ErlNifTermType::ERL_NIF_TERM_TYPE_MAP => {
            let (rest, pairs) = map_pairs_reversed(env, term)?;
            pending.push(Pending::Map { rest, header: out.len() });
            out.push(word::header(Kind::Map, pairs));
            Ok(())
        }
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
        ErlNifTermType::ERL_NIF_TERM_TYPE_INTEGER => {
            if let Some(value) = env.integer_value(term) {
                word::push_integer(out, i128::from(value));
                return Ok(());
            }
            serialised(env, term, out)
        }
        // Bitstrings of odd bits, and what the VM alone can take apart.
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

/// Keys and values of a map as one vector, to be popped in the order key, value, key, ...
fn map_pairs_reversed(env: Env, map: Term) -> Result<(Vec<Term>, u64), Refused> {
    let mut size = 0;
    let mut iterator = std::mem::MaybeUninit::<sys::ErlNifMapIterator>::uninit();
    // SAFETY: the term is a map; the iterator is initialised by `create` and destroyed below.
    unsafe {
        if sys::enif_get_map_size(env.0, map.to_nif(), &raw mut size) == 0
            || sys::enif_map_iterator_create(
                env.0,
                map.to_nif(),
                iterator.as_mut_ptr(),
                sys::ErlNifMapIteratorEntry::ERL_NIF_MAP_ITERATOR_TAIL,
            ) == 0
        {
            return Err(Refused::Unsupported);
        }
        let iterator = iterator.as_mut_ptr();
        let mut rest = Vec::with_capacity(2 * size);
        let mut key = Term(0).to_nif();
        let mut value = Term(0).to_nif();
        while sys::enif_map_iterator_get_pair(env.0, iterator, &raw mut key, &raw mut value) != 0 {
            rest.push(Term::from_nif(value));
            rest.push(Term::from_nif(key));
            sys::enif_map_iterator_prev(env.0, iterator);
        }
        sys::enif_map_iterator_destroy(env.0, iterator);
        Ok((rest, size as u64))
    }
}

/// Brings the pairs of the map at `header`, the last term in `out`, into canonical order.
fn sort_pairs(out: &mut Vec<u64>, header: usize) {
    let start = header + 1;
    let mut pairs = Vec::new();
    let mut at = start;
    while at < out.len() {
        let value = walk::skip(out, at);
        let end = walk::skip(out, value);
        pairs.push((at..value, end));
        at = end;
    }
    let sorted = pairs
        .is_sorted_by(|(a, _), (b, _)| order::cmp_exact(&out[a.clone()], &out[b.clone()]).is_lt());
    if sorted {
        return;
    }
    // The VM keeps small maps in its own order of keys, which is nearly ours: this is the rare road.
    pairs.sort_by(|(a, _), (b, _)| order::cmp_exact(&out[a.clone()], &out[b.clone()]));
    let mut sorted = Vec::with_capacity(out.len() - start);
    for (key, end) in pairs {
        sorted.extend_from_slice(&out[key.start..end]);
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
