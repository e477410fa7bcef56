//! Terms of the VM into the flat encoding.

use pets_core::term::word::{self, Kind};
use pets_core::term::{etf, order};

use crate::heap::{self, Layout};
use crate::raw::{Env, Term};
use crate::view::{View, map_pairs};
use crate::vm;
use crate::waiting::Waiting;

/// Why a term was not encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// More words than the caller allowed: try again where time does not matter.
    TooLarge,
    /// The term cannot be stored at all.
    Unsupported,
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
    let layout = heap::layout();
    if layout.is_some() && encode_flat(term, out) {
        return Ok(());
    }
    encode_nested(env, layout, term, out, limit)
}

#[inline(never)]
fn encode_nested(
    env: Env,
    layout: Option<&'static Layout>,
    term: Term,
    out: &mut Vec<u64>,
    limit: usize,
) -> Result<(), Refused> {
    Encoder { env, layout, out, limit, collected: Vec::new() }.run(term)
}

/// Elements of the largest tuple that [`encode_flat`] encodes.
const FLAT_ARITY: usize = 8;

/// Encodes a small tuple of immediates, as most objects are, where the layout is known. False for
/// the general road; `out` is as it was then.
#[inline(always)]
fn encode_flat(term: Term, out: &mut Vec<u64>) -> bool {
    if term.is_list_cell() {
        return false;
    }
    let object = heap::object(term);
    // SAFETY: a term that is neither an immediate nor a list cell is a pointer to a header, and a
    // tuple's is followed by as many terms as it says.
    unsafe {
        let header = *object;
        let arity = heap::words_behind(header);
        if !heap::is_tuple(header) || arity > FLAT_ARITY {
            return false;
        }
        out.reserve(1 + FLAT_ARITY);
        let end = out.as_mut_ptr().add(out.len());
        end.write(word::header(Kind::Tuple, arity as u64));
        for index in 1..=arity {
            let element = Term(*object.add(index));
            if !element.is_immediate() {
                return false;
            }
            end.add(index).write(element.0);
        }
        // There is room for that, and so many words have just been written.
        out.set_len(out.len() + 1 + arity);
    }
    true
}

/// As [`encode`], with a call for each part, as where the layout of terms is unknown.
///
/// # Errors
/// As [`encode`].
pub(crate) fn encode_by_interface(
    env: Env,
    term: Term,
    out: &mut Vec<u64>,
    limit: usize,
) -> Result<(), Refused> {
    Encoder { env, layout: None, out, limit, collected: Vec::new() }.run(term)
}

/// Parts of a term that are still to be encoded. Lists keep their tail, the others a part of the
/// caller's heap, which nothing moves during the call.
#[derive(Clone, Copy)]
enum Parts {
    Elements {
        elements: *const Term,
        left: usize,
    },
    List {
        rest: Term,
        header: usize,
        count: usize,
    },
    /// Keys and values in turn, a key first; the keys are plain and in order.
    Pairs {
        keys: *const Term,
        values: *const Term,
        left: usize,
    },
    /// The last value of a pair, and the pairs behind it.
    ValueAndPairs {
        keys: *const Term,
        values: *const Term,
        left: usize,
    },
    /// The last one of the maps that were collected.
    Collected,
}

impl Parts {
    const NONE: Self = Parts::Elements { elements: std::ptr::null(), left: 0 };

    #[inline(always)]
    fn are_none(self) -> bool {
        match self {
            Parts::Elements { left, .. } | Parts::Pairs { left, .. } => left == 0,
            Parts::List { .. } | Parts::ValueAndPairs { .. } | Parts::Collected => false,
        }
    }
}

/// A map whose keys are not all plain, or that is no array.
struct Collected {
    /// Keys and values still to come, reversed.
    rest: Vec<Term>,
    /// Where its encoding starts.
    header: usize,
    /// Where each key and each value in turn starts, if the keys have to be encoded before they can
    /// be brought into order.
    parts: Option<Vec<usize>>,
}

struct Encoder<'a> {
    env: Env,
    layout: Option<&'static Layout>,
    out: &'a mut Vec<u64>,
    limit: usize,
    /// Innermost last.
    collected: Vec<Collected>,
}

