//! Decides when to save the model, and under which name; the saving itself is the `Control`'s.

use super::{Callback, Control, Direction, Mode, Template, read_state};
use crate::error::{Error, Result};
use crate::history::Logs;
use crate::json;
use crate::text::log_value;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// Saves the model after each epoch, or only when a monitored value is the best so far.
///
/// Follows `keras.callbacks.ModelCheckpoint`, except where that loses a model: with
/// [`ModelCheckpoint::save_best_only`], an epoch in which the value is missing or NaN saves nothing (Keras would
/// overwrite the best), and log keys in the path are checked before the first step. [`ModelCheckpoint::keep_last`]
/// removes older files.
///
/// # Examples
/// ```
/// use kiln_train::callbacks::ModelCheckpoint;
/// let every_epoch = ModelCheckpoint::new("runs/{epoch:02d}-{val_loss:.2f}.safetensors").keep_last(3);
/// let best = ModelCheckpoint::new("best.safetensors").save_best_only(true);
/// ```
#[derive(Clone, Debug)]
pub struct ModelCheckpoint {
    path: String,
    /// What the path says, where it can be read.
    template: Option<Template>,
    monitor: String,
    mode: Mode,
    save_best_only: bool,
    save_weights_only: bool,
    every_batches: Option<usize>,
    initial_value_threshold: Option<f64>,
    keep_last: Option<usize>,
    verbose: bool,
    direction: Direction,
    state: State,
}

/// What changes from save to save, and what a checkpoint keeps: a resumed run must not overwrite a better model.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct State {
    /// The epoch that runs: one that is taken up within does not begin again.
    epoch: usize,
    #[serde(with = "json::maybe")]
    best: Option<f64>,
    saved: Vec<PathBuf>,
    batches: usize,
}

impl ModelCheckpoint {
    /// Saves the whole model to `path` after each epoch; the path is a [`Template`]. One that cannot be read is an error of the fit,
    /// before its first step.
    pub fn new(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref().to_string_lossy().into_owned();
        Self {
            template: Template::parse(&path).ok(),
            path,
            monitor: "val_loss".to_owned(),
            mode: Mode::Auto,
            save_best_only: false,
            save_weights_only: false,
            every_batches: None,
            initial_value_threshold: None,
            keep_last: None,
            verbose: false,
            direction: Direction::Min,
            state: State::default(),
        }
    }

    /// The log key that [`ModelCheckpoint::save_best_only`] compares; the default is `val_loss`.
    #[must_use]
    pub fn monitor(mut self, log_key: impl Into<String>) -> Self {
        self.monitor = log_key.into();
        self
    }

    /// Whether lower or higher is better; the default finds out.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Whether to save only when the monitored value is the best so far; the default is no.
    #[must_use]
    pub fn save_best_only(mut self, best_only: bool) -> Self {
        self.save_best_only = best_only;
        self
    }

    /// Whether to save the weights alone; the default is the whole model.
    #[must_use]
    pub fn save_weights_only(mut self, weights_only: bool) -> Self {
        self.save_weights_only = weights_only;
        self
    }

    /// Saves after every `batches` batches instead of after each epoch.
    #[must_use]
    pub fn save_every_batches(mut self, batches: usize) -> Self {
        self.every_batches = Some(batches);
        self
    }

    /// The value to beat from the start.
    #[must_use]
    pub fn initial_value_threshold(mut self, value: f64) -> Self {
        self.initial_value_threshold = Some(value);
        self
    }

    /// Keeps only the newest `files` files that this run has saved; the default keeps all.
    #[must_use]
    pub fn keep_last(mut self, files: usize) -> Self {
        self.keep_last = Some(files);
        self
    }

    /// Whether each decision is reported; the default is no.
    #[must_use]
    pub fn verbose(mut self, verbose: bool) -> Self {
        self.verbose = verbose;
        self
    }

    /// The best value that was saved.
    pub fn best(&self) -> Option<f64> {
        self.state.best
    }

    /// The files that were saved and not removed again, oldest first.
    pub fn saved(&self) -> &[PathBuf] {
        &self.state.saved
    }

