//! The training loop.

use super::Fit;
use super::checkpoints::{Checkpoint, Moment, Writer, rates};
use crate::callbacks::{Callback, Control};
use crate::data::{Batch, BatchSource, Feed, Place, batch_weights};
use crate::history::{History, Logs, StopReason};
use crate::interrupt::Interrupt;
use crate::model::Model;
use crate::plans::Given;
use crate::progress::Progress;
use crate::running::MetricState;
use crate::{Error, Result, unoptimized};
use kiln_nn::names::listing;
use kiln_nn::{Key, Module, Tensor};
use serde::{Deserialize, Serialize};
use std::io::Stdout;
use std::time::Instant;

/// Random streams of a run, apart from each other.
pub(super) const ORDER: u64 = 1;
const LAYERS: u64 = 2;

impl<M: Module> Model<M> {
    /// Trains the model on a [`Dataset`] or a [`Stream`] of batches and returns what every epoch measured.
    ///
    /// Ctrl-C finishes the batch that runs, lets the callbacks save what they hold, and returns the history of the epochs that
    /// are whole; a second one ends the program. After an error the history so far is in [`Model::history`].
    ///
    /// [`Dataset`]: crate::Dataset
    /// [`Stream`]: crate::Stream
    ///
    /// # Errors
    /// Data that do not fit the model or the loss; settings without meaning; a callback that watches a value which is
    /// not measured, before the first step; a callback's own error; a checkpoint that cannot be taken up, or, at the end of the
    /// run, written.
    pub fn fit(&mut self, data: &impl BatchSource, fit: Fit<'_>) -> Result<History> {
        fit.check()?;
        self.plans.forget();
        if fit.check_finite {
            self.plans.watched();
        }
        unoptimized::warn_once(fit.verbose);
        let mut run = Run::new(self, data.kind(), fit)?;
        let outcome = run.train();
        run.end(outcome)
    }

    /// The history of the last [`Model::fit`] of this model, also of one that ended in an error.
    pub fn history(&self) -> &History {
        &self.history
    }
}

/// Where a run is: what it needs to go on.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Cursor {
    pub(super) epoch: usize,
    /// Whether that epoch has begun.
    pub(super) is_begun: bool,
    /// Batches of it that are done.
    pub(super) batch: usize,
    /// The next batch of the data.
    pub(super) place: Place,
    /// Batches of the whole run.
    pub(super) steps: u64,
    /// How long the run has lasted, and this epoch, in seconds.
    pub(super) seconds: f64,
    pub(super) epoch_seconds: f64,
    /// The learning rate at the beginning of the epoch.
    pub(super) rate: f64,
    /// Those that the run began with, of the optimizer and of its parts, and the present ones.
    pub(super) first_rates: Vec<f64>,
    pub(super) last_rates: Vec<f64>,
    /// Whether the learning rate is logged: on request, and from when a callback sets it or means to.
    pub(super) logs_rate: bool,
}

/// A run in progress: what callbacks may reach, and the state of the loop.
pub(super) struct Run<'m, 'a, M: Module> {
    pub(super) model: &'m mut Model<M>,
    pub(super) fit: Fit<'a>,
    pub(super) feed: Feed,
    pub(super) validation: Option<Feed>,
    pub(super) class_weights: Option<Vec<f64>>,
    pub(super) callbacks: Vec<Box<dyn Callback + 'a>>,
    pub(super) cursor: Cursor,
    /// When the run and the epoch would have begun, had they not been put down meanwhile.
    pub(super) began: Instant,
    pub(super) epoch_began: Instant,
    /// The metrics of the epoch that a checkpoint was taken up in.
    pub(super) resumed: Option<MetricState>,
    /// The checkpoint, until callbacks have taken from it what is theirs.
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) writer: Option<Writer>,
    pub(super) progress: Progress<Stdout>,
    pub(super) stop: Option<StopReason>,
    pub(super) interrupt: Interrupt,
    /// Whether this run has trained on a batch.
    pub(super) has_stepped: bool,
    pub(super) is_told_of_escape: bool,
}

impl<M: Module> Run<'_, '_, M> {
    /// Batches in an epoch, where that is known.
    pub(super) fn steps(&self) -> Option<usize> {
        self.fit.steps_per_epoch.or_else(|| self.feed.steps())
    }

