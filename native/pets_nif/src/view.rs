//! What a term is, with its parts.

use std::mem::MaybeUninit;

use pets_core::term::word::{self, Kind};
use rustler::sys::{self, ErlNifTermType};

use crate::heap::{self, BINARY_HEAD, Layout, MAP_HEAD};
use crate::raw::{Env, Term};

/// A term that is neither an immediate nor a list. What it borrows lies on the caller's heap, which
/// nothing moves during the call.
pub(crate) enum View<'a> {
    Tuple(&'a [Term]),
    /// A small map, keys and values in the VM's order of the keys. Only where the layout is known.
    FlatMap {
        keys: &'a [Term],
        values: &'a [Term],
    },
    /// Any other map.
    Map,
    /// A binary of whole bytes.
    Binary(&'a [u8]),
    /// The same, on the heap itself: all words that its bytes lie in, what is behind them undefined.
    /// Only where the layout is known.
    HeapBinary {
        bytes: usize,
        words: &'a [u64],
    },
    /// The bits of a float.
    Float(u64),
    /// A big integer of one digit, as an encoding has it.
    Big {
        kind: Kind,
        digit: u64,
    },
    /// An integer that the interface tells.
    Integer(i64),
    /// What only the VM can take apart.
    Other,
}

impl View<'_> {
    /// Looks at a term of this environment: on the heap where its layout is known and the header one
    /// of those that we know, else through the interface.
    #[inline(always)]
    pub(crate) fn of(env: Env, layout: Option<&Layout>, term: Term) -> Self {
        match layout.and_then(|layout| View::on_heap(layout, term)) {
            Some(view) => view,
            None => View::by_interface(env, term),
        }
    }

    #[inline(always)]
    fn on_heap(layout: &Layout, term: Term) -> Option<Self> {
        let object = heap::object(term);
        let terms = |start: usize, count: usize| {
            // SAFETY: `Term` is a word; the object has these terms, as its header and size say.
            unsafe { std::slice::from_raw_parts(object.add(start).cast::<Term>(), count) }
        };
        // SAFETY: a term that is neither an immediate nor a list cell is a pointer to a header, and
        // each header that `layout` has is followed by what is read below.
        unsafe {
            let header = *object;
            if heap::is_tuple(header) {
                return Some(View::Tuple(terms(1, heap::words_behind(header))));
            }
            if header == layout.map {
                let size = *object.add(1) as usize;
                let keys = heap::object(Term(*object.add(2))).add(1).cast::<Term>();
                let keys = std::slice::from_raw_parts(keys, size);
                return Some(View::FlatMap { keys, values: terms(MAP_HEAD, size) });
            }
            if layout.is_binary(header) {
                let bytes = layout.binary_bytes(*object.add(1))?;
                let (data, count) = (object.add(BINARY_HEAD), word::words_for_bytes(bytes));
                let words = std::slice::from_raw_parts(data, count);
                return Some(View::HeapBinary { bytes, words });
            }
            let next = || *object.add(1);
            if header == layout.float {
                return Some(View::Float(next()));
            }
            if header == layout.big_positive {
                return Some(View::Big { kind: Kind::BigPositive, digit: next() });
            }
            if header == layout.big_negative {
                return Some(View::Big { kind: Kind::BigNegative, digit: next() });
            }
        }
        None
    }

    #[inline(never)]
    fn by_interface(env: Env, term: Term) -> Self {
        // SAFETY: the term belongs to this environment.
        match unsafe { sys::enif_term_type(env.0, term.to_nif()) } {
            ErlNifTermType::ERL_NIF_TERM_TYPE_TUPLE => {
                env.tuple_elements(term).map_or(View::Other, View::Tuple)
            }
            ErlNifTermType::ERL_NIF_TERM_TYPE_MAP => View::Map,
            ErlNifTermType::ERL_NIF_TERM_TYPE_BITSTRING => {
                env.binary_bytes(term).map_or(View::Other, View::Binary)
            }
            ErlNifTermType::ERL_NIF_TERM_TYPE_FLOAT => {
                let mut value = 0.0;
                // SAFETY: the out-parameter is valid.
                match unsafe { sys::enif_get_double(env.0, term.to_nif(), &raw mut value) } {
                    0 => View::Other,
                    _ => View::Float(value.to_bits()),
                }
            }
            ErlNifTermType::ERL_NIF_TERM_TYPE_INTEGER => {
                env.integer_value(term).map_or(View::Other, View::Integer)
            }
            _ => View::Other,
        }
    }
}

/// Keys and values of a map, through the interface.
pub(crate) fn map_pairs(env: Env, map: Term) -> Option<Vec<[Term; 2]>> {
    let mut size = 0;
    let mut iterator = MaybeUninit::<sys::ErlNifMapIterator>::uninit();
    // SAFETY: the term belongs to this environment; the iterator is initialised by `create` and
    // destroyed below.
    unsafe {
        if sys::enif_get_map_size(env.0, map.to_nif(), &raw mut size) == 0
            || sys::enif_map_iterator_create(
                env.0,
                map.to_nif(),
                iterator.as_mut_ptr(),
                sys::ErlNifMapIteratorEntry::ERL_NIF_MAP_ITERATOR_HEAD,
            ) == 0
        {
            return None;
        }
        let iterator = iterator.as_mut_ptr();
        let mut pairs = Vec::with_capacity(size);
        let mut key = Term(word::NIL).to_nif();
        let mut value = Term(word::NIL).to_nif();
        while sys::enif_map_iterator_get_pair(env.0, iterator, &raw mut key, &raw mut value) != 0 {
            pairs.push([Term::from_nif(key), Term::from_nif(value)]);
            sys::enif_map_iterator_next(env.0, iterator);
        }
        sys::enif_map_iterator_destroy(env.0, iterator);
        Some(pairs)
    }
}
