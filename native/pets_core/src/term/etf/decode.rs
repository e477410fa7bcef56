//! External term format to words.

use super::{VERSION, tag};
use crate::term::atoms::{self, AtomBudget, InternError, PidParts};
use crate::term::order;
use crate::term::walk::append_words;
use crate::term::word::{self, Kind};

/// What a term from outside may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Words that the decoded term may take.
    pub max_words: usize,
    /// New atoms that bytes from outside may make, over the life of the process.
    pub atoms: AtomBudget,
}

impl Default for Limits {
    /// 2^27 words (1 GiB) and the default number of atoms.
    fn default() -> Self {
        Limits { max_words: 1 << 27, atoms: AtomBudget::default() }
    }
}

/// Why bytes are refused. Nothing was appended; atoms that the bytes named before the fault may
/// have been made, within the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end within a term, or a count is beyond what they can hold.
    #[error("the bytes end within a term")]
    Truncated,
    /// The first byte is not the version that we know.
    #[error("version byte {0} instead of 131")]
    Version(u8),
    /// A tag that is unknown, out of use, or not allowed where it stands.
    #[error("tag {0} is not one of a term here")]
    Tag(u8),
    /// The term is compressed.
    #[error("compressed terms are not accepted")]
    Compressed,
    /// An atom's text is not UTF-8.
    #[error("an atom is not UTF-8")]
    NotUtf8,
    /// An atom was refused.
    #[error(transparent)]
    Atom(#[from] InternError),
    /// A float is infinite, no number, or not spelled like one.
    #[error("a float is not a finite number")]
    Float,
    /// The bits in the last byte of a bitstring are not 1 to 8.
    #[error("a bitstring with an impossible length")]
    Bitstring,
    /// A pid, port, reference or fun has numbers that no VM gives it.
    #[error("a pid, port, reference or fun with impossible numbers")]
    Identifier,
    /// A map has a key twice.
    #[error("a map with a key twice")]
    DuplicateKey,
    /// The decoded term would take more than [`Limits::max_words`].
    #[error("the term is larger than allowed")]
    TooLarge,
    /// Maps are nested in keys of maps so deeply that to sort them costs too much.
    #[error("maps are nested too deeply in keys of maps")]
    KeysTooDeep,
}

/// Reads one term without the version byte from the start of `bytes`, appends its words to `out`,
/// and returns how many bytes it took.
///
/// # Errors
/// [`DecodeError`]; `out` is as before then.
pub fn decode(bytes: &[u8], out: &mut Vec<u64>, limits: &Limits) -> Result<usize, DecodeError> {
    let start = out.len();
    let mut decoder = Decoder {
        input: Input { bytes, at: 0 },
        out,
        start,
        limits,
        marks: Vec::new(),
        unsorted: Vec::new(),
        moved: 0,
    };
    match decoder.run() {
        Ok(()) => Ok(decoder.input.at),
        Err(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

/// Reads one term after the version byte 131; otherwise as [`decode`].
///
/// # Errors
/// [`DecodeError`]; `out` is as before then.
pub fn decode_versioned(
    bytes: &[u8],
    out: &mut Vec<u64>,
    limits: &Limits,
) -> Result<usize, DecodeError> {
    match bytes.split_first() {
        None => Err(DecodeError::Truncated),
        Some((&VERSION, rest)) => Ok(1 + decode(rest, out, limits)?),
        Some((&other, _)) => Err(DecodeError::Version(other)),
    }
}

/// The bytes not read yet.
struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    #[inline(always)]
    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    #[inline(always)]
    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let taken = self.bytes[self.at..].get(..count).ok_or(DecodeError::Truncated)?;
        self.at += count;
        Ok(taken)
    }

    #[inline(always)]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let taken = self.bytes[self.at..].first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.at += N;
        Ok(*taken)
    }

    #[inline(always)]
    fn byte(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline(always)]
    fn u16(&mut self) -> Result<usize, DecodeError> {
        Ok(u16::from_be_bytes(self.array()?).into())
    }

    #[inline(always)]
    fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    #[inline(always)]
    fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// A count of parts, each of which takes at least this many bytes.
    #[inline(always)]
    fn count(&mut self, bytes_each: usize) -> Result<usize, DecodeError> {
        let count = self.u32()? as usize;
        if count > self.left() / bytes_each {
            return Err(DecodeError::Truncated);
        }
        Ok(count)
    }
}

