//! A module with what it takes to train it: `compile`, single batches, prediction. The loop over epochs is `fit.rs`.

use crate::data::{Batch, Dataset, Inputs};
use crate::history::Logs;
use crate::plans::{Given, Plans};
use crate::repeat::Repeat;
use crate::{Error, Result};
use kiln_nn::losses::{IntoLoss, Loss};
use kiln_nn::metrics::{Accuracy, IntoMetrics, Mean, Metric};
use kiln_nn::module::named_parameters;
use kiln_nn::ops::{Value, concat};
use kiln_nn::optimizers::{IntoOptimizer, Optimizer, ParameterUpdate, RecordedUpdate};
use kiln_nn::{Activation, DType, IntoModule, Key, Module, Network, Pass, Tensor, Trace, Var, Watch};
use std::collections::HashSet;

/// Batches of [`Model::train_on_batch`] after which a plan is compared with its operations once more.
const CHECKED_EVERY: u64 = 1024;

/// Samples that [`Model::predict`] and [`Model::evaluate`] take at a time.
const INFERENCE_BATCH: usize = 256;

/// A model that can be trained: a module, an optimizer, a loss and metrics. Made by [`Compile::compile`].
#[derive(Debug)]
pub struct Model<M: Module = Network> {
    pub(crate) module: M,
    /// The path of each parameter, which the optimizer keeps its state under.
    pub(crate) paths: Vec<String>,
    pub(crate) optimizer: Optimizer,
    pub(crate) loss: Box<dyn Loss>,
    /// The same loss of logits, where the model ends in the activation that it is fused with.
    pub(crate) fused: Option<Box<dyn Loss>>,
    pub(crate) metrics: Vec<Box<dyn Metric>>,
    pub(crate) weighted_metrics: Vec<Box<dyn Metric>>,
    /// Batches trained on so far: the position in the stream of random numbers.
    pub(crate) steps: u64,
    /// Recorded steps, and why there are none.
    pub(crate) plans: Plans,
    /// The metrics of [`Model::train_on_batch`].
    on_batch: Option<MetricState>,
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
    /// # Errors
    /// A name that is not known, with the nearest one; a setting out of its range; layers that do not fit together; a module
    /// that shows two parameters under one path.
    fn compile(
        self,
        optimizer: impl IntoOptimizer,
        loss: impl IntoLoss,
        metrics: impl IntoMetrics,
    ) -> Result<Model<Self::Module>> {
        let module = self.into_module()?;
        let loss = loss.into_loss()?;
        let link = loss.link().map(Activation::from);
        let fused = loss.with_logits().filter(|_| link == Some(module.output_activation()));
        let metrics = metrics.into_metrics()?;
        check_names(&metrics)?;
        let optimizer = optimizer.into_optimizer()?;
        let paths: Vec<String> = named_parameters(&module).into_iter().map(|(path, _)| path).collect();
        check_paths(&paths)?;
        Ok(Model {
            module,
            paths,
            optimizer,
            loss,
            fused,
            metrics,
            weighted_metrics: Vec::new(),
            steps: 0,
            plans: Plans::default(),
            on_batch: None,
        })
    }
}

impl<T: IntoModule> Compile for T {}

fn check_paths(paths: &[String]) -> Result<()> {
    let mut seen = HashSet::new();
    match paths.iter().find(|path| !seen.insert(*path)) {
        None => Ok(()),
        Some(path) => {
            let text = format!("compile: the module has two parameters `{path}`");
            Err(Error::config(text, "visit each under a path of its own in Module::parameters"))
        }
    }
}

fn check_names(metrics: &[Box<dyn Metric>]) -> Result<()> {
    for (i, metric) in metrics.iter().enumerate() {
        let name = metric.name();
        let is_taken = ["loss", "epoch", "seconds", "learning_rate"].contains(&name);
        if is_taken || name.starts_with("val_") || metrics[..i].iter().any(|m| m.name() == name) {
            let text =
                format!("compile: a metric cannot be called `{name}`: another value of the history has that name");
            return Err(Error::config(text, "give it a name of its own"));
        }
    }
    Ok(())
}

/// The trainable parameters with their gradients, which come in the order of [`Module::parameters_mut`]; `paths`, those of all
/// parameters, may be in another.
fn updates<'a, M: Module>(
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
            && parameter.trainable
        {
            all.push(ParameterUpdate { name, value: &mut parameter.tensor, gradient });
        }
    });
    all
}

