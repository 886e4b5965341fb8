//! Index expressions, `x.at(s![.., 1..5, &rows])`, and reading and writing by masks and index tensors, put together from
//! views, [`GatherOps`] and scatters. Negative indices count from the end.

use super::{
    Apply, ArithmeticOps, ComparisonOps, Concat, Embed, GatherOps, Joining, Operand, ReduceOps, ScanOps, ScatterJoin,
    SelectOps, Stride, Value, stack,
};
use crate::{DType, Error, IntoAxes, Result, Shape, Spec, Tensor};
use std::ops::{Bound, Range, RangeBounds, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};
use std::panic::Location;

/// What an index expression says of one dimension, or of several.
#[derive(Debug, Clone)]
pub enum Index<V> {
    /// A range with a step, by Python's rules: bounds beyond the end are cut off, negative ones count from the end, and with
    /// a negative step it runs backwards.
    Slice {
        /// The first index.
        start: Option<isize>,
        /// The first index that is not in it.
        end: Option<isize>,
        /// From one to the next.
        step: isize,
    },
    /// One index; the dimension disappears.
    At(isize),
    /// The indices of a tensor of integers, or where a tensor of booleans is true, which stands for as many dimensions as it
    /// has itself.
    Tensor(V),
    /// A new dimension of length 1.
    NewAxis,
    /// As many whole dimensions as are left.
    Ellipsis,
}

/// A new dimension of length 1 in an index expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewAxis;

/// As many whole dimensions as are left in an index expression: Python's `...`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ellipsis;

impl<V> Index<V> {
    /// Every `step`th index of a range.
    pub fn stepped(range: impl RangeBounds<isize>, step: isize) -> Index<V> {
        // Behind the last one, -1, nothing follows: it is not 0. Backwards nothing follows the first.
        let after = |i: isize| match (i, step < 0) {
            (-1, false) => isize::MAX,
            (0, true) => isize::MIN,
            (i, false) => i.saturating_add(1),
            (i, true) => i.saturating_sub(1),
        };
        let start = match range.start_bound() {
            Bound::Included(&i) => Some(i),
            Bound::Excluded(&i) => Some(after(i)),
            Bound::Unbounded => None,
        };
        let end = match range.end_bound() {
            Bound::Included(&i) => Some(after(i)),
            Bound::Excluded(&i) => Some(i),
            Bound::Unbounded => None,
        };
        Index::Slice { start, end, step }
    }
}

macro_rules! from_ranges {
    ($($range:ty)*) => {$(
        impl<V> From<$range> for Index<V> {
            fn from(range: $range) -> Index<V> { Index::stepped(range, 1) }
        }
    )*};
}
from_ranges! { RangeFull Range<isize> RangeFrom<isize> RangeTo<isize> RangeInclusive<isize> RangeToInclusive<isize> }

impl<V> From<isize> for Index<V> {
    fn from(i: isize) -> Index<V> {
        Index::At(i)
    }
}

impl<V> From<NewAxis> for Index<V> {
    fn from(_: NewAxis) -> Index<V> {
        Index::NewAxis
    }
}

impl<V> From<Ellipsis> for Index<V> {
    fn from(_: Ellipsis) -> Index<V> {
        Index::Ellipsis
    }
}

impl<V: Value> From<&V> for Index<V> {
    fn from(x: &V) -> Index<V> {
        Index::Tensor(x.clone())
    }
}

/// An index expression: ranges, `range; step`, numbers, `&` index tensors and masks, [`NewAxis`](crate::ops::NewAxis) and
/// [`Ellipsis`](crate::ops::Ellipsis), separated by commas. For [`IndexOps::at`](crate::ops::IndexOps::at) and its like.
#[macro_export]
macro_rules! s {
    ($($range:expr $(; $step:expr)?),* $(,)?) => {
        &[$($crate::s!(@ $range $(; $step)?)),*][..]
    };
    (@ $range:expr) => { $crate::ops::Index::from($range) };
    (@ $range:expr; $step:expr) => { $crate::ops::Index::stepped($range, $step) };
}

