//! What the order of elements says: extremes with their positions, medians, quantiles, modes, and the different ones. Put
//! together from sorting and reading; gradients go back to where each value stood.

use super::{
    Apply, ArithmeticOps, BoundOps, CastOps, ComparisonOps, Concat, IndexOps, MathOps, RearrangeOps, ReduceOps,
    ScanOps, SelectOps, SortOps, Value, concat, stack,
};
use crate::{Axes, DType, Error, IntoAxes, Result, Shape, Spec, Tensor, keep};
use std::panic::Location;

/// What a quantile is between two elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interpolation {
    /// The mean of the two, by their distance.
    Linear,
    /// The lower.
    Lower,
    /// The higher.
    Higher,
    /// The nearer; of equally near ones that at an even place.
    Nearest,
    /// The mean of the two.
    Midpoint,
}

/// The different elements of a tensor, or its different slices.
#[derive(Debug, Clone)]
pub struct Unique<V> {
    /// The different ones.
    pub values: V,
    /// Which of them stands at each place.
    pub inverse: V,
    /// How often each occurs.
    pub counts: V,
}

/// Extremes with positions, medians, quantiles, modes, and the different elements. Each that folds takes one axis, or `..`
/// for all elements in a row; [`keep`] leaves what is folded with length 1.
pub trait OrderOps: Value + SortOps + ScanOps + CastOps + Apply<Concat> {
    /// The largest element along an axis and its position: the first of equal ones; NaN wins. The gradient goes to that
    /// position alone. ([`ReduceOps::amax`] shares it.)
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let (y, at) = Tensor::new([[1.0, 9.0], [7.0, 2.0]]).max(1)?;
    /// assert_eq!((y.to_vec::<f64>()?, at.to_vec::<i64>()?), (vec![9.0, 7.0], vec![1, 0]));
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// An axis that does not exist, or has length 0; more than one axis.
    #[track_caller]
    fn max(&self, axis: impl IntoAxes) -> Result<(Self, Self)> {
        let lines = Lines::of(self, "max", axis.into_axes())?;
        let at = lines.x.argmax(keep(lines.axis)).map_err(|e| e.renamed("argmax", "max"))?;
        lines.read(&at)
    }

    /// The smallest element along an axis and its position, as [`OrderOps::max`].
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn min(&self, axis: impl IntoAxes) -> Result<(Self, Self)> {
        let lines = Lines::of(self, "min", axis.into_axes())?;
        let at = lines.x.argmin(keep(lines.axis)).map_err(|e| e.renamed("argmin", "min"))?;
        lines.read(&at)
    }

    /// The smallest and the largest elements, as [`ReduceOps::amin`] and [`ReduceOps::amax`].
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn aminmax(&self, axes: impl IntoAxes) -> Result<(Self, Self)> {
        let axes = axes.into_axes();
        let least = self.amin(axes.clone()).map_err(|e| e.renamed("amin", "aminmax"))?;
        Ok((least, self.amax(axes)?))
    }

    /// The `k`th smallest element along an axis, from 1, and its position. NaN is the largest.
    ///
    /// # Errors
    /// An axis that does not exist, or has fewer than `k` elements; more than one axis.
    #[track_caller]
    fn kthvalue(&self, k: usize, axis: impl IntoAxes) -> Result<(Self, Self)> {
        let lines = Lines::of(self, "kthvalue", axis.into_axes())?;
        if k == 0 || k > lines.length {
            let text = format!("there is no element number {k} of {}", lines.length);
            return Err(Error::index("kthvalue", text).at(Location::caller()));
        }
        let place = Self::constant(Tensor::filled(lines.places(), (k - 1) as f64));
        lines.ranked(&place)
    }

