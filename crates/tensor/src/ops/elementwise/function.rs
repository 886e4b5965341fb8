//! What an elementwise operation is made of: the trait that a function implements, the operation that applies it to
//! tensors, the operation that applies its derivative, and the formula for derivatives beyond the first.

use super::run::{BLOCK, BlockFn, LANES, computed_in, run};
use super::runs::{Lane, Point, Symbols, dual, lane_of, numbers, operands, read_runs, results, set_lane, write_run};
use crate::run::infer;
use crate::scalar::{Program, Real};
use crate::{
    Aliases, Argument, Arity, CpuCall, DType, Dual, Error, Expr, Op, Outputs, Pointwise, Result, Scalar, Shape, Spec,
    Specs, View,
};
use std::fmt::Debug;
use std::iter::repeat_n;
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
    const SIGNATURE: Signature =
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

/// The gradient of an elementwise operation whose function is not known.
pub trait GradientOp: Op {
    /// The same as a formula, which can be derived again.
    fn formula(&self) -> Formula;
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

fn no_derivative(name: &str) -> Error {
    Error::argument(name, "a function with numbers beside its operands has no derivative")
}

/// What of a function decides the specs of its results.
struct Signature {
    name: &'static str,
    kind: Kind,
    operands: usize,
    /// Single numbers after the operands.
    numbers: usize,
    results: usize,
}

impl Signature {
    fn compute_dtype<X: Typed>(&self, x: &[X]) -> Result<DType> {
        let operands = if self.kind == Kind::Select { &x[1..] } else { x };
        let joined = join(self.kind, operands);
        Ok(match self.kind {
            Kind::Float => joined.to_float(),
            Kind::Arithmetic if joined == DType::Bool => DType::I64,
            Kind::Select if x[0].dtype() != DType::Bool => {
                let text = format!("the condition must be bool, found {}", x[0].dtype());
                return Err(Error::dtype(self.name, text).help("compare first: x.gt(0.0)"));
            }
            _ => joined,
        })
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        let (operands, numbers) = x.split_at(self.operands);
        check_numbers(self.name, numbers)?;
        let shape = broadcast_all(self.name, operands)?;
        let dtype = self.compute_dtype(x)?;
        let dtype = if self.kind == Kind::Comparison { DType::Bool } else { dtype };
        Ok(repeat_n(Spec::new(shape, dtype), self.results).collect())
    }

    fn pointwise(&self, op: &dyn Op, x: &[Spec], program: &dyn Fn() -> Program) -> Option<Pointwise> {
        let outputs = infer(op, x).ok()?;
        let mut pointwise = typed(x, self.compute_dtype(x).ok()?, program(), &outputs);
        let arguments = pointwise.arguments.iter_mut().zip(x).skip(self.operands);
        arguments.for_each(|(argument, x)| *argument = Argument::Number(x.dtype));
        Some(pointwise)
    }