    fn train(&mut self) -> Result<()> {
        self.each_callback(|callback, run| callback.on_train_begin(run))?;
        for doubt in self.model.doubts() {
            self.progress.message(&doubt);
        }
        if let Some(checkpoint) = self.checkpoint.take() {
            checkpoint.give_callbacks(&mut self.callbacks)?;
            self.progress.message(&checkpoint.told(&self.cursor));
        }
        // A stream would have to begin a pass for it.
        let is_whole = matches!(self.validation, Some(Feed::Whole { .. }));
        let sanity = self.fit.sanity_validation.unwrap_or(usize::from(is_whole));
        if sanity > 0 && self.cursor.steps == 0 {
            self.validate(Some(sanity), "in the validation before the first step", None)?;
        }
        while self.stop.is_none() && self.cursor.epoch < self.fit.epochs {
            self.epoch()?;
        }
        self.write_last()?;
        // Before the end of callbacks: weights that one of them puts back are those that were measured.
        self.model.finish()
    }

    /// Ends the run, however it went: every callback hears of it.
    fn end(mut self, outcome: Result<()>) -> Result<History> {
        let mut ended = Ok(());
        for mut callback in std::mem::take(&mut self.callbacks) {
            ended = ended.and(callback.on_train_end(&mut self));
        }
        self.model.history.stopped = self.stop.take();
        let failed = self.writer.as_mut().and_then(Writer::take_failure);
        outcome.and(ended).and(failed.map_or(Ok(()), Err))?;
        Ok(self.model.history.clone())
    }

    /// Calls each callback; the first error ends it.
    fn each_callback(&mut self, mut f: impl FnMut(&mut dyn Callback, &mut Self) -> Result<()>) -> Result<()> {
        let mut callbacks = std::mem::take(&mut self.callbacks);
        let outcome = callbacks.iter_mut().try_for_each(|callback| {
            f(&mut **callback, self).map_err(|error| {
                let epoch =
                    if self.cursor.is_begun { format!(", in epoch {}", self.cursor.epoch + 1) } else { String::new() };
                error.note(format_args!("of the callback {}{epoch}", callback.name()))
            })
        });
        self.callbacks = callbacks;
        outcome
    }

    fn epoch(&mut self) -> Result<()> {
        let epoch = self.cursor.epoch;
        let mut state = match self.resumed.take() {
            Some(state) => state,
            None => {
                // What ends a run between two epochs leaves none without a batch behind.
                if self.is_over() {
                    return Ok(());
                }
                self.epoch_began = Instant::now();
                self.each_callback(|callback, run| callback.on_epoch_begin(epoch, run))?;
                if self.stop.is_some() {
                    return Ok(());
                }
                (self.cursor.is_begun, self.cursor.batch) = (true, 0);
                self.cursor.rate = self.model.optimizer.learning_rate();
                self.model.metric_state().with_gradient_norm(self.fit.log_gradient_norm)
            }
        };
        self.model.plans.check_again();
        self.progress.begin_epoch(epoch, self.fit.epochs, self.steps());
        self.progress.goes_on_from(self.cursor.batch);
        self.batches(&mut state)?;
        if let Some(StopReason::Interrupted { .. }) = self.stop {
            return Ok(());
        }
        self.model.settled().map_err(|error| error.note(format_args!("in a batch of epoch {}", epoch + 1)))?;
        let mut logs = state.logs("");
        self.validate_epoch(&mut logs)?;
        self.end_epoch(logs)
    }

