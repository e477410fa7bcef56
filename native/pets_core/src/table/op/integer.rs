//! Arithmetic on encoded integers of any size.

use std::cmp::Ordering;

use num_bigint::{BigInt, BigUint, Sign};

use crate::term::word::{self, Kind};

/// An encoded integer.
#[derive(Clone, Copy)]
pub(super) struct Integer<'a>(&'a [u64]);

impl<'a> Integer<'a> {
    /// The integer that a term is, if it is one.
    pub(super) fn of(words: &'a [u64]) -> Option<Self> {
        let integer = word::is_small(words[0])
            || matches!(
                word::split_header(words[0]),
                Some((Kind::BigPositive | Kind::BigNegative, _))
            );
        integer.then_some(Integer(words))
    }

    pub(super) fn words(self) -> &'a [u64] {
        self.0
    }

    fn small(self) -> Option<i64> {
        word::is_small(self.0[0]).then(|| word::small_value(self.0[0]))
    }

    pub(super) fn is_negative(self) -> bool {
        match self.small() {
            Some(value) => value < 0,
            None => matches!(word::split_header(self.0[0]), Some((Kind::BigNegative, _))),
        }
    }

    fn big(self) -> BigInt {
        if let Some(value) = self.small() {
            return BigInt::from(value);
        }
        let digits = self.0[1..].iter().flat_map(|&word| [word as u32, (word >> 32) as u32]);
        let sign = if self.is_negative() { Sign::Minus } else { Sign::Plus };
        BigInt::from_biguint(sign, BigUint::new(digits.collect()))
    }

    /// The encoded sum.
    pub(super) fn plus(self, other: Integer<'_>) -> Vec<u64> {
        let mut words = Vec::new();
        match (self.small(), other.small()) {
            // Two numbers of 60 bits.
            (Some(a), Some(b)) => word::push_integer(&mut words, i128::from(a + b)),
            _ => push_big(&mut words, &(self.big() + other.big())),
        }
        words
    }

    pub(super) fn compare(self, other: Integer<'_>) -> Ordering {
        match (self.small(), other.small()) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => self.big().cmp(&other.big()),
        }
    }
}

fn push_big(out: &mut Vec<u64>, value: &BigInt) {
    if let Ok(value) = i128::try_from(value) {
        return word::push_integer(out, value);
    }
    let (sign, magnitude) = (value.sign(), value.iter_u64_digits());
    let kind = if sign == Sign::Minus { Kind::BigNegative } else { Kind::BigPositive };
    out.push(word::header(kind, magnitude.len() as u64));
    out.extend(magnitude);
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(value: &BigInt) -> Vec<u64> {
        let mut words = Vec::new();
        push_big(&mut words, value);
        words
    }

    fn integers() -> impl Strategy<Value = BigInt> {
        prop_oneof![
            any::<i64>().prop_map(BigInt::from),
            (-3i64..3).prop_map(|d| BigInt::from(word::SMALL_MAX) + d),
            (-3i64..3).prop_map(|d| BigInt::from(word::SMALL_MIN) + d),
            (any::<bool>(), prop::collection::vec(any::<u32>(), 0..9)).prop_map(
                |(minus, digits)| {
                    let magnitude = BigInt::from(BigUint::new(digits));
                    if minus { -magnitude } else { magnitude }
                }
            ),
        ]
    }

    proptest! {
        #[test]
        fn sums_and_comparisons_are_those_of_numbers(a in integers(), b in integers()) {
            let (x, y) = (encode(&a), encode(&b));
            let (x, y) = (Integer::of(&x).unwrap(), Integer::of(&y).unwrap());
            prop_assert_eq!(x.big(), a.clone());
            prop_assert_eq!(x.plus(y), encode(&(&a + &b)));
            prop_assert_eq!(x.compare(y), a.cmp(&b));
            prop_assert_eq!(x.is_negative(), a < BigInt::ZERO);
        }
    }

    #[test]
    fn the_bounds_of_small_integers_are_where_encodings_change() {
        let one = [word::small(1)];
        let max = [word::small(word::SMALL_MAX)];
        let sum = Integer::of(&max).unwrap().plus(Integer::of(&one).unwrap());
        assert_eq!(sum, [word::header(Kind::BigPositive, 1), 1 << 59]);
        let minus = [word::small(-1)];
        assert_eq!(Integer::of(&sum).unwrap().plus(Integer::of(&minus).unwrap()), max);
        assert!(Integer::of(&[word::NIL]).is_none());
    }
}
