//! A model after its deployment: whether the samples that come are still like those that it was judged on, whether its predictions
//! are, how good it is once labels arrive; and whether a model that was trained anew shall take its place.

mod challenge;
mod reference;
mod statistics;

pub use challenge::{Challenge, Verdict};
pub use reference::{Drift, Reference};
pub use statistics::{chi_square, kolmogorov_smirnov, population_stability_index};

use crate::callbacks::Direction;
use crate::data::Dataset;
use crate::history::{History, Logs};
use crate::model::Model;
use crate::running::MetricState;
use crate::text::log_value;
use crate::{Error, Mode, Result};
use kiln_nn::ops::{ViewOps, concat};
use kiln_nn::table::{Column, Table};
use kiln_nn::{Module, Tensor};
use statistics::student_tail_of_nine;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::Range;

/// Something that a [`Monitor`] has noticed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// Samples are no longer like those of the reference.
    InputDrift {
        /// The sample after which it was noticed.
        at: u64,
        /// The features that have moved, the farthest first.
        features: Vec<Drift>,
    },
    /// Predictions are no longer like those for the reference.
    PredictionDrift {
        /// The sample after which it was noticed.
        at: u64,
        /// What of them has moved.
        outputs: Vec<Drift>,
    },
    /// A metric of the last labelled samples is worse than it was on the reference, or as much worse again than it was
    /// when this was told last.
    MetricDrop {
        /// The number of samples by then.
        at: u64,
        /// The metric.
        name: String,
        /// Its value on the last labelled samples.
        value: f64,
        /// Its value on the reference.
        reference: f64,
    },
    /// What an earlier event has told is over.
    Recovered {
        /// The number of samples by then.
        at: u64,
        /// What is as it was.
        what: String,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moved = |f: &mut fmt::Formatter<'_>, at: u64, [one, many]: [&str; 2], all: &[Drift]| {
            write!(f, "after sample {at}: {} {} moved", all.len(), if all.len() == 1 { one } else { many })?;
            for drift in all.iter().take(3) {
                write!(f, ", {} (PSI {:.2}, p {:.1e})", drift.name, drift.psi, drift.p_value)?;
            }
            if all.len() > 3 { write!(f, ", …") } else { Ok(()) }
        };
        match self {
            Event::InputDrift { at, features } => moved(f, *at, ["input", "inputs"], features),
            Event::PredictionDrift { at, outputs } => {
                moved(f, *at, ["output of the model", "outputs of the model"], outputs)
            }
            Event::MetricDrop { at, name, value, reference } => {
                let (value, reference) = (log_value(*value), log_value(*reference));
                write!(f, "after sample {at}: {name} is {value}, and was {reference} on the reference")
            }
            Event::Recovered { at, what } => write!(f, "after sample {at}: {what} again as on the reference"),
        }
    }
}

/// Watches a deployed model: it is shown every sample with its prediction, and labels when they arrive.
///
/// Inputs and predictions are compared with the [`Reference`] whenever a window is full of them, and metrics are those of the last
/// window of labelled samples.
///
/// ```
/// use kiln_nn::{Key, Sequential, layers::Dense, ops::*};
/// use kiln_train::monitor::{Event, Monitor, Reference};
/// use kiln_train::{Compile, Dataset};
/// let samples = |seed, moved: f64| Key::new(seed).normal([400, 2], moved, 1.0);
/// let label = |x: &kiln_nn::Tensor| x.sum(-1)?.gt(0.0)?.cast(kiln_nn::DType::F32)?.reshape([400, 1]);
/// # let mut model = Sequential::new([2]).add(Dense::new(1).activation("sigmoid")).compile("adam", "binary_crossentropy", ["accuracy"])?;
/// let x = samples(0, 0.0)?;
/// let reference = Reference::new(&model, &Dataset::new(x.clone(), label(&x)?)?)?;
///
/// let mut monitor = Monitor::new(&model, reference)?.window(200)?;
/// let x = samples(1, 0.0)?;
/// let seen = monitor.observe(&x, &model.predict(&x)?)?;
/// assert!(monitor.take_events().is_empty());
/// let moved = samples(2, 2.0)?;
/// monitor.observe(&moved, &model.predict(&moved)?)?;
/// assert!(matches!(monitor.take_events()[0], Event::InputDrift { .. }));
/// // Labels may come later, in any order.
/// monitor.label(seen, &label(&x)?)?;
/// assert!(monitor.metrics().get("accuracy").is_some());
/// # Ok::<(), kiln_train::Error>(())
/// ```
#[derive(Debug)]
pub struct Monitor {
    reference: Reference,
    pub(crate) window: usize,
    pub(crate) psi: f64,
    p_value: f64,
    pub(crate) tolerance: f64,
    pending_most: usize,
    metrics: MetricState,
    directions: Vec<(String, Direction)>,
    seen: u64,
    /// The numbers of each feature and of each output since the last comparison.
    inputs: Vec<Vec<f64>>,
    outputs: Vec<Vec<f64>>,
    /// Predictions that wait for labels, by the number of their sample.
    pending: BTreeMap<u64, Tensor>,
    forgotten: u64,
    /// Predictions with their labels: the last window of them.
    labelled: VecDeque<(Tensor, Tensor)>,
    values: Logs,
    last: Option<Compared>,
    history: History,
    /// What is as it should not be, with the value that was told of it last.
    alarms: Vec<(String, f64)>,
    events: Vec<Event>,
}

