//! Operations that sort samples into cells and refuse what belongs in none. What only values show, a class that is none
//! or a score that is no probability, is an error of their kernels: on the CPU at once.

use kiln_autograd::{Arity, CpuCall, CudaCall, DType, Error, Launch, Op, Result, Spec, Specs};

/// The cell `actual · classes + predicted` of each sample `[N]`, from both classes `[N]` and the weights `[N]`; 0 where
/// the weight is 0.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    /// The metric, for errors.
    pub(super) name: String,
    pub(super) classes: usize,
}

impl Op for Cell {
    fn name(&self) -> &str {
        &self.name
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(3)
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        check(self.name(), x, &[DType::I64, DType::I64, DType::F64])?;
        Ok(x[0].into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        let (actual, predicted) = (x[0].contiguous::<i64>()?, x[1].contiguous::<i64>()?);
        let (weights, cells) = (x[2].contiguous::<f64>()?, y[0].slice::<i64>()?);
        let classes = self.classes as i64;
        for (i, cell) in cells.iter_mut().enumerate() {
            let (actual, predicted) = (actual[i], predicted[i]);
            let exists = (0..classes).contains(&actual) && (0..classes).contains(&predicted);
            if weights[i] != 0.0 && !exists {
                return Err(self.no_cell(actual, predicted, i, weights.len()));
            }
            *cell = if exists { actual * classes + predicted } else { 0 };
        }
        Ok(())
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        let (op, count, classes) = (self.clone(), call.outputs()[0].shape.count(), self.classes as i64);
        let [actual, predicted, weights] = [0, 1, 2].map(|i| call.dense(i));
        let faults = call.faults(move |fault| {
            // Both classes in one number, each within 32 bits.
            let [actual, predicted] = [fault.integer() >> 32, i64::from(fault.integer() as i32)];
            op.no_cell(actual, predicted, fault.position as usize, count)
        });
        let launch = Launch::new(include_str!("checks.cu"), "cells").over(count).arg(count).arg(classes);
        let launch = launch.arg(actual).arg(predicted).arg(weights).arg(call.output(0)).arg(faults);
        call.launch(launch);
        Ok(())
    }
}

impl Cell {
    /// The error of a sample that counts and belongs in no cell.
    fn no_cell(&self, actual: i64, predicted: i64, at: usize, count: usize) -> Error {
        let text =
            format!("sample {at} has class {actual}, predicted {predicted}, but there are {} classes", self.classes);
        Error::index(self.name(), text).of_element(at, count).help("classes count from 0; set num_classes")
    }
}

/// How many of the bounds each probability is above, from scores and weights of one shape; 0 where the weight is 0.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BoundsBelow {
    /// The metric, for errors.
    pub(super) name: String,
    /// In ascending order.
    pub(super) bounds: Vec<f64>,
}

impl Op for BoundsBelow {
    fn name(&self) -> &str {
        &self.name
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(2)
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        check(self.name(), x, &[DType::F64, DType::F64])?;
        Ok(Spec::new(x[0].shape, DType::I64).into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        let (scores, weights) = (x[0].contiguous::<f64>()?, x[1].contiguous::<f64>()?);
        for (i, below) in y[0].slice::<i64>()?.iter_mut().enumerate() {
            let score = scores[i];
            if weights[i] != 0.0 && !(0.0..=1.0).contains(&score) {
                return Err(self.no_probability(score, i, weights.len()));
            }
            *below = if weights[i] == 0.0 { 0 } else { self.bounds.partition_point(|bound| *bound < score) as i64 };
        }
        Ok(())
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        let (op, count) = (self.clone(), call.outputs()[0].shape.count());
        let [scores, weights] = [0, 1].map(|i| call.dense(i));
        let bounds = call.table(&self.bounds);
        let faults = call.faults(move |fault| op.no_probability(fault.number(), fault.position as usize, count));
        let launch = Launch::new(include_str!("checks.cu"), "bounds_below").over(count).arg(count);
        let launch = launch.arg(self.bounds.len()).arg(bounds).arg(scores).arg(weights);
        let launch = launch.arg(call.output(0)).arg(faults);
        call.launch(launch);
        Ok(())
    }
}

impl BoundsBelow {
    /// The error of a prediction that counts and is no probability.
    fn no_probability(&self, score: f64, at: usize, count: usize) -> Error {
        let text = format!("prediction {score} at position {at} is no probability");
        Error::index(self.name(), text).of_element(at, count).help("end the model in a sigmoid, or set from_logits")
    }
}

/// The operands have these types and one shape.
fn check(op: &str, x: &[Spec], dtypes: &[DType]) -> Result<()> {
    match x.iter().zip(dtypes).all(|(spec, &dtype)| spec.dtype == dtype && spec.shape == x[0].shape) {
        true => Ok(()),
        false => Err(Error::dtype(op, format!("the operands must be {dtypes:?} of one shape, found {x:?}"))),
    }
}
