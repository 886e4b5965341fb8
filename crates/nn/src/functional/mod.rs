//! Models as graphs: a description that is data. `files` has its form in files, `ties` the weights that are others, `network` what
//! it becomes with weights.

mod files;
mod network;
mod ties;

pub use network::Network;

use crate::drawing::{self, Part};
use crate::layer::{AnyLayer, Held, Tie, Weight, Weights, batch, finish, run_before_activation, run_whole, within};
use crate::module::{IntoModule, Role};
use crate::sequential::snake_case;
use crate::symbol::{IntoSymbols, Node, Source, Symbol};
use crate::{Activation, Error, Pass, Result, Signal, summary};
use kiln_autograd::ops::{CastOps, Value};

use kiln_autograd::{DType, Key, MAX_RANK, Shape, Spec};
use serde_json::Value as Json;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A model of layers that are called on its inputs and on each other's outputs, before it has weights.
///
/// Made of [`Input`](crate::Input)s and of layers called [`on`](crate::Connect::on) them; see there. As a layer it is
/// a part of other models: its weights are then those of its layers below its name.
#[derive(Debug, Clone)]
pub struct Functional {
    class: &'static str,
    name: String,
    inputs: Vec<Port>,
    layers: Vec<Placed>,
    calls: Vec<Call>,
    /// Weights by their paths that are others.
    ties: Vec<(String, Tie)>,
    /// Numbers of values.
    outputs: Vec<usize>,
    /// Values are numbered: the inputs, and then what each call gives.
    shapes: Vec<Shape>,
    seed: u64,
    dtype: DType,
    /// The type that it computes in, where it is not that of the weights.
    compute: Option<DType>,
}

#[derive(Debug, Clone)]
struct Port {
    name: String,
    shape: Shape,
}

#[derive(Debug, Clone)]
struct Placed {
    name: String,
    layer: Arc<dyn AnyLayer>,
}

#[derive(Debug, Clone)]
struct Call {
    layer: usize,
    /// The values it is called on.
    inputs: Vec<usize>,
    /// The first of the values it gives.
    first: usize,
    count: usize,
}

impl Functional {
    /// The model that computes `outputs` from `inputs`.
    ///
    /// # Errors
    /// An output that needs an input which is not named; an input that is given twice or is the result of a layer; two
    /// layers of one name; a name that is none.
    pub fn new<'a, 'b>(inputs: impl IntoSymbols<'a>, outputs: impl IntoSymbols<'b>) -> Result<Functional> {
        let (inputs, outputs) = (inputs.into_symbols(), outputs.into_symbols());
        if inputs.is_empty() || outputs.is_empty() {
            return Err(Error::config("Functional: a model has inputs and outputs", "give at least one of each"));
        }
        let mut graph = Functional::empty("Functional", "functional");
        // The first value of each node.
        let mut firsts: HashMap<u64, usize> = HashMap::new();
        let mut names = Names::default();
        names.reserve(inputs.iter().filter_map(|symbol| match &symbol.node.source {
            Source::Input { name, .. } => name.as_deref(),
            Source::Call { .. } => None,
        }));
        for symbol in &inputs {
            let Source::Input { name, .. } = &symbol.node.source else {
                let text = "Functional: an input of the model is the result of a layer";
                return Err(Error::config(text, "models begin with Input::new(…)"));
            };
            // By its place among the inputs: `input`, `input_1`, …
            let fresh = || match graph.inputs.len() {
                0 => names.numbered("input"),
                n => names.numbered(&format!("input_{n}")),
            };
            let name = name.clone().unwrap_or_else(fresh);
            let first = graph.input(name, symbol.shape()?)?;
            if firsts.insert(symbol.node.serial, first).is_some() {
                return Err(Error::config("Functional: an input is given twice", "name each input once"));
            }
        }
        let mut names = Names::default();
        names.reserve(reachable(&outputs).iter().filter_map(|node| match &node.source {
            Source::Call { layer, .. } => layer.name.as_deref(),
            Source::Input { .. } => None,
        }));
        let value = |firsts: &HashMap<u64, usize>, symbol: &Symbol| {
            firsts.get(&symbol.node.serial).map_or(0, |first| first + symbol.output)
        };
        let mut placed: HashMap<*const (), usize> = HashMap::new();
        for node in reachable(&outputs) {
            let Source::Call { layer, inputs, .. } = &node.source else {
                if firsts.contains_key(&node.serial) {
                    continue;
                }
                let text = "Functional: an output of the model needs an input that the model does not name";
                return Err(Error::config(text, "list every Input that the outputs are computed from"));
            };
            let x = inputs.iter().map(|symbol| value(&firsts, symbol)).collect();
            let same = Arc::as_ptr(&layer.layer).cast::<()>();
            let at = match placed.get(&same) {
                Some(&at) => {
                    let before = &graph.layers[at].name;
                    if let Some(name) = layer.name.as_ref().filter(|name| *name != before) {
                        let text = format!("Functional: one layer is named `{before}` and `{name}`");
                        return Err(Error::config(text, "name it once, before it is called; or make two layers"));
                    }
                    at
                }
                None => {
                    let name = match &layer.name {
                        Some(name) => name.clone(),
                        None => names.numbered(&layer.layer.default_name()),
                    };
                    let at = graph.place(name, layer.layer.clone())?;
                    placed.insert(same, at);
                    at
                }
            };
            firsts.insert(node.serial, graph.call(at, x)?);
        }
        graph.outputs = outputs.iter().map(|symbol| value(&firsts, symbol)).collect();
        Ok(graph)
    }

