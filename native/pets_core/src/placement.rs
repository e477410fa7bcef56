//! Which node should own which slot, and which node does.
//!
//! A table's key space is cut into [`SLOTS`] slots by the portable hash of the key. Each slot has
//! one owner. [`Ranking`] says who *should* own a slot, from nothing but the names and weights of
//! the members, so every node computes the same answer without asking anybody. [`Routes`] says
//! who *does*, as far as this node has heard, and is what an operation reads.
//!
//! The two differ while slots are on their way; [`crate::ownership`] moves them.

mod epoch;
mod log;
mod node_name;
mod ranking;
mod routes;
mod slot;

pub use epoch::Epoch;
pub use node_name::NodeName;
pub use ranking::Ranking;
pub use routes::{MemberIndex, Route, Routes};
pub use slot::{NoSuchSlot, SLOTS, Slot};
