use highway::{HighwayHash, Key, PortableHash};
use serde::{Deserialize, Serialize};

use super::TransferId;
use crate::placement::NodeName;

/// Where the data of a slot began: the moment at which some node owned the slot empty.
///
/// Two copies of one origin are versions of the same thing, and the one with the higher epoch is
/// what became of the other. Copies of different origins have to be merged.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Origin(u64);

impl Origin {
    /// Of what is only known by hearsay.
    pub(super) const UNKNOWN: Origin = Origin(0);

    /// An origin that no other node, and no other moment of this one, has.
    pub(super) fn new(node: &NodeName, unique: TransferId) -> Origin {
        let mut hasher = PortableHash::new(Key::default());
        hasher.append(&unique.number().to_le_bytes());
        hasher.append(node.as_str().as_bytes());
        Origin(hasher.finalize64())
    }
}
