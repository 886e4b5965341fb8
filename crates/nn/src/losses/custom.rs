//! The loss of a user's own function, and what is checked of its result.

use super::reduction::{self, Elements, Fold};
use super::{Loss, Reduction};
use crate::Result;
use kiln_autograd::ops::{CastOps, ComparisonOps, MathOps, StatisticsOps, ViewOps};
use kiln_autograd::{Shape, Tensor, Var};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

type Values = dyn Fn(&Var, &Var) -> Result<Var> + Send + Sync;

/// A loss from a function of targets and predictions that gives the loss of each sample: `[N]`, or with more axes after
/// that of the samples. Targets `[N]` and predictions `[N, 1]` come to it as they are; subtracted, they are `[N, N]`,
/// which is refused.
///
/// ```
/// use kiln_autograd::{Tensor, Var, ops::*};
/// use kiln_nn::losses::{Loss, LossFn};
/// let quartic = LossFn::new("quartic", |t, p| Ok(p.sub(t)?.square()?.square()?.mean(-1)?));
/// let (t, p) = (Var::new(Tensor::new([[0.0], [0.0]])), Var::new(Tensor::new([[1.0], [2.0]])));
/// assert_eq!(quartic.call(&t, &p, None)?.tensor().item()?, 8.5);
/// # Ok::<(), kiln_nn::Error>(())
/// ```
#[derive(Clone)]
pub struct LossFn {
    name: String,
    reduction: Reduction,
    values: Arc<Values>,
}

impl LossFn {
    /// A loss called `name`. A model file has its name alone: the model is built by your code again.
    pub fn new(name: impl Into<String>, values: impl Fn(&Var, &Var) -> Result<Var> + Send + Sync + 'static) -> LossFn {
        LossFn { name: name.into(), reduction: Reduction::default(), values: Arc::new(values) }
    }

    /// How the losses of the samples become one number.
    #[must_use]
    pub fn reduction(mut self, reduction: Reduction) -> LossFn {
        self.reduction = reduction;
        self
    }
}

impl LossFn {
    /// Refuses what is no loss of each sample: one number, or values for which the targets of all samples have met the
    /// predictions of all.
    fn check(&self, y_true: &Var, y_pred: &Var, values: &Var) -> Result<()> {
        let [t, p, v] = [y_true, y_pred, values].map(|x| *x.tensor().shape());
        let Some(&n) = p.first() else { return Ok(()) };
        let error = |text: String, help: String| {
            let text = format!("{text} for targets of shape {t} and predictions of shape {p}");
            Err(kiln_autograd::Error::shape(&self.name, text).help(help).into())
        };
        if v.first() != Some(&n) {
            let help = "leave out the sum or mean over the samples: .mean(-1), not .mean(..); the reduction follows";
            return error(format!("the function gives {v}, not a loss for each of the {n} samples,"), help.to_owned());
        }
        if !meet(&t, &p) || self.keeps_samples_apart(y_true, y_pred)? {
            return Ok(());
        }
        let help = match t.rank() < p.rank() {
            true => format!("make the targets a column: y.reshape([{n}, 1]), or take the last axis off: p.squeeze(-1)"),
            false => format!("give targets of shape {p}"),
        };
        error("the function mixes the samples, every target with every prediction,".to_owned(), help)
    }

    /// Whether the function gives the same for a sample alone as for the sample in a batch. Tried with numbers that
    /// differ from sample to sample, or with the batch itself where the function takes no such.
    fn keeps_samples_apart(&self, y_true: &Var, y_pred: &Var) -> Result<bool> {
        let ramp = |x: &Var, from: f64, to: f64| -> Result<Var> {
            let shape = x.tensor().shape();
            let (n, count) = (shape.first().copied().unwrap_or(1), shape.count());
            let at = |i: usize| (i * n / count.max(1)) as f64;
            let value = |i: usize| match x.tensor().dtype().is_float() {
                true => from + (to - from) * at(i) / n as f64,
                false => at(i) % 2.0,
            };
            let values: Vec<f64> = (0..count).map(value).collect();
            Ok(Var::new(Tensor::from_vec(values, *shape)?.cast(x.tensor().dtype())?))
        };
        let (t, p) = (ramp(y_true, 0.1, 0.8)?, ramp(y_pred, 0.9, 0.2)?);
        match self.is_local(&t, &p) {
            Ok(apart) => Ok(apart),
            Err(_) => Ok(self.is_local(y_true, y_pred).unwrap_or(true)),
        }
    }