/// How several elements that are written to one place are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScatterReduce {
    /// Their sum.
    Sum,
    /// Their product.
    Prod,
    /// Their mean; of integers rounded down.
    Mean,
    /// The largest; NaN wins. Equal ones share the gradient.
    Amax,
    /// The smallest; NaN wins. Equal ones share the gradient.
    Amin,
}

/// Index expressions, masks, and writing at indices.
pub trait IndexOps: Value + GatherOps + ScanOps + Apply<Concat> {
    /// What an index expression chooses: slices and numbers are views; tensors of indices are read at, together, and their
    /// dimensions stand where those that they replace stood if these are neighbours, else first. A mask stands for the
    /// indices at which it is true, which are read for it; one without dimensions for all or nothing, in a dimension of its own. (As in
    /// PyTorch, a number beside them is a view too.)
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*, s};
    /// let x = Tensor::new([[1, 2, 3], [4, 5, 6]]);
    /// assert_eq!(x.at(s![.., -1])?.to_vec::<i32>()?, [3, 6]);
    /// assert_eq!(x.at(s![0, ..; -2])?.to_vec::<i32>()?, [3, 1]);
    /// assert_eq!(x.at(s![&Tensor::new([1, 0]), 1..])?.to_vec::<i32>()?, [5, 6, 2, 3]);
    /// assert_eq!(x.at(s![&x.gt(4)?])?.to_vec::<i32>()?, [5, 6]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// More indices than dimensions; an index out of range; a step of 0; index tensors that do not broadcast together or
    /// hold no integers; a mask of another shape than the dimensions it stands for.
    #[track_caller]
    fn at(&self, index: &[Index<Self>]) -> Result<Self> {
        let at = Location::caller();
        read(self, "at", index).map_err(|e| e.unplaced().at(at))
    }

    /// A copy in which `values` stand where an index expression chooses; they broadcast to its shape. Of several for one
    /// place the last is taken.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*, s};
    /// let x = Tensor::new([[1, 2, 3], [4, 5, 6]]);
    /// let y = x.set_at(s![.., 1..], &Tensor::new([[0], [9]]))?;
    /// assert_eq!(y.to_vec::<i32>()?, [1, 0, 0, 4, 9, 9]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`IndexOps::at`]; values that do not broadcast to what is chosen.
    #[track_caller]
    fn set_at(&self, index: &[Index<Self>], values: impl Operand<Self>) -> Result<Self> {
        let (at, values) = (Location::caller(), values.operand());
        write(self, "set_at", index, &values, |x, at, values| x.scatter(0, at, values)).map_err(|e| e.unplaced().at(at))
    }

    /// A copy in which `values` are added where an index expression chooses; they broadcast to its shape, and several for
    /// one place add up.
    ///
    /// # Errors
    /// As [`IndexOps::set_at`].
    #[track_caller]
    fn add_at(&self, index: &[Index<Self>], values: impl Operand<Self>) -> Result<Self> {
        let (at, values) = (Location::caller(), values.operand());
        write(self, "add_at", index, &values, |x, at, values| x.scatter_add(0, at, values))
            .map_err(|e| e.unplaced().at(at))
    }

    /// The elements at these numbers, counted in row-major order. The result has the shape of the indices.
    ///
    /// # Errors
    /// Indices that are no integers or out of range.
    #[track_caller]
    fn take(&self, index: &Self) -> Result<Self> {
        let x = self.flatten(0, -1)?;
        x.rows(&wrapped(index, Value::shape(&x).count())?).map_err(|e| e.renamed("rows", "take"))
    }

    /// The elements at `index` along an axis, where the other dimensions broadcast; with `..` of all elements in a row.
    ///
    /// # Errors
    /// Indices that are no integers or out of range; other dimensions that do not broadcast together.
    #[track_caller]
    fn take_along_dim(&self, index: &Self, axis: impl IntoAxes) -> Result<Self> {
        let named = axis.into_axes().single("take_along_dim", Value::shape(self))?;
        let Some(axis) = named else {
            let (x, index) = (self.flatten(0, -1)?, index.flatten(0, -1)?);
            return x.gather(0, &wrapped(&index, Value::shape(&x).count())?);
        };
        let (shape, of_index) = (*Value::shape(self), *Value::shape(index));
        if shape.rank() != of_index.rank() || shape.rank() == 0 {
            let text = format!("indices {of_index} have not as many dimensions as {shape}");
            return Err(Error::shape("take_along_dim", text).at(Location::caller()));
        }
        let (at, joined) = (Location::caller(), shape.with(axis, 1).broadcast(&of_index.with(axis, 1)));
        let joined = joined.map_err(|e| e.renamed("broadcast", "take_along_dim").unplaced().at(at))?;
        let index = wrapped(index, shape[axis])?.expand(joined.with(axis, of_index[axis]))?;
        let y = self.expand(joined.with(axis, shape[axis]))?.gather(axis as isize, &index);
        y.map_err(|e| e.renamed("gather", "take_along_dim"))
    }

    /// `value` where a mask is true, else these elements.
    ///
    /// # Errors
    /// A mask that is no `bool` tensor; shapes that do not broadcast together.
    #[track_caller]
    fn masked_fill(&self, mask: &Self, value: impl Operand<Self>) -> Result<Self> {
        mask.select(value, self).map_err(|e| e.renamed("select", "masked_fill").renamed("where", "masked_fill"))
    }

    /// The elements where a mask is true, in row-major order of what both broadcast to: a vector. Reads the mask, because
    /// it decides the length.
    ///
    /// # Errors
    /// A mask that is no `bool` tensor; shapes that do not broadcast together.
    #[track_caller]
    fn masked_select(&self, mask: &Self) -> Result<Self> {
        check_mask("masked_select", mask)?;
        let shape = broadcast("masked_select", self, mask)?;
        let places = places(&mask.expand(shape)?)?;
        self.expand(shape)?.flatten(0, -1)?.index_select(0, &self.beside(numbers(places)?)?)
    }

    /// The elements of `source` one after the other where a mask is true, else these elements.
    ///
    /// # Errors
    /// A mask that is no `bool` tensor; shapes that do not broadcast together; a source with too few elements.
    #[track_caller]
    fn masked_scatter(&self, mask: &Self, source: &Self) -> Result<Self> {
        check_mask("masked_scatter", mask)?;
        let shape = broadcast("masked_scatter", self, mask)?;
        let mask = mask.expand(shape)?;
        if Value::shape(source).count() == 0 {
            let wanted = mask.tensor().sum(..)?.item()?;
            let text = format!("the source is empty, the mask chooses {wanted} elements");
            let error = Error::index("masked_scatter", text).at(Location::caller());
            return if wanted == 0.0 { self.expand(shape) } else { Err(error) };
        }
        let numbers = mask.flatten(0, -1)?.cumsum(0)?.sub(1)?.reshape(shape)?;
        let source = source.flatten(0, -1)?.rows(&mask.select(&numbers, 0)?);
        mask.select(&source.map_err(|e| e.renamed("rows", "masked_scatter"))?, self)
    }

    /// The indices of the elements that are not zero, a row for each. They are read, because they decide how many rows.
    ///
    /// # Shapes
    /// `[…]` of rank `R` gives `[found, R]`.
    ///
    /// # Errors
    /// None beyond those of memory.
    #[track_caller]
    fn nonzero(&self) -> Result<Self> {
        let columns = self.nonzero_each()?;
        if Value::shape(self).rank() == 0 {
            return Ok(Self::constant(Tensor::full([Value::shape(&columns[0]).count(), 0], 0i64)?));
        }
        stack(&columns.iter().collect::<Vec<_>>(), 1)
    }

    /// The indices of the elements that are not zero, a vector for each dimension, as an index expression takes them; of a
    /// scalar as of a vector of one.
    ///
    /// # Errors
    /// None beyond those of memory.
    #[track_caller]
    fn nonzero_each(&self) -> Result<Vec<Self>> {
        coordinates(&self.detach().ne(0)?)
    }

    /// These numbers with the slices of `source` in their place at a vector of indices along `axis`; of several for one
    /// place the last.
    ///
    /// # Errors
    /// Indices that are no integers, no vector, or out of range; shapes that do not fit.
    #[track_caller]
    fn index_copy(&self, axis: isize, index: &Self, source: &Self) -> Result<Self> {
        let (x, axis, at, source) = by_slices(self, "index_copy", axis, index, source)?;
        let y = x.scatter(axis, &at, &source).map_err(|e| e.renamed("scatter", "index_copy"))?;
        y.reshape(*Value::shape(self))
    }

    /// These numbers with the slices of `source` added at a vector of indices along `axis`; repeated indices add up.
    ///
    /// # Errors
    /// Indices that are no integers, no vector, or out of range; shapes that do not fit.
    #[track_caller]
    fn index_add(&self, axis: isize, index: &Self, source: &Self) -> Result<Self> {
        let (x, axis, at, source) = by_slices(self, "index_add", axis, index, source)?;
        let y = x.scatter_add(axis, &at, &source).map_err(|e| e.renamed("scatter_add", "index_add"))?;
        y.reshape(*Value::shape(self))
    }

    /// These numbers with `value` in the slices that a vector of indices along `axis` names.
    ///
    /// # Errors
    /// Indices that are no integers, no vector, or out of range.
    #[track_caller]
    fn index_fill(&self, axis: isize, index: &Self, value: impl Operand<Self>) -> Result<Self> {
        let shape = *Value::shape(self);
        let at = shape.axis("index_fill", axis)?;
        let count = Value::shape(index).count();
        let dims = if shape.rank() == 0 { shape } else { shape.with(at, count) };
        let source = value.operand().cast(Value::dtype(self))?.expand(dims)?;
        self.index_copy(axis, index, &source).map_err(|e| e.renamed("index_copy", "index_fill"))
    }

    /// These numbers joined with those of `source` at `index` along `axis`; without `include_self`, what is written to does
    /// not take part. Of a product at places where several factors are 0, the gradient's own derivative is taken as 0.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let (at, source) = (Tensor::new([0, 0, 1]), Tensor::new([3, 7, 1]));
    /// let y = Tensor::new([5, 2]).scatter_reduce(0, &at, &source, ScatterReduce::Amax, true)?;
    /// assert_eq!(y.to_vec::<i32>()?, [7, 2]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Indices that are no integers or out of range; shapes that do not fit; types that differ.
    #[track_caller]
    fn scatter_reduce(
        &self,
        axis: isize,
        index: &Self,
        source: &Self,
        by: ScatterReduce,
        include_self: bool,
    ) -> Result<Self> {
        let at = Location::caller();
        scatter_reduce(self, axis, index, source, by, include_self).map_err(|e| {
            e.renamed("scatter", "scatter_reduce").renamed("scatter_add", "scatter_reduce").unplaced().at(at)
        })
    }

    /// A copy in which `source` is the slice at an index of an axis.
    ///
    /// # Errors
    /// The axis or the index does not exist; a source of another shape.
    #[track_caller]
    fn select_scatter(&self, source: &Self, axis: isize, i: isize) -> Result<Self> {
        let shape = *Value::shape(self);
        let at = shape.axis("select_scatter", axis)?;
        let length = shape.get(at).copied().unwrap_or(0) as isize;
        if i < -length || i >= length {
            let text = format!("index {i} is out of range for axis {axis} of {shape}");
            return Err(Error::index("select_scatter", text).at(Location::caller()));
        }
        let stride = Stride { start: i.rem_euclid(length) as usize, length: 1, step: 1 };
        placed(self, "select_scatter", at, stride, &source.unsqueeze(at as isize)?)
    }

    /// A copy in which `source` stands at every `step`th index of a range of an axis, as [`IndexOps::slice_by`] reads them.
    ///
    /// # Errors
    /// The axis does not exist; a step of 0; a source of another shape.
    #[track_caller]
    fn slice_scatter(&self, source: &Self, axis: isize, range: impl RangeBounds<isize>, step: isize) -> Result<Self> {
        let shape = *Value::shape(self);
        let at = shape.axis("slice_scatter", axis)?;
        let stride = strided("slice_scatter", &Index::<Self>::stepped(range, step), shape.get(at))?;
        placed(self, "slice_scatter", at, stride, source)
    }

    /// Every `step`th index of a range of an axis, by Python's rules: bounds beyond the end are cut off, negative ones
    /// count from the end, and with a negative step it runs backwards from the start to the end.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let x = Tensor::new([0, 1, 2, 3, 4]);
    /// assert_eq!(x.slice_by(0, 3..0, -2)?.to_vec::<i32>()?, [3, 1]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The axis does not exist; a step of 0.
    #[track_caller]
    fn slice_by(&self, axis: isize, range: impl RangeBounds<isize>, step: isize) -> Result<Self> {
        let shape = Value::shape(self);
        let at = shape.axis("slice_by", axis)?;
        let stride = strided("slice_by", &Index::<Self>::stepped(range, step), shape.get(at))?;
        self.stride(axis, stride)
    }
}
impl<V: Value + GatherOps + ScanOps + Apply<Concat>> IndexOps for V {}

