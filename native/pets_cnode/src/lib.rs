//! The C-node of PartitionedEts: a hidden Erlang node, made to be embedded.
//!
//! A [`Node`] registers itself in EPMD, proves the cluster's cookie to its peers and has them
//! prove it, and then does two things. With its like on other machines it exchanges *calls*
//! (pipelined requests and their answers) and *casts* (ordered one-way messages), each kind on a
//! connection of its own. And it answers BEAM nodes, which see an ordinary hidden node. What any of
//! the bytes mean is the business of the [`Handler`].
//!
//! See `guides/internals/cnode.md` for the reasons.

mod bulk;
mod calls;
mod channel;
mod config;
mod connect;
mod epmd;
mod erlang;
mod error;
mod etf;
mod frame;
mod handler;
mod handshake;
pub mod hosting;
mod node;
mod numbered;
mod peer_name;
mod peers;
mod server;
mod stats;

pub use calls::CallId;
pub use config::Config;
pub use erlang::{ErlangReplier, SendError};
pub use error::{CallError, StartError};
pub use handler::{Address, BulkLink, Direction, Handler, Level};
pub use node::Node;
pub use peer_name::{InvalidName, PeerName};
pub use server::Replier;
pub use stats::Stats;
