//! Where numbers stand among sorted ones, and what is counted by that: bins, occurrences, members of a set. Places and
//! counts are integers, and what is only counted has no derivative: nothing here carries a gradient.

use super::sort::{RANK, rank};
use super::{
    Apply, ArithmeticOps, CastOps, ComparisonOps, GatherOps, NegationOps, ReduceOps, SelectOps, SortOps, Value, ViewOps,
};
use crate::cpu::scratch::Scratch;
use crate::cpu::{parallel, simd};
use crate::{Arity, CpuCall, CudaCall, DType, Error, Launch, Op, Result, Spec, Specs, Tensor, with_element};
use std::panic::Location;

/// How many of the sorted numbers in the first operand come before each of the second: along the last axis, of one row for
/// all values or of a row for each row of values. NaN is the largest.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchSorted {
    /// Equal numbers come before too.
    pub right: bool,
}

impl Op for SearchSorted {
    fn name(&self) -> &str {
        "searchsorted"
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(2)
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        let (sorted, values) = (x[0].shape, x[1].shape);
        let Some((_, rows)) = sorted.dims().split_last() else {
            return Err(Error::shape(self.name(), "a single number is no row of sorted ones"));
        };
        let of_values = values.dims().split_last().map(|(_, rows)| rows);
        if !rows.is_empty() && of_values != Some(rows) {
            let text =
                format!("values {values} need a sorted row for all, or one for each row of theirs; found {sorted}");
            return Err(Error::shape(self.name(), text));
        }
        if x[0].dtype != x[1].dtype {
            return Err(Error::dtype(self.name(), format!("cannot find {} among {}", x[1].dtype, x[0].dtype)));
        }
        Ok(Spec::new(values, DType::I64).into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        let (length, each) = lengths(x[0].shape(), x[1].shape());
        let y = y[0].slice::<i64>()?;
        with_element!(x[0].dtype(), T => {
            let (sorted, values) = (x[0].contiguous::<T>()?, x[1].contiguous::<T>()?);
            let ranks = |x: &[T]| x.iter().map(|&x| rank(x)).collect::<Scratch<u64>>();
            for (row, (values, y)) in values.chunks(each).zip(y.chunks_mut(each)).enumerate() {
                let sorted = &sorted[row * length..][..length];
                // For few values it takes longer to rank the row than to search it.
                if each < length / 8 {
                    for (y, &value) in y.iter_mut().zip(values) {
                        let value = rank(value);
                        let before = |&x: &T| if self.right { rank(x) <= value } else { rank(x) < value };
                        *y = sorted.partition_point(before) as i64;
                    }
                    continue;
                }
                let (sorted, isa, y) = (ranks(sorted), simd::isa(), parallel::Shared::new(y));
                parallel::for_chunks(each, CHUNK, 4, |start, end| {
                    // SAFETY: chunks are disjoint ranges of the result.
                    let y = unsafe { y.slice(start, end) };
                    let wanted = ranks(&values[start..end]);
                    simd::dispatch_on(isa, Search { sorted: &sorted, wanted: &wanted, y, right: self.right });
                });
            }
        });
        Ok(())
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        let [sorted, values] = [call.inputs()[0], call.inputs()[1]];
        let (length, each) = lengths(sorted.shape(), values.shape());
        let count = values.shape().count();
        if count == 0 {
            return Ok(());
        }
        let launch = Launch::new([RANK, include_str!("search.cu")].concat(), "search")
            .define_type("T", sorted.dtype())
            .define("FLOAT", if sorted.dtype().is_float() { "1" } else { "0" })
            .define("RIGHT", if self.right { "true" } else { "false" })
            .over(count);
        let (sorted, values, y) = (call.dense(0), call.dense(1), call.output(0));
        call.launch(launch.arg([count, length, each]).arg(sorted).arg(values).arg(y));
        Ok(())
    }
}

/// Values that a thread looks for at a time.
const CHUNK: usize = 1 << 12;

/// How many of the sorted ranks come before each of those wanted.
struct Search<'a> {
    sorted: &'a [u64],
    wanted: &'a [u64],
    y: &'a mut [i64],
    right: bool,
}

