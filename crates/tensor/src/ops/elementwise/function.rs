//! The trait that an elementwise function implements, and the operation that applies it to tensors.

use super::gradient::{ElementwiseGrad, GradientOp};
use super::run::{BlockFn, LANES, run};
use super::runs::{lane_of, numbers, pointers, read_runs, set_lane, write_run};
use super::signature::{Signature, Typed, no_derivative};
use crate::scalar::{Program, Real};
use crate::{Aliases, Arity, CpuCall, DType, Expr, Op, Outputs, Pointwise, Result, Scalar, Spec, Specs};
use std::fmt::Debug;
use std::sync::Arc;

/// How the types of the operands decide the type that a function computes in and the type of its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The promoted type; integers become `f32`.
    Float,
    /// The promoted type; booleans count as `i64`.
    Arithmetic,
    /// The promoted type, and a `bool` for a result.
    Comparison,
    /// A `bool` mask first; the result has the promoted type of the others.
    Select,
}

/// A function of `IN` numbers with `OUT` results, applied element by element with broadcasting.
///
/// ```
/// use kiln_tensor::{Scalar, Tensor, ops::*};
///
/// #[derive(Debug, Clone, PartialEq)]
/// struct Mish;
/// impl Function<1> for Mish {
///     const NAME: &'static str = "mish";
///     fn call<S: Scalar>(&self, [x]: [S; 1]) -> [S; 1] {
///         [x.clone() * x.softplus().tanh()]
///     }
/// }
///
/// let [y] = Tensor::elementwise(Mish, [&Tensor::new([-1.0f64, 0.0, 1.0])])?;
/// assert!((y.to_vec::<f64>()?[2] - 0.865_098_388).abs() < 1e-8);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
pub trait Function<const IN: usize, const OUT: usize = 1>: Debug + Clone + PartialEq + Send + Sync + 'static {
    /// The operation's name in errors and listings.
    const NAME: &'static str;
    /// The rule for element types.
    const KIND: Kind = Kind::Float;
    /// Whether [`Function::slope`] gives the derivative from the result, so that the argument need not be kept.
    /// For functions of one argument.
    const FROM_OUTPUT: bool = false;
    /// Whether it is [`Itself`].
    #[doc(hidden)]
    const IS_ITSELF: bool = false;
    /// How many numbers the operation takes after its operands, as operands of rank 0 that are read once: a rate that
    /// changes from step to step. Such a function has [`Function::call_with`], and no derivative.
    const NUMBERS: usize = 0;

    /// The function.
    fn call<S: Scalar>(&self, x: [S; IN]) -> [S; OUT];

    /// The function with its numbers, where there are [`Function::NUMBERS`].
    #[inline(always)]
    fn call_with<S: Scalar>(&self, x: [S; IN], _numbers: &[S]) -> [S; OUT] {
        self.call(x)
    }

    /// The derivative as a function of the result, where [`Function::FROM_OUTPUT`] says so.
    fn slope<S: Scalar>(&self, _y: S) -> S {
        S::lit(f64::NAN)
    }

    /// The partial derivatives where they are constants, as for a sum: then no derivative is ever computed.
    fn constant_partials(&self) -> Option<[f64; IN]> {
        None
    }

    /// The operation behind a pointer, which brings its code. Kiln's own functions have it compiled with them; leave it
    /// as it is.
    #[doc(hidden)]
    fn operation(op: &Elementwise<Self, IN, OUT>) -> &dyn ElementwiseOp {
        op
    }
}

/// The function that changes nothing: what stands in front of a fold of the operand itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Itself;

impl Function<1> for Itself {
    const NAME: &'static str = "itself";
    const KIND: Kind = Kind::Arithmetic;
    const IS_ITSELF: bool = true;
    #[inline(always)]
    fn call<S: Scalar>(&self, x: [S; 1]) -> [S; 1] {
        x
    }
    fn constant_partials(&self) -> Option<[f64; 1]> {
        Some([1.0])
    }
}

/// The operation that applies a [`Function`].
#[derive(Debug, Clone, PartialEq)]
pub struct Elementwise<F, const IN: usize, const OUT: usize>(pub F);

impl<F: Function<IN, OUT>, const IN: usize, const OUT: usize> Elementwise<F, IN, OUT> {
    pub(super) const SIGNATURE: Signature =
        Signature { name: F::NAME, kind: F::KIND, operands: IN, numbers: F::NUMBERS, results: OUT };

    /// The type that operands of these types are computed in.
    pub(crate) fn compute_dtype(x: &[impl Typed]) -> Result<DType> {
        Self::SIGNATURE.compute_dtype(x)
    }

    /// The function as instructions.
    fn program(&self) -> Program {
        let numbers = Expr::<false>::inputs(IN..IN + F::NUMBERS);
        Program::new(IN + F::NUMBERS, &self.0.call_with(std::array::from_fn(Expr::input), &numbers))
    }
}