    fn is_local(&self, y_true: &Var, y_pred: &Var) -> Result<bool> {
        let constant = |x: &Var| Var::new(x.tensor().clone());
        let (y_true, y_pred) = (constant(y_true), constant(y_pred));
        let whole = (self.values)(&y_true, &y_pred)?;
        let last = y_pred.tensor().shape().first().map_or(0, |n| *n as isize - 1);
        for i in [0, last] {
            let row = |x: &Var| x.slice(0, i..i + 1);
            let alone = (self.values)(&row(&y_true)?, &row(&y_pred)?)?.tensor().to_vec_as::<f64>();
            let among = row(&whole)?.tensor().to_vec_as::<f64>();
            let close = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-2 * a.abs().max(b.abs()) || a.is_nan();
            if alone.len() != among.len() || !alone.iter().zip(&among).all(close) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether broadcasting lays the samples of one shape along another axis of the other: `[N]` with `[N, 1]` or `[N, N]`.
fn meet(t: &Shape, p: &Shape) -> bool {
    let (short, long) = if t.rank() < p.rank() { (t, p) } else { (p, t) };
    let (Some(&n), Some(&other)) = (short.first(), long.get(long.rank() - short.rank())) else { return false };
    short.rank() < long.rank() && n > 1 && (other == n || other == 1)
}

impl fmt::Debug for LossFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LossFn").field("name", &self.name).field("reduction", &self.reduction).finish_non_exhaustive()
    }
}

impl Loss for LossFn {
    fn name(&self) -> &str {
        &self.name
    }

    fn call(&self, y_true: &Var, y_pred: &Var, sample_weight: Option<&Var>) -> Result<Var> {
        let values = match sample_weight {
            None => (self.values)(y_true, y_pred)?,
            Some(weight) => {
                // What it makes of a batch is unknown: samples of weight 0 are changed only where they would spoil the rest.
                let sound = |x: &Var| x.tensor().is_finite()?.all(..);
                let sound = sound(y_pred)?.logical_and(&sound(y_true)?)?;
                let counts = weight.tensor().ne(0.0)?.logical_or(&sound)?;
                let (y_true, y_pred) = reduction::where_counted(y_true, y_pred, &counts, &[-1])?;
                (self.values)(&y_true, &y_pred)?
            }
        };
        self.check(y_true, y_pred, &values)?;
        self.reduction.reduce(&self.name, &Elements::new(values, Fold::Done), sample_weight)
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }

    fn arguments(&self) -> Value {
        Value::Null
    }

    fn boxed(&self) -> Box<dyn Loss> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_autograd::ops::{ArithmeticOps, MathOps, ReduceOps, StatisticsOps};

    fn call(f: impl Fn(&Var, &Var) -> Result<Var> + Send + Sync + 'static, t: Tensor, p: Tensor) -> Result<f64> {
        Ok(LossFn::new("mine", f).call(&Var::new(t), &Var::new(p), None)?.tensor().item()?)
    }

    fn squares(t: &Var, p: &Var) -> Result<Var> {
        Ok(p.sub(t)?.square()?)
    }

    #[test]
    fn targets_and_predictions_that_broadcast_over_the_samples_are_refused() {
        let means = |t: &Var, p: &Var| Ok(squares(t, p)?.mean(-1)?);
        let vector = || Tensor::new([1.0, 2.0, 3.0]);
        for (t, p) in [
            (vector(), Tensor::new([[1.0], [2.0], [3.0]])),
            (Tensor::ones([3]).unwrap(), Tensor::ones([3, 1]).unwrap()),
            (Tensor::new([0, 1, 1]), Tensor::new([[0.5], [0.5], [0.5]])),
            (Tensor::new([[1.0], [2.0], [3.0]]), vector()),
        ] {
            for text in [call(squares, t.clone(), p.clone()), call(means, t.clone(), p.clone())] {
                let text = text.unwrap_err().to_string();
                let shapes = format!("targets of shape {} and predictions of shape {}", t.shape(), p.shape());
                assert!(text.contains("mine") && text.contains(&shapes) && text.contains("help"), "{text}");
            }
        }
        // A function that sees to it itself is not in the way.
        let own = |t: &Var, p: &Var| squares(t, &p.squeeze(-1)?);
        let p = || Tensor::new([[1.0], [2.0], [6.0]]);
        assert_eq!(call(own, vector(), p()).unwrap(), 3.0);
        assert_eq!(call(means, vector().reshape([3, 1]).unwrap(), p()).unwrap(), 3.0);
        let chosen = |t: &Var, p: &Var| super::super::SparseCategoricalCrossentropy::new().values(t, p);
        assert!(call(chosen, Tensor::new([0, 1]), Tensor::new([[0.5, 0.5], [0.5, 0.5]])).is_ok());
        assert!(call(chosen, Tensor::new([0.0, 1.0]), Tensor::new([[0.5, 0.5], [0.5, 0.5]])).is_ok());
    }

    #[test]
    fn one_number_is_no_loss_of_each_sample() {
        let mean = |t: &Var, p: &Var| Ok(squares(t, p)?.mean(..)?);
        let columns = |t: &Var, p: &Var| Ok(squares(t, p)?.sum(0)?);
        for f in [mean as fn(&Var, &Var) -> Result<Var>, columns] {
            for n in [1, 3] {
                let x = || Tensor::ones([n, 2]).unwrap();
                match call(f, x(), x()) {
                    Err(error) => assert!(error.to_string().contains(".mean(-1)"), "{error}"),
                    Ok(_) => panic!("{n} samples"),
                }
            }
        }
    }
}
