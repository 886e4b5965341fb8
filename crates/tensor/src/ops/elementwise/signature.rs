//! Shapes and types of what goes into an elementwise operation and of what comes out.

use super::function::Kind;
use super::run::computed_in;
use crate::run::infer;
use crate::scalar::Program;
use crate::{Argument, DType, Error, Op, Pointwise, Result, Shape, Spec, Specs, View};
use std::iter::repeat_n;
use std::sync::Arc;

pub(super) fn no_derivative(name: &str) -> Error {
    Error::argument(name, "a function with numbers beside its operands has no derivative")
}

/// What of a function decides the specs of its results.
pub(super) struct Signature {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) operands: usize,
    /// Single numbers after the operands.
    pub(super) numbers: usize,
    pub(super) results: usize,
}

impl Signature {
    pub(super) fn compute_dtype<X: Typed>(&self, x: &[X]) -> Result<DType> {
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

    pub(super) fn infer(&self, x: &[Spec]) -> Result<Specs> {
        let (operands, numbers) = x.split_at(self.operands);
        check_numbers(self.name, numbers)?;
        let shape = broadcast_all(self.name, operands)?;
        let dtype = self.compute_dtype(x)?;
        let dtype = if self.kind == Kind::Comparison { DType::Bool } else { dtype };
        Ok(repeat_n(Spec::new(shape, dtype), self.results).collect())
    }

    pub(super) fn pointwise(&self, op: &dyn Op, x: &[Spec], program: &dyn Fn() -> Program) -> Option<Pointwise> {
        let outputs = infer(op, x).ok()?;
        let mut pointwise = typed(x, self.compute_dtype(x).ok()?, program(), &outputs);
        let arguments = pointwise.arguments.iter_mut().zip(x).skip(self.operands);
        arguments.for_each(|(argument, x)| *argument = Argument::Number(x.dtype));
        Some(pointwise)
    }

    /// The specs of the gradients of the operands, so many of them, from `inputs` inputs.
    pub(super) fn infer_gradient(&self, inputs: usize, x: &[Spec], wanted: usize) -> Result<Specs> {
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

/// A program with the types of the operands and results, computing as [`run`](super::run::run) does.
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
pub(super) fn cotangent_dtype(name: &str, x: &[Spec]) -> Result<DType> {
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
