//! The flat encoding straight onto the heap of the caller: one block for a whole term.
//!
//! # Why the VM can take it for its own
//!
//! The block is filled from its first word to its last with objects that lie one behind the other:
//! tuples, list cells, floats, big integers of one digit, heap binaries, small maps and the tuples
//! of their keys. Each is laid out as the VM lays it out ([`heap`] has looked), and refers to
//! immediates, to objects of the same block, to terms of the environment that the VM made, or to a
//! part that the caller passed in. So whoever goes through the heap word by word, as the collector
//! does with heap fragments, finds the beginning of an object at the end of each one; and whoever
//! follows a pointer finds what it says. The collector runs between calls only, when the block is
//! complete.
//!
//! Objects with ties to the rest of the VM are never written by hand: binaries outside of the heap,
//! references, funs and identifiers of other nodes are on lists of their process or count
//! references, and `{}` and `%{}` are the same literal everywhere. The interface makes them before
//! the block is begun.
//!
//! # Two ways to a block
//!
//! If the free part of the heap certainly suffices, the term is written there at once and the part
//! taken afterwards; what was written is given up by not taking it. Else the words are counted
//! first, what the interface has to make is made, and the block is asked for.

use pets_core::term::order;
use pets_core::term::word::{self, Kind};

use crate::decode::{self, Known, Words};
use crate::heap::{self, BINARY_HEAD, BOXED, CELL, FLAT_MAP, HEAP_BINARY, Layout, MAP_HEAD, TUPLE};
use crate::raw::{Env, Term};
use crate::waiting::Waiting;

/// Heap words that one word of an encoding takes at most, those of the list cell counted that
/// refers to it: a map of one pair of immediates takes three words here and eight there.
const GROWTH: usize = 3;
const CELL_WORDS: usize = 2;

/// Makes the term that is encoded at `at`; with `listed`, the list of it. `None` where a part of it
/// cannot be written by hand.
// Its frame is too large to be part of every lookup.
#[inline(never)]
pub(crate) fn build<W: Words + ?Sized>(
    layout: &Layout,
    env: Env,
    words: &W,
    at: usize,
    known: &Known,
    listed: bool,
) -> Option<Term> {
    let cell = if listed { CELL_WORDS } else { 0 };
    let bound = GROWTH * (words.len() - at) + cell;
    if let Some(free) = env.free(layout, bound) {
        let mut block = Block { layout, words, known, made: &[], at, next: free.start };
        // SAFETY: there is room for as many words as the encoding can make.
        if let Ok(term) = unsafe { block.write(listed) } {
            free.take_to(block.next);
            return Some(term);
        }
    }
    build_counted(layout, env, words, at, known, listed)
}

/// Elements of the largest tuples that [`listed_flat`] makes.
const FLAT_ARITY: usize = 8;

/// The list of tuples that each are small and have only immediates as elements, as most objects.
/// `None` for the general road.
#[inline(always)]
pub(crate) fn listed_flat<W: Words>(
    layout: &Layout,
    env: Env,
    tuples: impl Iterator<Item = W> + Clone,
) -> Option<Term> {
    let room = tuples.clone().map(|words| words.len() + CELL_WORDS).sum();
    let free = env.free(layout, room)?;
    let mut next = free.start;
    let mut list = word::NIL;
    // The place that refers to the next cell.
    let mut link: *mut u64 = &raw mut list;
    for words in tuples {
        let arity = words.len() - 1;
        if arity > FLAT_ARITY || words.first(0) != word::header(Kind::Tuple, arity as u64) {
            return None;
        }
        // SAFETY: there is room for each tuple and a cell behind it. What is written is given up
        // where it is not taken.
        unsafe {
            next.write(heap::header(arity, TUPLE));
            for index in 1..=arity {
                let word = words.word(index);
                // `{}` and `<<>>` are one word, too.
                if word::is_header(word) {
                    return None;
                }
                next.add(index).write(word);
            }
            let cell = next.add(1 + arity);
            cell.write(heap::pointer(next, BOXED).0);
            cell.add(1).write(word::NIL);
            link.write(heap::pointer(cell, CELL).0);
            link = cell.add(1);
            next = cell.add(CELL_WORDS);
        }
    }
    free.take_to(next);
    Some(Term(list))
}

