//! Connections that others open: peers that call, peers that send bulk data, BEAM nodes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::channel::{Channel, State};
use crate::connect::{REFUSED_FOR_GOOD, REFUSED_LEAVING};
use crate::erlang;
use crate::frame::{self, CALL_HEADER_BYTES, FrameReader, Hello, Role};
use crate::handler::{BulkLink, Direction, Handler, Level};
use crate::handshake;
use crate::node::Shared;
use crate::peer_name::PeerName;

/// Connections that have not proved yet that they know the cookie, at a time. More are closed
/// at once: they cost a descriptor and a buffer each, and anybody can open them.
const MAX_UNPROVED: usize = 128;

/// What the server keeps under a channel's lock.
#[derive(Default)]
pub(crate) struct Served {
    /// Requests whose [`Replier`] is still about.
    unanswered: usize,
    goodbye: Goodbye,
}

/// How far this node has come in taking its leave on a calls link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Goodbye {
    /// Requests are executed.
    #[default]
    Unsaid,
    /// Requests are not executed any more; those that were before still get their answers.
    Intended,
    /// Everything that was executed is answered, in front of the goodbye.
    Said,
}

/// The writing half of an incoming connection.
pub(crate) type ServerChannel = Channel<Served>;

/// What an incoming connection turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A BEAM node, or nothing said yet.
    Other,
    Calls,
    Bulk,
}

struct Entry {
    peer: PeerName,
    kind: Kind,
    channel: Arc<ServerChannel>,
}

/// The incoming connections that are up.
#[derive(Default)]
pub(crate) struct Incoming {
    links: Mutex<Links>,
}

#[derive(Default)]
struct Links {
    /// No request is executed any more; decided once.
    leaving: bool,
    entries: HashMap<u64, Entry>,
    /// Held by a peer's bulk link for as long as the handler takes it for up.
    gates: HashMap<PeerName, Arc<tokio::sync::Mutex<()>>>,
}

impl Incoming {
    fn insert(&self, id: u64, peer: PeerName, channel: Arc<ServerChannel>) {
        self.links.lock().entries.insert(id, Entry { peer, kind: Kind::Other, channel });
    }

    /// Says what a connection is for; false for calls when this node is leaving.
    fn set_kind(&self, id: u64, kind: Kind) -> bool {
        let mut links = self.links.lock();
        if links.leaving && kind == Kind::Calls {
            return false;
        }
        if let Some(entry) = links.entries.get_mut(&id) {
            entry.kind = kind;
        }
        true
    }

    fn remove(&self, id: u64) {
        let mut links = self.links.lock();
        links.entries.remove(&id);
        // A gate that only the map holds has no link behind it any more.
        links.gates.retain(|_, gate| Arc::strong_count(gate) > 1);
    }

    /// Closes the bulk links of a peer but the newest, and gives the gate to wait at for their end.
    fn supersede(&self, id: u64, peer: &PeerName) -> Arc<tokio::sync::Mutex<()>> {
        let mut links = self.links.lock();
        for (&other, entry) in &links.entries {
            if other < id && entry.kind == Kind::Bulk && entry.peer == *peer {
                drop(entry.channel.close("superseded by a newer link"));
            }
        }
        Arc::clone(links.gates.entry(peer.clone()).or_default())
    }

    /// Closes all links of a peer.
    pub(crate) fn disconnect(&self, peer: &PeerName) {
        for entry in self.links.lock().entries.values() {
            if entry.peer == *peer {
                drop(entry.channel.close("disconnected"));
            }
        }
    }

