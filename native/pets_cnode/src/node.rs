//! The node: its start and end, and the calls and casts that it makes.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use erl_dist::node::LocalNode;
use futures::FutureExt;
use parking_lot::{Mutex, RwLock};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::bulk::{self, BulkSession, longest_body};
use crate::calls::{self, CallId, CallsChannel};
use crate::config::Config;
use crate::epmd::{self, Registration};
use crate::erlang::Identity;
use crate::error::{CallError, StartError};
use crate::frame::{self, CALL_HEADER_BYTES};
use crate::handler::{BulkLink, Direction, Handler, Level};
use crate::handshake;
use crate::peer_name::PeerName;
use crate::peers::{Peer, Peers};
use crate::server::{self, Incoming};
use crate::stats::{Stats, Traffic};

/// Threads that carry all links.
const WORKERS: usize = 2;
/// How long [`Node::stop`] waits for requests that are being executed, and for callers to take
/// notice of its goodbye.
const GOODBYE_LIMIT: Duration = Duration::from_secs(1);
/// How long [`Node::stop`] waits for links to be closed and calls to be failed.
const STOP_LIMIT: Duration = Duration::from_secs(2);
/// How long [`Node::stop`] waits for EPMD to take the name back.
const RELEASE_LIMIT: Duration = Duration::from_millis(500);
/// How often a lost EPMD is tried again.
const EPMD_RETRY: Duration = Duration::from_secs(1);

/// What all links of a node share.
pub(crate) struct Shared<H: Handler> {
    pub(crate) config: Config,
    /// What the next handshake proves; the configured one until it is set.
    cookie: RwLock<String>,
    pub(crate) name: PeerName,
    /// What this node says in handshakes.
    pub(crate) local: LocalNode,
    pub(crate) identity: Arc<Identity>,
    handler: Arc<H>,
    runtime: Handle,
    /// Cancelled when the node stops; the tokens of all links are its children.
    pub(crate) stopping: CancellationToken,
    /// Each task holds a clone; taken out when the node stops, so that no task begins after that,
    /// and the receiver sees the last one end.
    alive: Mutex<Option<mpsc::Sender<()>>>,
    pub(crate) peers: Peers<H::Token>,
    pub(crate) incoming: Incoming,
    pub(crate) traffic: Arc<Traffic>,
    link_ids: AtomicU64,
}

impl<H: Handler> Shared<H> {
    pub(crate) fn cookie(&self) -> String {
        self.cookie.read().clone()
    }

    /// Starts a task that [`Node::stop`] waits for; false when the node is stopping.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> bool {
        let Some(alive) = self.alive.lock().clone() else { return false };
        self.runtime.spawn(async move {
            task.await;
            drop(alive);
        });
        true
    }

    pub(crate) fn next_link_id(&self) -> u64 {
        self.link_ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Calls the handler; `None` when it panicked, which ends with the link at most.
    pub(crate) fn guarded<R>(&self, call: impl FnOnce(&H) -> R) -> Option<R> {
        catch_unwind(AssertUnwindSafe(|| call(&self.handler))).ok()
    }

    /// Does what is guarded one by one, as one batch.
    pub(crate) fn together(&self, work: &mut dyn FnMut()) {
        let _ = self.guarded(|handler| handler.together(work));
    }

    /// Like [`guarded`](Self::guarded), for the handler's futures.
    pub(crate) async fn guarded_async<'a, F: Future>(
        &'a self,
        call: impl FnOnce(&'a H) -> F,
    ) -> Option<F::Output> {
        AssertUnwindSafe(async { call(&self.handler).await }).catch_unwind().await.ok()
    }

    pub(crate) fn log(&self, level: Level, message: impl FnOnce() -> String) {
        let _ = self.guarded(|handler| handler.log(level, &message()));
    }
}

/// A hidden Erlang node, running on threads of its own from [`start`](Self::start) to
/// [`stop`](Self::stop).
pub struct Node<H: Handler> {
    shared: Arc<Shared<H>>,
    running: Mutex<Option<Running>>,
    address: SocketAddr,
}

/// What only a running node has.
struct Running {
    runtime: Runtime,
    /// Ready when all tasks have ended.
    ended: mpsc::Receiver<()>,
}

