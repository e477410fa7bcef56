use serde::{Deserialize, Serialize};

use super::Lineage;
use crate::placement::NodeName;

/// What a machine knows, for people to read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// This node.
    pub node: NodeName,
    /// The lineage that this node belongs to.
    pub lineage: Option<Lineage>,
    /// The members, this node included, in order of name.
    pub members: Vec<MemberStatus>,
    /// How many slots this node owns, those on their way out included.
    pub owned: usize,
    /// How many of them should be somewhere else.
    pub misplaced: usize,
    /// How many slots are being sent.
    pub sending: usize,
    /// How many slots were granted and the answer has not come: they are not served.
    pub in_doubt: usize,
    /// How many slots are being received.
    pub receiving: usize,
    /// How many slots wait to be merged into their owner's copy.
    pub merging: usize,
    /// How many slots have no owner that this node knows of.
    pub orphaned: usize,
    /// Whether this node is leaving.
    pub leaving: bool,
    /// Whether every slot is where it belongs, as far as this node knows.
    pub settled: bool,
}

/// One member in a [`Status`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MemberStatus {
    /// The member.
    pub node: NodeName,
    /// Its share of the slots, relative to the others'.
    pub weight: u32,
    /// How many slots this node believes it to own.
    pub slots: usize,
    /// Whether it has said what it owns.
    pub ready: bool,
    /// Whether it is leaving.
    pub leaving: bool,
    /// Whether the link to it stands.
    pub linked: bool,
}
