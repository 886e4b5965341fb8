//! A layer whose inner values are computed twice instead of kept.

use super::Dense;
use super::settings::{described, settings};
use crate::layer::{AnyLayer, Weight, Weights};
use crate::module::Reported;
use crate::{Error, Parameter, Pass, Regularizer, Result, Signal};
use kiln_autograd::{Shape, Tensor, Var, checkpoint};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

settings! {
    /// A layer, or a model as one, of which training keeps only the inputs: what it computes between them and its outputs is
    /// computed a second time when gradients are taken. The numbers are those of the layer itself; it trades time for memory
    /// (Chen et al. 2016). Keras's `remat`.
    ///
    /// # Shapes
    /// Those of the layer, and so are the names of the weights: files do not know whether it was there.
    Recompute {
        layer: Arc<dyn AnyLayer> = Arc::new(Dense::new(0)), new;
    }
}

impl Recompute {
    /// Wraps a layer or a model, as a rule a whole block: inputs are kept for each wrapper.
    pub fn new(layer: impl AnyLayer + 'static) -> Recompute {
        Recompute { layer: Arc::new(layer) }
    }
}

/// All that a run of the layer needs but the values.
struct Region<P> {
    layer: Arc<dyn AnyLayer>,
    masks: Vec<Option<Var>>,
    names: Vec<String>,
    /// Stand for the weights, which are values here.
    parameters: Vec<Parameter>,
    pass: P,
}

impl<P: Fn() -> Pass> Region<P> {
    /// The layer on the values of its inputs and weights.
    fn run(&self, values: &[Var]) -> Result<(Vec<Signal>, Reported)> {
        let (x, weights) = values.split_at(self.masks.len());
        let mut pass = (self.pass)();
        self.parameters.iter().zip(weights).for_each(|(stand_in, value)| pass.assume(stand_in, value.clone()));
        let x = x.iter().zip(&self.masks).map(|(value, mask)| Signal::new(value.clone()).masked(mask.clone()));
        let weights = Weights::of(&self.names, &self.parameters);
        let y = self.layer.run(&x.collect::<Vec<_>>(), weights, &mut pass)?;
        let reported = pass.reported();
        if reported.replaces {
            let text = format!("Recompute: {} gives its weights other values", self.layer.class_name());
            return Err(Error::config(text, "leave it outside of Recompute"));
        }
        Ok((y, reported))
    }
}

/// What the first run of a region gives that is no value with a gradient.
#[derive(Default)]
struct Seen {
    masks: Vec<Option<Var>>,
    updates: Vec<Option<Tensor>>,
    draws: u64,
    error: Option<Error>,
}

impl AnyLayer for Recompute {
    described!(any);

    fn infer(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        self.layer.infer(inputs)
    }

    fn weights_for(&self, inputs: &[Shape]) -> Result<Vec<Weight>> {
        self.layer.weights_for(inputs)
    }

    fn run(&self, x: &[Signal], weights: Weights<'_>, pass: &mut Pass) -> Result<Vec<Signal>> {
        if !pass.is_recorded() {
            return self.layer.run(x, weights, pass);
        }
        let values: Vec<Var> = x.iter().map(|x| x.value.clone()).collect();
        let bound: Vec<Var> = weights.parameters().iter().map(|parameter| pass.bind(parameter)).collect();
        let region = Region {
            layer: self.layer.clone(),
            masks: x.iter().map(|x| x.mask.clone()).collect(),
            names: weights.names().map(str::to_owned).collect(),
            parameters: weights.parameters().iter().map(|p| p.stand_in(pass.current(p).clone())).collect(),
            pass: pass.part(),
        };
        let seen = Rc::new(RefCell::new(None));
        let told = seen.clone();
        let run = move |values: &[Var]| match region.run(values) {
            Ok((y, reported)) => {
                told.borrow_mut().get_or_insert_with(|| Seen {
                    masks: y.iter().map(|y| y.mask.clone()).collect(),
                    updates: region.parameters.iter().map(|p| reported.update_of(p).cloned()).collect(),
                    draws: reported.draws,
                    error: None,
                });
                Ok(y.into_iter().map(|y| y.value).chain(reported.penalties).collect())
            }
            Err(error) => {
                let text = error.to_string();
                *told.borrow_mut() = Some(Seen { error: Some(error), ..Seen::default() });
                Err(kiln_autograd::Error::argument("recompute", text))
            }
        };
        let outputs = checkpoint(run, &values.iter().chain(&bound).collect::<Vec<_>>());
        let seen = seen.borrow_mut().take().unwrap_or_default();
        if let Some(error) = seen.error {
            return Err(error);
        }
        let mut outputs = outputs?;
        pass.draw_after(seen.draws);
        outputs.drain(seen.masks.len()..).for_each(|term| pass.penalty(term));
        for (parameter, update) in weights.parameters().iter().zip(seen.updates) {
            if let Some(value) = update {
                pass.update(parameter, value);
            }
        }
        Ok(outputs.into_iter().zip(seen.masks).map(|(value, mask)| Signal::new(value).masked(mask)).collect())
    }

