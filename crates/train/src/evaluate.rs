//! What a model says of data without learning from them: evaluation and prediction, batch by batch.

use crate::data::{Batch, BatchSource, Feed, Inputs, Kind, Place};
use crate::history::Logs;
use crate::model::{Judged, Model, StepOutput};
use crate::repeat::Repeat;
use crate::running::MetricState;
use crate::{Error, Result};
use kiln_nn::ops::concat;
use kiln_nn::{Device, Module, Pass, Signal, Tensor, Watch};

/// Samples that [`Model::predict`] and [`Model::evaluate`] take at a time.
const INFERENCE_BATCH: usize = 256;

impl<M: Module> Model<M> {
    /// The loss and the metrics on a [`Dataset`](crate::Dataset), or on the first pass of a [`Stream`](crate::Stream), in
    /// inference mode.
    ///
    /// # Errors
    /// Samples or targets that do not fit the model or the loss; a stream without a batch.
    pub fn evaluate(&self, data: &impl BatchSource) -> Result<Logs> {
        let (mut feed, mut done) = (self.held(data.kind(), INFERENCE_BATCH)?, 0);
        let outcome = self.evaluate_with(&mut feed, None, false, |batches, _| done = batches);
        outcome.map_err(|error| match feed {
            Feed::Stream { .. } => error.note(format_args!("in batch {}", done + 1)),
            Feed::Whole { .. } => error,
        })
    }

    /// What is evaluated on, always in the same order.
    pub(crate) fn held(&self, data: Kind<'_>, batch_size: usize) -> Result<Feed> {
        Ok(match data {
            Kind::Whole(data) => Feed::whole(self.arranged(data)?, batch_size, None),
            Kind::Stream(stream) => Feed::stream(stream, self.value_names()),
        })
    }

    /// [`Model::evaluate`] on the first batches or all, under a watch for results that are not finite or not, telling `progress`
    /// after each batch how many are done of how many, where that is known.
    pub(crate) fn evaluate_with(
        &self,
        feed: &mut Feed,
        most: Option<usize>,
        is_watched: bool,
        mut progress: impl FnMut(usize, Option<usize>),
    ) -> Result<Logs> {
        let mut state = self.metric_state();
        let batches = match (feed.steps(), most) {
            (Some(all), Some(most)) => Some(all.min(most)),
            (all, most) => all.or(most),
        };
        let watch = is_watched.then(Watch::new);
        let mut repeat = Repeat::new(batches, is_watched || self.is_eager());
        let mut place = Place::default();
        while most.is_none_or(|most| place.batch < most) {
            let i = place.batch;
            let Some(batch) = feed.next(&mut place)? else { break };
            let batch = self.moved(&batch)?;
            let told = |error: Error| match error.sample(batch.len()) {
                Some(sample) => match feed.number(sample, place) {
                    Some(number) => error.note(format_args!("of sample {number} of the data")),
                    None => error.note(format_args!("of its sample {sample}")),
                },
                None => error,
            };
            // The first batch gives metrics their tensors.
            if i == 0 {
                self.test_batch(&batch, watch.as_ref(), &mut state).map_err(told)?;
                if state.hides() {
                    repeat = Repeat::Eagerly;
                }
            } else {
                let mut tensors = batch.tensors();
                let of_batch = tensors.len();
                state.visit(&mut |tensor| tensors.push(tensor.clone()))?;
                let results = repeat.call(&tensors, |x| {
                    let (of_batch, of_state) = x.split_at(of_batch);
                    state.set(of_state)?;
                    self.test_batch(&batch.with(of_batch), watch.as_ref(), &mut state)?;
                    let mut results = Vec::with_capacity(of_state.len());
                    state.visit(&mut |tensor| results.push(tensor.clone()))?;
                    Ok(results)
                });
                state.set(&results.map_err(told)?)?;
            }
            progress(i + 1, batches);
        }
        if place.batch == 0 {
            let text = "the stream gave no batch to evaluate";
            return Err(Error::data(text, "its function must give an iterator of at least one"));
        }
        self.settled()?;
        Ok(state.logs(""))
    }

    /// The model's output for each sample of a tensor or a dataset.
    ///
    /// # Errors
    /// Samples that do not fit the model; a model of several outputs.
    pub fn predict(&self, x: &impl Inputs) -> Result<Tensor> {
        let mut all = self.predict_all(x)?;
        match all.len() {
            1 => Ok(all.swap_remove(0)),
            n => Err(Error::config(format!("predict: the model has {n} outputs"), "ask for all of them: predict_all")),
        }
    }

    /// The model's outputs for each sample, in their order.
    ///
    /// # Errors
    /// Samples that do not fit the model.
    pub fn predict_all(&self, x: &impl Inputs) -> Result<Vec<Tensor>> {
        let n = x.count();
        if n == 0 {
            return Err(Error::data("predict: there is no sample", "give a batch of at least one"));
        }
        let mut batches: Vec<Vec<Tensor>> = Vec::new();
        let mut repeat = Repeat::new(Some(n.div_ceil(INFERENCE_BATCH)), self.is_eager());
        for start in (0..n).step_by(INFERENCE_BATCH) {
            let part = x.part(start, (start + INFERENCE_BATCH).min(n), &self.inputs)?;
            let part = part.iter().map(|x| x.to_device(self.device)).collect::<Result<Vec<_>, _>>()?;
            let batch = repeat.call(&part, |x| {
                let x: Vec<Signal> = x.iter().cloned().map(Signal::from).collect();
                let y = self.module.forward_all(&x, &mut Pass::inference())?;
                Ok(y.into_iter().map(|y| y.value.into_tensor()).collect())
            });
            let batch = batch
                .and_then(|y: Vec<Tensor>| y.iter().map(|y| Ok(y.to_device(Device::Cpu)?)).collect::<Result<Vec<_>>>());
            let samples = INFERENCE_BATCH.min(n - start);
            batches.push(batch.map_err(|error| match error.sample(samples) {
                Some(sample) => error.note(format_args!("of sample {}", start + sample)),
                None => error,
            })?);
        }
        if batches.len() == 1 {
            return Ok(batches.swap_remove(0));
        }
        let outputs = batches.first().map_or(0, Vec::len);
        let joined = |i: usize| concat(&batches.iter().map(|batch| &batch[i]).collect::<Vec<_>>(), 0);
        Ok((0..outputs).map(joined).collect::<Result<_, _>>()?)
    }

    /// Whether evaluation and prediction run each operation by itself.
    fn is_eager(&self) -> bool {
        self.plans.is_eager_by_request()
    }

    /// A batch, which is where the model is, in the metrics, without training.
    pub(crate) fn test_batch(&self, batch: &Batch, watch: Option<&Watch>, state: &mut MetricState) -> Result<()> {
        let given = |name: &str, x: &Tensor| watch.map_or_else(|| x.clone(), |watch| watch.input(name, x));
        let watched = batch.map(|name, x| Ok(given(name, x)))?;
        let weights = batch.sample_weight.as_ref().map(|w| given("the weights of samples", w));
        let judged = self.forward(&watched, weights.as_ref(), &mut Pass::inference())?;
        let Judged { loss, losses, predictions } = judged;
        let loss = loss.into_tensor();
        let mut output = StepOutput { loss, losses, predictions, gradient_norm: None, update: None };
        if watch.is_some() {
            output.untraced();
        }
        state.update(batch, &output, batch.sample_weight.as_ref())
    }
}
