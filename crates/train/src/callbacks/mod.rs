//! What runs beside the training loop: the `Callback` hooks, what they may do (`Control`), and the list of the built-in
//! ones, each in its own file. The loop itself is not here, so each callback is tested with a fake `Control`.

mod csv_logger;
mod early_stopping;
mod lambda;
mod learning_rate_scheduler;
mod mode;
mod model_checkpoint;
mod reduce_lr_on_plateau;
mod template;
mod terminate_on_nan;

pub use csv_logger::CSVLogger;
pub use early_stopping::EarlyStopping;
pub use kiln_nn::metrics::Direction;
pub use lambda::{LambdaCallback, on_epoch_end};
pub use learning_rate_scheduler::LearningRateScheduler;
pub use mode::Mode;
pub use model_checkpoint::ModelCheckpoint;
pub use reduce_lr_on_plateau::ReduceLROnPlateau;
pub use template::Template;
pub use terminate_on_nan::TerminateOnNaN;

use crate::error::{Error, Result};
use crate::history::{Logs, StopReason};
use crate::text::did_you_mean;
use std::any::Any;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// Something that is called at fixed points of a training run and may steer it through a [`Control`].
///
/// The order of calls is `on_train_begin`, then for each epoch `on_epoch_begin`, `on_batch_end` …, `on_epoch_end`, and
/// at last `on_train_end`, also after an early stop or an interruption. Epochs and batches count from 0. Several
/// callbacks are called in the order in which they were given. An error ends the training.
///
/// # Examples
/// A callback that stops a run that is good enough:
/// ```
/// use kiln_train::callbacks::{Callback, Control};
/// use kiln_train::{Logs, Result, StopReason};
///
/// struct GoodEnough(f64);
///
/// impl Callback for GoodEnough {
///     fn name(&self) -> &str {
///         "GoodEnough"
///     }
///     fn monitors(&self) -> Vec<&str> {
///         vec!["accuracy"]
///     }
///     fn on_epoch_end(&mut self, _: usize, logs: &mut Logs, control: &mut dyn Control) -> Result<()> {
///         if logs.get("accuracy").is_some_and(|accuracy| accuracy >= self.0) {
///             control.stop(StopReason::Callback { message: "good enough".into() });
///         }
///         Ok(())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no callback",
    note = "give one such as `EarlyStopping::new()`; a closure becomes one by `on_epoch_end(|epoch, logs, control| …)`, and a type of your own implements `Callback`"
)]
pub trait Callback: Send {
    /// The name that messages and errors use, and under which a program that keeps [`Callback::state`] finds it again.
    fn name(&self) -> &str;

