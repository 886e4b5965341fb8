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

use super::elementwise::computed_in;
use super::elementwise::{Elementwise, ElementwiseOp, Itself, broadcast_all};
use super::{Function, Value};
use crate::cuda::{self, FoldProgram};
use crate::scalar::Program;
use crate::{
    Arity, CpuCall, CudaCall, DType, DynOp, Error, Expr, IntoAxes, MAX_RANK, Op, Result, Scalar, Shape, Spec, Specs,
};
use std::sync::Arc;

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
    /// The operation behind a pointer, which brings its code. A fold of the operand itself is compiled with the fold.
    #[doc(hidden)]
    pub fn operation(&self) -> &dyn FoldOp {
        // A constant tells them apart, so that only one is compiled here.
        if !P::IS_ITSELF {
            return self;
        }
        let plain: Option<&Reduce<F, Itself, STATE>> = self.as_any().downcast_ref();
        F::operation(plain.unwrap_or_else(|| unreachable!("{} is no other function", P::NAME)))
    }

    /// The type of what is folded.
    fn elements(x: &[Spec]) -> Result<DType> {
        if P::IS_ITSELF { Ok(x[0].dtype) } else { Elementwise::<P, IN, 1>::compute_dtype(x) }
    }

    /// The fold of `count` elements of a type as instructions.
    fn program(&self, elements: DType, count: usize) -> FoldProgram {
        let wide = matches!(F::KIND, FoldKind::Float | FoldKind::Double);
        let compute = match computed_in(elements) {
            DType::I64 if wide => DType::F64,
            other => other,
        };
        // A fold that single precision may lose is folded in double at once: a GPU waits for memory meanwhile.
        let is_doubtful = compute == DType::F32 && self.fold.is_doubtful(f64::NAN);
        let states = |from: usize| std::array::from_fn::<_, STATE, _>(|i| Expr::<false>::input(from + i));
        let finish = |count: f64| Program::new(STATE, &[self.fold.finish(states(0), count)]);
        FoldProgram {
            front: (!P::IS_ITSELF)
                .then(|| Program::new(IN, &self.front.call(std::array::from_fn(Expr::<false>::input)))),
            compute,
            accumulate: if is_doubtful { DType::F64 } else { compute },
            start: Program::new(0, &self.fold.start::<Expr>()),
            take: Program::new(STATE + 1, &self.fold.take(states(0), Expr::input(STATE))),
            join: Program::new(2 * STATE, &self.fold.join(states(0), states(STATE))),
            finish: of_any_count::<STATE>(&finish, count as f64),
            count,
        }
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
        let mut specs = [Spec::new(Shape::default(), DType::F32); IN];
        for (spec, x) in specs.iter_mut().zip(x) {
            *spec = x.spec();
        }
        run::reduce(self, Self::elements(&specs)?, x, &mut y[0])
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        let specs: Vec<Spec> = call.inputs().iter().map(|x| x.spec()).collect();
        let shape = self.folded(&specs)?;
        cuda::fold(call, &self.program(Self::elements(&specs)?, self.count(&shape)), shape, &self.axes);
        Ok(())
    }
}

/// A program that takes the count as its last argument, so that one kernel serves every count; where the count is more than
/// a constant in it, the program of this count.
fn of_any_count<const STATE: usize>(finish: &dyn Fn(f64) -> Program, count: f64) -> Program {
    // Numbers that no fold has for a constant of its own.
    const PROBES: [f64; 2] = [1_009.0, 2_003.0];
    let [one, other] = PROBES.map(finish);
    let exact = finish(count);
    let general = one.generalized(PROBES[0], &other, PROBES[1]);
    let agrees = |general: &Program| {
        let mut arguments: Vec<f64> = (0..STATE).map(|i| 0.75 + i as f64).collect();
        let wanted = exact.call(&arguments);
        arguments.push(count);
        wanted[0].to_bits() == general.call(&arguments)[0].to_bits()
    };
    general.filter(agrees).unwrap_or(exact)
}