impl Encoder<'_> {
    fn run(mut self, term: Term) -> Result<(), Refused> {
        let mut waiting = Waiting::new();
        let mut parts = Parts::NONE;
        let mut part = term;
        loop {
            // A part that is no immediate.
            let inner = self.open(part)?;
            if let Some(inner) = inner {
                if !parts.are_none() {
                    waiting.push(parts);
                }
                parts = inner;
            }
            // The next one, and the immediates in front of it.
            part = loop {
                if let Some(part) = self.advance(&mut parts)? {
                    break part;
                }
                match waiting.pop() {
                    Some(outer) => parts = outer,
                    None if self.out.len() > self.limit => return Err(Refused::TooLarge),
                    None => return Ok(()),
                }
            };
        }
    }

    /// Room for so many words.
    #[inline(always)]
    fn room(&mut self, words: usize) -> Result<Room<'_>, Refused> {
        self.reserve(words)?;
        Ok(Room::new(self.out))
    }

    /// Makes room for so many words.
    #[inline(always)]
    fn reserve(&mut self, words: usize) -> Result<(), Refused> {
        if words > self.limit.saturating_sub(self.out.len()) {
            return Err(Refused::TooLarge);
        }
        self.out.reserve(words);
        Ok(())
    }

    /// Writes a leaf, or the beginning of a compound term, whose parts it returns.
    #[inline]
    fn open(&mut self, term: Term) -> Result<Option<Parts>, Refused> {
        if term.is_list_cell() {
            let header = self.out.len();
            self.out.push(0);
            return Ok(Some(Parts::List { rest: term, header, count: 0 }));
        }
        match View::of(self.env, self.layout, term) {
            View::Tuple(elements) => {
                self.out.push(word::header(Kind::Tuple, elements.len() as u64));
                let (elements, left) = (elements.as_ptr(), elements.len());
                return Ok(Some(Parts::Elements { elements, left }));
            }
            View::FlatMap { keys, values } => {
                if self.are_plain(keys) {
                    self.out.push(word::header(Kind::Map, keys.len() as u64));
                    let (keys, values, left) = (keys.as_ptr(), values.as_ptr(), keys.len());
                    return Ok(Some(Parts::Pairs { keys, values, left }));
                }
                let pairs = keys.iter().zip(values).map(|(&key, &value)| [key, value]);
                return Ok(Some(self.collect(pairs.collect())));
            }
            View::Map => {
                let pairs = map_pairs(self.env, term).ok_or(Refused::Unsupported)?;
                return Ok(Some(self.collect(pairs)));
            }
            View::Binary(bytes) => {
                self.reserve(1 + word::words_for_bytes(bytes.len()))?;
                self.out.push(word::header(Kind::Binary, bytes.len() as u64));
                append_words(bytes, self.out);
            }
            View::HeapBinary { bytes, words } => {
                let mut room = self.room(1 + words.len())?;
                // SAFETY: there is room for the header and the words.
                unsafe { room.push(word::header(Kind::Binary, bytes as u64)) };
                if let Some((last, whole)) = words.split_last() {
                    for word in whole {
                        // SAFETY: as above.
                        unsafe { room.push(u64::from_le(*word)) };
                    }
                    let unused_bits = 8 * (8 * words.len() - bytes) as u32;
                    // SAFETY: as above.
                    unsafe { room.push(u64::from_le(*last) << unused_bits >> unused_bits) };
                }
            }
            View::Float(bits) => self.out.extend([word::header(Kind::Float, 1), bits]),
            View::Big { kind, digit } => self.out.extend([word::header(kind, 1), digit]),
            View::Integer(value) => word::push_integer(self.out, i128::from(value)),
            View::Other => serialised(self.env, term, self.out)?,
        }
        Ok(None)
    }

    /// Whether these keys of a small map are in the order of an encoding as they are.
    #[inline(always)]
    fn are_plain(&self, keys: &[Term]) -> bool {
        let immediate = |key: &Term| word::is_atom(key.0) || word::is_small(key.0);
        keys.iter().all(|key| {
            immediate(key)
                || key.0 & 3 == heap::BOXED
                    && matches!(
                        View::of(self.env, self.layout, *key),
                        View::Binary(_) | View::HeapBinary { .. }
                    )
        })
    }

    #[cold]
    fn collect(&mut self, mut pairs: Vec<[Term; 2]>) -> Parts {
        let header = self.out.len();
        self.out.push(word::header(Kind::Map, pairs.len() as u64));
        // One word each: their order is known before they are encoded.
        let parts = if pairs.iter().all(|[key, _]| key.is_immediate()) {
            pairs.sort_unstable_by(|[a, _], [b, _]| order::cmp_keys(&[a.0], &[b.0]));
            None
        } else {
            Some(Vec::with_capacity(2 * pairs.len()))
        };
        let rest = pairs.iter().rev().flat_map(|&[key, value]| [value, key]).collect();
        self.collected.push(Collected { rest, header, parts });
        Parts::Collected
    }

    /// Encodes immediates up to the first part that is none, and returns that.
    #[inline(always)]
    fn advance(&mut self, parts: &mut Parts) -> Result<Option<Term>, Refused> {
        if let Parts::ValueAndPairs { keys, values, left } = *parts {
            // SAFETY: there is the value of the last key, and `left` more.
            let (value, values) = unsafe { (*values, values.add(1)) };
            *parts = Parts::Pairs { keys, values, left };
            if !value.is_immediate() {
                return Ok(Some(value));
            }
            self.out.push(value.0);
        }
        match *parts {
            Parts::Elements { elements, left } => {
                let mut room = self.room(left)?;
                for index in 0..left {
                    // SAFETY: there are `left` terms.
                    let element = unsafe { *elements.add(index) };
                    if !element.is_immediate() {
                        // SAFETY: as above; behind the last one it is not read.
                        let elements = unsafe { elements.add(index + 1) };
                        *parts = Parts::Elements { elements, left: left - index - 1 };
                        return Ok(Some(element));
                    }
                    // SAFETY: there is room for `left` words.
                    unsafe { room.push(element.0) };
                }
                *parts = Parts::NONE;
                Ok(None)
            }
            Parts::List { rest, header, count } => self.advance_list(parts, rest, header, count),
            Parts::Pairs { keys, values, left } => {
                let mut room = self.room(2 * left)?;
                for index in 0..left {
                    // SAFETY: there are `left` keys and `left` values.
                    let (key, value) = unsafe { (*keys.add(index), *values.add(index)) };
                    // SAFETY: as above; behind the last ones they are not read.
                    let (keys, values) = unsafe { (keys.add(index + 1), values.add(index)) };
                    let left = left - index - 1;
                    if !key.is_immediate() {
                        *parts = Parts::ValueAndPairs { keys, values, left };
                        return Ok(Some(key));
                    }
                    // SAFETY: there is room for a word for each key and each value.
                    unsafe { room.push(key.0) };
                    if !value.is_immediate() {
                        // SAFETY: as above.
                        *parts = Parts::Pairs { keys, values: unsafe { values.add(1) }, left };
                        return Ok(Some(value));
                    }
                    // SAFETY: as above.
                    unsafe { room.push(value.0) };
                }
                *parts = Parts::NONE;
                Ok(None)
            }
            Parts::ValueAndPairs { .. } => unreachable!("its value was taken above"),
            Parts::Collected => self.advance_collected(parts),
        }
    }

    #[inline]
    fn advance_list(
        &mut self,
        parts: &mut Parts,
        mut rest: Term,
        header: usize,
        mut count: usize,
    ) -> Result<Option<Term>, Refused> {
        /// Heads for which room is made at a time.
        const ROOM: usize = 32;
        while rest.is_list_cell() {
            self.reserve(1)?;
            self.out.reserve(ROOM);
            let mut room = Room::new(self.out);
            for _ in 0..ROOM {
                let (head, tail) = match self.layout {
                    // SAFETY: a cell has two words, head and tail.
                    Some(_) => unsafe { heap::object(rest).cast::<(Term, Term)>().read() },
                    None => self.env.list_cell(rest).ok_or(Refused::Unsupported)?,
                };
                count += 1;
                rest = tail;
                if !head.is_immediate() {
                    drop(room);
                    *parts = Parts::List { rest, header, count };
                    if rest.0 == word::NIL {
                        // Nothing waits for what is nested at the end.
                        self.out[header] = word::header(Kind::List, count as u64);
                        *parts = Parts::NONE;
                    }
                    return Ok(Some(head));
                }
                // SAFETY: there is room for as many words as the loop has turns.
                unsafe { room.push(head.0) };
                if !rest.is_list_cell() {
                    break;
                }
            }
        }
        *parts = Parts::NONE;
        let improper = rest.0 != word::NIL;
        let kind = if improper { Kind::ImproperList } else { Kind::List };
        self.out[header] = word::header(kind, count as u64);
        if improper && rest.is_immediate() {
            self.out.push(rest.0);
        }
        Ok((improper && !rest.is_immediate()).then_some(rest))
    }

    fn advance_collected(&mut self, parts: &mut Parts) -> Result<Option<Term>, Refused> {
        loop {
            let map = self.collected.last_mut().expect("collected when its parts were begun");
            let Some(part) = map.rest.pop() else { break };
            if let Some(starts) = &mut map.parts {
                starts.push(self.out.len());
            }
            if !part.is_immediate() {
                return Ok(Some(part));
            }
            self.reserve(1)?;
            self.out.push(part.0);
        }
        *parts = Parts::NONE;
        let map = self.collected.pop().expect("as above");
        if let Some(starts) = map.parts {
            sort_pairs(self.out, map.header, &starts);
        }
        Ok(None)
    }
}