/// What a slice chooses of a dimension.
#[track_caller]
fn strided<V>(op: &str, slice: &Index<V>, length: Option<&usize>) -> Result<Stride> {
    let (&Index::Slice { start, end, step }, Some(&length)) = (slice, length) else {
        return Err(Error::shape(op, "a scalar has no axis to slice").at(Location::caller()));
    };
    if step == 0 {
        return Err(Error::argument(op, "a step of 0 leads nowhere").at(Location::caller()));
    }
    let n = length as isize;
    let wrap = |i: isize| if i < 0 { i.saturating_add(n) } else { i };
    // Backwards it may end before the first.
    let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
    let from = start.map_or(if step > 0 { low } else { high }, |i| wrap(i).clamp(low, high.max(low)));
    let to = end.map_or(if step > 0 { high } else { low }, |i| wrap(i).clamp(low, high.max(low)));
    let way = if step > 0 { to - from } else { from - to };
    let count = way.max(0).unsigned_abs().div_ceil(step.unsigned_abs());
    Ok(Stride { start: if count == 0 { 0 } else { from.unsigned_abs() }, length: count, step })
}

#[track_caller]
fn scatter_reduce<V: IndexOps>(
    x: &V,
    axis: isize,
    index: &V,
    source: &V,
    by: ScatterReduce,
    include_self: bool,
) -> Result<V> {
    let (at, dtype) = (Value::shape(x).axis("scatter_reduce", axis)?, Value::dtype(x));
    let counts = |start: f64| {
        let own = V::constant(Tensor::filled(Spec::new(*Value::shape(x), DType::I64), start));
        let ones = V::constant(Tensor::filled(Spec::new(*Value::shape(source), DType::I64), 1.0));
        own.scatter_add(axis, index, &ones)
    };
    let x = match include_self {
        true => x.clone(),
        // What is written to becomes what changes nothing.
        false => counts(0.0)?.gt(0)?.select(&neutral(by, dtype), x)?.cast(dtype)?,
    };
    let joining = match by {
        ScatterReduce::Sum => return x.scatter_add(axis, index, source),
        ScatterReduce::Mean => {
            let counts = counts(f64::from(u8::from(include_self)))?.maximum(1)?;
            let sums = x.scatter_add(axis, index, source)?;
            return if dtype.is_float() { sums.div(&counts.cast(dtype)?) } else { sums.floor_divide(&counts) }?
                .cast(dtype);
        }
        ScatterReduce::Prod => Joining::Prod,
        ScatterReduce::Amax => Joining::Max,
        ScatterReduce::Amin => Joining::Min,
    };
    V::apply_one(ScatterJoin { axis: at, joining }, &[&x, index, source])
}

