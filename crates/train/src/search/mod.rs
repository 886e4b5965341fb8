//! The search for hyperparameters: trials at the points of a [`Space`], on a grid, at random, by Hyperband or by what a model of the
//! scores expects; several at a time, those without hope given up early, all of it resumable.

mod pruning;
mod results;
mod space;
mod strategy;

pub use results::{SearchResult, Trial, TrialEnd};
#[cfg(feature = "plot")]
pub(crate) use space::Range;
pub use space::{Choice, Space, Value};

use crate::callbacks::EarlyStopping;
use crate::files::write_atomic;
use crate::progress::{Progress, Verbosity};
use crate::text::log_value;
use crate::{Direction, Error, Every, Fit, History, Mode, Model, Result};
use kiln_nn::Module;
use pruning::Pruner;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fs;
use std::io::Stdout;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering as Memory};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use strategy::{Strategy, Task};

/// A search that is to be run: where, how, and what for.
///
/// ```
/// use kiln_nn::{Key, Sequential, layers::Dense, ops::*, optimizers};
/// use kiln_train::search::{Search, Space};
/// use kiln_train::{Compile, Dataset, Verbosity};
/// let x = Key::new(0).normal([64, 3], 0.0, 1.0)?;
/// let data = Dataset::new(x.clone(), x.sum(-1)?.reshape([64, 1])?)?;
/// let space = Space::new().log_uniform("learning_rate", 1e-4, 1.0).choice("units", [4, 16]);
///
/// let found = Search::random(space, 6).verbose(Verbosity::Silent).run(
///     |choice| {
///         let net = Sequential::new([3]).add(Dense::new(choice.int("units")?).activation("tanh")).add(Dense::new(1));
///         net.compile(optimizers::SGD::new(choice.float("learning_rate")?), "mse", ())
///     },
///     |model, fit, _| model.fit(&data, fit.epochs(10).validation_split(0.25)),
/// )?;
/// println!("{found}");
/// let best = found.best().unwrap();
/// assert!(found.trials.iter().all(|trial| trial.score >= best.score));
/// let model = found.model.unwrap();
/// # Ok::<(), kiln_train::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Search {
    space: Space,
    strategy: Strategy,
    objective: String,
    mode: Mode,
    seed: u64,
    parallel: usize,
    prune: bool,
    folder: Option<PathBuf>,
    verbose: Verbosity,
}

impl Search {
    fn new(space: Space, strategy: Strategy) -> Search {
        Search {
            space,
            strategy,
            objective: "val_loss".to_owned(),
            mode: Mode::Auto,
            seed: 0,
            parallel: 1,
            prune: false,
            folder: None,
            verbose: Verbosity::Auto,
        }
    }

    /// Every point of a space of choices and whole numbers ([`Space::choice`], [`Space::int`], [`Space::int_step`]); along the others a
    /// grid has no end.
    pub fn grid(space: Space) -> Search {
        Search::new(space, Strategy::Grid)
    }

    /// So many points at random.
    pub fn random(space: Space, trials: usize) -> Search {
        Search::new(space, Strategy::Random { trials })
    }

    /// Hyperband (Li et al. 2018): many points for a few epochs, the best third of them for three times as many, and so on up to
    /// `max_epochs`; in several brackets, which begin with fewer points and more epochs. The `Fit` of a trial has its epochs, and goes on
    /// where the trial was: leave them as they are.
    pub fn hyperband(space: Space, max_epochs: usize) -> Search {
        Search::new(space, Strategy::Hyperband { max_epochs, factor: 3 })
    }

    /// So many points where good scores are likely by those so far (Bergstra et al. 2011: a tree-structured Parzen estimator), after
    /// ten at random.
    #[cfg(feature = "bayesian")]
    pub fn bayesian(space: Space, trials: usize) -> Search {
        Search::new(space, Strategy::Bayesian { trials })
    }

