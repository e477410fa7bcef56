use std::fmt;

use serde::{Deserialize, Serialize};

/// How many slots a table's key space has, on every node.
///
/// Part of the agreement between nodes: two nodes with different counts would look for the same
/// key in different places, so it is compared before they join.
pub const SLOTS: usize = 4096;

/// How many of a hash's top bits name the slot.
const SLOT_BITS: u32 = SLOTS.trailing_zeros();

/// One of the [`SLOTS`] buckets of a table's key space: the unit of storage, locking, ownership
/// and handoff.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Slot(u16);

impl Slot {
    /// The slot of a key with this portable hash: its top 12 bits.
    #[inline]
    pub const fn of(hash: u64) -> Slot {
        Slot((hash >> (u64::BITS - SLOT_BITS)) as u16)
    }

    /// The slot with this index, if there is one.
    #[inline]
    pub const fn new(index: usize) -> Option<Slot> {
        if index < SLOTS { Some(Slot(index as u16)) } else { None }
    }

    /// Where the slot stands in an array of all slots: always below [`SLOTS`].
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Every slot, in ascending order.
    pub fn all() -> impl DoubleEndedIterator<Item = Slot> + ExactSizeIterator {
        (0..SLOTS as u16).map(Slot)
    }

    /// The partition of this slot on a node with so many partitions: contiguous ranges of slots.
    ///
    /// A count of zero is read as one.
    #[inline]
    pub const fn partition(self, partitions: usize) -> usize {
        let partitions = if partitions == 0 { 1 } else { partitions };
        self.index() * partitions / SLOTS
    }
}

/// A number that came over the network and names no slot.
#[derive(Debug, thiserror::Error)]
#[error("there is no slot {0}: the last one is {last}", last = SLOTS - 1)]
pub struct NoSuchSlot(u16);

impl TryFrom<u16> for Slot {
    type Error = NoSuchSlot;

    fn try_from(index: u16) -> Result<Slot, NoSuchSlot> {
        Slot::new(usize::from(index)).ok_or(NoSuchSlot(index))
    }
}

impl From<Slot> for u16 {
    fn from(slot: Slot) -> u16 {
        slot.0
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {}", self.0)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_is_the_top_of_the_hash() {
        assert_eq!(Slot::of(0).index(), 0);
        assert_eq!(Slot::of(u64::MAX).index(), SLOTS - 1);
        assert_eq!(Slot::of(0x0010_0000_0000_0000).index(), 1);
        assert_eq!(Slot::of(0x000F_FFFF_FFFF_FFFF).index(), 0);
    }

    #[test]
    fn there_is_no_slot_past_the_last() {
        assert_eq!(Slot::new(SLOTS - 1), Slot::all().next_back());
        assert_eq!(Slot::new(SLOTS), None);
        assert_eq!(Slot::all().len(), SLOTS);
    }

    #[test]
    fn a_slot_from_outside_is_checked() {
        let slot: Slot = serde_json::from_str("4095").expect("the last slot");
        assert_eq!(slot.index(), SLOTS - 1);
        let error = serde_json::from_str::<Slot>("4096").expect_err("no such slot");
        assert!(error.to_string().contains("there is no slot 4096"));
    }

    #[test]
    fn partitions_are_contiguous_and_even() {
        let partitions: Vec<usize> = Slot::all().map(|slot| slot.partition(3)).collect();
        assert!(partitions.is_sorted());
        for partition in 0..3 {
            let count = partitions.iter().filter(|&&p| p == partition).count();
            assert!((1365..=1366).contains(&count), "{partition} has {count}");
        }
        assert!(Slot::all().all(|slot| slot.partition(1) == 0));
    }
}