/// As [`build`], for a heap with whatever room.
#[cold]
#[inline(never)]
pub(crate) fn build_counted<W: Words + ?Sized>(
    layout: &Layout,
    env: Env,
    words: &W,
    at: usize,
    known: &Known,
    listed: bool,
) -> Option<Term> {
    let mut made = MadeTerms::new();
    let size = count(env, words, at, known, &mut made)? + if listed { CELL_WORDS } else { 0 };
    if u32::try_from(size).is_err() {
        return None;
    }
    if size == 0 {
        // An immediate, known, or made already.
        return Some(match made.as_slice().first() {
            Some(made) => made.term,
            None if at == known.at => known.term,
            None => Term(words.first(at)),
        });
    }
    if let Some(free) = env.free(layout, size) {
        let mut block = Block { layout, words, known, made: made.as_slice(), at, next: free.start };
        // SAFETY: there is room for as many words as have just been counted, by the same rules.
        let term = unsafe { block.write(listed) }.ok()?;
        assert!(block.next == free.start.wrapping_add(size), "what was counted is filled");
        free.take_to(block.next);
        return Some(term);
    }
    let start = env.block(size);
    let mut block = Block { layout, words, known, made: made.as_slice(), at, next: start };
    // SAFETY: as above, in a block of its own.
    let written = unsafe { block.write(listed) };
    if let Ok(term) = written {
        assert!(block.next == start.wrapping_add(size), "the block is filled");
        return Some(term);
    }
    // Nobody refers to the block, but it must be something: a tuple, as it was.
    // SAFETY: it has `size` words, at least two.
    unsafe {
        start.write(heap::header(size - 1, TUPLE));
        for index in 1..size {
            start.add(index).write(word::NIL);
        }
    }
    None
}

/// A term that the interface made for the encoding up to `end`.
#[derive(Clone, Copy)]
struct Made {
    term: Term,
    end: usize,
}

/// Such terms in their order. A few need no allocation.
struct MadeTerms {
    few: [Made; MadeTerms::FEW],
    count: usize,
    /// All of them, if they are more.
    many: Vec<Made>,
}

impl MadeTerms {
    const FEW: usize = 4;

    fn new() -> Self {
        let nothing = Made { term: Term(word::NIL), end: 0 };
        MadeTerms { few: [nothing; MadeTerms::FEW], count: 0, many: Vec::new() }
    }

    fn push(&mut self, made: Made) {
        match self.few.get_mut(self.count) {
            Some(place) => *place = made,
            None => {
                if self.many.is_empty() {
                    self.many.extend_from_slice(&self.few);
                }
                self.many.push(made);
            }
        }
        self.count += 1;
    }

    fn as_slice(&self) -> &[Made] {
        if self.many.is_empty() { &self.few[..self.count] } else { &self.many }
    }
}

/// Counts the heap words of a term. Makes, in their order, the parts that are not written by hand.
fn count<W: Words + ?Sized>(
    env: Env,
    words: &W,
    mut at: usize,
    known: &Known,
    made: &mut MadeTerms,
) -> Option<usize> {
    let mut size = 0;
    let mut left = 1;
    while left > 0 {
        left -= 1;
        let first = words.first(at);
        if at == known.at {
            at += known.len;
            continue;
        }
        let Some((kind, n)) = word::split_header(first) else {
            at += 1;
            continue;
        };
        let n = n as usize;
        match shape(kind, n) {
            Shape::Tuple => {
                size += 1 + n;
                left += n;
                at += 1;
            }
            Shape::List => {
                size += CELL_WORDS * n;
                left += n + usize::from(kind == Kind::ImproperList);
                at += 1;
            }
            Shape::Map => {
                size += MAP_HEAD + n + 1 + n;
                left += 2 * n;
                at += 1;
            }
            Shape::Binary => {
                size += BINARY_HEAD + word::words_for_bytes(n);
                at += 1 + word::words_for_bytes(n);
            }
            Shape::Single => {
                size += 2;
                at += 2;
            }
            Shape::Made => {
                let term = decode::leaf_by_interface(env, words, &mut at);
                made.push(Made { term, end: at });
            }
            Shape::LargeMap => return None,
        }
    }
    Some(size)
}

/// How a term is written that starts with a header.
enum Shape {
    Tuple,
    List,
    Map,
    Binary,
    /// A header and one word.
    Single,
    /// By the interface.
    Made,
    /// Not at all: a tree of hashes.
    LargeMap,
}

#[inline(always)]
fn shape(kind: Kind, count: usize) -> Shape {
    match kind {
        Kind::Tuple if count > 0 => Shape::Tuple,
        Kind::List | Kind::ImproperList => Shape::List,
        Kind::Map if 0 < count && count <= FLAT_MAP => Shape::Map,
        Kind::Map if count > 0 => Shape::LargeMap,
        Kind::Binary if count <= HEAP_BINARY => Shape::Binary,
        Kind::Float => Shape::Single,
        Kind::BigPositive | Kind::BigNegative if count == 1 => Shape::Single,
        _ => Shape::Made,
    }
}

