//! The operation that applies the derivative of an elementwise function, and the formula for derivatives beyond the first.

use super::function::{Elementwise, Function, Kind};
use super::run::{BLOCK, BlockFn, LANES, run};
use super::runs::{Lane, Point, Symbols, dual, pointers, read_runs, write_run};
use super::signature::{MOST_INPUTS, broadcast_all, cotangent_dtype, typed};
use crate::run::infer;
use crate::scalar::{Program, Real};
use crate::{Aliases, Arity, CpuCall, Dual, Expr, Op, Pointwise, Result, Scalar, Spec, Specs};
use std::iter::repeat_n;
use std::sync::Arc;

/// The gradient of an elementwise operation whose function is not known.
pub trait GradientOp: Op {
    /// The same as a formula, which can be derived again.
    fn formula(&self) -> Formula;
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
    pub(super) fn operands(&self) -> usize {
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
        let (x, y): ([_; MOST_INPUTS], [_; IN]) = unsafe {
            (pointers(x, self.operands(), std::ptr::null()), pointers(y, self.wanted(), std::ptr::null_mut()))
        };
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