    /// The log keys that this callback reads; the loop refuses one that will never be logged before the first step.
    fn monitors(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Whether [`Callback::on_batch_end`] wants to be called; reading the values back after each batch costs time, so
    /// the loop does it only for callbacks that say so.
    fn wants_batches(&self) -> bool {
        false
    }

    /// Before the first epoch. Forgets what an earlier `fit` left behind, and refuses settings that cannot work.
    fn on_train_begin(&mut self, _control: &mut dyn Control) -> Result<()> {
        Ok(())
    }

    /// Before the first batch of `epoch`.
    fn on_epoch_begin(&mut self, _epoch: usize, _control: &mut dyn Control) -> Result<()> {
        Ok(())
    }

    /// After the update of `batch`; `logs` holds that epoch's running values.
    fn on_batch_end(&mut self, _batch: usize, _logs: &Logs, _control: &mut dyn Control) -> Result<()> {
        Ok(())
    }

    /// After `epoch` and its validation. What is put into `logs` reaches the history and the callbacks that follow.
    fn on_epoch_end(&mut self, _epoch: usize, _logs: &mut Logs, _control: &mut dyn Control) -> Result<()> {
        Ok(())
    }

    /// After a validation within an epoch, when `steps` batches of the run were done; `logs` holds what it measured. See
    /// [`Fit::validation_every_steps`](crate::Fit::validation_every_steps).
    fn on_validation_end(&mut self, _steps: u64, _logs: &Logs, _control: &mut dyn Control) -> Result<()> {
        Ok(())
    }

    /// After the last epoch, however the run ended: early, by an error, or because another callback's end has failed.
    fn on_train_end(&mut self, _control: &mut dyn Control) -> Result<()> {
        Ok(())
    }

    /// What this callback was made with, as far as it decides how training goes on; `Null` where there is nothing. A run that goes on
    /// with other settings than it began with is refused.
    fn settings(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// What must be kept for this callback to go on as if nothing had happened; `Null` where there is nothing. Checkpoints of a run
    /// hold it, model files do not.
    fn state(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Takes back what [`Callback::state`] gave; called after [`Callback::on_train_begin`] of the resumed run, and in place of
    /// [`Callback::on_epoch_begin`] where it goes on within an epoch.
    ///
    /// # Errors
    /// [`Error::Data`] where it is not such a state.
    fn load_state(&mut self, _state: &serde_json::Value) -> Result<()> {
        Ok(())
    }

    /// The weights that this callback holds on to, for a checkpoint to keep beside [`Callback::state`], each under a name without `/`.
    fn snapshots(&self) -> Vec<(&str, &Snapshot)> {
        Vec::new()
    }

    /// Takes back what [`Callback::snapshots`] gave under a name.
    fn load_snapshot(&mut self, _name: &str, _snapshot: Snapshot) {}
}

/// A callback that the caller keeps, to read it after the run.
impl<C: Callback + ?Sized> Callback for &mut C {
    fn name(&self) -> &str {
        (**self).name()
    }
    fn monitors(&self) -> Vec<&str> {
        (**self).monitors()
    }
    fn wants_batches(&self) -> bool {
        (**self).wants_batches()
    }
    fn on_train_begin(&mut self, control: &mut dyn Control) -> Result<()> {
        (**self).on_train_begin(control)
    }
    fn on_epoch_begin(&mut self, epoch: usize, control: &mut dyn Control) -> Result<()> {
        (**self).on_epoch_begin(epoch, control)
    }
    fn on_batch_end(&mut self, batch: usize, logs: &Logs, control: &mut dyn Control) -> Result<()> {
        (**self).on_batch_end(batch, logs, control)
    }
    fn on_epoch_end(&mut self, epoch: usize, logs: &mut Logs, control: &mut dyn Control) -> Result<()> {
        (**self).on_epoch_end(epoch, logs, control)
    }
    fn on_validation_end(&mut self, steps: u64, logs: &Logs, control: &mut dyn Control) -> Result<()> {
        (**self).on_validation_end(steps, logs, control)
    }
    fn on_train_end(&mut self, control: &mut dyn Control) -> Result<()> {
        (**self).on_train_end(control)
    }
    fn settings(&self) -> serde_json::Value {
        (**self).settings()
    }
    fn state(&self) -> serde_json::Value {
        (**self).state()
    }
    fn load_state(&mut self, state: &serde_json::Value) -> Result<()> {
        (**self).load_state(state)
    }
    fn snapshots(&self) -> Vec<(&str, &Snapshot)> {
        (**self).snapshots()
    }
    fn load_snapshot(&mut self, name: &str, snapshot: Snapshot) {
        (**self).load_snapshot(name, snapshot);
    }
}

/// What a callback may do to the run that calls it; the training loop implements it.
pub trait Control {
    /// Asks the run to end: after the current batch, or at once at the end of an epoch. The first reason stands.
    fn stop(&mut self, reason: StopReason);

    /// The learning rate in force.
    fn learning_rate(&self) -> f64;

    /// Sets the learning rate. Where a schedule drives it, what the rate changes by here is kept as a factor on the schedule.
    ///
    /// # Errors
    /// A rate that is negative or not finite; another than 0 where the schedule's is 0.
    fn set_learning_rate(&mut self, rate: f64) -> Result<()>;

    /// Puts the learning rate among the values of every epoch from here on; [`Control::set_learning_rate`] does so too.
    fn log_learning_rate(&mut self) {}

    /// A copy of the weights as they are now, to be given back to [`Control::restore_weights`].
    ///
    /// # Errors
    /// Where the weights cannot be read back from their device.
    fn snapshot_weights(&mut self) -> Result<Snapshot>;

    /// Puts a snapshot's weights back.
    ///
    /// # Errors
    /// Where the snapshot is of another model.
    fn restore_weights(&mut self, snapshot: &Snapshot) -> Result<()>;

    /// Writes the whole model to `path`.
    ///
    /// # Errors
    /// Where it cannot be written.
    fn save_model(&mut self, path: &Path) -> Result<()>;

    /// Writes the weights alone to `path`.
    ///
    /// # Errors
    /// Where they cannot be written.
    fn save_weights(&mut self, path: &Path) -> Result<()>;

    /// Removes what [`Control::save_model`] or [`Control::save_weights`] wrote to `path` in this run.
    ///
    /// # Errors
    /// Where it cannot be removed; that it is gone already is no error.
    fn remove_saved(&mut self, path: &Path) -> Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, error)),
            _ => Ok(()),
        }
    }

    /// Tells the user something, above the progress bar; a silent run says nothing.
    fn message(&mut self, text: &str);

    /// Whether what stands under `log_key` is measured while training changes the weights, and not after it.
    fn is_of_training(&self, log_key: &str) -> bool {
        !log_key.starts_with("val_")
    }

    /// The direction that the metric behind `log_key` declares, where the loop knows it.
    fn direction(&self, _log_key: &str) -> Option<Direction> {
        None
    }
}

/// Weights at one moment, in whatever form the loop keeps them; cheap to clone.
#[derive(Clone)]
pub struct Snapshot(Arc<dyn Any + Send + Sync>);

