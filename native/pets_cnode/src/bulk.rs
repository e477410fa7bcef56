//! The outgoing bulk link: ordered one-way messages, bounded in bytes.
//!
//! A session lasts from the first message that finds no link to the moment that link breaks.
//! Messages queue while it connects; when it breaks the rest of its queue is lost, and the handler
//! hears so once, before the next session to that peer comes up.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::connect::{self, LinkError};
use crate::error::CallError;
use crate::frame::{self, FrameReader, LENGTH_BYTES, Role, TICK};
use crate::handler::{BulkLink, Handler, Level};
use crate::node::Shared;
use crate::peers::Peer;
use crate::stats::Traffic;

/// What a message costs in the queue beside its bytes, so that empty ones are bounded too.
const MESSAGE_COST: usize = 64;
/// Bodies up to this size are copied together into one write; larger ones are written in place.
const COPY_BYTES: usize = 16 << 10;
/// The buffer for small bodies is written when it has grown to this.
const WRITE_BYTES: usize = 64 << 10;
/// Most messages taken from the queue at a time.
const BATCH: usize = 256;

/// A message and the room in the queue that it gives back once it is written.
type Queued = (Vec<u8>, OwnedSemaphorePermit);

/// One outgoing bulk connection, from the first message that wanted it on.
pub(crate) struct BulkSession {
    pub(crate) link: BulkLink,
    /// Bounded by `room`: each message in it holds permits.
    queue: UnboundedSender<Queued>,
    room: Arc<Semaphore>,
    limit: u32,
    pub(crate) close: CancellationToken,
}

impl BulkSession {
    pub(crate) fn new(
        link: BulkLink,
        limit_bytes: usize,
        close: CancellationToken,
    ) -> (Arc<Self>, UnboundedReceiver<Queued>) {
        let (queue, receiver) = unbounded_channel();
        let limit = u32::try_from(limit_bytes).unwrap_or(u32::MAX).min(1 << 30);
        let room = Arc::new(Semaphore::new(limit as usize));
        (Arc::new(Self { link, queue, room, limit, close }), receiver)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.close.is_cancelled() || self.room.is_closed()
    }

    /// Room for a message; one larger than the whole queue has it for itself.
    fn cost(&self, body: &[u8]) -> u32 {
        let cost = u32::try_from(body.len() + MESSAGE_COST).unwrap_or(u32::MAX);
        cost.min(self.limit)
    }

    /// Queues a message if there is room for it now.
    pub(crate) fn try_send(&self, body: Vec<u8>) -> Result<BulkLink, CallError> {
        match Arc::clone(&self.room).try_acquire_many_owned(self.cost(&body)) {
            Ok(permit) => self.enqueue(body, permit),
            Err(TryAcquireError::NoPermits) => Err(CallError::Overloaded),
            Err(TryAcquireError::Closed) => Err(CallError::NotConnected),
        }
    }

    /// Queues a message as soon as there is room for it; waiters are served in order.
    pub(crate) async fn send(&self, body: Vec<u8>) -> Result<BulkLink, CallError> {
        match Arc::clone(&self.room).acquire_many_owned(self.cost(&body)).await {
            Ok(permit) => self.enqueue(body, permit),
            Err(_) => Err(CallError::NotConnected),
        }
    }

    fn enqueue(&self, body: Vec<u8>, permit: OwnedSemaphorePermit) -> Result<BulkLink, CallError> {
        self.queue.send((body, permit)).map_err(|_| CallError::NotConnected)?;
        Ok(self.link)
    }
}

/// Makes the connection and carries messages until it breaks.
pub(crate) async fn run<H: Handler>(
    shared: Arc<Shared<H>>,
    peer: Arc<Peer<H::Token>>,
    session: Arc<BulkSession>,
    mut queue: UnboundedReceiver<Queued>,
) {
    let _gate = peer.bulk_gate.lock().await;
    let outcome = tokio::select! {
        biased;
        () = session.close.cancelled() => LinkError::Broken("closed".into()),
        outcome = carry(&shared, &peer, &session, &mut queue) => outcome,
    };
    shared.log(Level::Info, || format!("bulk link to {}: {outcome}", peer.name));
    session.close.cancel();
    session.room.close();
    queue.close();
    shared.guarded(|handler| handler.bulk_down(&peer.name, session.link));
}

