//! How a run begins: where its batches come from, what cannot work and is said before the first step, and a checkpoint that is
//! taken up.

use super::checkpoints::{Checkpoint, Writer, fingerprint, rates};
use super::run::{Cursor, ORDER, Run};
use super::{Fit, Validation};
use crate::callbacks::{Control, check_monitors};
use crate::data::{Feed, Kind, Place};
use crate::history::{History, Params};
use crate::interrupt::Interrupt;
use crate::model::Model;
use crate::progress::Progress;
use crate::{Error, Result};
use kiln_nn::{Key, Module};
use serde_json::{Value as Json, json};
use std::time::{Duration, Instant};

/// What a run is made of.
struct Sources {
    feed: Feed,
    validation: Option<Feed>,
    class_weights: Option<Vec<f64>>,
}

impl Sources {
    fn new<M: Module>(model: &Model<M>, data: Kind<'_>, fit: &mut Fit<'_>) -> Result<Sources> {
        let key = Key::new(fit.seed).fold(ORDER);
        let class_weight = fit.class_weight.take().transpose()?;
        // What is validated on of the training data themselves.
        let (feed, held, class_weights) = match data {
            Kind::Whole(data) => {
                let data = model.arranged(data)?;
                let (mut train, mut held) = fit.parts(&data)?;
                let class_weights = class_weight.map(|weight| weight.resolve(&data, &train)).transpose()?;
                if fit.overfit_one_batch {
                    train = train.take(fit.batch_size.min(train.len()))?;
                    held = Some(train.clone());
                }
                let order = (fit.shuffle && !fit.overfit_one_batch).then_some(key);
                (Feed::whole(train, fit.batch_size, order), held, class_weights)
            }
            Kind::Stream(_) if class_weight.is_some() => {
                let text = "fit: class_weight is for data in memory";
                return Err(Error::config(text, "give the stream's batches weights: Dataset::sample_weight"));
            }
            Kind::Stream(_) if !matches!(fit.validation, Validation::None | Validation::Data(_)) => {
                let text = "fit: a stream of batches cannot be split";
                return Err(Error::config(text, "give it validation data of their own: .validation_data(&data)"));
            }
            Kind::Stream(stream) => {
                let names = model.value_names();
                let first =
                    fit.overfit_one_batch.then(|| Feed::stream(stream, names.clone()).next(&mut Place::default()));
                match first.transpose()?.flatten() {
                    None => (Feed::stream(stream, names), None, None),
                    Some(batch) => {
                        let batch = batch.into_dataset()?;
                        (Feed::whole(batch.clone(), batch.len(), None), Some(batch), None)
                    }
                }
            }
        };
        let batch_size = fit.validation_batch_size.unwrap_or(fit.batch_size);
        let validation = match (&held, &fit.validation) {
            (Some(held), _) => Some(model.held(Kind::Whole(held), batch_size)?),
            (None, Validation::Data(data)) => Some(model.held(*data, batch_size)?),
            (None, _) => None,
        };
        Ok(Sources { feed, validation, class_weights })
    }
}

impl<'m, 'a, M: Module> Run<'m, 'a, M> {
    /// Finds what cannot work before the first step, and takes up a checkpoint.
    pub(super) fn new(model: &'m mut Model<M>, data: Kind<'_>, mut fit: Fit<'a>) -> Result<Self> {
        let Sources { feed, validation, class_weights } = Sources::new(model, data, &mut fit)?;
        let training = model.metric_state().with_gradient_norm(fit.log_gradient_norm);
        let names = model.log_names(&training, validation.is_some());
        let mut available: Vec<&str> = names.iter().map(String::as_str).collect();
        available.push("learning_rate");
        check_monitors(&fit.callbacks, &available)?;
        let now = Instant::now();
        let mut run = Run {
            callbacks: std::mem::take(&mut fit.callbacks),
            cursor: Cursor {
                epoch: fit.initial_epoch,
                place: Place { pass: fit.initial_epoch, batch: 0 },
                logs_rate: fit.log_learning_rate,
                first_rates: rates(&model.compiled()["optimizer"]),
                ..Cursor::default()
            },
            began: now,
            epoch_began: now,
            resumed: None,
            checkpoint: None,
            writer: None,
            progress: Progress::stdout(fit.verbose),
            stop: None,
            interrupt: Interrupt::listen(),
            has_stepped: false,
            is_told_of_escape: false,
            model,
            fit,
            feed,
            validation,
            class_weights,
        };
        run.prepare_checkpoints(&available)?;
        let (epochs, steps) = (run.fit.epochs, run.steps());
        let batch_size = matches!(run.feed, Feed::Whole { .. }).then_some(run.fit.batch_size);
        run.model.history.params = Params { epochs, steps, batch_size };
        Ok(run)
    }

