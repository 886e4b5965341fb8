//! Cross-validation: a model for each fold of the data, judged by what it was not trained on.

use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::splits::Splits;
use crate::{Dataset, Fit, History, Logs, Model, Result};
use kiln_nn::Module;
use kiln_nn::table::{Column, Table};
use std::fmt;

/// What a fold gave.
#[derive(Debug, Clone)]
pub struct FoldResult {
    /// Every epoch of its run. The samples held out are its validation data, unless the settings of the run name others.
    pub history: History,
    /// What the trained model measures on the samples held out.
    pub scores: Logs,
}

/// What [`cross_validate`] gave, fold by fold. Printed, it is a table with the mean and the deviation.
#[derive(Debug, Clone)]
pub struct CrossValidation {
    /// In the order of the splits: those that were trained to their end.
    pub folds: Vec<FoldResult>,
    /// How many folds there were to be: more than there are where Ctrl-C ended it.
    pub planned: usize,
}

/// Trains a model of its own for each fold of `data`, and judges it by the samples held out.
///
/// `model` makes and compiles a fresh one, `fit` the settings of its run, so that nothing is handed from fold to fold. It is shown what
/// the fold trains on, for what a model takes from data before it is trained, such as the means and variances of a
/// [`Normalization`](kiln_nn::layers::Normalization): taken of all samples, these would know those held out. Samples that are held
/// out show in `val_*` while the model is trained: a callback that stops or keeps weights by them judges itself, so give such
/// a run validation data of its own, [`Fit::validation_split`]. Ctrl-C ends the run of a fold and with it all that follow: what comes
/// back are the folds before it, [`CrossValidation::was_interrupted`]. Checkpoints lie in a folder for each fold, `fold-1` and so on,
/// within that of [`Fit::checkpoint_every`]; with [`Fit::resume_if_found`] a validation that was put down goes on where it was.
///
/// ```
/// use kiln_nn::{Key, Sequential, layers::{Dense, Normalization}, ops::*};
/// use kiln_train::{Compile, Dataset, Fit, Verbosity, cross_validate, splits::KFold};
/// let x = Key::new(0).normal([60, 3], 0.0, 1.0)?;
/// let data = Dataset::new(x.clone(), x.sum(-1)?.reshape([60, 1])?)?;
/// let model = |train: &Dataset| {
///     let scaled = Normalization::new().adapt(&train.x()?)?;
///     Sequential::new([3]).add(scaled).add(Dense::new(1)).compile("adam", "mse", ["mae"])
/// };
/// let fit = || Fit::new().epochs(2).verbose(Verbosity::Silent);
/// let result = cross_validate(model, &data, &KFold::new(5).shuffle(0), fit)?;
/// assert_eq!(result.folds.len(), 5);
/// println!("{result}");
/// assert!(result.mean("mae") > Some(0.0) && result.deviation("mae").is_some());
/// # Ok::<(), kiln_train::Error>(())
/// ```
///
/// # Errors
/// Splits that the data do not have; those of the model and of its run, with the fold.
pub fn cross_validate<M: Module>(
    mut model: impl FnMut(&Dataset) -> Result<Model<M>>,
    data: &Dataset,
    splits: &impl Splits,
    mut fit: impl FnMut() -> Fit<'static>,
) -> Result<CrossValidation> {
    let splits = splits.folds(data)?;
    // For all of them, so that a Ctrl-C between two runs is heard too.
    let interrupt = Interrupt::listen();
    let mut folds = Vec::with_capacity(splits.len());
    for (i, fold) in splits.iter().enumerate() {
        let mut run = || -> Result<Option<FoldResult>> {
            let (train, test) = (data.select(&fold.train)?, data.select(&fold.test)?);
            let mut model = model(&train)?;
            let fit = fit();
            Progress::stdout(fit.verbosity()).message(&format!("Fold {}/{}", i + 1, splits.len()));
            let fit = fit.validated_by(&test).within(&format!("fold-{}", i + 1));
            let history = model.fit(&train, fit)?;
            if history.was_interrupted() {
                return Ok(None);
            }
            Ok(Some(FoldResult { scores: model.evaluate(&test)?, history }))
        };
        let result = run().map_err(|error| error.note(format_args!("in fold {} of {}", i + 1, splits.len())))?;
        let is_whole = result.is_some();
        folds.extend(result);
        if !is_whole || interrupt.requested() {
            break;
        }
    }
    Ok(CrossValidation { folds, planned: splits.len() })
}

impl CrossValidation {
    /// Whether the user ended it with Ctrl-C before its last fold.
    pub fn was_interrupted(&self) -> bool {
        self.folds.len() < self.planned
    }

    /// What each fold measures under a name.
    pub fn values(&self, name: &str) -> Option<Vec<f64>> {
        self.folds.iter().map(|fold| fold.scores.get(name)).collect()
    }

    /// The mean over the folds.
    pub fn mean(&self, name: &str) -> Option<f64> {
        let values = self.values(name).filter(|values| !values.is_empty())?;
        Some(values.iter().sum::<f64>() / values.len() as f64)
    }