impl simd::Kernel for Search<'_> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        /// Values beside each other, whose loads do not wait for each other.
        const RUN: usize = 32;
        /// So few are counted one by one.
        const FEW: usize = 32;
        let Search { sorted, wanted, y, right } = self;
        let before = |sorted: u64, wanted: u64| (sorted < wanted) | (right & (sorted == wanted));
        for (wanted, y) in wanted.chunks(RUN).zip(y.chunks_mut(RUN)) {
            let (mut run, mut at) = ([0; RUN], [0i64; RUN]);
            run[..wanted.len()].copy_from_slice(wanted);
            if sorted.len() <= FEW {
                for &sorted in sorted {
                    at.iter_mut().zip(&run).for_each(|(at, &wanted)| *at += i64::from(before(sorted, wanted)));
                }
            } else {
                let mut left = sorted.len();
                while left > 0 {
                    let half = left.div_ceil(2);
                    for (at, &wanted) in at.iter_mut().zip(&run) {
                        *at += half as i64 * i64::from(before(sorted[*at as usize + half - 1], wanted));
                    }
                    left -= half;
                }
            }
            y.copy_from_slice(&at[..wanted.len()]);
        }
    }
}

/// The length of a sorted row, and how many values it is searched for.
fn lengths(sorted: &[usize], values: &crate::Shape) -> (usize, usize) {
    let each = if sorted.len() == 1 { values.count() } else { values.last().copied().unwrap_or(1) };
    (sorted.last().copied().unwrap_or(0), each.max(1))
}

/// Searching and counting.
pub trait SearchOps: Value + SortOps + GatherOps + CastOps + ViewOps {
    /// Where each of `values` would be put among these sorted numbers, so that they stay sorted: before equal ones, or with
    /// `right` behind them. The numbers are sorted along the last axis, in one row for all values, or in a row for each row
    /// of theirs. NaN is the largest.
    ///
    /// # Shapes
    /// `[N]` and `[…]` give `[…]`; `[B, N]` and `[B, M]` give `[B, M]`.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let at = Tensor::new([1, 3, 5]).searchsorted(&Tensor::new([3, 4, 9]), false)?;
    /// assert_eq!(at.to_vec::<i64>()?, [1, 2, 3]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Rows that do not fit each other.
    #[track_caller]
    fn searchsorted(&self, values: &Self, right: bool) -> Result<Self> {
        let dtype = Value::dtype(self).promote(Value::dtype(values));
        let (sorted, values) = (self.detach().cast(dtype)?, values.detach().cast(dtype)?);
        let y = Tensor::apply_one(SearchSorted { right }, &[sorted.tensor(), values.tensor()])?;
        Ok(Self::constant(y))
    }

    /// The number of the bucket of each element between sorted boundaries: [`SearchOps::searchsorted`] from the other side.
    ///
    /// # Errors
    /// Boundaries that are no vector.
    #[track_caller]
    fn bucketize(&self, boundaries: &Self, right: bool) -> Result<Self> {
        if Value::shape(boundaries).rank() != 1 {
            let text = format!("boundaries are a vector, found {}", Value::shape(boundaries));
            return Err(Error::shape("bucketize", text).at(Location::caller()));
        }
        boundaries.searchsorted(self, right).map_err(|e| e.renamed("searchsorted", "bucketize"))
    }

    /// Whether each element is one of `test`, or with `invert` whether it is none. NaN is none of any.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let y = Tensor::new([1, 2, 3]).isin(&Tensor::new([3, 1]), false)?;
    /// assert_eq!(y.to_vec::<bool>()?, [true, false, true]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// None beyond those of memory.
    #[track_caller]
    fn isin(&self, test: &Self, invert: bool) -> Result<Self> {
        let dtype = Value::dtype(self).promote(Value::dtype(test));
        let (x, test) = (self.detach().cast(dtype)?, test.detach().cast(dtype)?.flatten(0, -1)?);
        let count = Value::shape(&test).count() as i64;
        if count == 0 {
            let spec = Spec::new(*Value::shape(self), DType::Bool);
            return Ok(Self::constant(Tensor::filled(spec, f64::from(u8::from(invert)))));
        }
        let sorted = test.sort(0, false)?.0;
        // What is larger than all is compared with the last.
        let at = sorted.searchsorted(&x, false)?.minimum(count - 1)?;
        let found = sorted.rows(&at)?.eq(&x)?;
        if invert { found.logical_not() } else { Ok(found) }
    }

