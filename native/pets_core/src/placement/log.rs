//! The logarithm that weighted rendezvous hashing needs, in integers only.
//!
//! Every node must come to the same ranking, and a platform's `ln` may differ from another's in
//! the last bit (the C library decides, and so may the compiler by fusing operations). One such
//! bit would give two nodes two owners for a slot, for good. Shifts and multiplications of
//! integers have one result everywhere.

/// Fraction bits of [`neg_log2`]. Two nodes with equal weight tie with a chance of about 2^-40 in
/// a slot, and the tie goes by name.
const FRACTION_BITS: u32 = 40;

/// `-log2(draw / 2^64)` as a fixed-point number with 40 fraction bits, in `1 ..= 2^46`.
///
/// A draw of zero is read as one, so that every draw has a logarithm. The fraction is found bit by
/// bit: squaring a mantissa doubles its logarithm, and the bit that passes two is the next digit.
pub(super) fn neg_log2(draw: u64) -> u64 {
    let draw = draw.max(1);
    let leading = draw.leading_zeros();
    // In [1, 2), with 63 fraction bits.
    let mut mantissa = draw << leading;
    let mut fraction = 0_u64;
    for _ in 0..FRACTION_BITS {
        let square = (u128::from(mantissa) * u128::from(mantissa)) >> 63;
        let digit = (square >> 64) as u64;
        mantissa = (square >> digit) as u64;
        fraction = (fraction << 1) | digit;
    }
    (u64::from(leading + 1) << FRACTION_BITS) - fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: u64 = 1 << FRACTION_BITS;

    #[test]
    fn powers_of_two_are_exact() {
        for exponent in 0..64 {
            assert_eq!(neg_log2(1 << exponent), (64 - exponent) * ONE);
        }
        assert_eq!(neg_log2(0), 64 * ONE);
        assert_eq!(neg_log2(u64::MAX), 1);
    }

    #[test]
    fn it_follows_the_real_logarithm() {
        let mut draw = 0x9E37_79B9_7F4A_7C15_u64;
        for _ in 0..10_000 {
            draw = draw.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
            let real = -((draw as f64) / 2f64.powi(64)).log2();
            let ours = neg_log2(draw) as f64 / ONE as f64;
            assert!((real - ours).abs() < 1e-9, "{draw}: {real} {ours}");
        }
    }

    #[test]
    fn a_larger_draw_never_has_a_larger_value() {
        let mut last = u64::MAX;
        for step in 0..100_000_u64 {
            let value = neg_log2(step * (u64::MAX / 100_000));
            assert!(value <= last);
            last = value;
        }
    }
}
