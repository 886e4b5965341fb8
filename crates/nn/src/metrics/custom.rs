//! The metric of a user's own function.

use super::state::{Average, State};
use super::{Direction, Metric, means};
use crate::Result;
use kiln_autograd::Tensor;
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

type Values = dyn Fn(&Tensor, &Tensor) -> Result<Tensor> + Send + Sync;

/// A metric from a function of targets and predictions that gives the value of each sample: `[N]`, or with more axes after
/// that of the samples. Reported is the mean over all samples, weighted where the samples are.
///
/// ```
/// use kiln_autograd::{Tensor, ops::*};
/// use kiln_nn::metrics::{Metric, MetricFn};
/// let mut within_1 = MetricFn::new("within_1", |t, p| Ok(p.sub(t)?.abs()?.le(1.0)?.all(-1)?));
/// within_1.update(&Tensor::new([[1.0], [5.0]]), &Tensor::new([[1.5], [9.0]]), None)?;
/// assert_eq!(within_1.result(), 0.5);
/// # Ok::<(), kiln_nn::Error>(())
/// ```
#[derive(Clone)]
pub struct MetricFn {
    name: String,
    direction: Option<Direction>,
    values: Arc<Values>,
    state: Average,
}

impl MetricFn {
    /// A metric called `name`. A model file has its name alone: the model is built by your code again.
    pub fn new(
        name: impl Into<String>,
        values: impl Fn(&Tensor, &Tensor) -> Result<Tensor> + Send + Sync + 'static,
    ) -> MetricFn {
        MetricFn { name: name.into(), direction: None, values: Arc::new(values), state: Average::default() }
    }

    /// Which values are better: what callbacks that monitor it go by.
    #[must_use]
    pub fn direction(mut self, direction: Direction) -> MetricFn {
        self.direction = Some(direction);
        self
    }
}

impl fmt::Debug for MetricFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricFn").field("name", &self.name).field("state", &self.state).finish_non_exhaustive()
    }
}

impl Metric for MetricFn {
    fn name(&self) -> &str {
        &self.name
    }

    fn rename(&mut self, name: &str) {
        self.name = name.to_owned();
    }

    fn type_name(&self) -> &str {
        &self.name
    }

    fn update(&mut self, y_true: &Tensor, y_pred: &Tensor, sample_weight: Option<&Tensor>) -> Result<()> {
        let values = (self.values)(y_true, y_pred)?;
        let samples = y_pred.shape().first();
        if values.shape().first() != samples {
            let text = format!(
                "the function gives {} for predictions of shape {}, not a value for each sample",
                values.shape(),
                y_pred.shape()
            );
            let help = "leave out the mean over the samples: .mean(-1), not .mean(..)";
            return Err(kiln_autograd::Error::shape(&self.name, text).help(help).into());
        }
        means::add_values(&mut self.state, &values, sample_weight)
    }

    fn values(&self) -> Vec<f64> {
        vec![self.state.mean()]
    }

    fn reset(&mut self) {
        self.state = Average::default();
    }

    fn visit(&mut self, f: &mut dyn FnMut(&str, &mut Tensor) -> Result<()>) -> Result<()> {
        self.state.visit(f)
    }

    fn direction(&self) -> Option<Direction> {
        self.direction
    }

    fn arguments(&self) -> Value {
        Value::Null
    }

    fn boxed(&self) -> Box<dyn Metric> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_autograd::ops::{ArithmeticOps, MathOps, StatisticsOps};

    #[test]
    fn weights_and_mistakes() {
        let (t, p) = (Tensor::new([[1.0, 2.0], [3.0, 4.0]]), Tensor::new([[2.0, 2.0], [3.0, 8.0]]));
        let errors = |t: &Tensor, p: &Tensor| -> Result<Tensor> { Ok(p.sub(t)?.abs()?) };
        let mut metric = MetricFn::new("mine", move |t, p| Ok(errors(t, p)?.mean(-1)?)).direction(Direction::Min);
        metric.update(&t, &p, Some(&Tensor::new([3.0, 1.0]))).unwrap();
        assert_eq!((metric.result(), Metric::direction(&metric)), (3.5 / 4.0, Some(Direction::Min)));
        let mut copy = metric.boxed();
        metric.reset();
        assert_eq!((metric.result(), copy.result()), (0.0, 3.5 / 4.0));
        copy.update(&t, &p, None).unwrap();
        assert_eq!(copy.result(), (3.5 + 2.5) / 6.0);
        let mut one = MetricFn::new("mine", move |t, p| Ok(errors(t, p)?.mean(..)?));
        let error = one.update(&t, &p, None).unwrap_err().to_string();
        assert!(error.starts_with("mine: the function gives []") && error.contains(".mean(-1)"), "{error}");
    }
}
