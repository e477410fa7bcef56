//! Keys and objects as callers hand them to a table: borrowed words with what the table needs to
//! know about them.

use std::ops::Range;

use super::schema::Schema;
use crate::placement::Slot;
use crate::term::walk;

/// The largest arity of a tuple. The BEAM has the same bound, and a record keeps arities in 24
/// bits.
pub(crate) const MAX_ARITY: usize = (1 << 24) - 1;

/// An encoded key and its portable hash.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The encoded term.
    pub words: &'a [u64],
    /// Its hash, as [`Schema::key`] makes it: never 0.
    pub hash: u64,
}

impl Key<'_> {
    /// The slot that the key belongs to.
    #[inline]
    pub fn slot(&self) -> Slot {
        Slot::of(self.hash)
    }
}

/// An encoded tuple with a known key, which is what a table stores.
#[derive(Clone, Debug)]
pub struct Object<'a> {
    words: &'a [u64],
    key: Range<usize>,
    hash: u64,
}

/// Why a term cannot be stored as an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnObject {
    /// The term is not a tuple.
    #[error("the term is not a tuple")]
    NotATuple,
    /// The tuple ends before the key position.
    #[error("the tuple has no element at the key position")]
    TooShort,
    /// The tuple takes more than 2^32 - 1 words.
    #[error("the tuple takes too many words")]
    TooLarge,
}

impl<'a> Object<'a> {
    /// What [`Schema::object`] does.
    #[inline]
    pub(super) fn new(words: &'a [u64], schema: Schema) -> Result<Self, NotAnObject> {
        let arity = walk::arity(words).ok_or(NotAnObject::NotATuple)?;
        if arity > MAX_ARITY || u32::try_from(words.len()).is_err() {
            return Err(NotAnObject::TooLarge);
        }
        let key = walk::element(words, schema.keypos()).ok_or(NotAnObject::TooShort)?;
        let hash = schema.hash(&words[key.clone()]);
        Ok(Object { words, key, hash })
    }

    /// The whole tuple.
    #[inline]
    pub fn words(&self) -> &'a [u64] {
        self.words
    }

    /// The key, with its hash.
    #[inline]
    pub fn key(&self) -> Key<'a> {
        Key { words: &self.words[self.key.clone()], hash: self.hash }
    }

    /// The slot that the object belongs to.
    #[inline]
    pub fn slot(&self) -> Slot {
        Slot::of(self.hash)
    }
}
