//! Shapes: up to eight dimensions held in place, and the arithmetic of broadcasting and axes.

use crate::{Error, Result};
use std::fmt;
use std::ops::Deref;
use std::panic::Location;

/// The largest rank a tensor can have.
pub const MAX_RANK: usize = 8;

/// The lengths of a tensor's dimensions, outermost first. Holds up to [`MAX_RANK`] of them without allocating.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Shape {
    dims: [usize; MAX_RANK],
    rank: u8,
}

impl Shape {
    /// A shape from its dimensions.
    ///
    /// # Errors
    /// More than [`MAX_RANK`] dimensions, or more elements than memory can address.
    pub fn new(dims: &[usize]) -> Result<Shape> {
        if dims.len() > MAX_RANK {
            let text = format!("{dims:?} has {} dimensions; the most is {MAX_RANK}", dims.len());
            return Err(Error::shape("shape", text));
        }
        let shape = Shape::from_slice(dims);
        shape.check("shape")?;
        Ok(shape)
    }

    /// Whether memory could address so many elements, of whatever type: [`Shape::with`] may have made more of them.
    pub(crate) fn check(&self, op: &str) -> Result<()> {
        // Dimensions of 0 do not count: strides are products of the others.
        let bytes = self.iter().filter(|&&d| d > 0).try_fold(16usize, |n, &d| n.checked_mul(d));
        match bytes {
            Some(bytes) if bytes <= isize::MAX as usize => Ok(()),
            _ => Err(Error::shape(op, format!("{self} has more elements than memory can hold"))),
        }
    }

    /// A shape that is known to fit: pieces of an existing one.
    pub(crate) fn from_slice(dims: &[usize]) -> Shape {
        let mut shape = Shape { dims: [0; MAX_RANK], rank: dims.len() as u8 };
        shape.dims[..dims.len()].copy_from_slice(dims);
        shape
    }

    /// The dimensions as a slice.
    pub fn dims(&self) -> &[usize] {
        &self.dims[..self.rank as usize]
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.rank as usize
    }

    /// Number of elements: the product of the dimensions, 1 for a scalar.
    pub fn count(&self) -> usize {
        // Saturating, for shapes that no tensor has; those of tensors are checked.
        self.iter().fold(1usize, |count, &d| count.saturating_mul(d)) * usize::from(!self.contains(&0))
    }

    /// The shape two shapes broadcast to, by NumPy's rule: aligned at the right, equal or one of them 1.
    ///
    /// # Errors
    /// Names the first dimension, from the right, that does not fit.
    pub fn broadcast(&self, other: &Shape) -> Result<Shape> {
        let rank = self.rank().max(other.rank());
        let mut out = [0; MAX_RANK];
        for from_end in 1..=rank {
            let (a, b) = (self.length_from_right(from_end), other.length_from_right(from_end));
            out[rank - from_end] = match (a, b) {
                _ if a == b => a,
                (1, _) => b,
                (_, 1) => a,
                _ => {
                    let text = format!(
                        "cannot broadcast {self} with {other}: in dimension {} from the right, {a} meets {b} and neither is 1",
                        from_end
                    );
                    return Err(Error::shape("broadcast", text));
                }
            };
        }
        Shape::new(&out[..rank])
    }

    fn length_from_right(&self, i: usize) -> usize {
        if i > self.rank() { 1 } else { self.dims[self.rank() - i] }
    }

    /// The index of an axis that may count from the end (`-1` is the last).
    ///
    /// # Errors
    /// The axis does not exist.
    #[track_caller]
    pub fn axis(&self, op: &str, axis: isize) -> Result<usize> {
        let rank = self.rank() as isize;
        // A scalar accepts 0 and -1, as NumPy's and PyTorch's reductions do; there is no dimension to act on.
        let (low, high) = if rank == 0 { (-1, 0) } else { (-rank, rank - 1) };
        if axis < low || axis > high {
            let text = format!("axis {axis} is out of range for {self}: axes run from {low} to {high}");
            return Err(Error::shape(op, text).at(Location::caller()));
        }
        Ok(if axis < 0 { (axis + rank.max(1)) as usize } else { axis as usize })
    }

