use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pets_core::ownership::{Config, Effect, Event, Limits, Machine, Role, TransferId};
use pets_core::placement::{NodeName, Slot};

use crate::world::SLOTS;

pub(crate) type Key = u16;
pub(crate) type Value = u64;
pub(crate) type Data = BTreeMap<Key, Value>;

/// What a node's table does with a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Foreign,
    Owned,
    Copying,
    Frozen,
    Granted,
}

/// One slot of a node's table, as the real one behaves.
#[derive(Clone, Debug)]
pub(crate) struct TableSlot {
    pub(crate) state: State,
    pub(crate) data: Data,
    pub(crate) staging: Option<Data>,
    log: BTreeSet<Key>,
    job: Option<Job>,
}

/// What the shell is sending of a slot.
#[derive(Clone, Debug)]
struct Job {
    kind: JobKind,
    to: NodeName,
    transfer: TransferId,
    /// What is left of the snapshot.
    keys: Vec<Key>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum JobKind {
    Copy,
    /// Caught up, until it is frozen.
    Idle,
    Freeze,
    Merge,
}

/// Data on its way, in one sequence with the messages.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) slot: Slot,
    pub(crate) transfer: TransferId,
    pub(crate) merge: bool,
    pub(crate) changes: Vec<(Key, Option<Value>)>,
}

/// What a step of a job leads to.
pub(crate) struct Progress {
    pub(crate) to: NodeName,
    pub(crate) batch: Batch,
    pub(crate) event: Option<Event>,
}

/// A machine with the table and the routes that its shell would have.
pub(crate) struct Node {
    pub(crate) machine: Machine,
    pub(crate) slots: Vec<TableSlot>,
    pub(crate) routes: Vec<Option<NodeName>>,
    pub(crate) incarnation: u64,
    pub(crate) leaving: bool,
    /// Members that it has been told of.
    pub(crate) knows: BTreeSet<NodeName>,
}

impl Node {
    pub(crate) fn start(
        name: NodeName,
        role: Role,
        incarnation: u64,
        window: usize,
        now: Duration,
    ) -> (Node, Vec<Effect>) {
        let limits = Limits { window, ..Limits::default() };
        let weight = 1 + (incarnation % 3) as u32;
        let config =
            Config { slots: SLOTS, limits, ..Config::new(name, weight, role, 1_000 + incarnation) };
        let mut effects = Vec::new();
        let machine = Machine::new(config, now, &mut effects);
        let slot = TableSlot {
            state: State::Foreign,
            data: Data::new(),
            staging: None,
            log: BTreeSet::new(),
            job: None,
        };
        let node = Node {
            machine,
            slots: vec![slot; SLOTS],
            routes: vec![None; SLOTS],
            incarnation,
            leaving: false,
            knows: BTreeSet::new(),
        };
        (node, effects)
    }

    /// Carries out an effect on the table. Each asserts what the real table relies on.
    pub(crate) fn apply(&mut self, effect: &Effect) {
        use State::{Copying, Foreign, Frozen, Granted, Owned};
        match effect {
            Effect::Found => {
                for slot in &mut self.slots {
                    assert_eq!(slot.state, Foreign);
                    slot.state = Owned;
                }
            }
            Effect::Copy { slot, to, transfer } => {
                let slot = &mut self.slots[slot.index()];
                assert_eq!(slot.state, Owned, "copies a slot that is not served");
                slot.state = Copying;
                slot.log.clear();
                slot.job = Some(Job {
                    kind: JobKind::Copy,
                    to: to.clone(),
                    transfer: *transfer,
                    keys: slot.data.keys().copied().collect(),
                });
            }
            Effect::Freeze { slot, transfer, .. } => {
                let slot = &mut self.slots[slot.index()];
                assert_eq!(slot.state, Copying);
                slot.state = Frozen;
                let job = slot.job.as_mut().expect("frozen while copying");
                assert_eq!((job.kind, job.transfer), (JobKind::Idle, *transfer));
                job.kind = JobKind::Freeze;
            }
            Effect::Grant { slot } => {
                let slot = &mut self.slots[slot.index()];
                assert_eq!(slot.state, Frozen);
                assert!(slot.log.is_empty(), "granted with changes unsent");
                slot.state = Granted;
                slot.job = None;
            }
            Effect::Resume { slot } => {
                let slot = &mut self.slots[slot.index()];
                assert!(matches!(slot.state, Copying | Frozen | Granted), "{:?}", slot.state);
                slot.state = Owned;
                slot.job = None;
            }
            Effect::Release { slot } => {
                let slot = &mut self.slots[slot.index()];
                assert!(matches!(slot.state, Frozen | Granted), "{:?}", slot.state);
                slot.state = Foreign;
                slot.data.clear();
                slot.job = None;
            }
            Effect::Stage { slot, .. } => {
                let slot = &mut self.slots[slot.index()];
                assert_eq!(slot.state, Foreign);
                assert!(slot.staging.is_none(), "staged twice");
                slot.staging = Some(Data::new());
            }
            Effect::Wipe { slot } => {
                let slot = &mut self.slots[slot.index()];
                assert!(slot.staging.take().is_some(), "wiped nothing");
            }
            Effect::Adopt { slot } => {
                let slot = &mut self.slots[slot.index()];
                assert_eq!(slot.state, Foreign);
                slot.data = slot.staging.take().expect("adopted without staging");
                slot.state = Owned;
            }
            Effect::AdoptEmpty { slot } => {
                let slot = &mut self.slots[slot.index()];
                assert_eq!(slot.state, Foreign);
                assert!(slot.staging.is_none() && slot.data.is_empty());
                slot.state = Owned;
            }
            Effect::Hold { slot } => {
                let slot = &mut self.slots[slot.index()];
                assert_ne!(slot.state, Foreign);
                slot.state = Frozen;
                slot.job = None;
            }
            Effect::Merge { slot, to, transfer } => {
                let slot = &mut self.slots[slot.index()];
                assert_eq!(slot.state, Frozen);
                assert!(slot.job.is_none());
                slot.job = Some(Job {
                    kind: JobKind::Merge,
                    to: to.clone(),
                    transfer: *transfer,
                    keys: slot.data.keys().copied().collect(),
                });
            }
            Effect::StopMerge { slot } => {
                self.slots[slot.index()].job = None;
            }
            Effect::Route { slot, owner, .. } => self.routes[slot.index()].clone_from(owner),
            Effect::Send { .. }
            | Effect::Notify(_)
            | Effect::Left
            | Effect::LeaveTimedOut { .. } => {}
        }
    }

