//! Padding with what a tensor has itself: reflected, its edge, or its other end. (`ViewOps::pad` has a constant.)

use super::{GatherOps, Value};
use crate::error::here;
use crate::tensor::room;
use crate::{Error, Result, Shape, Spec, Tensor};
use std::panic::Location;

/// What stands around a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PadMode {
    /// The tensor in a mirror through its first or last element, which is not repeated.
    Reflect,
    /// The tensor in a mirror at its edge, so that the first and last elements are repeated.
    Symmetric,
    /// The first or last element.
    Replicate,
    /// The tensor once more.
    Circular,
}

impl PadMode {
    /// Where a place outside of `0..length` reads.
    fn source(self, place: isize, length: isize) -> isize {
        let mirrored = |period: isize, edge: isize| {
            let place = place.rem_euclid(period);
            if place < length { place } else { period - edge - place }
        };
        match self {
            PadMode::Reflect if length == 1 => 0,
            PadMode::Reflect => mirrored(2 * (length - 1), 0),
            PadMode::Symmetric => mirrored(2 * length, 1),
            PadMode::Replicate => place.clamp(0, length - 1),
            PadMode::Circular => place.rem_euclid(length),
        }
    }
}

/// Padding.
pub trait PaddingOps: Value + GatherOps {
    /// With more of itself around it: `padding[i]` elements before and after dimension `i`. Negative padding cuts off, and
    /// what it cuts off does not come round again.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let x = Tensor::new([1, 2, 3]);
    /// assert_eq!(x.pad_with(&[(2, 1)], PadMode::Reflect)?.to_vec::<i32>()?, [3, 2, 1, 2, 3, 2]);
    /// assert_eq!(x.pad_with(&[(2, 1)], PadMode::Circular)?.to_vec::<i32>()?, [2, 3, 1, 2, 3, 1]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Not one pair for each dimension; more cut off than there is; padding of nothing.
    #[track_caller]
    fn pad_with(&self, padding: &[(isize, isize)], mode: PadMode) -> Result<Self> {
        let shape = *Value::shape(self);
        if padding.len() != shape.rank() {
            let text = format!("{padding:?} cannot pad {shape}: one pair for each dimension");
            return Err(Error::shape("pad_with", text).at(Location::caller()));
        }
        let cut: Vec<(isize, isize)> = padding.iter().map(|&(a, b)| (a.min(0), b.min(0))).collect();
        let mut x = self.clone();
        if cut.iter().any(|&pair| pair != (0, 0)) {
            x = x.pad(&cut, 0.0).map_err(|e| e.renamed("pad", "pad_with"))?;
        }
        for (axis, &(before, after)) in padding.iter().enumerate() {
            let (before, after) = (before.max(0), after.max(0));
            let length = Value::shape(&x)[axis];
            if (before, after) == (0, 0) {
                continue;
            }
            // A length beyond memory is found here, before there is a list of it.
            let whole = before.unsigned_abs().saturating_add(after.unsigned_abs()).saturating_add(length);
            let padded = Spec::new(Shape::from_slice(&Value::shape(&x).with(axis, whole)), Value::dtype(&x));
            here(padded.shape.check("pad_with"))?;
            if length == 0 {
                let text = format!("{shape} has nothing along axis {axis} to pad with");
                return Err(Error::shape("pad_with", text).at(Location::caller()));
            }
            let mut places = here(room("pad_with", whole, padded))?;
            let all = -before..length as isize + after;
            places.extend(all.map(|place| mode.source(place, length as isize) as i64));
            x = x.index_select(axis as isize, &x.beside(Tensor::from_vec(places, [whole])?)?)?;
        }
        Ok(x)
    }
}
impl<V: Value + GatherOps> PaddingOps for V {}