impl Snapshot {
    /// Wraps the loop's own form of the weights.
    pub fn new(weights: impl Any + Send + Sync) -> Self {
        Self(Arc::new(weights))
    }

    /// The weights, if they are a `T`.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Snapshot")
    }
}

/// Refuses callbacks that watch a value which will never be among the `available` log keys.
///
/// # Errors
/// [`Error::Config`] naming the callback and the key, with the nearest key that exists.
///
/// # Examples
/// ```
/// use kiln_train::callbacks::{Callback, EarlyStopping, check_monitors};
/// let callbacks: [Box<dyn Callback>; 1] = [Box::new(EarlyStopping::new().monitor("val_los"))];
/// let error = check_monitors(&callbacks, &["accuracy", "loss", "val_accuracy", "val_loss"]).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "EarlyStopping: `val_los` is not logged in this run\n  help: did you mean `val_loss`?"
/// );
/// ```
pub fn check_monitors(callbacks: &[Box<dyn Callback + '_>], available: &[&str]) -> Result<()> {
    for callback in callbacks {
        for key in callback.monitors() {
            if available.contains(&key) {
                continue;
            }
            let base = key.strip_prefix("val_");
            let validation_is_missing = base.is_some_and(|base| available.contains(&base))
                && !available.iter().any(|name| name.starts_with("val_"));
            let help = match base {
                Some(base) if validation_is_missing => {
                    format!("give the fit validation data, or watch `{base}`")
                }
                _ => did_you_mean(key, available),
            };
            let name = callback.name();
            return Err(Error::config(format!("{name}: `{key}` is not logged in this run"), help));
        }
    }
    Ok(())
}

/// Reads a callback's own state from JSON, naming the callback where it does not fit.
fn read_state<T: serde::de::DeserializeOwned>(name: &str, state: &serde_json::Value) -> Result<T> {
    T::deserialize(state).map_err(|error| {
        Error::data(
            format!("{name}: its stored state cannot be read: {error}"),
            "resume with the callbacks that the run was started with",
        )
    })
}

#[cfg(test)]
mod testing {
    //! A `Control` without a model: the weights are one number.
    use super::*;
    use std::path::PathBuf;

    #[derive(Default)]
    pub struct Fake {
        pub weights: i64,
        pub rate: f64,
        pub stopped: Option<StopReason>,
        pub saved: Vec<PathBuf>,
        pub removed: Vec<PathBuf>,
        pub messages: Vec<String>,
    }

    impl Control for Fake {
        fn stop(&mut self, reason: StopReason) {
            self.stopped.get_or_insert(reason);
        }
        fn learning_rate(&self) -> f64 {
            self.rate
        }
        fn set_learning_rate(&mut self, rate: f64) -> Result<()> {
            self.rate = rate;
            Ok(())
        }
        fn snapshot_weights(&mut self) -> Result<Snapshot> {
            Ok(Snapshot::new(self.weights))
        }
        fn restore_weights(&mut self, snapshot: &Snapshot) -> Result<()> {
            let weights = snapshot.get::<i64>().expect("a snapshot of this fake");
            self.weights = *weights;
            Ok(())
        }
        fn save_model(&mut self, path: &Path) -> Result<()> {
            self.saved.push(path.into());
            Ok(())
        }
        fn save_weights(&mut self, path: &Path) -> Result<()> {
            self.saved.push(path.into());
            Ok(())
        }
        fn remove_saved(&mut self, path: &Path) -> Result<()> {
            self.removed.push(path.into());
            Ok(())
        }
        fn message(&mut self, text: &str) {
            self.messages.push(text.into());
        }
    }

    impl Fake {
        /// Runs `callback` over epochs that log `monitored` under `name`; the weights of epoch e are e. Gives the
        /// number of epochs that ran and the learning rate after each.
        pub fn run(&mut self, callback: &mut dyn Callback, name: &str, monitored: &[f64]) -> (usize, Vec<f64>) {
            let mut rates = Vec::new();
            callback.on_train_begin(self).unwrap();
            for (epoch, &value) in monitored.iter().enumerate() {
                callback.on_epoch_begin(epoch, self).unwrap();
                self.weights = epoch as i64;
                let mut logs = Logs::from([(name, value)]);
                callback.on_epoch_end(epoch, &mut logs, self).unwrap();
                rates.push(self.rate);
                if self.stopped.is_some() {
                    break;
                }
            }
            callback.on_train_end(self).unwrap();
            (rates.len(), rates)
        }
    }

    #[test]
    fn a_missing_validation_is_told_apart_from_a_misspelt_name() {
        let callbacks: [Box<dyn Callback>; 1] = [Box::new(EarlyStopping::new())];
        let error = check_monitors(&callbacks, &["accuracy", "loss"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "EarlyStopping: `val_loss` is not logged in this run\n  help: give the fit validation data, or watch \
             `loss`"
        );
        check_monitors(&callbacks, &["loss", "val_loss"]).unwrap();
    }
}