    /// Slots of which something is being sent.
    pub(crate) fn busy(&self) -> Vec<Slot> {
        Slot::all()
            .take(SLOTS)
            .filter(|slot| {
                self.slots[slot.index()].job.as_ref().is_some_and(|job| job.kind != JobKind::Idle)
            })
            .collect()
    }

    /// Sends the next few objects of a slot, as the shell does when the link has room.
    pub(crate) fn step(&mut self, slot: Slot, objects: usize) -> Option<Progress> {
        let table = &mut self.slots[slot.index()];
        let job = table.job.as_mut()?;
        let mut keys: Vec<Key> = Vec::new();
        while keys.len() < objects {
            let next = job.keys.pop().or_else(|| table.log.pop_first());
            let Some(key) = next else { break };
            keys.push(key);
        }
        let changes = keys.iter().map(|key| (*key, table.data.get(key).copied())).collect();
        let merge = job.kind == JobKind::Merge;
        let transfer = job.transfer;
        let left = job.keys.len() + table.log.len();
        let event = match job.kind {
            JobKind::Copy if job.keys.is_empty() && left <= 2 => {
                job.kind = JobKind::Idle;
                Some(Event::CopyCaughtUp { slot, transfer })
            }
            JobKind::Freeze | JobKind::Merge if left == 0 => {
                Some(Event::Flushed { slot, transfer })
            }
            _ => None,
        };
        let to = job.to.clone();
        if event.is_some() && job.kind != JobKind::Idle {
            table.job = None;
        }
        Some(Progress { to, batch: Batch { slot, transfer, merge, changes }, event })
    }

    /// Takes data that came over a link.
    pub(crate) fn receive(&mut self, from: &NodeName, batch: Batch) {
        let Batch { slot, transfer, merge, changes } = batch;
        let table = &mut self.slots[slot.index()];
        if merge && self.machine.merges(slot, from, transfer) {
            assert!(matches!(table.state, State::Owned), "merged into {:?}", table.state);
            for (key, value) in changes {
                table.data.entry(key).or_insert_with(|| value.expect("merges only put"));
            }
        } else if !merge && self.machine.stages(slot, from, transfer) {
            let staging = table.staging.as_mut().expect("the machine said so");
            for (key, value) in changes {
                match value {
                    Some(value) => staging.insert(key, value),
                    None => staging.remove(&key),
                };
            }
        }
    }

    pub(crate) fn serves_writes(&self, slot: Slot) -> bool {
        matches!(self.slots[slot.index()].state, State::Owned | State::Copying)
    }

    pub(crate) fn serves_reads(&self, slot: Slot) -> bool {
        self.serves_writes(slot) || self.slots[slot.index()].state == State::Frozen
    }

    /// Writes (or deletes) as the table does: while the slot is copied the key is logged.
    pub(crate) fn write(&mut self, slot: Slot, key: Key, value: Option<Value>) {
        let table = &mut self.slots[slot.index()];
        match value {
            Some(value) => table.data.insert(key, value),
            None => table.data.remove(&key),
        };
        if table.state == State::Copying {
            table.log.insert(key);
        }
    }
}