    /// The logged value that a trial is judged by, in its best epoch; `val_loss` unless set. The weights of that epoch are kept.
    #[must_use]
    pub fn objective(mut self, log_key: impl Into<String>) -> Search {
        self.objective = log_key.into();
        self
    }

    /// Whether a lower or a higher value is better; found out from its name unless set.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Search {
        self.mode = mode;
        self
    }

    /// The seed of the points; 0 unless set.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Search {
        self.seed = seed;
        self
    }

    /// How many trials run at the same time; 1 unless set. They share the threads evenly. For small models, whose steps are
    /// too short to be shared out, as many as there are cores is best.
    #[must_use]
    pub fn parallel(mut self, trials: usize) -> Search {
        self.parallel = trials;
        self
    }

    /// Gives a trial up after an epoch in which it is worse than half of the trials before it were then, once there are five.
    #[must_use]
    pub fn prune(mut self, yes: bool) -> Search {
        self.prune = yes;
        self
    }

    /// Keeps what was found in a folder: a search that is started again goes on after the trials that are there, however it ended. The
    /// space, the kind of search, the objective and the seed must be the same; whether `build`, `train` and the data are is not looked
    /// at: after a change of them name another folder.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Search {
        self.folder = Some(folder.into());
        self
    }

    /// Whether a line is printed for each trial.
    #[must_use]
    pub fn verbose(mut self, verbose: Verbosity) -> Search {
        self.verbose = verbose;
        self
    }

    /// Runs the trials: `build` makes the model of a point, `train` trains it with a [`Fit`] that is begun for it, which prints nothing
    /// and has the search's seed: what is split off for validation is the same in each. Ctrl-C ends the search with what it has.
    ///
    /// A point may have no model, or one whose training ends in an error: such a trial is listed as failed, with the error
    /// ([`Trial::error`]), and the search goes on; one that is started again in the same folder tries it once more.
    ///
    /// # Errors
    /// A space or settings without meaning; what `build` and `train` answer three times in a row, or each time; an objective
    /// that no epoch logs; a folder of another search.
    pub fn run<M: Module + Send>(
        &self,
        build: impl Fn(&Choice) -> Result<Model<M>> + Sync,
        train: impl Fn(&mut Model<M>, Fit<'static>, &Choice) -> Result<History> + Sync,
    ) -> Result<SearchResult<M>> {
        let running = Running::new(self)?;
        running.all(&build, &train)?;
        running.result(&build)
    }
}

/// What a search keeps in its folder.
#[derive(Serialize, Deserialize)]
struct Kept {
    format: u32,
    space: Space,
    strategy: Strategy,
    objective: String,
    seed: u64,
    trials: Vec<Trial>,
}

const FORMAT: u32 = 1;

/// So many trials in a row that fail end the search: most likely no other would do better.
const MOST_FAILURES: usize = 3;

/// A search that is under way.
struct Running<'s, M: Module> {
    search: &'s Search,
    direction: Direction,
    count: usize,
    folder: PathBuf,
    is_own_folder: bool,
    found: Mutex<Found<M>>,
    interrupted: AtomicBool,
}

/// What was found so far.
struct Found<M: Module> {
    trials: Vec<Trial>,
    /// The best trial that this process has run, and its model.
    model: Option<(usize, Model<M>)>,
    /// Trials that have failed since one did not.
    failures: usize,
    progress: Progress<Stdout>,
}

