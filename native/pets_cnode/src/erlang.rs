//! What BEAM nodes say: messages, and the signals that a node without processes must answer.
//!
//! All of it is bytes from outside. Terms are walked, never decoded; see [`crate::etf`].

use std::sync::Arc;

use crate::etf::{self, VERSION};
use crate::frame;
use crate::handler::{Address, Handler, Level};
use crate::node::Shared;
use crate::server::{ServerChannel, with_scratch};

/// Control messages (first element of the tuple); those with `_TT` carry a trace token at the end.
mod control {
    pub(super) const LINK: u32 = 1;
    pub(super) const SEND: u32 = 2;
    pub(super) const EXIT: u32 = 3;
    pub(super) const REG_SEND: u32 = 6;
    pub(super) const SEND_TT: u32 = 12;
    pub(super) const REG_SEND_TT: u32 = 16;
    pub(super) const MONITOR_P: u32 = 19;
    pub(super) const MONITOR_P_EXIT: u32 = 21;
    pub(super) const SEND_SENDER: u32 = 22;
    pub(super) const SEND_SENDER_TT: u32 = 23;
    pub(super) const ALIAS_SEND: u32 = 33;
    pub(super) const ALIAS_SEND_TT: u32 = 34;
    pub(super) const UNLINK_ID: u32 = 35;
    pub(super) const UNLINK_ID_ACK: u32 = 36;
}

/// Most elements of a control tuple that is looked into.
const MAX_CONTROL: usize = 8;

/// The name that answers `net_adm:ping/1`.
const NET_KERNEL: &str = "net_kernel";

/// Who this node is, in the terms that it sends.
pub(crate) struct Identity {
    /// A pid of this node, as the sender of its messages.
    pid: Vec<u8>,
}

impl Identity {
    pub(crate) fn new(name: &str, creation: u32) -> Self {
        let mut pid = vec![etf::NEW_PID];
        etf::push_atom(&mut pid, name);
        pid.extend_from_slice(&1_u32.to_be_bytes());
        pid.extend_from_slice(&0_u32.to_be_bytes());
        pid.extend_from_slice(&creation.to_be_bytes());
        Self { pid }
    }
}

/// Sends messages to the BEAM node that a message came from. May be kept, cloned, and used from
/// any thread; once the node is gone, sending does nothing.
#[derive(Clone)]
pub struct ErlangReplier {
    channel: Arc<ServerChannel>,
    identity: Arc<Identity>,
    queue_limit: usize,
    max_frame: usize,
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The receiver is no pid, reference or atom in external format.
    #[error("the receiver is no pid, alias or name")]
    BadReceiver,
    /// The message exceeds the largest frame.
    #[error("the message is larger than the largest frame")]
    TooLarge,
    /// The node does not take its messages fast enough; this one is dropped.
    #[error("too many bytes are waiting for the node")]
    Overloaded,
    /// The connection is gone.
    #[error("the node is not connected any more")]
    Disconnected,
}

impl ErlangReplier {
    pub(crate) fn new(
        channel: Arc<ServerChannel>,
        identity: Arc<Identity>,
        queue_limit: usize,
        max_frame: usize,
    ) -> Self {
        Self { channel, identity, queue_limit, max_frame }
    }

    /// Sends a message to a pid, an alias (reference) or a registered name (atom) of that node.
    /// Both arguments are terms in external format without the version byte.
    ///
    /// # Errors
    /// See [`SendError`]; in no case does it wait.
    pub fn send(&self, to: &[u8], message: &[u8]) -> Result<(), SendError> {
        let tag = *to.first().ok_or(SendError::BadReceiver)?;
        if etf::skip(to, 0) != Some(to.len()) {
            return Err(SendError::BadReceiver);
        }
        let pid = &self.identity.pid;
        self.signal(
            |out| {
                match tag {
                    etf::PID | etf::NEW_PID => {
                        etf::push_tuple(out, 3);
                        etf::push_small(out, control::SEND as u8);
                        etf::push_atom(out, "");
                    }
                    etf::REFERENCE | etf::NEW_REFERENCE | etf::NEWER_REFERENCE => {
                        etf::push_tuple(out, 3);
                        etf::push_small(out, control::ALIAS_SEND as u8);
                        out.extend_from_slice(pid);
                    }
                    _ if etf::atom(to).is_some() => {
                        etf::push_tuple(out, 4);
                        etf::push_small(out, control::REG_SEND as u8);
                        out.extend_from_slice(pid);
                        etf::push_atom(out, "");
                    }
                    _ => return Err(SendError::BadReceiver),
                }
                out.extend_from_slice(to);
                Ok(())
            },
            Some(message),
        )
    }

    /// Sends a control message, with or without a message behind it.
    fn signal(
        &self,
        write_control: impl FnOnce(&mut Vec<u8>) -> Result<(), SendError>,
        message: Option<&[u8]>,
    ) -> Result<(), SendError> {
        with_scratch(|out| {
            out.extend_from_slice(&[0, 0, 0, 0, frame::ERLANG, VERSION]);
            write_control(out)?;
            if let Some(message) = message {
                if out.len() + message.len() > self.max_frame {
                    return Err(SendError::TooLarge);
                }
                out.push(VERSION);
                out.extend_from_slice(message);
            }
            frame::seal(out, 0);
            let state = self.channel.lock();
            if state.is_closed() {
                return Err(SendError::Disconnected);
            }
            if state.queued_bytes() > self.queue_limit {
                return Err(SendError::Overloaded);
            }
            self.channel.push(state, out, true);
            Ok(())
        })
    }