impl<H: Handler> Node<H> {
    /// Starts a node: opens its listening socket, registers it in EPMD as hidden, and serves.
    ///
    /// Blocks until EPMD has answered; must not be called from a thread of a tokio runtime.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running.
    pub fn start(config: Config, handler: Arc<H>) -> Result<Self, StartError> {
        let name = PeerName::new(&config.name)?;
        check_host(&name, config.long_names)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("pets_cnode")
            .enable_all()
            .build()
            .map_err(StartError::Threads)?;
        let limit = config.connect_timeout;
        let (listener, address, registration) = runtime.block_on(async {
            let address = SocketAddr::new(config.listen, 0);
            let listen = async {
                let listener = TcpListener::bind(address).await?;
                let address = listener.local_addr()?;
                Ok((listener, address))
            };
            let (listener, address) =
                listen.await.map_err(|error| StartError::Listen { address, error })?;
            let epmd = SocketAddr::new(config.epmd_addr, config.epmd_port);
            let registration = epmd::register(epmd, name.alive(), address.port(), limit).await?;
            Ok::<_, StartError>((listener, address, registration))
        })?;
        let creation = registration.creation;
        let local = handshake::local_node(&name, creation)
            .map_err(|_| crate::peer_name::InvalidName(config.name.clone()))?;
        let identity = Arc::new(Identity::new(name.as_str(), creation.get()));
        let (alive, ended) = mpsc::channel(1);
        let config = Config {
            max_frame: config.max_frame.clamp(1 << 10, u32::MAX as usize - frame::LENGTH_BYTES),
            ..config
        };
        let shared = Arc::new(Shared {
            cookie: RwLock::new(config.cookie.clone()),
            config,
            name,
            local,
            identity,
            handler,
            runtime: runtime.handle().clone(),
            stopping: CancellationToken::new(),
            alive: Mutex::new(Some(alive)),
            peers: Peers::new(),
            incoming: Incoming::default(),
            traffic: Arc::new(Traffic::default()),
            link_ids: AtomicU64::new(1),
        });
        let serving = Arc::clone(&shared);
        shared.spawn(async move { server::accept_all(serving, listener).await });
        let registered = Arc::clone(&shared);
        shared.spawn(async move { stay_registered(registered, registration, address).await });
        Ok(Self { shared, running: Mutex::new(Some(Running { runtime, ended })), address })
    }

    /// The node's own name.
    pub fn name(&self) -> &PeerName {
        &self.shared.name
    }

    /// Changes the cookie for all handshakes from now on; links that stand are not touched.
    pub fn set_cookie(&self, cookie: &str) {
        *self.shared.cookie.write() = cookie.to_owned();
    }

    /// Where the node accepts connections.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The threads that carry the links, for tasks that work with them. They end with the node.
    pub fn runtime(&self) -> &Handle {
        &self.shared.runtime
    }

    /// Sends a request to a peer, on a link that is made if there is none. Never waits, and may be
    /// called from any thread.
    ///
    /// The answer, or the failure, of a call that was accepted comes through
    /// [`Handler::replied`], unless the call is [cancelled](Self::cancel) before.
    ///
    /// # Errors
    /// The token comes back with the reason, and `replied` is not called: [`CallError::Overloaded`]
    /// at a limit, [`CallError::Refused`] when the request is larger than the largest frame,
    /// [`CallError::NotConnected`] when the node is stopped.
    pub fn call(
        &self,
        peer: &PeerName,
        token: H::Token,
        body: &[u8],
    ) -> Result<CallId, (H::Token, CallError)> {
        let config = &self.shared.config;
        if body.len() > longest_request(config.max_frame) {
            let limit = longest_request(config.max_frame);
            let reason = format!("a request of {} bytes exceeds the limit of {limit}", body.len());
            return Err((token, CallError::Refused(reason)));
        }
        let limits = calls::Limits {
            calls: config.max_calls_in_flight,
            queue_bytes: config.queue_limit_bytes,
        };
        let mut token = Some(token);
        let mut closed = None;
        let error = loop {
            let channel = match self.calls_channel(peer, closed.as_ref()) {
                Ok(channel) => channel,
                Err(error) => break error,
            };
            match calls::submit(&channel, &limits, body, &mut token) {
                Ok(id) => {
                    self.shared.traffic.called();
                    return Ok(id);
                }
                Err(Some(error)) => break error,
                Err(None) => closed = Some(channel),
            }
        };
        let token = token.expect("a call that was not accepted keeps its token");
        Err((token, error))
    }

