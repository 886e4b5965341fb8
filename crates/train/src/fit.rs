//! The training loop.

use crate::callbacks::{Callback, Control, Direction, Snapshot, check_monitors};
use crate::data::{ClassWeight, Dataset, batch_weights};
use crate::history::{History, Params, StopReason};
use crate::interrupt::Interrupt;
use crate::model::Model;
use crate::plans::Given;
use crate::progress::{Progress, Verbosity};
use crate::running::MetricState;
use crate::{Error, Result, unoptimized};
use kiln_nn::module::{load_parameters, named_parameters};
use kiln_nn::optimizers::LearningRate;
use kiln_nn::{Key, Module, Tensor};
use std::io::Stdout;
use std::path::Path;
use std::time::Instant;

/// Settings of a training run, with Keras's names and defaults.
///
/// ```
/// use kiln_train::{Fit, callbacks::EarlyStopping};
/// let fit = Fit::new().epochs(20).batch_size(64).validation_split(0.2).callback(EarlyStopping::new().patience(3));
/// ```
pub struct Fit<'a> {
    batch_size: usize,
    epochs: usize,
    initial_epoch: usize,
    shuffle: bool,
    seed: u64,
    verbose: Verbosity,
    validation: Validation<'a>,
    validation_freq: usize,
    validation_batch_size: Option<usize>,
    class_weight: Option<ClassWeight>,
    check_finite: bool,
    log_learning_rate: bool,
    log_gradient_norm: bool,
    callbacks: Vec<Box<dyn Callback>>,
}

/// Where validation data come from.
enum Validation<'a> {
    None,
    Data(&'a Dataset),
    Split(f64),
    StratifiedSplit(f64),
    LastSamples(f64),
}

impl Default for Fit<'_> {
    fn default() -> Self {
        Fit {
            batch_size: 32,
            epochs: 1,
            initial_epoch: 0,
            shuffle: true,
            seed: 0,
            verbose: Verbosity::Auto,
            validation: Validation::None,
            validation_freq: 1,
            validation_batch_size: None,
            class_weight: None,
            check_finite: false,
            log_learning_rate: false,
            log_gradient_norm: false,
            callbacks: Vec::new(),
        }
    }
}

