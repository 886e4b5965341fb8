//! What scores are told besides targets and predictions: scikit-learn's keyword arguments, with its defaults. `()` is all of
//! them as they are.

use super::input::Values;

/// How the scores of several classes, or of several columns, make one; scikit-learn's `average`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Averaging {
    /// The score of the class `pos_label`, of two classes.
    #[default]
    Binary,
    /// The score of all decisions together.
    Micro,
    /// The mean of the classes' scores.
    Macro,
    /// Their mean weighted by how often each class is true.
    Weighted,
    /// The mean of the samples' scores, for several labels a sample.
    Samples,
}

/// No average: a score for each class, or for each output; scikit-learn's `average=None` and `multioutput="raw_values"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Each;

/// An [`Averaging`], which gives a number, or [`Each`], which gives a list.
pub trait AverageOption: Copy {
    /// `f64` or `Vec<f64>`.
    type Score;

    /// The average, if it is one.
    fn average(self) -> Option<Averaging>;

    /// The scores as what is returned: one number for an average.
    fn score(self, scores: Vec<f64>) -> Self::Score;
}

impl AverageOption for Averaging {
    type Score = f64;

    fn average(self) -> Option<Averaging> {
        Some(self)
    }

    fn score(self, scores: Vec<f64>) -> f64 {
        scores.first().copied().unwrap_or(f64::NAN)
    }
}

impl AverageOption for Each {
    type Score = Vec<f64>;

    fn average(self) -> Option<Averaging> {
        None
    }

    fn score(self, scores: Vec<f64>) -> Vec<f64> {
        scores
    }
}

/// How the errors or scores of several outputs make one; scikit-learn's `multioutput`. [`Each`] leaves them apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Multioutput {
    /// Their mean.
    #[default]
    UniformAverage,
    /// Their mean weighted by the variances of the outputs' targets; for [`r2_score`](super::r2_score),
    /// [`explained_variance_score`](super::explained_variance_score) and their kin.
    VarianceWeighted,
    /// Their mean by these weights.
    Weights(Vec<f64>),
}

/// A [`Multioutput`], which gives a number, or [`Each`], which gives a list.
pub trait Outputs {
    /// `f64` or `Vec<f64>`.
    type Score;

    /// How outputs are averaged, if they are.
    fn rule(&self) -> Option<&Multioutput>;

    /// The scores as what is returned: one number for an average.
    fn score(&self, scores: Vec<f64>) -> Self::Score;
}

impl Outputs for Multioutput {
    type Score = f64;

    fn rule(&self) -> Option<&Multioutput> {
        Some(self)
    }

    fn score(&self, scores: Vec<f64>) -> f64 {
        Averaging::Macro.score(scores)
    }
}

impl Outputs for Each {
    type Score = Vec<f64>;

    fn rule(&self) -> Option<&Multioutput> {
        None
    }

    fn score(&self, scores: Vec<f64>) -> Vec<f64> {
        scores
    }
}

/// How far apart two classes are for [`cohen_kappa_score`](super::cohen_kappa_score).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KappaWeights {
    /// By the difference of their places.
    Linear,
    /// By its square.
    Quadratic,
}

/// How several classes are compared by [`roc_auc_score`](super::roc_auc_score), which knows only two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MultiClass {
    /// Each class against all others.
    Ovr,
    /// Each class against each other (Hand and Till 2001).
    Ovo,
}