/// Something whose end needs attention.
enum Open {
    List { header_at: usize, count: usize, outer_left: usize },
    Map { header_at: usize, pairs_left: usize, first_mark: usize, in_key: bool, outer_left: usize },
}

/// A map whose pairs are still in the order in which they came.
struct Unsorted {
    header_at: usize,
    end: usize,
    /// Where each pair is, in the order in which it should be.
    pairs: Vec<(usize, usize)>,
}

struct Decoder<'a, 'b> {
    input: Input<'a>,
    out: &'b mut Vec<u64>,
    start: usize,
    limits: &'a Limits,
    /// Where the keys and values of the open maps begin, in turn.
    marks: Vec<usize>,
    /// In the order in which the maps ended. Pairs are moved once, when the term is complete, so
    /// that the cost does not grow with the depth of nesting.
    unsorted: Vec<Unsorted>,
    /// Words moved so far to sort maps within keys.
    moved: usize,
}

impl Decoder<'_, '_> {
    fn run(&mut self) -> Result<(), DecodeError> {
        // The innermost apart, so that one level needs no allocation.
        let mut innermost: Option<Open> = None;
        let mut outer: Vec<Open> = Vec::new();
        let mut left = 1;
        loop {
            while left == 0 {
                let Some(top) = &mut innermost else {
                    self.sort_pairs(self.start);
                    return self.check_size();
                };
                match top {
                    Open::List { header_at, count, outer_left } => {
                        // What follows the last element is the tail; one that is a list itself
                        // continues this one.
                        let kind = match self.input.bytes.get(self.input.at) {
                            None => return Err(DecodeError::Truncated),
                            Some(&tag::LIST) => {
                                self.input.at += 1;
                                left = self.input.count(1)?;
                                *count += left;
                                continue;
                            }
                            Some(&tag::NIL) => {
                                self.input.at += 1;
                                left = *outer_left;
                                Kind::List
                            }
                            Some(&tag::STRING) => {
                                self.input.at += 1;
                                let length = self.input.u16()?;
                                let bytes = self.input.take(length)?;
                                self.out.extend(bytes.iter().map(|b| word::small((*b).into())));
                                *count += length;
                                left = *outer_left;
                                Kind::List
                            }
                            Some(_) => {
                                left = *outer_left + 1;
                                Kind::ImproperList
                            }
                        };
                        self.out[*header_at] = word::header(kind, *count as u64);
                        innermost = outer.pop();
                    }
                    Open::Map { header_at, pairs_left, first_mark, in_key, outer_left } => {
                        if *in_key {
                            let key_at = self.marks[self.marks.len() - 1];
                            *in_key = false;
                            left = 1;
                            self.settle_key(key_at)?;
                            self.marks.push(self.out.len());
                        } else if *pairs_left > 1 {
                            self.marks.push(self.out.len());
                            *pairs_left -= 1;
                            *in_key = true;
                            left = 1;
                        } else {
                            left = *outer_left;
                            let (header_at, first_mark) = (*header_at, *first_mark);
                            innermost = outer.pop();
                            self.end_map(header_at, first_mark)?;
                        }
                    }
                }
            }
            left -= 1;
            match self.input.byte()? {
                tag::SMALL_TUPLE => {
                    let arity = usize::from(self.input.byte()?);
                    left += arity;
                    self.out.push(word::header(Kind::Tuple, arity as u64));
                }
                tag::LARGE_TUPLE => {
                    let arity = self.input.count(1)?;
                    left += arity;
                    self.out.push(word::header(Kind::Tuple, arity as u64));
                }
                tag::LIST => {
                    let count = self.input.count(1)?;
                    if count == 0 {
                        // Only the tail is left of it.
                        left += 1;
                        continue;
                    }
                    let list = Open::List { header_at: self.out.len(), count, outer_left: left };
                    outer.extend(innermost.replace(list));
                    left = count;
                    self.out.push(word::NIL);
                }
                tag::MAP => {
                    let pairs = self.input.count(2)?;
                    let header_at = self.out.len();
                    self.out.push(word::header(Kind::Map, pairs as u64));
                    if pairs > 0 {
                        let map = Open::Map {
                            header_at,
                            pairs_left: pairs,
                            first_mark: self.marks.len(),
                            in_key: true,
                            outer_left: left,
                        };
                        outer.extend(innermost.replace(map));
                        // Few maps are larger, and a hostile count reserves little.
                        self.marks.reserve((2 * pairs).min(64));
                        self.marks.push(header_at + 1);
                        left = 1;
                    }
                }
                tag::NEW_FUN => left += self.fun()?,
                tag => self.flat(tag)?,
            }
            self.check_size()?;
        }
    }