    /// The present calls link to a peer, but not the one that was found closed. Its peer is not
    /// locked any more: sending a request may be a system call.
    fn calls_channel(
        &self,
        name: &PeerName,
        closed: Option<&Arc<CallsChannel<H::Token>>>,
    ) -> Result<Arc<CallsChannel<H::Token>>, CallError> {
        loop {
            let peer = self.peer(name)?;
            let mut link = peer.calls.lock();
            if link.removed {
                // Forgotten since it was looked up: there is a new entry, or will be.
                continue;
            }
            if let Some(channel) = &link.current
                && !closed.is_some_and(|closed| Arc::ptr_eq(closed, channel))
            {
                return Ok(Arc::clone(channel));
            }
            let calls = peer.next_calls(link.current.as_deref());
            let shared = &self.shared;
            let stop = shared.stopping.child_token();
            let channel = Arc::new(CallsChannel::new(stop, Arc::clone(&shared.traffic), calls));
            let task = calls::run(Arc::clone(shared), Arc::clone(&peer), Arc::clone(&channel));
            if !shared.spawn(task) {
                return Err(CallError::NotConnected);
            }
            link.current = Some(Arc::clone(&channel));
            return Ok(channel);
        }
    }

    fn peer(&self, name: &PeerName) -> Result<Arc<Peer<H::Token>>, CallError> {
        self.shared.peers.get_or_insert(name).ok_or(CallError::Overloaded)
    }

    /// Takes a call back, on its caller's time-out: the token, unless the answer is on its way to
    /// [`Handler::replied`] or has been there. The peer may still execute the request.
    pub fn cancel(&self, id: CallId) -> Option<H::Token> {
        let peer = self.shared.peers.at(id.peer())?;
        let channel = peer.calls.lock().current.clone()?;
        channel.lock().owner.remove(id)
    }

    /// Queues a message on the bulk link to a peer, which is made if there is none. Messages of
    /// one sender arrive in order, for as long as the link that is returned lives; when it breaks,
    /// [`Handler::bulk_down`] names it, possibly before this returns.
    ///
    /// # Errors
    /// [`CallError::Overloaded`] when the queue has no room now, [`CallError::Refused`] when the
    /// message is larger than the largest frame, [`CallError::NotConnected`] when the link broke
    /// before the message was queued, or the node is stopped.
    pub fn cast(&self, peer: &PeerName, body: Vec<u8>) -> Result<BulkLink, CallError> {
        self.check_body(&body)?;
        self.bulk_session(peer)?.try_send(body)
    }

    /// Like [`cast`](Self::cast), but waits for room in the queue.
    ///
    /// # Errors
    /// As `cast`, but never `Overloaded` for lack of room.
    pub async fn send_bulk(&self, peer: &PeerName, body: Vec<u8>) -> Result<BulkLink, CallError> {
        self.check_body(&body)?;
        self.bulk_session(peer)?.send(body).await
    }

    fn check_body(&self, body: &[u8]) -> Result<(), CallError> {
        let limit = longest_body(self.shared.config.max_frame);
        if body.len() > limit {
            let length = body.len();
            let reason = format!("a message of {length} bytes exceeds the limit of {limit}");
            return Err(CallError::Refused(reason));
        }
        Ok(())
    }

    fn bulk_session(&self, name: &PeerName) -> Result<Arc<BulkSession>, CallError> {
        loop {
            let peer = self.peer(name)?;
            let mut link = peer.bulk.lock();
            if link.removed {
                continue;
            }
            if let Some(session) = &link.current
                && !session.is_closed()
            {
                return Ok(Arc::clone(session));
            }
            let shared = &self.shared;
            let id = BulkLink { id: shared.next_link_id(), direction: Direction::Outgoing };
            let limit = shared.config.queue_limit_bytes;
            let (session, queue) = BulkSession::new(id, limit, shared.stopping.child_token());
            let task =
                bulk::run(Arc::clone(shared), Arc::clone(&peer), Arc::clone(&session), queue);
            if !shared.spawn(task) {
                return Err(CallError::NotConnected);
            }
            link.current = Some(Arc::clone(&session));
            return Ok(session);
        }
    }

    /// Closes all links with a peer, both ways, for example because the VM saw it go down: calls
    /// in flight fail at once, with [`CallError::NodeDown`] if they may have been executed. A
    /// later call or cast connects again.
    pub fn disconnect(&self, name: &PeerName) {
        if let Some(peer) = self.shared.peers.remove(name) {
            let calls = {
                let mut link = peer.calls.lock();
                link.removed = true;
                link.current.clone()
            };
            if let Some(channel) = calls {
                drop(channel.close("disconnected"));
            }
            let mut link = peer.bulk.lock();
            link.removed = true;
            if let Some(session) = &link.current {
                session.close.cancel();
            }
        }
        self.shared.incoming.disconnect(name);
    }

