//! A slot that is being written, with the table around it.

use super::Table;
use super::cells::Array;
use super::changes::Changes;
use super::entry::Entry;
use super::key_index::KeyIndex;
use super::object::{Key, Object};
use super::reclaim::Epochs;
use super::record::Record;
use super::schema::Schema;
use super::slot::{Locked, Removed};
use super::state::SlotState;

/// A locked slot of a table. Objects come and go through it, never through the [`Locked`] itself,
/// so that whatever a table keeps besides its slots is kept up to date in this one place.
pub(super) struct Writer<'t> {
    locked: Locked<'t>,
    table: &'t Table,
}

impl<'t> Writer<'t> {
    #[inline]
    pub(super) fn new(table: &'t Table, locked: Locked<'t>) -> Self {
        Writer { locked, table }
    }

    #[inline]
    fn schema(&self) -> Schema {
        self.table.schema
    }

    pub(super) fn set_state(&mut self, state: SlotState) {
        self.table.standing.note(self.locked.state(), state);
        self.locked.set_state(state);
    }

    pub(super) fn log(&mut self) -> &mut Option<Box<Changes>> {
        self.locked.log()
    }

    /// Number of objects.
    pub(super) fn objects(&self) -> usize {
        self.locked.objects() as usize
    }

    #[inline]
    pub(super) fn find(&self, key: &Key<'_>) -> Option<Entry<'_>> {
        self.locked.find(key, self.schema())
    }

    #[inline]
    pub(super) fn put(&mut self, object: &Object<'_>) {
        if let Some(index) = &self.table.index
            && self.find(&object.key()).is_none()
        {
            return Self::put_indexed(&mut self.locked, index, object);
        }
        self.locked.put(object, self.schema(), &Epochs);
    }

    /// Stores an object whose key is absent.
    #[inline]
    pub(super) fn put_absent(&mut self, object: &Object<'_>) {
        if let Some(index) = &self.table.index {
            return Self::put_indexed(&mut self.locked, index, object);
        }
        self.locked.put_absent(object, &Epochs);
    }

    /// A key is in the index from before its object is visible until that is gone.
    fn put_indexed(locked: &mut Locked<'t>, index: &KeyIndex, object: &Object<'_>) {
        index.insert(object.key().words);
        locked.put_absent(object, &Epochs);
    }

    /// Removes what a key has, after showing it to `seen`. Says whether it had anything.
    pub(super) fn remove(&mut self, key: &Key<'_>, seen: impl FnOnce(Entry<'_>)) -> bool {
        let removed = self.locked.remove(key, self.schema(), &Epochs, seen);
        if let Some(index) = &self.table.index
            && removed
        {
            index.remove(key.words);
        }
        removed
    }

    /// Removes exactly this object. Says whether it was there.
    pub(super) fn remove_object(&mut self, object: &Object<'_>) -> bool {
        let removed = self.locked.remove_object(object, self.schema(), &Epochs);
        if let Some(index) = &self.table.index
            && removed == Removed::Key
        {
            index.remove(object.key().words);
        }
        removed != Removed::Nothing
    }

    #[inline]
    pub(super) fn change_word<E>(
        &mut self,
        key: &Key<'_>,
        find_word: impl FnOnce(Record<'_>) -> Option<usize>,
        change: impl FnOnce(u64) -> Result<u64, E>,
    ) -> Option<Result<u64, E>> {
        self.locked.change_word(key, self.schema(), find_word, change)
    }

    /// Takes all objects out, for the caller to retire.
    pub(super) fn detach(&mut self) -> Array {
        let array = self.locked.detach();
        if let Some(index) = &self.table.index
            && !array.is_none()
        {
            let keypos = self.schema().keypos();
            let mut words = Vec::new();
            for entry in array.entries() {
                let record = entry.first();
                words.clear();
                record.copy_range_to(record.key(keypos), &mut words);
                index.remove(&words);
            }
        }
        array
    }

    /// As [`Writer::detach`], but leaves the index to the caller.
    pub(super) fn detach_unindexed(&mut self) -> Array {
        self.locked.detach()
    }
}