/// What one batch gave.
pub(crate) struct StepOutput {
    /// The loss, penalties included: one number, which nobody has read yet.
    pub(crate) loss: Tensor,
    /// The predictions, made before the update.
    pub(crate) predictions: Tensor,
    /// The update, if it was recorded.
    pub(crate) update: Option<RecordedUpdate>,
}

impl<M: Module> Model<M> {
    /// Adds metrics that take sample and class weights into account.
    ///
    /// # Errors
    /// A name that is not known or is taken.
    pub fn weighted_metrics(mut self, metrics: impl IntoMetrics) -> Result<Self> {
        self.weighted_metrics = metrics.into_metrics()?;
        let all: Vec<Box<dyn Metric>> = self.metrics.iter().chain(&self.weighted_metrics).map(|m| m.boxed()).collect();
        check_names(&all)?;
        Ok(self)
    }

    /// The module.
    pub fn module(&self) -> &M {
        &self.module
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

    /// What a step of training does: the plans that have been recorded, or why there is none.
    pub fn explain(&self) -> String {
        self.plans.explain()
    }

    /// The module, to be changed.
    pub fn module_mut(&mut self) -> &mut M {
        self.plans.forget();
        &mut self.module
    }

    /// The optimizer.
    pub fn optimizer(&self) -> &Optimizer {
        &self.optimizer
    }

    /// The table of layers, output shapes and parameter counts.
    pub fn summary(&self) -> String {
        self.module.summary()
    }

    /// The value that gradients start from, and the predictions.
    fn forward(&self, x: &Var, y: &Var, weights: Option<&Var>, pass: &mut Pass) -> Result<(Var, Tensor)> {
        let (loss, predictions) = match &self.fused {
            Some(fused) => {
                let logits = self.module.logits(x, pass)?;
                let predictions = self.module.output_activation().apply(logits.tensor())?;
                (fused.call(y, &logits, weights)?, predictions)
            }
            None => {
                let predictions = self.module.forward(x, pass)?;
                (self.loss.call(y, &predictions, weights)?, predictions.into_tensor())
            }
        };
        if Value::shape(&loss).count() != 1 {
            let text = format!("the loss `{}` gives {} numbers for a batch", self.loss.name(), Value::shape(&loss));
            return Err(Error::config(text, "training needs one: use a reduction other than None"));
        }
        let loss = match pass.penalties()? {
            Some(penalty) => {
                use kiln_nn::ops::ArithmeticOps;
                loss.add(&penalty)?
            }
            None => loss,
        };
        Ok((loss, predictions))
    }

    /// One step of training: forward, backward, update. `key` is the step's own; the numbers of the update become inputs of
    /// `trace`.
    pub(crate) fn step(
        &mut self,
        batch: &Batch,
        weights: Option<&Tensor>,
        key: Key,
        trace: Option<&Trace>,
    ) -> Result<StepOutput> {
        let mut pass = Pass::training(key);
        let weights = weights.map(|w| Var::new(w.clone()));
        let (x, y) = (Var::new(batch.x.clone()), Var::new(batch.y.clone()));
        let (loss, predictions) = self.forward(&x, &y, weights.as_ref(), &mut pass)?;
        let gradients = pass.finish(&loss, &mut self.module)?;
        // The tape goes before the update: it holds the parameters, and what others hold cannot be updated where it lies.
        let loss = loss.into_tensor();
        let mut updates = updates(&mut self.module, &self.paths, gradients);
        let update = match trace {
            Some(trace) => Some(self.optimizer.record(&mut updates, trace)?),
            None => self.optimizer.apply(&mut updates).map(|()| None)?,
        };
        self.steps += 1;
        Ok(StepOutput { loss, predictions, update })
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

    /// A batch in the metrics, without training.
    fn test_batch(&self, batch: &Batch, watch: Option<&Watch>, state: &mut MetricState) -> Result<()> {
        let given = |name, x: &Tensor| Var::new(watch.map_or_else(|| x.clone(), |watch| watch.input(name, x)));
        let (x, y) = (given("x", &batch.x), given("y", &batch.y));
        let weights = batch.sample_weight.as_ref().map(|w| given("the weights of samples", w));
        let (loss, predictions) = self.forward(&x, &y, weights.as_ref(), &mut Pass::inference())?;
        let mut output = StepOutput { loss: loss.into_tensor(), predictions, update: None };
        if watch.is_some() {
            // Metrics may well use infinities on the way to a number.
            (output.loss, output.predictions) = (output.loss.untraced(), output.predictions.untraced());
        }
        state.update(batch, &output, batch.sample_weight.as_ref())
    }

    /// Trains on one batch: the loss before the update, and the metrics of this batch alone.
    ///
    /// # Errors
    /// Samples or targets that do not fit the model or the loss.
    pub fn train_on_batch(&mut self, x: &Tensor, y: &Tensor) -> Result<Logs> {
        let batch = Dataset::new(x.clone(), y.clone())?.batch_range(0, Inputs::count(x))?;
        let mut state = self.on_batch.take().unwrap_or_else(|| self.metric_state());
        state.reset();
        if self.steps.is_multiple_of(CHECKED_EVERY) {
            self.plans.check_again();
        }
        self.train_batch(Given { batch: &batch, weights: None, key: &Key::new(0) }, &mut state)?;
        let logs = state.logs("");
        self.on_batch = Some(state);
        Ok(logs)
    }

    /// The loss and the metrics on a dataset, in inference mode.
    ///
    /// # Errors
    /// Samples or targets that do not fit the model or the loss.
    pub fn evaluate(&self, data: &Dataset) -> Result<Logs> {
        self.evaluate_with(data, INFERENCE_BATCH, false, |_, _, _| {})
    }

    /// [`Model::evaluate`] with a batch size, under a watch for results that are not finite or not, telling `progress` after
    /// each batch how many of how many are done.
    pub(crate) fn evaluate_with(
        &self,
        data: &Dataset,
        batch_size: usize,
        is_watched: bool,
        mut progress: impl FnMut(usize, usize, &MetricState),
    ) -> Result<Logs> {
        let mut state = self.metric_state();
        let batches = data.len().div_ceil(batch_size);
        let watch = is_watched.then(Watch::new);
        let mut repeat = Repeat::new(batches, is_watched || self.plans.is_eager_by_request());
        for i in 0..batches {
            let batch = data.batch_range(i * batch_size, ((i + 1) * batch_size).min(data.len()))?;
            // The first batch gives metrics their tensors.
            if i == 0 {
                self.test_batch(&batch, watch.as_ref(), &mut state)?;
                if state.hides() {
                    repeat = Repeat::Eagerly;
                }
            } else {
                let mut tensors = vec![batch.x.clone(), batch.y.clone()];
                tensors.extend(batch.sample_weight.clone());
                let of_batch = tensors.len();
                state.visit(&mut |tensor| tensors.push(tensor.clone()))?;
                let results = repeat.call(&tensors, |x| {
                    let (of_batch, of_state) = x.split_at(of_batch);
                    state.set(of_state)?;
                    let (x, y) = (of_batch[0].clone(), of_batch[1].clone());
                    let batch = Batch { x, y, sample_weight: of_batch.get(2).cloned() };
                    self.test_batch(&batch, watch.as_ref(), &mut state)?;
                    let mut results = Vec::with_capacity(of_state.len());
                    state.visit(&mut |tensor| results.push(tensor.clone()))?;
                    Ok(results)
                })?;
                state.set(&results)?;
            }
            progress(i + 1, batches, &state);
        }
        Ok(state.logs(""))
    }

    /// The model's output for each sample of a tensor or a dataset.
    ///
    /// # Errors
    /// Samples that do not fit the model.
    pub fn predict(&self, x: &impl Inputs) -> Result<Tensor> {
        let n = x.count();
        if n == 0 {
            return Err(Error::data("predict: there is no sample", "give a batch of at least one"));
        }
        let mut outputs = Vec::new();
        let mut repeat = Repeat::new(n.div_ceil(INFERENCE_BATCH), self.plans.is_eager_by_request());
        for start in (0..n).step_by(INFERENCE_BATCH) {
            let part = x.part(start, (start + INFERENCE_BATCH).min(n))?;
            outputs.extend(repeat.call(&[part], |x| {
                let x = Var::new(x[0].clone());
                Ok(vec![self.module.forward(&x, &mut Pass::inference())?.into_tensor()])
            })?);
        }
        match outputs.len() {
            1 => Ok(outputs.swap_remove(0)),
            _ => Ok(concat(&outputs.iter().collect::<Vec<_>>(), 0)?),
        }
    }

    /// Empty metrics for one pass over data.
    pub(crate) fn metric_state(&self) -> MetricState {
        let fresh = |metrics: &[Box<dyn Metric>]| -> Vec<Box<dyn Metric>> {
            metrics
                .iter()
                .map(|m| {
                    let mut m = m.boxed();
                    m.reset();
                    m
                })
                .collect()
        };
        MetricState {
            loss: Mean::new(),
            is_fresh: true,
            metrics: fresh(&self.metrics),
            weighted: fresh(&self.weighted_metrics),
            objective: self.loss.clone(),
        }
    }

    /// The names that an epoch logs.
    pub(crate) fn log_names(&self, validation: bool) -> Vec<String> {
        let mut names: Vec<String> = self.metric_state().logs("").names().map(str::to_owned).collect();
        if validation {
            names.extend(names.clone().iter().map(|n| format!("val_{n}")));
        }
        names
    }
}

/// Running values of a pass over data: the loss weighted by batch sizes, and the metrics' accumulated state.
#[derive(Debug)]
pub(crate) struct MetricState {
    loss: Mean,
    /// Whether there was no batch yet.
    is_fresh: bool,
    metrics: Vec<Box<dyn Metric>>,
    weighted: Vec<Box<dyn Metric>>,
    /// The loss, which tells what "accuracy" means.
    objective: Box<dyn Loss>,
}

impl MetricState {
    /// Takes a batch in. `weights` are those that the loss used.
    pub(crate) fn update(&mut self, batch: &Batch, output: &StepOutput, weights: Option<&Tensor>) -> Result<()> {
        let n = Inputs::count(&batch.x);
        if std::mem::take(&mut self.is_fresh) {
            let (y, p) = (batch.y.shape(), output.predictions.shape());
            for metric in self.metrics.iter_mut().chain(&mut self.weighted).filter(|m| m.type_name() == "Accuracy") {
                *metric = Accuracy::resolve(metric.name(), Some(&*self.objective), y, p);
            }
        }
        let weight = Tensor::scalar(n as f64, DType::F64);
        self.loss.update(&output.loss, &output.loss, Some(&weight))?;
        for metric in &mut self.metrics {
            metric.update(&batch.y, &output.predictions, None)?;
        }
        for metric in &mut self.weighted {
            metric.update(&batch.y, &output.predictions, weights)?;
        }
        Ok(())
    }

    /// Forgets the batches, and keeps the tensors that they have made.
    fn reset(&mut self) {
        self.loss.reset();
        self.metrics.iter_mut().chain(&mut self.weighted).for_each(|metric| metric.reset());
    }

    /// Whether there was no batch yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// Whether a metric shows no tensor: what it keeps is elsewhere.
    pub(crate) fn hides(&mut self) -> bool {
        self.metrics.iter_mut().chain(&mut self.weighted).any(|metric| {
            let mut shown = 0;
            let visited = metric.visit(&mut |_, _| {
                shown += 1;
                Ok(())
            });
            visited.is_err() || shown == 0
        })
    }

    /// Calls `f` with every tensor that a batch changes, always in the same order.
    pub(crate) fn visit(&mut self, f: &mut dyn FnMut(&mut Tensor)) -> Result<()> {
        self.visit_named(&mut |_, _, tensor| f(tensor))
    }

    /// [`MetricState::visit`] with the names of the metric and of what it keeps there.
    pub(crate) fn visit_named(&mut self, f: &mut dyn FnMut(&str, &str, &mut Tensor)) -> Result<()> {
        let mut visit = |name: &str, metric: &mut dyn Metric| {
            metric.visit(&mut |slot, tensor| {
                f(name, slot, tensor);
                Ok(())
            })
        };
        visit("loss", &mut self.loss)?;
        for metric in self.metrics.iter_mut().chain(&mut self.weighted) {
            let name = metric.name().to_owned();
            visit(&name, &mut **metric)?;
        }
        Ok(())
    }

    /// Puts tensors in the place of those that [`MetricState::visit`] shows.
    fn set(&mut self, tensors: &[Tensor]) -> Result<()> {
        let mut tensors = tensors.iter();
        self.visit(&mut |tensor| {
            if let Some(other) = tensors.next() {
                *tensor = other.clone();
            }
        })
    }

    /// The values so far, each name with `prefix` before it. This reads them: nothing before does.
    pub(crate) fn logs(&self, prefix: &str) -> Logs {
        let mut logs = Logs::new();
        logs.set(format!("{prefix}loss"), self.loss.result());
        for metric in self.metrics.iter().chain(&self.weighted) {
            logs.set(format!("{prefix}{}", metric.name()), metric.result());
        }
        logs
    }
}