/// The number that a way of joining leaves others as they are with.
fn neutral<V: Value>(by: ScatterReduce, dtype: DType) -> V {
    let (lowest, highest) = match dtype {
        DType::Bool => (0, 1),
        DType::U8 => (0, i64::from(u8::MAX)),
        DType::I32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => (i64::MIN, i64::MAX),
    };
    let number = |float: f64, whole: i64| match dtype.is_float() {
        true => Tensor::number(float),
        false => Tensor::number(whole),
    };
    V::constant(match by {
        ScatterReduce::Sum | ScatterReduce::Mean => number(0.0, 0),
        ScatterReduce::Prod => number(1.0, 1),
        ScatterReduce::Amax => number(f64::NEG_INFINITY, lowest),
        ScatterReduce::Amin => number(f64::INFINITY, highest),
    })
}

/// `x` with `source` at some indices of a dimension.
#[track_caller]
fn placed<V: IndexOps>(x: &V, op: &str, axis: usize, stride: Stride, source: &V) -> Result<V> {
    let shape = *Value::shape(x);
    if *Value::shape(source) != shape.with(axis, stride.length) {
        let text = format!("a source {} does not fit {}", Value::shape(source), shape.with(axis, stride.length));
        return Err(Error::shape(op, text).at(Location::caller()));
    }
    let mut ranges: Vec<Stride> = shape.iter().map(|&d| Stride::full(d)).collect();
    ranges[axis] = stride;
    let embed = Embed { shape, ranges, fill: 0.0 };
    // Of a number without memory nothing says on which device it is embedded.
    let there = Tensor::filled(Spec::new(*Value::shape(source), DType::Bool), 1.0);
    let mask = x.beside(Tensor::apply_one(embed.clone(), &[&there])?)?;
    mask.select(&V::apply_one(embed, &[&source.cast(Value::dtype(x))?])?, x)
}