    /// A graph without inputs, layers or outputs.
    fn empty(class: &'static str, name: &str) -> Functional {
        Functional {
            class,
            name: name.to_owned(),
            inputs: Vec::new(),
            layers: Vec::new(),
            calls: Vec::new(),
            ties: Vec::new(),
            outputs: Vec::new(),
            shapes: Vec::new(),
            seed: 0,
            dtype: DType::F32,
            compute: None,
        }
    }

    /// One that is to be a row of layers.
    pub(crate) fn row(name: &str) -> Functional {
        Functional::empty("Sequential", name)
    }

    /// Adds an input; all come before the first call.
    pub(crate) fn input(&mut self, name: String, shape: Shape) -> Result<usize> {
        if shape.contains(&0) {
            let text = format!("{}: a sample of shape {shape} has no elements", self.class);
            return Err(Error::config(text, "give the shape of one sample, such as [28, 28]"));
        }
        if shape.rank() == MAX_RANK {
            return Err(Error::config(
                format!("{}: a sample of {MAX_RANK} dimensions leaves none for the batch", self.class),
                "give the shape of one sample, without the batch dimension",
            ));
        }
        if self.inputs.iter().any(|port| port.name == name) {
            return Err(Error::config(format!("{}: two inputs are named `{name}`", self.class), "names must differ"));
        }
        self.inputs.push(Port { name, shape });
        self.shapes.push(shape);
        Ok(self.shapes.len() - 1)
    }

    /// Adds a layer, which is not called yet.
    pub(crate) fn place(&mut self, name: String, layer: Arc<dyn AnyLayer>) -> Result<usize> {
        if self.layers.iter().any(|placed| placed.name == name) {
            return Err(Error::config(format!("{}: two layers are named `{name}`", self.class), "names must differ"));
        }
        if name.is_empty() || name.contains('/') {
            return Err(Error::config(
                format!("{}: `{name}` is no layer name", self.class),
                "names must not be empty or contain `/`",
            ));
        }
        let class = layer.class_name();
        if crate::layers::is_known(class) && !layer.type_name().starts_with("kiln_nn::") {
            let text = format!("{}: `{class}` is the class of a layer of Kiln's, and of `{name}`", self.class);
            return Err(Error::config(text, "give your layer another class: a file would be read as Kiln's"));
        }
        self.layers.push(Placed { name, layer });
        Ok(self.layers.len() - 1)
    }

