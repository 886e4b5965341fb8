//! A new model against the one in use: on the same samples, promoted only if it is better, with a record.

use super::score;
use crate::callbacks::Direction;
use crate::checkpoint::read_model;
use crate::data::Dataset;
use crate::files::write_atomic;
use crate::json;
use crate::model::Model;
use crate::text::log_value;
use crate::{Error, Mode, Result};
use kiln_nn::module::named_parameters;
use kiln_nn::{Module, Tensor};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What a challenger has to be better in, and by how much.
///
/// ```
/// use kiln_nn::{Key, Sequential, layers::Dense, ops::*};
/// use kiln_train::monitor::Challenge;
/// use kiln_train::{Compile, Dataset, Fit, Model, Verbosity};
/// # let folder = std::env::temp_dir().join(format!("kiln-challenge-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).unwrap();
/// let path = folder.join("model.safetensors");
/// let data = |seed| {
///     let x = Key::new(seed).normal([200, 3], 0.0, 1.0)?;
///     Dataset::new(x.clone(), x.sum(-1)?.reshape([200, 1])?)
/// };
/// Sequential::new([3]).add(Dense::new(1)).compile("adam", "mse", ["mae"])?.save(&path)?;
///
/// // Trained further on new data, from where it was.
/// let champion = Model::load(&path)?;
/// let mut challenger = champion.clone();
/// challenger.fit(&data(1)?, Fit::new().epochs(20).verbose(Verbosity::Silent))?;
/// let verdict = Challenge::new("mae").promote(&path, &champion, &challenger, &data(2)?)?;
/// assert!(verdict.is_promoted && verdict.challenger < verdict.champion);
/// # std::fs::remove_dir_all(folder).unwrap();
/// # Ok::<(), kiln_train::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Challenge {
    metric: String,
    mode: Mode,
    min_gain: f64,
}

/// How a challenge has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// When, in seconds since 1970.
    pub time: u64,
    /// The metric.
    pub metric: String,
    /// How many samples both have judged.
    pub samples: usize,
    /// What the model in use scored.
    #[serde(with = "json::number")]
    pub champion: f64,
    /// What the new one scored.
    #[serde(with = "json::number")]
    pub challenger: f64,
    /// How much better it had to be.
    pub min_gain: f64,
    /// Whether it was.
    pub is_promoted: bool,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = if self.is_promoted { "promoted" } else { "not promoted" };
        write!(
            f,
            "{}: champion {}, challenger {} on {} samples: {outcome}",
            self.metric,
            log_value(self.champion),
            log_value(self.challenger),
            self.samples
        )
    }
}

impl Challenge {
    /// Judges by a value that the models measure, such as `accuracy`.
    pub fn new(metric: impl Into<String>) -> Challenge {
        Challenge { metric: metric.into(), mode: Mode::Auto, min_gain: 0.0 }
    }

    /// Whether a lower or a higher value is better; found out from its name unless set.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Challenge {
        self.mode = mode;
        self
    }

    /// How much better than the champion the challenger must be, in units of the metric, and not relative as
    /// [`Monitor::tolerance`](super::Monitor::tolerance); 0 unless set, and then better at all.
    #[must_use]
    pub fn min_gain(mut self, gain: f64) -> Challenge {
        self.min_gain = gain;
        self
    }

    /// Compares two models on the same samples, which neither should have been trained on.
    ///
    /// # Errors
    /// Data that do not fit; a metric that a model does not measure, or of which nobody knows whether more is better.
    pub fn judge<A: Module, B: Module>(
        &self,
        champion: &Model<A>,
        challenger: &Model<B>,
        held_out: &Dataset,
    ) -> Result<Verdict> {
        if !(self.min_gain >= 0.0 && self.min_gain.is_finite()) {
            return Err(Error::config(format!("Challenge: a min_gain of {}", self.min_gain), "give a number from 0"));
        }
        let (old, new) = (score(champion, held_out, &self.metric)?, score(challenger, held_out, &self.metric)?);
        let direction = self.mode.resolve(&self.metric, None)?;
        let gain = if direction == Direction::Max { new - old } else { old - new };
        // A champion that has become useless loses to any number; a challenger without one to nobody.
        let is_promoted = new.is_finite() && (!old.is_finite() || (gain > 0.0 && gain >= self.min_gain));
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        Ok(Verdict {
            time,
            metric: self.metric.clone(),
            samples: held_out.len(),
            champion: old,
            challenger: new,
            min_gain: self.min_gain,
            is_promoted,
        })
    }

    /// [`Challenge::judge`], and if the challenger is better its file in place of the champion's at `path`, which stays beside it as
    /// `….previous`. Every verdict is a line of JSON in `….challenges.jsonl`.
    ///
    /// # Errors
    /// As there, and files that cannot be written; the champion's is whole then. A file at `path` that is missing or not the champion's:
    /// who judges by a model that is no longer in use would replace a better one.
    pub fn promote<A: Module, B: Module>(
        &self,
        path: impl AsRef<Path>,
        champion: &Model<A>,
        challenger: &Model<B>,
        held_out: &Dataset,
    ) -> Result<Verdict> {
        let path = path.as_ref();
        let (saved, _) = read_model(path)?;
        let is_own =
            |(name, own): &(String, Tensor)| saved.file.tensors.get(name).is_some_and(|kept| kept.same_bits(own));
        if !named_parameters(champion.module()).iter().all(is_own) {
            let text = "holds another model than the champion that is to be judged";
            return Err(Error::file(path, text).with_help("judge the one in use: Model::load(path)"));
        }
        let verdict = self.judge(champion, challenger, held_out)?;
        if verdict.is_promoted {
            let bytes = fs::read(path).map_err(|e| Error::io("read", path, e))?;
            write_atomic(&beside(path, "previous"), &bytes)?;
            challenger.save(path)?;
        }
        let record = beside(path, "challenges.jsonl");
        let mut text = match fs::read_to_string(&record) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text.map_err(|e| Error::io("read", &record, e))?,
        };
        text +=
            &serde_json::to_string(&verdict).map_err(|e| Error::file(&record, format!("cannot be written: {e}")))?;
        text.push('\n');
        write_atomic(&record, text.as_bytes())?;
        Ok(verdict)
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}
