//! Sparsemax: what is left of each element above a threshold that makes the rest add up to 1.

use crate::ops::{Ops, Value, keep};
use crate::{DType, Result, Tensor};

/// The threshold is `(Σ z − 1) / k` of the `k` largest elements `z`, as many as it leaves something of. Which these are does
/// not depend smoothly on `x` and has no gradient; the threshold has that of their mean.
pub(super) fn sparsemax<V: Ops>(x: &V, axis: isize) -> Result<V> {
    let shape = *Value::shape(x);
    let dtype = Value::dtype(x).to_float();
    if shape.count() == 0 {
        return x.cast(dtype);
    }
    if shape.rank() == 0 {
        return sparsemax(&x.unsqueeze(0)?, 0)?.squeeze(0);
    }
    // Half precision counts to 2048 and adds up no better.
    let wide = x.cast(if matches!(dtype, DType::F16 | DType::BF16) { DType::F32 } else { dtype })?;
    // A shift changes nothing, and below the largest no sum of large numbers hides the 1.
    let shifted = wide.sub(&wide.detach().amax(keep(axis))?)?;
    let (sorted, _) = shifted.sort(axis, true)?;
    let values = sorted.detach();
    let mut dims = vec![1; shape.rank()];
    dims[axis as usize] = shape[axis as usize];
    let counts = x.beside(Tensor::arange(1.0, shape[axis as usize] as f64 + 1.0, 1.0)?)?;
    let counts = counts.reshape(dims)?.cast(Value::dtype(&wide))?;
    let is_above = values.mul(&counts)?.add(1.0)?.gt(&values.cumsum(axis)?)?;
    let count = is_above.cast(Value::dtype(&wide))?.sum(keep(axis))?;
    let threshold = is_above.select(&sorted, 0.0)?.sum(keep(axis))?.sub(1.0)?.div(&count)?;
    shifted.sub(&threshold)?.relu()?.cast(dtype)
}
