//! Operations that fold dimensions away: sums, products, extremes, their positions, and the statistics built on them.

mod arg;
mod fold;
mod others;
mod run;
mod statistics;

pub use arg::{ArgReduce, ArgReduceOps};
pub use fold::*;
pub use others::ProductOfOthers;
pub use statistics::{Spread, StatisticsOps};

use super::elementwise::{Elementwise, Itself, broadcast_all};
use super::{Function, Value};
use crate::{Arity, CpuCall, DType, DynOp, Error, IntoAxes, MAX_RANK, Op, Result, Shape, Spec, Specs, View, ViewMut};

/// Folds some dimensions of a tensor, or of what a function makes of several tensors that broadcast together: the sum of
/// `(a - b)²` is one pass over both.
#[derive(Debug, Clone, PartialEq)]
pub struct Reduce<F, P = Itself, const STATE: usize = 1, const IN: usize = 1> {
    /// The fold.
    pub fold: F,
    /// What is folded: a function of the operands.
    pub front: P,
    /// Which dimensions.
    pub axes: [bool; MAX_RANK],
    /// Whether they stay, with length 1.
    pub keep_dims: bool,
}

impl<F: Fold<STATE>, P: Function<IN>, const STATE: usize, const IN: usize> Reduce<F, P, STATE, IN> {
    /// The shape of what is folded.
    ///
    /// # Errors
    /// Operands that do not broadcast together.
    pub fn folded(&self, x: &[Spec]) -> Result<Shape> {
        broadcast_all(F::NAME, x)
    }

    /// How many elements of `shape` are folded into one.
    pub fn count(&self, shape: &Shape) -> usize {
        (0..shape.rank()).filter(|&a| self.axes[a]).fold(1, |count, a| count.saturating_mul(shape[a]))
    }

    /// Whether the operand itself is folded.
    pub fn is_plain() -> bool {
        P::IS_ITSELF
    }

    /// The type of what is folded.
    fn elements(x: &[Spec]) -> Result<DType> {
        if Self::is_plain() { Ok(x[0].dtype) } else { Elementwise::<P, IN, 1>::compute_dtype(x) }
    }

    /// The shape of the result.
    fn shape(&self, x: &Shape) -> Shape {
        let dims: Vec<usize> = (0..x.rank())
            .filter(|&a| self.keep_dims || !self.axes[a])
            .map(|a| if self.axes[a] { 1 } else { x[a] })
            .collect();
        Shape::from_slice(&dims)
    }
}

impl<F: Fold<STATE>, P: Function<IN>, const STATE: usize, const IN: usize> Op for Reduce<F, P, STATE, IN> {
    fn name(&self) -> &str {
        F::NAME
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(IN)
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        let shape = self.folded(x)?;
        if P::NUMBERS > 0 {
            return Err(Error::argument(F::NAME, format!("{} takes numbers, which none gives it here", P::NAME)));
        }
        if F::KIND == FoldKind::Extreme && self.count(&shape) == 0 {
            let text = format!("{shape} has no element to choose from along the reduced axes");
            return Err(Error::shape(F::NAME, text));
        }
        Ok(Spec::new(self.shape(&shape), F::KIND.result(Self::elements(x)?)).into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        let specs: [Spec; IN] = std::array::from_fn(|i| x[i].spec());
        let elements = Self::elements(&specs)?;
        // Told apart by a constant, so that the fold alone is compiled with the fold and not here once more.
        if P::IS_ITSELF {
            let plain: Option<&Reduce<F, Itself, STATE>> = self.as_any().downcast_ref();
            let plain = plain.unwrap_or_else(|| unreachable!("{} is no other function", P::NAME));
            (F::compiled().run)(plain, elements, x, &mut y[0])
        } else {
            run::reduce(self, elements, x, &mut y[0])
        }
    }
}

/// The code of a fold alone: what [`Fold::compiled`] gives.
#[derive(Debug)]
pub struct CompiledFold<F, const STATE: usize> {
    run: fn(&Reduce<F, Itself, STATE>, DType, &[View<'_>], &mut ViewMut<'_>) -> Result<()>,
}

impl<F: Fold<STATE>, const STATE: usize> CompiledFold<F, STATE> {
    pub(crate) fn here() -> Self {
        CompiledFold { run: run::reduce }
    }
}

/// Among the items of a [`Fold`]'s implementation: has its code compiled there, as `elementwise/compiled.rs` does for a
/// function.
macro_rules! compiled_here {
    ($state:literal) => {
        #[inline(never)]
        fn compiled() -> $crate::ops::reduce::CompiledFold<Self, $state> {
            $crate::ops::reduce::CompiledFold::here()
        }
    };
}
use compiled_here;

/// Folds over some axes: `..` for all, a number, or a list. The folded dimensions disappear; [`keep`](crate::keep) leaves
/// them with length 1.
pub trait ReduceOps: Value {
    /// Folds the named axes.
    ///
    /// # Errors
    /// An axis that does not exist or is named twice; an extreme of nothing.
    #[track_caller]
    fn reduce<F: Fold<STATE>, const STATE: usize>(&self, fold: F, axes: impl IntoAxes) -> Result<Self> {
        let axes = axes.into_axes();
        let keep_dims = axes.are_kept();
        let axes = axes.flags(F::NAME, Value::shape(self))?;
        Self::fold(Reduce { fold, front: Itself, axes, keep_dims }, [self])
    }

    /// The sum. Integers and booleans are summed as `i64`.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let x = Tensor::new([[1.0, 2.0], [3.0, 4.0]]);
    /// assert_eq!(x.sum(0)?.to_vec::<f64>()?, [4.0, 6.0]);
    /// assert_eq!(x.sum(..)?.item()?, 10.0);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// An axis that does not exist or is named twice.
    #[track_caller]
    fn sum(&self, axes: impl IntoAxes) -> Result<Self> {
        self.reduce(Sum, axes)
    }

    /// The product.
    ///
    /// # Errors
    /// An axis that does not exist or is named twice.
    #[track_caller]
    fn prod(&self, axes: impl IntoAxes) -> Result<Self> {
        self.reduce(Prod, axes)
    }

    /// The largest element; NaN wins, and equal ones share the gradient.
    ///
    /// # Errors
    /// An axis that does not exist or is named twice, or one of length 0.
    #[track_caller]
    fn amax(&self, axes: impl IntoAxes) -> Result<Self> {
        self.reduce(Max, axes)
    }

    /// The smallest element; NaN wins, and equal ones share the gradient.
    ///
    /// # Errors
    /// An axis that does not exist or is named twice, or one of length 0.
    #[track_caller]
    fn amin(&self, axes: impl IntoAxes) -> Result<Self> {
        self.reduce(Min, axes)
    }
}
impl<V: Value> ReduceOps for V {}
