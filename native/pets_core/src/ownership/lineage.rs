use serde::{Deserialize, Serialize};

use crate::placement::NodeName;

/// Who founded the table's cluster, and when: the name of one history of a table.
///
/// Epochs are comparable within one lineage only. Of two lineages that meet the older one stays
/// (the smaller value: the earlier founding, then the smaller name), and everything held under the
/// younger one is merged into it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Lineage {
    /// When the founder created the table, in milliseconds of its system clock. Only an
    /// identity: nothing depends on the clocks of two nodes agreeing.
    pub founded_at_ms: u64,
    /// The node that owned every slot at first.
    pub founder: NodeName,
}
