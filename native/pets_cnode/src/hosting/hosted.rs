//! One table on this node: its objects, the machine that decides who owns its slots, and the
//! carrying out of what the machine decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pets_core::epoch;
use pets_core::ownership::{Config, Effect, Event, Machine, Message, Role, Status};
use pets_core::placement::{Epoch, NodeName, Routes, Slot};
use pets_core::table::op::{OpCode, Slots, slots_of};
use pets_core::table::{Schema, SlotState, Table};

use super::Hosting;
use super::sink::{Happened, Sink};
use super::transfer::{Figures, Transfers};
use super::view::{NotNow, Under, View};
use super::wire::{self, Batch};
use super::work::Parked;

/// How a table starts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Type and key position.
    pub schema: Schema,
    /// This node's share of the slots, relative to the others': its number of partitions.
    pub partitions: u32,
    /// Whether other nodes are known to have the table.
    pub role: Role,
    /// Whether a callback of the user places the keys. Every slot is then served by every node, and
    /// a view (see [`Under`]) says when.
    pub placed_by_callback: bool,
}

/// What the machine of a new table wants done.
pub(super) struct Begin(Vec<Effect>);

/// A table that this node hosts.
pub struct Hosted<S: Sink> {
    name: String,
    settings: Settings,
    core: Table,
    /// Where the slots are, for operations that find one elsewhere. Published by the machine.
    routes: Routes,
    /// Decides, one event after the other; effects are carried out before the next event.
    machine: Mutex<Machine>,
    /// When the machine's clock started.
    started: Instant,
    pub(super) parked: Parked<S>,
    pub(super) transfers: Transfers,
    /// Of a table whose keys are placed by a callback; of others it is never asked.
    view: View,
    /// Set when the table is taken away; operations that are parked then fail.
    closed: AtomicBool,
}

impl<S: Sink> Hosted<S> {
    /// A table and what its machine wants done at its start, which is for [`Hosted::begin`].
    pub(super) fn new(
        name: &str,
        node: NodeName,
        settings: Settings,
        now_ms: u64,
    ) -> (Self, Begin) {
        let config = Config::new(node, settings.partitions, settings.role, now_ms);
        let mut effects = Vec::new();
        let machine = Machine::new(config, Duration::ZERO, &mut effects);
        let hosted = Hosted {
            name: name.to_owned(),
            core: Table::new(settings.schema, SlotState::Foreign),
            routes: Routes::new(),
            machine: Mutex::new(machine),
            started: Instant::now(),
            parked: Parked::new(),
            transfers: Transfers::new(),
            view: View::new(),
            closed: AtomicBool::new(false),
            settings,
        };
        (hosted, Begin(effects))
    }

    /// The table's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it was started.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The objects on this node.
    #[inline]
    pub fn core(&self) -> &Table {
        &self.core
    }

    /// Type and key position.
    #[inline]
    pub fn schema(&self) -> Schema {
        self.core.schema()
    }

    /// Whether a callback of the user places the keys.
    #[inline]
    pub fn placed_by_callback(&self) -> bool {
        self.settings.placed_by_callback
    }

    /// The view that a placed table is in.
    pub fn view(&self) -> Under {
        self.view.get()
    }

    /// Runs an operation on a placed table now, if its view is the one that is needed: the view
    /// does not change before `work` returns, which must not wait for anything.
    pub fn run_under<R>(&self, under: Under, work: impl FnOnce() -> R) -> Option<R> {
        self.try_under(under, work).ok()
    }

    pub(super) fn try_under<R>(&self, under: Under, work: impl FnOnce() -> R) -> Result<R, NotNow> {
        let guard = epoch::pin();
        self.view.admits(under, &guard)?;
        Ok(work())
    }

    /// Enters a view, closed. On return no operation of an earlier one is being carried out.
    ///
    /// # Panics
    /// If the calling thread is pinned.
    pub fn close_view(self: &Arc<Self>, hosting: &Arc<Hosting<S>>, version: u64) {
        self.view.close(version);
        self.retry_parked(hosting);
    }

    /// Opens a view if it is still the present one, and says whether it is.
    ///
    /// # Panics
    /// If the calling thread is pinned.
    pub fn open_view(self: &Arc<Self>, hosting: &Arc<Hosting<S>>, version: u64) -> bool {
        let is_present = self.view.open(version);
        self.retry_parked(hosting);
        is_present
    }

