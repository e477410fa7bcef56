//! The words that encoded terms are made of.
//!
//! | low bits | word | payload words that follow |
//! | --- | --- | --- |
//! | `1111` | small integer, 60 bits signed in the upper bits | |
//! | `001011` | atom, its index in the upper 58 bits | |
//! | `0011` | local pid, opaque | |
//! | `0111` | local port, opaque | |
//! | `111011` | `[]` | |
//! | `00` | header: [`Kind`] in bits 2 to 7, a count in the upper 56 bits | see [`Kind`] |
//!
//! The immediates are those of the 64-bit BEAM, so that on a VM with the expected layout they are
//! copied and never converted; the VM binding probes the layout once and converts otherwise. What
//! an atom's index or a local pid's number means is the VM's business: outside this process they
//! travel in the external term format.
//!
//! Encodings are canonical, which is what makes `=:=` a comparison of words:
//! an integer is a small one when it fits 60 bits, a big one has no leading zero word, map pairs
//! are sorted by [`super::order::cmp_keys`], unused bits and bytes of a binary are zero, and the creator of a fun is not kept.

/// What a header word introduces. The count is in units of the second column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Count: arity. The elements follow, each an encoded term.
    Tuple = 1,
    /// A proper, non-empty list. Count: length. The elements follow.
    List = 2,
    /// An improper list. Count: elements before the tail. Those elements follow, then the tail,
    /// which is neither a list nor `[]`.
    ImproperList = 3,
    /// Count: pairs. Each pair is a key and its value, in the order of the keys.
    Map = 4,
    /// Count: bytes. `ceil(bytes / 8)` words of little-endian bytes, zero padded.
    Binary = 5,
    /// A bitstring whose length is not a multiple of 8. Count: bits. Words as for a binary; the
    /// last byte holds its bits in the upper positions, the others are zero.
    Bitstring = 6,
    /// An integer above 2^59 - 1. Count: words of magnitude, least significant first.
    BigPositive = 7,
    /// An integer below -2^59. Count: words of magnitude, least significant first.
    BigNegative = 8,
    /// Count: always 1. One word, the bits of an IEEE 754 double.
    Float = 9,
    /// A pid of another node. Count: 4 words: node (atom word), creation, id, serial.
    Pid = 10,
    /// A port of another node. Count: 3 words: node (atom word), creation, id.
    Port = 11,
    /// A reference. Count: 2 + n words: node (atom word, or `[]` for this node), creation (0 for
    /// this node), then n (3, or 5 as in aliases) 32-bit identifiers, one in each word, in the order
    /// of `NEWER_REFERENCE_EXT`; those of other nodes have 5 only where the last two are not both 0.
    Reference = 12,
    /// A local fun. Count: free variables. 6 words follow: module (atom word), arity, index,
    /// upper and lower half of the 128-bit unique value (big-endian halves), `old_index << 32 |
    /// old_uniq`; then the free variables, each an encoded term.
    Fun = 13,
    /// `fun M:F/A`. Count: always 3. Three words: module and function (atom words), arity as a
    /// plain number.
    Export = 14,
}

impl Kind {
    /// The kind with this number, or `None`.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            1 => Kind::Tuple,
            2 => Kind::List,
            3 => Kind::ImproperList,
            4 => Kind::Map,
            5 => Kind::Binary,
            6 => Kind::Bitstring,
            7 => Kind::BigPositive,
            8 => Kind::BigNegative,
            9 => Kind::Float,
            10 => Kind::Pid,
            11 => Kind::Port,
            12 => Kind::Reference,
            13 => Kind::Fun,
            14 => Kind::Export,
            _ => return None,
        })
    }
}

/// `[]`.
pub const NIL: u64 = 0x3B;
/// The largest small integer, 2^59 - 1.
pub const SMALL_MAX: i64 = (1 << 59) - 1;
/// The smallest small integer, -2^59.
pub const SMALL_MIN: i64 = -(1 << 59);
/// Words of a [`Kind::Fun`] before its free variables, the header not counted.
pub const FUN_FIXED_WORDS: usize = 6;

/// The word of a small integer. `value` must be within [`SMALL_MIN`] and [`SMALL_MAX`].
pub const fn small(value: i64) -> u64 {
    debug_assert!(SMALL_MIN <= value && value <= SMALL_MAX);
    ((value << 4) as u64) | 0xF
}

/// Whether the word is a small integer.
pub const fn is_small(word: u64) -> bool {
    word & 0xF == 0xF
}

/// The value of a small integer's word.
pub const fn small_value(word: u64) -> i64 {
    (word as i64) >> 4
}

/// The word of the atom with this index.
pub const fn atom(index: u64) -> u64 {
    (index << 6) | 0x0B
}

/// Whether the word is an atom.
pub const fn is_atom(word: u64) -> bool {
    word & 0x3F == 0x0B
}

/// The index of an atom's word.
pub const fn atom_index(word: u64) -> u64 {
    word >> 6
}

/// Whether the word is a local pid.
pub const fn is_local_pid(word: u64) -> bool {
    word & 0xF == 0x3
}

/// Whether the word is a local port.
pub const fn is_local_port(word: u64) -> bool {
    word & 0xF == 0x7
}

/// Whether the word is a header, so that payload follows it.
pub const fn is_header(word: u64) -> bool {
    word & 0x3 == 0
}

/// Whether the word is a whole term.
pub const fn is_immediate(word: u64) -> bool {
    !is_header(word)
}

/// A header word.
pub const fn header(kind: Kind, count: u64) -> u64 {
    (count << 8) | ((kind as u64) << 2)
}

/// Kind and count of a header word; `None` for a word that is no header of ours.
pub const fn split_header(word: u64) -> Option<(Kind, u64)> {
    if !is_header(word) {
        return None;
    }
    match Kind::from_bits(((word >> 2) & 0x3F) as u8) {
        Some(kind) => Some((kind, word >> 8)),
        None => None,
    }
}

/// Payload words that bytes of this number take.
pub const fn words_for_bytes(bytes: usize) -> usize {
    bytes.div_ceil(8)
}

/// Appends an integer, as a small one where it fits.
pub fn push_integer(out: &mut Vec<u64>, value: i128) {
    if (i128::from(SMALL_MIN)..=i128::from(SMALL_MAX)).contains(&value) {
        out.push(small(value as i64));
        return;
    }
    let kind = if value < 0 { Kind::BigNegative } else { Kind::BigPositive };
    let magnitude = value.unsigned_abs();
    let (low, high) = (magnitude as u64, (magnitude >> 64) as u64);
    if high == 0 {
        out.extend([header(kind, 1), low]);
    } else {
        out.extend([header(kind, 2), low, high]);
    }
}