    /// Calls a layer on values, and gives the number of the first value that it gives.
    pub(crate) fn call(&mut self, layer: usize, inputs: Vec<usize>) -> Result<usize> {
        let placed = &self.layers[layer];
        let shapes: Vec<Shape> = inputs.iter().map(|&i| self.shapes[i]).collect();
        let outputs = placed.layer.infer(&shapes).map_err(|e| e.in_layer(&placed.name))?;
        let activation = placed.layer.final_activation();
        if !activation.keeps_shape() {
            let text = format!("{}: `{activation}` gives another shape than the layer", placed.layer.class_name());
            let help = format!("make it a layer of its own: Activation::new(\"{activation}\")");
            return Err(Error::config(text, help).in_layer(&placed.name));
        }
        if self.calls.iter().any(|call| call.layer == layer) {
            self.fits_again(layer, &shapes)?;
        }
        let first = self.shapes.len();
        self.calls.push(Call { layer, inputs, first, count: outputs.len() });
        self.shapes.extend(outputs);
        Ok(first)
    }

    /// Checks that a layer which is called again has the weights for it.
    fn fits_again(&self, layer: usize, shapes: &[Shape]) -> Result<()> {
        let Placed { name, layer: of } = &self.layers[layer];
        let built_for = self.built_for(layer);
        let weights = |shapes: &[Shape]| of.weights_for(shapes).map_err(|e| e.in_layer(name));
        let (first, again) = (weights(&built_for)?, weights(shapes)?);
        let Some((a, b)) = first.iter().zip(&again).find(|(a, b)| a.shape != b.shape) else { return Ok(()) };
        let (class, own, before, now) =
            (of.class_name(), &a.name, summary::shapes(&built_for), summary::shapes(shapes));
        let text = format!(
            "{class} was called on {before}, for which `{own}` is {:?}, and is called on {now}, which needs {:?}",
            a.shape, b.shape
        );
        Err(Error::config(text, "use two layers, or bring both inputs into one shape").in_layer(name))
    }

    /// Calls a layer of one output on one value.
    pub(crate) fn call_one(&mut self, layer: usize, input: usize) -> Result<usize> {
        let first = self.call(layer, vec![input])?;
        match self.shapes.len() - first {
            1 => Ok(first),
            n => {
                let Placed { name, layer } = &self.layers[layer];
                let text = format!("Sequential: `{name}` ({}) gives {n} values", layer.class_name());
                Err(Error::config(text, "a row of layers has one value between two; use Functional::new"))
            }
        }
    }

    pub(crate) fn end_with(&mut self, outputs: Vec<usize>) {
        self.outputs = outputs;
    }