impl<'s, M: Module + Send> Running<'s, M> {
    fn new(search: &'s Search) -> Result<Self> {
        search.space.check()?;
        search.strategy.check()?;
        if search.parallel == 0 {
            return Err(Error::config("search: 0 trials at the same time", "give at least 1"));
        }
        let direction = search.mode.resolve(&search.objective, None)?;
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let own = || {
            let name = format!("kiln-search-{}-{}", std::process::id(), COUNTER.fetch_add(1, Memory::Relaxed));
            std::env::temp_dir().join(name)
        };
        let folder = search.folder.clone().unwrap_or_else(own);
        let mut progress = Progress::stdout(search.verbose);
        let trials = search.kept(&folder)?;
        if !trials.is_empty() {
            let (n, folder) = (trials.len(), folder.display());
            progress.message(&format!("{n} trials are taken over from {folder}: remove it to search anew."));
        }
        let found = Found { trials, model: None, failures: 0, progress };
        Ok(Running {
            search,
            direction,
            count: search.strategy.count(&search.space)?,
            is_own_folder: search.folder.is_none(),
            folder,
            found: Mutex::new(found),
            interrupted: AtomicBool::new(false),
        })
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Found<M>> {
        // A trial that has panicked had not yet changed it.
        self.found.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn all(
        &self,
        build: &(impl Fn(&Choice) -> Result<Model<M>> + Sync),
        train: &(impl Fn(&mut Model<M>, Fit<'static>, &Choice) -> Result<History> + Sync),
    ) -> Result<()> {
        let Search { space, strategy, seed, parallel, prune, .. } = self.search;
        // Where trials learn of each other, those that run together learn of those before them alone.
        let learns = *prune || !matches!(strategy, Strategy::Grid | Strategy::Random { .. });
        while !self.interrupted.load(Memory::Relaxed) {
            let done = self.found().trials.clone();
            let tasks = strategy.next(space, *seed, &done, self.direction, learns.then_some(*parallel))?;
            if tasks.is_empty() {
                break;
            }
            // Not of those of this round that ended before a search was broken off.
            let is_before = |number: usize| match (tasks[0].epochs, learns) {
                (None, true) => number < tasks[0].number - tasks[0].number % parallel,
                _ => true,
            };
            let before = done.iter().filter(|trial| is_before(trial.number) && trial.end != TrialEnd::Failed);
            let curves: Arc<Vec<Vec<f64>>> =
                Arc::new(before.map(|trial| trial.best_by_epoch(self.direction)).collect());
            self.round(&tasks, &|task: &Task| {
                if self.interrupted.load(Memory::Relaxed) {
                    return Ok(());
                }
                let choice = Choice::new(space, task.values.clone());
                let place = format!("in trial {}: {choice}", task.number + 1);
                self.trial(task, &choice, &curves, build, train).map_err(|error| error.note(place))
            })?;
        }
        Ok(())
    }

    /// Runs tasks, so many at a time, each with its part of the threads.
    fn round(&self, tasks: &[Task], run: &(impl Fn(&Task) -> Result<()> + Sync)) -> Result<()> {
        let workers = self.search.parallel.min(tasks.len());
        if workers == 1 {
            return tasks.iter().try_for_each(run);
        }
        let threads = (rayon::current_num_threads() / workers).max(1);
        let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
        let work = || {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let pool =
                pool.map_err(|e| Error::data(format!("search: no threads for a trial: {e}"), "run fewer at a time"));
            let one = |task: &Task| {
                pool.as_ref().map_or_else(|e| Err(Error::data(e.to_string(), "")), |pool| pool.install(|| run(task)))
            };
            while let Some(task) = tasks.get(next.fetch_add(1, Memory::Relaxed)) {
                if let Err(error) = one(task) {
                    next.store(tasks.len(), Memory::Relaxed);
                    failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(error);
                }
            }
        };
        // The panic of a trial is told as it was.
        let panic = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            let outcomes: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
            outcomes.into_iter().find_map(std::result::Result::err)
        });
        if let Some(panic) = panic {
            std::panic::resume_unwind(panic);
        }
        failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn trial(
        &self,
        task: &Task,
        choice: &Choice,
        curves: &Arc<Vec<Vec<f64>>>,
        build: &impl Fn(&Choice) -> Result<Model<M>>,
        train: &impl Fn(&mut Model<M>, Fit<'static>, &Choice) -> Result<History>,
    ) -> Result<()> {
        let started = Instant::now();
        let objective = &self.search.objective;
        let mode = if self.direction == Direction::Min { Mode::Min } else { Mode::Max };
        let mut fit = Fit::new().verbose(Verbosity::Silent).seed(self.search.seed);
        let best = EarlyStopping::new().monitor(objective).mode(mode).patience(usize::MAX).verbose(false);
        fit = fit.callback(best);
        if self.search.prune {
            fit = fit.callback(Pruner::new(objective, self.direction, curves.clone()));
        }
        let own = self.folder.join(format!("trial-{:04}", task.number + 1));
        if let Some(epochs) = task.epochs {
            fit = fit.epochs(epochs).checkpoint_every(Every::Epochs(1), &own).keep_checkpoints(1).resume_if_found(&own);
        }
        let trained = build(choice).and_then(|mut model| Ok((train(&mut model, fit, choice)?, model)));
        // The user has not added the callback that misses the objective.
        let mine = format!("EarlyStopping: `{objective}`");
        let (history, model) = match trained {
            Ok(trained) => trained,
            Err(Error::Config { what, help }) if what.starts_with(&mine) => {
                return Err(Error::config(what.replace(&mine, &format!("search: `{objective}`")), help));
            }
            Err(error) => return self.fail(task, choice, started, error),
        };
        if history.was_interrupted() {
            self.interrupted.store(true, Memory::Relaxed);
            return Ok(());
        }
        if let Some(epochs) = task.epochs.filter(|epochs| history.params.epochs != *epochs) {
            let text = format!(
                "search: the trial was trained for {} epochs, and Hyperband gave it {epochs}",
                history.params.epochs
            );
            return Err(Error::config(text, "leave .epochs(…) out: the Fit of a trial has them"));
        }
        let Some(values) = history.get(objective) else {
            let names: Vec<&str> = history.names().collect();
            let text = format!("search: no epoch has logged `{objective}`");
            return Err(Error::config(text, crate::text::did_you_mean(objective, &names)));
        };
        let trial = Trial {
            score: history.best_value(objective, mode),
            curve: values.iter().map(|value| value.is_finite().then_some(*value)).collect(),
            end: if pruning::was_pruned(&history) { TrialEnd::Pruned } else { TrialEnd::Complete },
            ..Trial::of(task, choice, started)
        };
        self.take_in(trial, model, choice)
    }

    /// Remembers that a trial has failed, unless too many have.
    fn fail(&self, task: &Task, choice: &Choice, started: Instant, error: Error) -> Result<()> {
        let mut found = self.found();
        found.failures += 1;
        let is_last = found.trials.len() + 1 == self.count;
        if found.failures == MOST_FAILURES || is_last && found.trials.iter().all(|trial| trial.end == TrialEnd::Failed)
        {
            return Err(error);
        }
        let error = error.to_string();
        found.progress.message(&format!("Trial {}/{}: {choice} - failed: {error}", task.number + 1, self.count));
        // With the epochs that it had, where it went on.
        let earlier = found.trials.iter().find(|trial| trial.number == task.number).cloned();
        let own = Trial::of(task, choice, started);
        let (budget, seconds) = (own.budget, own.seconds);
        let trial = earlier.unwrap_or(own);
        found.insert(Trial { error: Some(error), end: TrialEnd::Failed, budget, seconds, ..trial });
        Ok(())
    }

    /// Remembers a trial, its model if it is the best so far, and tells of it.
    fn take_in(&self, trial: Trial, model: Model<M>, choice: &Choice) -> Result<()> {
        let mut found = self.found();
        found.failures = 0;
        let score = trial.score.map_or("nan".to_owned(), log_value);
        let epochs = trial.curve.len();
        let pruned = if trial.end == TrialEnd::Pruned { ", given up" } else { "" };
        let text = format!(
            "Trial {}/{}: {choice} - {}: {score} after {epochs} {}{pruned}",
            trial.number + 1,
            self.count,
            self.search.objective,
            if epochs == 1 { "epoch" } else { "epochs" }
        );
        let number = trial.number;
        found.insert(trial);
        let best = results::best(&found.trials, self.direction).map(|at| found.trials[at].number);
        if best == Some(number) {
            model.save(self.folder.join(BEST))?;
            found.model = Some((number, model));
        }
        if !self.is_own_folder {
            self.search.keep(&self.folder, &found.trials)?;
        }
        let star = if best == Some(number) { " *" } else { "" };
        found.progress.message(&format!("{text}{star}"));
        Ok(())
    }

    fn result(self, build: &impl Fn(&Choice) -> Result<Model<M>>) -> Result<SearchResult<M>> {
        let found = std::mem::take(&mut self.found().trials);
        let best = results::best(&found, self.direction);
        let mut model = None;
        if let Some(best) = best.map(|at| &found[at]) {
            model = match self.found().model.take() {
                Some((number, model)) if number == best.number => Some(model),
                // It was found by a process before this one.
                _ => {
                    let mut model = build(&Choice::new(&self.search.space, best.values.clone()))?;
                    let again = "remove the folder to search anew";
                    model.load_state(self.folder.join(BEST)).map_err(|error| error.with_help(again))?;
                    Some(model)
                }
            };
        }
        let is_interrupted = self.interrupted.load(Memory::Relaxed);
        let objective = self.search.objective.clone();
        let direction = self.direction;
        let space = self.search.space.clone();
        Ok(SearchResult { trials: found, model, objective, direction, is_interrupted, space })
    }
}

impl<M: Module> Found<M> {
    /// Puts a trial in its place, or in that of its first epochs.
    fn insert(&mut self, mut trial: Trial) {
        if let Some(at) = self.trials.iter().position(|other| other.number == trial.number) {
            trial.seconds += self.trials.remove(at).seconds;
        }
        let at = self.trials.partition_point(|other| other.number < trial.number);
        self.trials.insert(at, trial);
    }
}

impl<M: Module> Drop for Running<'_, M> {
    fn drop(&mut self) {
        if self.is_own_folder {
            // What cannot be removed lies in a folder for what may be lost.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// The model of the best trial, in the folder.
const BEST: &str = "best.safetensors";
/// The trials, in the folder.
const TRIALS: &str = "trials.json";

impl Search {
    /// The trials that the folder has of this search.
    fn kept(&self, folder: &Path) -> Result<Vec<Trial>> {
        let path = folder.join(TRIALS);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            text => text.map_err(|e| Error::io("read", &path, e))?,
        };
        let kept: Kept =
            serde_json::from_str(&text).map_err(|e| Error::file(&path, format!("is no list of trials: {e}")))?;
        let same = [
            ("space", kept.space == self.space),
            ("kind of search", kept.strategy.same_kind(&self.strategy)),
            ("objective", kept.objective == self.objective),
            ("seed", kept.seed == self.seed),
            ("format", kept.format == FORMAT),
        ];
        match same.iter().find(|(_, is_same)| !is_same) {
            None => Ok(kept.trials),
            Some((name, _)) => Err(Error::file(&path, format!("is of a search with another {name}"))
                .with_help("give this one a folder of its own, or remove that")),
        }
    }

    fn keep(&self, folder: &Path, trials: &[Trial]) -> Result<()> {
        let kept = Kept {
            format: FORMAT,
            space: self.space.clone(),
            strategy: self.strategy.clone(),
            objective: self.objective.clone(),
            seed: self.seed,
            // What has failed is tried again.
            trials: trials.iter().filter(|trial| trial.end != TrialEnd::Failed).cloned().collect(),
        };
        let path = folder.join(TRIALS);
        let text =
            serde_json::to_string_pretty(&kept).map_err(|e| Error::file(&path, format!("cannot be written: {e}")))?;
        write_atomic(&path, text.as_bytes())
    }
}

/// The better score first, what is no number last.
fn better_first(direction: Direction, a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) if direction == Direction::Min => a.total_cmp(&b),
        (false, false) => b.total_cmp(&a),
        (a, b) => a.cmp(&b),
    }
}

#[cfg(test)]
mod tests;