    fn default_name(&self) -> String {
        self.layer.default_name()
    }

    fn final_activation(&self) -> crate::Activation {
        self.layer.final_activation()
    }

    fn penalty(&self) -> Option<Regularizer> {
        self.layer.penalty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{BatchNormalization, Dropout, SpectralNormalization};
    use crate::losses::{Loss, MeanSquaredError};
    use crate::module::named_parameters;
    use crate::{Module, Sequential};
    use kiln_autograd::Key;

    /// Loss, gradients and statistics of one step.
    fn step(block: impl AnyLayer + 'static) -> (Tensor, Vec<Tensor>, Vec<Tensor>) {
        let mut model = Sequential::new([3])
            .add(Dense::new(4))
            .add(block)
            .add(Dropout::new(0.5))
            .add(Dense::new(1))
            .seed(1)
            .build()
            .unwrap();
        let x = Var::new(Key::new(2).normal([8, 3], 0.0, 1.0).unwrap());
        let y = Var::new(Tensor::ones([8, 1]).unwrap());
        let mut pass = Pass::training(Key::new(3));
        let found = model.forward(&x, &mut pass).unwrap();
        let mut loss = MeanSquaredError::new().call(&y, &found, None).unwrap();
        if let Some(penalties) = pass.penalties().unwrap() {
            use kiln_autograd::ops::ArithmeticOps;
            loss = loss.add(&penalties).unwrap();
        }
        let gradients = pass.finish(&loss, &mut model).unwrap().into_iter().flatten().collect();
        let parameters = named_parameters(&model).into_iter().map(|(_, tensor)| tensor).collect();
        (loss.into_tensor(), gradients, parameters)
    }

    #[test]
    fn what_is_computed_twice_has_the_bits_of_what_is_kept() {
        let block = || {
            Sequential::new([4])
                .add(Dense::new(6).activation("gelu").activity_regularizer(Regularizer::L2 { l2: 0.1 }))
                .add(BatchNormalization::new())
                .add(Dropout::new(0.3))
                .add(Dense::new(4).activation("tanh"))
        };
        let ((a, da, pa), (b, db, pb)) = (step(block()), step(Recompute::new(block())));
        assert!(a.same_bits(&b));
        for (a, b) in [(&da, &db), (&pa, &pb)] {
            assert!(a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same_bits(b)));
        }
    }

    #[test]
    fn a_weight_that_is_replaced_is_refused() {
        let layer = Recompute::new(SpectralNormalization::new(Dense::new(4)));
        let model = Sequential::new([4]).add(layer).build().unwrap();
        let x = Var::new(Tensor::ones([2, 4]).unwrap());
        let error = model.forward(&x, &mut Pass::training(Key::new(0))).unwrap_err().to_string();
        assert!(error.contains("SpectralNormalization gives its weights other values"), "{error}");
        assert!(model.forward(&x, &mut Pass::inference()).is_ok());
    }
}
