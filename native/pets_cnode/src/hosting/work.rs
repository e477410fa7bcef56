//! An operation on its way to the node that serves its slot.
//!
//! It is tried here first. A slot of another node means a request there; the answer `moved` means
//! another try with the better route. A slot that nobody serves at the moment, because it is just
//! changing its owner or because its owner died, means waiting here: the operation is parked with
//! the slot and tried again when something about the slot changes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pets_core::placement::{NodeName, Slot};
use pets_core::table::op::{Cause, OpCode, OpError, execute};
use pets_core::table::{Table, Unserved, Why};
use pets_core::term::{etf, walk, word};

use super::sink::{Failure, Outcome, Reason, Sink};
use super::view::{NotNow, Phase, Under};
use super::wire::{self, Reply, Request};
use super::{CallNumber, Hosted, Hosting, Waiter};
use crate::server::with_scratch;
use crate::{CallError, Replier};

/// After so many answers `moved` the operation waits for the next tick: two nodes that point at
/// each other must not keep a link busy.
const HOPS: u32 = 8;

/// An operation, and whom to tell what became of it.
pub struct Work<S: Sink> {
    pub(super) table: Arc<Hosted<S>>,
    pub(super) op: OpCode,
    /// The arguments, an encoded tuple.
    pub(super) args: Vec<u64>,
    pub(super) origin: Origin,
    pub(super) deadline: Instant,
    /// For a certain node, whatever slots it owns: never parked, never sent on.
    pub(super) addressed: Option<NodeName>,
    /// What the node must find, on a table that is placed by a callback. Such an operation is
    /// parked where its view is not there.
    pub(super) under: Option<Under>,
    /// How often it was sent on; of an operation under a view, whether it has met another one.
    pub(super) hops: u32,
}

impl<S: Sink> Work<S> {
    /// What a request says beside the arguments.
    fn head(&self, time_left_ms: u32) -> wire::Head<'_> {
        wire::Head {
            table: self.table.name(),
            op: self.op,
            addressed: self.addressed.is_some(),
            under: self.under,
            time_left_ms,
        }
    }
}

/// Who waits for the outcome of a [`Work`].
pub(super) enum Origin {
    /// A caller on this node.
    Local(CallNumber),
    /// Another node.
    Peer(Replier),
    /// A BEAM node that does not host the table.
    Erlang(Waiter),
}

/// Operations that wait for something to change about a slot.
pub(super) struct Parked<S: Sink> {
    by_slot: Mutex<HashMap<Slot, Vec<Work<S>>>>,
    /// Counts the changes. A change is counted before the parked operations are taken out, so
    /// that one that was tried before the change and is parked after it sees the difference.
    changes: AtomicU64,
}

impl<S: Sink> Parked<S> {
    pub(super) fn new() -> Self {
        Parked { by_slot: Mutex::new(HashMap::new()), changes: AtomicU64::new(0) }
    }

    fn changes(&self) -> u64 {
        // Acquire pairs with the AcqRel in `take`: a try that follows sees the slot as it was
        // after that change.
        self.changes.load(Ordering::Acquire)
    }

    /// Parks an operation that was tried when `seen` changes were counted; gives it back when
    /// there have been more since.
    #[must_use]
    fn park(&self, slot: Slot, work: Work<S>, seen: u64) -> Option<Work<S>> {
        let mut by_slot = self.by_slot.lock();
        if self.changes() != seen {
            return Some(work);
        }
        by_slot.entry(slot).or_default().push(work);
        None
    }

    /// Something about the slot has changed: takes out what waits for it.
    pub(super) fn take(&self, slot: Slot) -> Vec<Work<S>> {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.by_slot.lock().remove(&slot).unwrap_or_default()
    }

    /// Takes out everything.
    pub(super) fn take_all(&self) -> Vec<Work<S>> {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.by_slot.lock().drain().flat_map(|(_, works)| works).collect()
    }

    /// How many operations are parked.
    pub(super) fn len(&self) -> usize {
        self.by_slot.lock().values().map(Vec::len).sum()
    }
}

