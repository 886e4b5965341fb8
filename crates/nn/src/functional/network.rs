//! A graph with weights.

use super::Functional;
use crate::layer::{AnyLayer, Held};
use crate::module::Module;
use crate::{Activation, Error, Parameter, Pass, Result, Signal};
use kiln_autograd::{DType, Shape, Var};
use serde_json::Value as Json;

/// A [`Sequential`](crate::Sequential) or [`Functional`] with weights.
#[derive(Debug, Clone)]
pub struct Network {
    pub(super) graph: Functional,
    pub(super) held: Held,
}

impl Network {
    /// The graph.
    pub fn graph(&self) -> &Functional {
        &self.graph
    }

    /// The layers, each under its name.
    pub fn layers(&self) -> impl Iterator<Item = (&str, &dyn AnyLayer)> {
        self.graph.layers.iter().map(|placed| (placed.name.as_str(), &*placed.layer))
    }

    fn results(&self, x: &[Signal], pass: &mut Pass, logits: bool) -> Result<Vec<Signal>> {
        self.held.tie(pass)?;
        let y = self.graph.outputs(x, self.held.weights(), pass, logits)?;
        self.held.penalize(pass)?;
        Ok(y)
    }
}

impl Module for Network {
    fn forward(&self, x: &Var, pass: &mut Pass) -> Result<Var> {
        let mut y = self.results(&[Signal::new(x.clone())], pass, false)?;
        match y.len() {
            1 => Ok(y.swap_remove(0).value),
            n => Err(Error::config(format!("the model has {n} outputs"), "ask for all of them: forward_all")),
        }
    }

    fn forward_all(&self, x: &[Signal], pass: &mut Pass) -> Result<Vec<Signal>> {
        self.results(x, pass, false)
    }

    fn logits(&self, x: &[Signal], pass: &mut Pass) -> Result<Vec<Signal>> {
        self.results(x, pass, true)
    }

    fn output_activations(&self) -> Vec<Activation> {
        self.graph.activations()
    }

    fn output_layers(&self) -> Vec<(String, Shape)> {
        self.graph.output_layers()
    }

    fn parameters<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Parameter)) {
        self.held.visit(visit);
    }

    fn parameters_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&str, &'a mut Parameter)) {
        self.held.visit_mut(visit);
    }

    fn config(&self) -> Option<Json> {
        Some(self.graph.config())
    }

    fn tied_weights(&self) -> Vec<(String, String)> {
        self.held.tied().map(|(path, to)| (path.to_owned(), to.to_owned())).collect()
    }

    fn input_shapes(&self) -> Option<Vec<Shape>> {
        Some(self.graph.inputs.iter().map(|port| port.shape).collect())
    }

    fn input_names(&self) -> Vec<String> {
        self.graph.inputs.iter().map(|port| port.name.clone()).collect()
    }

    fn output_names(&self) -> Vec<String> {
        self.graph.output_names()
    }

    fn compute_dtype(&self) -> Option<DType> {
        self.graph.compute
    }

    fn summary(&self) -> String {
        let counts = self.graph.layers.iter().map(|placed| {
            let (mut trainable, mut frozen) = (0, 0);
            self.held.visit(&mut |path, p| {
                if path.strip_prefix(placed.name.as_str()).is_some_and(|rest| rest.starts_with('/')) {
                    *(if p.is_trained() { &mut trainable } else { &mut frozen }) += p.tensor.count();
                }
            });
            (trainable, frozen)
        });
        self.graph.table(&counts.collect::<Vec<_>>())
    }
}
