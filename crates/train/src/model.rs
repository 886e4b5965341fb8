//! A module with what it takes to train it: `compile` and single batches. The loop over epochs is `fit/`, evaluation and prediction
//! are `evaluate.rs`.

use crate::checkpoint::{OPTIMIZER, RUN};
use crate::data::{Batch, Dataset, IntoTensors};
use crate::history::{History, Logs};
use crate::monitor::Reference;
use crate::plans::{Given, Plans};
use crate::running::{MetricState, counted};
use crate::{Error, Result};
use kiln_nn::losses::{IntoLosses, Loss, Reduction};
use kiln_nn::metrics::{IntoMetrics, Metric};
use kiln_nn::module::{count_parameters, named_parameters, set_trainable};
use kiln_nn::ops::{ArithmeticOps, CastOps, MathOps, ReduceOps, SelectOps, Value};
use kiln_nn::optimizers::{
    IntoOptimizer, LearningRate, LossScale, Optimizer, RecordedUpdate, constrain, global_norm, updates,
};
use kiln_nn::{Activation, DType, Device, IntoModule, Key, Module, Network, Pass, Signal, Tensor, Trace, Var};
use std::collections::HashSet;
use std::fmt;

/// Batches of [`Model::train_on_batch`] after which a plan is compared with its operations once more.
const CHECKED_EVERY: u64 = 1024;

/// A model that can be trained: a module, an optimizer, a loss and metrics. Made by [`Compile::compile`].
///
/// Many threads may predict with one model at once. A clone goes on by itself from where the model is.
#[derive(Clone)]
pub struct Model<M: Module = Network> {
    pub(crate) module: M,
    /// The path of each parameter, which the optimizer keeps its state under.
    pub(crate) paths: Vec<String>,
    pub(crate) optimizer: Optimizer,
    /// What is made small: a loss for each output.
    pub(crate) objectives: Vec<Objective>,
    /// The names of the inputs, where there are several.
    pub(crate) inputs: Vec<String>,
    pub(crate) metrics: Vec<Tracked>,
    pub(crate) weighted_metrics: Vec<Tracked>,
    /// Batches trained on so far: the position in the stream of random numbers.
    pub(crate) steps: u64,
    /// Where the parameters are, and batches are moved to.
    pub(crate) device: Device,
    /// Recorded steps, and why there are none.
    pub(crate) plans: Plans,
    /// The parameters that were to be trained and had no part in the loss of the last step that no plan ran.
    pub(crate) unreached: Vec<String>,
    /// The metrics of [`Model::train_on_batch`].
    on_batch: Option<MetricState>,
    /// That of the last run.
    pub(crate) history: History,
    /// What later samples are compared with.
    pub(crate) reference: Option<Reference>,
}

/// The loss of an output.
#[derive(Debug, Clone)]
pub(crate) struct Objective {
    /// The output's name; empty where there is only one.
    pub(crate) output: String,
    pub(crate) loss: Box<dyn Loss>,
    /// The same loss of logits, where the output ends in the activation that it is fused with.
    fused: Option<Box<dyn Loss>>,
    /// What makes predictions of logits.
    pub(crate) activation: Activation,
    /// The part that it has in the whole.
    pub(crate) weight: f64,
}

/// A metric, and the number of the output that it looks at.
#[derive(Debug, Clone)]
pub(crate) struct Tracked {
    pub(crate) output: usize,
    pub(crate) metric: Box<dyn Metric>,
}

/// What it was compiled with and how far it is, without the numbers; layers and shapes are in its summary.
impl<M: Module> fmt::Debug for Model<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trainable, frozen) = count_parameters(&self.module);
        let losses: Vec<&str> = self.objectives.iter().map(|objective| objective.loss.name()).collect();
        let metrics: Vec<&str> = self.metrics.iter().map(|tracked| tracked.metric.name()).collect();
        let mut all = f.debug_struct("Model");
        all.field("parameters", &(trainable + frozen)).field("trainable", &trainable);
        all.field("optimizer", &self.optimizer.name()).field("losses", &losses).field("metrics", &metrics);
        all.field("steps", &self.steps).field("device", &self.device).finish_non_exhaustive()
    }
}

