//! Operations that sort samples into cells and refuse what belongs in none. What only values show, a class that is none
//! or a score that is no probability, is an error of their kernels: on the CPU at once.

use kiln_autograd::{Arity, CpuCall, DType, Error, Op, Result, Spec, Specs};

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
                let text =
                    format!("sample {i} has class {actual}, predicted {predicted}, but there are {classes} classes");
                let error = Error::index(self.name(), text).of_element(i, weights.len());
                return Err(error.help("classes count from 0; set num_classes"));
            }
            *cell = if exists { actual * classes + predicted } else { 0 };
        }
        Ok(())
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
                let text = format!("prediction {score} at position {i} is no probability");
                let error = Error::index(self.name(), text).of_element(i, weights.len());
                return Err(error.help("end the model in a sigmoid, or set from_logits"));
            }
            *below = if weights[i] == 0.0 { 0 } else { self.bounds.partition_point(|bound| *bound < score) as i64 };
        }
        Ok(())
    }
}

/// The operands have these types and one shape.
fn check(op: &str, x: &[Spec], dtypes: &[DType]) -> Result<()> {
    match x.iter().zip(dtypes).all(|(spec, &dtype)| spec.dtype == dtype && spec.shape == x[0].shape) {
        true => Ok(()),
        false => Err(Error::dtype(op, format!("the operands must be {dtypes:?} of one shape, found {x:?}"))),
    }
}
