use std::fmt;

use serde::{Deserialize, Serialize};

/// The version of a slot's ownership: it grows by at least one with each change of owner.
///
/// Of two claims to a slot in one lineage the higher epoch is the later one.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(u64);

impl Epoch {
    /// Before any owner.
    pub const NONE: Epoch = Epoch(0);

    /// The epoch at which a founder owns every slot.
    pub const FIRST: Epoch = Epoch(1);

    /// The largest epoch that is ever accepted: a route holds an epoch in 48 bits, and a slot that
    /// moved a thousand times a second would need 8,900 years to get there. A peer that claims
    /// more is not telling the truth.
    pub const MAX: Epoch = Epoch((1 << 48) - 1);

    /// The epoch with this number.
    pub const fn new(number: u64) -> Epoch {
        Epoch(number)
    }

    /// The number of the epoch.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The epoch `steps` changes later, or the last one.
    #[must_use]
    pub const fn later(self, steps: u64) -> Epoch {
        let number = self.0.saturating_add(steps);
        if number > Epoch::MAX.0 { Epoch::MAX } else { Epoch(number) }
    }

    /// The epoch after this one.
    #[must_use]
    pub const fn next(self) -> Epoch {
        self.later(1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