/// Indices and slices for a scatter: the indices repeated along the other dimensions. A scalar becomes a vector of one.
#[track_caller]
fn by_slices<V: IndexOps>(x: &V, op: &str, axis: isize, index: &V, source: &V) -> Result<(V, isize, V, V)> {
    let axis = Value::shape(x).axis(op, axis)?;
    if Value::shape(index).rank() > 1 {
        let text = format!("needs a vector of indices, found {}", Value::shape(index));
        return Err(Error::shape(op, text).at(Location::caller()));
    }
    let raised = |x: &V| if Value::shape(x).rank() == 0 { x.reshape([1]) } else { Ok(x.clone()) };
    let (x, source, index) = (raised(x)?, raised(source)?, raised(index)?);
    let (shape, count) = (*Value::shape(&x), Value::shape(&index).count());
    if *Value::shape(&source) != shape.with(axis, count) {
        let text = format!("slices {} do not fit {}", Value::shape(&source), shape.with(axis, count));
        return Err(Error::shape(op, text).at(Location::caller()));
    }
    let mut dims = vec![1; shape.rank()];
    dims[axis] = count;
    let at = wrapped(&index, shape[axis])?.reshape(dims)?.expand(*Value::shape(&source))?;
    Ok((x, axis as isize, at, source))
}