    /// Numbers of links: others, calls, bulk.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        let links = self.links.lock();
        let count = |kind| links.entries.values().filter(|entry| entry.kind == kind).count();
        (count(Kind::Other), count(Kind::Calls), count(Kind::Bulk))
    }

    /// Has every caller told that nothing is executed here any more.
    pub(crate) async fn say_goodbye(&self) {
        let channels: Vec<Arc<ServerChannel>> = {
            let mut links = self.links.lock();
            links.leaving = true;
            let calls = links.entries.values().filter(|entry| entry.kind == Kind::Calls);
            calls.map(|entry| Arc::clone(&entry.channel)).collect()
        };
        for channel in &channels {
            let mut state = channel.lock();
            if state.owner.goodbye == Goodbye::Unsaid {
                state.owner.goodbye = Goodbye::Intended;
            }
            say_goodbye_when_due(channel, state);
        }
        // Whoever reads the goodbye closes the link. Closing it from here could lose the goodbye:
        // a connection with unread requests is reset, and takes down what it has not sent.
        for channel in channels {
            channel.closing().cancelled().await;
        }
    }
}

/// Queues the goodbye once it is true.
fn say_goodbye_when_due(channel: &ServerChannel, mut state: MutexGuard<'_, State<Served>>) {
    let due = state.owner.goodbye == Goodbye::Intended && state.owner.unanswered == 0;
    if due && !state.is_closed() {
        state.owner.goodbye = Goodbye::Said;
        let mut bytes = Vec::new();
        frame::push(&mut bytes, frame::GOODBYE, |_| ());
        channel.push(state, &bytes, false);
    }
}

/// Answers one request; may be kept, and used from any thread. Dropped without an answer it tells
/// the caller so ([`CallError::Cancelled`](crate::CallError::Cancelled)).
pub struct Replier {
    channel: Arc<ServerChannel>,
    id: u64,
    max_frame: usize,
    answered: bool,
}

impl Replier {
    /// Sends the answer that `write_body` appends; it must only append. An answer to a caller that
    /// is gone is dropped.
    pub fn reply(mut self, write_body: impl FnOnce(&mut Vec<u8>)) {
        with_scratch(|frame| {
            frame.extend_from_slice(&[0, 0, 0, 0, frame::REPLY]);
            frame.extend_from_slice(&self.id.to_be_bytes());
            write_body(frame);
            if frame.len() - frame::LENGTH_BYTES > self.max_frame {
                self.refuse(frame::WHY_TOO_LARGE);
            } else {
                frame::seal(frame, 0);
                self.finish(frame);
            }
        });
    }

    fn refuse(&mut self, why: u8) {
        let mut bytes = Vec::with_capacity(CALL_HEADER_BYTES + 1);
        frame::push(&mut bytes, frame::NO_REPLY, |out| {
            out.extend_from_slice(&self.id.to_be_bytes());
            out.push(why);
        });
        self.finish(&bytes);
    }

    fn finish(&mut self, bytes: &[u8]) {
        self.answered = true;
        let mut state = self.channel.lock();
        state.owner.unanswered -= 1;
        if state.is_closed() {
            return;
        }
        if state.owner.goodbye == Goodbye::Intended {
            // The goodbye must come behind this answer, in the order of the stream.
            state.append(bytes);
            self.channel.wake_writer(&mut state);
            say_goodbye_when_due(&self.channel, state);
        } else {
            self.channel.push(state, bytes, true);
        }
    }
}

impl Drop for Replier {
    fn drop(&mut self) {
        if !self.answered {
            self.refuse(frame::WHY_DROPPED);
        }
    }
}

/// Lends a buffer of this thread, empty. A nested use gets one of its own.
pub(crate) fn with_scratch<R>(work: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    /// Buffers that a large message has grown beyond this are not kept.
    const KEEP: usize = 256 << 10;
    thread_local! {
        static SCRATCH: std::cell::Cell<Vec<u8>> = const { std::cell::Cell::new(Vec::new()) };
    }
    let mut buffer = SCRATCH.try_with(std::cell::Cell::take).unwrap_or_default();
    let result = work(&mut buffer);
    if buffer.capacity() <= KEEP {
        buffer.clear();
        // A thread that is ending has no place for it, which loses nothing.
        let _ = SCRATCH.try_with(|place| place.set(buffer));
    }
    result
}