/// What the last full window was like.
#[derive(Debug)]
struct Compared {
    inputs: Vec<Drift>,
    outputs: Vec<Drift>,
}

/// Fewer samples than this are not compared.
const FEWEST: usize = 50;
const INPUTS: &str = "inputs";
const OUTPUTS: &str = "predictions";

impl Monitor {
    /// Watches a model from now on, by windows of 500 samples.
    ///
    /// # Errors
    /// A model of several outputs; a reference of fewer than 50 samples, or of a model that measures something else.
    pub fn new<M: Module>(model: &Model<M>, reference: Reference) -> Result<Monitor> {
        if model.objectives.len() != 1 {
            let text = format!("Monitor: the model has {} outputs", model.objectives.len());
            return Err(Error::config(text, "watch the output that matters with a model of its own"));
        }
        if reference.samples < FEWEST {
            let text =
                format!("Monitor: a reference of {} samples tells chance from drift too seldom", reference.samples);
            return Err(Error::config(text, format!("make it of at least {FEWEST}, better of some hundreds")));
        }
        let own = model.metric_state().logs("");
        if let Some((other, _)) = reference.metrics.iter().find(|(name, _)| own.get(name).is_none()) {
            let text = format!("Monitor: the reference has `{other}`, which this model does not measure");
            return Err(Error::config(text, "make one of this model: Reference::new(&model, &data)"));
        }
        // A loss of unbounded values moves by chance alone; where nothing else is measured, it has to do.
        let has_metrics = reference.metrics.len() > 1;
        let directions =
            reference.metrics.iter().filter(|(name, _)| name != "loss" || !has_metrics).filter_map(|(name, _)| {
                let declared = model.metrics.iter().chain(&model.weighted_metrics).find(|m| m.metric.name() == name);
                let declared = declared.and_then(|m| m.metric.direction());
                Some((name.clone(), Mode::Auto.resolve(name, declared).ok()?))
            });
        Ok(Monitor {
            window: 500,
            psi: 0.25,
            p_value: 0.001,
            tolerance: 0.05,
            pending_most: 100_000,
            metrics: model.metric_state(),
            directions: directions.collect(),
            seen: 0,
            inputs: vec![Vec::new(); reference.features.len()],
            outputs: vec![Vec::new(); reference.outputs.len()],
            pending: BTreeMap::new(),
            forgotten: 0,
            labelled: VecDeque::new(),
            values: Logs::new(),
            last: None,
            history: History::new(),
            alarms: Vec::new(),
            events: Vec::new(),
            reference,
        })
    }

    /// How many samples are compared at a time; 500 unless set. With few, chance alone moves the index: 100 samples in ten parts have
    /// one of about 0.1.
    ///
    /// # Errors
    /// Fewer than 50.
    pub fn window(mut self, samples: usize) -> Result<Monitor> {
        if samples < FEWEST {
            let text = format!("Monitor: a window of {samples} samples tells chance from drift too seldom");
            return Err(Error::config(text, format!("give at least {FEWEST}; 500 is the default")));
        }
        self.window = samples;
        Ok(self)
    }

    /// What counts as drift: a population stability index above the one, 0.25 unless set, of which the test says that chance would do
    /// as much with a probability below the other, 0.001 unless set, shared by all the features.
    ///
    /// # Errors
    /// An index that is negative, a probability that is none.
    pub fn thresholds(mut self, psi: f64, p_value: f64) -> Result<Monitor> {
        if !(psi >= 0.0 && psi.is_finite() && (0.0..=1.0).contains(&p_value)) {
            let text = format!("Monitor: thresholds of {psi} and {p_value}");
            return Err(Error::config(text, "give an index from 0, such as 0.25, and a probability, such as 0.001"));
        }
        (self.psi, self.p_value) = (psi, p_value);
        Ok(self)
    }