    /// Tries everything that is parked once more.
    pub(super) fn retry_parked(&self, hosting: &Arc<Hosting<S>>) {
        for work in self.parked.take_all() {
            hosting.dispatch(work);
        }
    }

    /// The owner of a slot, as far as this node knows.
    pub fn owner(&self, slot: Slot) -> Option<NodeName> {
        self.routes.owner_name(slot)
    }

    /// What the machine knows.
    pub fn status(&self) -> Status {
        self.machine.lock().status()
    }

    /// What has been moved, and how long operations are waiting.
    pub fn figures(&self) -> Figures {
        self.transfers.figures()
    }

    /// How many operations wait for their slot.
    pub fn parked(&self) -> usize {
        self.parked.len()
    }

    /// The nodes that should own a slot, best first.
    pub fn ranking(&self, slot: Slot, count: usize) -> Vec<NodeName> {
        self.machine.lock().ranking().owners(slot, count).into_iter().cloned().collect()
    }

    pub(super) fn is_closed(&self) -> bool {
        // Acquire pairs with the Release in `close`.
        self.closed.load(Ordering::Acquire)
    }

    pub(super) fn close(&self) {
        self.transfers.abort_all();
        // Release pairs with the Acquire in `is_closed`: the caller looks at what is parked
        // afterwards.
        self.closed.store(true, Ordering::Release);
    }

    /// The slot that an operation waits for first.
    pub(super) fn first_slot(&self, op: OpCode, args: &[u64]) -> Slot {
        let first = match slots_of(op, args, self.schema()) {
            Ok(Slots::One(slot)) => Some(slot),
            Ok(Slots::Many(slots)) => slots.first().copied(),
            // Arguments without a slot are found to be wrong when the operation is tried.
            Ok(Slots::All) | Err(_) => None,
        };
        first.unwrap_or(Slot::of(0))
    }

    /// The owner of a slot and its epoch, where it is another node than this one.
    pub(super) fn owner_elsewhere(&self, slot: Slot, own: &NodeName) -> Option<(Epoch, NodeName)> {
        let route = self.routes.route(slot);
        let owner = self.routes.name(route.owner?)?;
        (owner != *own).then_some((route.epoch, owner))
    }

    /// Whether all slots of an operation are `owner`'s, as far as this node knows.
    pub(super) fn all_owned_by(&self, op: OpCode, args: &[u64], owner: &NodeName) -> bool {
        let is_owned = |slot| self.owner(slot).as_ref() == Some(owner);
        match slots_of(op, args, self.schema()) {
            Ok(Slots::One(slot)) => is_owned(slot),
            Ok(Slots::Many(slots)) => slots.into_iter().all(is_owned),
            Ok(Slots::All) => Slot::all().all(is_owned),
            Err(_) => true,
        }
    }

    /// Carries out what the machine wanted at its start.
    pub(super) fn begin(self: &Arc<Self>, hosting: &Arc<Hosting<S>>, begin: Begin) {
        self.handle(hosting, |_machine, _now, effects| effects.extend(begin.0));
    }

    /// This node has got another name, which it does when it becomes distributed. Until then it
    /// was alone: the machine begins again as a founder, and all objects stay.
    pub(super) fn rename(self: &Arc<Self>, hosting: &Arc<Hosting<S>>, node: NodeName, now_ms: u64) {
        let config = Config::new(node, self.settings.partitions, Role::Founder, now_ms);
        self.handle(hosting, |machine, now, effects| *machine = Machine::new(config, now, effects));
    }

    /// Whether a batch belongs to a transfer that the machine has agreed to.
    pub(super) fn expects(&self, from: &NodeName, batch: &Batch<'_>) -> bool {
        let machine = self.machine.lock();
        if batch.merge {
            machine.merges(batch.slot, from, batch.transfer)
        } else {
            machine.stages(batch.slot, from, batch.transfer)
        }
    }

    /// Lets the machine handle an event.
    pub(super) fn event(self: &Arc<Self>, hosting: &Arc<Hosting<S>>, event: Event) {
        self.handle(hosting, |machine, now, effects| machine.handle(now, event, effects));
    }

    /// A message for the machine.
    pub(super) fn message(
        self: &Arc<Self>,
        hosting: &Arc<Hosting<S>>,
        from: NodeName,
        message: Message,
    ) {
        self.event(hosting, Event::Message { from, message });
    }

    /// Another node answered `moved`.
    pub(super) fn route_hint(
        self: &Arc<Self>,
        hosting: &Arc<Hosting<S>>,
        slot: Slot,
        epoch: Epoch,
        owner: NodeName,
    ) {
        self.event(hosting, Event::RouteHint { slot, epoch, owner });
    }

