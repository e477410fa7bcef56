use std::time::Duration;

use crate::placement::{NodeName, SLOTS};

/// What a machine needs to know about its node and table when it is created.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub node: NodeName,
    /// This node's share of the slots, relative to the others': its partition count.
    pub weight: u32,
    /// Whether the table exists elsewhere already.
    pub role: Role,
    /// When this machine was created, in milliseconds of the system clock. It dates the lineage
    /// of a founder and keeps the transfers of this machine apart from those of an earlier one
    /// on this node, so it must differ from that one's.
    pub started_at_ms: u64,
    /// How many slots there are, the first ones of [`SLOTS`]; less in simulations only.
    pub slots: usize,
    /// Windows and times.
    pub limits: Limits,
}

impl Config {
    /// A configuration for all slots with the default limits.
    pub fn new(node: NodeName, weight: u32, role: Role, started_at_ms: u64) -> Config {
        Config { node, weight, role, started_at_ms, slots: SLOTS, limits: Limits::default() }
    }
}

/// How a table starts on a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Nobody is known to have the table: this node owns all its slots at once.
    Founder,
    /// Another node has the table: this one owns a slot when it has been granted to it.
    Joiner,
}

/// How much is in flight at a time, and how long the machine waits before it asks again.
///
/// The times are for answers that went missing without a broken link; none of them decides who
/// owns a slot.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many slots this node sends at a time.
    pub window: usize,
    /// After so long without an answer a question is asked again.
    pub retry: Duration,
    /// How long a slot that was refused waits before it is offered again.
    pub backoff: Duration,
    /// How long a slot without a known owner waits for an announcement that may be under way
    /// before its recovery starts. A slot whose owner went down does not wait.
    pub grace: Duration,
    /// How long joiners that meet nobody who owns anything wait before one of them founds the
    /// table anew. The nodes that made this one a joiner must have come up by then, or be gone.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            window: 16,
            retry: Duration::from_secs(1),
            backoff: Duration::from_millis(100),
            grace: Duration::from_millis(500),
            patience: Duration::from_secs(2),
        }
    }
}
