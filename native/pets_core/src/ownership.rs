//! Who owns which slot, and how a slot changes its owner.
//!
//! [`Machine`] is the protocol of one table on one node, as a pure state machine: it is told what
//! happens ([`Event`]) and answers with what is to be done ([`Effect`]). The machines of a table
//! on all nodes talk to each other in [`Message`]s. `guides/internals/ownership.md` explains why
//! it is built this way.

mod claims;
mod config;
mod conflict;
mod effect;
mod event;
mod inbox;
mod lineage;
mod machine;
mod message;
mod origin;
mod owners;
mod peer;
mod receiving;
mod record;
mod recovery;
mod sending;
mod slot_set;
mod status;
mod transfer;

pub use config::{Config, Limits, Role};
pub use effect::{Effect, Notice};
pub use event::Event;
pub use lineage::Lineage;
pub use machine::Machine;
pub use message::{Body, Claims, Heard, Message, OpenTransfer, Run};
pub use origin::Origin;
pub use slot_set::SlotSet;
pub use status::{MemberStatus, Status};
pub use transfer::TransferId;