    /// Answers a signal of the other node; one that it does not take in time is lost, as it would
    /// be with the connection.
    fn answer(&self, arity: u8, op: u32, parts: &[&[u8]]) {
        let _ = self.signal(
            |out| {
                etf::push_tuple(out, arity);
                etf::push_small(out, op as u8);
                for part in parts {
                    out.extend_from_slice(part);
                }
                Ok(())
            },
            None,
        );
    }
}

/// Handles one message of a BEAM node, after the byte that says that it is one.
///
/// # Errors
/// When the bytes are not a control message and a message: the connection cannot go on.
pub(crate) fn receive<H: Handler>(
    shared: &Arc<Shared<H>>,
    bytes: &[u8],
    reply: ErlangReplier,
) -> Result<(), String> {
    let malformed = || "a malformed Erlang message".to_owned();
    let Some((&VERSION, rest)) = bytes.split_first() else { return Err(malformed()) };
    let end = etf::skip(rest, 0).ok_or_else(malformed)?;
    let message = match rest.get(end..) {
        Some([VERSION, message @ ..]) if etf::skip(message, 0) == Some(message.len()) => {
            Some(message)
        }
        Some([]) => None,
        _ => return Err(malformed()),
    };
    let Some((parts, _)) = etf::tuple::<MAX_CONTROL>(rest) else {
        // Longer than any that is known (a spawn request, say): not ours to understand.
        return Ok(());
    };
    let op = parts.get(0).and_then(etf::small_integer);
    match (op, parts.get(1), parts.get(2), parts.get(3)) {
        (Some(control::SEND | control::SEND_TT), Some(_), Some(to), _)
        | (Some(control::SEND_SENDER | control::SEND_SENDER_TT), Some(_), Some(to), _) => {
            deliver(shared, Address::Pid(to), message, reply);
        }
        (Some(control::ALIAS_SEND | control::ALIAS_SEND_TT), Some(_), Some(to), _) => {
            deliver(shared, Address::Alias(to), message, reply);
        }
        (Some(control::REG_SEND | control::REG_SEND_TT), _, _, Some(to)) => {
            if let (Some(name), Some(text)) = (etf::atom(to), message) {
                if name == NET_KERNEL && answer_ping(text, &reply) {
                    return Ok(());
                }
                deliver(shared, Address::Name(name), message, reply);
            }
        }
        (Some(control::MONITOR_P), Some(from), Some(to), Some(reference)) => {
            let known = etf::atom(to).is_some_and(|name| {
                name == NET_KERNEL
                    || shared.guarded(|handler| handler.has_process(name)) == Some(true)
            });
            // A monitor on a name that lives needs no record: when this node goes, the other one
            // makes the message itself.
            if !known {
                let mut reason = Vec::new();
                etf::push_atom(&mut reason, "noproc");
                reply.answer(5, control::MONITOR_P_EXIT, &[to, from, reference, &reason]);
            }
        }
        (Some(control::LINK), Some(from), Some(to), _) => {
            let mut reason = Vec::new();
            etf::push_atom(&mut reason, "noproc");
            reply.answer(4, control::EXIT, &[to, from, &reason]);
        }
        (Some(control::UNLINK_ID), Some(id), Some(from), Some(to)) => {
            reply.answer(4, control::UNLINK_ID_ACK, &[id, to, from]);
        }
        // Exits, demonitors, acknowledgements, group leaders: there are no processes here.
        _ => {}
    }
    Ok(())
}

fn deliver<H: Handler>(
    shared: &Arc<Shared<H>>,
    to: Address<'_>,
    message: Option<&[u8]>,
    reply: ErlangReplier,
) {
    if let Some(message) = message
        && shared.guarded(|handler| handler.erlang_message(to, message, reply)).is_none()
    {
        shared.log(Level::Warning, || "the handler of Erlang messages panicked".to_owned());
    }
}

/// Answers `{'$gen_call', {Pid, Tag}, {is_auth, Node}}` with `yes`; false when it is anything else.
fn answer_ping(message: &[u8], reply: &ErlangReplier) -> bool {
    let parsed = || {
        let (call, _) = etf::tuple::<3>(message)?;
        let (from, _) = etf::tuple::<2>(call.get(1)?)?;
        let (request, _) = etf::tuple::<2>(call.get(2)?)?;
        let is_ping =
            etf::atom(call.get(0)?)? == "$gen_call" && etf::atom(request.get(0)?)? == "is_auth";
        is_ping.then_some((from.get(0)?, from.get(1)?))
    };
    let Some((pid, tag)) = parsed() else { return false };
    let mut answer = Vec::new();
    etf::push_tuple(&mut answer, 2);
    answer.extend_from_slice(tag);
    etf::push_atom(&mut answer, "yes");
    // `[alias | Reference]` asks for the answer at the alias, anything else at the process.
    let to = etf::alias_of(tag).unwrap_or(pid);
    let _ = reply.send(to, &answer);
    true
}
