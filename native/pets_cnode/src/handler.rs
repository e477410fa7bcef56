//! What a node's owner supplies: the answers to everything that arrives.

use std::future::Future;

use crate::erlang::ErlangReplier;
use crate::error::CallError;
use crate::peer_name::PeerName;
use crate::server::Replier;

/// Receives everything that arrives at a [`Node`](crate::Node).
///
/// All methods run on the node's own threads and must not block: two threads carry all links.
/// A method that panics closes the link that it worked for, and nothing else.
pub trait Handler: Send + Sync + 'static {
    /// Who waits for the answer of a call; comes back with the answer.
    type Token: Send + 'static;

    /// A request arrived on a calls link. Answering at once is the fast way: the answers to all
    /// requests that arrived together leave in one write. The replier may also be kept and
    /// used from any thread; the requests behind it do not wait.
    fn request(&self, peer: &PeerName, body: &[u8], reply: Replier);

    /// The outcome of an own call, exactly once for each call that was accepted and not
    /// cancelled. Never runs inside [`Node::call`](crate::Node::call).
    fn replied(&self, token: Self::Token, outcome: Result<&[u8], CallError>);

    /// An ordered one-way message from a peer's bulk link. Nothing more is read from that link
    /// until the future is ready, so that a slow receiver slows its sender down; the future is
    /// dropped when the link closes.
    fn cast(
        &self,
        peer: &PeerName,
        link: BulkLink,
        body: Vec<u8>,
    ) -> impl Future<Output = ()> + Send;

    /// A bulk link came up. At most one link for each peer and direction is up at a time, and
    /// its [`bulk_down`](Self::bulk_down) comes before the next one's `bulk_up`.
    fn bulk_up(&self, peer: &PeerName, link: BulkLink);

    /// A bulk link broke or, if it is an outgoing one that never came up, could not be made.
    /// What was queued on it and has not arrived is lost.
    fn bulk_down(&self, peer: &PeerName, link: BulkLink);

    /// Whether a process is registered under this name, in the eyes of BEAM nodes: a monitor on
    /// any other name is answered with `noproc`. `net_kernel` is answered by the node itself.
    fn has_process(&self, name: &str) -> bool;

    /// A BEAM node sent a message. `message` is one term in external format, without the
    /// leading version byte; it is well-formed as to sizes and counts, and otherwise unread.
    fn erlang_message(&self, to: Address<'_>, message: &[u8], reply: ErlangReplier);

    /// Answers have arrived together: `work` calls [`replied`](Self::replied) with each.
    fn together(&self, work: &mut dyn FnMut()) {
        work();
    }

    /// Something an operator may want to know.
    fn log(&self, level: Level, message: &str) {
        let _ = (level, message);
    }
}

/// To whom a BEAM node sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address<'a> {
    /// A registered name.
    Name(&'a str),
    /// A pid of this node, in external format without the version byte.
    Pid(&'a [u8]),
    /// An alias (reference) of this node, in external format without the version byte.
    Alias(&'a [u8]),
}

/// One bulk connection; a number is never used twice in the life of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BulkLink {
    /// Tells this connection from earlier and later ones with the same peer.
    pub id: u64,
    /// Who sends on it.
    pub direction: Direction,
}

/// Who sends on a bulk link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// This node sends, the peer receives.
    Outgoing,
    /// The peer sends, this node receives.
    Incoming,
}

/// How loud a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Of interest when something is being looked into.
    Info,
    /// Something that should be repaired.
    Warning,
}