    /// How much worse than on the reference a metric may become, relative to it; 0.05 unless set. A difference that chance makes of so
    /// few samples as easily as [`Monitor::thresholds`] say is none: of a hundred samples an accuracy of 0.9 may well be 0.8. The loss is looked at only where
    /// the model measures nothing else, and a metric only if it is known whether more of it is better.
    ///
    /// # Errors
    /// A negative number.
    pub fn tolerance(mut self, part: f64) -> Result<Monitor> {
        if !(part >= 0.0 && part.is_finite()) {
            return Err(Error::config(format!("Monitor: a tolerance of {part}"), "give a part from 0, such as 0.05"));
        }
        self.tolerance = part;
        Ok(self)
    }

    /// Takes in samples `[n, …]` with their predictions, and numbers them for [`Monitor::label`].
    ///
    /// # Errors
    /// Samples or predictions of another kind than those of the reference.
    pub fn observe(&mut self, x: &Tensor, predictions: &Tensor) -> Result<Range<u64>> {
        let (inputs, outputs) = (reference::columns(x), reference::outputs(predictions));
        let n = x.shape().first().copied().unwrap_or(0);
        let rows = predictions.shape().first().copied().unwrap_or(0);
        if n != rows || n == 0 {
            let text = format!("Monitor: {n} samples with {rows} predictions");
            return Err(Error::data(text, "give at least one sample, and the prediction of each"));
        }
        let (size, wanted) = (predictions.shape()[1..].iter().product::<usize>(), self.reference.prediction_size);
        if inputs.len() != self.inputs.len() || outputs.len() != self.outputs.len() || size != wanted {
            let text = format!(
                "Monitor: samples of {} numbers with predictions of {size}, those of the reference have {} and {wanted}",
                inputs.len(),
                self.inputs.len()
            );
            return Err(Error::data(text, "show the samples that the model was given, and what it gave"));
        }
        let first = self.seen;
        for row in 0..n {
            let own = self.inputs.iter_mut().zip(&inputs).chain(self.outputs.iter_mut().zip(&outputs));
            own.for_each(|(own, new)| own.push(new[row]));
            let prediction = predictions.slice(0, row as isize..row as isize + 1).map_err(kiln_nn::Error::from)?;
            self.pending.insert(self.seen, prediction);
            self.seen += 1;
            if self.outputs[0].len() == self.window {
                self.compare();
            }
        }
        while self.pending.len() > self.pending_most {
            self.pending.pop_first();
            self.forgotten += 1;
        }
        Ok(first..self.seen)
    }

    /// Takes in the labels of samples, by their numbers. Those that are older than 100,000 predictions, or were labelled before,
    /// are passed over.
    ///
    /// # Errors
    /// More or fewer labels than numbers, labels that do not fit the metrics, a number that no sample has had.
    pub fn label(&mut self, samples: impl IntoIterator<Item = u64>, labels: &Tensor) -> Result<()> {
        let samples: Vec<u64> = samples.into_iter().collect();
        let rows = labels.shape().first().copied().unwrap_or(0);
        if rows != samples.len() {
            let text = format!("Monitor: {rows} labels for {} samples", samples.len());
            return Err(Error::data(text, "give one label for each"));
        }
        if let Some(unknown) = samples.iter().find(|&&number| number >= self.seen) {
            let text = format!("Monitor: no sample {unknown} was observed, only {}", self.seen);
            return Err(Error::data(text, "the numbers are those that observe has given"));
        }
        if samples.is_empty() {
            return Ok(());
        }
        // What does not go with the others would stay among them, an error with every later label: none of these is taken.
        let known = self.labelled.back().map(|(_, label)| label.spec());
        if let Some(known) =
            known.filter(|known| known.shape[1..] != labels.shape()[1..] || known.dtype != labels.dtype())
        {
            let text = format!(
                "Monitor: labels of shape {} ({}), and those before were one by one {} ({})",
                labels.shape(),
                labels.dtype(),
                known.shape,
                known.dtype
            );
            return Err(Error::data(text, "give all labels in one shape and type, as in the data of the reference"));
        }
        let (before, mut taken) = (self.labelled.clone(), Vec::new());
        for (row, number) in samples.iter().enumerate() {
            let Some(prediction) = self.pending.remove(number) else { continue };
            taken.push((*number, prediction.clone()));
            let label = labels.slice(0, row as isize..row as isize + 1).map_err(kiln_nn::Error::from)?;
            self.labelled.push_back((prediction, label));
        }
        while self.labelled.len() > self.window {
            self.labelled.pop_front();
        }
        self.judge().map_err(|error| {
            let first = self.labelled.len().saturating_sub(taken.len());
            let sample = error.sample(self.labelled.len()).and_then(|at| taken.get(at.checked_sub(first)?));
            let error = match sample {
                Some((number, _)) => error.note(format_args!("of sample {number}")),
                None => error,
            };
            self.labelled = before;
            self.pending.extend(taken);
            error
        })
    }

