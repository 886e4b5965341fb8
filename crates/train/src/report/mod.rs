//! What a classifier confuses with what: the confusion matrix, and precision, recall and F1 by class. Takes plain
//! labels; computes no loss and needs no model. Scores of tensors, with their options, are in `crate::scores`. With the feature
//! `plot`, all that is known of a run on one page (`page.rs`).

#[cfg(feature = "plot")]
mod html;
#[cfg(feature = "plot")]
mod page;

#[cfg(feature = "plot")]
pub use page::Report;

use crate::error::{Error, Result};
use crate::scores::{Averaging, KappaWeights, Measure, Tally};
use std::fmt;

/// What the counts of a [`ConfusionMatrix`] are shares of; scikit-learn's `normalize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalize {
    /// Of their true class: rows sum to 1.
    Truth,
    /// Of their predicted class: columns sum to 1.
    Predicted,
    /// Of everything.
    All,
}

/// Counts of (true class, predicted class) pairs, or weights of them: [`confusion_matrix`](crate::scores::confusion_matrix) takes tensors
/// and weights of samples.
///
/// # Examples
/// ```
/// use kiln_train::report::ConfusionMatrix;
/// let matrix = ConfusionMatrix::from_labels(&[0, 0, 1, 1], &[0, 1, 1, 1], 2)?.with_names(["cat", "dog"])?;
/// assert_eq!(matrix.count(0, 1), Some(1.0));
/// assert_eq!(matrix.accuracy(), 0.75);
/// assert_eq!(
///     matrix.to_string(),
///     "\
/// true \\ predicted  cat  dog
///              cat    1    1
///              dog    0    2
/// "
/// );
/// # Ok::<(), kiln_train::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ConfusionMatrix {
    names: Vec<String>,
    /// `classes × classes`, a row for each true class.
    counts: Vec<f64>,
}

impl ConfusionMatrix {
    /// Counts the pairs of `truth` and `predicted` labels, each below `classes`; the classes are named `0`, `1`, ….
    ///
    /// # Errors
    /// [`Error::Data`] where the slices differ in length, a label is out of range, or there is no memory for so many classes.
    pub fn from_labels(truth: &[usize], predicted: &[usize], classes: usize) -> Result<Self> {
        if truth.len() != predicted.len() {
            return Err(Error::data(
                format!("ConfusionMatrix: {} true labels, but {} predicted ones", truth.len(), predicted.len()),
                "give one prediction for each true label",
            ));
        }
        let names = (0..classes).map(|class| class.to_string());
        let mut matrix = Self::empty(classes, names)?;
        for (row, (&truth, &predicted)) in truth.iter().zip(predicted).enumerate() {
            for (kind, label) in [("true", truth), ("predicted", predicted)] {
                if label >= classes {
                    return Err(Error::data(
                        format!(
                            "ConfusionMatrix: the {kind} label in row {row} is {label}, with {classes} classes it can \
                             be 0 to {}",
                            classes - 1
                        ),
                        "labels count from 0; give the number of classes, not the highest label",
                    ));
                }
            }
            matrix.add(truth, predicted, 1.0);
        }
        Ok(matrix)
    }

    /// Of so many classes, and nothing counted yet.
    pub(crate) fn empty(classes: usize, names: impl Iterator<Item = String>) -> Result<Self> {
        let Some(size) = classes.checked_mul(classes).filter(|&size| size > 0) else {
            return Err(Error::data(
                format!("ConfusionMatrix: there cannot be {classes} classes"),
                "give the number of classes, such as the size of the model's last layer",
            ));
        };
        let mut counts = Vec::new();
        if counts.try_reserve_exact(size).is_err() {
            return Err(Error::data(
                format!("ConfusionMatrix: there is no memory for the pairs of {classes} classes"),
                "give the number of classes, such as the size of the model's last layer: identifiers are no class numbers",
            ));
        }
        counts.resize(size, 0.0);
        Ok(Self { names: names.collect(), counts })
    }

    /// Counts a pair with a weight.
    pub(crate) fn add(&mut self, truth: usize, predicted: usize, weight: f64) {
        let classes = self.classes();
        self.counts[truth * classes + predicted] += weight;
    }

