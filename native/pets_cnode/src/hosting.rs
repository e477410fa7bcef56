//! The tables of this node, and what connects them to the same tables on other nodes.
//!
//! * [`Hosted`]: one table: its objects, its ownership machine, and the effects of that
//! * [`Work`]: an operation on its way to the node that serves its slot
//! * [`Under`]: what an operation says about the view of a table that is placed by a callback
//! * [`Sink`]: what the embedding library does with answers and notices
//! * [`wire`]: the bytes between nodes
//!
//! A table works without a [`Node`]: as long as this node is not distributed all slots are here.

mod callers;
mod hosted;
mod peers;
mod sink;
mod transfer;
mod view;
mod waiter;
pub mod wire;
mod work;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use pets_core::ownership::Event;
use pets_core::placement::NodeName;
use pets_core::table::op::OpCode;

pub use hosted::{Hosted, Settings};
pub use sink::{Failure, Happened, Outcome, Reason, Sink};
pub use transfer::Figures;
pub use view::{NO_VERSION, Phase, Under};
pub use work::Work;

use crate::{
    Address, BulkLink, CallError, Config, ErlangReplier, Handler, Level, Node, PeerName, Replier,
    StartError,
};
use callers::Callers;
use peers::{Change, Peers};
use waiter::Waiter;
use wire::Cast;
use work::Origin;

/// The registered name under which BEAM nodes send operations.
const REGISTERED_NAME: &str = "partitioned_ets";
/// How often the machines hear that time has passed.
const TICK: Duration = Duration::from_millis(100);

/// All tables of a node.
pub struct Hosting<S: Sink> {
    sink: S,
    tables: scc::HashMap<String, Arc<Hosted<S>>>,
    callers: Callers<S::Caller>,
    peers: Peers,
    /// This node's name among the members; changes when the node becomes distributed.
    name: ArcSwap<NodeName>,
    node: ArcSwapOption<Node<Arc<Self>>>,
    /// Held while the C-node starts.
    starting: Mutex<()>,
    /// Makes creations differ that fall into one millisecond.
    last_start_ms: Mutex<u64>,
}

/// Why a table is not hosted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotHosted {
    /// There is a table of this name.
    #[error("a table of this name exists already")]
    Exists,
    /// The name does not fit into a message.
    #[error("the name of a table may have at most 255 bytes")]
    NameTooLong,
}

/// A call that was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallNumber(pub u64);

impl<S: Sink> Hosting<S> {
    /// A node without tables, known as `name` until it is distributed.
    pub fn new(sink: S, name: NodeName) -> Arc<Self> {
        Arc::new(Hosting {
            sink,
            tables: scc::HashMap::new(),
            callers: Callers::new(),
            peers: Peers::new(),
            name: ArcSwap::from_pointee(name),
            node: ArcSwapOption::empty(),
            starting: Mutex::new(()),
            last_start_ms: Mutex::new(0),
        })
    }

    /// The library that this serves.
    pub fn sink(&self) -> &S {
        &self.sink
    }

    /// This node's name among the members.
    pub fn node_name(&self) -> NodeName {
        NodeName::clone(&self.name.load())
    }

    /// Begins to host a table.
    ///
    /// # Errors
    /// [`NotHosted`]; nothing has changed then.
    pub fn host(
        self: &Arc<Self>,
        name: &str,
        settings: Settings,
    ) -> Result<Arc<Hosted<S>>, NotHosted> {
        if name.len() > wire::LONGEST_NAME {
            return Err(NotHosted::NameTooLong);
        }
        let node = self.node_name();
        let (table, begin) = Hosted::new(name, node, settings, self.start_ms());
        let table = Arc::new(table);
        self.tables
            .insert_sync(name.to_owned(), Arc::clone(&table))
            .map_err(|_| NotHosted::Exists)?;
        table.begin(self, begin);
        Ok(table)
    }

    /// Milliseconds since 1970, a number used once.
    fn start_ms(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let mut last = self.last_start_ms.lock();
        *last = now.max(*last + 1);
        *last
    }