    /// The metrics of the last window of labelled samples; nothing before the first.
    pub fn metrics(&self) -> &Logs {
        &self.values
    }

    /// What has happened since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// A row for each window: the largest index of the inputs and of the predictions, how many inputs have moved, and the
    /// metrics of what was labelled before the next window was full. To be printed or written as that of a training run.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// How far inputs and predictions of the last full window have moved, the farthest first.
    pub fn drift(&self) -> Option<(&[Drift], &[Drift])> {
        self.last.as_ref().map(|last| (&last.inputs[..], &last.outputs[..]))
    }

    /// The reference.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// Compares a full window with the reference.
    fn compare(&mut self) {
        let samples = self.reference.samples;
        let drifts = |features: &[reference::Feature], columns: &mut [Vec<f64>]| -> Vec<Drift> {
            let mut all: Vec<Drift> = features
                .iter()
                .zip(columns)
                .map(|(feature, column)| {
                    let drift = feature.drift(samples, column);
                    column.clear();
                    drift
                })
                .collect();
            all.sort_by(|a, b| b.psi.total_cmp(&a.psi));
            all
        };
        let inputs = drifts(&self.reference.features, &mut self.inputs);
        let outputs = drifts(&self.reference.outputs, &mut self.outputs);
        let moved = |all: &[Drift]| -> Vec<Drift> {
            // Of a thousand features one has such a probability by chance.
            let p_value = self.p_value / all.len().max(1) as f64;
            all.iter().filter(|drift| drift.psi > self.psi && drift.p_value < p_value).cloned().collect()
        };
        let (moved_inputs, moved_outputs) = (moved(&inputs), moved(&outputs));
        let largest = |all: &[Drift]| all.first().map_or(0.0, |drift| drift.psi);
        let mut logs = Logs::from([
            ("input_psi", largest(&inputs)),
            ("prediction_psi", largest(&outputs)),
            ("inputs_moved", moved_inputs.len() as f64),
        ]);
        logs.extend(&self.values);
        self.history.push(self.history.len(), &logs, 0.0);
        let at = self.seen;
        let is_moved = [(INPUTS, !moved_inputs.is_empty()), (OUTPUTS, !moved_outputs.is_empty())];
        self.last = Some(Compared { inputs, outputs });
        let [inputs, outputs] = is_moved.map(|(what, is_moved)| self.alarm(what, is_moved, 0.0, at));
        if inputs {
            self.events.push(Event::InputDrift { at, features: moved_inputs });
        }
        if outputs {
            self.events.push(Event::PredictionDrift { at, outputs: moved_outputs });
        }
    }

    /// Measures the labelled samples.
    fn judge(&mut self) -> Result<()> {
        if self.labelled.is_empty() {
            return Ok(());
        }
        self.values = self.measured(|_| true)?;
        // Labels come after their samples: the last full window is the one that they tell of.
        self.history.amend(&self.values);
        // A few labels say little.
        if self.labelled.len() < self.window {
            return Ok(());
        }
        for (name, direction) in self.directions.clone() {
            let (Some(value), Some(reference)) = (self.values.get(&name), self.reference.metric(&name)) else {
                continue;
            };
            let room = self.tolerance * reference.abs();
            let is_worse = match direction {
                Direction::Max => value < reference - room,
                Direction::Min => value > reference + room,
            };
            let at = self.seen;
            let is_on = self.alarms.iter().any(|(alarm, _)| *alarm == name);
            let is_worse = is_worse && (is_on || !self.may_be_chance(&name, value - reference)?);
            let is_new = self.alarm(&name, is_worse || value.is_nan(), value, at);
            // One that goes on getting worse is told of again.
            let told = self.alarms.iter_mut().find(|(alarm, _)| *alarm == name);
            let is_worse_still = told.is_some_and(|(_, told)| {
                let is_far = match direction {
                    Direction::Max => value < *told - room,
                    Direction::Min => value > *told + room,
                };
                *told = if is_far { value } else { *told };
                is_far
            });
            if is_new || is_worse_still {
                self.events.push(Event::MetricDrop { at, name, value, reference });
            }
        }
        Ok(())
    }