/// The free part of a vector, filled word by word; the vector has them when this is dropped. A
/// vector that is pushed to through a reference keeps its length in memory, a turn of a loop waits
/// there for the one before.
struct Room<'a> {
    words: &'a mut Vec<u64>,
    next: *mut u64,
}

impl<'a> Room<'a> {
    #[inline(always)]
    fn new(words: &'a mut Vec<u64>) -> Self {
        let next = words.spare_capacity_mut().as_mut_ptr().cast();
        Room { words, next }
    }

    /// # Safety
    /// The vector has room for it.
    #[inline(always)]
    unsafe fn push(&mut self, word: u64) {
        // SAFETY: by the caller.
        unsafe {
            self.next.write(word);
            self.next = self.next.add(1);
        }
    }
}

impl Drop for Room<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: `next` only moves within the vector's allocation, over words that were written.
        unsafe {
            let length = self.next.offset_from_unsigned(self.words.as_ptr());
            self.words.set_len(length);
        }
    }
}

/// Appends bytes as the payload of a binary. There must be room for it.
#[inline]
fn append_words(bytes: &[u8], out: &mut Vec<u64>) {
    let (start, words) = (out.len(), word::words_for_bytes(bytes.len()));
    if words == 0 {
        return;
    }
    let room = &mut out.spare_capacity_mut()[..words];
    room[words - 1].write(0);
    // SAFETY: so many words have room for so many bytes; all of them are written, the last one also
    // where no byte comes to lie in it.
    unsafe {
        let bytes_room = room.as_mut_ptr().cast::<u8>();
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), bytes_room, bytes.len());
        out.set_len(start + words);
    }
    if cfg!(target_endian = "big") {
        out[start..].iter_mut().for_each(|word| *word = u64::from_le(*word));
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

/// Brings the pairs of a map, the last term in `out`, into canonical order. Each key and each value in
/// turn starts at one of `starts`.
fn sort_pairs(out: &mut Vec<u64>, header: usize, starts: &[usize]) {
    let ends = starts.iter().skip(2).step_by(2).copied().chain([out.len()]);
    let (starts, _) = starts.as_chunks::<2>();
    let mut pairs: Vec<_> =
        starts.iter().zip(ends).map(|(&[key, value], end)| (key, value, end)).collect();
    let in_order = |(a, a_end, _): &(usize, usize, usize),
                    (b, b_end, _): &(usize, usize, usize)| {
        order::cmp_keys(&out[*a..*a_end], &out[*b..*b_end])
    };
    // The VM keeps small maps in its own order of keys, which is nearly ours.
    if pairs.is_sorted_by(|a, b| in_order(a, b).is_le()) {
        return;
    }
    pairs.sort_unstable_by(in_order);
    let start = header + 1;
    let mut sorted = Vec::with_capacity(out.len() - start);
    for (key, _, end) in pairs {
        sorted.extend_from_slice(&out[key..end]);
    }
    out.truncate(start);
    out.extend_from_slice(&sorted);
}