    /// A table by name.
    pub fn table(&self, name: &str) -> Option<Arc<Hosted<S>>> {
        self.tables.read_sync(name, |_, table| Arc::clone(table))
    }

    fn all_tables(&self) -> Vec<Arc<Hosted<S>>> {
        let mut tables = Vec::new();
        self.tables.iter_sync(|_, table| {
            tables.push(Arc::clone(table));
            true
        });
        tables
    }

    /// Takes a table away. What waits for one of its slots fails; its memory goes with the last
    /// reference to it.
    pub fn forget(self: &Arc<Self>, name: &str) -> Option<Arc<Hosted<S>>> {
        let (_, table) = self.tables.remove_sync(name)?;
        table.close();
        table.retry_parked(self);
        Some(table)
    }

    // Operations.

    /// Carries an operation out wherever its slot is. The outcome is delivered, to the caller that
    /// is made by `caller`, before or after this returns, unless the call is cancelled.
    ///
    /// With `node` the operation is for that node, whatever slots it owns. An operation on a table
    /// that is placed by a callback says `under` which view its node was chosen; without a node it
    /// is for this one.
    #[expect(clippy::too_many_arguments, reason = "these are what makes an operation")]
    pub fn submit(
        self: &Arc<Self>,
        table: &Arc<Hosted<S>>,
        node: Option<NodeName>,
        under: Option<Under>,
        op: OpCode,
        args: Vec<u64>,
        patience: Duration,
        caller: S::Caller,
    ) -> CallNumber {
        let call = match self.callers.insert(caller) {
            Ok(call) => call,
            Err(caller) => {
                let failure = Failure { reason: Reason::Overloaded, node: None };
                self.sink.deliver(caller, Outcome::Failed(failure));
                return CallNumber(0);
            }
        };
        let now = Instant::now();
        let work = Work {
            table: Arc::clone(table),
            op,
            args,
            origin: Origin::Local(call),
            deadline: now + patience,
            addressed: node,
            under,
            hops: 0,
        };
        self.begin(work, now);
        call
    }

    /// Ends a call whose caller does not wait any longer. True when nothing was or will be
    /// delivered; the operation may be carried out all the same.
    pub fn cancel(&self, call: CallNumber) -> bool {
        let Some((_caller, request)) = self.callers.remove(call) else { return false };
        if let (Some(request), Some(node)) = (request, self.cnode()) {
            node.cancel(request);
        }
        true
    }

    /// Calls without an outcome.
    pub fn calls_waiting(&self) -> usize {
        self.callers.len()
    }

    // The node.

    /// Starts the embedded C-node, which this node is reachable under from now on as `name`.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub fn start_node(self: &Arc<Self>, config: Config, name: NodeName) -> Result<(), StartError> {
        let starting = self.starting.lock();
        if self.node.load().is_some() {
            return Ok(());
        }
        let node = Arc::new(Node::start(config, Arc::new(Arc::clone(self)))?);
        let ticking = Arc::downgrade(self);
        node.runtime().spawn(async move {
            let mut interval = tokio::time::interval(TICK);
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                interval.tick().await;
                let Some(hosting) = ticking.upgrade() else { return };
                hosting.tick();
            }
        });
        self.name.store(Arc::new(name.clone()));
        self.node.store(Some(node));
        drop(starting);
        for table in self.all_tables() {
            table.rename(self, name.clone(), self.start_ms());
        }
        Ok(())
    }

    /// Stops the C-node; tables serve on what they have.
    pub fn stop_node(&self) {
        let node = self.node.swap(None);
        self.peers.clear();
        if let Some(node) = node {
            node.stop();
        }
    }

    /// The running C-node.
    pub fn cnode(&self) -> Option<Arc<Node<Arc<Self>>>> {
        self.node.load_full()
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // Without a node there is no peer, and nothing to do for one.
        if let Some(node) = self.cnode() {
            node.runtime().spawn(task);
        }
    }

    fn tick(self: &Arc<Self>) {
        self.peers.reconnect();
        for table in self.all_tables() {
            table.event(self, Event::Tick);
            // Time-outs, and second thoughts about where a slot may be served.
            table.retry_parked(self);
        }
    }

    // Members.

    /// A node hosts the same table, and its C-node is `cnode`. The machine of a table that is
    /// placed by a callback does not hear of it: there every node serves every slot.
    pub fn member_up(
        self: &Arc<Self>,
        table: &Arc<Hosted<S>>,
        node: NodeName,
        cnode: &PeerName,
        weight: u32,
    ) {
        let Some(own) = self.cnode() else { return };
        self.peers.add(&node, cnode, &own);
        if !table.placed_by_callback() {
            table.event(self, Event::MemberUp { node, weight });
        }
    }

    /// A node is down, with all its tables.
    pub fn member_down(self: &Arc<Self>, node: &NodeName) {
        let cnode = self.peers.remove(node);
        if let (Some(own), Some(cnode)) = (self.cnode(), cnode) {
            own.disconnect(&cnode);
        }
        for table in self.all_tables() {
            table.event(self, Event::MemberDown { node: node.clone() });
        }
    }

    /// A node does not host the table any more, in good order.
    pub fn member_gone(self: &Arc<Self>, table: &Arc<Hosted<S>>, node: NodeName) {
        table.event(self, Event::MemberGone { node });
    }

    /// Begins to hand all slots of a table to its other members; the sink hears of the end.
    pub fn leave(self: &Arc<Self>, table: &Arc<Hosted<S>>, patience: Duration) {
        table.leave(self, patience);
    }

    fn warn(&self, message: &str) {
        self.sink.log(Level::Warning, message);
    }
}