/// Indices with the negative ones counted from the end.
#[track_caller]
fn wrapped<V: IndexOps>(index: &V, length: usize) -> Result<V> {
    // Of other types the operation that reads them says what is wrong.
    if !matches!(Value::dtype(index), DType::I32 | DType::I64) {
        return Ok(index.detach());
    }
    let index = index.detach().cast(DType::I64)?;
    // One that is out of range stays as it is, and is told so.
    let counts_from_end = index.lt(0)?.logical_and(&index.ge(-(length as i64))?)?;
    counts_from_end.select(&index.add(length as i64)?, &index)
}

#[track_caller]
fn check_mask<V: Value>(op: &str, mask: &V) -> Result<()> {
    match mask.dtype() {
        DType::Bool => Ok(()),
        other => {
            let text = format!("the mask must be bool, found {other}");
            Err(Error::dtype(op, text).help("compare first: x.gt(0.0)").at(Location::caller()))
        }
    }
}

/// The shape that both broadcast to.
#[track_caller]
fn broadcast<V: Value>(op: &str, x: &V, mask: &V) -> Result<Shape> {
    let at = Location::caller();
    Value::shape(x).broadcast(Value::shape(mask)).map_err(|e| e.renamed("broadcast", op).unplaced().at(at))
}

/// Where a mask is true, in row-major order.
fn places<V: Value>(mask: &V) -> Result<Vec<i64>> {
    let mask = mask.tensor().to_vec::<bool>()?;
    // Every number is written where the next chosen one goes: a branch is guessed wrong half of the time.
    let (mut places, mut count) = (vec![0; mask.iter().filter(|chosen| **chosen).count() + 1], 0);
    for (i, chosen) in mask.into_iter().enumerate() {
        places[count] = i as i64;
        count += usize::from(chosen);
    }
    places.truncate(count);
    Ok(places)
}