    /// The element in the middle of the order along an axis, of an even number the lower of the two, and its position. NaN
    /// where there is one.
    ///
    /// # Errors
    /// An axis that does not exist, or has length 0; more than one axis.
    #[track_caller]
    fn median(&self, axis: impl IntoAxes) -> Result<(Self, Self)> {
        let lines = Lines::of(self, "median", axis.into_axes())?.not_empty("median")?;
        // Behind all numbers, the first NaN stands where there are as many before it as there are numbers.
        let numbers = lines.numbers()?;
        let odd = numbers.lt(lines.length as i64)?;
        lines.ranked(&odd.select(&numbers, (lines.length as i64 - 1) / 2)?)
    }

    /// [`OrderOps::median`] of the elements that are not NaN; NaN where there is no other.
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn nanmedian(&self, axis: impl IntoAxes) -> Result<(Self, Self)> {
        let lines = Lines::of(self, "nanmedian", axis.into_axes())?.not_empty("nanmedian")?;
        lines.ranked(&lines.numbers()?.sub(1)?.maximum(0)?.floor_divide(2)?)
    }

    /// The most frequent element along an axis, of equally frequent ones the smallest, and the position of the last of
    /// them.
    ///
    /// # Errors
    /// An axis that does not exist, or has length 0; more than one axis.
    #[track_caller]
    fn mode(&self, axis: impl IntoAxes) -> Result<(Self, Self)> {
        let lines = Lines::of(self, "mode", axis.into_axes())?.not_empty("mode")?;
        let (axis, n) = (lines.axis, lines.length as isize);
        let (sorted, _) = lines.x.detach().sort(axis, false)?;
        // Where a run of equal ones began, at each place: the last place so far that differs from the one before.
        let mut dims = vec![1; Value::shape(&sorted).rank()];
        dims[axis as usize] = lines.length;
        let places = self.beside(Tensor::arange(0i64, n as i64, 1)?)?.reshape(dims)?;
        let first = Self::constant(Tensor::filled(Spec::new(lines.places().shape, DType::Bool), 1.0));
        let new = concat(&[&first, &sorted.slice(axis, 1..)?.ne(&sorted.slice(axis, ..n - 1)?)?], axis)?;
        let start = new.select(&places, 0)?.cummax(axis)?.0;
        let place = places.sub(&start)?.argmax(keep(axis))?;
        lines.ranked(&place)
    }

    /// The number below which the share `q` of the elements along an axis lies, from the two between which it falls. NaN
    /// where there is one. Integers are taken as `f32`.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let x = Tensor::new([4.0, 1.0, 2.0, 3.0]);
    /// assert_eq!(x.quantile(0.5, .., Interpolation::Linear)?.item()?, 2.5);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// A share outside of 0 to 1; an axis that does not exist, or has length 0; more than one axis.
    #[track_caller]
    fn quantile(&self, q: f64, axis: impl IntoAxes, between: Interpolation) -> Result<Self> {
        self.quantiles(&[q], axis, between)?.index(0, 0)
    }

    /// [`OrderOps::quantile`] for several shares, which are the first dimension.
    ///
    /// # Errors
    /// As there; no share.
    #[track_caller]
    fn quantiles(&self, q: &[f64], axis: impl IntoAxes, between: Interpolation) -> Result<Self> {
        quantiles(self, "quantile", q, axis.into_axes(), between, false)
    }

    /// [`OrderOps::quantile`] of the elements that are not NaN; NaN where there is no other.
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn nanquantile(&self, q: f64, axis: impl IntoAxes, between: Interpolation) -> Result<Self> {
        quantiles(self, "nanquantile", &[q], axis.into_axes(), between, true)?.index(0, 0)
    }

    /// The different elements in ascending order, which of them stands at each place, and how often each occurs. NaN
    /// differs from itself. How many there are is read; which are different has no derivative, so nothing carries one.
    ///
    /// # Shapes
    /// `[…]` gives `values` and `counts` `[found]` and `inverse` `[…]`.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let y = Tensor::new([3, 1, 3]).unique()?;
    /// assert_eq!(y.values.to_vec::<i32>()?, [1, 3]);
    /// assert_eq!((y.inverse.to_vec::<i64>()?, y.counts.to_vec::<i64>()?), (vec![1, 0, 1], vec![1, 2]));
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// None beyond those of memory.
    #[track_caller]
    fn unique(&self) -> Result<Unique<Self>> {
        let found = unique(&self.detach().flatten(0, -1)?, 0, true)?;
        Ok(Unique { inverse: found.inverse.reshape(*Value::shape(self))?, ..found })
    }

