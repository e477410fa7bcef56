//! The writing half of a link: a bounded queue, one writer, and a short cut.
//!
//! Frames are appended under a short lock. Whoever holds the `writing` flag owns the socket's
//! write side, so that the lock is never held during a system call. Small writes are done by the
//! thread that sends, others by the writer task.
//!
//! # Requests wait for the peer
//!
//! A write and the wake-up behind it cost more than a hundred requests. So there is one write of
//! requests at a time: those that come after it are held back until something arrives from the
//! peer, and then leave as one write. A lone caller never waits, and the busier the link the
//! larger the writes. (Nagle's algorithm, RFC 896, with answers for acknowledgements.)
//!
//! Nothing is held back for ever. Let requests be held: `awaiting` is set, so a request was written
//! after the last arrival was noticed. It was written whole, because what a socket does not take is
//! put back as `urgent` and written by the writer task. The peer reads it, and whoever has read
//! requests writes: their answers, or where none is ready a tick ([`Channel::uncork`]). So something
//! arrives, [`Channel::heard`] clears `awaiting`, and the requests leave; or else the link breaks,
//! which fails them. The tick is queued also while another thread is writing: what that thread
//! writes may have arrived before the request was written.
//!
//! They lose no time to a peer that is slow: it reads one request after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_util::sync::CancellationToken;

use crate::frame::{self, TICK};
use crate::stats::Traffic;

/// Quarters of `net_ticktime` without a byte from the peer after which a link is given up.
const SILENT_QUARTERS: u32 = 5;

/// Buffers that a burst has grown beyond this are given back.
const KEEP_BYTES: usize = 256 << 10;

/// More than this is left to the writer task, and does not wait for the peer either.
const BATCH_BYTES: usize = 64 << 10;

/// The writing half of a link. `X` is what its owner keeps under the same lock.
pub(crate) struct Channel<X> {
    state: Mutex<State<X>>,
    /// Wakes the writer task; a permit is left when something was queued for it.
    wake: Notify,
    /// Tells waiters that the queue ran empty, or that the link closed.
    drained: Notify,
    /// Cancelled when the link is closed, from either side.
    close: CancellationToken,
    /// Bytes read so far; written by the reader, compared by the writer's ticks.
    received: AtomicU64,
    /// The reader is not reading because its own side is behind: silence is not the peer's fault.
    busy: AtomicBool,
    traffic: Arc<Traffic>,
}

/// What the lock of a [`Channel`] guards.
pub(crate) struct State<X> {
    /// There while the link is up. Taken out on close, because a kept replier may hold the
    /// channel long after that, and the connection must not stay open with it.
    socket: Option<Arc<OwnedWriteHalf>>,
    /// Frames that no writer has taken yet.
    queue: Vec<u8>,
    /// The allocation of the last queue that was written.
    spare: Vec<u8>,
    /// Somebody owns the socket's write side.
    writing: bool,
    /// The writer task has a wake-up on its way.
    woken: bool,
    /// Frames gather until the reader has handled a whole batch.
    corked: bool,
    /// The queue has requests in it, to which the peer will send something.
    asking: bool,
    /// Requests were written, and nothing has arrived since: others gather.
    awaiting: bool,
    /// What is queued must not wait for the peer.
    urgent: bool,
    /// Nothing may be queued any more; the reason is for the log.
    closed: Option<String>,
    /// Bytes queued since the link began.
    enqueued: u64,
    /// Bytes that the kernel may have got, counted like `enqueued`. Exact while nobody writes.
    handed: u64,
    /// The owner's part.
    pub(crate) owner: X,
}

impl<X> State<X> {
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.queue.len()
    }

    /// Where the stream stands behind everything queued so far.
    pub(crate) fn enqueued(&self) -> u64 {
        self.enqueued
    }

    /// Up to where the kernel may have got the stream.
    pub(crate) fn handed(&self) -> u64 {
        self.handed
    }

    /// Nothing is queued, and nothing is being written.
    fn is_idle(&self) -> bool {
        self.queue.is_empty() && !self.writing
    }

    /// What is queued waits for the peer to send something.
    fn is_held(&self) -> bool {
        self.awaiting && !self.urgent && self.queue.len() < BATCH_BYTES
    }

    /// Whoever calls this owns the write side, and writes everything up to here.
    fn begin_writing(&mut self) {
        self.writing = true;
        self.handed = self.enqueued;
        self.urgent = false;
        self.awaiting |= std::mem::take(&mut self.asking);
    }

    /// Appends a frame without waking anybody, for a state that is about to be pushed anyway.
    pub(crate) fn append(&mut self, frame: &[u8]) {
        self.queue.extend_from_slice(frame);
        self.enqueued += frame.len() as u64;
    }

    /// Like [`append`](Self::append), for a frame of a tag and what `write` adds.
    pub(crate) fn append_frame(&mut self, tag: u8, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.queue.len();
        frame::push(&mut self.queue, tag, write);
        self.enqueued += (self.queue.len() - start) as u64;
    }

    /// Puts back what a writer took and could not write.
    fn put_back(&mut self, rest: &[u8]) {
        self.handed -= rest.len() as u64;
        self.queue.splice(0..0, rest.iter().copied());
        self.urgent = true;
    }
}