/// [Parks](Parked::park) an operation with its table.
#[must_use]
fn park<S: Sink>(slot: Slot, work: Work<S>, seen: u64) -> Option<Work<S>> {
    let table = Arc::clone(&work.table);
    table.parked.park(slot, work, seen)
}

/// What one try came to.
enum Tried {
    /// The result is in the buffer.
    Done,
    BadArgument(Cause),
    TooLarge,
    Unserved(Unserved),
    NotNow(NotNow),
}

fn try_here<S: Sink>(work: &Work<S>, result: &mut Vec<u64>) -> Tried {
    let Some(under) = work.under else { return try_now(work, result) };
    match work.table.try_under(under, || try_now(work, result)) {
        Ok(tried) => tried,
        Err(not_now) => Tried::NotNow(not_now),
    }
}

fn try_now<S: Sink>(work: &Work<S>, result: &mut Vec<u64>) -> Tried {
    let core = work.table.core();
    let executed = match (work.op, work.under) {
        (OpCode::InsertMany, Some(Under { phase: Phase::Closed, .. })) => {
            merge(core, &work.args, result)
        }
        _ => execute(core, work.op, &work.args, result),
    };
    match executed {
        Ok(()) => Tried::Done,
        Err(OpError::BadArgument(cause)) => Tried::BadArgument(cause),
        Err(OpError::TooLarge) => Tried::TooLarge,
        Err(OpError::Unserved(unserved)) => Tried::Unserved(unserved),
    }
}

/// Takes in objects that move here: those whose key is not here yet. An object that is sent again,
/// because the sender has missed an answer, meets itself.
fn merge(table: &Table, args: &[u64], result: &mut Vec<u64>) -> Result<(), OpError> {
    const BAD_ARGUMENT: OpError = OpError::BadArgument(Cause::None);
    let objects = match walk::arity(args) {
        Some(1) => &args[1..],
        _ => return Err(BAD_ARGUMENT),
    };
    if objects[0] != word::NIL
        && !matches!(word::split_header(objects[0]), Some((word::Kind::List, _)))
    {
        return Err(BAD_ARGUMENT);
    }
    let objects = walk::Elements::of(objects).map(|object| table.schema().object(object));
    let inserted = table.merge(&objects.collect::<Result<Vec<_>, _>>()?)?;
    result.push(word::small(inserted as i64));
    Ok(())
}

impl<S: Sink> Hosting<S> {
    /// Carries an operation out, sends it on, or parks it.
    pub(super) fn dispatch(self: &Arc<Self>, mut work: Work<S>) {
        loop {
            if let Origin::Local(call) = work.origin
                && !self.callers.contains(call)
            {
                // The caller gave up.
                return;
            }
            let now = Instant::now();
            if now >= work.deadline {
                return self.fail(work, Reason::Timeout, None);
            }
            match self.attempt(work, now) {
                None => return,
                Some(again) => work = again,
            }
        }
    }

    /// The first attempt, of an operation that has just come in, and all others if it takes more.
    pub(super) fn begin(self: &Arc<Self>, work: Work<S>, now: Instant) {
        if let Some(again) = self.attempt(work, now) {
            self.dispatch(again);
        }
    }

