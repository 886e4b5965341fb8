//! Predictions for batches of one shape, as fast as they go: the model as a plan, which allocates nothing after the first.

use crate::{Error, Model, Result};
use kiln_nn::{Module, Pass, Plan, Signal, Spec, Tensor};

/// What [`Model::predictor`] makes.
pub struct Predictor {
    plan: Plan,
    inputs: Vec<Spec>,
    /// The inputs of a run, and then its results.
    tensors: Vec<Tensor>,
}

impl<M: Module> Model<M> {
    /// Records the model's predictions for batches of the shape and type of these, for a service that answers one sample at a time.
    /// It has the weights of now: what trains the model later does not reach it. Each thread makes one for itself; several may at once.
    ///
    /// ```
    /// # use kiln_nn::{Sequential, Tensor, layers::Dense};
    /// # use kiln_train::Compile;
    /// let model = Sequential::new([3]).add(Dense::new(2).activation("softmax")).compile("adam", "mse", ())?;
    /// let x = Tensor::new([[0.5f32, -1.0, 2.0]]);
    /// let mut predictor = model.predictor(&[&x])?;
    /// assert!(predictor.predict(&[&x])?.same_bits(&model.predict(&x)?));
    /// # Ok::<(), kiln_train::Error>(())
    /// ```
    ///
    /// # Errors
    /// Samples that do not fit the model; a model that reads numbers on the host on the way, of which no plan can be made.
    pub fn predictor(&self, x: &[&Tensor]) -> Result<Predictor> {
        let inputs: Vec<Tensor> = x.iter().map(|&x| x.clone()).collect();
        let mut failure = None;
        let record = |x: &[Tensor]| -> kiln_nn::Result<Vec<Tensor>> {
            let x: Vec<Signal> = x.iter().cloned().map(Signal::from).collect();
            let y = self.module.forward_all(&x, &mut Pass::inference())?;
            Ok(y.into_iter().map(|y| y.value.into_tensor()).collect())
        };
        let plan = Plan::of(
            |x| match record(x) {
                Ok(y) => Ok(y),
                Err(error) => {
                    failure = Some(error);
                    Ok(Vec::new())
                }
            },
            &inputs,
        );
        if let Some(error) = failure {
            return Err(error.into());
        }
        let plan = plan.map_err(|e| {
            Error::config(
                format!("predictor: no plan can be made of this model:\n{e}"),
                "model.predict(&x) takes it as it is",
            )
        })?;
        Ok(Predictor { plan, inputs: inputs.iter().map(Tensor::spec).collect(), tensors: Vec::new() })
    }
}

impl Predictor {
    /// The model's first output for a batch; it lies here until the next call.
    ///
    /// # Errors
    /// A batch of another shape or type than the one that was recorded.
    pub fn predict(&mut self, x: &[&Tensor]) -> Result<&Tensor> {
        self.predict_all(x)?.first().ok_or_else(|| Error::data("predict: the model has no output", ""))
    }

    /// The model's outputs for a batch, in their order; they lie here until the next call.
    ///
    /// # Errors
    /// As [`Predictor::predict`].
    pub fn predict_all(&mut self, x: &[&Tensor]) -> Result<&[Tensor]> {
        if !x.iter().map(|x| x.spec()).eq(self.inputs.iter().copied()) {
            let told = |all: &mut dyn Iterator<Item = Spec>| -> String {
                all.map(|spec| format!("{} ({})", spec.shape, spec.dtype)).collect::<Vec<_>>().join(", ")
            };
            let text = format!(
                "predict: the predictor is for {}, found {}",
                told(&mut self.inputs.iter().copied()),
                told(&mut x.iter().map(|x| x.spec()))
            );
            return Err(Error::data(text, "make one for each shape: model.predictor(&[&x])"));
        }
        self.tensors.clear();
        self.tensors.extend(x.iter().map(|&x| x.clone()));
        self.plan.run_in_place(&mut self.tensors).map_err(kiln_nn::Error::from)?;
        Ok(&self.tensors)
    }
}

impl std::fmt::Debug for Predictor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Predictor").field("inputs", &self.inputs).finish_non_exhaustive()
    }
}