    #[inline(always)]
    fn check_size(&self) -> Result<(), DecodeError> {
        if self.out.len() - self.start > self.limits.max_words {
            return Err(DecodeError::TooLarge);
        }
        Ok(())
    }

    /// The terms that no other term is in.
    #[inline]
    fn flat(&mut self, tag: u8) -> Result<(), DecodeError> {
        let word = match tag {
            tag::SMALL_INTEGER => word::small(self.input.byte()?.into()),
            tag::INTEGER => word::small(i32::from_be_bytes(self.input.array()?).into()),
            tag::NIL => word::NIL,
            tag::BINARY => {
                let count = self.input.count(1)?;
                let bytes = self.input.take(count)?;
                self.out.push(word::header(Kind::Binary, count as u64));
                append_words(bytes, self.out);
                return Ok(());
            }
            tag::SMALL_ATOM_UTF8 | tag::ATOM_UTF8 | tag::SMALL_ATOM | tag::ATOM => {
                self.atom_text(tag)?
            }
            _ => return self.rare(tag),
        };
        self.out.push(word);
        Ok(())
    }

    #[inline(never)]
    fn rare(&mut self, tag: u8) -> Result<(), DecodeError> {
        match tag {
            tag::SMALL_BIG => {
                let count = usize::from(self.input.byte()?);
                self.big(count)?;
            }
            tag::LARGE_BIG => {
                let count = self.input.count(1)?;
                self.big(count)?;
            }
            tag::NEW_FLOAT => {
                let bits = self.input.u64()?;
                self.float(f64::from_bits(bits))?;
            }
            tag::FLOAT => {
                // Decimal, padded with zero bytes.
                let padded = self.input.take(31)?;
                let length = padded.iter().position(|byte| *byte == 0).unwrap_or(padded.len());
                let text = str::from_utf8(&padded[..length]).map_err(|_| DecodeError::Float)?;
                self.float(text.trim().parse().map_err(|_| DecodeError::Float)?)?;
            }
            tag::STRING => {
                let length = self.input.u16()?;
                let bytes = self.input.take(length)?;
                if length == 0 {
                    self.out.push(word::NIL);
                } else {
                    self.out.push(word::header(Kind::List, length as u64));
                    self.out.extend(bytes.iter().map(|byte| word::small((*byte).into())));
                }
            }
            tag::BIT_BINARY => self.bits()?,
            tag::NEW_PID | tag::PID => {
                let (node, creation, parts) = self.pid(tag)?;
                if self.is_this_node(node, creation) {
                    let local = atoms::vm().pid_from_parts(parts);
                    self.out.push(local.ok_or(DecodeError::Identifier)?);
                } else {
                    let numbers = [creation, parts.id, parts.serial].map(u64::from);
                    self.out.push(word::header(Kind::Pid, 4));
                    self.out.push(node);
                    self.out.extend(numbers);
                }
            }
            tag::V4_PORT | tag::NEW_PORT | tag::PORT => self.port(tag)?,
            tag::NEWER_REFERENCE | tag::NEW_REFERENCE | tag::REFERENCE => self.reference(tag)?,
            tag::EXPORT => {
                let module = self.atom()?;
                let function = self.atom()?;
                let arity = self.small()?;
                if arity > 255 {
                    return Err(DecodeError::Identifier);
                }
                self.out.push(word::header(Kind::Export, 3));
                self.out.extend([module, function, arity.into()]);
            }
            tag::COMPRESSED => return Err(DecodeError::Compressed),
            other => return Err(DecodeError::Tag(other)),
        }
        Ok(())
    }

    fn atom(&mut self) -> Result<u64, DecodeError> {
        let tag = self.input.byte()?;
        self.atom_text(tag)
    }

