use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::placement::{SLOTS, Slot};

const WORDS: usize = SLOTS / 64;

/// A set of slots: one bit each, and the count.
#[derive(Clone, PartialEq, Eq)]
pub struct SlotSet {
    words: Box<[u64; WORDS]>,
    len: usize,
}

impl SlotSet {
    /// The empty set.
    pub fn new() -> SlotSet {
        SlotSet { words: Box::new([0; WORDS]), len: 0 }
    }

    /// How many slots are in the set.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no slot is in the set.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the slot is in the set.
    pub fn contains(&self, slot: Slot) -> bool {
        self.words[slot.index() / 64] & bit(slot) != 0
    }

    /// Adds the slot; says whether it is new.
    pub fn insert(&mut self, slot: Slot) -> bool {
        let new = !self.contains(slot);
        self.words[slot.index() / 64] |= bit(slot);
        self.len += usize::from(new);
        new
    }

    /// Removes the slot; says whether it was there.
    pub fn remove(&mut self, slot: Slot) -> bool {
        let there = self.contains(slot);
        self.words[slot.index() / 64] &= !bit(slot);
        self.len -= usize::from(there);
        there
    }

    /// Adds or removes the slot.
    pub fn set(&mut self, slot: Slot, member: bool) {
        if member {
            self.insert(slot);
        } else {
            self.remove(slot);
        }
    }

    /// The slots in ascending order from this one on, and then those before it.
    pub fn iter_from(&self, first: Slot) -> impl Iterator<Item = Slot> + '_ {
        let before = self.iter().take_while(move |&slot| slot < first);
        self.iter().skip_while(move |&slot| slot < first).chain(before)
    }

    /// The slots in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        self.words.iter().enumerate().flat_map(|(at, &word)| {
            Bits(word).filter_map(move |bit| Slot::new(at * 64 + bit as usize))
        })
    }
}

impl Default for SlotSet {
    fn default() -> SlotSet {
        SlotSet::new()
    }
}

impl FromIterator<Slot> for SlotSet {
    fn from_iter<I: IntoIterator<Item = Slot>>(slots: I) -> SlotSet {
        let mut set = SlotSet::new();
        for slot in slots {
            set.insert(slot);
        }
        set
    }
}

impl fmt::Debug for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Slot::index)).finish()
    }
}

impl Serialize for SlotSet {
    /// As words, without the empty ones at the end.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let used = self.words.iter().rposition(|&word| word != 0).map_or(0, |last| last + 1);
        self.words[..used].serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SlotSet {
    /// Words past the last slot name no slot and are left out.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SlotSet, D::Error> {
        let sent = Vec::<u64>::deserialize(deserializer)?;
        let mut words = Box::new([0; WORDS]);
        let used = sent.len().min(WORDS);
        words[..used].copy_from_slice(&sent[..used]);
        let len = words.iter().map(|word| word.count_ones() as usize).sum();
        Ok(SlotSet { words, len })
    }
}

/// The positions of the bits that are set in a word.
struct Bits(u64);

impl Iterator for Bits {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if self.0 == 0 {
            return None;
        }
        let lowest = self.0.trailing_zeros();
        self.0 &= self.0 - 1;
        Some(lowest)
    }
}

fn bit(slot: Slot) -> u64 {
    1 << (slot.index() % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(index: usize) -> Slot {
        Slot::new(index).expect("a slot")
    }

    #[test]
    fn it_counts_what_is_in_it() {
        let mut set = SlotSet::new();
        assert!(set.is_empty());
        assert!(set.insert(slot(4095)));
        assert!(set.insert(slot(0)));
        assert!(!set.insert(slot(0)));
        set.set(slot(64), true);
        assert_eq!(set.iter().map(Slot::index).collect::<Vec<_>>(), [0, 64, 4095]);
        assert_eq!(set.iter_from(slot(64)).map(Slot::index).collect::<Vec<_>>(), [64, 4095, 0]);
        assert_eq!(set.len(), 3);
        assert!(set.remove(slot(64)));
        assert!(!set.remove(slot(64)));
        assert_eq!(set.len(), 2);
        assert_eq!(Slot::all().collect::<SlotSet>().len(), SLOTS);
    }

    #[test]
    fn it_travels() {
        let set: SlotSet = [slot(1), slot(200)].into_iter().collect();
        let json = serde_json::to_string(&set).expect("plain data");
        assert_eq!(json, "[2,0,0,256]");
        assert_eq!(serde_json::from_str::<SlotSet>(&json).expect("as written"), set);
        let long = serde_json::to_string(&vec![u64::MAX; 100]).expect("plain data");
        assert_eq!(serde_json::from_str::<SlotSet>(&long).expect("cut off").len(), SLOTS);
    }
}