impl<S: Sink> Handler for Arc<Hosting<S>> {
    type Token = (NodeName, Work<S>);

    fn request(&self, _peer: &PeerName, body: &[u8], reply: Replier) {
        self.serve_request(body, reply);
    }

    fn replied(&self, (node, work): Self::Token, outcome: Result<&[u8], CallError>) {
        self.request_answered(node, work, outcome);
    }

    fn together(&self, work: &mut dyn FnMut()) {
        self.sink.together(work);
    }

    async fn cast(&self, peer: &PeerName, _link: BulkLink, body: Vec<u8>) {
        self.take_cast(peer, &body);
    }

    fn bulk_up(&self, peer: &PeerName, link: BulkLink) {
        self.link_changed(self.peers.link(peer, link, true));
    }

    fn bulk_down(&self, peer: &PeerName, link: BulkLink) {
        self.link_changed(self.peers.link(peer, link, false));
    }

    fn has_process(&self, name: &str) -> bool {
        name == REGISTERED_NAME
    }

    fn erlang_message(&self, to: Address<'_>, message: &[u8], reply: ErlangReplier) {
        if to == Address::Name(REGISTERED_NAME) {
            self.serve_erlang_message(message, reply);
        }
    }

    fn log(&self, level: Level, message: &str) {
        self.sink.log(level, message);
    }
}

impl<S: Sink> Hosting<S> {
    fn link_changed(self: &Arc<Self>, change: Change) {
        let event: fn(NodeName) -> Event = match &change {
            Change::Up(_) => |node| Event::LinkUp { node },
            Change::Down(_) => |node| Event::LinkDown { node },
            Change::None => return,
        };
        if let Change::Up(node) | Change::Down(node) = change {
            for table in self.all_tables() {
                table.event(self, event(node.clone()));
            }
        }
    }

    fn take_cast(self: &Arc<Self>, peer: &PeerName, body: &[u8]) {
        let (table, cast) = match wire::read_cast(body) {
            Ok(read) => read,
            Err(malformed) => return self.warn(&format!("{peer} sent {malformed}")),
        };
        if let Cast::Part { last, bytes } = cast {
            if let Some(whole) = self.peers.part(peer, last, bytes) {
                self.take_cast(peer, &whole);
            }
            return;
        }
        // A node or table that is not known (any more): its machine will ask again when it is.
        let (Some(node), Some(table)) = (self.peers.node(peer), self.table(table)) else { return };
        match cast {
            Cast::Open | Cast::Part { .. } => {}
            Cast::Message(message) => table.message(self, node, message),
            Cast::Batch(batch) => table.receive(self, &node, &batch),
        }
    }
}