impl<'a> Fit<'a> {
    /// One epoch in batches of 32, shuffled, with a progress bar, without validation.
    pub fn new() -> Fit<'a> {
        Fit::default()
    }

    /// Samples in a batch.
    #[must_use]
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = batch_size;
        self
    }

    /// The epoch to stop before: with [`Fit::initial_epoch`] the number is that of the last epoch, not a count.
    #[must_use]
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.epochs = epochs;
        self
    }

    /// The epoch to start at, to go on with an earlier run.
    #[must_use]
    pub fn initial_epoch(mut self, epoch: usize) -> Self {
        self.initial_epoch = epoch;
        self
    }

    /// Whether each epoch sees the samples in another order.
    #[must_use]
    pub fn shuffle(mut self, shuffle: bool) -> Self {
        self.shuffle = shuffle;
        self
    }

    /// The seed of the order of samples, of the split and of dropout; 0 unless set.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How much is printed.
    #[must_use]
    pub fn verbose(mut self, verbose: Verbosity) -> Self {
        self.verbose = verbose;
        self
    }

    /// Data that the model is evaluated on after each epoch. Of this and the ways to split, the last one called counts.
    #[must_use]
    pub fn validation_data(mut self, data: &'a Dataset) -> Self {
        self.validation = Validation::Data(data);
        self
    }

    /// [`Fit::validation_data`] where nothing else has been named.
    pub(crate) fn validated_by(mut self, data: &'a Dataset) -> Self {
        if matches!(self.validation, Validation::None) {
            self.validation = Validation::Data(data);
        }
        self
    }

    /// Keeps this fraction of the samples for validation, chosen at random by the seed.
    #[must_use]
    pub fn validation_split(mut self, fraction: f64) -> Self {
        self.validation = Validation::Split(fraction);
        self
    }

    /// [`Fit::validation_split`] with the classes in both parts in the same proportion.
    #[must_use]
    pub fn stratified_validation_split(mut self, fraction: f64) -> Self {
        self.validation = Validation::StratifiedSplit(fraction);
        self
    }

    /// Keeps the last samples, unshuffled, for validation, as Keras's `validation_split` does: for series in time.
    #[must_use]
    pub fn validation_last(mut self, fraction: f64) -> Self {
        self.validation = Validation::LastSamples(fraction);
        self
    }

    /// Validates after every so many epochs.
    #[must_use]
    pub fn validation_freq(mut self, epochs: usize) -> Self {
        self.validation_freq = epochs;
        self
    }

    /// Samples in a batch of validation; that of training unless set.
    #[must_use]
    pub fn validation_batch_size(mut self, batch_size: usize) -> Self {
        self.validation_batch_size = Some(batch_size);
        self
    }

    /// Weights for classes; they multiply sample weights.
    #[must_use]
    pub fn class_weight(mut self, weight: ClassWeight) -> Self {
        self.class_weight = Some(weight);
        self
    }

    /// Stops at the first operation whose result holds NaN or an infinity, with an error that names it, its layer and line,
    /// what its operands span, and the epoch and the batch, counted from 1; the parameters are as they were before that step.
    /// Batches of validation are looked at too, metrics are not. Every operation is run by itself and its
    /// result looked at, so it is for finding out where a loss gets lost and not for every day.
    #[must_use]
    pub fn check_finite(mut self) -> Self {
        self.check_finite = true;
        self
    }

    /// Logs the learning rate at the beginning of each epoch, as `learning_rate`. Callbacks that change it do so by themselves.
    #[must_use]
    pub fn log_learning_rate(mut self, yes: bool) -> Self {
        self.log_learning_rate = yes;
        self
    }

    /// Logs the norm of all gradients together before any is clipped, as `gradient_norm`: the mean over the steps of an epoch. Where
    /// the loss is scaled, steps that are passed over do not count, and the scale is logged as `loss_scale`: it halves with each.
    #[must_use]
    pub fn log_gradient_norm(mut self, yes: bool) -> Self {
        self.log_gradient_norm = yes;
        self
    }

    /// Adds a callback; several are called in the order in which they were added.
    #[must_use]
    pub fn callback(mut self, callback: impl Callback + 'static) -> Self {
        self.callbacks.push(Box::new(callback));
        self
    }

    fn check(&self) -> Result<()> {
        if self.batch_size == 0 || self.validation_batch_size == Some(0) {
            return Err(Error::config("fit: a batch size of 0", "give at least 1; 32 is the default"));
        }
        if self.initial_epoch > 0 && self.epochs <= self.initial_epoch {
            let text = format!("fit: initial_epoch {} leaves nothing of {} epochs", self.initial_epoch, self.epochs);
            let more = self.epochs.max(1);
            let end = self.initial_epoch.saturating_add(more);
            let help = format!("epochs is where to stop, and not a count: .epochs({end}) runs {more} more");
            return Err(Error::config(text, help));
        }
        if self.validation_freq == 0 {
            return Err(Error::config("fit: a validation_freq of 0", "1 validates after every epoch"));
        }
        Ok(())
    }

    /// The samples to train on and to validate on.
    fn parts(&self, data: &Dataset) -> Result<(Dataset, Option<Dataset>)> {
        let both = |(train, validation)| (train, Some(validation));
        match self.validation {
            Validation::None => Ok((data.clone(), None)),
            Validation::Data(validation) => Ok((data.clone(), Some(validation.clone()))),
            Validation::Split(fraction) => data.split(fraction, self.seed).map(both),
            Validation::StratifiedSplit(fraction) => data.split_stratified(fraction, self.seed).map(both),
            Validation::LastSamples(fraction) => {
                let cut = (data.len() as f64 * (1.0 - fraction)).floor() as usize;
                if !(0.0..1.0).contains(&fraction) || cut == 0 || cut == data.len() {
                    let text =
                        format!("fit: the last {fraction} of {} samples leave a part without a sample", data.len());
                    return Err(Error::config(text, "give a fraction between 0 and 1, such as 0.2"));
                }
                Ok((data.range(0, cut)?, Some(data.range(cut, data.len())?)))
            }
        }
    }
}

