//! What PartitionedEts decides, without I/O: how terms are stored and compared, how a table holds
//! them, which node owns which slot, and how a slot changes its owner.
//!
//! Nothing in here knows a NIF, a socket or a clock; time is an argument.

pub mod epoch;
pub mod ownership;
pub mod placement;
pub mod table;
pub mod term;
