//! The settings of a training run. How it begins is `begin.rs`, the loop `run.rs`; what it leaves on the disk, to be taken up
//! again, `checkpoints.rs`.

mod begin;
mod checkpoints;
mod control;
mod run;

pub use checkpoints::Every;

use crate::callbacks::Callback;
use crate::data::{BatchSource, ClassWeight, Dataset, IntoClassWeight, Kind};
use crate::progress::Verbosity;
use crate::{Error, Result};
use checkpoints::{Checkpoints, Resume};
use std::path::PathBuf;
use std::time::Duration;

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
    steps_per_epoch: Option<usize>,
    max_steps: Option<u64>,
    max_time: Option<Duration>,
    overfit_one_batch: bool,
    shuffle: bool,
    seed: u64,
    verbose: Verbosity,
    validation: Validation<'a>,
    validates_twice: bool,
    validation_freq: usize,
    validation_every_steps: Option<u64>,
    validation_batch_size: Option<usize>,
    validation_steps: Option<usize>,
    sanity_validation: Option<usize>,
    class_weight: Option<Result<ClassWeight>>,
    check_finite: bool,
    log_learning_rate: bool,
    log_gradient_norm: bool,
    callbacks: Vec<Box<dyn Callback + 'a>>,
    checkpoints: Option<Checkpoints>,
    keep_checkpoints: usize,
    keep_best: Option<String>,
    resume: Option<Resume>,
    skip_damaged: bool,
}