/// Random streams of a run, apart from each other.
const ORDER: u64 = 1;
const LAYERS: u64 = 2;

impl<M: Module> Model<M> {
    /// Trains the model and returns what every epoch measured.
    ///
    /// Ctrl-C finishes the batch that runs, lets the callbacks save what they hold, and returns the history so far; a
    /// second one ends the program.
    ///
    /// # Errors
    /// Data that do not fit the model or the loss; settings without meaning; a callback that watches a value which is
    /// not measured, before the first step; a callback's own error.
    pub fn fit(&mut self, data: &Dataset, mut fit: Fit<'_>) -> Result<History> {
        fit.check()?;
        self.plans.forget();
        if fit.check_finite {
            self.plans.watched();
        }
        let (train, validation) = fit.parts(&self.arranged(data)?)?;
        let class_weights = fit.class_weight.as_ref().map(|w| w.resolve(&train)).transpose()?;
        let training = self.metric_state().with_gradient_norm(fit.log_gradient_norm);
        let names = self.log_names(&training, validation.is_some());
        let mut available: Vec<&str> = names.iter().map(String::as_str).collect();
        available.push("learning_rate");
        check_monitors(&fit.callbacks, &available)?;
        unoptimized::warn_once(fit.verbose);
        let mut callbacks = std::mem::take(&mut fit.callbacks);
        let mut run = Run {
            model: self,
            progress: Progress::stdout(fit.verbose),
            stop: None,
            log_rate: fit.log_learning_rate,
            history: History::new(),
            interrupt: Interrupt::listen(),
        };
        run.history.params = Params {
            epochs: fit.epochs,
            steps: Some(train.len().div_ceil(fit.batch_size)),
            batch_size: Some(fit.batch_size),
        };
        for callback in &mut callbacks {
            callback.on_train_begin(&mut run)?;
        }
        for epoch in fit.initial_epoch..fit.epochs {
            run.epoch(epoch, &fit, &train, validation.as_ref(), class_weights.as_deref(), &mut callbacks)?;
            if run.stop.is_some() {
                break;
            }
        }
        // Before the end of callbacks: weights that one of them puts back are those that were measured.
        run.model.finish()?;
        for callback in &mut callbacks {
            callback.on_train_end(&mut run)?;
        }
        let mut history = run.history;
        history.stopped = run.stop;
        Ok(history)
    }
}

/// A run in progress: what callbacks may reach, and the state of the loop.
struct Run<'m, M: Module> {
    model: &'m mut Model<M>,
    progress: Progress<Stdout>,
    stop: Option<StopReason>,
    /// Whether the learning rate is logged: on request, and from when a callback sets it or means to.
    log_rate: bool,
    history: History,
    interrupt: Interrupt,
}