    /// The same counts with names for the classes, in order of their labels.
    ///
    /// # Errors
    /// [`Error::Data`] where there is not one name a class.
    pub fn with_names<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Result<Self> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        if names.len() != self.names.len() {
            return Err(Error::data(
                format!("ConfusionMatrix: {} names for {} classes", names.len(), self.names.len()),
                "give one name for each class, in order of their labels",
            ));
        }
        self.names = names;
        Ok(self)
    }

    /// How many classes there are.
    pub fn classes(&self) -> usize {
        self.names.len()
    }

    /// The names of the classes.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// All counts, row-major: a row for each true class, a column for each predicted one.
    pub fn counts(&self) -> &[f64] {
        &self.counts
    }

    /// How often `truth` was taken for `predicted`; `None` where there is no such class.
    pub fn count(&self, truth: usize, predicted: usize) -> Option<f64> {
        let classes = self.classes();
        let is_inside = truth < classes && predicted < classes;
        is_inside.then(|| self.counts[truth * classes + predicted])
    }

    /// The share of each predicted class in its true class: rows that sum to 1, or to 0 where a class never occurred.
    pub fn normalized(&self) -> Vec<Vec<f64>> {
        self.normalized_by(Normalize::Truth)
    }

    /// Each count as a share of its row, its column or of everything; 0 where that is empty.
    pub fn normalized_by(&self, by: Normalize) -> Vec<Vec<f64>> {
        let classes = self.classes();
        let share = |row: usize| {
            let whole = |column: usize| match by {
                Normalize::Truth => self.support(row),
                Normalize::Predicted => self.predicted(column),
                Normalize::All => self.counts.iter().sum(),
            };
            (0..classes).map(|column| ratio(self.counts[row * classes + column], whole(column))).collect()
        };
        (0..classes).map(share).collect()
    }

    /// The mean of the recall of the classes that occur: the accuracy if all were equally frequent.
    pub fn balanced_accuracy(&self) -> f64 {
        let recalls = self.recalls();
        if recalls.is_empty() { 0.0 } else { recalls.iter().sum::<f64>() / recalls.len() as f64 }
    }

    /// The recall of each class that occurs.
    pub(crate) fn recalls(&self) -> Vec<f64> {
        let classes = self.classes();
        let occur = (0..classes).filter(|&class| self.support(class) > 0.0);
        occur.map(|class| ratio(self.counts[class * classes + class], self.support(class))).collect()
    }

    /// Agreement beyond what chance gives, `(accuracy - chance) / (1 - chance)` (Cohen 1960): 1 is perfect, 0 is chance,
    /// NaN where everything is of one class.
    pub fn cohen_kappa(&self) -> f64 {
        self.weighted_kappa(None, f64::NAN)
    }

    /// The same with distances between the classes, `1 - Σ distance·count / Σ distance·chance`.
    pub(crate) fn weighted_kappa(&self, weights: Option<KappaWeights>, undefined: f64) -> f64 {
        let classes = self.classes();
        let total: f64 = self.counts.iter().sum();
        let predicted: Vec<f64> = (0..classes).map(|class| self.predicted(class)).collect();
        let (mut disagreement, mut chance) = (0.0, 0.0);
        for (truth, row) in self.counts.chunks_exact(classes).enumerate() {
            let support: f64 = row.iter().sum();
            for (other, count) in row.iter().enumerate() {
                let apart = truth.abs_diff(other) as f64;
                let distance = match weights {
                    None => f64::from(truth != other),
                    Some(KappaWeights::Linear) => apart,
                    Some(KappaWeights::Quadratic) => apart * apart,
                };
                disagreement += distance * count;
                chance += distance * support * predicted[other] / total;
            }
        }
        if chance == 0.0 || total == 0.0 { undefined } else { 1.0 - disagreement / chance }
    }

    /// Matthews' correlation of true and predicted classes, for any number of classes (Gorodkin 2004): 1 is perfect, 0 is
    /// chance, and 0 where one side is of one class.
    pub fn matthews_correlation(&self) -> f64 {
        let total: f64 = self.counts.iter().sum();
        let pairs: Vec<(f64, f64)> =
            (0..self.classes()).map(|class| (self.support(class), self.predicted(class))).collect();
        let together: f64 = pairs.iter().map(|(t, p)| t * p).sum();
        let truth: f64 = pairs.iter().map(|(t, _)| t * t).sum();
        let predicted: f64 = pairs.iter().map(|(_, p)| p * p).sum();
        let scale = (total * total - truth) * (total * total - predicted);
        if scale == 0.0 { 0.0 } else { (self.right() * total - together) / scale.sqrt() }
    }

    /// How often a class occurred.
    fn support(&self, class: usize) -> f64 {
        let classes = self.classes();
        self.counts[class * classes..][..classes].iter().sum()
    }

    /// How often a class was predicted.
    fn predicted(&self, class: usize) -> f64 {
        self.counts.iter().skip(class).step_by(self.classes()).sum()
    }

    /// The share of right predictions; 0 where there are none at all.
    pub fn accuracy(&self) -> f64 {
        ratio(self.right(), self.counts.iter().sum())
    }

    /// Precision, recall and F1 of each class, and their averages.
    pub fn report(&self) -> ClassificationReport {
        let classes = 0..self.classes();
        let tally = Tally {
            right: self.counts.iter().step_by(self.classes() + 1).copied().collect(),
            predicted: classes.clone().map(|class| self.predicted(class)).collect(),
            truth: classes.map(|class| self.support(class)).collect(),
        };
        ClassificationReport::of(self.names.clone(), &tally, self.accuracy(), 0.0)
    }

    fn right(&self) -> f64 {
        self.counts.iter().step_by(self.classes() + 1).sum()
    }
}

