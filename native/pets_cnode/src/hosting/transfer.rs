//! Moving the objects of a slot: reading it and sending batches at the old owner, taking them in
//! at the new one.
//!
//! A slot is sent by a task of its own. All that the task does to the table it does while it is
//! still the slot's sender, which is checked under a lock (see [`Transfers::step`]): a task that
//! the machine has stopped does nothing more, even if it is in the middle of something.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use pets_core::ownership::{Event, TransferId};
use pets_core::placement::{NodeName, Slot};
use pets_core::table::{Changes, Cursor, Object, ScanEnd, Schema};
use pets_core::term::etf::EncodeError;

use super::Hosting;
use super::hosted::Hosted;
use super::peers::{Stream, StreamEnded};
use super::sink::Sink;
use super::wire::{self, Batch, Entry};

/// A batch is sent when it has grown to this; small operations are on a link of their own.
const BATCH_BYTES: usize = 128 << 10;
/// Words read from the table between two looks at the size of the batch.
const READ_WORDS: usize = 8 << 10;
/// A log this short is sent while the slot is frozen.
const SHORT_LOG: usize = 64;
/// After so many rounds the slot is frozen however long its log is: its writers outrun the link.
const ROUNDS: usize = 8;

/// Slots on their way, and what has been moved.
pub(super) struct Transfers {
    sending: Mutex<HashMap<Slot, Sending>>,
    figures: Counters,
}

struct Sending {
    transfer: TransferId,
    /// When the writers were stopped.
    frozen_at: Option<Instant>,
    objects: u64,
    bytes: u64,
}

#[derive(Default)]
struct Counters {
    sent_slots: AtomicU64,
    sent_objects: AtomicU64,
    sent_bytes: AtomicU64,
    received_slots: AtomicU64,
    received_objects: AtomicU64,
    longest_pause_us: AtomicU64,
}

/// What this node has moved since the table was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Slots handed to other nodes.
    pub sent_slots: u64,
    /// Objects and changes sent with them.
    pub sent_objects: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Slots taken over from other nodes.
    pub received_slots: u64,
    /// Objects that they had.
    pub received_objects: u64,
    /// The longest time for which the writes of one slot had to wait here, in microseconds.
    pub longest_pause_us: u64,
}

impl Transfers {
    pub(super) fn new() -> Self {
        Transfers { sending: Mutex::new(HashMap::new()), figures: Counters::default() }
    }

    pub(super) fn figures(&self) -> Figures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            sent_slots: read(&self.figures.sent_slots),
            sent_objects: read(&self.figures.sent_objects),
            sent_bytes: read(&self.figures.sent_bytes),
            received_slots: read(&self.figures.received_slots),
            received_objects: read(&self.figures.received_objects),
            longest_pause_us: read(&self.figures.longest_pause_us),
        }
    }

    fn start_sending(&self, slot: Slot, transfer: TransferId) {
        let sending = Sending { transfer, frozen_at: None, objects: 0, bytes: 0 };
        self.sending.lock().insert(slot, sending);
    }

    /// Runs a step of the slot's sender, unless it is not that any more.
    fn step<R>(
        &self,
        slot: Slot,
        transfer: TransferId,
        step: impl FnOnce(&mut Sending) -> R,
    ) -> Result<R, StreamEnded> {
        match self.sending.lock().get_mut(&slot) {
            Some(sending) if sending.transfer == transfer => Ok(step(sending)),
            _ => Err(StreamEnded),
        }
    }

    /// The slot is not sent any more.
    pub(super) fn stop_sending(&self, slot: Slot) {
        if let Some(sending) = self.sending.lock().remove(&slot) {
            self.count_pause(&sending);
        }
    }

    /// The slot has arrived at its new owner.
    pub(super) fn sent(&self, slot: Slot) {
        if let Some(sending) = self.sending.lock().remove(&slot) {
            self.count_pause(&sending);
            self.figures.sent_slots.fetch_add(1, Ordering::Relaxed);
            self.figures.sent_objects.fetch_add(sending.objects, Ordering::Relaxed);
            self.figures.sent_bytes.fetch_add(sending.bytes, Ordering::Relaxed);
        }
    }

    fn count_pause(&self, sending: &Sending) {
        if let Some(frozen_at) = sending.frozen_at {
            let pause = u64::try_from(frozen_at.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.figures.longest_pause_us.fetch_max(pause, Ordering::Relaxed);
        }
    }

    pub(super) fn abort_all(&self) {
        self.sending.lock().clear();
    }

    pub(super) fn received(&self, objects: usize) {
        self.figures.received_slots.fetch_add(1, Ordering::Relaxed);
        self.figures.received_objects.fetch_add(objects as u64, Ordering::Relaxed);
    }
}

/// The sender of one slot.
struct Sender<S: Sink> {
    hosting: Arc<Hosting<S>>,
    table: Arc<Hosted<S>>,
    slot: Slot,
    transfer: TransferId,
    stream: Stream,
    merge: bool,
    batch: Vec<u8>,
    /// Length of a batch without entries.
    empty: usize,
    objects: u64,
}

