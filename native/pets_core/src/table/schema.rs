//! What kind of table it is: how many objects a key may have, and which keys are the same.

use super::object::{Key, NotAnObject, Object};
use crate::term::{hash, order};

/// The types of `:ets`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TableType {
    /// One object for each key; keys are told apart by `=:=`.
    Set,
    /// One object for each key; keys that compare equal (`==`), as 1 and 1.0 do, are one key.
    OrderedSet,
    /// Any number of different objects for each key, in the order in which they were inserted.
    Bag,
    /// Any number of objects for each key, equal ones included.
    DuplicateBag,
}

/// Type and key position of a table, which never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Schema {
    table_type: TableType,
    keypos: u32,
}

impl TableType {
    /// The type of this name in `:ets`.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "set" => TableType::Set,
            "ordered_set" => TableType::OrderedSet,
            "bag" => TableType::Bag,
            "duplicate_bag" => TableType::DuplicateBag,
            _ => return None,
        })
    }

    /// The name that it has in `:ets`.
    pub const fn name(self) -> &'static str {
        match self {
            TableType::Set => "set",
            TableType::OrderedSet => "ordered_set",
            TableType::Bag => "bag",
            TableType::DuplicateBag => "duplicate_bag",
        }
    }

    /// Whether a key may have several objects.
    #[inline]
    pub const fn is_bag(self) -> bool {
        matches!(self, TableType::Bag | TableType::DuplicateBag)
    }
}

impl Schema {
    /// The key is at the 1-based position `keypos`.
    ///
    /// # Panics
    /// Where `keypos` is 0.
    pub const fn new(table_type: TableType, keypos: usize) -> Self {
        assert!(keypos > 0, "key positions count from 1");
        // No tuple is that long: every object is too short for such a table.
        let keypos = if keypos > u32::MAX as usize { u32::MAX } else { keypos as u32 };
        Schema { table_type, keypos }
    }

    /// A table of type `set` with the key at the 1-based position `keypos`.
    ///
    /// # Panics
    /// As [`Schema::new`].
    pub const fn set(keypos: usize) -> Self {
        Schema::new(TableType::Set, keypos)
    }

    /// The type.
    #[inline]
    pub const fn table_type(self) -> TableType {
        self.table_type
    }

    /// The 1-based position of the key.
    #[inline]
    pub const fn keypos(self) -> usize {
        self.keypos as usize
    }

    /// Whether a key may have several objects.
    #[inline]
    pub const fn is_bag(self) -> bool {
        self.table_type.is_bag()
    }

    /// Whether keys that compare equal are one key, even if they do not match.
    #[inline]
    pub const fn compares_keys(self) -> bool {
        matches!(self.table_type, TableType::OrderedSet)
    }

    /// The one encoded term that `words` holds, as a key.
    #[inline]
    pub fn key(self, words: &[u64]) -> Key<'_> {
        Key { words, hash: self.hash(words) }
    }

    /// The one encoded term that `words` holds, as an object.
    ///
    /// # Errors
    /// [`NotAnObject`] where the term is no tuple, has no key, or is too large.
    #[inline]
    pub fn object(self, words: &[u64]) -> Result<Object<'_>, NotAnObject> {
        Object::new(words, self)
    }

    /// The hash of a key, the same for keys that are one. Never 0.
    #[inline]
    pub(crate) fn hash(self, key: &[u64]) -> u64 {
        hash::hash(key, !self.compares_keys())
    }

    /// Whether two encoded terms are one key.
    pub fn is_same_key(self, a: &[u64], b: &[u64]) -> bool {
        a == b || self.compares_keys() && order::eq_loose(a, b)
    }
}
