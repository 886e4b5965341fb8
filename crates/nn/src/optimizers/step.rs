//! The step of a whole module.

use super::{Optimizer, ParameterUpdate};
use crate::module::named_parameters;
use crate::{Error, Module, Result};
use kiln_autograd::Tensor;

impl Optimizer {
    /// [`Optimizer::apply`] to the weights of a module, which are then held to their constraints. The gradients are those of
    /// [`Pass::finish`](crate::Pass::finish): one for each parameter, in the order of [`Module::parameters_mut`].
    ///
    /// ```
    /// use kiln_nn::{IntoOptimizer, Key, Module, Pass, Sequential, Var, layers::Dense, ops::*, optimizers::Adam};
    /// let mut net = Sequential::new([3]).add(Dense::new(1)).build()?;
    /// let mut optimizer = Adam::new(0.1).into_optimizer()?;
    /// let x = Var::new(Key::new(0).normal([8, 3], 0.0, 1.0)?);
    /// let mut losses = Vec::new();
    /// for step in 0..20 {
    ///     let mut pass = Pass::training(Key::new(1).fold(step));
    ///     let loss = net.forward(&x, &mut pass)?.sub(1.0)?.square()?.mean(..)?;
    ///     let gradients = pass.finish(&loss, &mut net)?;
    ///     optimizer.step(&mut net, gradients)?;
    ///     losses.push(loss.item()?);
    /// }
    /// assert!(losses[19] < losses[0]);
    /// # Ok::<(), kiln_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Optimizer::apply`]; another number of gradients than of parameters.
    pub fn step(&mut self, module: &mut (impl Module + ?Sized), gradients: Vec<Option<Tensor>>) -> Result<()> {
        let paths: Vec<String> = named_parameters(module).into_iter().map(|(path, _)| path).collect();
        if gradients.len() != paths.len() {
            let text = format!("{}: {} gradients for {} parameters", self.name(), gradients.len(), paths.len());
            return Err(Error::config(text, "give those of `Pass::finish`: one, or none, for each parameter"));
        }
        self.apply(&mut updates(module, &paths, gradients))?;
        constrain(module)
    }
}

/// The trainable parameters with their gradients, which come in the order of [`Module::parameters_mut`]; `paths`, those of all
/// parameters, may be in another.
pub fn updates<'a, M: Module + ?Sized>(
    module: &'a mut M,
    paths: &'a [String],
    gradients: Vec<Option<Tensor>>,
) -> Vec<ParameterUpdate<'a>> {
    let mut all = Vec::with_capacity(paths.len());
    let mut gradients = gradients.into_iter().enumerate();
    module.parameters_mut(&mut |path, parameter| {
        let Some((i, gradient)) = gradients.next() else { return };
        let name = paths.get(i).filter(|name| *name == path).or_else(|| paths.iter().find(|name| *name == path));
        if let Some(name) = name
            && parameter.is_trained()
        {
            all.push(ParameterUpdate { name, value: &mut parameter.tensor, gradient });
        }
    });
    all
}

/// Holds weights to their constraints.
///
/// # Errors
/// A constraint along an axis that a weight does not have.
pub fn constrain(module: &mut (impl Module + ?Sized)) -> Result<()> {
    let mut outcome = Ok(());
    module.parameters_mut(&mut |_, parameter| {
        if let Some(constraint) = parameter.constrained().filter(|_| parameter.is_trained() && outcome.is_ok()) {
            match constraint.apply(&parameter.tensor) {
                Ok(held) => parameter.tensor = held,
                Err(error) => outcome = Err(error),
            }
        }
    });
    outcome
}