impl<M: Module> Run<'_, M> {
    fn epoch(
        &mut self,
        epoch: usize,
        fit: &Fit<'_>,
        train: &Dataset,
        validation: Option<&Dataset>,
        class_weights: Option<&[f64]>,
        callbacks: &mut [Box<dyn Callback>],
    ) -> Result<()> {
        let started = Instant::now();
        for callback in callbacks.iter_mut() {
            callback.on_epoch_begin(epoch, self)?;
        }
        self.model.plans.check_again();
        let steps = train.len().div_ceil(fit.batch_size);
        self.progress.begin_epoch(epoch, fit.epochs, Some(steps));
        let rate = self.model.optimizer.learning_rate();
        let state = self.batches(epoch, fit, train, class_weights, callbacks)?;
        let mut logs = state.logs("");
        let validates = (epoch + 1).is_multiple_of(fit.validation_freq);
        if let Some(validation) = validation.filter(|_| validates && self.stop.is_none()) {
            let batch_size = fit.validation_batch_size.unwrap_or(fit.batch_size);
            let (progress, mut batches) = (&mut self.progress, 0);
            let measured = self.model.evaluate_with(validation, batch_size, fit.check_finite, |done, total, _| {
                batches = done;
                progress.validation_step(done, total, || logs.clone());
            });
            let place = format!("in epoch {}, validation batch {}", epoch + 1, batches + 1);
            let measured = measured.map_err(|error| error.note(place))?;
            measured.iter().for_each(|(name, value)| logs.set(format!("val_{name}"), value));
        }
        if self.log_rate {
            logs.set("learning_rate", rate);
        }
        if let Some(scale) = self.model.optimizer.loss_scale().filter(|_| fit.log_gradient_norm) {
            logs.set("loss_scale", scale);
        }
        self.progress.end(&logs);
        for callback in callbacks.iter_mut() {
            callback.on_epoch_end(epoch, &mut logs, self)?;
        }
        if self.log_rate {
            logs.set("learning_rate", rate);
        }
        self.history.push(epoch, &logs, started.elapsed().as_secs_f64());
        Ok(())
    }

    /// One pass over the training data.
    fn batches(
        &mut self,
        epoch: usize,
        fit: &Fit<'_>,
        train: &Dataset,
        class_weights: Option<&[f64]>,
        callbacks: &mut [Box<dyn Callback>],
    ) -> Result<MetricState> {
        let key = Key::new(fit.seed);
        let order = || key.fold(ORDER).fold(epoch as u64).permutation(train.len());
        let order = fit.shuffle.then(order).transpose()?;
        let watched = callbacks.iter().any(|c| c.wants_batches());
        let mut state = self.model.metric_state().with_gradient_norm(fit.log_gradient_norm);
        for (i, start) in (0..train.len()).step_by(fit.batch_size).enumerate() {
            let end = (start + fit.batch_size).min(train.len());
            let batch = match &order {
                Some(order) => train.batch(&order[start..end])?,
                None => train.batch_range(start, end)?,
            };
            let weights = batch_weights(&batch, class_weights)?;
            let given = Given { batch: &batch, weights: weights.as_ref(), key: &key.fold(LAYERS) };
            let loss = match fit.check_finite {
                true => {
                    let place = || format!("in epoch {}, batch {}", epoch + 1, i + 1);
                    self.model.watched_batch(given, &mut state).map_err(|error| error.note(place()))?
                }
                false => self.model.train_batch(given, &mut state)?,
            };
            self.progress.step(i + 1, || state.logs(""));
            if watched {
                let mut logs = state.logs("");
                // The batch's own loss, where the running mean would hide that it is not finite.
                let loss = loss.item()?;
                if !loss.is_finite() {
                    logs.set("loss", loss);
                }
                for callback in callbacks.iter_mut().filter(|c| c.wants_batches()) {
                    callback.on_batch_end(i, &logs, self)?;
                }
            }
            if self.interrupt.requested() {
                self.stop(StopReason::Interrupted { epoch });
            }
            if self.stop.is_some() {
                break;
            }
        }
        Ok(state)
    }
}

/// A copy of all parameters by path.
struct Weights(Vec<(String, Tensor)>);

