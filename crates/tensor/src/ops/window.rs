//! The geometry of windows that slide over images, for convolutions and pools.

/// Steps, paddings and sizes beyond this are a mistake, and sums of them could overflow.
pub(crate) const LARGEST: usize = 1 << 31;

/// Positions that a window spans: `dilation · (kernel − 1) + 1`.
pub(crate) fn reach<const N: usize>(kernel: [usize; N], dilation: [usize; N]) -> [usize; N] {
    std::array::from_fn(|i| dilation[i].saturating_mul(kernel[i].saturating_sub(1)).saturating_add(1))
}
