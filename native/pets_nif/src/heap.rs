//! How the VM lays out terms on its heaps, for reading and writing them there without a call for
//! each.
//!
//! What we write has to be what the VM itself would have written, because its collector and
//! everybody else who gets the term will take it for that. So nothing of this is known beforehand
//! but the shape of each object: a header word and what follows it. Each shape is made through the
//! interface when the library is loaded, and looked at; the header words are the ones found there.
//! On a VM where a shape is another one, terms are taken apart and made through the interface.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use pets_core::term::word;
use rustler::sys::{self, ErlNifTerm};

use crate::raw::{Env, Term};

/// Bytes of the longest binary that lies on the heap itself.
pub(crate) const HEAP_BINARY: usize = 64;
/// Pairs of the largest map that is an array of keys and one of values.
pub(crate) const FLAT_MAP: usize = 32;
/// Words of such a map in front of its values: header, size, and the tuple of its keys.
pub(crate) const MAP_HEAD: usize = 3;
/// Words of a heap binary in front of its bytes: header and size.
pub(crate) const BINARY_HEAD: usize = 2;

/// The header words of this VM.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Of a float, in front of its bits.
    pub(crate) float: u64,
    /// Of a big integer with one digit, in front of it.
    pub(crate) big_positive: u64,
    pub(crate) big_negative: u64,
    /// Of a map with up to [`FLAT_MAP`] pairs.
    pub(crate) map: u64,
    /// Of a heap binary, without the number of its words.
    binary: u64,
    /// A heap binary tells its size in bytes (0) or, since OTP 27, in bits (3).
    size_shift: u32,
    /// Whether the environment of a call shows where the free part of the heap is.
    shows_free: bool,
}

/// Null where terms have to be made through the interface.
static LAYOUT: AtomicPtr<Layout> = AtomicPtr::new(ptr::null_mut());

/// The layout of terms, where it is the one that we write.
#[inline]
pub(crate) fn layout() -> Option<&'static Layout> {
    // Acquire pairs with the Release in `load`. SAFETY: it is null or a leaked box.
    unsafe { LAYOUT.load(Ordering::Acquire).as_ref() }
}

/// Looks at the layout of this VM, while the library is loaded.
pub(crate) fn load(env: Env) {
    if let Some(layout) = probe(env) {
        // Release pairs with the Acquire in `layout`.
        LAYOUT.store(Box::into_raw(Box::new(layout)), Ordering::Release);
    }
}

/// The tag of a pointer to a list cell.
pub(crate) const CELL: u64 = 1;
/// The tag of a pointer to a header.
pub(crate) const BOXED: u64 = 2;

/// The first word of the object that a term refers to.
#[inline]
pub(crate) fn object(term: Term) -> *const u64 {
    // Objects are aligned to words; of the three low bits some are tags, whatever they mean.
    ptr::with_exposed_provenance((term.0 & !7) as usize)
}

/// A term that refers to what is at `object`.
#[inline]
pub(crate) fn pointer(object: *mut u64, tag: u64) -> Term {
    Term(object.expose_provenance() as u64 | tag)
}

/// The header of an object of this many words behind it.
#[inline]
pub(crate) const fn header(words: usize, tag: u64) -> u64 {
    (words as u64) << 6 | tag
}

/// Words behind a header.
#[inline]
pub(crate) const fn words_behind(header: u64) -> usize {
    (header >> 6) as usize
}

/// The tag of a tuple's header.
pub(crate) const TUPLE: u64 = 0;

/// Whether the header is a tuple's.
#[inline]
pub(crate) const fn is_tuple(header: u64) -> bool {
    header & 0x3F == TUPLE
}

impl Layout {
    /// Header and size of a heap binary.
    #[inline]
    pub(crate) fn binary_head(&self, bytes: usize) -> [u64; BINARY_HEAD] {
        let header = header(1 + word::words_for_bytes(bytes), self.binary);
        [header, (bytes as u64) << self.size_shift]
    }

    /// Whether the header is a heap binary's, of whole bytes or not.
    #[inline]
    pub(crate) fn is_binary(&self, header: u64) -> bool {
        header & 0x3F == self.binary
    }

    /// The number of bytes of a heap binary of this size; `None` if that is not a whole number.
    #[inline]
    pub(crate) fn binary_bytes(&self, size: u64) -> Option<usize> {
        let odd_bits = size & ((1 << self.size_shift) - 1);
        (odd_bits == 0).then_some((size >> self.size_shift) as usize)
    }
}

/// The free part of the heap that a call makes its terms on.
pub(crate) struct Free {
    env: Env,
    pub(crate) start: *mut u64,
}