    /// The history of a new run, or that of the run that goes on; and what writes its checkpoints.
    fn prepare_checkpoints(&mut self, available: &[&str]) -> Result<()> {
        let settings = match (&self.fit.checkpoints, &self.fit.resume) {
            (None, None) => Json::Null,
            _ => self.settings()?,
        };
        let found = match &self.fit.resume {
            Some(resume) => resume.find(self.fit.skip_damaged)?,
            None => None,
        };
        match found {
            None => self.model.history = History::new(),
            Some(checkpoint) => self.take_up(checkpoint, &settings)?,
        }
        if let Some(checkpoints) = &self.fit.checkpoints {
            let best = self.fit.keep_best.as_deref();
            if checkpoints.every.is_within_epochs() {
                self.model.check_metrics_are_shown()?;
            }
            let direction = best.map(|key| (key, self.direction(key)));
            let (keep, resumed) = (self.fit.keep_checkpoints, self.checkpoint.as_ref());
            self.writer = Some(Writer::new(checkpoints, keep, direction, available, settings, resumed)?);
            if let (Some(writer), Some(checkpoint)) = (&mut self.writer, &mut self.checkpoint) {
                writer.goes_on(checkpoint);
            }
        }
        Ok(())
    }

    /// Puts the model, the history and the loop where the checkpoint was written.
    fn take_up(&mut self, checkpoint: Checkpoint, settings: &Json) -> Result<()> {
        checkpoint.check(settings, &self.callbacks, self.model, self.fit.epochs)?;
        self.model.restore(&checkpoint.path, &checkpoint.saved)?;
        self.cursor = checkpoint.record.cursor.clone();
        self.cursor.logs_rate |= self.fit.log_learning_rate;
        self.stop.clone_from(&checkpoint.record.stopped);
        self.model.history = checkpoint.record.history.clone();
        let before = |seconds: f64| {
            let spent = Duration::try_from_secs_f64(seconds).unwrap_or_default();
            Instant::now().checked_sub(spent).unwrap_or_else(Instant::now)
        };
        (self.began, self.epoch_began) = (before(self.cursor.seconds), before(self.cursor.epoch_seconds));
        if self.cursor.is_begun {
            // A batch makes of the metrics what they were: which kind of accuracy it is, say. Its values are then replaced.
            let mut place = self.cursor.place;
            let batch = match self.feed.next(&mut place)? {
                Some(batch) => Some(batch),
                None => self.feed.next(&mut Place { batch: 0, ..place })?,
            };
            let mut state = self.model.metric_state().with_gradient_norm(self.fit.log_gradient_norm);
            if let Some(batch) = batch.filter(|_| self.cursor.batch > 0) {
                self.model.test_batch(&self.model.moved(&batch)?, None, &mut state)?;
                checkpoint.fill(&mut state)?;
                state.to(self.model.device())?;
            }
            self.resumed = Some(state);
        }
        self.checkpoint = Some(checkpoint);
        Ok(())
    }

    /// What must be the same in a run that goes on with this one.
    fn settings(&self) -> Result<Json> {
        let fit = &self.fit;
        let data = |feed: Option<&Feed>| match feed {
            Some(Feed::Whole { data, .. }) => fingerprint(data).map(Some),
            Some(Feed::Stream { .. }) | None => Ok(None),
        };
        let is_whole = matches!(self.feed, Feed::Whole { .. });
        Ok(json!({
            "training data": data(Some(&self.feed))?,
            "validation data": data(self.validation.as_ref())?,
            "validation_steps": fit.validation_steps,
            "batch_size": is_whole.then_some(fit.batch_size),
            "steps_per_epoch": fit.steps_per_epoch,
            "shuffle": fit.shuffle,
            "seed": fit.seed,
            "class_weight": self.class_weights,
            "validation_freq": fit.validation_freq,
            "validation_every_steps": fit.validation_every_steps,
            "log_gradient_norm": fit.log_gradient_norm,
        }))
    }
}