    /// Stops executing requests, for good, and tells every caller so: calls without an answer then
    /// fail with [`CallError::NotExecuted`] and can be made elsewhere. Requests that the handler
    /// holds are answered first: this is ready when all callers have closed their links, which
    /// they do on the goodbye. Wrap it in a time-out.
    pub async fn say_goodbye(&self) {
        self.shared.incoming.say_goodbye().await;
    }

    /// What the node is doing.
    pub fn stats(&self) -> Stats {
        let (other_links, incoming_calls_links, incoming_bulk_links) =
            self.shared.incoming.counts();
        let peers = self.shared.peers.all();
        let calls: Vec<usize> = peers
            .iter()
            .filter_map(|peer| {
                let channel = peer.calls.lock().current.clone()?;
                let state = channel.lock();
                (!state.is_closed()).then(|| state.owner.len())
            })
            .collect();
        let bulk = |peer: &&Arc<Peer<H::Token>>| {
            peer.bulk.lock().current.as_ref().is_some_and(|session| !session.is_closed())
        };
        Stats {
            outgoing_calls_links: calls.len(),
            outgoing_bulk_links: peers.iter().filter(bulk).count(),
            incoming_calls_links,
            incoming_bulk_links,
            other_links,
            calls_in_flight: calls.iter().sum(),
            ..self.shared.traffic.snapshot()
        }
    }

    /// Stops the node: says goodbye, closes all links, fails the calls in flight, ends the threads
    /// and gives the name back. Takes a few seconds at most, whatever the handler does. Stopping
    /// twice does nothing; dropping the node stops it.
    pub fn stop(&self) {
        let Some(Running { runtime, mut ended }) = self.running.lock().take() else { return };
        let shared = &self.shared;
        if Handle::try_current().is_ok() {
            // On a thread of a runtime nothing can be waited for; perhaps it is one of our own.
            shared.stopping.cancel();
            shared.alive.lock().take();
            runtime.shutdown_background();
            return;
        }
        runtime.block_on(async {
            let _ = timeout(GOODBYE_LIMIT, shared.incoming.say_goodbye()).await;
            shared.stopping.cancel();
            shared.alive.lock().take();
            // Nothing is ever sent: this ends when the last task has dropped its sender.
            let _ = timeout(STOP_LIMIT, ended.recv()).await;
        });
        runtime.shutdown_timeout(STOP_LIMIT);
    }
}

impl<H: Handler> Drop for Node<H> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The longest body of a request in a frame of at most `max_frame` bytes.
fn longest_request(max_frame: usize) -> usize {
    max_frame - (CALL_HEADER_BYTES - frame::LENGTH_BYTES)
}

/// Other nodes would refuse a name of the other kind, with a less helpful message.
fn check_host(name: &PeerName, long_names: bool) -> Result<(), StartError> {
    let is_long = name.host().contains(['.', ':']);
    if is_long == long_names {
        return Ok(());
    }
    let expected = if long_names {
        "long names: it must be a fully qualified name or an address"
    } else {
        "short names: it must have no dot"
    };
    Err(StartError::HostForm { name: name.to_string(), expected })
}

/// Keeps the node registered until it stops; EPMD may be restarted meanwhile.
async fn stay_registered<H: Handler>(
    shared: Arc<Shared<H>>,
    mut registration: Registration,
    address: SocketAddr,
) {
    let config = &shared.config;
    let epmd = SocketAddr::new(config.epmd_addr, config.epmd_port);
    loop {
        tokio::select! {
            biased;
            () = shared.stopping.cancelled() => {
                return registration.release(RELEASE_LIMIT).await;
            }
            () = registration.lost() => {}
        }
        shared.log(Level::Warning, || "EPMD is gone; registering again".to_owned());
        let mut told = false;
        registration = loop {
            let attempt =
                epmd::register(epmd, shared.name.alive(), address.port(), config.connect_timeout);
            let error = tokio::select! {
                biased;
                () = shared.stopping.cancelled() => return,
                outcome = attempt => match outcome {
                    Ok(registration) => break registration,
                    Err(error) => error,
                },
            };
            if !told {
                shared.log(Level::Warning, || error.to_string());
                told = true;
            }
            tokio::select! {
                biased;
                () = shared.stopping.cancelled() => return,
                () = sleep(EPMD_RETRY) => {}
            }
        };
        shared.log(Level::Info, || "registered in EPMD again".to_owned());
    }
}
