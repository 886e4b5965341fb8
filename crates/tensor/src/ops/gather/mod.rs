//! Reading and writing at indices: gather and its reverse, whole rows, one-hot vectors. Indices out of range are errors;
//! negative ones are too.

mod cuda;

use super::{Apply, ReduceOps, Value, ViewOps};
use crate::cpu::load::prefetch;
use crate::cpu::parallel;
use crate::cpu::scratch::Scratch;
use crate::run::no_indices;
use crate::{
    Arity, CpuCall, CudaCall, DType, Device, Element, Error, Layout, Op, Result, Scalar, Shape, Spec, Specs, Tensor,
    View, ViewMut, with_element,
};

/// `y[i][j][k] = x[index[i][j][k]][j][k]` along axis 0, and likewise along the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Gather {
    /// The axis that the indices run along.
    pub axis: usize,
}

/// A copy of the first operand with the elements of the third added at the indices of the second: the reverse of
/// [`Gather`]. Repeated indices add up, in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct ScatterAdd {
    /// The axis that the indices run along.
    pub axis: usize,
}

/// How elements that meet in one place are joined, with what stood there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joining {
    /// The last of them, in row-major order of the indices.
    Last,
    /// Their product.
    Prod,
    /// The largest; NaN wins.
    Max,
    /// The smallest; NaN wins.
    Min,
}

/// A copy of the first operand with the elements of the third joined to it at the indices of the second.
#[derive(Debug, Clone, PartialEq)]
pub struct ScatterJoin {
    /// The axis that the indices run along.
    pub axis: usize,
    /// How.
    pub joining: Joining,
}

/// The slices of `x` along one axis that a vector of indices names.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexSelect {
    /// The axis that the indices run along.
    pub axis: usize,
}

/// A copy of the first operand with the slices of the third added at the indices of the second: the reverse of
/// [`IndexSelect`].
#[derive(Debug, Clone, PartialEq)]
pub struct IndexAdd {
    /// The axis that the indices run along.
    pub axis: usize,
}

/// So many elements have a place in double precision each, however few are joined to them.
const SMALL: usize = 1 << 12;

/// Elements that a thread copies at a time.
const CHUNK: usize = 1 << 13;

fn check_index(op: &str, index: Spec) -> Result<()> {
    match index.dtype.is_integer() {
        true => Ok(()),
        false => Err(no_indices(op, index.dtype)),
    }
}

/// The indices, each checked against the length of the axis.
fn checked_indices(op: &str, index: &View<'_>, length: usize) -> Result<Scratch<usize>> {
    let index = index.indices(op)?;
    // Negative ones are the largest; where there is one too large, it is looked for.
    let largest = index.iter().fold(0, |largest, &i| largest.max(i as u64));
    if !index.is_empty() && largest >= length as u64 {
        let outside = |&i: &i64| i as u64 >= length as u64;
        let at = index.iter().position(outside).unwrap_or_default();
        return Err(out_of_range(op, index[at], at, length, index.len()));
    }
    Ok(index.iter().map(|&i| i as usize).collect())
}

/// The error of index `i`, the one at this position of `count`.
fn out_of_range(op: &str, i: i64, at: usize, length: usize, count: usize) -> Error {
    Error::index(op, format!("index {i} at position {at} is out of range 0..{length}")).of_element(at, count)
}

/// Every dimension of `small` but the axis, if there is one, is at most that of `large`.
fn check_inside(op: &str, small: &Shape, large: &Shape, axis: usize) -> Result<()> {
    let fits = small.rank() == large.rank() && (0..small.rank()).all(|a| a == axis || small[a] <= large[a]);
    match fits {
        true => Ok(()),
        false if axis < large.rank() => {
            Err(Error::shape(op, format!("indices of shape {small} do not fit {large} along axis {axis}")))
        }
        false => Err(Error::shape(op, format!("indices of shape {small} need a source as large, found {large}"))),
    }
}