    /// What an epoch ends with, whole or cut short: its values, callbacks, a row in the history.
    fn end_epoch(&mut self, mut logs: Logs) -> Result<()> {
        let epoch = self.cursor.epoch;
        if self.cursor.logs_rate {
            logs.set("learning_rate", self.cursor.rate);
        }
        if let Some(scale) = self.model.optimizer.loss_scale().filter(|_| self.fit.log_gradient_norm) {
            logs.set("loss_scale", scale);
        }
        self.progress.end(&logs);
        self.tell_lost(&logs);
        self.each_callback(|callback, run| callback.on_epoch_end(epoch, &mut logs, run))?;
        if self.cursor.logs_rate {
            logs.set("learning_rate", self.cursor.rate);
        }
        self.model.history.push(epoch, &logs, self.epoch_began.elapsed().as_secs_f64());
        self.model.history.params.steps = self.steps();
        if self.interrupt.requested() {
            self.stop(StopReason::Interrupted { epoch });
        }
        if matches!(self.stop, Some(StopReason::MaxSteps { .. } | StopReason::MaxTime { .. })) {
            // The checkpoint stands before what ended this epoch early.
            return Ok(());
        }
        let place = match self.fit.steps_per_epoch {
            Some(_) => self.cursor.place,
            None => Place { pass: self.cursor.place.pass + 1, batch: 0 },
        };
        self.cursor = Cursor { epoch: epoch + 1, is_begun: false, batch: 0, place, ..self.cursor.clone() };
        let Some(writer) = &mut self.writer else { return Ok(()) };
        // Weights that are lost are none to keep, however good the epoch was until then.
        let is_lost = matches!(self.stop, Some(StopReason::NotFinite { .. }));
        let (is_due, is_best) = (writer.is_due_after(epoch), !is_lost && writer.is_best(&logs));
        // The best first: a run that is killed between the two does this epoch again.
        if is_best {
            self.write_best()?;
        }
        if is_due && self.stop.is_none() { self.write(None) } else { Ok(()) }
    }

    /// One pass over the training data, or the rest of it.
    fn batches(&mut self, state: &mut MetricState) -> Result<()> {
        let key = Key::new(self.fit.seed).fold(LAYERS);
        let watched = self.callbacks.iter().any(|c| c.wants_batches());
        while !self.is_over() && self.fit.steps_per_epoch.is_none_or(|steps| self.cursor.batch < steps) {
            let mut place = self.cursor.place;
            let next = match self.fit.steps_per_epoch {
                None => self.feed.next(&mut place)?,
                Some(_) => self.feed.next_of_any(&mut place)?,
            };
            let Some(batch) = next else {
                if self.cursor.batch == 0 {
                    let text = format!("fit: the stream gave no batch in pass {}", place.pass + 1);
                    return Err(Error::data(text, "its function must give an iterator anew for each pass"));
                }
                break;
            };
            // What is wrong with data in memory or with the model is wrong in every batch.
            let is_this_batchs = self.fit.check_finite || matches!(self.feed, Feed::Stream { .. });
            let loss = self.step(&batch, &key, state).map_err(|error| {
                let lost = || self.fit.check_finite.then(|| batch.first_not_finite()).flatten();
                match error.sample(batch.len()).or_else(lost) {
                    Some(sample) => error.note(self.told_sample(sample, place)),
                    None if is_this_batchs => {
                        error.note(format!("in epoch {}, batch {}", self.cursor.epoch + 1, self.cursor.batch + 1))
                    }
                    None => error,
                }
            })?;
            self.tell_unreached();
            self.tell_escape();
            let done = self.cursor.batch + 1;
            (self.cursor.place, self.cursor.batch, self.cursor.steps) = (place, done, self.cursor.steps + 1);
            self.progress.step(done, || state.logs(""));
            if watched {
                self.model.settled()?;
                let mut logs = state.logs("");
                // The batch's own loss, where the running mean would hide that it is not finite.
                let loss = loss.item()?;
                if !loss.is_finite() {
                    logs.set("loss", loss);
                }
                self.each_callback(|callback, run| match callback.wants_batches() {
                    true => callback.on_batch_end(done - 1, &logs, run),
                    false => Ok(()),
                })?;
            }
            if self.fit.validation_every_steps.is_some_and(|every| self.cursor.steps.is_multiple_of(every)) {
                self.validate_step()?;
            }
            if self.stop.is_none() && self.writer.as_ref().is_some_and(|w| w.is_due_at(self.cursor.steps)) {
                self.write(Some(state))?;
            }
        }
        match self.stop {
            Some(StopReason::Interrupted { .. } | StopReason::MaxSteps { .. } | StopReason::MaxTime { .. }) => {
                self.write(Some(state))
            }
            _ => Ok(()),
        }
    }

