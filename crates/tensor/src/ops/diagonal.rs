//! Diagonals and triangles of matrices, put together from views and masks.

use super::{ArithmeticOps, ComparisonOps, Embed, ReduceOps, SelectOps, Stride, Value, ViewOps};
use crate::error::here;
use crate::tensor::room;
use crate::{DType, Error, Result, Shape, Spec, Tensor};
use std::panic::Location;

/// Diagonals and triangles. The main diagonal has offset 0; those above it count up, those below down.
pub trait DiagonalOps: Value + ViewOps {
    /// The elements with equal indices along two axes, up to an offset, as the last dimension.
    ///
    /// # Shapes
    /// `[3, 4]` with offset 1 gives `[3]`; `[2, 3, 3]` along axes 1 and 2 gives `[2, 3]`.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let x = Tensor::new([[1, 2], [3, 4]]);
    /// assert_eq!(x.diagonal(0, 0, 1)?.to_vec::<i32>()?, [1, 4]);
    /// assert_eq!(x.diagonal(-1, 0, 1)?.to_vec::<i32>()?, [3]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Axes that do not exist, or are one.
    #[track_caller]
    fn diagonal(&self, offset: isize, axis1: isize, axis2: isize) -> Result<Self> {
        let shape = *Value::shape(self);
        let [a, b] = two_axes("diagonal", &shape, axis1, axis2)?;
        let order: Vec<isize> =
            (0..shape.rank()).filter(|d| ![a, b].contains(d)).chain([a, b]).map(|d| d as isize).collect();
        let x = self.permute(&order)?;
        let dims = Value::shape(&x).to_vec();
        let (lead, last) = dims.split_at(dims.len() - 2);
        let flat = x.reshape([lead, &[last[0] * last[1]]].concat())?;
        flat.stride(-1, place(last[0], last[1], offset))
    }

    /// Square matrices with the last dimension on a diagonal, and 0 elsewhere; their rows and columns are the axes of the
    /// result that are named.
    ///
    /// # Shapes
    /// `[2, 3]` with offset 1 along axes -2 and -1 gives `[2, 4, 4]`.
    ///
    /// # Errors
    /// A scalar; axes that do not exist, or are one.
    #[track_caller]
    fn diag_embed(&self, offset: isize, axis1: isize, axis2: isize) -> Result<Self> {
        let dims = Value::shape(self).to_vec();
        let Some((&length, lead)) = dims.split_last() else {
            return Err(Error::shape("diag_embed", "a scalar has no diagonal to become").at(Location::caller()));
        };
        let n = length.saturating_add(offset.unsigned_abs());
        let shape = here(Shape::new(&[lead, &[n, n]].concat()).map_err(|e| e.renamed("shape", "diag_embed")))?;
        let [a, b] = two_axes("diag_embed", &shape, axis1, axis2)?;
        let mut ranges: Vec<Stride> = lead.iter().map(|&d| Stride::full(d)).collect();
        ranges.push(place(n, n, offset));
        let flat = Embed { shape: Shape::new(&[lead, &[n * n]].concat())?, ranges, fill: 0.0 };
        let y = Self::apply_one(flat, &[self])?.reshape(shape)?;
        let mut rest = 0..lead.len() as isize;
        let order: Vec<isize> = (0..dims.len() + 1)
            .map(|d| match d {
                _ if d == a => lead.len() as isize,
                _ if d == b => lead.len() as isize + 1,
                _ => rest.next().unwrap_or(0),
            })
            .collect();
        y.permute(&order)
    }

    /// The matrix with this vector on a diagonal, or the diagonal of this matrix, as NumPy's `diag`.
    ///
    /// # Errors
    /// Neither a vector nor a matrix.
    #[track_caller]
    fn diag(&self, offset: isize) -> Result<Self> {
        match Value::shape(self).rank() {
            1 => self.diag_embed(offset, 0, 1),
            2 => self.diagonal(offset, 0, 1),
            _ => {
                let text = format!("{} is neither a vector nor a matrix", Value::shape(self));
                Err(Error::shape("diag", text).help("of several: .diagonal(…), .diag_embed(…)").at(Location::caller()))
            }
        }
    }

    /// The sum of the main diagonal of a matrix.
    ///
    /// # Errors
    /// No matrix.
    #[track_caller]
    fn trace(&self) -> Result<Self> {
        if Value::shape(self).rank() != 2 {
            let text = format!("{} is no matrix", Value::shape(self));
            return Err(Error::shape("trace", text).at(Location::caller()));
        }
        self.diagonal(0, 0, 1)?.sum(..)
    }

