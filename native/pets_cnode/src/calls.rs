//! Own calls: the table of those without an answer, and the link that carries them.

use std::ops::Range;
use std::sync::Arc;

use parking_lot::MutexGuard;

use crate::channel::{Channel, State};
use crate::connect::{self, LinkError};
use crate::error::CallError;
use crate::frame::{self, CALL_HEADER_BYTES, ReadError, Role};
use crate::handler::{Handler, Level};
use crate::node::Shared;
use crate::numbered::{NUMBER_BITS, Numbered};
use crate::peers::Peer;

/// Names a call that is in flight; fits an Erlang small integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallId(u64);

/// Bits that name the peer, above those of its link's table.
const PEER_BITS: u32 = 12;

/// How many peers there can be at a time.
pub(crate) const MAX_PEERS: usize = 1 << PEER_BITS;

impl CallId {
    /// The number, at most 59 bits.
    pub fn get(self) -> u64 {
        self.0
    }

    /// The id with this number, which need not name a call.
    pub fn from_number(number: u64) -> Self {
        Self(number)
    }

    fn new(peer: u16, number: u64) -> Self {
        Self(u64::from(peer) << NUMBER_BITS | number)
    }

    fn number(self) -> u64 {
        self.0 & ((1 << NUMBER_BITS) - 1)
    }

    /// The index of the peer that was called.
    pub(crate) fn peer(self) -> usize {
        (self.0 >> NUMBER_BITS) as usize
    }
}

/// The calls of one link that have no answer yet.
pub(crate) struct Calls<T> {
    peer: u16,
    waiting: Numbered<Waiting<T>>,
    /// Set by the driver of the link: the peer refused or left, and this is what calls get.
    verdict: Option<CallError>,
}

/// A call without an answer.
struct Waiting<T> {
    /// Where the call's frame ends in the link's stream: it cannot have been executed before all
    /// of it was handed to the kernel.
    end: u64,
    token: T,
}

impl<T> Calls<T> {
    pub(crate) fn new(peer: u16, generation: u32) -> Self {
        Self { peer, waiting: Numbered::new(generation), verdict: None }
    }

    pub(crate) fn generation(&self) -> u32 {
        self.waiting.generation()
    }

    /// How many calls have no answer yet.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn remove(&mut self, id: CallId) -> Option<T> {
        if id.peer() != usize::from(self.peer) {
            return None;
        }
        self.waiting.remove(id.number()).map(|waiting| waiting.token)
    }
}

/// The channel of a calls link.
pub(crate) type CallsChannel<T> = Channel<Calls<T>>;

/// Bounds of what may wait on a link.
pub(crate) struct Limits {
    pub(crate) calls: usize,
    pub(crate) queue_bytes: usize,
}

/// Sends a request on a link.
///
/// `Err(None)` means that the link has closed meanwhile: `token` is still the caller's.
pub(crate) fn submit<T>(
    channel: &CallsChannel<T>,
    limits: &Limits,
    body: &[u8],
    token: &mut Option<T>,
) -> Result<CallId, Option<CallError>> {
    let mut state: MutexGuard<'_, State<Calls<T>>> = channel.lock();
    if state.is_closed() {
        return Err(None);
    }
    let length = CALL_HEADER_BYTES + body.len();
    // One request may go beyond the limit, so that there is none that can never be sent.
    if state.queued_bytes() > limits.queue_bytes || state.owner.len() >= limits.calls {
        return Err(Some(CallError::Overloaded));
    }
    let Some(waiting) = token.take() else { return Err(Some(CallError::Cancelled)) };
    let end = state.enqueued() + length as u64;
    let id = match state.owner.waiting.insert(Waiting { end, token: waiting }) {
        Ok(number) => CallId::new(state.owner.peer, number),
        Err(waiting) => {
            *token = Some(waiting.token);
            return Err(Some(CallError::Overloaded));
        }
    };
    state.append_frame(frame::REQUEST, |out| {
        out.extend_from_slice(&id.get().to_be_bytes());
        out.extend_from_slice(body);
    });
    channel.ask(state);
    Ok(id)
}

/// Makes the connection, carries calls until it ends, and fails those left without an answer.
pub(crate) async fn run<H: Handler>(
    shared: Arc<Shared<H>>,
    peer: Arc<Peer<H::Token>>,
    channel: Arc<CallsChannel<H::Token>>,
) {
    let outcome = carry(&shared, &peer, &channel).await;
    let (left, handed, verdict) = {
        let mut state = channel.close(outcome.to_string());
        (state.owner.waiting.drain(), state.handed(), state.owner.verdict.take())
    };
    let verdict = match outcome {
        LinkError::Refused(reason) => Some(CallError::Refused(reason)),
        LinkError::Leaving => Some(CallError::NotExecuted),
        LinkError::Unreachable(_) | LinkError::Broken(_) => verdict,
    };
    for Waiting { end, token } in left {
        let error = match &verdict {
            Some(verdict) => verdict.clone(),
            None if end > handed => CallError::NotConnected,
            None => CallError::NodeDown,
        };
        shared.guarded(|handler| handler.replied(token, Err(error)));
    }
}