/// What can be compiled: a [`kiln_nn::Sequential`], or any module of your own.
pub trait Compile: IntoModule + Sized {
    /// Adds an optimizer, a loss and metrics, each by name or as a value with its settings.
    ///
    /// ```
    /// use kiln_nn::{Sequential, layers::{Dense, Flatten}};
    /// use kiln_train::Compile;
    /// let model = Sequential::new([28, 28])
    ///     .add(Flatten::new())
    ///     .add(Dense::new(10).activation("softmax"))
    ///     .compile("adam", "sparse_categorical_crossentropy", ["accuracy"])?;
    /// assert!(model.summary().contains("7,850"));
    /// # Ok::<(), kiln_train::Error>(())
    /// ```
    ///
    /// A model of several outputs has a loss for each, in order or by name: `["mse", "mae"]`, or `[("age", "mse"), ("kind",
    /// "categorical_crossentropy")]`; one loss alone is that of every output. Their sum is made small, with [`Model::loss_weights`]
    /// a weighted one. Metrics are those of every output, as `kind_accuracy`; see [`Model::output_metrics`].
    ///
    /// # Errors
    /// A name that is not known, with the nearest one; a setting out of its range; layers that do not fit together; a module
    /// that shows two parameters under one path.
    fn compile(
        self,
        optimizer: impl IntoOptimizer,
        loss: impl IntoLosses,
        metrics: impl IntoMetrics,
    ) -> Result<Model<Self::Module>> {
        let module = self.into_module()?;
        let mut outputs = module.output_names();
        if outputs.is_empty() {
            outputs = vec![String::new()];
        }
        let activations = module.output_activations();
        let losses = loss.into_losses()?.for_outputs(&outputs)?;
        // What is said of the only output needs no name.
        if let [only] = &mut outputs[..] {
            only.clear();
        }
        let objective = |(i, (output, loss)): (usize, (String, Box<dyn Loss>))| {
            let activation = activations.get(i).cloned().unwrap_or_default();
            let fused = loss.with_logits().filter(|_| loss.link().map(Activation::from).as_ref() == Some(&activation));
            Objective { output, loss, fused, activation, weight: 1.0 }
        };
        let objectives: Vec<Objective> = outputs.into_iter().zip(losses).enumerate().map(objective).collect();
        let metrics = for_each_output(metrics.into_metrics()?, &objectives);
        check_names(&objectives, metrics.iter())?;
        let optimizer = match module.compute_dtype() {
            // What is small between 0 and 6·10⁻⁸ would be lost.
            Some(DType::F16) => optimizer.into_optimizer()?.scaling_loss(LossScale::default())?,
            _ => optimizer.into_optimizer()?,
        };
        let paths: Vec<String> = named_parameters(&module).into_iter().map(|(path, _)| path).collect();
        check_paths(&paths)?;
        optimizer.check_patterns(&paths.iter().map(String::as_str).collect::<Vec<_>>())?;
        let inputs = module.input_names();
        Ok(Model {
            module,
            paths,
            optimizer,
            objectives,
            inputs,
            metrics,
            weighted_metrics: Vec::new(),
            steps: 0,
            device: Device::Cpu,
            plans: Plans::default(),
            unreached: Vec::new(),
            on_batch: None,
            history: History::new(),
            reference: None,
        })
    }
}

impl<T: IntoModule> Compile for T {}

fn check_paths(paths: &[String]) -> Result<()> {
    let mut seen = HashSet::new();
    if let Some(path) = paths.iter().find(|path| [OPTIMIZER, RUN].iter().any(|own| path.starts_with(own))) {
        let text = format!(
            "compile: a parameter cannot be called `{path}`: files have what is not the model's under that name"
        );
        return Err(Error::config(text, "give its layer another name"));
    }
    match paths.iter().find(|path| !seen.insert(*path)) {
        None => Ok(()),
        Some(path) => {
            let text = format!("compile: the module has two parameters `{path}`");
            Err(Error::config(text, "visit each under a path of its own in Module::parameters"))
        }
    }
}

