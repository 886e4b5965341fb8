//! Callbacks on a recorded series: the state machines of the library behind a run that does nothing else.

use crate::Stop;
use crate::compare::Tolerance;
use crate::files::{number, numbers, text};
use kiln::train::callbacks::{Callback, Control, EarlyStopping, Mode, ReduceLROnPlateau, Snapshot};
use kiln::train::{Logs, StopReason};
use serde_json::Value;
use std::path::Path;

pub(super) fn run(entry: &Value) -> Result<(), Stop> {
    match text(entry, "callback") {
        "EarlyStopping" => stops(entry),
        "ReduceLROnPlateau" => reduces(entry),
        other => Stop::unsupported(other),
    }
}

/// A run whose weights at epoch e are all e.
#[derive(Default)]
struct Run {
    stopped: bool,
    rate: f64,
    weights: usize,
}

impl Control for Run {
    fn stop(&mut self, _: StopReason) {
        self.stopped = true;
    }
    fn learning_rate(&self) -> f64 {
        self.rate
    }
    fn set_learning_rate(&mut self, rate: f64) -> kiln::train::Result<()> {
        self.rate = rate;
        Ok(())
    }
    fn snapshot_weights(&mut self) -> kiln::train::Result<Snapshot> {
        Ok(Snapshot::new(self.weights))
    }
    fn restore_weights(&mut self, snapshot: &Snapshot) -> kiln::train::Result<()> {
        if let Some(&weights) = snapshot.get::<usize>() {
            self.weights = weights;
        }
        Ok(())
    }
    fn save_model(&mut self, _: &Path) -> kiln::train::Result<()> {
        Ok(())
    }
    fn save_weights(&mut self, _: &Path) -> kiln::train::Result<()> {
        Ok(())
    }
    fn message(&mut self, _: &str) {}
}

/// Goes through the series until the callback stops it; `each` is called after an epoch.
fn drive(entry: &Value, callback: &mut dyn Callback, run: &mut Run, each: impl FnMut(&Run)) -> Result<usize, Stop> {
    drive_by(entry, "monitored", callback, run, each)
}

/// [`drive`] by the series under a name.
fn drive_by(
    entry: &Value,
    series: &str,
    callback: &mut dyn Callback,
    run: &mut Run,
    mut each: impl FnMut(&Run),
) -> Result<usize, Stop> {
    let failed = |error: kiln::train::Error| Stop::Failed(error.to_string());
    let series = entry.get(series).and_then(numbers).unwrap_or_default();
    let mut epochs = 0;
    callback.on_train_begin(run).map_err(failed)?;
    for (epoch, &value) in series.iter().enumerate() {
        run.weights = epoch;
        let mut logs = Logs::default();
        logs.set("val_loss", value);
        callback.on_epoch_begin(epoch, run).map_err(failed)?;
        callback.on_epoch_end(epoch, &mut logs, run).map_err(failed)?;
        each(run);
        epochs += 1;
        if run.stopped {
            break;
        }
    }
    callback.on_train_end(run).map_err(failed)?;
    Ok(epochs)
}

/// The settings of a callback; `mode` is apart.
fn settings(config: &Value) -> impl Iterator<Item = (&str, &Value)> {
    config
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), value))
        .filter(|(name, _)| *name != "mode")
}

fn mode(config: &Value, otherwise: Mode) -> Mode {
    match text(config, "mode") {
        "max" => Mode::Max,
        "min" => Mode::Min,
        "auto" => Mode::Auto,
        _ => otherwise,
    }
}

/// Early stopping with Keras's defaults, which restore nothing and ask for no improvement beyond 0.
pub(crate) fn early_stopping(config: &Value, otherwise: Mode) -> Result<EarlyStopping, Stop> {
    let callback = EarlyStopping::new().monitor("val_loss").patience(0).min_delta(0.0).restore_best_weights(false);
    let mut callback = callback.mode(mode(config, otherwise)).verbose(false);
    for (name, value) in settings(config) {
        let x = number(value).unwrap_or(0.0);
        callback = match name {
            "monitor" => callback.monitor(value.as_str().unwrap_or_default()),
            "patience" => callback.patience(x as usize),
            "min_delta" => callback.min_delta(x.abs()),
            "baseline" if value.is_null() => callback,
            "baseline" => callback.baseline(x),
            "start_from_epoch" => callback.start_from_epoch(x as usize),
            "restore_best_weights" => callback.restore_best_weights(x != 0.0),
            "verbose" => callback,
            other => return Stop::unsupported(format!("EarlyStopping: {other}")),
        };
    }
    Ok(callback)
}