    /// The model's name in its summary.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Functional {
        self.name = name.into();
        self
    }

    /// The seed of the initial weights; 0 unless set.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Functional {
        self.seed = seed;
        self
    }

    /// The type of the weights; `f32` unless set.
    #[must_use]
    pub fn dtype(mut self, dtype: DType) -> Functional {
        self.dtype = dtype;
        self
    }

    /// Computes in `bf16`, with weights and outputs of the type they have: Keras's policy `mixed_bfloat16`. Gradients and updates
    /// are those of the weights.
    #[must_use]
    pub fn mixed_bfloat16(mut self) -> Functional {
        self.compute = Some(DType::BF16);
        self
    }

    /// The same in `f16`: Keras's policy `mixed_float16`. The loss is scaled in training, so that small gradients are not lost
    /// ([`LossScale`](crate::optimizers::LossScale), by default a dynamic one).
    #[must_use]
    pub fn mixed_float16(mut self) -> Functional {
        self.compute = Some(DType::F16);
        self
    }

    /// Computes in another type than that of the weights, if one is given.
    pub(crate) fn computing_in(self, compute: Option<DType>) -> Functional {
        Functional { compute, ..self }
    }

    /// The names of the inputs.
    pub fn input_names(&self) -> Vec<&str> {
        self.inputs.iter().map(|port| port.name.as_str()).collect()
    }

    /// The names of the outputs: those of the layers that they come from, numbered where they would be the same.
    pub fn output_names(&self) -> Vec<String> {
        let mut names = Names::default();
        self.outputs.iter().map(|&value| names.numbered(self.origin(value))).collect()
    }

    /// The name of the input or layer that a value comes from.
    fn origin(&self, value: usize) -> &str {
        match self.call_of(value) {
            None => &self.inputs[value].name,
            Some(call) => &self.layers[call.layer].name,
        }
    }

    fn call_of(&self, value: usize) -> Option<&Call> {
        self.calls.iter().find(|call| (call.first..call.first + call.count).contains(&value))
    }

    /// The shapes that a layer is built for: those of the first call.
    fn built_for(&self, layer: usize) -> Vec<Shape> {
        let call = self.calls.iter().find(|call| call.layer == layer);
        call.map_or_else(Vec::new, |call| call.inputs.iter().map(|&i| self.shapes[i]).collect())
    }

    /// The weights of a layer, each by its path.
    fn weights_of(&self, layer: usize) -> Result<Vec<Weight>> {
        let Placed { name, layer: of } = &self.layers[layer];
        let weights = of.weights_for(&self.built_for(layer)).map_err(|e| e.in_layer(name))?;
        let mut all = Vec::with_capacity(weights.len());
        for weight in weights {
            Shape::new(&weight.shape).map_err(|e| Error::from(e).in_layer(name))?;
            let mut weight = weight.within(name);
            if let Some((_, tie)) = self.ties.iter().find(|(path, _)| *path == weight.name) {
                weight.tie(tie);
            }
            all.push(weight);
        }
        Ok(all)
    }

    /// The path, the shape and the type of each parameter that [`Functional::build`] makes, before any exists.
    ///
    /// # Errors
    /// A weight with more elements than memory can hold.
    pub fn parameter_specs(&self) -> Result<Vec<(String, Spec)>> {
        let mut all = Vec::new();
        for weight in self.weights_for(&[])?.into_iter().filter(|weight| !weight.is_tied()) {
            let spec = Spec::new(Shape::new(&weight.shape)?, self.dtype);
            all.push((weight.name.into_owned(), spec));
        }
        Ok(all)
    }

    /// The table of layers, output shapes and parameter counts, before any weight exists.
    ///
    /// # Errors
    /// A weight with more elements than memory can hold.
    pub fn summary(&self) -> Result<String> {
        let mut counts = Vec::with_capacity(self.layers.len());
        for i in 0..self.layers.len() {
            let (mut trainable, mut frozen) = (0, 0);
            for weight in self.weights_of(i)?.into_iter().filter(|weight| !weight.is_tied()) {
                let is_trained = weight.role == Role::Weight;
                *(if is_trained { &mut trainable } else { &mut frozen }) += Shape::new(&weight.shape)?.count();
            }
            counts.push((trainable, frozen));
        }
        Ok(self.table(&counts))
    }

    /// The table for these numbers of trained and other elements of each layer.
    fn table(&self, counts: &[(usize, usize)]) -> String {
        let is_row = self.is_row();
        let mut rows = Vec::new();
        let inputs = self.inputs.iter().filter(|_| !is_row).map(|port| summary::Row {
            layer: format!("{} (Input)", port.name),
            output: summary::batch_shape(&port.shape),
            from: Some("-".to_owned()),
            ..summary::Row::default()
        });
        rows.extend(inputs);
        let mut seen = HashSet::new();
        for call in &self.calls {
            let Placed { name, layer } = &self.layers[call.layer];
            let shapes: Vec<String> =
                self.shapes[call.first..call.first + call.count].iter().map(summary::batch_shape).collect();
            let from: Vec<&str> = call.inputs.iter().map(|&i| self.origin(i)).collect();
            let (trainable, frozen) = if seen.insert(call.layer) { counts[call.layer] } else { (0, 0) };
            rows.push(summary::Row {
                layer: format!("{name} ({})", layer.class_name()),
                output: shapes.join(", "),
                trainable,
                frozen,
                from: (!is_row).then(|| from.join(", ")),
            });
        }
        summary::table(&self.name, &rows, self.dtype.size())
    }

    /// The model as an SVG picture: a box for each input and each call of a layer, with the shapes of what it gives, and lines for
    /// what flows between them.
    pub fn svg(&self) -> String {
        let box_of = |value: usize| match self.calls.iter().position(|c| (c.first..c.first + c.count).contains(&value))
        {
            Some(call) => self.inputs.len() + call,
            None => value,
        };
        let inputs = self.inputs.iter().map(|port| Part {
            lines: vec![format!("{} (Input)", port.name), summary::batch_shape(&port.shape)],
            from: Vec::new(),
        });
        let calls = self.calls.iter().map(|call| {
            let Placed { name, layer } = &self.layers[call.layer];
            let shapes = self.shapes[call.first..call.first + call.count].iter().map(summary::batch_shape);
            let title = format!("{name} ({})", layer.class_name());
            let activation = layer.final_activation();
            let activation = (activation != Activation::Linear).then(|| format!("activation: {activation}"));
            let lines = [title].into_iter().chain(activation).chain(shapes).collect();
            Part { lines, from: call.inputs.iter().map(|value| box_of(*value)).collect() }
        });
        drawing::svg(&self.name, &inputs.chain(calls).collect::<Vec<_>>())
    }

    /// Whether each layer is called on what the one before it gives.
    fn is_row(&self) -> bool {
        let follows = |(i, call): (usize, &Call)| call.inputs == [i] && call.count == 1;
        self.inputs.len() == 1 && self.calls.iter().enumerate().all(follows) && self.outputs == [self.calls.len()]
    }

    /// Builds the network: every layer with weights drawn from the seed.
    ///
    /// # Errors
    /// An unknown activation; a weight with more elements than memory can hold.
    pub fn build(self) -> Result<Network> {
        let key = Key::new(self.seed);
        let mut held = Held::default();
        for (i, Placed { name, layer }) in self.layers.iter().enumerate() {
            layer.final_activation().checked().map_err(|e| e.in_layer(name))?;
            let weights = self.weights_of(i)?;
            held.draw(&weights, key.fold(i as u64), self.dtype).map_err(|e| e.in_layer(name))?;
        }
        Ok(Network { graph: self, held })
    }

    /// The activations that the outputs end with.
    fn activations(&self) -> Vec<Activation> {
        let of = |&value: &usize| match self.call_of(value) {
            Some(call) if call.first == value => self.layers[call.layer].layer.final_activation(),
            _ => Activation::Linear,
        };
        self.outputs.iter().map(of).collect()
    }

    /// What makes each output, and its shape.
    fn output_layers(&self) -> Vec<(String, Shape)> {
        let class = |value| {
            self.call_of(value).map_or_else(String::new, |call| self.layers[call.layer].layer.class_name().to_owned())
        };
        self.outputs.iter().map(|&value| (class(value), self.shapes[value])).collect()
    }

    /// [`Functional::computed`] in the type of the policy.
    fn outputs(&self, x: &[Signal], weights: Weights<'_>, pass: &mut Pass, logits: bool) -> Result<Vec<Signal>> {
        let Some(compute) = self.compute else { return self.computed(x, weights, pass, logits) };
        let cast = |x: &Signal, dtype: DType| -> Result<Signal> {
            let is_float = Value::dtype(&x.value).is_float();
            let value = if is_float { x.value.cast(dtype)? } else { x.value.clone() };
            Ok(Signal::new(value).masked(x.mask.clone()))
        };
        let x: Vec<Signal> = x.iter().map(|x| cast(x, compute)).collect::<Result<_>>()?;
        let y = pass.computing_in(Some(compute), |pass| self.computed(&x, weights, pass, logits))?;
        y.iter().map(|y| cast(y, self.dtype)).collect()
    }

    /// The outputs for a batch, or, with `logits`, what they are before their last activation.
    fn computed(&self, x: &[Signal], weights: Weights<'_>, pass: &mut Pass, logits: bool) -> Result<Vec<Signal>> {
        self.check(x)?;
        let mut values: Vec<Option<Signal>> = vec![None; self.shapes.len()];
        let mut uses = vec![0; self.shapes.len()];
        self.calls.iter().flat_map(|call| &call.inputs).chain(&self.outputs).for_each(|&i| uses[i] += 1);
        for (i, x) in x.iter().enumerate().filter(|(i, _)| uses[*i] > 0) {
            values[i] = Some(x.clone());
        }
        let mut raw: Vec<Option<Signal>> = vec![None; self.outputs.len()];
        let mut x = Vec::new();
        for call in &self.calls {
            let Placed { name, layer } = &self.layers[call.layer];
            x.clear();
            for &i in &call.inputs {
                uses[i] -= 1;
                // The last use takes it: what nobody needs any more goes before what follows is computed.
                let value = if uses[i] == 0 { values[i].take() } else { values[i].clone() };
                x.extend(value);
            }
            let promised = &self.shapes[call.first..call.first + call.count];
            let weights = weights.within(name);
            let ends = logits && self.outputs.contains(&call.first);
            let y = within(name, &x, || match ends {
                false => run_whole(&**layer, &x, promised, weights, pass),
                true => {
                    let y = run_before_activation(&**layer, &x, promised, weights, pass)?;
                    for (raw, _) in raw.iter_mut().zip(&self.outputs).filter(|(_, value)| **value == call.first) {
                        *raw = y.first().cloned();
                    }
                    let is_read = self.calls.iter().any(|other| other.inputs.contains(&call.first));
                    if is_read || layer.penalty().is_some() { finish(&**layer, y, pass) } else { Ok(y) }
                }
            })?;
            for (i, y) in (call.first..).zip(y).filter(|(i, _)| uses[*i] > 0) {
                values[i] = Some(y);
            }
        }
        let output = |(raw, &i): (Option<Signal>, &usize)| raw.or_else(|| values[i].clone());
        raw.into_iter().zip(&self.outputs).map(output).collect::<Option<_>>().ok_or_else(|| {
            Error::config(format!("{}: an output was not computed", self.name), "this is a fault of the library")
        })
    }

    /// Checks a batch before any layer sees it.
    fn check(&self, x: &[Signal]) -> Result<()> {
        if x.len() != self.inputs.len() {
            let names = self.input_names().join("`, `");
            let text = format!("the model takes {} inputs (`{names}`), found {}", self.inputs.len(), x.len());
            return Err(Error::config(text, "give a tensor for each, in this order"));
        }
        for (port, x) in self.inputs.iter().zip(x) {
            port.check(x.shape(), self.inputs.len() > 1)?;
        }
        match x.iter().find(|other| other.shape()[0] != batch(x)) {
            None => Ok(()),
            Some(other) => {
                let text = format!(
                    "the inputs have {} and {} samples: {} and {}",
                    batch(x),
                    other.shape()[0],
                    x[0].shape(),
                    other.shape()
                );
                Err(Error::config(text, "the first dimension of all inputs is the batch"))
            }
        }
    }
}