    /// Whether an operation can act along `axis`; a scalar has the one axis in name only.
    pub(crate) fn check_axis(&self, op: &str, axis: usize) -> Result<()> {
        match axis < self.rank().max(1) {
            true => Ok(()),
            false => {
                let text = format!("axis {axis} is out of range for {self}, which has {} axes", self.rank());
                Err(Error::shape(op, text))
            }
        }
    }

    /// A copy with `axis` of another length. Whatever makes a tensor of it checks its size.
    ///
    /// # Panics
    /// There is no such axis.
    #[must_use]
    pub fn with(mut self, axis: usize, length: usize) -> Shape {
        self.dims[..self.rank as usize][axis] = length;
        self
    }

    /// A copy without `axis`: what a reduction along it leaves.
    ///
    /// ```
    /// # use kiln_tensor::Shape;
    /// assert_eq!(Shape::new(&[2, 3, 4])?.without(1)[..], [2, 4]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Panics
    /// There is no such axis.
    #[must_use]
    pub fn without(mut self, axis: usize) -> Shape {
        let rank = self.rank as usize;
        self.dims[..rank].copy_within(axis + 1.., axis);
        self.dims[rank - 1] = 0;
        self.rank -= 1;
        self
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        self.dims()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.dims())
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.dims())
    }
}

/// What can stand for a shape in an argument: arrays, slices, vectors and shapes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no shape",
    note = "give an array such as [2, 3], a slice, a vector of `usize`, or a `Shape`; `[]` is the shape of a single number"
)]
pub trait IntoShape {
    /// Converts.
    ///
    /// # Errors
    /// As [`Shape::new`].
    fn into_shape(self) -> Result<Shape>;
}

macro_rules! into_shape {
    ($(<$(const $n:ident)?> $dims:ty: |$x:ident| $shape:expr;)*) => {$(
        impl<$(const $n: usize)?> IntoShape for $dims {
            #[track_caller]
            fn into_shape(self) -> Result<Shape> {
                let ($x, at) = (self, Location::caller());
                $shape.map_err(|error| error.at(at))
            }
        }
    )*};
}
into_shape! {
    <> Shape: |x| x.check("shape").map(|()| x);
    <> &Shape: |x| x.check("shape").map(|()| *x);
    <> &[usize]: |x| Shape::new(x);
    <> Vec<usize>: |x| Shape::new(&x);
    <> &Vec<usize>: |x| Shape::new(x);
    <const N> [usize; N]: |x| Shape::new(&x);
    <const N> &[usize; N]: |x| Shape::new(x);
    <> usize: |x| Shape::new(&[x]);
}
impl IntoShape for () {
    fn into_shape(self) -> Result<Shape> {
        Shape::new(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting() {
        let s = |d: &[usize]| Shape::new(d).unwrap();
        assert_eq!(s(&[3, 1]).broadcast(&s(&[4])).unwrap(), s(&[3, 4]));
        assert_eq!(s(&[0, 1]).broadcast(&s(&[1, 5])).unwrap(), s(&[0, 5]));
        assert_eq!(s(&[]).broadcast(&s(&[2, 2])).unwrap(), s(&[2, 2]));
        assert!(s(&[3]).broadcast(&s(&[4])).is_err());
        assert!(s(&[0]).broadcast(&s(&[2])).is_err());
    }

    #[test]
    fn hostile_shapes_are_errors() {
        assert!(Shape::new(&[usize::MAX, 2]).is_err());
        assert!(Shape::new(&[1; 9]).is_err());
        assert!(Shape::new(&[0, usize::MAX, usize::MAX]).is_err());
        let grown = Shape::new(&[1, 8]).unwrap().with(0, 1 << 62);
        assert!(grown.into_shape().is_err() && grown.count() == usize::MAX);
        assert_eq!(grown.with(1, 0).count(), 0);
    }
}