impl<S: Sink> Sender<S> {
    fn new(
        hosting: &Arc<Hosting<S>>,
        table: &Arc<Hosted<S>>,
        slot: Slot,
        to: &NodeName,
        transfer: TransferId,
        merge: bool,
    ) -> Option<Self> {
        let batch = wire::begin_batch(table.name(), slot, transfer, merge);
        Some(Sender {
            hosting: Arc::clone(hosting),
            table: Arc::clone(table),
            slot,
            transfer,
            stream: hosting.peers.stream(to)?,
            merge,
            empty: batch.len(),
            batch,
            objects: 0,
        })
    }

    fn step<R>(&self, step: impl FnOnce(&mut Sending) -> R) -> Result<R, StreamEnded> {
        self.table.transfers.step(self.slot, self.transfer, step)
    }

    async fn flush(&mut self) -> Result<(), StreamEnded> {
        if self.batch.len() == self.empty {
            return Ok(());
        }
        let next = wire::begin_batch(self.table.name(), self.slot, self.transfer, self.merge);
        let batch = std::mem::replace(&mut self.batch, next);
        let (objects, bytes) = (std::mem::take(&mut self.objects), batch.len() as u64);
        self.step(|sending| {
            sending.objects += objects;
            sending.bytes += bytes;
        })?;
        self.stream.send_data(batch).await
    }

    async fn flush_if_full(&mut self) -> Result<(), StreamEnded> {
        if self.batch.len() >= BATCH_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Sends every object that is in the slot from now until the end of this.
    async fn send_all(&mut self) -> Result<(), StreamEnded> {
        let mut cursor = Cursor::at(self.slot);
        let mut words = Vec::new();
        loop {
            // The slot is ours for as long as we are its sender: not checked any closer here,
            // because what is read of a slot that is not is never taken by the receiver.
            let mut written = Ok(());
            let end = {
                let guard = pets_core::epoch::pin();
                let (batch, objects) = (&mut self.batch, &mut self.objects);
                self.table.core().scan_slot(cursor, READ_WORDS, &guard, |record| {
                    words.clear();
                    record.copy_to(&mut words);
                    written = written.and(wire::write_put(batch, &words));
                    *objects += 1;
                })
            };
            written.map_err(|error| self.give_up(&error))?;
            self.flush_if_full().await?;
            match end {
                ScanEnd::Done => return Ok(()),
                ScanEnd::More(next) => cursor = next,
                ScanEnd::Blocked(..) => return Err(StreamEnded),
            }
        }
    }

    /// An object cannot travel: its slot stays where it is, which loses nothing.
    fn give_up(&self, error: &EncodeError) -> StreamEnded {
        let (table, slot) = (self.table.name(), self.slot.index());
        self.hosting.warn(&format!("table {table}: slot {slot} cannot be moved: {error}"));
        StreamEnded
    }

    /// Sends what the keys of a log have become.
    async fn send_changes(&mut self, changes: Changes) -> Result<(), StreamEnded> {
        if changes.cleared {
            wire::write_clear(&mut self.batch);
        }
        let mut words = Vec::new();
        for logged in changes.keys() {
            {
                let guard = pets_core::epoch::pin();
                let key = logged.key();
                let entry = self.table.core().peek(&key, &guard);
                // Objects of a bag come beside those that were sent before, unless these go.
                let written = if entry.is_none() || self.table.schema().is_bag() {
                    wire::write_remove(&mut self.batch, &logged.words)
                } else {
                    Ok(())
                };
                let mut objects = 0;
                let written = entry.iter().flat_map(|entry| entry.records()).fold(
                    written,
                    |written, record| {
                        words.clear();
                        record.copy_to(&mut words);
                        objects += 1;
                        written.and_then(|()| wire::write_put(&mut self.batch, &words))
                    },
                );
                written.map_err(|error| self.give_up(&error))?;
                self.objects += objects.max(1);
            }
            self.flush_if_full().await?;
        }
        Ok(())
    }

    /// From the snapshot to a log that is short enough to stop the writers for.
    async fn copy(mut self) -> Result<(), StreamEnded> {
        self.send_all().await?;
        for _ in 0..ROUNDS {
            let slot = self.slot;
            let core = self.table.core();
            if self.step(|_| core.changes_len(slot))? <= SHORT_LOG {
                break;
            }
            let Ok(changes) = self.step(|_| core.take_changes(slot))? else {
                return Err(StreamEnded);
            };
            self.send_changes(changes).await?;
        }
        self.flush().await?;
        let event = Event::CopyCaughtUp { slot: self.slot, transfer: self.transfer };
        self.table.event(&self.hosting, event);
        Ok(())
    }

    async fn finish(mut self, changes: Changes) -> Result<(), StreamEnded> {
        self.send_changes(changes).await?;
        self.flushed().await
    }

    async fn merge(mut self) -> Result<(), StreamEnded> {
        self.send_all().await?;
        self.flushed().await
    }

    async fn flushed(&mut self) -> Result<(), StreamEnded> {
        self.flush().await?;
        let event = Event::Flushed { slot: self.slot, transfer: self.transfer };
        self.table.event(&self.hosting, event);
        Ok(())
    }
}

impl<S: Sink> Hosted<S> {
    pub(super) fn begin_copy(
        self: &Arc<Self>,
        hosting: &Arc<Hosting<S>>,
        slot: Slot,
        to: NodeName,
        transfer: TransferId,
    ) {
        if let Err(error) = self.core().begin_copy(slot) {
            return hosting.warn(&format!("table {}: cannot copy: {error}", self.name()));
        }
        self.transfers.start_sending(slot, transfer);
        // Without a stream the link is down, and the machine hears about that.
        if let Some(sender) = Sender::new(hosting, self, slot, &to, transfer, false) {
            hosting.spawn(async move {
                let _ = sender.copy().await;
            });
        }
    }