    /// What the metrics are of those labelled samples whose places are wanted.
    fn measured(&self, is_wanted: impl Fn(usize) -> bool) -> Result<Logs> {
        let wanted = || self.labelled.iter().enumerate().filter(|(place, _)| is_wanted(*place)).map(|(_, pair)| pair);
        let joined = |all: Vec<&Tensor>| concat(&all, 0).map_err(kiln_nn::Error::from);
        let predictions = joined(wanted().map(|(prediction, _)| prediction).collect())?;
        let labels = joined(wanted().map(|(_, label)| label).collect())?;
        let mut state = self.metrics.clone();
        state.judge(&labels, &predictions)?;
        Ok(state.logs(""))
    }

    /// Whether so few samples differ as much from the reference where nothing has changed. How far a metric of any kind is off by
    /// chance, its values without one tenth of the samples after the other tell (the grouped jackknife, Efron 1982).
    fn may_be_chance(&self, name: &str, difference: f64) -> Result<bool> {
        const GROUPS: usize = 10;
        let mut values = Vec::with_capacity(GROUPS);
        for group in 0..GROUPS {
            values.extend(self.measured(|place| place % GROUPS != group)?.get(name));
        }
        let mean = values.iter().sum::<f64>() / GROUPS as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let of_window = squares * (GROUPS - 1) as f64 / GROUPS as f64;
        // The reference is off by chance as well.
        let variance = of_window * (1.0 + self.window as f64 / self.reference.samples as f64);
        let p_value = student_tail_of_nine(difference.abs() / variance.sqrt());
        // Where chance cannot be told, the difference stands.
        Ok(p_value >= self.p_value / self.directions.len() as f64)
    }

    /// Remembers whether something is as it should not be; true if that is new.
    fn alarm(&mut self, what: &str, is_on: bool, value: f64, at: u64) -> bool {
        let known = self.alarms.iter().position(|(name, _)| name == what);
        match (known, is_on) {
            (None, true) => {
                self.alarms.push((what.to_owned(), value));
                true
            }
            (Some(known), false) => {
                self.alarms.remove(known);
                self.events.push(Event::Recovered { at, what: what.to_owned() });
                false
            }
            _ => false,
        }
    }
}

/// The state of things: what was measured beside the reference, and what has moved.
impl fmt::Display for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.pending.len();
        writeln!(
            f,
            "{} samples, {} labelled of the last window, {waiting} wait for labels",
            self.seen,
            self.labelled.len()
        )?;
        if self.forgotten > 0 {
            writeln!(f, "{} were forgotten before their labels came", self.forgotten)?;
        }
        let mut table =
            Table::new([Column::new("metric"), Column::new("now").right(), Column::new("reference").right()]);
        table.rules(false);
        for (name, reference) in self.reference.logs().iter() {
            let now = self.values.get(name).map_or("-".to_owned(), log_value);
            table.row([name.to_owned(), now, log_value(reference)]);
        }
        write!(f, "{table}")?;
        if let Some(last) = &self.last {
            let mut table =
                Table::new([Column::new("most moved"), Column::new("PSI").right(), Column::new("p").right()]);
            table.rules(false);
            for drift in last.inputs.iter().take(5).chain(&last.outputs) {
                table.row([drift.name.clone(), format!("{:.3}", drift.psi), format!("{:.1e}", drift.p_value)]);
            }
            write!(f, "\n{table}")?;
        }
        let alarms: Vec<&str> = self.alarms.iter().map(|(what, _)| what.as_str()).collect();
        if alarms.is_empty() { Ok(()) } else { write!(f, "\nalarms: {}", alarms.join(", ")) }
    }
}

impl<M: Module> Model<M> {
    /// Keeps what later samples are to be compared with, in the model and in its files.
    pub fn set_reference(&mut self, reference: Reference) {
        self.reference = Some(reference);
    }

    /// What [`Model::set_reference`] was given, also by a model that was loaded.
    pub fn reference(&self) -> Option<&Reference> {
        self.reference.as_ref()
    }
}

/// Evaluates on the same samples.
fn score<M: Module>(model: &Model<M>, data: &Dataset, metric: &str) -> Result<f64> {
    let logs = model.evaluate(data)?;
    logs.get(metric).ok_or_else(|| {
        let names: Vec<&str> = logs.names().collect();
        let text = format!("Challenge: the model does not measure `{metric}`");
        Error::config(text, crate::text::did_you_mean(metric, &names))
    })
}

#[cfg(test)]
mod tests;