async fn carry<H: Handler>(
    shared: &Arc<Shared<H>>,
    peer: &Arc<Peer<H::Token>>,
    channel: &Arc<CallsChannel<H::Token>>,
) -> LinkError {
    let opened = tokio::select! {
        biased;
        () = channel.closing().cancelled() => {
            return LinkError::Unreachable("closed while connecting".into());
        }
        opened = connect::open(shared, &peer.name, Role::Calls) => opened,
    };
    let (mut frames, socket) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            shared.log(Level::Info, || format!("calls link to {}: {error}", peer.name));
            return error;
        }
    };
    channel.attach(socket);
    let writer = Arc::clone(channel);
    let ticktime = shared.config.net_ticktime;
    if !shared.spawn(async move { writer.run_writer(ticktime).await }) {
        return LinkError::Broken("stopping".into());
    }
    let closed = channel.closing().cancelled();
    tokio::pin!(closed);
    let mut batch = Vec::new();
    loop {
        let goodbye = match answer_batch(shared, channel, &mut frames, &mut batch) {
            Ok(goodbye) => goodbye,
            Err(error) => {
                shared.log(Level::Warning, || format!("calls link to {}: {error}", peer.name));
                return LinkError::Broken(error);
            }
        };
        if goodbye {
            // All answers came before it: what has none was not executed.
            channel.lock().owner.verdict = Some(CallError::NotExecuted);
            return LinkError::Broken("the peer said goodbye".into());
        }
        tokio::select! {
            biased;
            () = &mut closed => {
                let reason = channel.close_reason().unwrap_or_default();
                return LinkError::Broken(reason);
            }
            filled = frames.fill_soon() => match filled {
                Ok(bytes) => channel.count_received(bytes),
                Err(ReadError::Closed) => return LinkError::Broken("closed by the peer".into()),
                Err(error) => return LinkError::Broken(error.to_string()),
            },
        }
    }
}

/// Who waits, and what came for it.
type Answer<T> = (T, Result<Range<usize>, CallError>);

/// Hands out the answers among the frames that have arrived; true when the peer said goodbye.
fn answer_batch<H: Handler, R: tokio::io::AsyncRead + Unpin>(
    shared: &Arc<Shared<H>>,
    channel: &CallsChannel<H::Token>,
    frames: &mut frame::FrameReader<R>,
    batch: &mut Vec<Answer<H::Token>>,
) -> Result<bool, String> {
    let mut goodbye = false;
    let mut broken = None;
    {
        // One lock for all answers that arrived together.
        let mut state = channel.lock();
        while !goodbye && broken.is_none() {
            let range = match frames.next() {
                Ok(Some(range)) => range,
                Ok(None) => break,
                Err(error) => {
                    broken = Some(error.to_string());
                    break;
                }
            };
            match answer(frames.payload(range.clone()), range.end) {
                Ok(Incoming::Answer(id, outcome)) => {
                    // A cancelled call is not there any more, and nobody waits for its answer.
                    if let Some(token) = state.owner.remove(id) {
                        batch.push((token, outcome));
                    }
                }
                Ok(Incoming::Goodbye) => goodbye = true,
                Err(error) => broken = Some(error),
            }
        }
        channel.heard(state);
    }
    shared.together(&mut || {
        for (token, outcome) in batch.drain(..) {
            let outcome = outcome.map(|range| frames.payload(range));
            shared.guarded(|handler| handler.replied(token, outcome));
        }
    });
    broken.map_or(Ok(goodbye), Err)
}

enum Incoming {
    Answer(CallId, Result<Range<usize>, CallError>),
    Goodbye,
}

/// Reads a frame on the calling side; `end` is where its payload ends in the reader's buffer.
fn answer(payload: &[u8], end: usize) -> Result<Incoming, String> {
    let (tag, rest) = payload.split_first().ok_or("an empty frame")?;
    match *tag {
        frame::REPLY => {
            let (id, body) = frame::split_id(rest).ok_or("a cut off reply")?;
            Ok(Incoming::Answer(CallId(id), Ok(end - body.len()..end)))
        }
        frame::NO_REPLY => {
            let (id, why) = frame::split_id(rest).ok_or("a cut off reply")?;
            let error = match why {
                [frame::WHY_OVERLOADED, ..] => CallError::Overloaded,
                [frame::WHY_TOO_LARGE, ..] => CallError::AnswerTooLarge,
                _ => CallError::Cancelled,
            };
            Ok(Incoming::Answer(CallId(id), Err(error)))
        }
        frame::GOODBYE => Ok(Incoming::Goodbye),
        other => Err(format!("an unexpected frame {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_name_one_call_only() {
        let mut calls = Calls::new(7, u32::MAX);
        let insert = |calls: &mut Calls<_>, end, token| {
            let number = calls.waiting.insert(Waiting { end, token });
            CallId::new(7, number.unwrap_or_else(|_| unreachable!("room")))
        };
        let first = insert(&mut calls, 10, "first");
        let second = insert(&mut calls, 20, "second");
        assert_eq!(first.peer(), 7);
        assert!(second.get() < 1 << 59);
        assert_eq!(calls.remove(first), Some("first"));
        assert_eq!(calls.remove(first), None);
        let third = insert(&mut calls, 30, "third");
        assert_eq!(calls.remove(first), None, "an old id does not name the place's next call");
        assert_eq!(calls.len(), 2);
        assert_eq!(calls.remove(CallId::from_number(u64::MAX)), None);
        let left = calls.waiting.drain().into_iter().map(|call| (call.end, call.token));
        assert_eq!(left.collect::<Vec<_>>(), [(30, "third"), (20, "second")]);
        assert_eq!(calls.remove(second), None);
        assert_eq!(calls.remove(third), None);
        assert_eq!(calls.len(), 0);
    }
}
