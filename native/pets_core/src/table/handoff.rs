//! Slots that change their owner: the table's part of it.
//!
//! The sender: [`Table::begin_copy`], [`Table::scan_slot`] until it is through, then
//! [`Table::take_changes`] as long as they are many, [`Table::freeze`] for the last ones,
//! [`Table::grant`], [`Table::release`]; or [`Table::resume`] at any point before the release.
//! The receiver: [`Table::wipe`], [`Table::stage_put`], [`Table::stage_remove`], and
//! [`Table::adopt`].
//!
//! The snapshot is an ordinary scan, in steps and without a lock: it shows each object that is
//! there throughout, and every key that is written meanwhile is in the log. What the receiver puts
//! together from both, in that order, is what the slot has when it is frozen.

use super::changes::Changes;
use super::reclaim::Detached;
use super::state::SlotState;
use super::writer::Writer;
use super::{Entry, Key, Object, Table};
use crate::epoch::Guard;

use crate::placement::Slot;

/// The slot is not in a state in which this can be done. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("slot {} is {state:?}", slot.index())]
pub struct WrongState {
    /// Which slot.
    pub slot: Slot,
    /// Its state.
    pub state: SlotState,
}

impl Table {
    /// Puts all slots into one state, as a table needs it at its start.
    pub fn set_all(&self, state: SlotState) {
        for slot in Slot::all() {
            Writer::new(self, self.store(slot).lock()).set_state(state);
        }
    }

    /// The state of a slot at this moment.
    #[inline]
    pub fn state(&self, slot: Slot) -> SlotState {
        self.store(slot).status().state()
    }

    /// Number of slots that are in one of these states.
    pub fn slots_in(&self, states: &[SlotState]) -> usize {
        self.slots.iter().filter(|slot| states.contains(&slot.status().state())).count()
    }

    /// Locks a slot that has to be in one of these states.
    fn expect_state(&self, slot: Slot, states: &[SlotState]) -> Result<Writer<'_>, WrongState> {
        let locked = self.store(slot).lock();
        let state = locked.state();
        if states.contains(&state) {
            Ok(Writer::new(self, locked))
        } else {
            Err(WrongState { slot, state })
        }
    }

    /// `Owned` to `Copying`: from now on the keys that are written are logged. The snapshot is then
    /// read with [`Table::scan_slot`], from the slot's beginning.
    ///
    /// # Errors
    /// [`WrongState`] in any other state.
    pub fn begin_copy(&self, slot: Slot) -> Result<(), WrongState> {
        let mut writer = self.expect_state(slot, &[SlotState::Owned])?;
        *writer.log() = Some(Box::default());
        writer.set_state(SlotState::Copying);
        Ok(())
    }

    /// Takes what was logged so far; the log goes on empty. To be sent after what was taken before:
    /// first that the slot was cleared, if it was, then for each key what
    /// [`Table::peek`] finds, or that there is none.
    ///
    /// # Errors
    /// [`WrongState`] where the slot is not `Copying`.
    pub fn take_changes(&self, slot: Slot) -> Result<Changes, WrongState> {
        let mut writer = self.expect_state(slot, &[SlotState::Copying])?;
        Ok(writer.log().as_deref_mut().map(std::mem::take).unwrap_or_default())
    }

    /// Number of entries in the log, 0 where the slot is not being copied.
    pub fn changes_len(&self, slot: Slot) -> usize {
        self.store(slot).lock().log().as_deref().map_or(0, Changes::len)
    }

    /// `Copying` or `Owned` to `Frozen`: writes have to wait from now on. Answers the last changes.
    /// (A slot that is frozen without having been copied, because it yields to another owner, is
    /// read with [`Table::scan_slot`] afterwards.)
    ///
    /// # Errors
    /// [`WrongState`] in any other state.
    pub fn freeze(&self, slot: Slot) -> Result<Changes, WrongState> {
        let mut writer = self.expect_state(slot, &[SlotState::Owned, SlotState::Copying])?;
        let changes = writer.log().take().map(|log| *log).unwrap_or_default();
        writer.set_state(SlotState::Frozen);
        Ok(changes)
    }

    /// `Frozen` to `Granted`: nothing is served until the receiver has answered.
    ///
    /// # Errors
    /// [`WrongState`] in any other state.
    pub fn grant(&self, slot: Slot) -> Result<(), WrongState> {
        self.expect_state(slot, &[SlotState::Frozen])?.set_state(SlotState::Granted);
        Ok(())
    }

    /// Any sending state back to `Owned`; the log is dropped.
    ///
    /// # Errors
    /// [`WrongState`] where the slot is `Owned` or `Foreign`.
    pub fn resume(&self, slot: Slot) -> Result<(), WrongState> {
        let sending = [SlotState::Copying, SlotState::Frozen, SlotState::Granted];
        self.expect_state(slot, &sending)?.set_state(SlotState::Owned);
        Ok(())
    }

    /// `Granted` or `Frozen` to `Foreign`: the receiver has the slot, its objects go.
    ///
    /// # Errors
    /// [`WrongState`] in any other state.
    pub fn release(&self, slot: Slot) -> Result<(), WrongState> {
        let mut writer = self.expect_state(slot, &[SlotState::Granted, SlotState::Frozen])?;
        // The state first: readers that find nothing look at it again.
        writer.set_state(SlotState::Foreign);
        Self::discard(writer);
        Ok(())
    }

    fn discard(mut writer: Writer<'_>) {
        let objects = writer.objects();
        let array = writer.detach();
        drop(writer);
        if !array.is_none() {
            // SAFETY: `detach` unlinked it, with all its records.
            unsafe { Detached::new(vec![array], objects) }.retire();
        }
    }

    /// What a key has in any state of its slot: what a sender puts into its stream, and what a
    /// receiver has so far.
    pub fn peek<'g>(&'g self, key: &Key<'_>, _guard: &'g Guard) -> Option<Entry<'g>> {
        // SAFETY: the guard and the table are borrowed for `'g`.
        unsafe { self.store(key.slot()).find(key, self.schema) }
    }

    /// Stores an object in a slot that is `Foreign`, where nobody sees it before [`Table::adopt`]. In
    /// a bag it comes beside those that its key has: a key whose objects have changed is removed
    /// before they are sent again.
    ///
    /// # Errors
    /// [`WrongState`] in any other state.
    pub fn stage_put(&self, object: &Object<'_>) -> Result<(), WrongState> {
        self.expect_state(object.slot(), &[SlotState::Foreign])?.put(object);
        Ok(())
    }

    /// Removes what a key has from what was staged.
    ///
    /// # Errors
    /// As [`Table::stage_put`].
    pub fn stage_remove(&self, key: &Key<'_>) -> Result<(), WrongState> {
        self.expect_state(key.slot(), &[SlotState::Foreign])?.remove(key, |_| {});
        Ok(())
    }

    /// Drops everything that was staged in a slot: its transfer was cut off, or the sender says
    /// that the slot was cleared.
    ///
    /// # Errors
    /// As [`Table::stage_put`].
    pub fn wipe(&self, slot: Slot) -> Result<(), WrongState> {
        Self::discard(self.expect_state(slot, &[SlotState::Foreign])?);
        Ok(())
    }

    /// `Foreign` to `Owned`: what was staged, or nothing, is the slot's content from now on.
    ///
    /// # Errors
    /// [`WrongState`] in any other state.
    pub fn adopt(&self, slot: Slot) -> Result<(), WrongState> {
        self.expect_state(slot, &[SlotState::Foreign])?.set_state(SlotState::Owned);
        Ok(())
    }
}