    /// The standard deviation of the folds from their mean: that of these folds, as NumPy's `std`, and not an estimate of others'.
    pub fn deviation(&self, name: &str) -> Option<f64> {
        let (values, mean) = (self.values(name)?, self.mean(name)?);
        Some((values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt())
    }
}

impl fmt::Display for CrossValidation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.was_interrupted() {
            write!(f, "interrupted: {} of {} folds", self.folds.len(), self.planned)?;
        }
        let Some(first) = self.folds.first() else { return Ok(()) };
        if self.was_interrupted() {
            writeln!(f)?;
        }
        let names: Vec<&str> = first.scores.names().collect();
        let columns = ["fold", "epochs"].into_iter().chain(names.iter().copied()).map(|name| Column::new(name).right());
        let mut table = Table::new(columns);
        table.rules(false);
        for (i, fold) in self.folds.iter().enumerate() {
            let scores = names.iter().map(|name| fold.scores.get(name).map_or("-".to_owned(), |x| format!("{x:.4}")));
            table.row([(i + 1).to_string(), fold.history.len().to_string()].into_iter().chain(scores));
        }
        let all = names.iter().map(|name| match self.mean(name).zip(self.deviation(name)) {
            Some((mean, deviation)) => format!("{mean:.4} ± {deviation:.4}"),
            None => "-".to_owned(),
        });
        table.row(["mean".to_owned(), String::new()].into_iter().chain(all));
        table.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::splits::{Fold, KFold, StratifiedKFold};
    use crate::{Compile, Every, Verbosity};
    use kiln_nn::ops::{ArithmeticOps, ReduceOps, ViewOps};
    use kiln_nn::{Key, Sequential, Tensor, layers::Dense};

    fn data() -> Dataset {
        let x = Key::new(0).normal([40, 3], 0.0, 1.0).unwrap();
        Dataset::new(x.clone(), x.sum(-1).unwrap().reshape([40, 1]).unwrap()).unwrap()
    }

    fn fit() -> Fit<'static> {
        Fit::new().epochs(3).batch_size(8).verbose(Verbosity::Silent)
    }

    #[test]
    fn each_fold_has_a_run_of_its_own() {
        let data = data();
        let model = |_: &Dataset| Sequential::new([3]).add(Dense::new(1)).compile("sgd", "mse", ["mae"]);
        let result = cross_validate(model, &data, &KFold::new(4), fit).unwrap();
        // The same by hand.
        for (fold, own) in KFold::new(4).split(40).unwrap().iter().zip(&result.folds) {
            let (train, test) = (data.select(&fold.train).unwrap(), data.select(&fold.test).unwrap());
            let mut model = model(&train).unwrap();
            let history = model.fit(&train, fit().validation_data(&test)).unwrap();
            assert_eq!(own.history.get("val_loss"), history.get("val_loss"));
            assert_eq!(own.scores, model.evaluate(&test).unwrap());
            let (score, last) = (own.scores.get("loss").unwrap(), history.last("val_loss").unwrap());
            assert!((score - last).abs() < 1e-6, "{score} {last}");
        }
        let values = result.values("mae").unwrap();
        let mean = values.iter().sum::<f64>() / 4.0;
        assert!((result.mean("mae").unwrap() - mean).abs() < 1e-12);
        assert!(result.deviation("mae").unwrap() > 0.0 && result.mean("f1").is_none());
        let table = result.to_string();
        assert!(table.contains("mae") && table.contains(" ± ") && table.contains("mean"), "{table}");
    }

    #[test]
    fn a_model_sees_what_its_fold_trains_on() {
        let (data, mut seen) = (data(), Vec::new());
        let model = |train: &Dataset| {
            seen.push(train.x()?.to_vec::<f32>()?);
            Sequential::new([3]).add(Dense::new(1)).compile("sgd", "mse", ())
        };
        cross_validate(model, &data, &KFold::new(4), fit).unwrap();
        for (fold, seen) in KFold::new(4).split(40).unwrap().iter().zip(&seen) {
            assert_eq!(seen, &data.select(&fold.train).unwrap().x().unwrap().to_vec::<f32>().unwrap());
        }
        assert_eq!(seen.len(), 4);
    }

    #[test]
    fn folds_that_were_put_down_go_on() {
        let (data, folder) = (data(), tempfile::tempdir().unwrap());
        let model = |_: &Dataset| Sequential::new([3]).add(Dense::new(1)).compile("adam", "mse", ());
        let up_to = |most| {
            let fit = fit().checkpoint_every(Every::Steps(1), folder.path()).resume_if_found(folder.path());
            fit.max_steps(most)
        };
        cross_validate(model, &data, &KFold::new(3), || up_to(5)).unwrap();
        let resumed = cross_validate(model, &data, &KFold::new(3), || up_to(99)).unwrap();
        let whole = cross_validate(model, &data, &KFold::new(3), fit).unwrap();
        for (a, b) in resumed.folds.iter().zip(&whole.folds) {
            assert_eq!((a.history.get("val_loss"), &a.scores), (b.history.get("val_loss"), &b.scores));
        }
        assert!(folder.path().join("fold-3").is_dir());
    }

    #[test]
    fn a_run_may_have_validation_data_of_its_own_and_errors_name_the_fold() {
        let data = data();
        let model = |_: &Dataset| Sequential::new([3]).add(Dense::new(1)).compile("sgd", "mse", ());
        let result = cross_validate(model, &data, &KFold::new(2), || fit().validation_split(0.5)).unwrap();
        assert_ne!(result.folds[0].scores.get("loss"), result.folds[0].history.last("val_loss"));
        let text = |result: Result<CrossValidation>| result.unwrap_err().to_string();
        let beyond = vec![Fold { train: vec![0, 1], test: vec![2] }, Fold { train: vec![0], test: vec![99] }];
        assert!(text(cross_validate(model, &data, &beyond, fit)).contains("in fold 2 of 2"));
        let odd = data.select(&[0, 1, 2]).unwrap();
        let odd = Dataset::new(odd.x().unwrap(), Tensor::new([0.5, 1.5, 2.5]).mul(1.0).unwrap()).unwrap();
        assert!(text(cross_validate(model, &odd, &StratifiedKFold::new(2), fit)).contains("no classes"));
    }
}