/// A part that is not written by hand, where there is none that the interface made; or a map
/// whose keys may be in another order on the heap.
struct Unwritable;

/// A block that is being filled.
struct Block<'a, W: ?Sized> {
    layout: &'a Layout,
    words: &'a W,
    known: &'a Known,
    made: &'a [Made],
    /// The first word of the encoding.
    at: usize,
    /// The next word of the block.
    next: *mut u64,
}

/// What kind of places wait for their terms.
#[derive(Clone, Copy)]
enum Kin {
    /// One behind the other.
    Row,
    /// The heads of list cells one behind the other.
    Heads,
    /// The same, and then the tail of the last one.
    HeadsAndTail,
    /// Keys and values of a map in turn; a key is next.
    Key,
    /// A value is next.
    Value,
}

/// Places on the heap that wait for their terms.
#[derive(Clone, Copy)]
struct Places {
    kin: Kin,
    /// The next one; of a map, that of the next key.
    place: *mut u64,
    /// Of a map, the place of the next value.
    value: *mut u64,
    /// Places left; of a map, values.
    left: usize,
}

impl<W: Words + ?Sized> Block<'_, W> {
    /// Writes the next term of the encoding, or the list of it.
    ///
    /// # Safety
    /// There is room for it.
    #[inline]
    unsafe fn write(&mut self, listed: bool) -> Result<Term, Unwritable> {
        let mut root = word::NIL;
        if !listed {
            // SAFETY: by the caller.
            unsafe { self.fill(&raw mut root) }?;
            return Ok(Term(root));
        }
        let cell = self.next;
        // SAFETY: by the caller.
        unsafe {
            self.next = cell.add(CELL_WORDS);
            cell.add(1).write(word::NIL);
            self.fill(cell)?;
        }
        Ok(heap::pointer(cell, CELL))
    }

    /// Writes the next term of the encoding to a place. Depth costs heap, not stack.
    ///
    /// # Safety
    /// There is room for what the term takes besides.
    #[inline]
    unsafe fn fill(&mut self, root: *mut u64) -> Result<(), Unwritable> {
        let Block { layout, words, known, .. } = *self;
        let (mut at, mut next) = (self.at, self.next);
        let mut places = Places { kin: Kin::Row, place: root, value: root, left: 0 };
        let mut waiting = Waiting::new();
        let mut here = root;
        let mut first = words.first(at);
        if word::is_immediate(first) {
            // SAFETY: by the caller.
            unsafe { root.write(first) };
            return Ok(());
        }
        'parts: loop {
            // A part that is no immediate, and the place for it.
            let term = if at == known.at {
                at += known.len;
                known.term
            } else {
                let (kind, count) = word::split_header(first).expect(
                    "stored encodings are well-formed: only `encode` and `etf::decode` make them",
                );
                let n = count as usize;
                let start = next;
                // SAFETY: by the caller there is room for the object, whose words these are.
                unsafe {
                    match shape(kind, n) {
                        Shape::Tuple => {
                            start.write(heap::header(n, TUPLE));
                            next = start.add(1 + n);
                            at += 1;
                            // A tuple of immediates, the commonest of all, leaves no places.
                            let place = start.add(1);
                            let flat = words.run(at, n).enumerate().find(|&(index, word)| {
                                place.add(index).write(word);
                                word::is_header(word)
                            });
                            if let Some((index, word)) = flat {
                                here.write(heap::pointer(start, BOXED).0);
                                if places.left > 0 {
                                    waiting.push(places);
                                }
                                (first, here) = (word, place.add(index));
                                at += index;
                                let (place, left) = (here.add(1), n - index - 1);
                                places = Places { kin: Kin::Row, place, value: place, left };
                                continue 'parts;
                            }
                            at += n;
                            heap::pointer(start, BOXED)
                        }
                        Shape::List => {
                            next = start.add(CELL_WORDS * n);
                            at += 1;
                            if places.left > 0 {
                                waiting.push(places);
                            }
                            let kin = match kind {
                                Kind::ImproperList => Kin::HeadsAndTail,
                                _ => Kin::Heads,
                            };
                            places = Places { kin, place: start, value: start, left: n };
                            heap::pointer(start, CELL)
                        }
                        Shape::Map => {
                            let value = start.add(MAP_HEAD);
                            let keys = value.add(n);
                            start.write(layout.map);
                            start.add(1).write(count);
                            start.add(2).write(heap::pointer(keys, BOXED).0);
                            keys.write(heap::header(n, TUPLE));
                            next = keys.add(1 + n);
                            at += 1;
                            if places.left > 0 {
                                waiting.push(places);
                            }
                            places = Places { kin: Kin::Key, place: keys.add(1), value, left: n };
                            heap::pointer(start, BOXED)
                        }
                        Shape::Binary => {
                            let payload = word::words_for_bytes(n);
                            start.cast::<[u64; BINARY_HEAD]>().write(layout.binary_head(n));
                            for index in 0..payload {
                                let bytes = words.word(at + 1 + index).to_le_bytes();
                                let place = start.add(BINARY_HEAD + index);
                                place.write(u64::from_ne_bytes(bytes));
                            }
                            next = start.add(BINARY_HEAD + payload);
                            at += 1 + payload;
                            heap::pointer(start, BOXED)
                        }
                        Shape::Single => {
                            start.write(match kind {
                                Kind::Float => layout.float,
                                Kind::BigNegative => layout.big_negative,
                                _ => layout.big_positive,
                            });
                            start.add(1).write(words.word(at + 1));
                            next = start.add(2);
                            at += 2;
                            heap::pointer(start, BOXED)
                        }
                        Shape::Made => {
                            let (made, others) = self.made.split_first().ok_or(Unwritable)?;
                            self.made = others;
                            at = made.end;
                            made.term
                        }
                        Shape::LargeMap => return Err(Unwritable),
                    }
                }
            };
            // SAFETY: the place of the part that was just written.
            unsafe { here.write(term.0) };
            // Immediates, up to the next part that is none. Each place takes a word at least.
            'nested: loop {
                let Places { kin, place, value, left } = places;
                // SAFETY: these are the places that `places` says, all of them in the block, and
                // behind the last one nothing is written.
                unsafe {
                    match kin {
                        Kin::Row => {
                            for (index, word) in words.run(at, left).enumerate() {
                                if word::is_header(word) {
                                    (first, here) = (word, place.add(index));
                                    at += index;
                                    places.place = here.add(1);
                                    places.left = left - index - 1;
                                    break 'nested;
                                }
                                place.add(index).write(word);
                            }
                            at += left;
                        }
                        Kin::Heads | Kin::HeadsAndTail => {
                            let mut cell = place;
                            for (index, word) in words.run(at, left).enumerate() {
                                let following = cell.add(CELL_WORDS);
                                cell.add(1).write(heap::pointer(following, CELL).0);
                                if word::is_header(word) {
                                    (first, here) = (word, cell);
                                    at += index;
                                    places.place = following;
                                    places.left = left - index - 1;
                                    if places.left == 0 {
                                        places = after_heads(kin, following);
                                    }
                                    break 'nested;
                                }
                                cell.write(word);
                                cell = following;
                            }
                            at += left;
                            places = after_heads(kin, cell);
                            if places.left > 0 {
                                continue 'nested;
                            }
                        }
                        Kin::Key => {
                            let mut run = words.run(at, 2 * left);
                            for index in 0..left {
                                let (Some(k), Some(v)) = (run.next(), run.next()) else { break };
                                let plain = word::is_atom(k) || word::is_small(k);
                                if !plain && !order::is_plain_key(k) {
                                    return Err(Unwritable);
                                }
                                if !plain || word::is_header(v) {
                                    at += 2 * index;
                                    places.place = place.add(index + 1);
                                    places.value = value.add(index);
                                    places.left = left - index;
                                    if plain {
                                        place.add(index).write(k);
                                        at += 1;
                                        (first, here) = (v, places.value);
                                        places.value = here.add(1);
                                        places.left -= 1;
                                    } else {
                                        (first, here) = (k, place.add(index));
                                        places.kin = Kin::Value;
                                    }
                                    break 'nested;
                                }
                                place.add(index).write(k);
                                value.add(index).write(v);
                            }
                            at += 2 * left;
                        }
                        Kin::Value => {
                            first = words.word(at);
                            here = value;
                            places.kin = Kin::Key;
                            places.value = value.add(1);
                            places.left -= 1;
                            if word::is_header(first) {
                                break 'nested;
                            }
                            here.write(first);
                            at += 1;
                            if places.left > 0 {
                                continue 'nested;
                            }
                        }
                    }
                }
                match waiting.pop() {
                    Some(outer) => places = outer,
                    None => {
                        self.next = next;
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// What is left of a list after its last head; `end` is behind the cell.
///
/// # Safety
/// The cell is there.
#[inline(always)]
unsafe fn after_heads(kin: Kin, end: *mut u64) -> Places {
    // SAFETY: by the caller.
    let tail = unsafe { end.sub(1) };
    let left = usize::from(matches!(kin, Kin::HeadsAndTail));
    if left == 0 {
        // SAFETY: as above.
        unsafe { tail.write(word::NIL) };
    }
    Places { kin: Kin::Row, place: tail, value: tail, left }
}
