//! What may be done with a slot at the moment.

/// What a node may do with a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SlotState {
    /// Reads and writes are served.
    Owned = 0,
    /// Being sent: reads and writes are served, and each key that is written is logged.
    Copying = 1,
    /// The last changes are being sent: reads are served, writes have to wait.
    Frozen = 2,
    /// The grant is sent, its answer is not here yet: everything waits.
    Granted = 3,
    /// Not ours. Data that is being received may be there, invisible.
    Foreign = 4,
}

impl SlotState {
    const fn from_bits(bits: u32) -> SlotState {
        match bits {
            0 => SlotState::Owned,
            1 => SlotState::Copying,
            2 => SlotState::Frozen,
            3 => SlotState::Granted,
            _ => SlotState::Foreign,
        }
    }

    /// Whether reads are served.
    pub const fn serves_reads(self) -> bool {
        matches!(self, SlotState::Owned | SlotState::Copying | SlotState::Frozen)
    }

    /// Whether writes are served.
    pub const fn serves_writes(self) -> bool {
        matches!(self, SlotState::Owned | SlotState::Copying)
    }

    pub(crate) fn why_unserved(self) -> Why {
        match self {
            SlotState::Foreign => Why::Elsewhere,
            _ => Why::Wait,
        }
    }
}

/// Why a slot does not serve an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The slot is about to change its owner: try again when it has.
    Wait,
    /// Another node owns the slot.
    Elsewhere,
}

/// State and generation of a slot in one word. The generation counts the changes of state, so that
/// a reader that finds the same word again knows that nothing happened in between.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status(u32);

impl Status {
    const STATE_BITS: u32 = 0xFF;

    pub(crate) const fn from_bits(bits: u32) -> Self {
        Status(bits)
    }

    pub(crate) const fn to_bits(self) -> u32 {
        self.0
    }

    #[inline]
    pub(crate) fn state(self) -> SlotState {
        SlotState::from_bits(self.0 & Self::STATE_BITS)
    }

    pub(crate) fn followed_by(self, state: SlotState) -> Status {
        let generation = (self.0 & !Self::STATE_BITS).wrapping_add(Self::STATE_BITS + 1);
        Status(generation | state as u32)
    }
}