impl<X> Channel<X> {
    /// A channel that queues until it is [attached](Self::attach).
    pub(crate) fn new(close: CancellationToken, traffic: Arc<Traffic>, owner: X) -> Self {
        Self {
            state: Mutex::new(State {
                socket: None,
                queue: Vec::new(),
                spare: Vec::new(),
                writing: false,
                woken: false,
                corked: false,
                asking: false,
                awaiting: false,
                urgent: false,
                closed: None,
                enqueued: 0,
                handed: 0,
                owner,
            }),
            wake: Notify::new(),
            drained: Notify::new(),
            close,
            received: AtomicU64::new(0),
            busy: AtomicBool::new(false),
            traffic,
        }
    }

    /// Gives the channel its socket; happens once, before [`run_writer`](Self::run_writer).
    pub(crate) fn attach(&self, socket: OwnedWriteHalf) {
        let mut state = self.lock();
        if state.closed.is_none() {
            state.socket = Some(Arc::new(socket));
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State<X>> {
        self.state.lock()
    }

    /// Cancelled when the link is closed.
    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.close
    }

    /// Counts bytes that arrived, which keeps the link from being taken for dead.
    pub(crate) fn count_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        self.traffic.received(bytes);
    }

    /// Says that the reader itself is (or no longer is) what keeps bytes from being read.
    pub(crate) fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Relaxed);
    }

    /// Nothing is queued any more; the first reason stays.
    fn refuse_more(&self, reason: &str) -> MutexGuard<'_, State<X>> {
        let mut state = self.lock();
        if state.closed.is_none() {
            state.closed = Some(reason.to_owned());
        }
        state
    }

    /// Closes the link: both tasks end, and nothing is queued any more. The first reason stays.
    pub(crate) fn close(&self, reason: impl AsRef<str>) -> MutexGuard<'_, State<X>> {
        let mut state = self.refuse_more(reason.as_ref());
        state.socket = None;
        self.close.cancel();
        self.drained.notify_waiters();
        state
    }

    /// Why the link was closed.
    pub(crate) fn close_reason(&self) -> Option<String> {
        self.lock().closed.clone()
    }

    /// Queues a frame and lets go of the lock. With `inline` the calling thread writes it itself
    /// when nobody else is writing.
    pub(crate) fn push(&self, mut state: MutexGuard<'_, State<X>>, frame: &[u8], inline: bool) {
        state.append(frame);
        if inline {
            self.write_queue(state);
        } else {
            self.wake_writer(&mut state);
        }
    }

    /// Sends the requests that were appended. The first one is written at once, by the calling
    /// thread; those that come while the peer has not answered gather, and leave as one write
    /// when it does.
    pub(crate) fn ask(&self, mut state: MutexGuard<'_, State<X>>) {
        state.asking = true;
        self.write_queue(state);
    }

    /// Something has arrived: what has gathered meanwhile is written.
    pub(crate) fn heard(&self, mut state: MutexGuard<'_, State<X>>) {
        state.awaiting = false;
        self.write_queue(state);
    }

    /// Wakes the writer task if there is something that nobody else will write.
    pub(crate) fn wake_writer(&self, state: &mut State<X>) {
        let nobody = !state.writing && !state.woken && !state.corked && !state.is_held();
        if nobody && !state.queue.is_empty() {
            state.woken = true;
            self.wake.notify_one();
        }
    }

    /// One attempt to write, by a thread that owns the write side; the rest goes to the writer.
    /// An error is left for the writer task to meet again: it is the one that closes the link.
    fn write_now(&self, socket: &OwnedWriteHalf, bytes: &[u8]) {
        let written = socket.try_write(bytes).unwrap_or(0);
        self.traffic.sent(written);
        let mut state = self.lock();
        state.writing = false;
        if written < bytes.len() {
            state.put_back(&bytes[written..]);
        }
        self.wake_writer(&mut state);
        if state.is_idle() {
            drop(state);
            self.drained.notify_waiters();
        }
    }

    /// Lets frames gather until [`uncork`](Self::uncork).
    pub(crate) fn cork(&self) {
        self.lock().corked = true;
    }

    /// Writes what has gathered, as one write. After requests the peer waits for something
    /// to arrive, be it only a tick.
    pub(crate) fn uncork(&self, after_requests: bool) {
        let mut state = self.lock();
        state.corked = false;
        if after_requests && state.queue.is_empty() {
            state.append(&TICK);
        }
        self.write_queue(state);
    }

    /// Writes the queue from the calling thread, if nobody else is writing.
    fn write_queue(&self, mut state: MutexGuard<'_, State<X>>) {
        if state.queue.is_empty() || state.writing || state.corked || state.is_held() {
            return;
        }
        if state.queue.len() > BATCH_BYTES {
            self.wake_writer(&mut state);
            return;
        }
        let Some(socket) = state.socket.clone() else { return };
        state.begin_writing();
        let spare = std::mem::take(&mut state.spare);
        let mut bytes = std::mem::replace(&mut state.queue, spare);
        drop(state);
        self.write_now(&socket, &bytes);
        if bytes.capacity() <= KEEP_BYTES {
            bytes.clear();
            self.lock().spare = bytes;
        }
    }

    /// Waits until at most `bytes` are queued (with 0: also until the last write is done).
    /// Returns at once when the link is closed.
    pub(crate) async fn drained_to(&self, bytes: usize) {
        loop {
            let notified = self.drained.notified();
            tokio::pin!(notified);
            // Registered before the state is looked at, so that no wake-up is missed.
            notified.as_mut().enable();
            {
                let state = self.lock();
                let low = state.queue.len() <= bytes && (bytes > 0 || state.is_idle());
                if low || state.closed.is_some() {
                    return;
                }
            }
            notified.await;
        }
    }

    /// Writes what is queued, ticks, and watches for a silent peer, until the link closes.
    pub(crate) async fn run_writer(&self, net_ticktime: Duration) {
        let Some(socket) = self.lock().socket.clone() else { return };
        let quarter = (net_ticktime / 4).max(Duration::from_millis(1));
        let mut ticks = interval_at(Instant::now() + quarter, quarter);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silence = Silence::default();
        let mut hand = Hand::default();
        let closed = self.close.cancelled();
        tokio::pin!(closed);
        let reason = loop {
            tokio::select! {
                biased;
                () = &mut closed => break "closed".to_owned(),
                _ = ticks.tick() => {
                    if silence.is_too_long(self) {
                        break format!("nothing arrived for {:?}", quarter * SILENT_QUARTERS);
                    }
                    let mut state = self.lock();
                    if state.queue.is_empty() && !state.writing && !state.is_closed() {
                        state.append(&TICK);
                        state.urgent = true;
                        self.wake_writer(&mut state);
                    }
                }
                result = self.write_some(&socket, &mut hand) => {
                    if let Err(error) = result {
                        let reason = error.to_string();
                        hand.leave(&mut self.refuse_more(&reason));
                        // The peer closed. What it sent before, a goodbye perhaps, is still to be
                        // read: the reader closes the link when it comes to the end.
                        let _ = timeout(quarter, &mut closed).await;
                        break reason;
                    }
                }
            }
        };
        hand.leave(&mut self.close(reason));
    }

    /// One step of the writer: takes what is queued, or waits for it, or writes. Cancel safe.
    async fn write_some(&self, socket: &OwnedWriteHalf, hand: &mut Hand) -> std::io::Result<()> {
        if hand.at == hand.bytes.len() && !self.take(hand) {
            self.wake.notified().await;
            return Ok(());
        }
        match socket.try_write(&hand.bytes[hand.at..]) {
            Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                self.traffic.sent(written);
                hand.at += written;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                socket.writable().await?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Moves the queue into the writer's hand; false when there is nothing, or another thread
    /// is writing (which then wakes the writer for what it leaves).
    fn take(&self, hand: &mut Hand) -> bool {
        let mut state = self.lock();
        state.woken = false;
        if state.writing && !hand.owns {
            return false;
        }
        hand.reset();
        hand.owns = !state.queue.is_empty() && !state.is_held();
        state.writing = hand.owns;
        if hand.owns {
            std::mem::swap(&mut state.queue, &mut hand.bytes);
            state.begin_writing();
        }
        drop(state);
        // Taken or empty, the queue has room.
        self.drained.notify_waiters();
        hand.owns
    }
}

/// What the writer task has taken from the queue.
#[derive(Default)]
struct Hand {
    bytes: Vec<u8>,
    /// How much of it is written.
    at: usize,
    /// Whether the task holds the `writing` flag.
    owns: bool,
}

impl Hand {
    /// Gives the write side up. What is still in hand has not reached the kernel.
    fn leave<X>(&mut self, state: &mut State<X>) {
        if self.owns {
            state.handed -= (self.bytes.len() - self.at) as u64;
            state.writing = false;
        }
        *self = Self::default();
    }

    fn reset(&mut self) {
        self.at = 0;
        if self.bytes.capacity() > KEEP_BYTES {
            self.bytes = Vec::new();
        } else {
            self.bytes.clear();
        }
    }
}

/// How long the peer has been silent, in ticks.
#[derive(Default)]
struct Silence {
    received: u64,
    quarters: u32,
}

impl Silence {
    fn is_too_long<X>(&mut self, channel: &Channel<X>) -> bool {
        let received = channel.received.load(Ordering::Relaxed);
        if received != self.received || channel.busy.load(Ordering::Relaxed) {
            self.received = received;
            self.quarters = 0;
        } else {
            self.quarters += 1;
        }
        self.quarters >= SILENT_QUARTERS
    }
}