impl<F: Function<IN, OUT>, const IN: usize, const OUT: usize> Op for Elementwise<F, IN, OUT> {
    fn name(&self) -> &str {
        F::NAME
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(IN + F::NUMBERS)
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        Self::SIGNATURE.infer(x)
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts_in_place();
        run(self, Self::compute_dtype(x)?, x, y);
        Ok(())
    }

    fn aliases(&self) -> Aliases {
        Aliases::Any
    }

    fn pointwise(&self, x: &[Spec]) -> Option<Pointwise> {
        Self::SIGNATURE.pointwise(self, x, &|| self.program())
    }
}

/// An elementwise operation whose function is not known: what a derivative rule asks of it.
pub trait ElementwiseOp: Op {
    /// A copy behind a pointer that can be shared.
    fn to_shared(&self) -> Arc<dyn ElementwiseOp>;
    /// The partial derivatives where they are constants ([`Function::constant_partials`]).
    fn constant_partials(&self) -> Option<Outputs<f64>>;
    /// Whether the derivative is a function of the result ([`Function::FROM_OUTPUT`]).
    fn is_from_output(&self) -> bool;
    /// The operation behind the gradients of the operands in `need`.
    ///
    /// # Errors
    /// Other than one for each operand: a function that takes numbers has no derivative.
    fn gradient(&self, need: &[bool]) -> Result<Arc<dyn GradientOp>>;
}

impl<F: Function<IN, OUT>, const IN: usize, const OUT: usize> ElementwiseOp for Elementwise<F, IN, OUT> {
    fn to_shared(&self) -> Arc<dyn ElementwiseOp> {
        Arc::new(self.clone())
    }

    fn constant_partials(&self) -> Option<Outputs<f64>> {
        self.0.constant_partials().map(Outputs::from)
    }

    fn is_from_output(&self) -> bool {
        F::FROM_OUTPUT
    }

    fn gradient(&self, need: &[bool]) -> Result<Arc<dyn GradientOp>> {
        let mut wanted = [false; IN];
        if need.len() != IN {
            return Err(no_derivative(F::NAME));
        }
        wanted.copy_from_slice(need);
        let gradient = ElementwiseGrad::<F, IN, OUT> { function: self.0.clone(), need: wanted };
        // What a comparison tells has no gradient but in formulas: a constant keeps its kernel from being compiled.
        if const { matches!(F::KIND, Kind::Comparison) } {
            Ok(Arc::new(gradient.formula()))
        } else {
            Ok(Arc::new(gradient))
        }
    }
}

impl<F: Function<IN, OUT>, const IN: usize, const OUT: usize> BlockFn for Elementwise<F, IN, OUT> {
    const NUMBERS: usize = F::NUMBERS;
    const WHOLE: bool = !matches!(F::KIND, Kind::Float);

