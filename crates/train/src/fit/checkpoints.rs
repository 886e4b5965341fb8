//! What a run leaves on the disk, so that it can be taken up again: a model file that also has the place in the data, the
//! running metrics, the state of callbacks and the history. When it is written is decided here, what the loop does with it in `run.rs`.

use super::control::Copied;
use super::run::Cursor;
use crate::callbacks::{Callback, Direction, Snapshot};
use crate::checkpoint::{Description, Saved, read_model, write_model};
use crate::data::Dataset;
use crate::files::write_atomic;
use crate::history::{History, Logs, StopReason, from_1};
use crate::model::Model;
use crate::running::MetricState;
use crate::text::did_you_mean;
use crate::{Error, Result};
use kiln_nn::io::to_npy;
use kiln_nn::{Module, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// How often [`Fit::checkpoint_every`](crate::Fit::checkpoint_every) writes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Every {
    /// After so many batches.
    Steps(u64),
    /// After the batch by which so many seconds have passed since the last one.
    Seconds(f64),
    /// After so many epochs, with their validation.
    Epochs(usize),
}

impl Every {
    /// Whether it may come between the batches of an epoch.
    pub(super) fn is_within_epochs(self) -> bool {
        !matches!(self, Every::Epochs(_))
    }
}

/// Where checkpoints go, and how often.
pub(super) struct Checkpoints {
    pub(super) every: Every,
    pub(super) folder: PathBuf,
}

impl Checkpoints {
    pub(super) fn check(&self, keep: usize) -> Result<()> {
        let what = match self.every {
            Every::Steps(0) => "0 steps".to_owned(),
            Every::Epochs(0) => "0 epochs".to_owned(),
            Every::Seconds(seconds) if !(seconds >= 0.0 && seconds.is_finite()) => format!("{seconds} seconds"),
            _ if keep == 0 => {
                let text = "fit: keep_checkpoints of 0 keeps nothing to go on from";
                return Err(Error::config(text, "give at least 1; with 2 there is one to fall back on"));
            }
            _ if self.folder.as_os_str().is_empty() => {
                let text = "fit: checkpoints go into a folder without a name";
                return Err(Error::config(text, "name one; the present folder is \".\""));
            }
            _ if self.folder.is_file() => {
                let text = "is a file, and checkpoints go into a folder";
                return Err(Error::file(&self.folder, text).with_help("name a folder; it is made where it is missing"));
            }
            _ => return Ok(()),
        };
        Err(Error::config(format!("fit: a checkpoint every {what}"), "give at least 1, such as Every::Epochs(1)"))
    }
}

/// What to go on from.
pub(super) struct Resume {
    pub(super) path: PathBuf,
    /// Whether a run begins where there is nothing.
    pub(super) is_optional: bool,
}

/// The part of a checkpoint that is the run's.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// What must be the same in the run that goes on.
    settings: Json,
    pub(super) cursor: Cursor,
    /// Why the run had ended, if nothing is to follow.
    pub(super) stopped: Option<StopReason>,
    pub(super) history: History,
    callbacks: Vec<Kept>,
}

/// What is kept of a callback.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// Its name, with what it watches: the state of one that watches something else would be of no use to it.
    name: String,
    settings: Json,
    state: Json,
}

impl Kept {
    fn of(callback: &dyn Callback) -> Kept {
        let (name, monitors) = (callback.name(), callback.monitors());
        let of = if monitors.is_empty() { String::new() } else { format!(" of {}", monitors.join(", ")) };
        Kept { name: format!("{name}{of}"), settings: callback.settings(), state: callback.state() }
    }
}

/// A moment of a run, as it is written.
pub(super) struct Moment {
    record: Record,
    /// Tensors beside those of the model.
    tensors: Vec<(String, Tensor)>,
}

/// The entry of a model file's description that holds the [`Record`].
const RUN: &str = "run";

fn metric_name(i: usize) -> String {
    format!("metrics/{i}")
}

fn snapshot_name(callback: usize, name: &str) -> String {
    format!("callbacks/{callback}/{name}/")
}