/// Where validation data come from.
enum Validation<'a> {
    None,
    Data(Kind<'a>),
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
            steps_per_epoch: None,
            max_steps: None,
            max_time: None,
            overfit_one_batch: false,
            shuffle: true,
            seed: 0,
            verbose: Verbosity::Auto,
            validation: Validation::None,
            validates_twice: false,
            validation_freq: 1,
            validation_every_steps: None,
            validation_batch_size: None,
            validation_steps: None,
            sanity_validation: None,
            class_weight: None,
            check_finite: false,
            log_learning_rate: false,
            log_gradient_norm: false,
            callbacks: Vec::new(),
            checkpoints: None,
            keep_checkpoints: 2,
            keep_best: None,
            resume: None,
            skip_damaged: false,
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

    /// Batches in an epoch, whatever the number of samples: each epoch goes on in the data where the one before ended, and
    /// begins a new pass where they do. For data without an end, or for a look at values more than once in a pass.
    #[must_use]
    pub fn steps_per_epoch(mut self, batches: usize) -> Self {
        self.steps_per_epoch = Some(batches);
        self
    }

    /// Ends the run after so many batches, those of the run that it resumes included.
    #[must_use]
    pub fn max_steps(mut self, batches: u64) -> Self {
        self.max_steps = Some(batches);
        self
    }

    /// Ends the run after the batch in which it becomes older than this; validation and callbacks come on top. The time before
    /// a resumed run was put down counts.
    #[must_use]
    pub fn max_time(mut self, time: Duration) -> Self {
        self.max_time = Some(time);
        self
    }

    /// Trains on the first batch alone, again and again, and validates on it: a model that cannot learn one batch by heart has
    /// a fault somewhere. An epoch is one step then: give some hundreds of them.
    #[must_use]
    pub fn overfit_one_batch(mut self) -> Self {
        self.overfit_one_batch = true;
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

    /// What the model is evaluated on after each epoch: a [`Dataset`](crate::Dataset), or a [`Stream`](crate::Stream), whose first
    /// pass it always is.
    #[must_use]
    pub fn validation_data(self, data: &'a impl BatchSource) -> Self {
        self.validated(Validation::Data(data.kind()))
    }

    /// Two ways to get validation data are no settings that go together, whichever came last.
    fn validated(mut self, validation: Validation<'a>) -> Self {
        self.validates_twice |= !matches!(self.validation, Validation::None);
        self.validation = validation;
        self
    }

    /// What [`Fit::verbose`] has set.
    pub(crate) fn verbosity(&self) -> Verbosity {
        self.verbose
    }

    /// [`Fit::validation_data`] where nothing else has been named.
    pub(crate) fn validated_by(mut self, data: &'a Dataset) -> Self {
        if matches!(self.validation, Validation::None) {
            self.validation = Validation::Data(data.kind());
        }
        self
    }

    /// Checkpoints in a folder of this name within theirs, to be written and to be taken up.
    pub(crate) fn within(mut self, name: &str) -> Self {
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.folder.push(name);
        }
        if let Some(resume) = &mut self.resume {
            resume.path.push(name);
        }
        self
    }

    /// Keeps this fraction of the samples for validation, chosen at random by the seed.
    #[must_use]
    pub fn validation_split(self, fraction: f64) -> Self {
        self.validated(Validation::Split(fraction))
    }

    /// [`Fit::validation_split`] with the classes in both parts in the same proportion.
    #[must_use]
    pub fn stratified_validation_split(self, fraction: f64) -> Self {
        self.validated(Validation::StratifiedSplit(fraction))
    }

    /// Keeps the last samples, unshuffled, for validation, as Keras's `validation_split` does: for series in time.
    #[must_use]
    pub fn validation_last(self, fraction: f64) -> Self {
        self.validated(Validation::LastSamples(fraction))
    }

    /// Validates after every so many epochs.
    #[must_use]
    pub fn validation_freq(mut self, epochs: usize) -> Self {
        self.validation_freq = epochs;
        self
    }

    /// Validates after every so many batches instead of after epochs. What each finds is in [`History::validations`], and the
    /// last of an epoch in that epoch's values, by which early
    /// stopping, plateaus and [`Fit::keep_best`] act at its end.
    ///
    /// [`History::validations`]: crate::History::validations
    #[must_use]
    pub fn validation_every_steps(mut self, batches: u64) -> Self {
        self.validation_every_steps = Some(batches);
        self
    }

    /// Validates on the first so many batches alone.
    #[must_use]
    pub fn validation_steps(mut self, batches: usize) -> Self {
        self.validation_steps = Some(batches);
        self
    }

    /// Validates on so many batches before the first step, so that what is wrong with the validation shows at once and not after
    /// an epoch. The values are thrown away. Of data in memory it is the first batch unless set.
    #[must_use]
    pub fn sanity_validation(mut self, batches: usize) -> Self {
        self.sanity_validation = Some(batches);
        self
    }

    /// Samples in a batch of validation; that of training unless set.
    #[must_use]
    pub fn validation_batch_size(mut self, batch_size: usize) -> Self {
        self.validation_batch_size = Some(batch_size);
        self
    }

    /// Weights for classes: `"balanced"`, or pairs of a class and its weight as `[(0, 1.0), (1, 3.0)]`. They multiply sample
    /// weights.
    #[must_use]
    pub fn class_weight(mut self, weight: impl IntoClassWeight) -> Self {
        self.class_weight = Some(weight.into_class_weight());
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

    /// Adds a callback; several are called in the order in which they were added. One that is to be read after the run is given as
    /// `&mut own`.
    #[must_use]
    pub fn callback(mut self, callback: impl Callback + 'a) -> Self {
        self.callbacks.push(Box::new(callback));
        self
    }

    /// Writes the state of the run to a file in `folder` from time to time and at the end: weights, optimizer, callbacks, history and
    /// the place in the data. [`Fit::resume_from`] takes it up again, to the bits of a run that was never put down. The two newest
    /// files are kept, see [`Fit::keep_checkpoints`]; each is a model file too, for [`Model::load`] and
    /// [`Model::load_weights_by_name`]. A file is replaced in one step and has a checksum. One that cannot be written is
    /// reported and does not end the run, unless it is the last.
    ///
    /// ```
    /// use kiln_nn::{Key, Sequential, layers::Dense, ops::*};
    /// use kiln_train::{Compile, Dataset, Every, Fit, Verbosity};
    /// # let folder = std::env::temp_dir().join(format!("kiln-checkpoints-{}", std::process::id()));
    /// let x = Key::new(0).normal([64, 3], 0.0, 1.0)?;
    /// let data = Dataset::new(x.clone(), x.sum(-1)?.reshape([64, 1])?)?;
    /// let model = || Sequential::new([3]).add(Dense::new(1)).compile("adam", "mse", ());
    /// let fit = || Fit::new().epochs(4).verbose(Verbosity::Silent).checkpoint_every(Every::Epochs(1), &folder);
    ///
    /// let whole = model()?.fit(&data, fit())?;
    /// # std::fs::remove_dir_all(&folder).unwrap();
    /// model()?.fit(&data, fit().max_steps(3))?; // in the middle of the second epoch
    /// let resumed = model()?.fit(&data, fit().resume_from(&folder))?;
    /// assert_eq!(resumed.get("loss"), whole.get("loss"));
    /// # std::fs::remove_dir_all(&folder).unwrap();
    /// # Ok::<(), kiln_train::Error>(())
    /// ```
    ///
    /// [`Model::load`]: crate::Model::load
    /// [`Model::load_weights_by_name`]: crate::Model::load_weights_by_name
    #[must_use]
    pub fn checkpoint_every(mut self, every: Every, folder: impl Into<PathBuf>) -> Self {
        self.checkpoints = Some(Checkpoints { every, folder: folder.into() });
        self
    }

    /// How many of the newest checkpoints stay in the folder; 2 unless set.
    #[must_use]
    pub fn keep_checkpoints(mut self, newest: usize) -> Self {
        self.keep_checkpoints = newest;
        self
    }

    /// Keeps the state after the epoch in which a value was best as `best.safetensors`, beside the newest checkpoints.
    #[must_use]
    pub fn keep_best(mut self, log_key: impl Into<String>) -> Self {
        self.keep_best = Some(log_key.into());
        self
    }

    /// Takes up the run of a checkpoint: a file, or the newest in a folder. The model is built and compiled as it was, and data
    /// and settings are given again as they were: what differs is an error. `epochs`, what ends a run and what is printed may differ; the
    /// learning rate is that of the checkpoint.
    #[must_use]
    pub fn resume_from(mut self, path: impl Into<PathBuf>) -> Self {
        self.resume = Some(Resume { path: path.into(), is_optional: false });
        self
    }

    /// [`Fit::resume_from`] if there is a checkpoint, and a run from the beginning if there is none: a program that is started again
    /// goes on.
    #[must_use]
    pub fn resume_if_found(mut self, folder: impl Into<PathBuf>) -> Self {
        self.resume = Some(Resume { path: folder.into(), is_optional: true });
        self
    }

    /// Whether a damaged checkpoint of a folder is passed over for the one before it. Else, and for a file that is named, it is an
    /// error.
    #[must_use]
    pub fn skip_damaged(mut self, yes: bool) -> Self {
        self.skip_damaged = yes;
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
        let none = |name: &str, help: &str| Err(Error::config(format!("fit: {name} of 0"), help));
        if self.validates_twice {
            let text = "fit: the validation data are named twice";
            return Err(Error::config(
                text,
                "give one of validation_data, validation_split and the other ways to split",
            ));
        }
        if self.validation_freq == 0 {
            return none("a validation_freq", "1 validates after every epoch");
        }
        if self.steps_per_epoch == Some(0) {
            return none("steps_per_epoch", "give at least 1, or leave it out for a pass over the data");
        }
        if self.validation_every_steps == Some(0) {
            return none("validation_every_steps", "give at least 1, or leave it out to validate after epochs");
        }
        if self.validation_steps == Some(0) {
            return none("validation_steps", "give at least 1, or leave the validation data out");
        }
        let wants = [
            ("validation_every_steps", self.validation_every_steps.is_some()),
            ("validation_steps", self.validation_steps.is_some()),
            ("sanity_validation", self.sanity_validation.is_some_and(|batches| batches > 0)),
        ];
        let validates = !matches!(self.validation, Validation::None) || self.overfit_one_batch;
        if let Some((name, _)) = wants.iter().find(|(_, is_wanted)| *is_wanted && !validates) {
            let text = format!("fit: {name} without anything to validate on");
            return Err(Error::config(text, "add .validation_data(&data) or .validation_split(0.2)"));
        }
        if self.validation_every_steps.is_some() && self.validation_freq != 1 {
            let text = "fit: validation_freq counts epochs, validation_every_steps batches";
            return Err(Error::config(text, "give one of them"));
        }
        if self.resume.is_some() && self.initial_epoch > 0 {
            let text = "fit: initial_epoch beside a checkpoint, which says where the run was";
            return Err(Error::config(text, "leave initial_epoch out"));
        }
        if self.checkpoints.is_none() && self.keep_best.is_some() {
            let text = "fit: keep_best without checkpoints";
            return Err(Error::config(text, "say where they go: .checkpoint_every(Every::Epochs(1), folder)"));
        }
        self.checkpoints.as_ref().map_or(Ok(()), |checkpoints| checkpoints.check(self.keep_checkpoints))
    }

    /// The samples to train on, and those that are kept of them for validation.
    fn parts(&self, data: &Dataset) -> Result<(Dataset, Option<Dataset>)> {
        let parts = |[train, validation]: [Vec<usize>; 2]| {
            Ok((data.select_numbered(&train)?, Some(data.select_numbered(&validation)?)))
        };
        match self.validation {
            Validation::None | Validation::Data(_) => Ok((data.clone(), None)),
            Validation::Split(fraction) => parts(data.split_numbers(fraction, self.seed)?),
            Validation::StratifiedSplit(fraction) => parts(data.stratified_numbers(fraction, self.seed)?),
            Validation::LastSamples(fraction) => {
                let cut = (data.len() as f64 * (1.0 - fraction)).floor() as usize;
                if !(0.0..1.0).contains(&fraction) || cut == 0 || cut == data.len() {
                    let text =
                        format!("fit: the last {fraction} of {} samples leave a part without a sample", data.len());
                    return Err(Error::config(text, "give a fraction between 0 and 1, such as 0.2"));
                }
                parts([(0..cut).collect(), (cut..data.len()).collect()])
            }
        }
    }
}