impl<M: Module> Control for Run<'_, M> {
    fn stop(&mut self, reason: StopReason) {
        self.stop.get_or_insert(reason);
    }

    fn learning_rate(&self) -> f64 {
        self.model.optimizer.learning_rate()
    }

    fn set_learning_rate(&mut self, rate: f64) -> Result<()> {
        self.log_rate = true;
        let optimizer = &mut self.model.optimizer;
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

    fn log_learning_rate(&mut self) {
        self.log_rate = true;
    }

    fn snapshot_weights(&mut self) -> Result<Snapshot> {
        Ok(Snapshot::new(Weights(named_parameters(&self.model.module))))
    }

    fn restore_weights(&mut self, snapshot: &Snapshot) -> Result<()> {
        let Some(Weights(saved)) = snapshot.get::<Weights>() else {
            return Err(Error::data("the snapshot is of another kind of model", ""));
        };
        load_parameters(&mut self.model.module, |path| saved.iter().find(|(p, _)| p == path).map(|(_, t)| t.clone()))?;
        Ok(())
    }

    fn save_model(&mut self, path: &Path) -> Result<()> {
        self.model.save(path)
    }

    fn save_weights(&mut self, path: &Path) -> Result<()> {
        self.model.save_weights(path)
    }

    fn message(&mut self, text: &str) {
        self.progress.message(text);
    }

    fn direction(&self, log_key: &str) -> Option<Direction> {
        let name = log_key.strip_prefix("val_").unwrap_or(log_key);
        if name == "loss" || self.model.objectives.iter().any(|one| one.log_name().as_deref() == Some(name)) {
            return Some(Direction::Min);
        }
        let metrics = self.model.metrics.iter().chain(&self.model.weighted_metrics);
        metrics.into_iter().find(|m| m.metric.name() == name).and_then(|m| m.metric.direction())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Compile;
    use crate::callbacks::LambdaCallback;
    use kiln_nn::Sequential;
    use kiln_nn::layers::Dense;
    use kiln_nn::metrics::{Mean, Metric};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    /// A mean that counts how often its state is read on the host.
    #[derive(Clone, Debug)]
    struct Counted {
        mean: Mean,
        reads: Arc<AtomicUsize>,
    }

    impl Metric for Counted {
        fn name(&self) -> &str {
            "counted"
        }
        fn rename(&mut self, _: &str) {}
        fn type_name(&self) -> &str {
            "Counted"
        }
        fn update(&mut self, y_true: &Tensor, y_pred: &Tensor, weights: Option<&Tensor>) -> kiln_nn::Result<()> {
            self.mean.update(y_true, y_pred, weights)
        }
        fn values(&self) -> Vec<f64> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            self.mean.values()
        }
        fn reset(&mut self) {
            self.mean.reset();
        }
        fn visit(&mut self, f: &mut dyn FnMut(&str, &mut Tensor) -> kiln_nn::Result<()>) -> kiln_nn::Result<()> {
            self.mean.visit(f)
        }
        fn arguments(&self) -> serde_json::Value {
            serde_json::Value::Null
        }
        fn boxed(&self) -> Box<dyn Metric> {
            Box::new(self.clone())
        }
    }

    /// 3 epochs of 20 batches; how often a metric was read between the first batch and the last callback.
    fn reads(callback: LambdaCallback) -> (usize, History) {
        let reads = Arc::new(AtomicUsize::new(0));
        let metric: Box<dyn Metric> = Box::new(Counted { mean: Mean::new(), reads: reads.clone() });
        let mut model = Sequential::new([2]).add(Dense::new(1)).compile("adam", "mse", vec![metric]).unwrap();
        let x = Key::new(0).normal([40, 2], 0.0, 1.0).unwrap();
        let data = Dataset::new(x, Tensor::ones([40, 1]).unwrap()).unwrap();
        let begin = reads.clone();
        let callback = callback.on_train_begin(move |_| {
            begin.store(0, Ordering::Relaxed);
            Ok(())
        });
        let fit = Fit::new().epochs(3).batch_size(2).verbose(Verbosity::Silent).callback(callback);
        let history = model.fit(&data, fit).unwrap();
        (reads.load(Ordering::Relaxed), history)
    }

    #[test]
    fn values_are_read_where_somebody_looks() {
        assert_eq!(reads(LambdaCallback::new()).0, 3, "once an epoch");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = seen.clone();
        let (count, history) = reads(LambdaCallback::new().on_batch_end(move |batch, logs, _| {
            sink.lock().unwrap().push((batch, logs.get("counted").unwrap()));
            Ok(())
        }));
        assert_eq!(count, 3 * 20 + 3, "and after each batch");
        // What a callback sees after the last batch is what the epoch reports.
        let seen = seen.lock().unwrap();
        let last: Vec<f64> = seen.iter().filter(|(batch, _)| *batch == 19).map(|(_, value)| *value).collect();
        assert_eq!(last, history.get("counted").unwrap());
        assert!(seen[0].1 != seen[1].1);
    }
}