impl Moment {
    pub(super) fn new(
        cursor: Cursor,
        stopped: Option<StopReason>,
        history: History,
        metrics: Vec<Tensor>,
        callbacks: &[Box<dyn Callback + '_>],
    ) -> Result<Moment> {
        let mut tensors: Vec<(String, Tensor)> =
            metrics.into_iter().enumerate().map(|(i, tensor)| (metric_name(i), tensor)).collect();
        for (i, callback) in callbacks.iter().enumerate() {
            for (name, snapshot) in callback.snapshots() {
                let Some(Copied(weights)) = snapshot.get::<Copied>() else { continue };
                let prefix = snapshot_name(i, name);
                tensors.extend(weights.iter().map(|(path, tensor)| (format!("{prefix}{path}"), tensor.clone())));
            }
        }
        let callbacks = callbacks.iter().map(|callback| Kept::of(&**callback)).collect();
        Ok(Moment { record: Record { settings: Json::Null, cursor, stopped, history, callbacks }, tensors })
    }
}

/// A checkpoint that was read.
pub(super) struct Checkpoint {
    pub(super) path: PathBuf,
    /// The model's part.
    pub(super) saved: Saved,
    pub(super) record: Record,
    /// The run's own tensors, without their prefix.
    tensors: BTreeMap<String, Tensor>,
    /// What the user is to know of it.
    remarks: Vec<String>,
}

impl Resume {
    /// The checkpoint to go on from: the file, or the newest in the folder.
    pub(super) fn find(&self, skip_damaged: bool) -> Result<Option<Checkpoint>> {
        if self.path.is_file() {
            return Checkpoint::read(&self.path).map(Some);
        }
        let mut found = numbered(&self.path)?;
        if found.is_empty() {
            return match self.is_optional {
                true => Ok(None),
                false => Err(Error::file(&self.path, "holds no checkpoint to resume from")
                    .with_help("name the folder of .checkpoint_every(…), or begin anew with .resume_if_found(folder)")),
            };
        }
        let mut remarks = Vec::new();
        while let Some((_, path)) = found.pop() {
            match Checkpoint::read(&path) {
                Ok(checkpoint) => return Ok(Some(Checkpoint { remarks, ..checkpoint })),
                Err(error @ (Error::File { .. } | Error::Nn(_))) if skip_damaged && !found.is_empty() => {
                    remarks.push(format!("passed over: {}", error.to_string().lines().next().unwrap_or_default()));
                }
                Err(error) if !skip_damaged && !found.is_empty() => {
                    let before = found.last().map_or(String::new(), |(_, path)| path.display().to_string());
                    let help = format!(".skip_damaged(true) goes on from the one before, {before}");
                    return Err(match error {
                        Error::Nn(error) => Error::data(error.to_string(), help),
                        other => other.with_help(help),
                    });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

const PREFIX: &str = "checkpoint-";
const EXTENSION: &str = "safetensors";
const BEST: &str = "best.safetensors";

/// The checkpoints of a folder with their numbers of batches, the newest last; none where there is no folder.
fn numbered(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let number = |path: &Path| {
        let is_ours = path.extension().is_some_and(|ending| ending == EXTENSION);
        path.file_stem()?.to_str()?.strip_prefix(PREFIX)?.parse().ok().filter(|_| is_ours && !path.is_dir())
    };
    let mut all = Vec::new();
    for entry in entries(folder)? {
        all.extend(number(&entry).map(|number: u64| (number, entry)));
    }
    all.sort();
    Ok(all)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let all = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        all => all.map_err(|e| Error::io("read", folder, e))?,
    };
    all.map(|entry| entry.map(|entry| entry.path()).map_err(|e| Error::io("read", folder, e))).collect()
}

impl Checkpoint {
    fn read(path: &Path) -> Result<Checkpoint> {
        let (saved, tensors) = read_model(path)?;
        let Some(run) = saved.description.get(RUN) else {
            let help = "Model::load(path) reads it; a run begins with the model that it gives";
            return Err(Error::file(path, "is a model, and holds no run to resume").with_help(help));
        };
        let record = Record::deserialize(run).map_err(|e| Error::file(path, format!("its run cannot be read: {e}")))?;
        Ok(Checkpoint { path: path.to_owned(), saved, record, tensors, remarks: Vec::new() })
    }

    /// Refuses to go on with other settings, callbacks or another model than the run had.
    pub(super) fn check<M: Module>(
        &self,
        settings: &Json,
        callbacks: &[Box<dyn Callback + '_>],
        model: &Model<M>,
        epochs: usize,
    ) -> Result<()> {
        let compiled = model.compiled();
        let as_then = "resume with the settings and the data that the run was started with";
        let refuse = |text: String, help: &str| Err(Error::file(&self.path, text).with_help(help));
        let empty = serde_json::Map::new();
        for (name, own) in settings.as_object().unwrap_or(&empty) {
            let then = self.record.settings.get(name).unwrap_or(&Json::Null);
            if then != own {
                return refuse(format!("is of a run with {name} {}, this one has {}", told(then), told(own)), as_then);
            }
        }
        for name in ["optimizer", "loss", "metrics", "weighted_metrics"] {
            let (then, own) = (without_rates(&self.saved.description[name]), without_rates(&compiled[name]));
            if let Some(difference) = difference(name, &then, &own) {
                let text = format!("is of a model that was compiled otherwise: {difference}");
                return refuse(text, "compile the model as it was; model.load_weights(path) takes the weights alone");
            }
        }
        let Cursor { first_rates, last_rates, epoch, is_begun, .. } = &self.record.cursor;
        let own = rates(&compiled["optimizer"]);
        // A model that was loaded from the checkpoint has its rates.
        if own != *first_rates && own != *last_rates {
            let told = |rates: &[f64]| rates.iter().map(|rate| format!("{rate:?}")).collect::<Vec<_>>().join(", ");
            let (then, own) = (told(first_rates), told(&own));
            let text = format!("is of a run that began with the learning rate {then}, this one has {own}");
            let help = "a run goes on with the rate of its checkpoint: compile the model as it was. Another rate is a new run: \
                        Model::load(path), set_learning_rate and fit in another folder";
            return refuse(text, help);
        }
        let begun = epoch + usize::from(*is_begun);
        if begun > epochs {
            let text = format!("is of epoch {begun}, and the run is to have {epochs}");
            return refuse(text, "give .epochs(…) of the whole run, with those that are done");
        }
        if let Some(own) = model.module().config() {
            let then = &self.saved.description["architecture"];
            if let Some(difference) = difference("", then, &own) {
                let text = format!("is of another model: {difference}");
                return refuse(
                    text,
                    "build the model as it was; model.load_weights_by_name(path, \"*\") takes what fits",
                );
            }
        }
        // Files from before frozen parameters were remembered say nothing of them.
        let (then, own) = (&self.saved.description["frozen"], &model.description()["frozen"]);
        if !then.is_null() && then != own {
            let text =
                format!("is of a run with the frozen parameters {}, this one has {}", told_part(then), told_part(own));
            return refuse(text, "freeze what was frozen by set_trainable; Model::load(path) begins a new run");
        }
        let then = &self.record.callbacks;
        let own: Vec<Kept> = callbacks.iter().map(|callback| Kept::of(&**callback)).collect();
        if !then.iter().map(|kept| &kept.name).eq(own.iter().map(|kept| &kept.name)) {
            let list = |all: &[Kept]| match all {
                [] => "none".to_owned(),
                _ => all.iter().map(|kept| kept.name.as_str()).collect::<Vec<_>>().join(", "),
            };
            let text = format!("is of a run with the callbacks {}, this one has {}", list(then), list(&own));
            return refuse(text, as_then);
        }
        for (then, own) in then.iter().zip(&own) {
            if let Some(difference) = difference(&own.name, &then.settings, &own.settings) {
                return refuse(format!("is of another run: {difference}"), as_then);
            }
        }
        Ok(())
    }

    /// Whether it is a file of this folder.
    fn is_in(&self, folder: &Path) -> bool {
        let real = |path: &Path| fs::canonicalize(path).ok();
        self.path.parent().and_then(real).is_some_and(|own| real(folder).as_ref() == Some(&own))
    }

    /// Puts the running metrics in place.
    pub(super) fn fill(&self, state: &mut MetricState) -> Result<()> {
        let mut wanted = 0;
        state.visit(&mut |_| wanted += 1)?;
        let all: Option<Vec<Tensor>> = (0..wanted).map(|i| self.tensors.get(&metric_name(i)).cloned()).collect();
        let is_one_more = self.tensors.contains_key(&metric_name(wanted));
        match all.filter(|_| !is_one_more) {
            Some(tensors) => state.set(&tensors),
            None => {
                let text = format!("has another number of running metrics than the {wanted} of this model");
                Err(Error::file(&self.path, text).with_help("compile the model with the metrics that the run had"))
            }
        }
    }

    /// Gives callbacks what is theirs.
    pub(super) fn give_callbacks(&self, callbacks: &mut [Box<dyn Callback + '_>]) -> Result<()> {
        for (i, (callback, kept)) in callbacks.iter_mut().zip(&self.record.callbacks).enumerate() {
            callback.load_state(&kept.state)?;
            let root = format!("callbacks/{i}/");
            let mut snapshots: BTreeMap<&str, Vec<(String, Tensor)>> = BTreeMap::new();
            for (key, tensor) in &self.tensors {
                if let Some((name, path)) = key.strip_prefix(&root).and_then(|key| key.split_once('/')) {
                    snapshots.entry(name).or_default().push((path.to_owned(), tensor.clone()));
                }
            }
            for (name, weights) in snapshots {
                callback.load_snapshot(name, Snapshot::new(Copied(weights)));
            }
        }
        Ok(())
    }

    /// What the user is told.
    pub(super) fn told(&self, cursor: &Cursor) -> String {
        let remarks: String = self.remarks.iter().map(|text| format!("{text}\n")).collect();
        let path = self.path.display();
        match (&self.record.stopped, cursor.is_begun) {
            (Some(reason), _) => format!("{remarks}The run of {path} had ended: {reason}."),
            (None, true) => {
                let (epoch, batch) = (from_1(cursor.epoch), from_1(cursor.batch));
                format!("{remarks}Resuming from {path} in epoch {epoch}, batch {batch}.")
            }
            (None, false) => format!("{remarks}Resuming from {path} in epoch {}.", from_1(cursor.epoch)),
        }
    }
}

/// The first place in which two descriptions of models differ; layers are told by their names.
fn difference(place: &str, then: &Json, own: &Json) -> Option<String> {
    let null = Json::Null;
    match (then, own) {
        _ if then == own => None,
        // Of two optimizers, losses or metrics everything else differs for that reason.
        (Json::Object(_), Json::Object(b)) if !b.contains_key("class") && named(then) != named(own) => {
            let name = |part: &Json| named(part).map_or_else(|| told_part(part), str::to_owned);
            Some(format!("{place} was {}, in this one it is {}", name(then), name(own)))
        }
        (Json::Object(a), Json::Object(b)) => {
            let join = |part: &str| if place.is_empty() { part.to_owned() } else { format!("{place}/{part}") };
            let name = b.get("name").and_then(Json::as_str).filter(|_| a.get("name") == b.get("name"));
            let layer = name.filter(|_| b.contains_key("class")).map_or_else(|| place.to_owned(), join);
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            let part = |key: &String| {
                let place = match key.as_str() {
                    "config" => layer.clone(),
                    _ if layer.is_empty() => key.clone(),
                    _ => format!("{layer}/{key}"),
                };
                difference(&place, a.get(key).unwrap_or(&null), b.get(key).unwrap_or(&null))
            };
            keys.map(part).find(Option::is_some).flatten()
        }
        (Json::Array(a), Json::Array(b)) if a.len() == b.len() && a.iter().all(Json::is_object) => {
            let within = place.strip_suffix("layers").unwrap_or(place).trim_end_matches('/');
            a.iter().zip(b).find_map(|(a, b)| difference(within, a, b))
        }
        _ => Some(format!("{place} was {}, in this one it is {}", told_part(then), told_part(own))),
    }
}

/// The name that a part of a description begins with.
fn named(part: &Json) -> Option<&str> {
    part.get("name").and_then(Json::as_str)
}

/// A part of a description, without the end of a long one; of a list of things with names, those.
fn told_part(part: &Json) -> String {
    let names = part.as_array().and_then(|all| all.iter().map(named).collect::<Option<Vec<_>>>());
    match names.as_deref() {
        Some([]) => return "none".to_owned(),
        Some(names) => return names.join(", "),
        None => {}
    }
    let text = part.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn told(setting: &Json) -> String {
    match setting {
        Json::Null => "unset".to_owned(),
        Json::String(text) => format!("of {text}"),
        other => other.to_string(),
    }
}

/// The learning rates in the settings of an optimizer, where they are numbers: its own, and those of its parts.
pub(super) fn rates(config: &Json) -> Vec<f64> {
    match config {
        Json::Object(map) => {
            let own = |(name, value): (&String, &Json)| match value.as_f64().filter(|_| name == "learning_rate") {
                Some(rate) => vec![rate],
                None => rates(value),
            };
            map.iter().flat_map(own).collect()
        }
        Json::Array(all) => all.iter().flat_map(rates).collect(),
        _ => Vec::new(),
    }
}

/// Settings of an optimizer without its learning rates where they are numbers: those are part of its state.
fn without_rates(config: &Json) -> Json {
    match config {
        Json::Object(map) => {
            let others = map.iter().filter(|(name, value)| *name != "learning_rate" || !value.is_number());
            others.map(|(name, value)| (name.clone(), without_rates(value))).collect::<serde_json::Map<_, _>>().into()
        }
        Json::Array(all) => all.iter().map(without_rates).collect(),
        other => other.clone(),
    }
}

/// Data in a few words that no other data have: number, kinds, a checksum of every element, and what they are multiplied by.
pub(super) fn fingerprint(data: &Dataset) -> Result<String> {
    let mut hash = crc32fast::Hasher::new();
    for tensor in data.all_tensors() {
        hash.update(&to_npy(tensor).map_err(kiln_nn::Error::from)?);
    }
    let scale = data.factor().map_or(String::new(), |factor| format!(", scaled by {factor:?}"));
    Ok(format!("{} samples, checksum {:08x}{scale}", data.len(), hash.finalize()))
}

/// A folder that other runs are kept out of. A process that is killed lets go of it.
struct Lock(File);

impl Lock {
    /// None where a folder cannot be locked, as on some file systems: then nobody is kept out.
    fn of(folder: &Path) -> Result<Option<Lock>> {
        let Ok(file) = File::open(folder) else { return Ok(None) };
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock(file))),
            Err(TryLockError::WouldBlock) => {
                let help = "give each run a folder of its own, or wait for the other";
                Err(Error::file(folder, "is the folder of a run that is under way").with_help(help))
            }
            Err(TryLockError::Error(_)) => Ok(None),
        }
    }
}

impl Drop for Lock {
    /// Closing is not enough: a process that another thread is about to start has the file open as well for a moment.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

/// Writes the checkpoints of a run, and removes older ones.
pub(super) struct Writer {
    every: Every,
    folder: PathBuf,
    _lock: Option<Lock>,
    keep: usize,
    settings: Json,
    /// The value that the best state is told by.
    monitor: Option<(String, Direction)>,
    best: Option<f64>,
    last: Instant,
    /// The steps of the last checkpoint, and whether its epoch had begun.
    written: Option<(u64, bool)>,
    /// Why the last checkpoint could not be written, and why the last best one could not: each until one of its kind is written.
    failures: [Option<Error>; 2],
    is_told: bool,
}

impl Writer {
    pub(super) fn new(
        checkpoints: &Checkpoints,
        keep: usize,
        best: Option<(&str, Option<Direction>)>,
        available: &[&str],
        settings: Json,
        resumed: Option<&Checkpoint>,
    ) -> Result<Writer> {
        let monitor = match best {
            None => None,
            Some((key, _)) if !available.contains(&key) => {
                let help = did_you_mean(key, available);
                return Err(Error::config(format!("fit: keep_best: `{key}` is not logged in this run"), help));
            }
            Some((key, direction)) => {
                let direction = crate::Mode::Auto.resolve(key, direction).map_err(|_| {
                    let text = format!("fit: keep_best: whether a higher or a lower `{key}` is better is not known");
                    Error::config(
                        text,
                        "ModelCheckpoint::new(path)?.save_best_only(true) can be told with .mode(Mode::Min)",
                    )
                })?;
                Some((key.to_owned(), direction))
            }
        };
        let folder = checkpoints.folder.clone();
        // Now, and not after the first epoch: what cannot be written is known before anything is lost.
        fs::create_dir_all(&folder).map_err(|e| Error::io("create", &folder, e))?;
        let lock = Lock::of(&folder)?;
        remove_unfinished(&folder);
        if let Some((_, path)) = numbered(&folder)?.pop().filter(|_| resumed.is_none_or(|from| !from.is_in(&folder))) {
            let text = format!("has the checkpoints of another run, the newest {}", path.display());
            let help =
                "go on with that run by .resume_if_found(folder), give this one a folder of its own, or remove them";
            return Err(Error::file(&folder, text).with_help(help));
        }
        Ok(Writer {
            every: checkpoints.every,
            _lock: lock,
            folder,
            keep,
            settings,
            monitor,
            best: None,
            last: Instant::now(),
            written: None,
            failures: [None, None],
            is_told: true,
        })
    }

    /// Remembers the best value of the run that goes on, if its state is still there.
    pub(super) fn goes_on(&mut self, from: &mut Checkpoint) {
        let Some((key, direction)) = &self.monitor else { return };
        let mut best = f64::NAN;
        for &value in from.record.history.get(key).unwrap_or_default() {
            best = if direction.improves(value, best, 0.0) { value } else { best };
        }
        if best.is_nan() {
            return;
        }
        let before = from.path.with_file_name(BEST);
        let found = read_model(&before).and_then(|_| match from.is_in(&self.folder) {
            true => Ok(()),
            false => {
                let bytes = fs::read(&before).map_err(|e| Error::io("read", &before, e))?;
                write_atomic(&self.folder.join(BEST), &bytes)
            }
        });
        match found {
            Ok(()) => self.best = Some(best),
            Err(error) => {
                let why = error.to_string();
                let why = why.lines().next().unwrap_or_default();
                from.remarks
                    .push(format!("The best state so far is lost, the best from here on takes its place: {why}"));
            }
        }
    }

    pub(super) fn is_due_at(&self, steps: u64) -> bool {
        match self.every {
            Every::Steps(every) => steps.is_multiple_of(every),
            Every::Seconds(seconds) => self.last.elapsed().as_secs_f64() >= seconds,
            Every::Epochs(_) => false,
        }
    }

    pub(super) fn is_due_after(&self, epoch: usize) -> bool {
        matches!(self.every, Every::Epochs(every) if (epoch + 1).is_multiple_of(every))
    }

    /// Whether the values of an epoch are the best so far, which they then are.
    pub(super) fn is_best(&mut self, logs: &Logs) -> bool {
        let Some((key, direction)) = &self.monitor else { return false };
        let value = logs.get(key).filter(|&value| direction.improves(value, self.best.unwrap_or(f64::NAN), 0.0));
        self.best = value.or(self.best);
        value.is_some()
    }

    pub(super) fn has_written(&self, cursor: &Cursor) -> bool {
        self.written == Some((cursor.steps, cursor.is_begun))
    }

    /// Writes a checkpoint. A failure is kept for the end, when a later one has not made it good.
    pub(super) fn write<M: Module>(&mut self, model: &Model<M>, moment: Moment) -> Result<()> {
        let at = (moment.record.cursor.steps, moment.record.cursor.is_begun);
        let name = format!("{PREFIX}{:09}.{EXTENSION}", at.0);
        self.last = Instant::now();
        if self.put(model, moment, &name)? {
            self.written = Some(at);
            let mut all = numbered(&self.folder)?;
            // A run that began anew in the folder of a longer one has the smaller numbers. Who removes the folder now leaves none.
            let newest = all.iter().position(|(steps, _)| *steps == at.0).map_or(all.len(), |newest| newest + 1);
            let later = all.split_off(newest);
            let older = all.len().saturating_sub(self.keep);
            for (_, path) in all.drain(..older).chain(later) {
                let _ = fs::remove_file(path);
            }
        }
        Ok(())
    }

    pub(super) fn write_best<M: Module>(&mut self, model: &Model<M>, moment: Moment) -> Result<()> {
        self.put(model, moment, BEST).map(drop)
    }

    /// Whether the file could be written.
    fn put<M: Module>(&mut self, model: &Model<M>, mut moment: Moment, name: &str) -> Result<bool> {
        moment.record.settings = self.settings.clone();
        let run = serde_json::to_value(&moment.record)
            .map_err(|e| Error::data(format!("the state of the run: {e}"), "a callback's state must be plain JSON"))?;
        let description: Description = model.description().into_iter().chain([(RUN.to_owned(), run)]).collect();
        match write_model(&self.folder.join(name), model.tensors(), &moment.tensors, &description) {
            Ok(()) => {
                self.failures[usize::from(name == BEST)] = None;
                Ok(true)
            }
            Err(error @ Error::Io { .. }) => {
                // A disk that is full stays so: it is told once until something could be written again.
                let failure = &mut self.failures[usize::from(name == BEST)];
                self.is_told &= failure.is_some();
                *failure = Some(error);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// What to tell of a checkpoint that could not be written, once.
    pub(super) fn told_failure(&mut self) -> Option<String> {
        let error = self.failures.iter().flatten().next().filter(|_| !self.is_told)?;
        self.is_told = true;
        Some(format!("No checkpoint was written, the run goes on: {error}"))
    }

    pub(super) fn take_failure(&mut self) -> Option<Error> {
        self.failures.iter_mut().find_map(Option::take)
    }
}

/// Removes what a process that was killed while it wrote has left in a folder of checkpoints.
fn remove_unfinished(folder: &Path) {
    let is_unfinished = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let rest = name.strip_prefix('.').map(|name| name.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-'));
        rest.is_some_and(|rest| rest.ends_with(EXTENSION) && (rest.starts_with(PREFIX) || rest == BEST))
    };
    for path in entries(folder).unwrap_or_default().iter().filter(|path| is_unfinished(path)) {
        let _ = fs::remove_file(path);
    }
}