/// Where in `target` each element of a dense tensor of shape `index` lies, from the first element on, with the coordinate
/// along `axis` taken from the indices.
fn positions<'a>(index: &'a Shape, target: Layout, axis: usize, at: &'a [usize]) -> impl Iterator<Item = isize> + 'a {
    (0..index.count()).map(move |flat| {
        if index.rank() == 1 {
            return at[flat] as isize * target.strides[0];
        }
        let (mut rest, mut position) = (flat, 0);
        for a in (0..index.rank()).rev() {
            let coordinate = if a == axis { at[flat] } else { rest % index[a] };
            rest /= index[a];
            position += coordinate as isize * target.strides[a];
        }
        position
    })
}

/// The same in a dense tensor.
fn dense_positions<'a>(
    index: &'a Shape,
    target: &Shape,
    axis: usize,
    at: &'a [usize],
) -> impl Iterator<Item = usize> + 'a {
    positions(index, Layout::contiguous(*target), axis, at).map(isize::unsigned_abs)
}

impl Op for Gather {
    fn name(&self) -> &str {
        "gather"
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(2)
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        x[0].shape.check_axis(self.name(), self.axis)?;
        check_index("gather", x[1])?;
        check_inside("gather", &x[1].shape, &x[0].shape, self.axis)?;
        Ok(Spec::new(x[1].shape, x[0].dtype).into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        let shape = *x[0].shape();
        let at = checked_indices("gather", &x[1], shape.get(self.axis).copied().unwrap_or(1))?;
        with_element!(x[0].dtype(), T => {
            let from = x[0].as_ptr().cast::<T>();
            let from_at = positions(x[1].shape(), x[0].layout(), self.axis, &at);
            // SAFETY: the indices are checked, and along the other axes `infer` has seen that the operand is as long: these
            // are positions of its elements, of type T, and no output takes its place.
            y[0].slice::<T>()?.iter_mut().zip(from_at).for_each(|(y, p)| *y = unsafe { *from.offset(p) });
        });
        Ok(())
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        cuda::gather(self, call);
        Ok(())
    }
}

impl Op for ScatterAdd {
    fn name(&self) -> &str {
        "scatter_add"
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(3)
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        infer_scatter(self.name(), self.axis, x)
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        scatter(self.name(), self.axis, x, &mut y[0], Sums)
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        cuda::scatter(call, "scatter_add", self.axis, "add");
        Ok(())
    }
}

impl Op for ScatterJoin {
    fn name(&self) -> &str {
        "scatter"
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(3)
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        infer_scatter(self.name(), self.axis, x)
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        scatter(self.name(), self.axis, x, &mut y[0], self.joining)
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        let join = match self.joining {
            Joining::Last => "last",
            Joining::Prod => "mul",
            Joining::Max => "max",
            Joining::Min => "min",
        };
        cuda::scatter(call, "scatter", self.axis, join);
        Ok(())
    }
}

fn infer_scatter(name: &str, axis: usize, x: &[Spec]) -> Result<Specs> {
    x[0].shape.check_axis(name, axis)?;
    check_index(name, x[1])?;
    check_inside(name, &x[1].shape, &x[0].shape, axis)?;
    check_inside(name, &x[1].shape, &x[2].shape, x[2].shape.rank())?;
    if x[0].dtype != x[2].dtype {
        return Err(Error::dtype(name, format!("cannot join {} to {}", x[2].dtype, x[0].dtype)));
    }
    Ok(x[0].into())
}

fn scatter(name: &str, axis: usize, x: &[View<'_>], y: &mut ViewMut<'_>, join: impl Join) -> Result<()> {
    let shape = *x[0].shape();
    let at = checked_indices(name, &x[1], shape.get(axis).copied().unwrap_or(1))?;
    let index = x[1].shape();
    // Only the corner of the source that the indices cover is read: as a whole it may be larger than memory.
    let corner = (0..index.rank()).fold(x[2].layout(), |corner, axis| corner.narrow(axis, 0, index[axis]));
    // SAFETY: `infer` has seen that the corner is a part of the operand.
    let source = unsafe { x[2].with_layout(&corner) };
    with_element!(x[0].dtype(), T => {
        let y = y.slice::<T>()?;
        x[0].copy_to(y)?;
        let source = source.contiguous::<T>()?;
        let pairs = dense_positions(index, &shape, axis, &at).zip(0..);
        if y.len() <= SMALL.max(2 * at.len()) {
            join_elements(y, &source, pairs, join);
        } else {
            join_rows(y, &source, &mut pairs.collect::<Vec<_>>(), 1, join);
        }
    });
    Ok(())
}

/// How what meets in one place is joined.
trait Join: Copy + Sync {
    fn real(self, a: f64, b: f64) -> f64;
    fn whole(self, a: i64, b: i64) -> i64;
}

/// [`ScatterAdd`] and [`IndexAdd`].
#[derive(Clone, Copy)]
struct Sums;

impl Join for Sums {
    fn real(self, a: f64, b: f64) -> f64 {
        a + b
    }
    fn whole(self, a: i64, b: i64) -> i64 {
        a.wrapping_add(b)
    }
}

impl Join for Joining {
    fn real(self, a: f64, b: f64) -> f64 {
        match self {
            Joining::Last => b,
            Joining::Prod => a * b,
            Joining::Max => Scalar::max(a, b),
            Joining::Min => Scalar::min(a, b),
        }
    }
    fn whole(self, a: i64, b: i64) -> i64 {
        match self {
            Joining::Last => b,
            Joining::Prod => a.wrapping_mul(b),
            Joining::Max => a.max(b),
            Joining::Min => a.min(b),
        }
    }
}

/// Joins elements of `source` to elements of `y`, by pairs of where in `y` and where in `source` they are: as [`join_rows`],
/// to the bit, with a place in double precision for each element of `y`.
fn join_elements<T: Element>(y: &mut [T], source: &[T], pairs: impl Iterator<Item = (usize, usize)>, join: impl Join) {
    if T::DTYPE.is_float() {
        let mut sums: Scratch<f64> = y.iter().map(|y| y.to_f64()).collect();
        pairs.for_each(|(to, from)| sums[to] = join.real(sums[to], source[from].to_f64()));
        y.iter_mut().zip(&*sums).for_each(|(y, &sum)| *y = T::from_f64(sum));
    } else {
        let mut sums: Scratch<i64> = y.iter().map(|y| y.to_i64()).collect();
        pairs.for_each(|(to, from)| sums[to] = join.whole(sums[to], source[from].to_i64()));
        y.iter_mut().zip(&*sums).for_each(|(y, &sum)| *y = T::from_i64(sum));
    }
}

/// Joins rows of `source` to rows of `y`, by pairs of where in `y` and where in `source` they begin; `width` is their length.
/// Of the many that may meet in one row, a sum is kept in double precision and rounded once: in half precision 2048 and
/// 1 are 2048.
fn join_rows<T: Element>(y: &mut [T], source: &[T], pairs: &mut [(usize, usize)], width: usize, join: impl Join) {
    // Stable, so that the order of additions is that of the indices.
    pairs.sort_by_key(|&(to, _)| to);
    let pairs = &*pairs;
    // Where a row's pairs begin, by which threads share them.
    let starts: Vec<usize> = (0..pairs.len()).filter(|&i| i == 0 || pairs[i - 1].0 != pairs[i].0).collect();
    let y = parallel::Shared::new(y);
    let together = pairs.len() / starts.len().max(1);
    parallel::for_chunks(
        starts.len(),
        (CHUNK / (together * width).max(1)).max(1),
        4 * together * width,
        |start, end| {
            let (mut sums, mut whole) = (vec![0f64; width], vec![0i64; width]);
            let last = starts.get(end).copied().unwrap_or(pairs.len());
            for group in pairs[starts[start]..last].chunk_by(|a, b| a.0 == b.0) {
                // SAFETY: the rows of `y` that pairs name are apart, and each is that of one group.
                let y = unsafe { y.slice(group[0].0, group[0].0 + width) };
                if T::DTYPE.is_float() {
                    sums.iter_mut().zip(&*y).for_each(|(sum, y)| *sum = y.to_f64());
                    for &(_, from) in group {
                        sums.iter_mut().zip(&source[from..]).for_each(|(sum, x)| *sum = join.real(*sum, x.to_f64()));
                    }
                    y.iter_mut().zip(&sums).for_each(|(y, &sum)| *y = T::from_f64(sum));
                } else {
                    whole.iter_mut().zip(&*y).for_each(|(sum, y)| *sum = y.to_i64());
                    for &(_, from) in group {
                        whole.iter_mut().zip(&source[from..]).for_each(|(sum, x)| *sum = join.whole(*sum, x.to_i64()));
                    }
                    y.iter_mut().zip(&whole).for_each(|(y, &sum)| *y = T::from_i64(sum));
                }
            }
        },
    );
}

/// Elements before and after an axis.
fn around(shape: &Shape, axis: usize) -> (usize, usize) {
    (shape.iter().take(axis).product(), shape.iter().skip(axis + 1).product())
}

impl Op for IndexSelect {
    fn name(&self) -> &str {
        "index_select"
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(2)
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        x[0].shape.check_axis(self.name(), self.axis)?;
        check_index("index_select", x[1])?;
        if x[1].shape.rank() != 1 || x[0].shape.rank() == 0 {
            let text =
                format!("needs a vector of indices into a tensor with axes, found {} into {}", x[1].shape, x[0].shape);
            return Err(Error::shape("index_select", text));
        }
        Ok(Spec::new(x[0].shape.with(self.axis, x[1].shape[0]), x[0].dtype).into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        let length = x[0].shape()[self.axis];
        let at = checked_indices("index_select", &x[1], length)?;
        let (outer, inner) = around(x[0].shape(), self.axis);
        if y[0].shape().count() == 0 {
            return Ok(());
        }
        with_element!(x[0].dtype(), T => {
            let y = y[0].slice::<T>()?;
            if let (Some(from), true) = (x[0].as_slice::<T>(), inner > 0) {
                let piece = |number: usize| {
                    let start = (number / at.len() * length + at[number % at.len()]) * inner;
                    &from[start..start + inner]
                };
                let (pieces, y) = (outer * at.len(), parallel::Shared::new(y));
                // Mostly it waits for memory.
                parallel::for_chunks(pieces, (CHUNK / inner).max(1), 4 * inner, |start, end| {
                    // SAFETY: chunks are disjoint ranges of the result.
                    let y = unsafe { y.slice(start * inner, end * inner) };
                    // A single element is not worth the call that copies it.
                    if inner == 1 && outer == 1 {
                        y.iter_mut().zip(&at[start..end]).for_each(|(y, &i)| *y = from[i]);
                        return;
                    }
                    for (number, y) in (start..end).zip(y.chunks_mut(inner)) {
                        if number + 1 < end {
                            prefetch(piece(number + 1));
                        }
                        y.copy_from_slice(piece(number));
                    }
                });
            } else if inner > 0 {
                // Slice by slice: as a whole a view may be larger than memory.
                for (place, &i) in at.iter().enumerate() {
                    let slice = x[0].layout().narrow(self.axis, i, 1);
                    // SAFETY: the index is checked, so the slice is a part of the operand.
                    let from = unsafe { x[0].with_layout(&slice) };
                    let from = from.contiguous::<T>()?;
                    let places = y.chunks_mut(inner).skip(place).step_by(at.len());
                    places.zip(from.chunks(inner)).for_each(|(y, from)| y.copy_from_slice(from));
                }
            }
        });
        Ok(())
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        cuda::index_select(self, call);
        Ok(())
    }
}

impl Op for IndexAdd {
    fn name(&self) -> &str {
        "index_add"
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(3)
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        let selected = IndexSelect { axis: self.axis }.infer(&x[..2])?;
        if selected[0] != x[2] {
            let text = format!(
                "slices of shape {} ({}) do not fit {} ({})",
                x[2].shape, x[2].dtype, selected[0].shape, selected[0].dtype
            );
            return Err(Error::shape("index_add", text));
        }
        Ok(x[0].into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        let length = x[0].shape()[self.axis];
        let at = checked_indices("index_add", &x[1], length)?;
        let (outer, inner) = around(x[0].shape(), self.axis);
        with_element!(x[0].dtype(), T => {
            let y = y[0].slice::<T>()?;
            x[0].copy_to(y)?;
            let source = x[2].contiguous::<T>()?;
            if !source.is_empty() {
                let pieces = (0..outer).flat_map(|o| at.iter().map(move |i| (o * length + i) * inner));
                let mut pairs: Vec<(usize, usize)> = pieces.zip((0..).step_by(inner)).collect();
                join_rows(y, &source, &mut pairs, inner, Sums);
            }
        });
        Ok(())
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        cuda::index_add(self, call);
        Ok(())
    }
}

/// Reading and writing at indices.
pub trait GatherOps:
    Value + ViewOps + Apply<Gather> + Apply<ScatterAdd> + Apply<ScatterJoin> + Apply<IndexSelect> + Apply<IndexAdd>
{
    /// The element at `index` along `axis`, for each element of `index`, whose other coordinates stay. A scalar counts as a
    /// vector of one, here and for the slices of [`GatherOps::index_select`].
    ///
    /// # Errors
    /// Indices that are no integers or out of range; shapes that do not fit.
    #[track_caller]
    fn gather(&self, axis: isize, index: &Self) -> Result<Self> {
        let axis = Value::shape(self).axis("gather", axis)?;
        match (Value::shape(self).rank(), Value::shape(index).rank()) {
            (0, 1) => Self::apply_one(Gather { axis }, &[&self.reshape([1])?, index]),
            (1, 0) => Self::apply_one(Gather { axis }, &[self, &index.reshape([1])?])?.reshape(()),
            _ => Self::apply_one(Gather { axis }, &[self, index]),
        }
    }

    /// These numbers with those of `source` added at `index` along `axis`; repeated indices add up.
    ///
    /// # Errors
    /// Indices that are no integers or out of range; shapes that do not fit.
    #[track_caller]
    fn scatter_add(&self, axis: isize, index: &Self, source: &Self) -> Result<Self> {
        let axis = Value::shape(self).axis("scatter_add", axis)?;
        Self::apply_one(ScatterAdd { axis }, &[self, index, source])
    }

    /// These numbers with those of `source` in their place at `index` along `axis`: of several for one place the last, in
    /// row-major order of the indices. Source and indices may be smaller; what is not named stays.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let y = Tensor::new([1, 2, 3]).scatter(0, &Tensor::new([2, 0]), &Tensor::new([8, 9]))?;
    /// assert_eq!(y.to_vec::<i32>()?, [9, 2, 8]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Indices that are no integers or out of range; shapes that do not fit; types that differ.
    #[track_caller]
    fn scatter(&self, axis: isize, index: &Self, source: &Self) -> Result<Self> {
        let axis = Value::shape(self).axis("scatter", axis)?;
        Self::apply_one(ScatterJoin { axis, joining: Joining::Last }, &[self, index, source])
    }

    /// The slices along `axis` that a vector of indices names, in its order.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let x = Tensor::new([[1, 2], [3, 4], [5, 6]]);
    /// assert_eq!(x.index_select(0, &Tensor::new([2, 0]))?.to_vec::<i32>()?, [5, 6, 1, 2]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Indices that are no integers, no vector, or out of range.
    #[track_caller]
    fn index_select(&self, axis: isize, index: &Self) -> Result<Self> {
        let axis = Value::shape(self).axis("index_select", axis)?;
        if Value::shape(self).rank() == 0 && Value::shape(index).count() == 1 {
            return self.gather(0, &index.reshape(())?).map_err(|e| e.renamed("gather", "index_select"));
        }
        Self::apply_one(IndexSelect { axis }, &[self, index])
    }

    /// The rows of a table `[N, …]` at indices of any shape: the lookup of an embedding.
    ///
    /// # Shapes
    /// A table `[N, D]` and indices `[B, T]` give `[B, T, D]`.
    ///
    /// # Errors
    /// As [`GatherOps::index_select`].
    #[track_caller]
    fn rows(&self, index: &Self) -> Result<Self> {
        let (table, wanted) = (*Value::shape(self), *Value::shape(index));
        let flat = index.reshape([wanted.count()])?;
        let found = self.index_select(0, &flat).map_err(|e| e.renamed("index_select", "rows"))?;
        found.reshape([wanted.dims(), &table[1.min(table.rank())..]].concat())
    }
}
impl<V> GatherOps for V where
    V: Value + ViewOps + Apply<Gather> + Apply<ScatterAdd> + Apply<ScatterJoin> + Apply<IndexSelect> + Apply<IndexAdd>
{
}

/// Class numbers as vectors with a single 1: `[…]` integers give `[…, classes]` of type `dtype`.
///
/// ```
/// use kiln_tensor::{DType, Tensor, ops::one_hot};
/// let y = one_hot(&Tensor::new([2, 0]), 3, DType::U8)?;
/// assert_eq!(y.to_vec::<u8>()?, [0, 0, 1, 1, 0, 0]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
///
/// Without a number of classes, `None`, the largest label is read, and is the last.
///
/// # Errors
/// Numbers that are no integers, or not below `classes`.
#[track_caller]
pub fn one_hot(labels: &Tensor, classes: impl Into<Option<usize>>, dtype: DType) -> Result<Tensor> {
    let at = std::panic::Location::caller();
    let classes = match classes.into() {
        Some(classes) => classes,
        None if labels.count() == 0 => 0,
        None => (labels.amax(..)?.item()? + 1.0).max(0.0) as usize,
    };
    if labels.device() != Device::Cpu {
        let zeros = Tensor::filled(Spec::new(shape_of_one_hot(labels, classes).map_err(|e| e.at(at))?, dtype), 0.0);
        let ones = Tensor::filled(Spec::new(*labels.unsqueeze(-1)?.shape(), dtype), 1.0);
        return zeros.scatter_add(-1, &labels.unsqueeze(-1)?, &ones);
    }
    let labels_view = labels.view();
    let chosen = checked_indices("one_hot", &labels_view, classes).map_err(|e| e.at(at))?;
    let shape = shape_of_one_hot(labels, classes).map_err(|e| e.at(at))?;
    with_element!(dtype, T => Tensor::build("one_hot", shape, |y: &mut [T]| {
        y.fill(T::default());
        chosen.iter().enumerate().for_each(|(row, &class)| y[row * classes + class] = T::from_i64(1));
    }))
}

fn shape_of_one_hot(labels: &Tensor, classes: usize) -> Result<Shape> {
    Shape::new(&[labels.shape().dims(), &[classes]].concat())
}

#[cfg(test)]
mod tests {
    use crate::Tensor;
    use crate::ops::*;

    #[test]
    fn slices_along_an_axis_that_is_walked_backwards() {
        let x = Tensor::new([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]);
        let index = Tensor::new([2, 0, 1]);
        let y = x.flip(0).unwrap().index_select(0, &index).unwrap();
        assert_eq!(y.to_vec::<f64>().unwrap(), [1.0, 2.0, 5.0, 6.0, 3.0, 4.0]);
        let y = x.flip(1).unwrap().index_select(1, &Tensor::new([1])).unwrap();
        assert_eq!(y.to_vec::<f64>().unwrap(), [1.0, 3.0, 5.0]);
        let y = x.flip(0).unwrap().gather(0, &Tensor::new([[2, 0]])).unwrap();
        assert_eq!(y.to_vec::<f64>().unwrap(), [1.0, 6.0]);
    }
}