    #[inline(always)]
    unsafe fn block<C: Real>(&self, x: *const *const C, y: *const *mut C, length: usize) {
        // Plain loops: a closure that is not inlined here would be compiled for the baseline instruction set.
        // SAFETY: there are `IN` operands, then the numbers, and `OUT` results; operands and results have `length`
        // elements, of which `start + LANES` is at most the end. Runs of all operands are read before one is written.
        unsafe {
            let numbers = numbers(x.add(IN), F::NUMBERS);
            let x: [_; IN] = pointers(x, IN, std::ptr::null());
            let y: [_; OUT] = pointers(y, OUT, std::ptr::null_mut());
            let mut start = 0;
            while start < length {
                let a = read_runs(&x, IN, start);
                let mut out = [[C::default(); LANES]; OUT];
                let mut lane = 0;
                while lane < LANES {
                    let results = self.0.call_with(lane_of(&a, lane), &numbers[..F::NUMBERS]);
                    set_lane(&mut out, lane, results);
                    lane += 1;
                }
                let mut o = 0;
                while o < OUT {
                    write_run(y[o], start, &out[o]);
                    o += 1;
                }
                start += LANES;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Visit, activations, arithmetic, comparisons, math};
    use super::*;
    use crate::Tensor;
    use crate::ops::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Wide;

    impl Function<9> for Wide {
        const NAME: &'static str = "wide";
        #[inline(always)]
        fn call<S: Scalar>(&self, x: [S; 9]) -> [S; 1] {
            [x.into_iter().fold(S::lit(0.0), |sum, x| sum + x)]
        }
    }

    /// A pointwise operation by its instructions, not by its kernel.
    #[derive(Debug, Clone, PartialEq)]
    struct Interpreted(Pointwise);

    impl Op for Interpreted {
        fn name(&self) -> &str {
            "interpreted"
        }
        fn arity(&self) -> Arity {
            Arity::Exactly(self.0.arguments.len())
        }
        fn infer(&self, x: &[Spec]) -> Result<Specs> {
            let shape = broadcast_all("interpreted", x)?;
            Ok(self.0.outputs.iter().map(|&dtype| Spec::new(shape, dtype)).collect())
        }
        fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
            let (x, y) = call.parts_in_place();
            run(&*self.0.program, self.0.compute, x, y);
            Ok(())
        }
    }

    /// Whether the instructions of `op` give the bits of its kernel.
    fn agrees(op: &dyn Op, x: &[&Tensor]) {
        let specs: Vec<Spec> = x.iter().map(|x| x.spec()).collect();
        let Some(pointwise) = op.pointwise(&specs) else { panic!("{op:?} is not pointwise") };
        let kernel = Tensor::apply(op, x).unwrap();
        let listed = Tensor::apply(&Interpreted(pointwise.clone()), x).unwrap();
        for (kernel, listed) in kernel.iter().zip(listed.iter()) {
            // The bits of a NaN are nobody's.
            let bits = |t: &Tensor| {
                let x = t.to_vec_as::<f64>().into_iter();
                x.map(|x| if x.is_nan() { f64::NAN } else { x }.to_bits()).collect::<Vec<_>>()
            };
            let same = kernel.dtype() == listed.dtype() && bits(kernel) == bits(listed);
            assert!(same, "{op:?} of {specs:?}: {kernel} but {listed} by\n{pointwise}");
        }
    }

    /// Compares a function, and its gradient, in every type.
    struct Agreement;

    impl<const IN: usize> Visit<IN> for Agreement {
        fn visit<F: Function<IN>>(&self, f: F) {
            let op = Elementwise::<F, IN, 1>(f.clone());
            for (shift, dtype) in DType::ALL.into_iter().enumerate() {
                let same: Vec<Tensor> = (0..IN).map(|i| numbers(dtype, i * (1 + shift))).collect();
                let mixed = (0..IN).map(|i| numbers(DType::ALL[(shift + 3 * i) % 8], i * (1 + shift)));
                agrees(&op, &mixed.collect::<Vec<_>>().iter().collect::<Vec<_>>());
                agrees(&op, &same.iter().collect::<Vec<_>>());
                if dtype.is_float() {
                    // The gradient of a comparison is that of its truth as a number.
                    let gradient = ElementwiseGrad::<F, IN, 1> { function: f.clone(), need: [true; IN] };
                    let dy = numbers(dtype, 3 - IN.min(2) / 2);
                    let inputs = same.iter().take(gradient.operands() - 1).chain([&dy]);
                    let inputs: Vec<&Tensor> = inputs.collect();
                    agrees(&gradient, &inputs);
                    if IN == 1 {
                        agrees(&gradient.formula(), &inputs);
                    }
                }
            }
        }
    }

    /// Numbers of both signs, zeros, large ones, infinities and NaN, as far as the type has them.
    fn numbers(dtype: DType, shift: usize) -> Tensor {
        let mut values = vec![0.3, -0.7, 1.0, -0.0, 2.5, -3.0, 40.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
        values.rotate_left(shift);
        Tensor::from_vec(values, [10]).unwrap().cast(dtype).unwrap()
    }

    #[test]
    fn operands_that_do_not_fit_have_no_listing() {
        assert!(Elementwise::<_, 2, 1>(Add).pointwise(&[]).is_none());
        assert!(ElementwiseGrad::<_, 1, 1> { function: Exp, need: [true] }.pointwise(&[]).is_none());
        assert!(Cast { to: DType::F32 }.pointwise(&[]).is_none());
    }

    #[test]
    fn a_listing_computes_what_the_kernel_does() {
        for (from, to) in DType::ALL.into_iter().flat_map(|from| DType::ALL.map(|to| (from, to))) {
            agrees(&Cast { to }, &[&numbers(from, 0)]);
        }
        activations::ActivationOps(&Agreement);
        arithmetic::ArithmeticOps(&Agreement);
        Agreement.visit(Pow);
        comparisons::ComparisonOps(&Agreement);
        comparisons::NegationOps(&Agreement);
        math::MathOps(&Agreement);
        Agreement.visit(LnGamma);
        Agreement.visit(Digamma);
        Agreement.visit(BesselI0);
        Agreement.visit(Sinc);
        Agreement.visit(NextAfter);
        for op in [Bitwise::And, Bitwise::Or, Bitwise::Xor, Bitwise::Left, Bitwise::Right] {
            Agreement.visit(op);
        }
    }

    #[test]
    fn a_function_too_wide_to_differentiate_says_so() {
        let x = Tensor::new([1.0f32, 2.0]);
        let [y] = Tensor::elementwise(Wide, [&x; 9]).unwrap();
        assert_eq!(y.to_vec::<f32>().unwrap(), [9.0, 18.0]);
        let gradient = ElementwiseGrad::<Wide, 9, 1> { function: Wide, need: [true; 9] };
        let error = Tensor::apply(&gradient, &[&x; 10]).unwrap_err().to_string();
        assert!(error.starts_with("wide: a function of 9 operands and 1 results has no derivative here"), "{error}");
    }
}