    /// The different slices of an axis in ascending order of their elements, which of them stands at each index, and how
    /// often each occurs: as [`OrderOps::unique`].
    ///
    /// # Errors
    /// A scalar; an axis that does not exist.
    #[track_caller]
    fn unique_along(&self, axis: isize) -> Result<Unique<Self>> {
        let at = Value::shape(self).axis("unique_along", axis)?;
        if Value::shape(self).rank() == 0 {
            return Err(Error::shape("unique_along", "a scalar has no slices").at(Location::caller()));
        }
        unique(&self.detach(), at, true)
    }

    /// The elements, in a row, of which each differs from the one before; which of them stands at each place, and how long
    /// each run is: as [`OrderOps::unique`].
    ///
    /// # Errors
    /// None beyond those of memory.
    #[track_caller]
    fn unique_consecutive(&self) -> Result<Unique<Self>> {
        let found = unique(&self.detach().flatten(0, -1)?, 0, false)?;
        Ok(Unique { inverse: found.inverse.reshape(*Value::shape(self))?, ..found })
    }
}
impl<V: Value + SortOps + ScanOps + CastOps + Apply<Concat>> OrderOps for V {}

/// A tensor with the axis that is looked along, and what becomes of it.
struct Lines<V> {
    x: V,
    axis: isize,
    length: usize,
    /// The shape of the result.
    result: Shape,
}

impl<V: OrderOps> Lines<V> {
    #[track_caller]
    fn of(x: &V, op: &str, axes: Axes) -> Result<Lines<V>> {
        let (shape, keep_dims) = (*Value::shape(x), axes.are_kept());
        let named = axes.single(op, &shape)?.filter(|_| shape.rank() > 0);
        let ones = Shape::new(&vec![1; shape.rank()])?;
        let (x, axis, result) = match named {
            None => (x.flatten(0, -1)?, 0, if keep_dims { ones } else { Shape::default() }),
            Some(axis) => (x.clone(), axis, if keep_dims { shape.with(axis, 1) } else { shape.without(axis) }),
        };
        let length = Value::shape(&x)[axis];
        Ok(Lines { x, axis: axis as isize, length, result })
    }

    #[track_caller]
    fn not_empty(self, op: &str) -> Result<Lines<V>> {
        match self.length {
            0 => {
                let text = format!("{} has no element to choose from", Value::shape(&self.x));
                Err(Error::shape(op, text).at(Location::caller()))
            }
            _ => Ok(self),
        }
    }

    /// One place in each line.
    fn places(&self) -> Spec {
        Spec::new(Value::shape(&self.x).with(self.axis as usize, 1), DType::I64)
    }

    /// How many elements of each line are not NaN.
    #[track_caller]
    fn numbers(&self) -> Result<V> {
        let n = self.length as i64;
        V::constant(Tensor::number(n)).sub(&self.x.detach().is_nan()?.sum(keep(self.axis))?)
    }

    /// The elements at one position in each line, and the positions.
    #[track_caller]
    fn read(&self, at: &V) -> Result<(V, V)> {
        Ok((self.x.gather(self.axis, at)?.reshape(self.result)?, at.reshape(self.result)?))
    }

    /// The elements at one place of each line's order, and their positions.
    #[track_caller]
    fn ranked(&self, place: &V) -> Result<(V, V)> {
        let order = self.x.argsort(self.axis, false)?;
        self.read(&order.gather(self.axis, place)?)
    }
}