/// Accepts connections until the node stops.
pub(crate) async fn accept_all<H: Handler>(shared: Arc<Shared<H>>, listener: TcpListener) {
    let unproved = Arc::new(Semaphore::new(MAX_UNPROVED));
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.stopping.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                shared.log(Level::Warning, || format!("cannot accept a connection: {error}"));
                // Out of descriptors, most likely: the connection stays in the system's queue,
                // and trying again at once would only burn a core.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&unproved).try_acquire_owned() else {
            shared.log(Level::Warning, || {
                format!("a connection is refused: {MAX_UNPROVED} others have not proved themselves")
            });
            continue;
        };
        let serving = Arc::clone(&shared);
        shared.spawn(async move { serve(serving, stream, permit).await });
    }
}

/// One incoming connection, from its first byte to its last.
async fn serve<H: Handler>(
    shared: Arc<Shared<H>>,
    stream: TcpStream,
    permit: OwnedSemaphorePermit,
) {
    let stopping = shared.stopping.child_token();
    let from = stream.peer_addr().map_or_else(|_| "?".to_owned(), |address| address.to_string());
    let proved = tokio::select! {
        biased;
        () = stopping.cancelled() => return,
        proved = timeout(shared.config.connect_timeout, prove(&shared, stream)) => proved,
    };
    let (stream, peer) = match proved {
        Ok(Ok(proved)) => proved,
        Ok(Err(reason)) => {
            shared.log(Level::Warning, || format!("handshake from {from}: {reason}"));
            return;
        }
        Err(_) => {
            shared.log(Level::Warning, || format!("handshake from {from}: not done in time"));
            return;
        }
    };
    drop(permit);
    let (reader, writer) = stream.into_split();
    let traffic = Arc::clone(&shared.traffic);
    let channel = Arc::new(ServerChannel::new(stopping, traffic, Served::default()));
    channel.attach(writer);
    let writing = Arc::clone(&channel);
    let ticktime = shared.config.net_ticktime;
    if !shared.spawn(async move { writing.run_writer(ticktime).await }) {
        return;
    }
    let id = shared.next_link_id();
    shared.incoming.insert(id, peer.clone(), Arc::clone(&channel));
    let frames = FrameReader::new(reader, shared.config.max_frame);
    let link = ServerLink { shared: &shared, id, peer: &peer, channel: &channel };
    let reason = link.run(frames).await;
    shared.log(Level::Info, || format!("link from {peer}: {reason}"));
    drop(channel.close(reason));
    shared.incoming.remove(id);
}

async fn prove<H: Handler>(
    shared: &Arc<Shared<H>>,
    stream: TcpStream,
) -> Result<(TcpStream, PeerName), String> {
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    handshake::accept(stream, shared.local.clone(), &shared.cookie()).await
}

/// An incoming connection that has proved itself.
struct ServerLink<'a, H: Handler> {
    shared: &'a Arc<Shared<H>>,
    id: u64,
    peer: &'a PeerName,
    channel: &'a Arc<ServerChannel>,
}

type Frames = FrameReader<OwnedReadHalf>;