/// Where the environment of a call has the start and the end of the free part, in words. The
/// interface hands out what is at the start and moves it on; so do we.
const FREE_START: usize = 2;
const FREE_END: usize = 3;

impl Env {
    fn bound(self, which: usize) -> *mut *mut u64 {
        // SAFETY: the structure has more than four words in all releases.
        unsafe { self.0.cast::<*mut u64>().add(which) }
    }

    /// The free part of the heap, where it is known and has room for so many words.
    #[inline]
    pub(crate) fn free(self, layout: &Layout, words: usize) -> Option<Free> {
        if !layout.shows_free {
            return None;
        }
        // SAFETY: `probe` has seen that the bounds are there; nobody changes them but the calls
        // that this thread makes.
        let (start, end) = unsafe { (*self.bound(FREE_START), *self.bound(FREE_END)) };
        let room = (end as usize).saturating_sub(start as usize) / size_of::<u64>();
        (words <= room).then_some(Free { env: self, start })
    }

    /// A block of so many words, at least two. What is there is a tuple until it is overwritten.
    pub(crate) fn block(self, words: usize) -> *mut u64 {
        const SHORT: usize = 512;
        static NILS: [u64; SHORT] = [word::NIL; SHORT];
        let many;
        let elements = match words - 1 {
            short @ 1..=SHORT => &NILS[..short],
            long => {
                many = vec![word::NIL; long];
                many.as_slice()
            }
        };
        // SAFETY: the words are as many terms, each `[]`.
        let tuple = Term::from_nif(unsafe {
            sys::enif_make_tuple_from_array(
                self.0,
                elements.as_ptr().cast::<ErlNifTerm>(),
                elements.len() as u32,
            )
        });
        object(tuple).cast_mut()
    }
}

impl Free {
    /// Takes what lies before `end`, which must be whole terms, one behind the other.
    #[inline]
    pub(crate) fn take_to(self, end: *mut u64) {
        // SAFETY: as in `Env::free`.
        unsafe { *self.env.bound(FREE_START) = end };
    }
}

/// Makes a term of each shape and looks at it. `None` where one is not as we would write it.
fn probe(env: Env) -> Option<Layout> {
    let [one, two, three] = [1, 2, 3].map(|n| env.integer(n));
    let tuple = env.tuple(&[one, two, three]);
    expect(tuple, BOXED, &[header(3, TUPLE), one.0, two.0, three.0])?;
    let list = env.list(&[one, two]);
    let rest = Term(words::<2>(list)[1]);
    expect(list, CELL, &[one.0, rest.0])?;
    expect(rest, CELL, &[two.0, word::NIL])?;

    // SAFETY: makes terms in a live environment.
    let (float, positive, negative) = unsafe {
        (
            Term::from_nif(sys::enif_make_double(env.0, -1.5)),
            Term::from_nif(sys::enif_make_uint64(env.0, u64::MAX - 1)),
            Term::from_nif(sys::enif_make_int64(env.0, i64::MIN)),
        )
    };
    let single = |term: Term, digit: u64| {
        let [header, value] = boxed::<2>(term)?;
        (words_behind(header) == 1 && !is_tuple(header) && value == digit).then_some(header)
    };
    let float = single(float, (-1.5f64).to_bits())?;
    let big_positive = single(positive, u64::MAX - 1)?;
    let big_negative = single(negative, i64::MIN.unsigned_abs())?;

    let [first, size, _] = boxed::<3>(env.binary(b"12345678"))?;
    let size_shift = match size {
        8 => 0,
        64 => 3,
        _ => return None,
    };
    let layout = Layout {
        float,
        big_positive,
        big_negative,
        map: probe_maps(env)?,
        binary: first & 0x3F,
        size_shift,
        shows_free: shows_free(env),
    };
    for length in 0..=HEAP_BINARY {
        let bytes: Vec<u8> = (1..).take(length).collect();
        let term = env.binary(&bytes);
        expect(term, BOXED, &layout.binary_head(length))?;
        // SAFETY: behind the head that it has, as just seen, the object has these bytes.
        let data = unsafe {
            std::slice::from_raw_parts(object(term).add(BINARY_HEAD).cast::<u8>(), length)
        };
        if data != bytes {
            return None;
        }
    }
    let distinct = [float, big_positive, big_negative, layout.map, first, TUPLE];
    let tags: Vec<u64> = distinct.iter().map(|header| header & 0x3F).collect();
    let twice = |(i, tag): (usize, &u64)| tags[..i].contains(tag);
    (!tags.iter().enumerate().any(twice)).then_some(layout)
}

