//! Why a node does not start, and why a call has no answer.

use std::net::SocketAddr;

use crate::peer_name::InvalidName;

/// Why a node did not start; nothing is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configured name is no node name.
    #[error(transparent)]
    InvalidName(#[from] InvalidName),
    /// The name's host does not fit `long_names`; other nodes could not connect.
    #[error("the host of {name} does not fit {expected}")]
    HostForm {
        /// The configured name.
        name: String,
        /// The kind of names that the configuration asks for.
        expected: &'static str,
    },
    /// The runtime's threads could not be started.
    #[error("the C-node's threads could not be started: {0}")]
    Threads(std::io::Error),
    /// No socket could be opened on the configured address.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address that was tried.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// No EPMD answers.
    #[error("no EPMD answers on {address} ({reason}); start it with `epmd -daemon`")]
    EpmdUnavailable {
        /// Where EPMD was expected.
        address: SocketAddr,
        /// What went wrong.
        reason: String,
    },
    /// Another running node is registered under this name.
    #[error("the node name {0} is already taken on this host")]
    NameTaken(String),
}

/// Why a call has no answer. Each variant says whether the request may have been executed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The request was never sent: the peer could not be reached. Safe to send again.
    #[error("not connected: the request was never sent")]
    NotConnected,
    /// The peer left and had not executed the request. Safe to send elsewhere.
    #[error("the node left before it executed the request")]
    NotExecuted,
    /// The connection broke after the request was sent: it may have been executed.
    #[error("the node went down; the request may have been executed")]
    NodeDown,
    /// The peer dropped the request without an answer: it may have been executed.
    #[error("the peer gave no answer")]
    Cancelled,
    /// A limit of calls or of queued bytes is reached, here or at the peer. Not executed.
    #[error("too many calls or bytes are waiting")]
    Overloaded,
    /// The request was executed, but its answer exceeds the largest frame.
    #[error("the answer is larger than the largest frame")]
    AnswerTooLarge,
    /// Refused with a reason, for example another protocol version or a request larger than the
    /// largest frame. Not executed, and sending it again will not help.
    #[error("refused: {0}")]
    Refused(String),
}

impl CallError {
    /// Whether the request is known not to have been executed, so that it can be sent again.
    pub fn is_safe_to_retry(&self) -> bool {
        match self {
            Self::NotConnected | Self::NotExecuted | Self::Overloaded => true,
            Self::NodeDown | Self::Cancelled | Self::AnswerTooLarge | Self::Refused(_) => false,
        }
    }
}