    /// How often each whole number from 0 on occurs, in a vector as long as the largest needs, and at least `minlength`;
    /// with `weights`, the sum of the weights where it occurs. Reads the largest, because it decides the length.
    ///
    /// # Shapes
    /// `[N]`, and weights `[N]`.
    ///
    /// # Errors
    /// Elements that are no integers, negative ones, weights of another shape.
    #[track_caller]
    fn bincount(&self, weights: Option<&Self>, minlength: usize) -> Result<Self> {
        let x = self.detach().flatten(0, -1)?;
        let count = Value::shape(&x).count();
        let largest = if count > 0 { x.tensor().amax(..)?.item()? } else { -1.0 };
        let length = ((largest + 1.0).max(0.0) as usize).max(minlength);
        counted(&x, weights, length).map_err(|e| e.renamed("scatter_add", "bincount"))
    }

    /// How many elements lie in each of `bins` bins of one width from `range[0]` to `range[1]`, or the sum of their weights,
    /// and the edges of the bins. The last bin has both its edges, the others their lower one; what lies outside counts
    /// nowhere. Without a range it is that of the elements, which is read.
    ///
    /// # Shapes
    /// Elements of any shape, and weights of it, give `[bins]`, of `i64` or the type of the weights, and `[bins + 1]` edges, of
    /// the elements' type or of `f64` for integers.
    ///
    /// # Errors
    /// No bin; a range that is none; weights of another shape.
    #[track_caller]
    fn histogram(&self, bins: usize, range: Option<[f64; 2]>, weights: Option<&Self>) -> Result<(Self, Self)> {
        let dtype = if Value::dtype(self).is_float() { Value::dtype(self) } else { DType::F64 };
        let x = self.detach().cast(dtype)?.flatten(0, -1)?;
        let [low, high] = match range {
            Some(range) => range,
            None if Value::shape(&x).count() == 0 => [0.0, 1.0],
            None => [x.tensor().amin(..)?.item()?, x.tensor().amax(..)?.item()?],
        };
        // A single value has bins around it, as in NumPy.
        let [low, high] = if low == high { [low - 0.5, high + 0.5] } else { [low, high] };
        if bins == 0 || bins > isize::MAX as usize || !(low < high && low.is_finite() && high.is_finite()) {
            let text = format!("there are no {bins} bins from {low:?} to {high:?}");
            let error = Error::argument("histogram", text).at(Location::caller());
            return Err(error.help("it takes at least one bin, and a range of finite numbers: NaN and infinities in the data need one, Some([low, high])"));
        }
        // As they are returned: what equals an edge belongs to the bin above it.
        let edges = x.beside(Tensor::linspace(low, high, bins + 1)?)?.cast(dtype)?;
        let at = edges.searchsorted(&x, true)?;
        let last = x.eq(&edges.index(0, -1)?)?.select(bins as i64, &at)?;
        // One bin before all and one behind, which are left out.
        let counts = counted(&last, weights, bins + 2).map_err(|e| e.renamed("scatter_add", "histogram"))?;
        Ok((counts.slice(0, 1..bins as isize + 1)?, edges))
    }
}
impl<V: Value + SortOps + GatherOps + CastOps + ViewOps> SearchOps for V {}

/// How often each number below `length` occurs, or the sum of its weights.
#[track_caller]
fn counted<V: SearchOps>(at: &V, weights: Option<&V>, length: usize) -> Result<V> {
    let ones = V::constant(Tensor::filled(Spec::new(*Value::shape(at), DType::I64), 1.0));
    let weights = match weights {
        Some(weights) => weights.detach().flatten(0, -1)?,
        None => ones,
    };
    let zeros = V::constant(Tensor::filled(Spec::new(crate::Shape::new(&[length])?, Value::dtype(&weights)), 0.0));
    if Value::shape(&weights).count() != Value::shape(at).count() {
        let text = format!("{} weights for {} elements", Value::shape(&weights).count(), Value::shape(at).count());
        return Err(Error::shape("scatter_add", text).at(Location::caller()));
    }
    zeros.scatter_add(0, at, &weights)
}