    /// The specs of the gradients of the operands, so many of them, from `inputs` inputs.
    fn infer_gradient(&self, inputs: usize, x: &[Spec], wanted: usize) -> Result<Specs> {
        if self.numbers > 0 {
            return Err(no_derivative(self.name));
        }
        if inputs > MOST_INPUTS {
            let (operands, results) = (self.operands, self.results);
            let text = format!(
                "a function of {operands} operands and {results} results has no derivative here: the most is {MOST_INPUTS} together"
            );
            return Err(Error::argument(self.name, text).help("split it, or write an operation with a rule of its own"));
        }
        let shape = broadcast_all(self.name, x)?;
        let dtype = cotangent_dtype(self.name, x)?;
        Ok(repeat_n(Spec::new(shape, dtype), wanted).collect())
    }
}

/// The single numbers that a function takes are of rank 0, and not too many.
pub(crate) fn check_numbers(name: &str, numbers: &[Spec]) -> Result<()> {
    if let Some(odd) = numbers.iter().find(|number| number.shape.rank() > 0) {
        return Err(Error::shape(name, format!("takes numbers after its operands, found {odd:?}")));
    }
    match numbers.len() {
        0..=MOST_NUMBERS => Ok(()),
        many => Err(Error::argument(name, format!("takes {many} numbers; the most is {MOST_NUMBERS}"))),
    }
}

/// A program with the types of the operands and results, computing as [`run`] does.
pub(crate) fn typed(x: &[Spec], compute: DType, program: Program, outputs: &[Spec]) -> Pointwise {
    Pointwise {
        arguments: x.iter().map(|x| Argument::Element(x.dtype)).collect(),
        compute: computed_in(compute),
        program: Arc::new(program),
        outputs: outputs.iter().map(|y| y.dtype).collect(),
    }
}

/// The most numbers that a function can take beside its operands.
pub(crate) const MOST_NUMBERS: usize = 16;

/// The most operands and results that a function which is differentiated can have together.
pub(super) const MOST_INPUTS: usize = 8;

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
            let (x, y): ([_; IN], [_; OUT]) = (operands(x, IN), results(y, OUT));
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

/// What has an element type, or is a number that adapts to one.
pub(crate) trait Typed {
    fn dtype(&self) -> DType;
    fn is_number(&self) -> bool;
}

impl Typed for Spec {
    fn dtype(&self) -> DType {
        self.dtype
    }
    fn is_number(&self) -> bool {
        Spec::is_number(self)
    }
}

impl Typed for View<'_> {
    fn dtype(&self) -> DType {
        View::dtype(self)
    }
    fn is_number(&self) -> bool {
        View::is_number(self)
    }
}

/// The type in which operands meet. Numbers adapt to the type of the others, unless they have a fraction and these none.
fn join<X: Typed>(kind: Kind, operands: &[X]) -> DType {
    let fraction = operands.iter().any(|x| x.is_number() && x.dtype().is_float());
    let fixed = operands.iter().filter(|x| !x.is_number()).map(X::dtype).reduce(DType::promote);
    match (fixed, fraction) {
        // Where the type of the result does not depend on it, integers are compared exactly as far as can be.
        (Some(dtype), true) if !dtype.is_float() && kind == Kind::Comparison => DType::F64,
        (Some(dtype), true) => dtype.to_float(),
        (Some(DType::Bool), false) if operands.iter().any(X::is_number) => DType::I64,
        (Some(dtype), false) => dtype,
        (None, true) if kind == Kind::Select => DType::F32,
        (None, true) => DType::F64,
        (None, false) => DType::I64,
    }
}

pub(crate) fn broadcast_all(name: &str, x: &[Spec]) -> Result<Shape> {
    let Some(first) = x.first() else {
        return Err(Error::argument(name, "without operands nothing says what shape the result has"));
    };
    let mut shape = first.shape;
    for spec in &x[1..] {
        if spec.shape != shape {
            shape = shape.broadcast(&spec.shape).map_err(|_| broadcast_error(name, x))?;
        }
    }
    Ok(shape)
}

/// The type that derivatives are computed in: that of the results' gradients, which stand last.
fn cotangent_dtype(name: &str, x: &[Spec]) -> Result<DType> {
    match x.last().map(|spec| spec.dtype) {
        Some(dtype) if dtype.is_float() => Ok(dtype),
        _ => Err(Error::dtype(name, "a derivative needs a floating-point gradient of the result")),
    }
}

fn broadcast_error(name: &str, x: &[Spec]) -> Error {
    let shapes: Vec<String> = x.iter().map(|s| s.shape.to_string()).collect();
    Error::shape(name, format!("the shapes {} do not broadcast together", shapes.join(" and ")))
        .help("dimensions are aligned at the right and must be equal, or one of them 1")
}

/// The gradient of an operand of a choice: what was not chosen gets nothing, whatever became of what was.
#[inline(always)]
fn chosen<S: Scalar>(slope: S, dy: S) -> S {
    S::select(slope.clone().equals(S::lit(0.0)), S::lit(0.0), slope.times_tangent(dy))
}

/// The operation behind the gradient of an [`Elementwise`]: from the operands (or the result, where that is enough)
/// and the gradient of each result, the gradient of each operand that is asked for, not yet summed over broadcast axes.
#[derive(Debug, Clone, PartialEq)]
pub struct ElementwiseGrad<F, const IN: usize, const OUT: usize> {
    /// The function.
    pub function: F,
    /// Which operands want a gradient; one output each.
    pub need: [bool; IN],
}

