//! The geometry of windows that slide over images, for convolutions and pools.

use crate::tensor::room;
use crate::{Result, Spec};

/// Steps, paddings and sizes beyond this are a mistake, and sums of them could overflow.
pub(crate) const LARGEST: usize = 1 << 31;

/// Whether there is room for a list of what each of so many positions of a result sees, which is made element by element.
pub(crate) fn check_list(op: &str, result: Spec, positions: usize) -> Result<()> {
    result.shape.check(op)?;
    room::<[usize; 8]>(op, positions, result).map(drop)
}

/// Positions that a window spans: `dilation · (kernel − 1) + 1`.
pub(crate) fn reach<const N: usize>(kernel: [usize; N], dilation: [usize; N]) -> [usize; N] {
    std::array::from_fn(|i| dilation[i].saturating_mul(kernel[i].saturating_sub(1)).saturating_add(1))
}