fn numbers(numbers: Vec<i64>) -> Result<Tensor> {
    let count = numbers.len();
    Tensor::from_vec(numbers, [count])
}

/// The coordinates where a mask is true, a vector for each dimension, and one for none.
fn coordinates<V: Value>(mask: &V) -> Result<Vec<V>> {
    let (found, shape) = (places(mask)?, *mask.shape());
    if shape.rank() == 0 {
        return Ok(vec![mask.beside(numbers(found)?)?]);
    }
    let mut columns = Vec::with_capacity(shape.rank());
    for axis in 0..shape.rank() {
        let (inner, length) = (shape[axis + 1..].iter().product::<usize>() as i64, shape[axis] as i64);
        let column = match shape.rank() {
            1 => found.clone(),
            _ => found.iter().map(|i| i / inner % length).collect(),
        };
        columns.push(mask.beside(numbers(column)?)?);
    }
    Ok(columns)
}

/// What `op` chooses.
fn read<V: IndexOps>(x: &V, op: &str, index: &[Index<V>]) -> Result<V> {
    let shape = *Value::shape(x);
    let wide = |item: &Index<V>| match item {
        Index::Tensor(mask) if Value::dtype(mask) == DType::Bool => Value::shape(mask).rank(),
        Index::NewAxis | Index::Ellipsis => 0,
        _ => 1,
    };
    let used: usize = index.iter().map(wide).sum();
    if used > shape.rank() {
        let text = format!("{used} indices for the {} dimensions of {shape}", shape.rank());
        return Err(
            Error::index(op, text).help("give at most one for each dimension: a mask counts for all of its own")
        );
    }
    if index.iter().filter(|item| matches!(item, Index::Ellipsis)).count() > 1 {
        let text = format!("two ellipses in an index of {shape}");
        return Err(Error::index(op, text).help("`..` stands once, for all dimensions that nothing else is said of"));
    }
    // The dimension at hand, in what the views have left so far, and those that tensors of indices are read at along.
    let (mut y, mut dim, mut dims, mut tensors) = (x.clone(), 0, Vec::new(), Vec::new());
    for item in index {
        let length = Value::shape(&y).get(dim).copied().unwrap_or(0);
        match item {
            Index::NewAxis => {
                y = y.unsqueeze(dim as isize)?;
                dim += 1;
            }
            Index::Ellipsis => dim += shape.rank() - used,
            Index::At(i) => y = y.index(dim as isize, *i).map_err(|e| e.renamed("index", op))?,
            Index::Slice { .. } => {
                y = y.stride(dim as isize, strided(op, item, Some(&length))?)?;
                dim += 1;
            }
            Index::Tensor(mask) if Value::dtype(mask) == DType::Bool => {
                let rank = Value::shape(mask).rank();
                if rank == 0 {
                    // It takes all or nothing, of a new dimension, which is read at along with the others.
                    y = y.unsqueeze(dim as isize)?;
                    tensors.extend(coordinates(mask)?);
                    dims.push(dim);
                    dim += 1;
                    continue;
                }
                if Value::shape(&y).get(dim..dim + rank) != Some(Value::shape(mask).dims()) {
                    let text =
                        format!("a mask {} does not fit {} from axis {dim} on", Value::shape(mask), Value::shape(&y));
                    return Err(Error::shape(op, text));
                }
                tensors.extend(coordinates(mask)?);
                dims.extend(dim..dim + rank);
                dim += rank;
            }
            Index::Tensor(at) => {
                if !Value::dtype(at).is_integer() {
                    return Err(crate::run::no_indices(op, Value::dtype(at)));
                }
                tensors.push(wrapped(at, length)?.cast(DType::I64)?);
                dims.push(dim);
                dim += 1;
            }
        }
    }
    if tensors.is_empty() {
        return Ok(y);
    }
    let mut together = Shape::from_slice(&[]);
    for at in &tensors {
        together = together.broadcast(Value::shape(at)).map_err(|_| {
            let shapes: Vec<String> = tensors.iter().map(|at| Value::shape(at).to_string()).collect();
            let text = format!("tensors of indices of the shapes {} do not broadcast together", shapes.join(" and "));
            Error::shape(op, text).help("they are read at together, and a mask counts as the indices where it is true")
        })?;
    }
    read_at(&y, &dims, &tensors).map_err(|e| e.renamed("rows", op))
}