/// `part / whole`, and 0 for a share of nothing, as in scikit-learn.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { part / whole }
}

/// Counts with the class names around them, aligned.
impl fmt::Display for ConfusionMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CORNER: &str = "true \\ predicted";
        let chars = |text: &String| text.chars().count();
        let first = self.names.iter().map(chars).max().unwrap_or(0).max(CORNER.len());
        write!(f, "{CORNER:>first$}")?;
        let classes = self.classes();
        let widths: Vec<usize> = (0..classes)
            .map(|column| {
                let counts = self.counts.iter().skip(column).step_by(classes);
                let widest = counts.map(|count| count.to_string().len()).max().unwrap_or(0);
                widest.max(chars(&self.names[column]))
            })
            .collect();
        for (name, &width) in self.names.iter().zip(&widths) {
            write!(f, "  {name:>width$}")?;
        }
        writeln!(f)?;
        for (name, row) in self.names.iter().zip(self.counts.chunks_exact(classes)) {
            write!(f, "{name:>first$}")?;
            for (count, &width) in row.iter().zip(&widths) {
                write!(f, "  {count:>width$}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// How well one class (or an average over classes) is recognised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// The share of predictions of this class that are right; 0 where it was never predicted.
    pub precision: f64,
    /// The share of this class that is recognised; 0 where it never occurred.
    pub recall: f64,
    /// The harmonic mean of precision and recall.
    pub f1: f64,
    /// How often the class occurred, or with what weight.
    pub support: f64,
}

impl Scores {
    /// `(1 + β²) · precision · recall / (β² · precision + recall)`: recall counts `beta` times as much as precision.
    /// The score of an average is not the average of scores; take that over the classes.
    pub fn f_beta(&self, beta: f64) -> f64 {
        let below = beta * beta * self.precision + self.recall;
        if below == 0.0 { 0.0 } else { (1.0 + beta * beta) * self.precision * self.recall / below }
    }
}

/// Scores of each class and their averages; prints as scikit-learn's `classification_report`.
///
/// # Examples
/// ```
/// use kiln_train::report::ConfusionMatrix;
/// let report = ConfusionMatrix::from_labels(&[0, 0, 0, 1], &[0, 0, 1, 1], 2)?.report();
/// assert_eq!(report.classes[1].1.precision, 0.5);
/// assert_eq!(report.accuracy, 0.75);
/// # Ok::<(), kiln_train::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ClassificationReport {
    /// Name and scores of each class, by label.
    pub classes: Vec<(String, Scores)>,
    /// The share of right predictions, of samples whose every label is right.
    pub accuracy: f64,
    /// The scores of all decisions together, where that is not the accuracy: of some classes only, or of several labels a sample.
    /// Printed in its place.
    pub micro_average: Option<Scores>,
    /// The mean over the classes, each counting alike.
    pub macro_average: Scores,
    /// The mean over the classes, weighted by how often each occurred.
    pub weighted_average: Scores,
    /// The mean over the samples, where these have several labels.
    pub samples_average: Option<Scores>,
    digits: usize,
}

impl ClassificationReport {
    pub(crate) fn of(names: Vec<String>, tally: &Tally, accuracy: f64, zero_division: f64) -> Self {
        let [precision, recall, f1] =
            [Measure::Precision, Measure::Recall, Measure::F(1.0)].map(|measure| tally.measure(measure, zero_division));
        let scores = |class: usize| Scores {
            precision: precision[class],
            recall: recall[class],
            f1: f1[class],
            support: tally.truth[class],
        };
        Self {
            classes: names.into_iter().enumerate().map(|(class, name)| (name, scores(class))).collect(),
            accuracy,
            micro_average: None,
            macro_average: Self::averaged(tally, zero_division, Averaging::Macro),
            weighted_average: Self::averaged(tally, zero_division, Averaging::Weighted),
            samples_average: None,
            digits: 2,
        }
    }

    pub(crate) fn averaged(tally: &Tally, zero_division: f64, average: Averaging) -> Scores {
        let mean = |measure| tally.average(measure, zero_division, average);
        Scores {
            precision: mean(Measure::Precision),
            recall: mean(Measure::Recall),
            f1: mean(Measure::F(1.0)),
            support: tally.truth.iter().sum(),
        }
    }

    /// The same with names for the classes, in their order.
    ///
    /// # Errors
    /// [`Error::Data`] where there is not one name a class.
    pub fn with_names<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Result<Self> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        if names.len() != self.classes.len() {
            return Err(Error::data(
                format!("ClassificationReport: {} names for {} classes", names.len(), self.classes.len()),
                "give one name for each class, in order of their labels",
            ));
        }
        self.classes.iter_mut().zip(names).for_each(|(class, name)| class.0 = name);
        Ok(self)
    }

    /// The same, printed with so many decimals; 2 unless given.
    #[must_use]
    pub fn with_digits(mut self, digits: usize) -> Self {
        self.digits = digits;
        self
    }

    /// The scores of the class called `name`.
    pub fn get(&self, name: &str) -> Option<&Scores> {
        self.classes.iter().find(|(other, _)| other == name).map(|(_, scores)| scores)
    }
}