    /// Which sample of the data is the one of a number in the batch before a place.
    fn told_sample(&self, sample: usize, place: Place) -> String {
        let (epoch, batch) = (self.cursor.epoch + 1, self.cursor.batch + 1);
        match self.feed.number(sample, place) {
            Some(number) => format!("of sample {number} of the data, in epoch {epoch}, batch {batch}"),
            None => format!("of sample {sample} of batch {batch} of epoch {epoch}"),
        }
    }

    /// After the first step, says which parameters it could not train.
    fn tell_unreached(&mut self) {
        if std::mem::replace(&mut self.has_stepped, true) || self.model.unreached.is_empty() {
            return;
        }
        self.progress.message(&format!(
            "The loss does not depend on {}, which therefore cannot be trained: a module takes each parameter of its own from \
             pass.parameter(..), and set_trainable(.., false) freezes what is to stay.",
            listing(&self.model.unreached)
        ));
    }

    /// Says that a loss is no number, in the first epoch in which it is none.
    fn tell_lost(&mut self, logs: &Logs) {
        let before = |name: &str| self.model.history.get(name).and_then(<[f64]>::last).copied();
        let is_lost = |value: Option<f64>| value.is_some_and(|value| !value.is_finite());
        let is_new = |name: &str| is_lost(logs.get(name)) && !is_lost(before(name));
        let text = match (is_new("loss"), is_new("val_loss")) {
            (true, _) => {
                "The loss is no number any more: Fit::check_finite names where it got lost, TerminateOnNaN ends such a run."
            }
            (false, true) if !is_lost(logs.get("loss")) => {
                "The loss of the validation data is no number: are there any that are not finite among them? Fit::check_finite tells."
            }
            _ => "",
        };
        if !text.is_empty() {
            self.progress.message(text);
        }
    }

    /// Says why the steps of this run have become those of single operations, when they have.
    fn tell_escape(&mut self) {
        let Some(why) = self.model.plans.given_up().filter(|_| !self.is_told_of_escape) else { return };
        let text = format!("Steps are run one operation at a time, which is slower, because {why}");
        self.is_told_of_escape = true;
        self.progress.message(&text);
    }

    /// Trains on a batch.
    fn step(&mut self, batch: &Batch, key: &Key, state: &mut MetricState) -> Result<Tensor> {
        let weights = batch_weights(batch, self.class_weights.as_deref())?;
        let given = Given { batch, weights: weights.as_ref(), key };
        match self.fit.check_finite {
            true => self.model.watched_batch(given, state),
            false => self.model.train_batch(given, state),
        }
    }

    /// Whether no further batch is to be trained on.
    fn is_over(&mut self) -> bool {
        if self.interrupt.requested() {
            self.stop(StopReason::Interrupted { epoch: self.cursor.epoch });
        }
        if let Some(steps) = self.fit.max_steps.filter(|most| self.cursor.steps >= *most) {
            self.stop(StopReason::MaxSteps { steps });
        }
        if let Some(most) = self.fit.max_time.filter(|most| self.began.elapsed() >= *most) {
            self.stop(StopReason::MaxTime { seconds: most.as_secs() });
        }
        self.stop.is_some()
    }

    /// The validation that belongs to the end of an epoch, into its values.
    fn validate_epoch(&mut self, logs: &mut Logs) -> Result<()> {
        if self.fit.validation_every_steps.is_some() {
            let begun = self.cursor.steps - self.cursor.batch as u64;
            if let Some((steps, last)) = self.model.history.validations().last().filter(|(steps, _)| *steps > begun) {
                debug_assert!(*steps <= self.cursor.steps);
                logs.extend(last);
            }
            return Ok(());
        }
        let is_cut = match &self.stop {
            None | Some(StopReason::MaxSteps { .. } | StopReason::MaxTime { .. }) => false,
            Some(_) => true,
        };
        if is_cut || !(self.cursor.epoch + 1).is_multiple_of(self.fit.validation_freq) {
            return Ok(());
        }
        let place = format!("in epoch {}", self.cursor.epoch + 1);
        logs.extend(&self.validate(self.fit.validation_steps, &place, Some(&logs.clone()))?);
        Ok(())
    }