impl<F: Function<IN, OUT>, const IN: usize, const OUT: usize> ElementwiseGrad<F, IN, OUT> {
    /// Number of inputs: the operands (or the result) and the gradients of the results.
    fn operands(&self) -> usize {
        const { assert!(!F::FROM_OUTPUT || (IN == 1 && OUT == 1), "FROM_OUTPUT is for functions of one argument") };
        if F::FROM_OUTPUT { 2 } else { IN + OUT }
    }

    /// How many operands want a gradient.
    #[inline(always)]
    fn wanted(&self) -> usize {
        let (mut wanted, mut i) = (0, 0);
        while i < IN {
            wanted += usize::from(self.need[i]);
            i += 1;
        }
        wanted
    }

    /// The gradient of operand `wrt` at one point.
    #[inline(always)]
    fn gradient<S: Scalar>(&self, wrt: usize, at: &impl Point<S>) -> S {
        if F::FROM_OUTPUT {
            return self.function.slope(at.input(0)).times_tangent(at.input(1));
        }
        let y = self.function.call(at.duals(wrt));
        let (mut sum, mut o) = (S::lit(0.0), 0);
        while o < OUT {
            let (slope, dy) = (y[o].tangent.clone(), at.input(IN + o));
            // A gradient that is 0 stays so where the slope is infinite or undefined: what is masked later counts for
            // nothing.
            let term = if matches!(F::KIND, Kind::Select) { chosen(slope, dy) } else { slope.times_tangent(dy) };
            sum = if o == 0 { term } else { sum + term };
            o += 1;
        }
        sum
    }

    /// The wanted gradients as formulas.
    fn formulas<const DERIVED: bool>(&self) -> Vec<Expr<DERIVED>>
    where
        Expr<DERIVED>: Scalar,
    {
        // A loop: adapters would be compiled for every function.
        let mut wanted = Vec::new();
        for wrt in 0..IN {
            if self.need[wrt] {
                wanted.push(self.gradient(wrt, &Symbols));
            }
        }
        wanted
    }

    /// The same as a formula, which can be derived again.
    pub fn formula(&self) -> Formula {
        Formula::new(self.name(), self.operands(), &self.formulas())
    }

    /// The gradients as the kernel computes them, in instructions.
    fn program(&self) -> Program {
        Program::new(self.operands(), &self.formulas::<false>())
    }
}

impl<F: Function<IN, OUT>, const IN: usize, const OUT: usize> Op for ElementwiseGrad<F, IN, OUT> {
    fn name(&self) -> &str {
        F::NAME
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(self.operands())
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        Elementwise::<F, IN, OUT>::SIGNATURE.infer_gradient(self.operands(), x, self.wanted())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts_in_place();
        run(self, x[x.len() - 1].dtype(), x, y);
        Ok(())
    }

    fn aliases(&self) -> Aliases {
        Aliases::Any
    }

    fn pointwise(&self, x: &[Spec]) -> Option<Pointwise> {
        gradient_pointwise(self, x, &|| self.program())
    }
}

// Not generic, as it would be compiled for each function.
fn gradient_pointwise(op: &dyn Op, x: &[Spec], program: &dyn Fn() -> Program) -> Option<Pointwise> {
    let outputs = infer(op, x).ok()?;
    Some(typed(x, x.last()?.dtype, program(), &outputs))
}

impl<F: Function<IN, OUT>, const IN: usize, const OUT: usize> GradientOp for ElementwiseGrad<F, IN, OUT> {
    fn formula(&self) -> Formula {
        ElementwiseGrad::formula(self)
    }
}