impl fmt::Display for ClassificationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.classes.iter().map(|(name, _)| name.chars().count());
        let digits = self.digits;
        let width = names.max().unwrap_or(0).max("weighted avg".len()).max(digits);
        let line = |f: &mut fmt::Formatter<'_>, name: &str, scores: &Scores| {
            let Scores { precision, recall, f1, support } = scores;
            let numbers = format!("{precision:>9.digits$} {recall:>9.digits$} {f1:>9.digits$}").replace("NaN", "nan");
            writeln!(f, "{name:>width$}  {numbers} {support:>9}")
        };
        writeln!(f, "{:>width$}  {:>9} {:>9} {:>9} {:>9}\n", "", "precision", "recall", "f1-score", "support")?;
        for (name, scores) in &self.classes {
            line(f, name, scores)?;
        }
        let support = self.macro_average.support;
        let accuracy = self.accuracy;
        writeln!(f)?;
        match &self.micro_average {
            None => writeln!(f, "{:>width$}  {:>9} {:>9} {accuracy:>9.digits$} {support:>9}", "accuracy", "", "")?,
            Some(scores) => line(f, "micro avg", scores)?,
        }
        line(f, "macro avg", &self.macro_average)?;
        line(f, "weighted avg", &self.weighted_average)?;
        self.samples_average.as_ref().map_or(Ok(()), |scores| line(f, "samples avg", scores))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix() -> ConfusionMatrix {
        ConfusionMatrix::from_labels(&[0, 0, 0, 1, 2, 2], &[0, 0, 1, 1, 1, 2], 4).unwrap()
    }

    #[test]
    fn counts_and_shares() {
        let matrix = matrix();
        assert_eq!(matrix.counts(), [2., 1., 0., 0., 0., 1., 0., 0., 0., 1., 1., 0., 0., 0., 0., 0.]);
        assert_eq!((matrix.count(2, 1), matrix.count(4, 0)), (Some(1.0), None));
        let shares = matrix.normalized();
        assert_eq!(shares[2], [0.0, 0.5, 0.5, 0.0]);
        assert_eq!(shares[3], [0.0; 4]);
        assert_eq!(matrix.accuracy(), 4.0 / 6.0);
        assert_eq!(ConfusionMatrix::from_labels(&[], &[], 2).unwrap().accuracy(), 0.0);
    }

    #[test]
    fn shares_of_columns_and_of_all_and_scores_beyond_chance() {
        // Of 3 zeros 2 were found, the one 1 was found, of two 2s one: chance is (3·2 + 1·3 + 2·1) / 36.
        let matrix = matrix();
        assert_eq!(matrix.normalized_by(Normalize::Predicted)[0][1], 1.0 / 3.0);
        assert_eq!(matrix.normalized_by(Normalize::All)[1][1], 1.0 / 6.0);
        assert!((matrix.balanced_accuracy() - (2.0 / 3.0 + 1.0 + 0.5) / 3.0).abs() < 1e-15);
        assert!((matrix.cohen_kappa() - (4.0 / 6.0 - 11.0 / 36.0) / (1.0 - 11.0 / 36.0)).abs() < 1e-15);
        assert!((matrix.matthews_correlation() - 13.0 / 22.0).abs() < 1e-15);
        let one_class = ConfusionMatrix::from_labels(&[0, 0], &[0, 0], 2).unwrap();
        assert!(one_class.cohen_kappa().is_nan() && one_class.matthews_correlation() == 0.0);
        let scores = matrix.report().classes[1].1;
        assert!((scores.f_beta(1.0) - scores.f1).abs() < 1e-15 && (scores.f_beta(2.0) - 5.0 / 7.0).abs() < 1e-15);
    }

    #[test]
    fn the_report_looks_like_that_of_scikit_learn() {
        let truth = [0, 1, 2, 2, 2];
        let predicted = [0, 0, 2, 2, 1];
        let names = ["class 0", "class 1", "class 2"];
        let matrix = ConfusionMatrix::from_labels(&truth, &predicted, 3).unwrap();
        let report = matrix.with_names(names).unwrap().report();
        let expected = "              precision    recall  f1-score   support

     class 0       0.50      1.00      0.67         1
     class 1       0.00      0.00      0.00         1
     class 2       1.00      0.67      0.80         3

    accuracy                           0.60         5
   macro avg       0.50      0.56      0.49         5
weighted avg       0.70      0.60      0.61         5
";
        assert_eq!(report.to_string(), expected);
        assert_eq!(report.get("class 2").unwrap().support, 3.0);
        assert_eq!(report.get("class 3"), None);
    }

    #[test]
    fn a_class_that_never_occurs_scores_zero() {
        let report = matrix().report();
        let Scores { precision, recall, f1, support } = report.classes[3].1;
        assert_eq!((precision, recall, f1, support), (0.0, 0.0, 0.0, 0.0));
        assert_eq!(report.macro_average.recall, (2.0 / 3.0 + 1.0 + 0.5) / 4.0);
    }

    #[test]
    fn prints_aligned_with_long_names() {
        let matrix = ConfusionMatrix::from_labels(&[0; 1000], &[1; 1000], 2).unwrap();
        let matrix = matrix.with_names(["übergroßer Klassenname", "b"]).unwrap();
        let expected = "      true \\ predicted  übergroßer Klassenname     b
übergroßer Klassenname                       0  1000
                     b                       0     0
";
        assert_eq!(matrix.to_string(), expected);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let error = |truth: &[usize], predicted: &[usize], classes| {
            ConfusionMatrix::from_labels(truth, predicted, classes).unwrap_err().to_string()
        };
        assert!(error(&[0, 1], &[0], 2).contains("2 true labels, but 1 predicted"));
        assert!(error(&[0, 2], &[0, 1], 2).contains("true label in row 1 is 2"));
        assert!(error(&[0, 1], &[0, 9], 2).contains("predicted label in row 1 is 9"));
        assert!(error(&[], &[], 0).contains("0 classes"));
        assert!(error(&[], &[], usize::MAX).contains("there cannot be"));
        for classes in [1 << 20, 1 << 31] {
            assert!(error(&[], &[], classes).contains("there is no memory"));
        }
        assert!(matrix().with_names(["a"]).is_err());
    }
}