    /// This node wants to leave the table within `patience`.
    pub(super) fn leave(self: &Arc<Self>, hosting: &Arc<Hosting<S>>, patience: Duration) {
        self.handle(hosting, |machine, now, effects| {
            machine.handle(now, Event::LeaveSelf { deadline: now + patience }, effects);
        });
    }

    fn handle(
        self: &Arc<Self>,
        hosting: &Arc<Hosting<S>>,
        event: impl FnOnce(&mut Machine, Duration, &mut Vec<Effect>),
    ) {
        let mut touched = Vec::new();
        {
            let mut machine = self.machine.lock();
            let mut effects = Vec::new();
            event(&mut machine, self.started.elapsed(), &mut effects);
            for effect in effects {
                self.carry_out(hosting, effect, &mut touched);
            }
        }
        // Outside of the lock: what was parked may become events of its own.
        for slot in touched {
            for work in self.parked.take(slot) {
                hosting.dispatch(work);
            }
        }
    }

    /// Carries out one effect; slots about which something changed for operations are added to
    /// `touched`.
    fn carry_out(
        self: &Arc<Self>,
        hosting: &Arc<Hosting<S>>,
        effect: Effect,
        touched: &mut Vec<Slot>,
    ) {
        let notify = |happened| hosting.sink.notify(&self.name, happened);
        match effect {
            Effect::Send { to, message } => {
                if let Some(stream) = hosting.peers.stream(&to) {
                    stream.send(wire::message_cast(&self.name, &message));
                }
            }
            Effect::Found => {
                self.core.set_all(SlotState::Owned);
                touched.extend(Slot::all());
            }
            Effect::Copy { slot, to, transfer } => self.begin_copy(hosting, slot, to, transfer),
            Effect::Freeze { slot, to, transfer } => self.freeze(hosting, slot, to, transfer),
            Effect::Grant { slot } => self.must(hosting, "grant", self.core.grant(slot)),
            Effect::Resume { slot } => {
                self.transfers.stop_sending(slot);
                self.must(hosting, "resume", self.core.resume(slot));
                touched.push(slot);
            }
            Effect::Release { slot } => {
                self.transfers.sent(slot);
                self.must(hosting, "release", self.core.release(slot));
                touched.push(slot);
            }
            // Whose data is taken in is asked of the machine (see `expects`).
            Effect::Stage { slot, .. } | Effect::Wipe { slot } => {
                self.must(hosting, "wipe", self.core.wipe(slot));
            }
            Effect::Adopt { slot } => {
                self.transfers.received(self.core.slot_len(slot));
                self.must(hosting, "adopt", self.core.adopt(slot));
                touched.push(slot);
            }
            Effect::AdoptEmpty { slot } => {
                self.must(hosting, "wipe", self.core.wipe(slot));
                self.must(hosting, "adopt", self.core.adopt(slot));
                touched.push(slot);
            }
            Effect::Hold { slot } => {
                self.transfers.stop_sending(slot);
                self.hold(slot);
            }
            Effect::Merge { slot, to, transfer } => self.begin_merge(hosting, slot, to, transfer),
            Effect::StopMerge { slot } => self.transfers.stop_sending(slot),
            Effect::Route { slot, epoch, owner } => {
                self.routes.publish(slot, epoch, owner.as_ref());
                touched.push(slot);
            }
            Effect::Notify(notice) => notify(Happened::Notice(notice)),
            Effect::Left => notify(Happened::Left),
            Effect::LeaveTimedOut { remaining } => notify(Happened::LeaveTimedOut(remaining)),
        }
    }

    /// Stops the writes of a slot, whatever was being done with it.
    fn hold(&self, slot: Slot) {
        // From Granted the way leads over Owned. A write that slips in between is in the slot
        // when it is frozen, and is merged with the rest.
        if self.core.state(slot) == SlotState::Granted {
            let _ = self.core.resume(slot);
        }
        // A slot that is frozen already stays so.
        let _ = self.core.freeze(slot);
    }

    /// The machine and the table disagree about a slot's state: a fault in this program, which is
    /// better seen in a log than as a dead node.
    fn must<E: std::fmt::Display>(&self, hosting: &Hosting<S>, what: &str, result: Result<(), E>) {
        if let Err(error) = result {
            debug_assert!(false, "{what}: {error}");
            hosting.warn(&format!("table {}: cannot {what}: {error}", self.name));
        }
    }
}