/// Where the gradient of a folded element comes from: [`FoldRule`] with what it needs.
#[derive(Debug)]
pub enum FoldSlope {
    /// The result's gradient times this.
    Constant(f64),
    /// This function of the element, the result and the result's gradient.
    Partial(Arc<dyn ElementwiseOp>),
    /// [`FoldRule::ShareTies`].
    ShareTies,
    /// [`FoldRule::ProductOfOthers`].
    ProductOfOthers,
}

/// A fold of which neither the fold nor the function in front is known: what a derivative rule asks of it.
pub trait FoldOp: Op {
    /// A copy behind a pointer that can be shared.
    fn to_shared(&self) -> Arc<dyn FoldOp>;
    /// Which dimensions are folded.
    fn axes(&self) -> &[bool; MAX_RANK];
    /// The shape of what is folded.
    ///
    /// # Errors
    /// Operands that do not broadcast together.
    fn folded(&self, x: &[Spec]) -> Result<Shape>;
    /// How many elements of `shape` are folded into one.
    fn count(&self, shape: &Shape) -> usize;
    /// Where the gradient of one of `count` elements comes from.
    fn slope(&self, count: usize) -> FoldSlope;
    /// The function in front, unless the operand itself is folded.
    fn front(&self) -> Option<Arc<dyn ElementwiseOp>>;
}

impl<F: Fold<STATE>, P: Function<IN>, const STATE: usize, const IN: usize> FoldOp for Reduce<F, P, STATE, IN> {
    fn to_shared(&self) -> Arc<dyn FoldOp> {
        Arc::new(self.clone())
    }

    fn axes(&self) -> &[bool; MAX_RANK] {
        &self.axes
    }

    fn folded(&self, x: &[Spec]) -> Result<Shape> {
        broadcast_all(F::NAME, x)
    }

    fn count(&self, shape: &Shape) -> usize {
        (0..shape.rank()).filter(|&a| self.axes[a]).fold(1, |count, a| count.saturating_mul(shape[a]))
    }

    fn slope(&self, count: usize) -> FoldSlope {
        let count = count as f64;
        match (F::RULE, self.fold.constant_partial(count)) {
            (FoldRule::Partial, Some(partial)) => FoldSlope::Constant(partial),
            (FoldRule::Partial, None) => {
                let gradient = FoldGradient { fold: self.fold.clone(), count };
                FoldSlope::Partial(Arc::new(Elementwise::<_, 3, 1>(gradient)))
            }
            (FoldRule::ShareTies, _) => FoldSlope::ShareTies,
            (FoldRule::ProductOfOthers, _) => FoldSlope::ProductOfOthers,
        }
    }

    fn front(&self) -> Option<Arc<dyn ElementwiseOp>> {
        (!P::IS_ITSELF).then(|| P::operation(&Elementwise(self.front.clone())).to_shared())
    }
}

/// `dy · ∂y/∂x` for an element, the result and the result's gradient.
#[derive(Debug, Clone, PartialEq)]
struct FoldGradient<F, const STATE: usize> {
    fold: F,
    count: f64,
}

impl<F: Fold<STATE>, const STATE: usize> Function<3> for FoldGradient<F, STATE> {
    const NAME: &'static str = F::NAME;
    #[inline(always)]
    fn call<S: Scalar>(&self, [x, y, dy]: [S; 3]) -> [S; 1] {
        [self.fold.partial(x, y, self.count).times_tangent(dy)]
    }
}

/// Among the items of a [`Fold`]'s implementation: has its code compiled there, as `elementwise/compiled.rs` does for a
/// function.
macro_rules! compiled_here {
    ($state:literal) => {
        #[inline(never)]
        fn operation(op: &$crate::ops::Reduce<Self, $crate::ops::Itself, $state>) -> &dyn $crate::ops::FoldOp {
            op
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