#[track_caller]
fn quantiles<V: OrderOps>(x: &V, op: &str, q: &[f64], axes: Axes, between: Interpolation, skip_nan: bool) -> Result<V> {
    if q.is_empty() || q.iter().any(|q| !(0.0..=1.0).contains(q)) {
        let error = Error::argument(op, format!("shares must lie between 0 and 1, found {q:?}"));
        return Err(error.help("the median is 0.5, the 95th percentile 0.95").at(Location::caller()));
    }
    let dtype = Value::dtype(x).to_float();
    let lines = Lines::of(&x.cast(dtype)?, op, axes)?.not_empty(op)?;
    let (numbers, last) = (lines.numbers()?, lines.length as f64 - 1.0);
    let (sorted, _) = lines.x.sort(lines.axis, false)?;
    let mut all = Vec::with_capacity(q.len());
    for &q in q {
        let place = match skip_nan {
            true => numbers.sub(1)?.maximum(0)?.cast(DType::F64)?.mul(q)?,
            // The NaNs are the last.
            false => numbers
                .le(last)?
                .select(last, &V::constant(Tensor::filled(Spec::new(lines.places().shape, DType::F64), q * last)))?,
        };
        let at = |place: &V| sorted.gather(lines.axis, &place.cast(DType::I64)?);
        let y = match between {
            Interpolation::Lower => at(&place.floor()?)?,
            Interpolation::Higher => at(&place.ceil()?)?,
            Interpolation::Nearest => at(&place.round()?)?,
            Interpolation::Linear | Interpolation::Midpoint => {
                let (low, high) = (at(&place.floor()?)?, at(&place.ceil()?)?);
                let share = place.sub(&place.floor()?)?;
                let whole = share.eq(0)?;
                let share = if between == Interpolation::Midpoint { whole.select(0.0, 0.5)? } else { share };
                // Between one infinite element and itself there is no way.
                whole.select(&low, &low.lerp(&high, &share.cast(dtype)?)?)?
            }
        };
        all.push(y.reshape(lines.result)?);
    }
    stack(&all.iter().collect::<Vec<_>>(), 0)
}

/// The different slices of an axis, of neighbours or of all.
#[track_caller]
fn unique<V: OrderOps>(x: &V, axis: usize, sorted: bool) -> Result<Unique<V>> {
    let shape = *Value::shape(x);
    let n = shape[axis];
    let width = shape.without(axis).count();
    let rows = x.movedim(&[axis as isize], &[0])?.reshape([n, width])?;
    let mut order = x.beside(Tensor::arange(0i64, n as i64, 1)?)?;
    if sorted && width > 0 {
        // From the last column to the first: a sort keeps the order of what is equal.
        order = rows.index(1, -1)?.argsort(0, false)?;
        for column in (0..width as isize - 1).rev() {
            let keys = rows.index(1, column)?.index_select(0, &order)?;
            order = order.index_select(0, &keys.argsort(0, false)?)?;
        }
    }
    let ordered = rows.index_select(0, &order)?;
    let first = V::constant(Tensor::filled(Spec::new(Shape::new(&[n.min(1)])?, DType::I64), 1.0));
    let left = n.saturating_sub(1);
    let differ = ordered.narrow(0, n.min(1) as isize, left)?.ne(&ordered.narrow(0, 0, left)?)?;
    let differ = differ.cast(DType::I64)?.sum(1)?.gt(0)?.cast(DType::I64)?;
    let new = concat(&[&first, &differ], 0)?;
    let starts = new.nonzero()?.reshape([new.tensor().sum(..)?.item()? as usize])?;
    let end = x.beside(Tensor::from_vec(vec![n as i64], [1])?)?;
    let counts = starts.diff(1, 0, None, Some(&end))?;
    let chosen = order.index_select(0, &starts)?;
    let group = new.cumsum(0)?.sub(1)?;
    let inverse = group.scatter(0, &order, &group)?;
    Ok(Unique { values: x.index_select(axis as isize, &chosen)?, inverse, counts })
}