    fn atom_text(&mut self, tag: u8) -> Result<u64, DecodeError> {
        let length = match tag {
            tag::SMALL_ATOM_UTF8 | tag::SMALL_ATOM => usize::from(self.input.byte()?),
            tag::ATOM_UTF8 | tag::ATOM => self.input.u16()?,
            other => return Err(DecodeError::Tag(other)),
        };
        let bytes = self.input.take(length)?;
        let budget = &self.limits.atoms;
        if matches!(tag, tag::ATOM | tag::SMALL_ATOM) && !bytes.is_ascii() {
            // Latin-1, whose bytes are the first 256 code points.
            if length > 255 {
                return Err(InternError::TooLong.into());
            }
            let text: String = bytes.iter().copied().map(char::from).collect();
            return Ok(atoms::intern(&text, budget)?);
        }
        let text = str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8)?;
        Ok(atoms::intern(text, budget)?)
    }

    fn big(&mut self, count: usize) -> Result<(), DecodeError> {
        let negative = self.input.byte()? != 0;
        let bytes = self.input.take(count)?;
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let bytes = &bytes[..used];
        if used <= 8 {
            let mut low = [0; 8];
            low[..used].copy_from_slice(bytes);
            let magnitude = i128::from(u64::from_le_bytes(low));
            let value = if negative { -magnitude } else { magnitude };
            if (word::SMALL_MIN.into()..=word::SMALL_MAX.into()).contains(&value) {
                self.out.push(word::small(value as i64));
                return Ok(());
            }
        }
        let kind = if negative { Kind::BigNegative } else { Kind::BigPositive };
        self.out.push(word::header(kind, word::words_for_bytes(used) as u64));
        append_words(bytes, self.out);
        Ok(())
    }

    fn float(&mut self, value: f64) -> Result<(), DecodeError> {
        if !value.is_finite() {
            return Err(DecodeError::Float);
        }
        self.out.push(word::header(Kind::Float, 1));
        self.out.push(value.to_bits());
        Ok(())
    }

    fn bits(&mut self) -> Result<(), DecodeError> {
        let count = self.input.u32()? as usize;
        let bits_in_last = self.input.byte()?;
        let bytes = self.input.take(count)?;
        if bits_in_last > 8 || (bits_in_last == 0) != (count == 0) {
            return Err(DecodeError::Bitstring);
        }
        if count == 0 || bits_in_last == 8 {
            self.out.push(word::header(Kind::Binary, count as u64));
            append_words(bytes, self.out);
            return Ok(());
        }
        let bits = (count as u64 - 1) * 8 + u64::from(bits_in_last);
        self.out.push(word::header(Kind::Bitstring, bits));
        append_words(bytes, self.out);
        if let Some(last) = self.out.last_mut() {
            let unused = 0xFFu64 >> bits_in_last;
            *last &= !(unused << ((count - 1) % 8 * 8));
        }
        Ok(())
    }

    /// Whether an identifier of this node and creation is a local one. Creation 0 is any
    /// incarnation's, as in the VM.
    fn is_this_node(&self, node: u64, creation: u32) -> bool {
        let this = atoms::vm().node();
        node == this.name && (creation == this.creation || creation == 0)
    }

    fn pid(&mut self, tag: u8) -> Result<(u64, u32, PidParts), DecodeError> {
        let node = self.atom()?;
        let parts = PidParts { id: self.input.u32()?, serial: self.input.u32()? };
        let creation = match tag {
            tag::NEW_PID => self.input.u32()?,
            tag::PID => self.input.byte()?.into(),
            other => return Err(DecodeError::Tag(other)),
        };
        Ok((node, creation, parts))
    }

    fn port(&mut self, tag: u8) -> Result<(), DecodeError> {
        let node = self.atom()?;
        let id = match tag {
            tag::V4_PORT => self.input.u64()?,
            _ => self.input.u32()?.into(),
        };
        let creation = match tag {
            tag::PORT => self.input.byte()?.into(),
            _ => self.input.u32()?,
        };
        if self.is_this_node(node, creation) {
            let local = atoms::vm().port_from_id(id);
            self.out.push(local.ok_or(DecodeError::Identifier)?);
        } else {
            self.out.push(word::header(Kind::Port, 3));
            self.out.extend([node, creation.into(), id]);
        }
        Ok(())
    }

    fn reference(&mut self, tag: u8) -> Result<(), DecodeError> {
        let mut ids = [0; 5];
        let mut count = match tag {
            tag::REFERENCE => 1,
            _ => self.input.u16()?,
        };
        if count == 0 || count > ids.len() {
            return Err(DecodeError::Identifier);
        }
        let node = self.atom()?;
        if tag == tag::REFERENCE {
            ids[0] = self.input.u32()?;
        }
        let creation = match tag {
            tag::NEWER_REFERENCE => self.input.u32()?,
            _ => self.input.byte()?.into(),
        };
        if tag != tag::REFERENCE {
            for id in &mut ids[..count] {
                *id = self.input.u32()?;
            }
        }
        let local = self.is_this_node(node, creation);
        if local && ids[0] >= 1 << 18 {
            return Err(DecodeError::Identifier);
        }
        // The VM makes references of three numbers and, for aliases, of five, of which the last
        // ones may be zeroes. Those of other nodes are the same to it if they differ only in zeroes
        // at their end.
        while !local && count > 3 && ids[count - 1] == 0 {
            count -= 1;
        }
        count = if count > 3 { 5 } else { 3 };
        let (node, creation) = if local { (word::NIL, 0) } else { (node, creation) };
        self.out.push(word::header(Kind::Reference, 2 + count as u64));
        self.out.extend([node, creation.into()]);
        self.out.extend(ids[..count].iter().copied().map(u64::from));
        Ok(())
    }

    /// An integer within a fun.
    fn small(&mut self) -> Result<u32, DecodeError> {
        match self.input.byte()? {
            tag::SMALL_INTEGER => Ok(self.input.byte()?.into()),
            tag::INTEGER => self.input.u32(),
            other => Err(DecodeError::Tag(other)),
        }
    }

    /// A fun without its free variables, whose number is returned.
    fn fun(&mut self) -> Result<usize, DecodeError> {
        // The size is not relied on: what follows says where it ends.
        self.input.u32()?;
        let arity = self.input.byte()?;
        let high = self.input.u64()?;
        let low = self.input.u64()?;
        let index = self.input.u32()?;
        let free = self.input.count(1)?;
        let module = self.atom()?;
        let old_index = self.small()?;
        let old_uniq = self.small()?;
        let creator = self.input.byte()?;
        self.pid(creator)?;
        self.out.push(word::header(Kind::Fun, free as u64));
        self.out.extend([
            module,
            arity.into(),
            index.into(),
            high,
            low,
            u64::from(old_index) << 32 | u64::from(old_uniq),
        ]);
        Ok(free)
    }

    /// A key is complete: maps within it are put in order now, because keys are about to be
    /// compared.
    fn settle_key(&mut self, key_at: usize) -> Result<(), DecodeError> {
        if self.unsorted.last().is_none_or(|map| map.header_at < key_at) {
            return Ok(());
        }
        self.moved += self.out.len() - key_at;
        // 64 levels over everything that there is: nobody nests keys like that, and deeper ones
        // would let the cost grow with the square of the size.
        if self.moved / 64 > self.input.bytes.len() {
            return Err(DecodeError::KeysTooDeep);
        }
        self.sort_pairs(key_at);
        Ok(())
    }

    fn end_map(&mut self, header_at: usize, first_mark: usize) -> Result<(), DecodeError> {
        let end = self.out.len();
        let marks = &self.marks[first_mark..];
        let key = |pair: usize| &self.out[marks[2 * pair]..marks[2 * pair + 1]];
        let pairs = marks.len() / 2;
        let mut sorted = true;
        for pair in 1..pairs {
            if order::cmp_keys(key(pair - 1), key(pair)).is_ge() {
                sorted = false;
                break;
            }
        }
        if !sorted {
            let mut places: Vec<usize> = (0..pairs).collect();
            places.sort_unstable_by(|a, b| order::cmp_keys(key(*a), key(*b)));
            if places.windows(2).any(|two| key(two[0]) == key(two[1])) {
                return Err(DecodeError::DuplicateKey);
            }
            let bounds =
                |pair: usize| (marks[2 * pair], marks.get(2 * pair + 2).copied().unwrap_or(end));
            let pairs = places.into_iter().map(bounds).collect();
            self.unsorted.push(Unsorted { header_at, end, pairs });
        }
        self.marks.truncate(first_mark);
        Ok(())
    }

    /// Puts the pairs of all unsorted maps from `from` on into their order.
    fn sort_pairs(&mut self, from: usize) {
        let first = self.unsorted.iter().rposition(|map| map.header_at < from).map_or(0, |i| i + 1);
        if first == self.unsorted.len() {
            return;
        }
        let mut maps = self.unsorted.split_off(first);
        maps.sort_unstable_by_key(|map| map.header_at);
        let source = self.out.split_off(from);
        let part = |start: usize, end: usize| &source[start - from..end - from];
        let mut ranges = vec![(from, from + source.len())];
        while let Some((start, end)) = ranges.pop() {
            let next = maps.partition_point(|map| map.header_at < start);
            match maps.get(next) {
                Some(map) if map.header_at < end => {
                    self.out.extend_from_slice(part(start, map.header_at + 1));
                    ranges.push((map.end, end));
                    ranges.extend(map.pairs.iter().rev());
                }
                _ => self.out.extend_from_slice(part(start, end)),
            }
        }
    }
}