/// A field's setter, by how it is kept.
macro_rules! setter {
    ($(#[$doc:meta])* $field:ident list) => {
        $(#[$doc])*
        #[must_use]
        pub fn $field(mut self, $field: &(impl Values + ?Sized)) -> Self {
            self.$field = Some($field.numbers().0);
            self
        }
    };
    ($(#[$doc:meta])* $field:ident optional $type:ty) => {
        $(#[$doc])*
        #[must_use]
        pub fn $field(mut self, $field: impl Into<$type>) -> Self {
            self.$field = Some($field.into());
            self
        }
    };
    ($(#[$doc:meta])* $field:ident $type:ty) => {
        $(#[$doc])*
        #[must_use]
        pub fn $field(mut self, $field: $type) -> Self {
            self.$field = $field;
            self
        }
    };
}

/// A struct of options with its builder; one with an average is of the average's type.
macro_rules! options {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: [$($kind:tt)*] $kept:ty = $default:expr;)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            $(pub(super) $field: $kept,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default),* }
            }
        }

        impl $name {
            /// scikit-learn's defaults.
            pub fn new() -> Self {
                Self::default()
            }

            $(setter!($(#[$field_doc])* $field $($kind)*);)*
        }

        impl From<()> for $name {
            fn from((): ()) -> Self {
                Self::default()
            }
        }
    )*};
}

macro_rules! averaged_options {
    ($($(#[$doc:meta])* $name:ident<$bound:ident> $rule:ident: $average:ty = $first:expr;
        { $($(#[$field_doc:meta])* $field:ident: [$($kind:tt)*] $kept:ty = $default:expr;)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name<A = $average> {
            pub(super) $rule: A,
            $(pub(super) $field: $kept,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self::from($first)
            }
        }

        impl $name {
            /// scikit-learn's defaults.
            pub fn new() -> Self {
                Self::default()
            }
        }

        impl<A> $name<A> {
            /// How several scores make one, or [`Each`] for all of them.
            #[must_use]
            pub fn $rule<B: $bound>(self, $rule: B) -> $name<B> {
                $name { $rule, $($field: self.$field),* }
            }

            $(setter!($(#[$field_doc])* $field $($kind)*);)*
        }

        impl From<()> for $name {
            fn from((): ()) -> Self {
                Self::default()
            }
        }

        impl From<$average> for $name {
            fn from($rule: $average) -> Self {
                Self { $rule, $($field: $default),* }
            }
        }

        impl From<Each> for $name<Each> {
            fn from($rule: Each) -> Self {
                Self { $rule, $($field: $default),* }
            }
        }
    )*};
}

options! {
    /// Of [`accuracy_score`](super::accuracy_score) and [`zero_one_loss`](super::zero_one_loss).
    AccuracyOptions {
        /// Whether the share is returned, and not the number (or weight) of samples.
        normalize: [bool] bool = true;
        /// A weight for each sample.
        sample_weight: [list] Option<Vec<f64>> = None;
    }
    /// Of scores that take weights and nothing else: [`hamming_loss`](super::hamming_loss),
    /// [`matthews_corrcoef`](super::matthews_corrcoef), the deviances.
    WeightOptions {
        /// A weight for each sample.
        sample_weight: [list] Option<Vec<f64>> = None;
    }
    /// Of [`balanced_accuracy_score`](super::balanced_accuracy_score).
    BalancedOptions {
        /// Whether chance is 0, and not one divided by the number of classes.
        adjusted: [bool] bool = false;
        /// A weight for each sample.
        sample_weight: [list] Option<Vec<f64>> = None;
    }
    /// Of [`confusion_matrix`](super::confusion_matrix), [`hinge_loss`](super::hinge_loss) and
    /// [`d2_log_loss_score`](super::d2_log_loss_score).
    LabelOptions {
        /// All labels that count, in the order of the columns; those that occur unless given.
        labels: [list] Option<Vec<f64>> = None;
        /// A weight for each sample.
        sample_weight: [list] Option<Vec<f64>> = None;
    }
    /// Of [`classification_report`](super::classification_report).
    ReportOptions {
        /// The labels that the report is about, in its order; those that occur unless given.
        labels: [list] Option<Vec<f64>> = None;
        /// Decimals of the printed report.
        digits: [usize] usize = 2;
        /// The score of what is divided by 0: 0, 1 or NaN, which averages leave out.
        zero_division: [f64] f64 = 0.0;
        /// A weight for each sample.
        sample_weight: [list] Option<Vec<f64>> = None;
    }
    /// Of [`cohen_kappa_score`](super::cohen_kappa_score).
    KappaOptions {
        /// The labels that count, in order; those that occur unless given.
        labels: [list] Option<Vec<f64>> = None;
        /// How far apart two classes are; all alike unless given.
        weights: [optional KappaWeights] Option<KappaWeights> = None;
        /// The score where all is of one class, so that chance is never wrong.
        replace_undefined_by: [f64] f64 = f64::NAN;
        /// A weight for each sample.
        sample_weight: [list] Option<Vec<f64>> = None;
    }
    /// Of [`roc_curve`](super::roc_curve), [`precision_recall_curve`](super::precision_recall_curve) and
    /// [`det_curve`](super::det_curve).
    CurveOptions {
        /// The positive class; 1 unless given, where labels are 0 and 1, or -1 and 1.
        pos_label: [optional f64] Option<f64> = None;
        /// Whether points that do not change the drawn curve are left out: scikit-learn's default is true for
        /// [`roc_curve`](super::roc_curve) and false for the others.
        drop_intermediate: [optional bool] Option<bool> = None;
        /// A weight for each sample.
        sample_weight: [list] Option<Vec<f64>> = None;
    }
    /// Of [`log_loss`](super::log_loss).
    LogLossOptions {
        /// Whether the mean is returned, and not the sum.
        normalize: [bool] bool = true;
        /// All labels, in the order of the columns; those that occur in the targets unless given.
        labels: [list] Option<Vec<f64>> = None;
        /// A weight for each sample.
        sample_weight: [list] Option<Vec<f64>> = None;
    }
    /// Of [`brier_score_loss`](super::brier_score_loss) and [`d2_brier_score`](super::d2_brier_score).
    BrierOptions {
        /// The class whose probability is given, of two; the larger label unless given.
        pos_label: [optional f64] Option<f64> = None;
        /// All labels, in the order of the columns; those that occur in the targets unless given.
        labels: [list] Option<Vec<f64>> = None;
        /// Whether the sum over the classes is halved, to lie in 0 … 1; of two classes it is unless given.
        scale_by_half: [optional bool] Option<bool> = None;
        /// A weight for each sample.
        sample_weight: [list] Option<Vec<f64>> = None;
    }
    /// Of [`top_k_accuracy_score`](super::top_k_accuracy_score).
    TopKOptions {
        /// How many of the highest scores may hold the true class.
        k: [usize] usize = 2;
        /// Whether the share is returned, and not the number (or weight) of samples.
        normalize: [bool] bool = true;
        /// All labels, in the order of the columns; those that occur in the targets unless given.
        labels: [list] Option<Vec<f64>> = None;
        /// A weight for each sample.
        sample_weight: [list] Option<Vec<f64>> = None;
    }
}

averaged_options! {
    /// Of [`precision_score`](super::precision_score), [`recall_score`](super::recall_score), [`f1_score`](super::f1_score)
    /// and their kin, which also take an [`Averaging`] or [`Each`] in its place.
    ClassOptions<AverageOption> average: Averaging = Averaging::Binary; {
        /// The labels that count, in order; those that occur unless given. Of several labels a sample, their columns.
        labels: [list] Option<Vec<f64>> = None;
        /// The class that counts for [`Averaging::Binary`].
        pos_label: [f64] f64 = 1.0;
        /// The score of what is divided by 0: 0, 1 or NaN, which averages leave out.
        zero_division: [f64] f64 = 0.0;
        /// A weight for each sample.
        sample_weight: [list] Option<Vec<f64>> = None;
    }
    /// Of [`roc_auc_score`](super::roc_auc_score), which also takes an [`Averaging`] or [`Each`] in its place.
    RocAucOptions<AverageOption> average: Averaging = Averaging::Macro; {
        /// The largest false positive rate that counts: the area up to it, from 0.5 for chance to 1 (McClish 1989).
        max_fpr: [optional f64] Option<f64> = None;
        /// How more than two classes are compared.
        multi_class: [optional MultiClass] Option<MultiClass> = None;
        /// All labels, in the order of the columns; those that occur in the targets unless given.
        labels: [list] Option<Vec<f64>> = None;
        /// A weight for each sample.
        sample_weight: [list] Option<Vec<f64>> = None;
    }
    /// Of [`average_precision_score`](super::average_precision_score), which also takes an [`Averaging`] or [`Each`].
    PrecisionOptions<AverageOption> average: Averaging = Averaging::Macro; {
        /// The positive class, of two.
        pos_label: [f64] f64 = 1.0;
        /// A weight for each sample.
        sample_weight: [list] Option<Vec<f64>> = None;
    }
    /// Of the errors and scores of regression, which also take a [`Multioutput`] or [`Each`] in its place.
    RegressionOptions<Outputs> multioutput: Multioutput = Multioutput::UniformAverage; {
        /// Whether a score of targets that are all the same is 1 where the predictions are right and 0 where not, in place of NaN
        /// and -∞; for [`r2_score`](super::r2_score) and [`explained_variance_score`](super::explained_variance_score).
        force_finite: [bool] bool = true;
        /// A weight for each sample.
        sample_weight: [list] Option<Vec<f64>> = None;
    }
}