    /// One attempt to do so; gives the operation back when something has changed meanwhile.
    #[must_use]
    fn attempt(self: &Arc<Self>, mut work: Work<S>, now: Instant) -> Option<Work<S>> {
        if work.under.is_none() && work.table.placed_by_callback() {
            // From somebody who does not know how this table is placed.
            return self.give_up(work, Reason::Moved, Some(self.node_name()));
        }
        let seen = work.table.parked.changes();
        if let Some(node) = &work.addressed
            && *node != **self.name.load()
        {
            if let Some(under) = work.under
                && (work.table.view().version != under.version || work.table.is_closed())
            {
                return self.wait_for_view(work, NotNow::OtherVersion, seen);
            }
            let node = node.clone();
            self.request(node, work, now);
            return None;
        }
        let mut result = Vec::new();
        let unserved = match try_here(&work, &mut result) {
            Tried::Done => {
                self.answer(work.origin, Outcome::Done(&result));
                return None;
            }
            Tried::BadArgument(cause) => {
                self.answer(work.origin, Outcome::BadArgument(cause));
                return None;
            }
            Tried::TooLarge => return self.give_up(work, Reason::TooLarge, None),
            Tried::Unserved(unserved) => unserved,
            Tried::NotNow(why) => return self.wait_for_view(work, why, seen),
        };
        if work.table.is_closed() {
            return self.give_up(work, Reason::NoTable, Some(self.node_name()));
        }
        let owner = match unserved.why {
            Why::Wait => None,
            Why::Elsewhere => work.table.owner_elsewhere(unserved.slot, &self.name.load()),
        };
        if let Some((epoch, owner)) = owner
            && work.hops < HOPS
        {
            if let Origin::Peer(replier) = work.origin {
                let moved = Reply::Moved { slot: unserved.slot, epoch, owner };
                replier.reply(|out| wire::write_reply(out, &moved));
                return None;
            }
            if work.op.takes_many() && !work.table.all_owned_by(work.op, &work.args, &owner) {
                return self.give_up(work, Reason::Moved, None);
            }
            work.hops += 1;
            self.request(owner, work, now);
            return None;
        }
        work.hops = 0;
        park(unserved.slot, work, seen)
    }

    fn give_up(&self, work: Work<S>, reason: Reason, node: Option<NodeName>) -> Option<Work<S>> {
        self.fail(work, reason, node);
        None
    }

    /// Parks an operation whose view is not there until the view changes; `seen` as for
    /// [`Parked::park`]. One that has waited and meets another view than its own once more fails:
    /// its caller has to choose the node again.
    #[must_use]
    fn wait_for_view(&self, mut work: Work<S>, why: NotNow, seen: u64) -> Option<Work<S>> {
        let failure = match why {
            _ if work.table.is_closed() => Some(Reason::NoTable),
            NotNow::OtherVersion if work.hops > 0 => Some(Reason::Moved),
            NotNow::OtherVersion | NotNow::OtherPhase => None,
        };
        if let Some(reason) = failure {
            return self.give_up(work, reason, Some(self.node_name()));
        }
        work.hops = u32::from(why == NotNow::OtherVersion);
        park(Slot::of(0), work, seen)
    }

    /// Sends an operation to a node.
    fn request(self: &Arc<Self>, node: NodeName, work: Work<S>, now: Instant) {
        let (cnode, peers) = (self.node.load(), self.peers.cnodes());
        let (Some(cnode), Some(peer)) = (&*cnode, peers.get(&node)) else {
            return self.unreachable(work, &node);
        };
        let left = work.deadline.saturating_duration_since(now);
        let left_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
        with_scratch(|body| {
            match wire::write_request(body, &work.head(left_ms), &work.args) {
                Ok(()) if body.len() <= wire::LONGEST_REQUEST => {}
                Ok(()) | Err(_) => return self.fail(work, Reason::TooLarge, None),
            }
            let local = match work.origin {
                Origin::Local(call) => Some(call),
                Origin::Peer(_) | Origin::Erlang(_) => None,
            };
            match cnode.call(peer, (node, work), body) {
                Ok(request) => {
                    if let Some(call) = local {
                        self.callers.requested(call, request);
                    }
                }
                Err(((node, work), error)) => self.request_answered(node, work, Err(error)),
            }
        });
    }

    /// There is no way to the node now: an operation for just this node fails, another one waits
    /// until somebody else serves its slot.
    fn unreachable(self: &Arc<Self>, work: Work<S>, node: &NodeName) {
        // Under a view it waits for a way, or for another view.
        if work.addressed.is_some() && work.under.is_none() {
            return self.fail(work, Reason::NotConnected, Some(node.clone()));
        }
        self.wait_for_slot(work);
    }

    /// Parks an operation until its slot changes or the next tick comes, without another try.
    fn wait_for_slot(self: &Arc<Self>, work: Work<S>) {
        let table = Arc::clone(&work.table);
        let slot = table.first_slot(work.op, &work.args);
        // Whatever changed before now is seen by the tick at the latest.
        let seen = table.parked.changes();
        if let Some(work) = park(slot, work, seen) {
            self.dispatch(work);
        }
    }

