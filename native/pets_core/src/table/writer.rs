//! A slot that is being written, with the table around it.

use super::Table;
use super::cells::Array;
use super::entry::Entry;
use super::object::{Key, Object};
use super::reclaim::Epochs;
use super::record::Record;
use super::schema::Schema;
use super::slot::{Locked, Removed};

/// A locked slot of a table. Objects come and go through it, never through the [`Locked`] itself,
/// so that whatever a table keeps besides its slots is kept up to date in this one place.
pub(super) struct Writer<'t> {
    locked: Locked<'t>,
    schema: Schema,
}

impl<'t> Writer<'t> {
    #[inline]
    pub(super) fn new(table: &'t Table, locked: Locked<'t>) -> Self {
        Writer { locked, schema: table.schema }
    }

    /// For what changes no object.
    #[inline]
    pub(super) fn slot(&mut self) -> &mut Locked<'t> {
        &mut self.locked
    }

    /// Number of objects.
    pub(super) fn objects(&self) -> usize {
        self.locked.objects() as usize
    }

    #[inline]
    pub(super) fn find(&self, key: &Key<'_>) -> Option<Entry<'_>> {
        self.locked.find(key, self.schema)
    }

    #[inline]
    pub(super) fn put(&mut self, object: &Object<'_>) {
        self.locked.put(object, self.schema, &Epochs);
    }

    /// Stores an object whose key is absent.
    #[inline]
    pub(super) fn put_absent(&mut self, object: &Object<'_>) {
        self.locked.put_absent(object, &Epochs);
    }

    /// Removes what a key has, after showing it to `seen`. Says whether it had anything.
    pub(super) fn remove(&mut self, key: &Key<'_>, seen: impl FnOnce(Entry<'_>)) -> bool {
        self.locked.remove(key, self.schema, &Epochs, seen)
    }

    /// Removes exactly this object. Says whether it was there.
    pub(super) fn remove_object(&mut self, object: &Object<'_>) -> bool {
        self.locked.remove_object(object, self.schema, &Epochs) != Removed::Nothing
    }

    #[inline]
    pub(super) fn change_word<E>(
        &mut self,
        key: &Key<'_>,
        find_word: impl FnOnce(Record<'_>) -> Option<usize>,
        change: impl FnOnce(u64) -> Result<u64, E>,
    ) -> Option<Result<u64, E>> {
        self.locked.change_word(key, self.schema, find_word, change)
    }

    /// Takes all objects out, for the caller to retire.
    pub(super) fn detach(&mut self) -> Array {
        self.locked.detach()
    }
}