impl<F: Function<IN, OUT>, const IN: usize, const OUT: usize> BlockFn for ElementwiseGrad<F, IN, OUT> {
    #[inline(always)]
    unsafe fn block<C: Real>(&self, x: *const *const C, y: *const *mut C, length: usize) {
        // SAFETY: there are so many inputs, and a result for each operand in need.
        let (x, y): ([_; MOST_INPUTS], [_; IN]) = unsafe { (operands(x, self.operands()), results(y, self.wanted())) };
        let mut start = 0;
        while start < length {
            // SAFETY: inputs have `length` elements, and start + LANES ≤ length.
            let runs = unsafe { read_runs(&x, self.operands(), start) };
            // One loop per wanted gradient keeps each loop simple enough to vectorize whatever the others are.
            let (mut wrt, mut o) = (0, 0);
            while wrt < IN {
                if self.need[wrt] {
                    let mut dx = [C::default(); LANES];
                    let mut lane = 0;
                    while lane < LANES {
                        dx[lane] = self.gradient(wrt, &Lane { runs: &runs, lane });
                        lane += 1;
                    }
                    // SAFETY: results have `length` elements, and this run of every operand has been read.
                    unsafe { write_run(y[o], start, &dx) }
                    o += 1;
                }
                wrt += 1;
            }
            start += LANES;
        }
    }
}

/// An elementwise operation given by a formula instead of compiled code: the derivatives of order two and up of any
/// [`Function`], each again a formula.
#[derive(Debug, Clone, PartialEq)]
pub struct Formula {
    name: String,
    program: Arc<Program>,
}

impl Formula {
    fn new(name: &str, inputs: usize, results: &[Expr<true>]) -> Formula {
        Formula { name: name.to_owned(), program: Arc::new(Program::new(inputs, results)) }
    }

    /// The formula for the gradients of the operands in `need`, from the operands and the gradient of each result.
    #[must_use]
    pub fn gradient(&self, need: &[bool]) -> Formula {
        let arity = self.program.inputs();
        let mut gradients = Vec::new();
        for wrt in (0..arity).filter(|&i| need[i]) {
            let x: Vec<Dual<Expr<true>>> = (0..arity).map(|i| dual(Expr::input(i), i == wrt)).collect();
            let terms = self
                .program
                .call(&x)
                .into_iter()
                .enumerate()
                .map(|(o, y)| y.tangent.times_tangent(Expr::input(arity + o)));
            gradients.push(terms.reduce(|sum, term| sum + term).unwrap_or_else(|| Expr::lit(0.0)));
        }
        Formula::new(&self.name, arity + self.program.outputs(), &gradients)
    }
}

impl Op for Formula {
    fn name(&self) -> &str {
        &self.name
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(self.program.inputs())
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        let shape = broadcast_all(&self.name, x)?;
        let dtype = cotangent_dtype(&self.name, x)?;
        Ok(repeat_n(Spec::new(shape, dtype), self.program.outputs()).collect())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts_in_place();
        run(&*self.program, x[x.len() - 1].dtype(), x, y);
        Ok(())
    }

    fn aliases(&self) -> Aliases {
        Aliases::Any
    }

    fn pointwise(&self, x: &[Spec]) -> Option<Pointwise> {
        let outputs = infer(self, x).ok()?;
        Some(typed(x, x.last()?.dtype, (*self.program).clone(), &outputs))
    }
}

impl GradientOp for Formula {
    fn formula(&self) -> Formula {
        self.clone()
    }
}

impl BlockFn for Program {
    const WHOLE: bool = true;

    #[inline(always)]
    unsafe fn block<C: Real>(&self, x: *const *const C, y: *const *mut C, length: usize) {
        // SAFETY: there are so many operands and results.
        let (x, y) =
            unsafe { (std::slice::from_raw_parts(x, self.inputs()), std::slice::from_raw_parts(y, self.outputs())) };
        for start in (0..length).step_by(BLOCK) {
            let n = BLOCK.min(length - start);
            // SAFETY: operands have `length` elements. They are not written while these slices are used: the program
            // reads them in its first instructions and hands out results after its last.
            let x: Vec<&[C]> = x.iter().map(|x| unsafe { std::slice::from_raw_parts(x.add(start), n) }).collect();
            let results = self.call_blocks(&x, n);
            for (y, result) in y.iter().zip(results) {
                // SAFETY: results have `length` elements, and no operand is looked at any more.
                unsafe { std::ptr::copy_nonoverlapping(result.as_ptr(), y.add(start), n) }
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