async fn carry<H: Handler>(
    shared: &Arc<Shared<H>>,
    peer: &Arc<Peer<H::Token>>,
    session: &Arc<BulkSession>,
    queue: &mut UnboundedReceiver<Queued>,
) -> LinkError {
    let (frames, socket) = match connect::open(shared, &peer.name, Role::Bulk).await {
        Ok(opened) => opened,
        Err(error) => return error,
    };
    shared.guarded(|handler| handler.bulk_up(&peer.name, session.link));
    let ticktime = shared.config.net_ticktime;
    let traffic = &shared.traffic;
    tokio::select! {
        end = write_all(queue, socket, ticktime / 4, traffic) => end,
        end = read_ticks(frames, ticktime + ticktime / 4, traffic) => end,
    }
}

/// Writes messages in order, and a tick when there was none for a while.
async fn write_all(
    queue: &mut UnboundedReceiver<Queued>,
    mut socket: OwnedWriteHalf,
    quarter: Duration,
    traffic: &Traffic,
) -> LinkError {
    let mut batch: Vec<Queued> = Vec::new();
    let mut buffer: Vec<u8> = Vec::with_capacity(WRITE_BYTES + COPY_BYTES);
    loop {
        match timeout(quarter, queue.recv_many(&mut batch, BATCH)).await {
            Ok(0) => return LinkError::Broken("closed".into()),
            Ok(_) => {}
            Err(_) => buffer.extend_from_slice(&TICK),
        }
        // Room for those already copied is given back only with the write that takes them.
        let mut copied = Vec::new();
        for (body, permit) in batch.drain(..) {
            let large = body.len() > COPY_BYTES;
            if large {
                let length = u32::try_from(body.len() + 1).unwrap_or(u32::MAX);
                buffer.extend_from_slice(&length.to_be_bytes());
                buffer.push(frame::CAST);
            } else {
                frame::push(&mut buffer, frame::CAST, |out| out.extend_from_slice(&body));
            }
            copied.push(permit);
            if large || buffer.len() >= WRITE_BYTES {
                if let Err(error) = flush(&mut socket, &mut buffer, traffic).await {
                    return LinkError::Broken(error.to_string());
                }
                if large {
                    if let Err(error) = socket.write_all(&body).await {
                        return LinkError::Broken(error.to_string());
                    }
                    traffic.sent(body.len());
                }
                copied.clear();
            }
        }
        if let Err(error) = flush(&mut socket, &mut buffer, traffic).await {
            return LinkError::Broken(error.to_string());
        }
    }
}

async fn flush(
    socket: &mut OwnedWriteHalf,
    buffer: &mut Vec<u8>,
    traffic: &Traffic,
) -> std::io::Result<()> {
    socket.write_all(buffer).await?;
    traffic.sent(buffer.len());
    buffer.clear();
    Ok(())
}

/// The peer sends nothing but ticks here; their absence is what ends this.
async fn read_ticks(
    mut frames: FrameReader<OwnedReadHalf>,
    limit: Duration,
    traffic: &Traffic,
) -> LinkError {
    loop {
        match timeout(limit, frames.fill()).await {
            Ok(Ok(bytes)) => traffic.received(bytes),
            Ok(Err(error)) => return LinkError::Broken(error.to_string()),
            Err(_) => return LinkError::Broken(format!("nothing arrived for {limit:?}")),
        }
        match frames.next() {
            Ok(None) => {}
            Ok(Some(_)) => return LinkError::Broken("an unexpected frame".into()),
            Err(error) => return LinkError::Broken(error.to_string()),
        }
    }
}

/// The longest body that fits a frame of `max_frame` bytes.
pub(crate) fn longest_body(max_frame: usize) -> usize {
    max_frame.min(u32::MAX as usize - LENGTH_BYTES) - 1
}