    /// The elements on and below a diagonal of each matrix; 0 above it.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let x = Tensor::new([[1, 2], [3, 4]]);
    /// assert_eq!(x.tril(0)?.to_vec::<i32>()?, [1, 0, 3, 4]);
    /// assert_eq!(x.triu(1)?.to_vec::<i32>()?, [0, 2, 0, 0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Fewer than two dimensions.
    #[track_caller]
    fn tril(&self, offset: isize) -> Result<Self> {
        above(self, "tril", offset)?.le(0)?.select(self, 0)
    }

    /// The elements on and above a diagonal of each matrix; 0 below it.
    ///
    /// # Errors
    /// Fewer than two dimensions.
    #[track_caller]
    fn triu(&self, offset: isize) -> Result<Self> {
        above(self, "triu", offset)?.ge(0)?.select(self, 0)
    }
}
impl<V: Value + ViewOps> DiagonalOps for V {}

impl Tensor {
    /// The rows and columns of the elements on and below a diagonal of a `rows` by `columns` matrix, in row-major order.
    ///
    /// # Shapes
    /// `[2, found]`.
    ///
    /// # Errors
    /// A size beyond memory.
    #[track_caller]
    pub fn tril_indices(rows: usize, columns: usize, offset: isize) -> Result<Tensor> {
        // So many of each row, from its first.
        triangle("tril_indices", rows, columns, |i| (0, i.saturating_add(offset).saturating_add(1)))
    }

    /// The rows and columns of the elements on and above a diagonal, as [`Tensor::tril_indices`].
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    pub fn triu_indices(rows: usize, columns: usize, offset: isize) -> Result<Tensor> {
        triangle("triu_indices", rows, columns, |i| (i.saturating_add(offset), isize::MAX))
    }
}

/// The coordinates of the elements of each row between two bounds, which may lie outside.
#[track_caller]
fn triangle(op: &str, rows: usize, columns: usize, bounds: impl Fn(isize) -> (isize, isize)) -> Result<Tensor> {
    let at = Location::caller();
    let spec = Spec::new(Shape::new(&[2, rows, columns]).map_err(|e| e.at(at))?, DType::I64);
    let within = |i: usize| {
        let bound = |j: isize| j.clamp(0, columns as isize) as i64;
        let (start, end) = bounds(i as isize);
        bound(start)..bound(end)
    };
    // Rows beyond memory would take too long to count.
    room::<i64>(op, rows, spec).map_err(|e| e.at(at))?;
    let count = (0..if columns == 0 { 0 } else { rows }).fold(0, |count, i| count + within(i).count());
    let mut numbers = room(op, 2 * count, spec).map_err(|e| e.at(at))?;
    (0..rows).for_each(|i| numbers.extend(within(i).map(|_| i as i64)));
    (0..rows).for_each(|i| numbers.extend(within(i)));
    Tensor::from_vec(numbers, [2, count])
}

#[track_caller]
fn two_axes(op: &str, shape: &Shape, axis1: isize, axis2: isize) -> Result<[usize; 2]> {
    let axes = [shape.axis(op, axis1)?, shape.axis(op, axis2)?];
    if axes[0] == axes[1] || shape.rank() < 2 {
        let text = format!("axes {axis1} and {axis2} of {shape} are no two");
        return Err(Error::shape(op, text).at(Location::caller()));
    }
    Ok(axes)
}

/// Where a diagonal lies in a matrix in row-major order.
fn place(rows: usize, columns: usize, offset: isize) -> Stride {
    let (down, right) = if offset < 0 { (offset.unsigned_abs(), 0) } else { (0, offset.unsigned_abs()) };
    let length = rows.saturating_sub(down).min(columns.saturating_sub(right));
    let start = if length == 0 { 0 } else { down * columns + right };
    Stride { start, length, step: columns as isize + 1 }
}

/// How far above a diagonal each element of the matrices lies.
#[track_caller]
fn above<V: DiagonalOps>(x: &V, op: &str, offset: isize) -> Result<V> {
    let shape = Value::shape(x);
    let &[.., rows, columns] = shape.dims() else {
        return Err(Error::shape(op, format!("{shape} holds no matrices")).at(Location::caller()));
    };
    let column = x.beside(Tensor::arange(0i64, columns as i64, 1)?)?;
    // Farther than all of it, a diagonal could be beyond what can be counted.
    let offset = (offset as i64).clamp(-(rows as i64) - 1, columns as i64 + 1);
    let row = x.beside(Tensor::arange(0i64, rows as i64, 1)?)?.add(offset)?;
    column.sub(&row.unsqueeze(-1)?)
}
