//! Operations that fold dimensions away: sums, products, extremes, their positions, and the statistics built on them.

mod arg;
mod run;
mod statistics;

pub use arg::{ArgReduce, ArgReduceOps};
pub use statistics::StatisticsOps;

use super::{Apply, Value};
use crate::scalar::Real;
use crate::{CpuCall, DType, MAX_RANK, Op, Result, Shape, Spec, Specs};
use run::{Fold, reduce};

/// Which fold a [`Reduce`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folding {
    /// The sum; 0 of nothing.
    Sum,
    /// The product; 1 of nothing.
    Prod,
    /// The largest element; NaN wins.
    Max,
    /// The smallest element; NaN wins.
    Min,
}

/// Folds some dimensions of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Reduce {
    /// How.
    pub fold: Folding,
    /// Which dimensions.
    pub axes: [bool; MAX_RANK],
    /// Whether they stay, with length 1.
    pub keep_dims: bool,
}

impl Reduce {
    /// The shape of the result.
    fn shape(&self, x: &Shape) -> Shape {
        let dims: Vec<usize> = (0..x.rank())
            .filter(|&a| self.keep_dims || !self.axes[a])
            .map(|a| if self.axes[a] { 1 } else { x[a] })
            .collect();
        Shape::from_slice(&dims)
    }
}

impl Op for Reduce {
    fn name(&self) -> &str {
        match self.fold {
            Folding::Sum => "sum",
            Folding::Prod => "prod",
            Folding::Max => "amax",
            Folding::Min => "amin",
        }
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        let Spec { shape, dtype, .. } = x[0];
        let nothing = (0..shape.rank()).any(|a| self.axes[a] && shape[a] == 0);
        let dtype = match self.fold {
            // Sums and products of small integers overflow their own type at once.
            Folding::Sum | Folding::Prod if !dtype.is_float() => DType::I64,
            Folding::Max | Folding::Min if nothing => {
                let text = format!("{shape} has no element to choose from along the reduced axes");
                return Err(crate::Error::shape(self.name(), text));
            }
            _ => dtype,
        };
        Ok(Spec::new(self.shape(&shape), dtype).into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        match self.fold {
            Folding::Sum => reduce(&Sum, &x[0], &self.axes, &mut y[0]),
            Folding::Prod => reduce(&Prod, &x[0], &self.axes, &mut y[0]),
            Folding::Max => reduce(&Max, &x[0], &self.axes, &mut y[0]),
            Folding::Min => reduce(&Min, &x[0], &self.axes, &mut y[0]),
        }
        Ok(())
    }
}

struct Sum;
struct Prod;
struct Max;
struct Min;

impl Fold for Sum {
    #[inline(always)]
    fn empty<C: Real>(&self) -> C {
        C::lit(0.0)
    }
    #[inline(always)]
    fn step<C: Real>(&self, a: C, x: C) -> C {
        a + x
    }
}

impl Fold for Prod {
    #[inline(always)]
    fn empty<C: Real>(&self) -> C {
        C::lit(1.0)
    }
    #[inline(always)]
    fn step<C: Real>(&self, a: C, x: C) -> C {
        a * x
    }
}

impl Fold for Max {
    #[inline(always)]
    fn empty<C: Real>(&self) -> C {
        C::lit(f64::NEG_INFINITY)
    }
    #[inline(always)]
    fn step<C: Real>(&self, a: C, x: C) -> C {
        x.max(a)
    }
}

impl Fold for Min {
    #[inline(always)]
    fn empty<C: Real>(&self) -> C {
        C::lit(f64::INFINITY)
    }
    #[inline(always)]
    fn step<C: Real>(&self, a: C, x: C) -> C {
        x.min(a)
    }
}

/// Folds over the named axes, all of them when none is named. The folded dimensions disappear; the methods ending in
/// `_keep` leave them with length 1.
pub trait ReduceOps: Value + Apply<Reduce> {
    /// Folds the named axes.
    ///
    /// # Errors
    /// An axis that does not exist or is named twice; an extreme of nothing.
    #[track_caller]
    fn reduce(&self, fold: Folding, axes: &[isize], keep_dims: bool) -> Result<Self> {
        let unnamed = Reduce { fold, axes: [false; MAX_RANK], keep_dims };
        let axes = Value::shape(self).axes(unnamed.name(), axes)?;
        Self::apply_one(Reduce { axes, ..unnamed }, &[self])
    }

    /// The sum. Integers and booleans are summed as `i64`.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let x = Tensor::new([[1.0, 2.0], [3.0, 4.0]]);
    /// assert_eq!(x.sum(&[0])?.to_vec::<f64>()?, [4.0, 6.0]);
    /// assert_eq!(x.sum(&[])?.item()?, 10.0);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// An axis that does not exist or is named twice.
    #[track_caller]
    fn sum(&self, axes: &[isize]) -> Result<Self> {
        self.reduce(Folding::Sum, axes, false)
    }

    /// [`ReduceOps::sum`] with the dimensions kept.
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn sum_keep(&self, axes: &[isize]) -> Result<Self> {
        self.reduce(Folding::Sum, axes, true)
    }

    /// The product.
    ///
    /// # Errors
    /// An axis that does not exist or is named twice.
    #[track_caller]
    fn prod(&self, axes: &[isize]) -> Result<Self> {
        self.reduce(Folding::Prod, axes, false)
    }

    /// The largest element; NaN wins, and equal ones share the gradient.
    ///
    /// # Errors
    /// An axis that does not exist or is named twice, or one of length 0.
    #[track_caller]
    fn amax(&self, axes: &[isize]) -> Result<Self> {
        self.reduce(Folding::Max, axes, false)
    }

    /// [`ReduceOps::amax`] with the dimensions kept.
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn amax_keep(&self, axes: &[isize]) -> Result<Self> {
        self.reduce(Folding::Max, axes, true)
    }

    /// The smallest element; NaN wins, and equal ones share the gradient.
    ///
    /// # Errors
    /// An axis that does not exist or is named twice, or one of length 0.
    #[track_caller]
    fn amin(&self, axes: &[isize]) -> Result<Self> {
        self.reduce(Folding::Min, axes, false)
    }

    /// [`ReduceOps::amin`] with the dimensions kept.
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn amin_keep(&self, axes: &[isize]) -> Result<Self> {
        self.reduce(Folding::Min, axes, true)
    }
}
impl<V: Value + Apply<Reduce>> ReduceOps for V {}