/// The metrics for every output, under its name where there are several.
fn for_each_output(metrics: Vec<Box<dyn Metric>>, objectives: &[Objective]) -> Vec<Tracked> {
    let each = objectives.iter().enumerate().flat_map(|(output, objective)| {
        metrics.iter().map(move |metric| Tracked::of(metric.boxed(), output, &objective.output))
    });
    each.collect()
}

impl Tracked {
    fn of(mut metric: Box<dyn Metric>, output: usize, name: &str) -> Tracked {
        if !name.is_empty() {
            let name = format!("{name}_{}", metric.name());
            metric.rename(&name);
        }
        Tracked { output, metric }
    }
}

fn check_names<'a>(objectives: &[Objective], metrics: impl Iterator<Item = &'a Tracked>) -> Result<()> {
    let mut taken: HashSet<String> =
        ["loss", "epoch", "seconds", "learning_rate", "gradient_norm", "loss_scale"].map(str::to_owned).into();
    for name in objectives.iter().filter_map(Objective::log_name) {
        if name.starts_with("val_") || !taken.insert(name.clone()) {
            let text =
                format!("compile: the loss of an output would be called `{name}`, as another value of the history");
            return Err(Error::config(text, "give the output's layer another name"));
        }
    }
    for Tracked { metric, .. } in metrics {
        let name = metric.name();
        if name.starts_with("val_") || !taken.insert(name.to_owned()) {
            let text =
                format!("compile: a metric cannot be called `{name}`: another value of the history has that name");
            return Err(Error::config(text, "give it a name of its own"));
        }
    }
    Ok(())
}

impl Objective {
    /// An error of what judges the output, with its name where there are several.
    pub(crate) fn named<T>(&self, result: Result<T, kiln_nn::Error>) -> Result<T> {
        Ok(result.map_err(|e| match self.output.as_str() {
            "" => e,
            name => e.note(format_args!("for the output `{name}`")),
        })?)
    }

    /// What its loss alone is called in logs, where there are several.
    pub(crate) fn log_name(&self) -> Option<String> {
        (!self.output.is_empty()).then(|| format!("{}_loss", self.output))
    }
}

/// The norm of all gradients, and 1 as its weight. Where the loss is scaled, a step whose gradients are not finite is passed over
/// and counts 0.
fn norm_of(gradients: &[Option<Tensor>], is_scaled: bool) -> Result<[Tensor; 2]> {
    let norm = global_norm(gradients.iter().flatten())?;
    if !is_scaled {
        return Ok([norm, Tensor::scalar(1.0, DType::F64)]);
    }
    let counts = norm.is_finite()?;
    let norm = counts.select(&norm, &Tensor::scalar(0.0, norm.dtype()))?;
    Ok([norm, counts.cast(DType::F64)?])
}

/// The weights of an output's steps: those of the samples, and 0 where its mask does not count, as Keras has it: of a mean,
/// those that count share what the others lose.
fn weights_of_steps(loss: &dyn Loss, output: &Signal, weights: Option<&Tensor>) -> Result<Option<Var>> {
    let weights = weights.map(|weights| Var::new(weights.clone()));
    let Some(mask) = &output.mask else { return Ok(weights) };
    let weights = counted(mask, weights.as_ref())?;
    if loss.reduction() == Reduction::Sum {
        return Ok(Some(weights));
    }
    let total = Value::shape(mask).count() as f64;
    let share = mask.cast(DType::F32)?.sum(..)?.add(1e-7)?.reciprocal()?.mul(total)?;
    Ok(Some(weights.mul(&share)?))
}

/// What a forward pass gives: the value that gradients start from, and the rest.
pub(crate) struct Judged {
    pub(crate) loss: Var,
    pub(crate) losses: Vec<Tensor>,
    pub(crate) predictions: Vec<Prediction>,
}

/// What the model says of a batch, and which of its steps count.
pub(crate) struct Prediction {
    pub(crate) value: Tensor,
    pub(crate) mask: Option<Tensor>,
}

/// What one batch gave.
pub(crate) struct StepOutput {
    /// The loss, penalties included: one number, which nobody has read yet.
    pub(crate) loss: Tensor,
    /// The loss of each output, where there are several.
    pub(crate) losses: Vec<Tensor>,
    /// Those of each output, made before the update.
    pub(crate) predictions: Vec<Prediction>,
    /// The norm of all gradients together, where it is measured, with its weight: 0 for a step that is passed over.
    pub(crate) gradient_norm: Option<[Tensor; 2]>,
    /// The update, if it was recorded.
    pub(crate) update: Option<RecordedUpdate>,
}