impl Port {
    /// Checks the shape of a batch.
    fn check(&self, shape: &Shape, is_named: bool) -> Result<()> {
        if shape.rank() == self.shape.rank() + 1 && shape[1..] == self.shape[..] {
            return Ok(());
        }
        let is_sample = shape[..] == self.shape[..];
        let help = match self.shape.get(1..).filter(|rest| shape.get(1..) == Some(rest)) {
            Some(rest) if is_sample && !rest.is_empty() => format!(
                "add the batch dimension to a single sample: x.unsqueeze(0); or leave it out of the model's input: \
                 Sequential::new({rest:?})"
            ),
            _ if is_sample => "this is a single sample; add the batch dimension: x.unsqueeze(0)".to_owned(),
            Some(rest) => {
                format!(
                    "the model's input is the shape of one sample, without the batch dimension: Sequential::new({rest:?})"
                )
            }
            None => "reshape the data, or build the model for this shape: Sequential::new(…)".to_owned(),
        };
        let what = if is_named { format!(" for `{}`", self.name) } else { String::new() };
        Err(Error::config(
            format!("the model expects batches of shape {}{what}, found {shape}", summary::batch_shape(&self.shape)),
            help,
        ))
    }
}

/// The nodes that values need, in the order in which they were made.
fn reachable(outputs: &[Symbol]) -> Vec<&Arc<Node>> {
    let mut found: Vec<&Arc<Node>> = Vec::new();
    let mut seen = HashSet::new();
    let mut open: Vec<&Symbol> = outputs.iter().collect();
    while let Some(symbol) = open.pop() {
        if seen.insert(symbol.node.serial) {
            found.push(&symbol.node);
            if let Source::Call { inputs, .. } = &symbol.node.source {
                open.extend(inputs);
            }
        }
    }
    found.sort_by_key(|node| node.serial);
    found
}