/// Keras's `ReduceLROnPlateau`.
pub(crate) fn plateau(config: &Value, otherwise: Mode) -> Result<ReduceLROnPlateau, Stop> {
    let mut callback = ReduceLROnPlateau::new().monitor("val_loss").mode(mode(config, otherwise));
    for (name, value) in settings(config) {
        let x = number(value).unwrap_or(0.0);
        callback = match name {
            "monitor" => callback.monitor(value.as_str().unwrap_or_default()),
            "factor" => callback.factor(x),
            "patience" => callback.patience(x as usize),
            "min_delta" => callback.min_delta(x),
            // Keras counts the last of its epochs: see ReduceLROnPlateau::cooldown.
            "cooldown" => callback.cooldown((x as usize).saturating_sub(1)),
            "min_lr" => callback.min_lr(x),
            "verbose" => callback,
            other => return Stop::unsupported(format!("ReduceLROnPlateau: {other}")),
        };
    }
    Ok(callback)
}

/// PyTorch's `ReduceLROnPlateau`, which it counts among schedules: the rate of each step, before its metric is known.
pub(crate) fn torch_plateau(entry: &Value) -> Result<(), Stop> {
    let config = entry.get("config").unwrap_or(&Value::Null);
    let of = |name: &str, otherwise: f64| config.get(name).and_then(number).unwrap_or(otherwise);
    // Its patience is the number of epochs that are borne, ours that of the one that is not.
    let callback = ReduceLROnPlateau::new().monitor("val_loss").patience(of("patience", 10.0) as usize + 1);
    let callback =
        callback.mode(mode(config, Mode::Min)).factor(of("factor", 0.1)).cooldown(of("cooldown", 0.0) as usize);
    let is_relative = config.get("threshold_mode").and_then(Value::as_str) != Some("abs");
    let callback = callback.min_delta(of("threshold", 1e-4)).relative(is_relative);
    let mut callback = callback.min_lr(of("min_lr", 0.0)).min_change(of("eps", 1e-8));
    let known = ["mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "min_lr", "eps"];
    if let Some((other, _)) = settings(config).find(|(name, _)| !known.contains(name)) {
        return Stop::unsupported(format!("schedule ReduceLROnPlateau: {other}"));
    }
    let mut run = Run { rate: entry.get("base_lr").and_then(number).unwrap_or(0.0), ..Run::default() };
    let mut rates = vec![run.rate];
    drive_by(entry, "metrics", &mut callback, &mut run, |run| rates.push(run.rate))?;
    rates.pop();
    let want = entry.get("values").and_then(numbers).unwrap_or_default();
    Ok(Tolerance::of(entry, "tol").numbers("rate", &rates, &want)?)
}

fn stops(entry: &Value) -> Result<(), Stop> {
    let mut callback = early_stopping(entry.get("config").unwrap_or(&Value::Null), Mode::Min)?;
    let mut run = Run::default();
    let epochs = drive(entry, &mut callback, &mut run, |_| {})?;
    let want = |key: &str| entry.get(key).and_then(number).unwrap_or(f64::NAN);
    let got = [epochs as f64, f64::from(u8::from(run.stopped)), run.weights as f64];
    let expected = [want("epochs_run"), want("stopped"), want("weights_epoch_at_end")];
    Tolerance { rtol: 0.0, atol: 0.0 }.numbers("epochs, stopped, weights", &got, &expected)?;
    // Keras reports infinity, here there is none, where no epoch counted.
    if want("best").is_finite() {
        let got = [callback.best().unwrap_or(f64::NAN), callback.best_epoch().map_or(f64::NAN, |epoch| epoch as f64)];
        Tolerance { rtol: 1e-12, atol: 0.0 }.numbers("best, best epoch", &got, &[want("best"), want("best_epoch")])?;
    }
    Ok(())
}

fn reduces(entry: &Value) -> Result<(), Stop> {
    let mut callback = plateau(entry.get("config").unwrap_or(&Value::Null), Mode::Min)?;
    let want = entry.get("lr_after_epoch").and_then(numbers).unwrap_or_default();
    let start = entry.get("initial_lr").or(entry.get("lr")).and_then(number);
    let mut run = Run { rate: start.unwrap_or_else(|| want.first().copied().unwrap_or(0.1)), ..Run::default() };
    let mut got = Vec::new();
    drive(entry, &mut callback, &mut run, |run| got.push(run.rate))?;
    let own = Tolerance::of(entry, "tol");
    let tolerance = if own.rtol > 0.0 { own } else { Tolerance { rtol: 1e-6, atol: 0.0 } };
    Ok(tolerance.numbers("rate", &got, &want)?)
}