    /// The validation after a number of batches.
    fn validate_step(&mut self) -> Result<()> {
        let (steps, epoch) = (self.cursor.steps, self.cursor.epoch);
        let place = format!("in epoch {}, batch {}", epoch + 1, self.cursor.batch);
        let logs = self.validate(self.fit.validation_steps, &place, None)?;
        self.progress.message(&format!("batch {}: {logs}", self.cursor.batch));
        self.model.history.push_validation(steps, logs.clone());
        self.each_callback(|callback, run| callback.on_validation_end(steps, &logs, run))
    }

    /// What the model measures on the first batches of the validation data or all, with the names that logs have for it. `shown`
    /// are the values that the bar shows meanwhile, if it is the bar of an epoch.
    fn validate(&mut self, most: Option<usize>, place: &str, shown: Option<&Logs>) -> Result<Logs> {
        let mut logs = Logs::new();
        let Some(feed) = &mut self.validation else { return Ok(logs) };
        let (progress, mut batches) = (&mut self.progress, 0);
        let measured = self.model.evaluate_with(feed, most, self.fit.check_finite, |done, total| {
            batches = done;
            if let Some(shown) = shown {
                progress.validation_step(done, total, || shown.clone());
            }
        });
        let measured = measured.map_err(|error| error.note(format!("{place}, validation batch {}", batches + 1)))?;
        measured.iter().for_each(|(name, value)| logs.set(format!("val_{name}"), value));
        Ok(logs)
    }

    /// Writes a checkpoint of this moment; one that cannot be written is told of and does not end the run.
    fn write(&mut self, state: Option<&mut MetricState>) -> Result<()> {
        let Some(mut writer) = self.writer.take() else { return Ok(()) };
        let outcome = self.moment(state).and_then(|moment| moment.map_or(Ok(()), |m| writer.write(self.model, m)));
        self.writer = Some(writer);
        self.tell_failure();
        outcome
    }

    fn write_best(&mut self) -> Result<()> {
        let Some(mut writer) = self.writer.take() else { return Ok(()) };
        let outcome = self.moment(None).and_then(|moment| moment.map_or(Ok(()), |m| writer.write_best(self.model, m)));
        self.writer = Some(writer);
        self.tell_failure();
        outcome
    }

    /// Says once that a checkpoint could not be written.
    fn tell_failure(&mut self) {
        if let Some(text) = self.writer.as_mut().and_then(Writer::told_failure) {
            self.progress.message(&text);
        }
    }

    /// The last checkpoint: of a run that has ended by itself.
    fn write_last(&mut self) -> Result<()> {
        let is_lost = matches!(self.stop, Some(StopReason::NotFinite { .. }));
        let is_cut = matches!(
            self.stop,
            Some(StopReason::Interrupted { .. } | StopReason::MaxSteps { .. } | StopReason::MaxTime { .. })
        );
        let is_written = self.writer.as_ref().is_some_and(|writer| writer.has_written(&self.cursor));
        if is_lost || (is_cut && self.cursor.is_begun) || (is_written && self.stop.is_none()) {
            Ok(())
        } else {
            self.write(None)
        }
    }

    /// What a checkpoint holds of the run; nothing where a metric keeps within an epoch what it does not show.
    fn moment(&mut self, state: Option<&mut MetricState>) -> Result<Option<Moment>> {
        self.cursor.seconds = self.began.elapsed().as_secs_f64();
        self.cursor.epoch_seconds = self.epoch_began.elapsed().as_secs_f64();
        self.cursor.last_rates = rates(&self.model.compiled()["optimizer"]);
        let mut metrics = Vec::new();
        if let Some(state) = state {
            if state.hides() {
                return Ok(None);
            }
            state.visit(&mut |tensor| metrics.push(tensor.clone()))?;
        }
        let stopped = match &self.stop {
            Some(reason @ (StopReason::EarlyStopping { .. } | StopReason::Callback { .. })) => Some(reason.clone()),
            _ => None,
        };
        let (cursor, history) = (self.cursor.clone(), self.model.history.clone());
        Moment::new(cursor, stopped, history, metrics, &self.callbacks).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callbacks::LambdaCallback;
    use crate::{Compile, Dataset, Verbosity};
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