/// Names that are taken.
#[derive(Debug, Default)]
pub(crate) struct Names(HashSet<String>);

impl Names {
    pub(crate) fn reserve<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        self.0.extend(names.map(str::to_owned));
    }

    /// The name for a layer of a class: `dense`, `dense_1`, …
    pub(crate) fn fresh(&mut self, class: &str) -> String {
        self.numbered(&snake_case(class))
    }

    /// A name, with a number from the second time on.
    pub(crate) fn numbered(&mut self, base: &str) -> String {
        let mut name = base.to_owned();
        let mut number = 0;
        while !self.0.insert(name.clone()) {
            number += 1;
            name = format!("{base}_{number}");
        }
        name
    }
}

/// As a layer, the model's own name and seed do not count.
impl AnyLayer for Functional {
    fn class_name(&self) -> &str {
        self.class
    }

    fn infer(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let wanted: Vec<Shape> = self.inputs.iter().map(|port| port.shape).collect();
        if inputs != wanted {
            let text = format!(
                "{}: takes samples of {}, found {}",
                self.name,
                summary::shapes(&wanted),
                summary::shapes(inputs)
            );
            return Err(Error::config(text, "describe the model for these shapes, or reshape before it"));
        }
        Ok(self.outputs.iter().map(|&i| self.shapes[i]).collect())
    }

    fn weights_for(&self, _inputs: &[Shape]) -> Result<Vec<Weight>> {
        let mut all = Vec::new();
        for i in 0..self.layers.len() {
            all.extend(self.weights_of(i)?);
        }
        Ok(all)
    }

    fn run(&self, x: &[Signal], weights: Weights<'_>, pass: &mut Pass) -> Result<Vec<Signal>> {
        let logits = self.outputs.len() == 1;
        self.outputs(x, weights, pass, logits)
    }

    fn final_activation(&self) -> Activation {
        match &self.activations()[..] {
            [one] => one.clone(),
            _ => Activation::Linear,
        }
    }

    fn to_config(&self) -> Json {
        self.config()
    }

    fn default_name(&self) -> String {
        self.name.clone()
    }
}

impl IntoModule for Functional {
    type Module = Network;
    fn into_module(self) -> Result<Network> {
        self.build()
    }
}

#[cfg(test)]
mod tests;