    pub(super) fn freeze(
        self: &Arc<Self>,
        hosting: &Arc<Hosting<S>>,
        slot: Slot,
        to: NodeName,
        transfer: TransferId,
    ) {
        let changes = match self.core().freeze(slot) {
            Ok(changes) => changes,
            Err(error) => {
                return hosting.warn(&format!("table {}: cannot freeze: {error}", self.name()));
            }
        };
        let frozen =
            self.transfers.step(slot, transfer, |sending| sending.frozen_at = Some(Instant::now()));
        if frozen.is_ok()
            && let Some(sender) = Sender::new(hosting, self, slot, &to, transfer, false)
        {
            hosting.spawn(async move {
                let _ = sender.finish(changes).await;
            });
        }
    }

    pub(super) fn begin_merge(
        self: &Arc<Self>,
        hosting: &Arc<Hosting<S>>,
        slot: Slot,
        to: NodeName,
        transfer: TransferId,
    ) {
        self.transfers.start_sending(slot, transfer);
        if let Some(sender) = Sender::new(hosting, self, slot, &to, transfer, true) {
            hosting.spawn(async move {
                let _ = sender.merge().await;
            });
        }
    }

    /// Takes in a batch from another node.
    pub(super) fn receive(
        self: &Arc<Self>,
        hosting: &Arc<Hosting<S>>,
        from: &NodeName,
        batch: &Batch<'_>,
    ) {
        if !self.expects(from, batch) {
            // Left over from an attempt that was given up.
            return;
        }
        let taken = if batch.merge { self.merge_in(batch) } else { self.stage(batch) };
        let Err(fault) = taken else { return };
        let slot = batch.slot.index();
        hosting.warn(&format!("table {}: {from} sent for slot {slot}: {fault}", self.name()));
        // What is incomplete must not be adopted: as if the link had broken, both sides begin anew.
        self.event(hosting, Event::LinkDown { node: from.clone() });
        self.event(hosting, Event::LinkUp { node: from.clone() });
    }

    /// Puts the entries of a copy into their slot, which nobody sees yet.
    fn stage(&self, batch: &Batch<'_>) -> Result<(), Fault> {
        let schema = self.schema();
        let mut entries = batch.entries;
        let mut words = Vec::new();
        while let Some(entry) = wire::read_entry(&mut entries, &mut words)? {
            let staged = match entry {
                Entry::Clear => self.core().wipe(batch.slot),
                Entry::Remove => {
                    let key = schema.key(&words);
                    if key.slot() != batch.slot {
                        return Err(Fault::Misplaced);
                    }
                    self.core().stage_remove(&key)
                }
                Entry::Put => self.core().stage_put(&object_in(batch, schema, &words)?),
            };
            staged.map_err(|_| Fault::Misplaced)?;
        }
        Ok(())
    }

    /// Puts the objects of a batch beside those that are in their slot, which is served here. All
    /// objects of a key are in one batch.
    fn merge_in(&self, batch: &Batch<'_>) -> Result<(), Fault> {
        let schema = self.schema();
        let mut entries = batch.entries;
        let mut read = Vec::new();
        loop {
            let mut words = Vec::new();
            match wire::read_entry(&mut entries, &mut words)? {
                Some(Entry::Put) => read.push(words),
                Some(Entry::Remove | Entry::Clear) => return Err(Fault::Misplaced),
                None => break,
            }
        }
        let objects = read.iter().map(|words| object_in(batch, schema, words));
        let merged = self.core().merge(&objects.collect::<Result<Vec<_>, _>>()?);
        merged.map(|_| ()).map_err(|_| Fault::Misplaced)
    }
}

/// What is wrong with a batch.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("an object that does not belong to its slot")]
    Misplaced,
    #[error(transparent)]
    Malformed(#[from] wire::Malformed),
}

fn object_in<'a>(batch: &Batch<'_>, schema: Schema, words: &'a [u64]) -> Result<Object<'a>, Fault> {
    let object = schema.object(words).ok();
    object.filter(|object| object.slot() == batch.slot).ok_or(Fault::Misplaced)
}