/// The elements where several dimensions have the coordinates that tensors of indices give.
fn read_at<V: IndexOps>(x: &V, dims: &[usize], indices: &[V]) -> Result<V> {
    let shape = *Value::shape(x);
    let rest: Vec<usize> = (0..shape.rank()).filter(|d| !dims.contains(d)).collect();
    let order: Vec<isize> = dims.iter().chain(&rest).map(|&d| d as isize).collect();
    let kept: Vec<usize> = rest.iter().map(|&d| shape[d]).collect();
    let rows: usize = dims.iter().map(|&d| shape[d]).product();
    let mut flat: Option<V> = None;
    for (index, &d) in indices.iter().zip(dims) {
        // Reading the numbers of the dimension says which index is none of them, before it is one among all rows.
        let checked = match indices.len() {
            1 => index.clone(),
            _ => x.beside(Tensor::arange(0i64, shape[d] as i64, 1)?)?.rows(index)?,
        };
        flat = Some(match flat {
            Some(flat) => flat.mul(shape[d] as i64)?.add(&checked)?,
            None => checked,
        });
    }
    let flat = flat.unwrap_or_else(|| unreachable!("there is a tensor of indices"));
    let y = x.permute(&order)?.reshape([&[rows], &kept[..]].concat())?.rows(&flat)?;
    let together = dims.windows(2).all(|pair| pair[1] == pair[0] + 1);
    let before = if together { rest.iter().filter(|&&d| d < dims[0]).count() } else { 0 };
    let n = Value::shape(&flat).rank();
    let order: Vec<isize> = (n..n + before).chain(0..n).chain(n + before..n + kept.len()).map(|d| d as isize).collect();
    y.permute(&order)
}

/// Writes `values` where the same expression reads, by the numbers of the elements that it chooses.
fn write<V: IndexOps>(
    x: &V,
    op: &str,
    index: &[Index<V>],
    values: &V,
    scatter: impl Fn(&V, &V, &V) -> Result<V>,
) -> Result<V> {
    let shape: Shape = *Value::shape(x);
    let all = x.beside(Tensor::arange(0i64, shape.count() as i64, 1)?)?.reshape(shape)?;
    let chosen = read(&all, op, index)?;
    let values = values.cast(Value::dtype(x))?.expand(*Value::shape(&chosen));
    let values = values.map_err(|e| e.renamed("expand", op))?.reshape([Value::shape(&chosen).count()])?;
    scatter(&x.reshape([shape.count()])?, &chosen.reshape([Value::shape(&chosen).count()])?, &values)?.reshape(shape)
}