impl<H: Handler> ServerLink<'_, H> {
    /// Reads until the link ends, and says why it did.
    async fn run(&self, mut frames: Frames) -> String {
        let result = match self.first_frame(&mut frames).await {
            Ok(Some(Role::Calls)) => self.run_calls(&mut frames).await,
            Ok(Some(Role::Bulk)) => self.run_bulk(&mut frames).await,
            Ok(None) => self.run_erlang(&mut frames).await,
            Err(reason) => Err(reason),
        };
        match result {
            Ok(never) => match never {},
            Err(reason) => reason,
        }
    }

    /// Waits for more bytes.
    async fn fill(&self, frames: &mut Frames) -> Result<(), String> {
        tokio::select! {
            biased;
            () = self.channel.closing().cancelled() => {
                Err(self.channel.close_reason().unwrap_or_else(|| "stopping".into()))
            }
            filled = frames.fill() => {
                self.channel.count_received(filled.map_err(|error| error.to_string())?);
                Ok(())
            }
        }
    }

    /// Finds out what the link is for: a role that a peer asked for, or `None` for a BEAM node,
    /// whose first message has been handled.
    async fn first_frame(&self, frames: &mut Frames) -> Result<Option<Role>, String> {
        let range = loop {
            match frames.next().map_err(|error| error.to_string())? {
                Some(range) => break range,
                None => self.fill(frames).await?,
            }
        };
        let payload = frames.payload(range);
        match payload.split_first() {
            Some((&frame::HELLO, hello)) => {
                let refusal = match Hello::decode(hello) {
                    Ok(hello) if hello.name != *self.peer => {
                        (REFUSED_FOR_GOOD, format!("{} says that it is {}", self.peer, hello.name))
                    }
                    Ok(hello) => {
                        let kind = match hello.role {
                            Role::Calls => Kind::Calls,
                            Role::Bulk => Kind::Bulk,
                        };
                        if self.shared.incoming.set_kind(self.id, kind) {
                            let mut bytes = Vec::new();
                            frame::push(&mut bytes, frame::WELCOME, |out| {
                                out.extend_from_slice(&hello.version().to_be_bytes());
                            });
                            self.channel.push(self.channel.lock(), &bytes, true);
                            return Ok(Some(hello.role));
                        }
                        (REFUSED_LEAVING, "this node is leaving".to_owned())
                    }
                    Err(reason) => (REFUSED_FOR_GOOD, reason),
                };
                self.refuse(refusal.0, &refusal.1).await;
                Err(format!("refused: {}", refusal.1))
            }
            Some((&frame::ERLANG, message)) => {
                self.erlang_message(message)?;
                Ok(None)
            }
            _ => Err("the first frame is neither a hello nor an Erlang message".into()),
        }
    }

    async fn refuse(&self, why: u8, reason: &str) {
        self.shared.log(Level::Warning, || format!("{} is refused: {reason}", self.peer));
        let mut bytes = Vec::new();
        frame::push(&mut bytes, frame::REFUSED, |out| {
            out.push(why);
            out.extend_from_slice(reason.as_bytes());
        });
        self.channel.push(self.channel.lock(), &bytes, true);
        // Bounded: a peer that does not read its refusal is not waited for.
        let limit = self.shared.config.connect_timeout;
        let _ = timeout(limit, self.channel.drained_to(0)).await;
    }

    async fn run_calls(&self, frames: &mut Frames) -> Result<std::convert::Infallible, String> {
        let closed = self.channel.closing().cancelled();
        tokio::pin!(closed);
        loop {
            // Answers to everything that was read together leave together.
            self.channel.cork();
            let handled = self.request_batch(frames);
            self.channel.uncork(handled == Ok(true));
            handled?;
            self.catch_up().await;
            tokio::select! {
                biased;
                () = &mut closed => {
                    let reason = self.channel.close_reason();
                    return Err(reason.unwrap_or_else(|| "stopping".into()));
                }
                filled = frames.fill_soon() => {
                    self.channel.count_received(filled.map_err(|error| error.to_string())?);
                }
            }
        }
    }

    /// Waits for a peer that does not read its answers: nothing more is read from it until it does.
    async fn catch_up(&self) {
        let limit = self.shared.config.queue_limit_bytes;
        let is_behind = self.channel.lock().queued_bytes() > limit;
        if is_behind {
            self.channel.set_busy(true);
            self.channel.drained_to(limit / 2).await;
            self.channel.set_busy(false);
        }
    }

    /// Hands out the requests that have arrived; says whether there were any.
    fn request_batch(&self, frames: &mut Frames) -> Result<bool, String> {
        let mut any = false;
        while let Some(range) = frames.next().map_err(|error| error.to_string())? {
            let payload = frames.payload(range);
            let Some((&frame::REQUEST, rest)) = payload.split_first() else {
                return Err("an unexpected frame on a calls link".into());
            };
            let (id, body) = frame::split_id(rest).ok_or("a cut off request")?;
            any = true;
            let overloaded = {
                let mut state = self.channel.lock();
                if state.owner.goodbye != Goodbye::Unsaid {
                    // Its caller learns from the goodbye that it was not executed.
                    continue;
                }
                state.owner.unanswered += 1;
                state.owner.unanswered > self.shared.config.max_calls_in_flight
            };
            let mut reply = Replier {
                channel: Arc::clone(self.channel),
                id,
                max_frame: self.shared.config.max_frame,
                answered: false,
            };
            if overloaded {
                reply.refuse(frame::WHY_OVERLOADED);
                continue;
            }
            self.shared.traffic.requested();
            if self.shared.guarded(|handler| handler.request(self.peer, body, reply)).is_none() {
                return Err("the handler of requests panicked".into());
            }
        }
        Ok(any)
    }

    async fn run_bulk(&self, frames: &mut Frames) -> Result<std::convert::Infallible, String> {
        let gate = self.shared.incoming.supersede(self.id, self.peer);
        let _gate = tokio::select! {
            biased;
            () = self.channel.closing().cancelled() => return Err("closed".into()),
            held = gate.lock() => held,
        };
        let link = BulkLink { id: self.id, direction: Direction::Incoming };
        self.shared.guarded(|handler| handler.bulk_up(self.peer, link));
        let end = self.cast_all(frames, link).await;
        drop(self.channel.close("the bulk link ended"));
        self.shared.guarded(|handler| handler.bulk_down(self.peer, link));
        end
    }

    async fn cast_all(
        &self,
        frames: &mut Frames,
        link: BulkLink,
    ) -> Result<std::convert::Infallible, String> {
        loop {
            while let Some(range) = frames.next().map_err(|error| error.to_string())? {
                let Some((&frame::CAST, body)) = frames.payload(range).split_first() else {
                    return Err("an unexpected frame on a bulk link".into());
                };
                let body = body.to_vec();
                self.channel.set_busy(true);
                let done = tokio::select! {
                    biased;
                    () = self.channel.closing().cancelled() => {
                        let reason = self.channel.close_reason();
                        return Err(reason.unwrap_or_else(|| "stopping".into()));
                    }
                    done = self.shared.guarded_async(|handler| {
                        handler.cast(self.peer, link, body)
                    }) => done,
                };
                self.channel.set_busy(false);
                if done.is_none() {
                    return Err("the handler of casts panicked".into());
                }
            }
            self.fill(frames).await?;
        }
    }

    async fn run_erlang(&self, frames: &mut Frames) -> Result<std::convert::Infallible, String> {
        loop {
            self.channel.cork();
            let handled = self.erlang_batch(frames);
            self.channel.uncork(false);
            handled?;
            self.catch_up().await;
            self.fill(frames).await?;
        }
    }

    fn erlang_batch(&self, frames: &mut Frames) -> Result<(), String> {
        while let Some(range) = frames.next().map_err(|error| error.to_string())? {
            match frames.payload(range).split_first() {
                Some((&frame::ERLANG, message)) => self.erlang_message(message)?,
                _ => return Err("an unexpected frame from a BEAM node".into()),
            }
        }
        Ok(())
    }

    fn erlang_message(&self, message: &[u8]) -> Result<(), String> {
        let answerer = erlang::ErlangReplier::new(
            Arc::clone(self.channel),
            Arc::clone(&self.shared.identity),
            self.shared.config.queue_limit_bytes,
            self.shared.config.max_frame,
        );
        erlang::receive(self.shared, message, answerer)
    }
}