    /// The template, or what is wrong with it.
    fn template(&self) -> Result<Cow<'_, Template>> {
        self.template.as_ref().map_or_else(|| Template::parse(&self.path).map(Cow::Owned), |it| Ok(Cow::Borrowed(it)))
    }

    /// Decides for one epoch or batch, saves, and tells.
    fn consider(&mut self, batch: Option<usize>, logs: &Logs, control: &mut dyn Control) -> Result<()> {
        let epoch = self.state.epoch;
        if !self.save_best_only {
            let path = self.template()?.render(epoch, batch, logs)?;
            if self.verbose {
                let path = path.display();
                control.message(&format!("Epoch {}: saving model to {path}", epoch + 1));
            }
            return self.save(path, control);
        }
        let Some(current) = logs.get(&self.monitor) else { return Ok(()) };
        let name = &self.monitor;
        let best = self.state.best.map_or("None".to_owned(), log_value);
        if self.direction.improves(current, self.state.best.unwrap_or(f64::NAN), 0.0) {
            let path = self.template()?.render(epoch, batch, logs)?;
            if self.verbose {
                control.message(&format!(
                    "Epoch {}: {name} improved from {best} to {}, saving model to {}",
                    epoch + 1,
                    log_value(current),
                    path.display()
                ));
            }
            self.save(path, control)?;
            // Only now: a save that failed must not raise the bar for the next.
            self.state.best = Some(current);
        } else if self.verbose {
            control.message(&format!("Epoch {}: {name} did not improve from {best}", epoch + 1));
        }
        Ok(())
    }

    fn save(&mut self, path: PathBuf, control: &mut dyn Control) -> Result<()> {
        if self.save_weights_only {
            control.save_weights(&path)?;
        } else {
            control.save_model(&path)?;
        }
        self.state.saved.retain(|saved| *saved != path);
        self.state.saved.push(path);
        if let Some(keep) = self.keep_last {
            while self.state.saved.len() > keep {
                let oldest = self.state.saved.remove(0);
                control.remove_saved(&oldest)?;
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let template = self.template()?;
        let (what, help) = if self.every_batches == Some(0) {
            ("save_every_batches is 0", "give at least 1")
        } else if self.initial_value_threshold.is_some_and(f64::is_nan) {
            ("initial_value_threshold is NaN, which every value would beat", "give a number, or leave it out")
        } else if self.keep_last == Some(0) {
            ("keep_last is 0, which would keep nothing", "give at least 1")
        } else if self.keep_last.is_some() && template.is_constant() {
            (
                "keep_last has no effect on a path that never changes",
                "put `{epoch:02d}` into the path, or leave keep_last out",
            )
        } else if template.has_batch() && self.every_batches.is_none() {
            (
                "the path has a `{batch}`, but saving happens after epochs",
                "use save_every_batches, or leave `{batch}` out of the path",
            )
        } else if self.every_batches.is_some() && self.monitors().iter().any(|key| key.starts_with("val_")) {
            (
                "it saves after batches, which have no validation values",
                "use training values with save_every_batches, or save after epochs",
            )
        } else {
            return Ok(());
        };
        Err(Error::config(format!("ModelCheckpoint: {what}"), help))
    }
}

impl Callback for ModelCheckpoint {
    fn name(&self) -> &str {
        "ModelCheckpoint"
    }

    fn monitors(&self) -> Vec<&str> {
        let monitor = self.save_best_only.then_some(self.monitor.as_str());
        monitor.into_iter().chain(self.template.iter().flat_map(Template::log_keys)).collect()
    }

    fn wants_batches(&self) -> bool {
        self.every_batches.is_some()
    }

    fn on_train_begin(&mut self, control: &mut dyn Control) -> Result<()> {
        self.check()?;
        if self.save_best_only {
            self.direction = self.mode.resolve(&self.monitor, control.direction(&self.monitor))?;
        }
        self.state = State { best: self.initial_value_threshold, ..State::default() };
        Ok(())
    }

    fn on_epoch_begin(&mut self, epoch: usize, _control: &mut dyn Control) -> Result<()> {
        self.state.epoch = epoch;
        Ok(())
    }

    fn on_batch_end(&mut self, batch: usize, logs: &Logs, control: &mut dyn Control) -> Result<()> {
        let Some(every) = self.every_batches else { return Ok(()) };
        self.state.batches += 1;
        if self.state.batches < every {
            return Ok(());
        }
        self.state.batches = 0;
        self.consider(Some(batch), logs, control)
    }

    fn on_epoch_end(&mut self, epoch: usize, logs: &mut Logs, control: &mut dyn Control) -> Result<()> {
        self.state.epoch = epoch;
        if self.every_batches.is_some() { Ok(()) } else { self.consider(None, logs, control) }
    }

    fn state(&self) -> serde_json::Value {
        serde_json::json!(self.state)
    }

    fn load_state(&mut self, state: &serde_json::Value) -> Result<()> {
        self.state = read_state(self.name(), state)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;
    use super::*;

    fn run(callback: &mut ModelCheckpoint, monitored: &[f64]) -> Fake {
        let mut fake = Fake::default();
        fake.run(callback, "val_loss", monitored);
        fake
    }

    fn names(paths: &[PathBuf]) -> Vec<&str> {
        paths.iter().filter_map(|path| path.to_str()).collect()
    }

    #[test]
    fn saves_each_epoch_under_its_name() {
        let mut callback = ModelCheckpoint::new("{epoch:02d}-{val_loss:.2f}.safetensors");
        let fake = run(&mut callback, &[1.3139, 1.5]);
        assert_eq!(names(&fake.saved), ["01-1.31.safetensors", "02-1.50.safetensors"]);
        assert_eq!(callback.monitors(), ["val_loss"]);
    }

    #[test]
    fn the_best_is_kept_and_told() {
        let mut callback = ModelCheckpoint::new("ck_{epoch:02d}.safetensors").save_best_only(true).verbose(true);
        let fake = run(&mut callback, &[1.23456e30, f64::NAN, 1.5e30, 1.25]);
        assert_eq!(names(&fake.saved), ["ck_01.safetensors", "ck_04.safetensors"]);
        assert_eq!(
            fake.messages,
            [
                "Epoch 1: val_loss improved from None to 1.2346e+30, saving model to ck_01.safetensors",
                "Epoch 2: val_loss did not improve from 1.2346e+30",
                "Epoch 3: val_loss did not improve from 1.2346e+30",
                "Epoch 4: val_loss improved from 1.2346e+30 to 1.2500, saving model to ck_04.safetensors",
            ]
        );
    }

    #[test]
    fn a_missing_value_never_overwrites_the_best() {
        let mut callback = ModelCheckpoint::new("best.safetensors").save_best_only(true);
        let mut fake = Fake::default();
        callback.on_train_begin(&mut fake).unwrap();
        callback.on_epoch_end(0, &mut Logs::from([("val_loss", 1.0)]), &mut fake).unwrap();
        callback.on_epoch_end(1, &mut Logs::from([("loss", 0.5)]), &mut fake).unwrap();
        assert_eq!(fake.saved.len(), 1);
    }

    #[test]
    fn a_threshold_holds_from_the_start_and_across_a_resume() {
        let new = || ModelCheckpoint::new("best.safetensors").save_best_only(true);
        let mut first = new().initial_value_threshold(0.5);
        assert_eq!(run(&mut first, &[0.6, 0.55, 0.4]).saved.len(), 1);
        let mut second = new();
        let mut fake = Fake::default();
        second.on_train_begin(&mut fake).unwrap();
        second.load_state(&first.state()).unwrap();
        second.on_epoch_end(3, &mut Logs::from([("val_loss", 0.45)]), &mut fake).unwrap();
        assert!(fake.saved.is_empty());
        assert_eq!(second.best(), Some(0.4));
    }

    #[test]
    fn older_files_go() {
        let mut callback = ModelCheckpoint::new("{epoch}.safetensors").keep_last(2);
        let fake = run(&mut callback, &[1.0; 4]);
        assert_eq!(names(&fake.removed), ["1.safetensors", "2.safetensors"]);
        assert_eq!(names(callback.saved()), ["3.safetensors", "4.safetensors"]);
    }

    #[test]
    fn batches_are_counted_across_epochs() {
        let mut callback = ModelCheckpoint::new("{epoch}-{batch}.safetensors").save_every_batches(3);
        let mut fake = Fake::default();
        callback.on_train_begin(&mut fake).unwrap();
        for epoch in 0..2 {
            callback.on_epoch_begin(epoch, &mut fake).unwrap();
            for batch in 0..4 {
                callback.on_batch_end(batch, &Logs::new(), &mut fake).unwrap();
            }
            callback.on_epoch_end(epoch, &mut Logs::new(), &mut fake).unwrap();
        }
        assert_eq!(names(&fake.saved), ["1-3.safetensors", "2-2.safetensors"]);
        // Taken up within an epoch, it goes on in that one.
        callback.on_epoch_begin(2, &mut fake).unwrap();
        let mut second = ModelCheckpoint::new("{epoch}-{batch}.safetensors").save_every_batches(3);
        second.on_train_begin(&mut fake).unwrap();
        second.load_state(&callback.state()).unwrap();
        second.on_batch_end(0, &Logs::new(), &mut fake).unwrap();
        assert_eq!(names(&fake.saved)[2..], ["3-1.safetensors"]);
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        for callback in [
            ModelCheckpoint::new("{epoch}").save_every_batches(0),
            ModelCheckpoint::new("{epoch}").keep_last(0),
            ModelCheckpoint::new("best").keep_last(2),
            ModelCheckpoint::new("{batch}"),
            ModelCheckpoint::new("{val_loss}").save_every_batches(5),
            ModelCheckpoint::new("best").save_best_only(true).save_every_batches(5),
            ModelCheckpoint::new("{epoch"),
        ] {
            let error = callback.clone().on_train_begin(&mut Fake::default()).unwrap_err();
            assert!(
                error.to_string().starts_with("ModelCheckpoint: ") || error.to_string().contains("{epoch"),
                "{error}"
            );
        }
    }
}