/// The header of a small map, whose keys are in the order of [`pets_core::term::order::cmp_keys`].
fn probe_maps(env: Env) -> Option<u64> {
    // Made in another order than that of their texts.
    let mut atoms =
        ["pets_probe_z", "pets_probe_m", "pets_probe_a", "pets_probe_q"].map(|text| env.atom(text));
    atoms.sort_unstable_by_key(|atom| atom.0);
    let texts: [&[u8]; 6] = [b"", b"\0", b"a", b"aaaaaaaab", b"aaaaaaaac", b"b"];
    let mut sorted: Vec<Term> = (-5..18).map(|n| env.integer(n)).collect();
    sorted.extend(atoms);
    sorted.extend(texts.map(|text| env.binary(text)));
    let header = flat_map_header(env, &sorted[..1])?;
    for size in [2, 11, 14, 20, FLAT_MAP] {
        // With keys from both ends.
        let from = sorted.len() - size;
        for keys in [&sorted[..size], &sorted[from..]] {
            if flat_map_header(env, keys)? != header {
                return None;
            }
        }
    }
    // The next larger one is something else.
    debug_assert_eq!(sorted.len(), FLAT_MAP + 1);
    let large = make_map(env, &sorted);
    (boxed::<1>(large)? != [header]).then_some(header)
}

fn flat_map_header(env: Env, sorted_keys: &[Term]) -> Option<u64> {
    let size = sorted_keys.len();
    let map = make_map(env, sorted_keys);
    let [header, count, keys] = boxed::<MAP_HEAD>(map)?;
    if is_tuple(header) || count != size as u64 {
        return None;
    }
    let mut expected = vec![self::header(size, TUPLE)];
    expected.extend(sorted_keys.iter().map(|key| key.0));
    expect(Term(keys), BOXED, &expected)?;
    let mut expected = vec![header, count, keys];
    expected.extend((0..size).map(|n| word::small(n as i64)));
    expect(map, BOXED, &expected)?;
    Some(header)
}

/// A map from these keys to their numbers, given to the VM in another order.
fn make_map(env: Env, keys: &[Term]) -> Term {
    let pairs = keys.iter().enumerate().rev();
    let (values, keys): (Vec<_>, Vec<_>) =
        pairs.map(|(n, key)| (env.integer(n as i64).to_nif(), key.to_nif())).unzip();
    let mut map = Term(word::NIL).to_nif();
    // SAFETY: both arrays hold as many terms of this environment.
    unsafe {
        sys::enif_make_map_from_arrays(
            env.0,
            keys.as_ptr(),
            values.as_ptr(),
            keys.len(),
            &raw mut map,
        );
    }
    Term::from_nif(map)
}

/// Whether the environment tells where the next term comes to lie, and whether the VM goes on behind
/// what we take.
fn shows_free(env: Env) -> bool {
    // SAFETY: the structure has more than four words in all releases.
    let bounds = || unsafe { (*env.bound(FREE_START), *env.bound(FREE_END)) };
    let mut seen = 0;
    // A heap that is full just then is followed by another area, once at most.
    for arity in 1..10 {
        let elements = vec![Term(word::NIL); arity];
        let (start, end) = bounds();
        let tuple = object(env.tuple(&elements)).cast_mut();
        let (next, next_end) = bounds();
        if tuple != start {
            continue;
        }
        if next != start.wrapping_add(1 + arity) || next_end != end || next > end {
            return false;
        }
        if (end as usize - next as usize) < 64 {
            continue;
        }
        // SAFETY: the VM would place its next term here, and there is room for 8 words.
        unsafe {
            next.write(word::NIL);
            next.add(1).write(word::NIL);
            *env.bound(FREE_START) = next.add(2);
        }
        if object(env.tuple(&elements[..1])) != next.wrapping_add(2) {
            return false;
        }
        seen += 1;
    }
    seen >= 4
}

/// The first words of a term that is a pointer to a header; `None` if it is none.
fn boxed<const N: usize>(term: Term) -> Option<[u64; N]> {
    (term.0 & 3 == BOXED).then(|| words(term))
}

/// The first words of a term's object, which must be as long.
fn words<const N: usize>(term: Term) -> [u64; N] {
    // SAFETY: callers ask for terms that are pointers, and for no more than such a term has on a
    // heap of whole words that nothing moves during the call.
    unsafe { object(term).cast::<[u64; N]>().read() }
}

/// Whether a term is a pointer with this tag to these words.
fn expect(term: Term, tag: u64, expected: &[u64]) -> Option<()> {
    let matches = term.0 & 3 == tag
        && expected.iter().enumerate().all(|(index, &word)| {
            // SAFETY: the words before it were as expected, so that the object is as long.
            unsafe { object(term).add(index).read() == word }
        });
    matches.then_some(())
}
