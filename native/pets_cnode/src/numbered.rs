//! Numbered places. A number names what was put in for as long as it is there, and nothing later.

/// Bits of a number, from the low end: place, generation.
const PLACE_BITS: u32 = 20;
const GENERATION_BITS: u32 = 27;

/// Bits of the numbers that [`Numbered`] gives out.
pub(crate) const NUMBER_BITS: u32 = PLACE_BITS + GENERATION_BITS;

/// Values by number, in at most 2^20 places that are used again.
pub(crate) struct Numbered<T> {
    places: Vec<Place<T>>,
    /// First free place.
    free: Option<usize>,
    live: usize,
    /// Counts insertions, so that an old number does not name a later value.
    generation: u32,
}

enum Place<T> {
    Free { next: Option<usize> },
    Live { number: u64, value: T },
}

impl<T> Numbered<T> {
    /// No values; numbers begin behind `generation`.
    pub(crate) fn new(generation: u32) -> Self {
        let generation = generation & ((1 << GENERATION_BITS) - 1);
        Self { places: Vec::new(), free: None, live: 0, generation }
    }

    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// How many values there are.
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// Puts a value in; gives it back when all places are taken.
    pub(crate) fn insert(&mut self, value: T) -> Result<u64, T> {
        let place = match self.free {
            Some(place) => place,
            None if self.places.len() < 1 << PLACE_BITS => {
                self.places.push(Place::Free { next: None });
                self.places.len() - 1
            }
            None => return Err(value),
        };
        let Place::Free { next } = self.places[place] else { return Err(value) };
        self.generation = (self.generation + 1) & ((1 << GENERATION_BITS) - 1);
        let number = u64::from(self.generation) << PLACE_BITS | place as u64;
        self.places[place] = Place::Live { number, value };
        self.free = next;
        self.live += 1;
        Ok(number)
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        match self.places.get_mut(place_of(number))? {
            Place::Live { number: live, value } if *live == number => Some(value),
            Place::Live { .. } | Place::Free { .. } => None,
        }
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<T> {
        self.get_mut(number)?;
        let place = place_of(number);
        match std::mem::replace(&mut self.places[place], Place::Free { next: self.free }) {
            Place::Live { value, .. } => {
                self.free = Some(place);
                self.live -= 1;
                Some(value)
            }
            Place::Free { .. } => None,
        }
    }

    /// Takes all values out.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        self.free = None;
        self.live = 0;
        let places = std::mem::take(&mut self.places).into_iter();
        let live = places.filter_map(|place| match place {
            Place::Live { value, .. } => Some(value),
            Place::Free { .. } => None,
        });
        live.collect()
    }
}

fn place_of(number: u64) -> usize {
    (number & ((1 << PLACE_BITS) - 1)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_names_one_value_only() {
        let mut values = Numbered::new(u32::MAX);
        let first = values.insert("first").expect("room");
        let second = values.insert("second").expect("room");
        assert!(second < 1 << NUMBER_BITS);
        assert_eq!(values.remove(first), Some("first"));
        assert_eq!(values.remove(first), None);
        let third = values.insert("third").expect("room");
        assert_eq!(place_of(third), place_of(first));
        assert_eq!(
            values.remove(first),
            None,
            "an old number does not name the place's next value"
        );
        assert_eq!(values.get_mut(third), Some(&mut "third"));
        assert_eq!(values.len(), 2);
        assert_eq!(values.remove(u64::MAX), None);
        assert_eq!(values.drain(), ["third", "second"]);
        assert_eq!(values.remove(second), None);
        assert_eq!(values.len(), 0);
    }
}