    /// The answer of another node to an operation that was sent there.
    pub(super) fn request_answered(
        self: &Arc<Self>,
        node: NodeName,
        work: Work<S>,
        answer: Result<&[u8], CallError>,
    ) {
        let bytes = match answer {
            Ok(bytes) => bytes,
            Err(CallError::Overloaded) => return self.fail(work, Reason::Overloaded, Some(node)),
            Err(CallError::NotConnected | CallError::NotExecuted) => {
                return self.unreachable(work, &node);
            }
            Err(CallError::NodeDown | CallError::Cancelled) => {
                return self.fail(work, Reason::NodeDown, Some(node));
            }
            Err(CallError::AnswerTooLarge) => return self.fail(work, Reason::TooLarge, Some(node)),
            Err(CallError::Refused(reason)) => {
                self.warn(&format!("{node} refused a request: {reason}"));
                return self.fail(work, Reason::Protocol, Some(node));
            }
        };
        match wire::read_reply(bytes) {
            Ok(Reply::Done(result)) => {
                let mut words = Vec::new();
                match etf::decode(result, &mut words, &etf::Limits::default()) {
                    Ok(_) => self.answer(work.origin, Outcome::Done(&words)),
                    Err(_) => self.fail(work, Reason::Protocol, Some(node)),
                }
            }
            Ok(Reply::BadArgument(cause)) => {
                self.answer(work.origin, Outcome::BadArgument(cause));
            }
            Ok(Reply::Moved { slot, epoch, owner }) => {
                work.table.clone().route_hint(self, slot, epoch, owner);
                self.dispatch(work);
            }
            // The peer does not host the table (any more): its slots will be somebody else's.
            Ok(Reply::Failed(Reason::NoTable)) => self.unreachable(work, &node),
            Ok(Reply::Failed(reason)) => self.fail(work, reason, Some(node)),
            Err(malformed) => {
                self.warn(&format!("{node} answered a request: {malformed}"));
                self.fail(work, Reason::Protocol, Some(node));
            }
        }
    }

    /// A request of another node.
    pub(super) fn serve_request(self: &Arc<Self>, body: &[u8], replier: Replier) {
        let refuse = |replier: Replier, reason| {
            replier.reply(|out| wire::write_reply(out, &Reply::Failed(reason)));
        };
        let request = match wire::read_request(body) {
            Ok(request) => request,
            Err(malformed) => {
                self.warn(&format!("a peer sent a request: {malformed}"));
                return refuse(replier, Reason::Protocol);
            }
        };
        let Request { head, args: bytes } = request;
        let Some(table) = self.table(head.table) else {
            return refuse(replier, Reason::NoTable);
        };
        let mut args = Vec::with_capacity(bytes.len() / 4 + 2);
        if etf::decode(bytes, &mut args, &etf::Limits::default()).is_err() {
            return refuse(replier, Reason::Protocol);
        }
        let now = Instant::now();
        let work = Work {
            table,
            op: head.op,
            args,
            origin: Origin::Peer(replier),
            deadline: now + Duration::from_millis(head.time_left_ms.into()),
            addressed: head.addressed.then(|| self.node_name()),
            under: head.under,
            hops: 0,
        };
        self.begin(work, now);
    }

    fn fail(&self, work: Work<S>, reason: Reason, node: Option<NodeName>) {
        self.answer(work.origin, Outcome::Failed(Failure { reason, node }));
    }

    fn answer(&self, origin: Origin, outcome: Outcome<'_>) {
        match origin {
            Origin::Local(call) => {
                // Whoever takes it out tells it the outcome: there is none after a cancellation.
                if let Some((caller, _)) = self.callers.remove(call) {
                    self.sink.deliver(caller, outcome);
                }
            }
            Origin::Peer(replier) => replier.reply(|out| match outcome {
                Outcome::Done(words) => wire::write_done(out, words),
                Outcome::BadArgument(cause) => {
                    wire::write_reply(out, &Reply::BadArgument(cause));
                }
                Outcome::Failed(failure) => {
                    wire::write_reply(out, &Reply::Failed(failure.reason));
                }
            }),
            Origin::Erlang(waiter) => waiter.answer(outcome),
        }
    }
}