impl StepOutput {
    /// Takes the results out of what watches or records: metrics may well use infinities on the way to a number.
    pub(crate) fn untraced(&mut self) {
        let predictions = self.predictions.iter_mut().flat_map(|one| [&mut one.value].into_iter().chain(&mut one.mask));
        let all = [&mut self.loss].into_iter().chain(&mut self.losses).chain(self.gradient_norm.iter_mut().flatten());
        all.chain(predictions).for_each(|tensor| *tensor = tensor.untraced());
    }
}

impl<M: Module> Model<M> {
    /// Adds metrics that take sample and class weights into account.
    ///
    /// # Errors
    /// A name that is not known or is taken.
    pub fn weighted_metrics(mut self, metrics: impl IntoMetrics) -> Result<Self> {
        self.weighted_metrics.extend(for_each_output(metrics.into_metrics()?, &self.objectives));
        self.judged_anew()
    }

    /// The model with another judgement: what was recorded of a step, or measured, is of the one before.
    fn judged_anew(mut self) -> Result<Self> {
        check_names(&self.objectives, self.metrics.iter().chain(&self.weighted_metrics))?;
        self.plans.forget();
        self.on_batch = None;
        Ok(self)
    }

    /// Adds metrics of one output, under their names behind its own: `department_accuracy`.
    ///
    /// # Errors
    /// A name that is not known or is taken.
    pub fn output_metrics(mut self, output: &str, metrics: impl IntoMetrics) -> Result<Self> {
        let i = self.output_number(output)?;
        let name = self.objectives[i].output.clone();
        self.metrics.extend(metrics.into_metrics()?.into_iter().map(|metric| Tracked::of(metric, i, &name)));
        self.judged_anew()
    }

    /// Sets how much the losses of outputs count, by name; 1 unless set.
    ///
    /// # Errors
    /// A name that no output has, a weight that is not finite.
    pub fn loss_weights<'a>(mut self, weights: impl IntoIterator<Item = (&'a str, f64)>) -> Result<Self> {
        for (output, weight) in weights {
            let i = self.output_number(output)?;
            if !weight.is_finite() {
                let text = format!("loss_weights: the weight of `{output}` is {weight}");
                return Err(Error::config(text, "give a finite number"));
            }
            self.objectives[i].weight = weight;
        }
        self.judged_anew()
    }

    /// Puts the metrics of a file in place, which have their names.
    pub(crate) fn set_metrics(&mut self, metrics: Vec<Tracked>, weighted: Vec<Tracked>) -> Result<()> {
        check_names(&self.objectives, metrics.iter().chain(&weighted))?;
        if let Some(tracked) = metrics.iter().chain(&weighted).find(|m| m.output >= self.objectives.len()) {
            let text = format!("the metric `{}` is of output {}", tracked.metric.name(), tracked.output);
            return Err(Error::data(text, "the file is damaged or of another program"));
        }
        (self.metrics, self.weighted_metrics) = (metrics, weighted);
        Ok(())
    }

    fn output_number(&self, output: &str) -> Result<usize> {
        let known: Vec<&str> = self.objectives.iter().map(|objective| objective.output.as_str()).collect();
        if known == [""] {
            let text = format!("the model has one output, none is named `{output}`");
            return Err(Error::config(text, "compile takes its loss and its metrics"));
        }
        let found = known.iter().position(|name| *name == output);
        Ok(found.ok_or_else(|| kiln_nn::Error::unknown("output", output, &known))?)
    }

    /// The module.
    pub fn module(&self) -> &M {
        &self.module
    }

    /// Moves the model to a device: parameters, what the optimizer keeps of them, and from then on every batch. Files that are
    /// written there load anywhere, and what [`Model::predict`] gives is on the processor.
    ///
    /// ```
    /// use kiln_nn::{Device, Sequential, layers::Dense};
    /// use kiln_train::Compile;
    /// let model = Sequential::new([3]).add(Dense::new(1)).compile("sgd", "mse", ())?.on(Device::best())?;
    /// assert_eq!(model.device(), Device::best());
    /// # Ok::<(), kiln_train::Error>(())
    /// ```
    ///
    /// # Errors
    /// The device is not there, or has no memory for the model.
    pub fn on(mut self, device: Device) -> Result<Self> {
        self.to(device)?;
        Ok(self)
    }

    /// [`Model::on`] for a model that is in use.
    ///
    /// # Errors
    /// As there; the model stays where it was then.
    pub fn to(&mut self, device: Device) -> Result<()> {
        device.ensure_available().map_err(kiln_nn::Error::from)?;
        let mut moved = Vec::new();
        let mut outcome = Ok(());
        self.visit_learned(&mut |_, tensor| match tensor.to_device(device) {
            Ok(there) => moved.push(there),
            Err(error) => outcome = Err(error),
        })?;
        outcome?;
        let mut moved = moved.into_iter();
        self.visit_learned(&mut |_, tensor| {
            if let Some(there) = moved.next() {
                *tensor = there;
            }
        })?;
        self.device = device;
        self.on_batch = None;
        self.plans.forget();
        Ok(())
    }

    /// Moves what was read from a file to where the model is.
    pub(crate) fn stay(&mut self) -> Result<()> {
        if self.device == Device::Cpu { Ok(()) } else { self.to(self.device) }
    }

    /// Where the model is.
    pub fn device(&self) -> Device {
        self.device
    }

    /// What kernels of the model's device have found wrong with values, which is an error on the CPU at once.
    pub(crate) fn settled(&self) -> Result<()> {
        Ok(self.device.synchronize().map_err(kiln_nn::Error::from)?)
    }

    /// A batch where the model is.
    pub(crate) fn moved(&self, batch: &Batch) -> Result<Batch> {
        let there =
            batch.tensors().iter().map(|tensor| tensor.to_device(self.device)).collect::<Result<Vec<_>, _>>()?;
        Ok(batch.with(&there))
    }

    /// Whether each operation of a step is run by itself, as Keras's `run_eagerly`. Else steps of `fit` are recorded and run
    /// again as plans, which give the same bits sooner.
    ///
    /// Run eagerly what does something else from step to step by other means than parameters and the keys of the pass: a
    /// module, a loss or a metric that counts, say. A plan is compared with its operations once an epoch, and what
    /// changes in between is not seen.
    #[must_use]
    pub fn run_eagerly(mut self, eagerly: bool) -> Self {
        self.plans.run_eagerly(eagerly);
        self
    }

    /// What a step of training does: the plan of the largest batches, step by step, and what others of other sizes need; or why there
    /// is none.
    pub fn explain(&self) -> String {
        self.plans.explain()
    }

    /// The module, to be changed.
    pub fn module_mut(&mut self) -> &mut M {
        self.plans.forget();
        &mut self.module
    }

    /// The module, to be compiled anew: with another optimizer, loss or metrics, and the weights that it has.
    pub fn into_module(self) -> M {
        self.module
    }

    /// The optimizer.
    pub fn optimizer(&self) -> &Optimizer {
        &self.optimizer
    }

    /// Sets the learning rate from the next step on: [`Optimizer::set_learning_rate`].
    ///
    /// # Errors
    /// A rate that is none; a schedule drives the rate.
    pub fn set_learning_rate(&mut self, rate: f64) -> Result<()> {
        Ok(self.optimizer.set_learning_rate(rate)?)
    }

    /// Sets the rate of the next step, whatever drives it: where that is a schedule, by a factor on it.
    pub(crate) fn force_rate(&mut self, rate: f64) -> Result<()> {
        let optimizer = &mut self.optimizer;
        if let LearningRate::Constant(_) = optimizer.settings().learning_rate {
            return Ok(optimizer.set_learning_rate(rate)?);
        }
        if rate == optimizer.learning_rate() {
            return Ok(());
        }
        let before = optimizer.rate_factor();
        optimizer.set_rate_factor(1.0)?;
        let scheduled = optimizer.learning_rate();
        if optimizer.set_rate_factor(rate / scheduled).is_ok() {
            return Ok(());
        }
        optimizer.set_rate_factor(before)?;
        let text = format!("the learning rate cannot be set to {rate}: the schedule gives {scheduled} here");
        Err(Error::config(text, "give the optimizer a number instead of the schedule, or end the schedule above 0"))
    }

    /// The table of layers, output shapes and parameter counts.
    pub fn summary(&self) -> String {
        self.module.summary()
    }

    /// Freezes or thaws parameters by path, in which `*` stands for any characters: `set_trainable("encoder/*", false)`.
    /// Files remember it.
    ///
    /// # Errors
    /// A pattern that no path matches.
    pub fn set_trainable(&mut self, pattern: &str, trainable: bool) -> Result<usize> {
        self.plans.forget();
        Ok(set_trainable(&mut self.module, pattern, trainable)?)
    }

    /// Judges a batch.
    pub(crate) fn forward(&self, batch: &Batch, weights: Option<&Tensor>, pass: &mut Pass) -> Result<Judged> {
        let x: Vec<Signal> = batch.inputs.iter().cloned().map(Signal::from).collect();
        let logits = self.module.logits(&x, pass)?;
        if logits.len() != self.objectives.len() || batch.targets.len() != logits.len() {
            let (outputs, losses) = (logits.len(), self.objectives.len());
            let text = format!(
                "the model gives {outputs} values, there are {losses} losses and {} targets",
                batch.targets.len()
            );
            return Err(Error::config(text, "a module of several outputs names them: Module::output_names"));
        }
        let mut judged: Option<Var> = None;
        let (mut losses, mut predictions) = (Vec::new(), Vec::new());
        for ((objective, output), y) in self.objectives.iter().zip(logits).zip(&batch.targets) {
            let y = Var::new(y.clone());
            let weights = weights_of_steps(&*objective.loss, &output, weights)?;
            let (loss, prediction) = match &objective.fused {
                Some(fused) => {
                    let prediction = objective.activation.apply(output.value.tensor())?;
                    (objective.named(fused.call(&y, &output.value, weights.as_ref()))?, prediction)
                }
                None => {
                    let prediction = objective.activation.apply(&output.value)?;
                    let loss = objective.named(objective.loss.call(&y, &prediction, weights.as_ref()))?;
                    (loss, prediction.into_tensor())
                }
            };
            if Value::shape(&loss).count() != 1 {
                let text =
                    format!("the loss `{}` gives {} numbers for a batch", objective.loss.name(), Value::shape(&loss));
                return Err(Error::config(text, "training needs one: use a reduction other than None"));
            }
            predictions.push(Prediction { value: prediction, mask: output.mask.map(Var::into_tensor) });
            if self.objectives.len() > 1 {
                losses.push(loss.tensor().clone());
            }
            let part = if objective.weight == 1.0 { loss } else { loss.mul(objective.weight)? };
            judged = Some(match judged {
                Some(sum) => sum.add(&part)?,
                None => part,
            });
        }
        let none = || Error::config("the model gives no value", "a module has at least one output");
        let loss = judged.ok_or_else(none)?;
        let loss = match pass.penalties()? {
            Some(penalty) => loss.add(&penalty)?,
            None => loss,
        };
        Ok(Judged { loss, losses, predictions })
    }

    /// One step of training: forward, backward, update. `key` is the step's own; the numbers of the update become inputs of
    /// `trace`.
    pub(crate) fn step(
        &mut self,
        batch: &Batch,
        weights: Option<&Tensor>,
        key: Key,
        measures_norm: bool,
        trace: Option<&Trace>,
    ) -> Result<StepOutput> {
        let operand = |number: f64| match trace {
            Some(trace) => trace.input(&Tensor::number(number)),
            None => Ok(Tensor::number(number)),
        };
        let scale = self.optimizer.loss_scale().map(operand).transpose()?;
        let mut pass = Pass::training(key);
        let Judged { loss, losses, predictions } = self.forward(batch, weights, &mut pass)?;
        let mut gradients = match &scale {
            Some(scale) => pass.finish(&loss.mul(&Var::new(scale.clone()))?, &mut self.module)?,
            None => pass.finish(&loss, &mut self.module)?,
        };
        if let Some(scale) = &scale {
            for gradient in gradients.iter_mut().flatten() {
                *gradient = gradient.cast(gradient.dtype().promote(DType::F32))?.div(scale)?;
            }
        }
        let gradient_norm = measures_norm.then(|| norm_of(&gradients, scale.is_some())).transpose()?;
        // The tape goes before the update: it holds the parameters, and what others hold cannot be updated where it lies.
        let loss = loss.into_tensor();
        let mut updates = updates(&mut self.module, &self.paths, gradients);
        let unreached = updates.iter().filter(|update| update.gradient.is_none());
        self.unreached = unreached.map(|update| update.name.to_owned()).collect();
        let weight = batch.len() as f64;
        let update = match trace {
            Some(trace) => Some(self.optimizer.record(&mut updates, weight, trace)?),
            None => self.optimizer.apply_weighted(&mut updates, weight).map(|()| None)?,
        };
        self.steps += 1;
        constrain(&mut self.module)?;
        Ok(StepOutput { loss, losses, predictions, gradient_norm, update })
    }

    /// Ends a run: applies what gradient accumulation holds back, and puts averaged weights in place.
    pub(crate) fn finish(&mut self) -> Result<()> {
        let mut updates = updates(&mut self.module, &self.paths, vec![None; self.paths.len()]);
        self.optimizer.flush(&mut updates)?;
        self.optimizer.finalize(&mut updates)?;
        Ok(())
    }

    /// Gives the optimizer back the state that a model file holds.
    pub(crate) fn load_optimizer(&mut self, state: &[(String, Tensor)]) -> Result<()> {
        let updates = updates(&mut self.module, &self.paths, vec![None; self.paths.len()]);
        self.optimizer.load_state(&updates, state)?;
        Ok(())
    }

    /// Trains on one batch: the loss before the update, and the metrics of this batch alone.
    ///
    /// # Errors
    /// Samples or targets that do not fit the model or the loss.
    pub fn train_on_batch(&mut self, x: impl IntoTensors, y: impl IntoTensors) -> Result<Logs> {
        let data = self.arranged(&Dataset::new(x, y)?)?;
        let batch = data.batch_range(0, data.len())?;
        let mut state = self.on_batch.take().unwrap_or_else(|| self.metric_state());
        state.reset();
        if self.steps.is_multiple_of(CHECKED_EVERY) {
            self.plans.check_again();
        }
        self.train_batch(Given { batch: &batch, weights: None, key: &Key::new(0) }, &mut state)?;
        self.settled()?;
        let logs = state.logs("");
        self.on_batch = Some(state);
        Ok(logs)
    }

    /// Data in the order of the model's inputs and outputs.
    pub(crate) fn arranged(&self, data: &Dataset) -> Result<Dataset> {
        let [inputs, outputs] = self.value_names();
        data.arranged(&inputs, &outputs)
    }

    /// The names of inputs and outputs; none where there is one alone.
    pub(crate) fn value_names(&self) -> [Vec<String>; 2] {
        let outputs = self.objectives.iter().map(|objective| objective.output.clone());
        [self.inputs.clone(), outputs.filter(|_| self.objectives.len() > 1).collect()]
    }

    /// Refuses metrics whose state no checkpoint could hold within an epoch.
    pub(crate) fn check_metrics_are_shown(&self) -> Result<()> {
        match self.metric_state().hides() {
            false => Ok(()),
            true => {
                let text = "fit: a metric does not show what it keeps, so no run can be taken up within an epoch";
                Err(Error::config(
                    text,
                    "implement Metric::visit for it, or write checkpoints after epochs: Every::Epochs(1)",
                ))
            }
        }
    }

    /// Empty metrics for one pass over data.
    pub(crate) fn metric_state(&self) -> MetricState {
        MetricState::new(&self.metrics, &self.weighted_metrics, &self.objectives)
    }

    /// The names that an epoch logs.
    pub(crate) fn log_names(&self, training: &MetricState, validation: bool) -> Vec<String> {
        let mut names: Vec<String> = training.logs("").names().map(str::to_owned).collect();
        if validation {
            names.extend(self.metric_state().logs("val_").names().map(str::to_owned));
        }
        names
    }
}
