//! Losses between labels and probabilities, or the logits behind them.

use super::Targets;
use super::checks::{ClassIds, Probabilities};
use super::macros::{losses, pair_functions};
use super::reduction::{EPSILON, Elements, FILLER, Fold, align, replace};
use super::regression::clip;
use crate::range::Range;
use crate::{Numbers, Result};
use kiln_autograd::ops::{CastOps, Function, Ops, Value, ViewOps};
use kiln_autograd::{DType, Scalar, Tensor, keep};

losses! {
    /// `-mean(t·ln p + (1-t)·ln(1-p))` along an axis, the last unless set: labels 0 and 1, one unit a label.
    ///
    /// ```
    /// use kiln_nn::losses::{BinaryCrossentropy, Loss};
    /// use kiln_autograd::{Tensor, Var};
    /// let (y_true, y_pred) = (Var::new(Tensor::new([[1.0], [0.0]])), Var::new(Tensor::new([[0.5], [0.5]])));
    /// let loss = BinaryCrossentropy::new().call(&y_true, &y_pred, None)?;
    /// assert!((loss.tensor().item()? - 2f64.ln()).abs() < 1e-12);
    /// # Ok::<(), kiln_nn::Error>(())
    /// ```
    BinaryCrossentropy "binary_crossentropy" (link: "sigmoid", targets: Targets::Binary) over axis {
        /// Whether predictions are logits, not probabilities.
        from_logits: bool = false,
        /// Moves labels by this fraction towards 1/2.
        label_smoothing: f64 = 0.0 => Range::Fraction,
        /// The axis of the labels of a sample, over which the mean is taken.
        axis: isize = -1,
    }
    /// [`BinaryCrossentropy`] times `(1 - p_t)^gamma`, where `p_t` is the probability of the right label: easy samples
    /// count less (Lin et al. 2017). Of logits the entropy is exact where Keras's stops at `-ln 1e-7`, beyond ±16.
    BinaryFocalCrossentropy "binary_focal_crossentropy" (link: "sigmoid", targets: Targets::Binary) over axis {
        /// Whether `alpha` is applied.
        apply_class_balancing: bool = false,
        /// The weight of label 1; label 0 has `1 - alpha`.
        alpha: f64 = 0.25 => Range::Fraction,
        /// How much less easy samples count.
        gamma: f64 = 2.0 => Range::NotNegative,
        /// Whether predictions are logits, not probabilities.
        from_logits: bool = false,
        /// Moves labels by this fraction towards 1/2.
        label_smoothing: f64 = 0.0 => Range::Fraction,
        /// The axis of the labels of a sample, over which the mean is taken.
        axis: isize = -1,
    }
    /// `-Σ t·ln p` along the class axis: one-hot labels. Probabilities are divided by their sum.
    CategoricalCrossentropy "categorical_crossentropy" (link: "softmax", targets: Targets::OneHot) over axis {
        /// Whether predictions are logits, not probabilities.
        from_logits: bool = false,
        /// Moves labels by this fraction towards 1 / classes.
        label_smoothing: f64 = 0.0 => Range::Fraction,
        /// The axis of the classes.
        axis: isize = -1,
    }
    /// [`CategoricalCrossentropy`] with each term times `alpha · (1 - p)^gamma` (Lin et al. 2017).
    CategoricalFocalCrossentropy "categorical_focal_crossentropy" (link: "softmax", targets: Targets::OneHot) over axis {
        /// A common factor, or one for each class: `[0.5, 0.25, 0.25]`.
        alpha: Numbers = Numbers::from(0.25) => Range::NotNegative,
        /// How much less easy samples count.
        gamma: f64 = 2.0 => Range::NotNegative,
        /// Whether predictions are logits, not probabilities.
        from_logits: bool = false,
        /// Moves labels by this fraction towards 1 / classes.
        label_smoothing: f64 = 0.0 => Range::Fraction,
        /// The axis of the classes.
        axis: isize = -1,
    }
    /// `-ln p[label]`: labels are class ids. Probabilities are divided by their sum.
    ///
    /// ```
    /// use kiln_nn::losses::{Loss, SparseCategoricalCrossentropy};
    /// use kiln_autograd::{Tensor, Var};
    /// let (y_true, y_pred) = (Var::new(Tensor::new([1])), Var::new(Tensor::new([[0.25, 0.5, 0.25]])));
    /// let loss = SparseCategoricalCrossentropy::new().call(&y_true, &y_pred, None)?;
    /// assert!((loss.tensor().item()? - 2f64.ln()).abs() < 1e-12);
    /// # Ok::<(), kiln_nn::Error>(())
    /// ```
    SparseCategoricalCrossentropy "sparse_categorical_crossentropy" (link: "softmax", targets: Targets::ClassIds, ignores: ignore_class) {
        /// Whether predictions are logits, not probabilities.
        from_logits: bool = false,
        /// A label whose samples do not count, neither in the sum nor in what it is divided by. A batch of nothing else has
        /// a loss of 0, as in Keras, not NaN, as in PyTorch: it teaches nothing, and spoils no mean over batches.
        ignore_class: Option<i64> = None,
    }
    /// `(1 - p[label]^q) / q` for labels that are class ids: between absolute error (q = 1) and cross-entropy (q → 0), robust
    /// against wrong labels (Zhang and Sabuncu 2018).
    CategoricalGeneralizedCrossEntropy "categorical_generalized_cross_entropy" (targets: Targets::ClassIds) {
        /// Between 0 and 1.
        q: f64 = 0.5 => Range::Inside,
    }
}

/// A label moved towards the middle.
#[inline(always)]
fn smooth<S: Scalar>(t: S, smoothing: f64, middle: f64) -> S {
    t * S::lit(1.0 - smoothing) + S::lit(smoothing * middle)
}

/// `wrong^gamma`: how much a term of a focal loss counts, from the probability that was given to what is wrong. The
/// derivative at 0 is taken to be 0: for `gamma` below 1 that of the power is infinite, times a loss that vanishes.
#[inline(always)]
fn focus<S: Scalar>(wrong: S, gamma: f64) -> S {
    if gamma == 0.0 {
        return S::lit(1.0);
    }
    let certain = wrong.clone().le(S::lit(0.0));
    S::select(certain, S::lit(0.0), wrong.pow(S::lit(gamma)))
}

#[inline(always)]
fn binary_term<S: Scalar>(t: S, p: S) -> S {
    let p = clip(p, EPSILON, 1.0 - EPSILON);
    let one = || S::lit(1.0);
    -(t.clone() * p.clone().ln() + (one() - t) * (one() - p).ln())
}

pair_functions! {
    Binary "binary_crossentropy" { smoothing } |self, t, p| binary_term(smooth(t, self.smoothing, 0.5), p);
    BinaryLogits "binary_crossentropy" { smoothing } |self, t, x| {
        let t = smooth(t, self.smoothing, 0.5);
        x.clone().softplus() - x * t
    };
    CategoricalLogits "categorical_crossentropy" { smoothing, middle } |self, t, log_p| {
        -(smooth(t, self.smoothing, self.middle) * log_p)
    };
    FocalLogits "categorical_focal_crossentropy" { alpha, gamma, smoothing, middle } |self, t, log_p| {
        let t = smooth(t, self.smoothing, self.middle);
        let others = -(log_p.clone().exp_m1());
        -(t * S::lit(self.alpha) * focus(others, self.gamma) * log_p)
    };
    Chosen "sparse_categorical_crossentropy" |self, p, total| -clip(p / total, EPSILON, 1.0 - EPSILON).ln();
    Generalized "categorical_generalized_cross_entropy" { q } |self, p, _zero| {
        (S::lit(1.0) - p.pow(S::lit(self.q))) / S::lit(self.q)
    };
}

/// The term of a class from its label, its probability and the sum of the probabilities.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Categorical {
    smoothing: f64,
    middle: f64,
    /// `alpha` and `gamma` of the focal loss.
    focal: Option<(f64, f64)>,
}

impl Function<3> for Categorical {
    const NAME: &'static str = "categorical_crossentropy";
    #[inline(always)]
    fn call<S: Scalar>(&self, [t, p, total]: [S; 3]) -> [S; 1] {
        let p = clip(p / total, EPSILON, 1.0 - EPSILON);
        let term = -(smooth(t, self.smoothing, self.middle) * p.clone().ln());
        [match self.focal {
            Some((alpha, gamma)) => term * S::lit(alpha) * focus(S::lit(1.0) - p, gamma),
            None => term,
        }]
    }
}

/// The term of a label of the binary focal loss.
#[derive(Debug, Clone, Copy, PartialEq)]
struct BinaryFocal {
    alpha: Option<f64>,
    gamma: f64,
    smoothing: f64,
    logits: bool,
}

impl Function<2> for BinaryFocal {
    const NAME: &'static str = "binary_focal_crossentropy";
    #[inline(always)]
    fn call<S: Scalar>(&self, [t, x]: [S; 2]) -> [S; 1] {
        let one = || S::lit(1.0);
        let t = smooth(t, self.smoothing, 0.5);
        // `1 - p` of a logit from the logit: subtracted, nothing is left of it where `p` is almost 1.
        let (p, q, entropy) = match self.logits {
            true => (x.clone().sigmoid(), (-x.clone()).sigmoid(), x.clone().softplus() - x * t.clone()),
            false => (x.clone(), one() - x.clone(), binary_term(t.clone(), x)),
        };
        let wrong = t.clone() * q + (one() - t.clone()) * p;
        let loss = focus(wrong, self.gamma) * entropy;
        [match self.alpha {
            Some(alpha) => loss * (t.clone() * S::lit(alpha) + (one() - t) * S::lit(1.0 - alpha)),
            None => loss,
        }]
    }
}

/// Targets in the shape of the predictions, each between 0 and 1.
fn align_probabilities<V: Ops>(name: &'static str, y_true: &V, y_pred: &V) -> Result<(V, V)> {
    let (y_true, y_pred) = align(name, y_true, y_pred)?;
    if y_true.tensor().dtype() != DType::Bool {
        Tensor::apply(&Probabilities { name }, &[y_true.tensor()]).map_err(kiln_autograd::Error::unplaced)?;
    }
    Ok((y_true, y_pred))
}

impl BinaryCrossentropy {
    fn elements<V: Ops>(&self, y_true: &V, y_pred: &V) -> Result<Elements<V>> {
        let (name, smoothing) = ("binary_crossentropy", self.label_smoothing);
        let (y_true, y_pred) = align_probabilities(name, y_true, y_pred)?;
        let [elements] = match self.from_logits {
            true => V::elementwise(BinaryLogits { smoothing }, [&y_true, &y_pred])?,
            false => V::elementwise(Binary { smoothing }, [&y_true, &y_pred])?,
        };
        mean_along(elements, self.axis)
    }
}

impl BinaryFocalCrossentropy {
    fn elements<V: Ops>(&self, y_true: &V, y_pred: &V) -> Result<Elements<V>> {
        let name = "binary_focal_crossentropy";
        let (y_true, y_pred) = align_probabilities(name, y_true, y_pred)?;
        let f = BinaryFocal {
            alpha: self.apply_class_balancing.then_some(self.alpha),
            gamma: self.gamma,
            smoothing: self.label_smoothing,
            logits: self.from_logits,
        };
        let [elements] = V::elementwise(f, [&y_true, &y_pred])?;
        mean_along(elements, self.axis)
    }
}

/// The mean of the terms of the labels, along the last axis only when the loss is reduced.
fn mean_along<V: Ops>(terms: V, axis: isize) -> Result<Elements<V>> {
    if axis == -1 || axis + 1 == terms.tensor().rank() as isize {
        return Ok(Elements::new(terms, Fold::Mean));
    }
    Ok(Elements::new(terms.mean(axis)?, Fold::Done))
}

/// Sums the terms of the classes, along the last axis only when the loss is reduced.
fn over_classes<V: Ops>(terms: V, axis: isize) -> Result<Elements<V>> {
    if axis == -1 || axis + 1 == terms.tensor().rank() as isize {
        return Ok(Elements::new(terms, Fold::Sum));
    }
    Ok(Elements::new(terms.sum(axis)?, Fold::Done))
}

/// 1 / classes.
fn even_share(name: &str, y_pred: &Tensor, axis: isize) -> Result<f64> {
    let axis = y_pred.shape().axis(name, axis)?;
    Ok(1.0 / y_pred.shape().get(axis).copied().unwrap_or(1) as f64)
}

impl CategoricalCrossentropy {
    fn elements<V: Ops>(&self, y_true: &V, y_pred: &V) -> Result<Elements<V>> {
        let (name, smoothing, axis) = ("categorical_crossentropy", self.label_smoothing, self.axis);
        let (y_true, y_pred) = align_probabilities(name, y_true, y_pred)?;
        let middle = even_share(name, y_pred.tensor(), axis)?;
        let [terms] = match self.from_logits {
            true => V::elementwise(CategoricalLogits { smoothing, middle }, [&y_true, &y_pred.log_softmax(axis)?])?,
            false => {
                let f = Categorical { smoothing, middle, focal: None };
                V::elementwise(f, [&y_true, &y_pred, &y_pred.sum(keep(axis))?])?
            }
        };
        over_classes(terms, axis)
    }
}

impl CategoricalFocalCrossentropy {
    fn elements<V: Ops>(&self, y_true: &V, y_pred: &V) -> Result<Elements<V>> {
        let (name, axis) = ("categorical_focal_crossentropy", self.axis);
        let (gamma, smoothing) = (self.gamma, self.label_smoothing);
        let (y_true, y_pred) = align_probabilities(name, y_true, y_pred)?;
        let middle = even_share(name, y_pred.tensor(), axis)?;
        // Several factors are not a setting of the function: they are an operand beside it.
        let (alpha, each) = match self.alpha[..] {
            [alpha] => (alpha, None),
            _ => (1.0, Some(self.factors(name, y_pred.tensor())?)),
        };
        let [mut terms] = match self.from_logits {
            true => {
                V::elementwise(FocalLogits { alpha, gamma, smoothing, middle }, [&y_true, &y_pred.log_softmax(axis)?])?
            }
            false => {
                let f = Categorical { smoothing, middle, focal: Some((alpha, gamma)) };
                V::elementwise(f, [&y_true, &y_pred, &y_pred.sum(keep(axis))?])?
            }
        };
        if let Some(each) = each {
            terms = terms.mul(&V::constant(each))?;
        }
        over_classes(terms, axis)
    }

    /// `alpha` along the axis of the classes.
    fn factors(&self, name: &'static str, y_pred: &Tensor) -> Result<Tensor> {
        let shape = y_pred.shape();
        let axis = shape.axis(name, self.axis)?;
        if shape[axis] != self.alpha.len() {
            let text = format!("{} factors alpha for {} classes", self.alpha.len(), shape[axis]);
            return Err(kiln_autograd::Error::shape(name, text).help("give one number, or one for each class").into());
        }
        let mut dims = vec![1; shape.rank()];
        dims[axis] = self.alpha.len();
        Ok(y_pred.beside(Tensor::from_slice(&self.alpha, dims)?.cast(y_pred.dtype())?)?)
    }
}

impl SparseCategoricalCrossentropy {
    fn elements<V: Ops>(&self, y_true: &V, y_pred: &V) -> Result<Elements<V>> {
        let name = "sparse_categorical_crossentropy";
        let (labels, counts) = class_ids(name, y_true.tensor(), y_pred.tensor(), self.ignore_class)?;
        let (labels, valid) = (V::constant(labels), counts);
        // Whatever the model gave where the label is ignored, NaN too, neither the loss nor a gradient sees it.
        let y_pred = &match &valid {
            Some(valid) => replace(y_pred, &V::constant(valid.unsqueeze(-1)?), FILLER)?,
            None => y_pred.clone(),
        };
        let elements = match self.from_logits {
            true => y_pred.cross_entropy(&labels)?,
            false => {
                let chosen = y_pred.gather(-1, &labels.unsqueeze(-1)?)?;
                let [loss] = V::elementwise(Chosen {}, [&chosen, &y_pred.sum(keep(-1))?])?;
                loss.squeeze(-1)?
            }
        };
        Ok(Elements { elements, fold: Fold::Done, valid })
    }
}

/// The labels as indices, each checked to be a class; and where one is ignored, which count.
fn class_ids(
    name: &'static str,
    y_true: &Tensor,
    y_pred: &Tensor,
    ignored: Option<i64>,
) -> Result<(Tensor, Option<Tensor>)> {
    let (t, p) = (*y_true.shape(), *y_pred.shape());
    let Some((&classes, samples)) = p.split_last() else {
        let error = kiln_autograd::Error::shape(name, "predictions need an axis of classes, found a single number");
        return Err(error.help("the last layer needs one unit for each class").into());
    };
    let column = t.rank() == p.rank() && t.last() == Some(&1) && t[..samples.len()] == *samples;
    if t[..] != *samples && !column {
        let text = format!("labels of shape {t} do not fit predictions of shape {p}");
        let help = match t == p {
            true => "the labels look one-hot: use categorical_crossentropy".to_owned(),
            // A layer that saw rows of images gives a prediction for each row.
            false if t.rank() == 1 && p.rank() > 2 => {
                "the model gives more than one prediction for a sample: did you forget Flatten?".to_owned()
            }
            false => format!("give one class id for each row of predictions: shape {samples:?}"),
        };
        return Err(kiln_autograd::Error::shape(name, text).help(help).into());
    }
    let checked = Tensor::apply(&ClassIds { name, classes, ignored }, &[&y_true.reshape(samples)?]);
    let mut checked = checked.map_err(kiln_autograd::Error::unplaced)?.into_iter();
    Ok((checked.next().expect("ids are the first result"), checked.next()))
}

/// Labels of any shape as indices, each checked to be a class.
pub(super) fn checked_ids(name: &'static str, labels: &Tensor, classes: usize) -> Result<Tensor> {
    let checked = Tensor::apply(&ClassIds { name, classes, ignored: None }, &[labels]);
    Ok(checked.map_err(kiln_autograd::Error::unplaced)?.one()?)
}

impl CategoricalGeneralizedCrossEntropy {
    fn elements<V: Ops>(&self, y_true: &V, y_pred: &V) -> Result<Elements<V>> {
        let name = "categorical_generalized_cross_entropy";
        let (labels, _) = class_ids(name, y_true.tensor(), y_pred.tensor(), None)?;
        let right = y_pred.gather(-1, &V::constant(labels).unsqueeze(-1)?)?.squeeze(-1)?;
        let [elements] = V::elementwise(Generalized { q: self.q }, [&right, &right])?;
        Ok(Elements::new(elements, Fold::Done))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::Loss;
    use kiln_autograd::ops::{CastOps, MathOps};
    use kiln_autograd::{Tensor, Var, value_and_grad};

    /// The value and the gradient of a loss of one target and one prediction.
    fn run(loss: &dyn Loss, t: &[f64], p: &[f64]) -> (f64, Vec<f64>) {
        let tensor = |x: &[f64]| Tensor::from_vec(x.to_vec(), [1, x.len()]).unwrap();
        let y_true = Var::new(tensor(t));
        let (value, gradient) = value_and_grad(|p| Ok(loss.call(&y_true, &p[0], None).unwrap()), &[tensor(p)]).unwrap();
        (value.item().unwrap(), gradient[0].to_vec_as())
    }

    fn close(a: f64, b: f64, tolerance: f64) -> bool {
        (a - b).abs() <= tolerance * (1.0 + b.abs())
    }

    /// Keras's formula, as its documentation and Lin et al. have it: each factor by itself.
    fn focal(t: f64, x: f64, loss: &BinaryFocalCrossentropy) -> f64 {
        let p = if loss.from_logits { 1.0 / (1.0 + (-x).exp()) } else { x };
        let t = t * (1.0 - loss.label_smoothing) + 0.5 * loss.label_smoothing;
        let clipped = p.clamp(1e-7, 1.0 - 1e-7);
        let entropy = -t * clipped.ln() - (1.0 - t) * (1.0 - clipped).ln();
        let p_t = t * p + (1.0 - t) * (1.0 - p);
        let balance = if loss.apply_class_balancing { t * loss.alpha + (1.0 - t) * (1.0 - loss.alpha) } else { 1.0 };
        balance * (1.0 - p_t).powf(loss.gamma) * entropy
    }

    #[test]
    fn binary_focal_is_keras_formula_whatever_its_settings() {
        for balancing in [false, true] {
            for alpha in [0.0, 0.25, 0.75, 1.0] {
                for gamma in [0.0, 0.5, 1.0, 2.0, 3.7] {
                    for smoothing in [0.0, 0.1, 1.0] {
                        for from_logits in [false, true] {
                            let loss = BinaryFocalCrossentropy::new().apply_class_balancing(balancing).alpha(alpha);
                            let loss = loss.gamma(gamma).label_smoothing(smoothing).from_logits(from_logits);
                            let points = match from_logits {
                                true => [-9.0, -2.5, -0.1, 0.0, 0.7, 3.0, 11.0],
                                false => [1e-4, 0.1, 0.4, 0.5, 0.6, 0.93, 0.9999],
                            };
                            for (t, x) in [0.0, 0.3, 1.0].iter().flat_map(|&t| points.map(|x| (t, x))) {
                                let (value, gradient) = run(&loss, &[t], &[x]);
                                assert!(close(value, focal(t, x, &loss), 1e-12), "{loss:?} {t} {x}: {value}");
                                let h = 1e-5 * (1.0 - x).min(x).clamp(1e-2, 1.0);
                                let slope = (focal(t, x + h, &loss) - focal(t, x - h, &loss)) / (2.0 * h);
                                assert!(close(gradient[0], slope, 1e-4), "{loss:?} {t} {x}: {gradient:?} {slope}");
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn focal_losses_of_certain_predictions_are_finite_and_so_are_their_gradients() {
        for gamma in [0.0, 0.5, 1.0, 2.0] {
            for t in [[0.0, 1.0], [1.0, 0.0]] {
                let binary = BinaryFocalCrossentropy::new().gamma(gamma);
                let categorical = CategoricalFocalCrossentropy::new().gamma(gamma);
                for loss in [&binary as &dyn Loss, &categorical] {
                    let (value, gradient) = run(loss, &t, &[0.0, 1.0]);
                    assert!(value.is_finite() && gradient.iter().all(|g| g.is_finite()), "{loss:?} {gradient:?}");
                    let logits = loss.with_logits().unwrap();
                    let (value, gradient) = run(&*logits, &t, &[-500.0, 500.0]);
                    assert!(value.is_finite() && gradient.iter().all(|g| g.is_finite()), "{loss:?} {gradient:?}");
                }
            }
        }
    }

    #[test]
    fn padded_rows_do_not_dilute_the_mean() {
        let loss = SparseCategoricalCrossentropy::new().from_logits(true).ignore_class(-100);
        let run = |labels: &[i64], weight: Option<&[f64]>, reduction| {
            let labels = Var::new(Tensor::from_vec(labels.to_vec(), [labels.len()]).unwrap());
            let weight = weight.map(|w| Var::new(Tensor::from_vec(w.to_vec(), [w.len()]).unwrap()));
            let logits = Tensor::zeros([labels.tensor().count(), 2]).unwrap().cast(DType::F64).unwrap();
            let loss = loss.clone().reduction(reduction);
            let (value, gradient) =
                value_and_grad(|x| Ok(loss.call(&labels, &x[0], weight.as_ref()).unwrap()), &[logits]).unwrap();
            (value.item().unwrap(), gradient[0].to_vec_as::<f64>())
        };
        use crate::losses::Reduction;
        let mean = Reduction::SumOverBatchSize;
        let ln2 = std::f64::consts::LN_2;
        for (labels, padding) in [(&[0_i64][..], 0), (&[0, -100], 1), (&[0, -100, -100, -100], 3)] {
            let (value, gradient) = run(labels, None, mean);
            assert!((value - ln2).abs() < 1e-15, "{value}");
            assert_eq!(gradient, [vec![-0.5, 0.5], vec![0.0; 2 * padding]].concat());
        }
        // The weights of the valid rows alone are what the weighted mean is divided by.
        let weighted = run(&[0, 1, -100], Some(&[3.0, 1.0, 50.0]), Reduction::MeanWithSampleWeight);
        assert!((weighted.0 - ln2).abs() < 1e-15, "{weighted:?}");
        assert_eq!(weighted.1, [-0.375, 0.375, 0.125, -0.125, 0.0, 0.0]);
        for weight in [None, Some(&[2.0, 0.0][..])] {
            assert_eq!(run(&[-100, -100], weight, mean), (0.0, vec![0.0; 4]));
        }
    }

    #[test]
    fn probabilities_are_not_taken_for_logits() {
        let rows = [
            [0.1, 0.2, 0.7, 0.0, 0.0],
            [0.7, 0.1, 0.1, 0.1, 0.0],
            [0.2, 0.2, 0.2, 0.2, 0.2],
            [0.0, 0.3, 0.3, 0.2, 0.2],
        ];
        let (labels, rows) = (Var::new(Tensor::new([2, 0, 4, 1])), Tensor::new(rows));
        let loss = SparseCategoricalCrossentropy::new();
        for (loss, want) in [(loss.clone(), 0.881_690_151), (loss.from_logits(true), 1.354_197)] {
            let (value, gradient) =
                value_and_grad(|p| Ok(loss.call(&labels, &p[0], None).unwrap()), std::slice::from_ref(&rows)).unwrap();
            assert!((value.item().unwrap() - want).abs() < 1e-6, "{value:?}");
            assert!(gradient[0].to_vec_as::<f64>().iter().all(|g| g.is_finite()));
        }
    }

    #[test]
    fn smoothing_counts_the_classes_on_their_axis() {
        // [N, C, T]: three classes on axis 1, two steps on the last.
        let y_true = Tensor::new([[[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]]);
        let y_pred = Tensor::new([[[0.8, 0.1], [0.1, 0.8], [0.1, 0.1]]]);
        let logits = y_pred.log().unwrap();
        for axis in [1_isize, -2] {
            let loss = CategoricalCrossentropy::new().label_smoothing(0.1).axis(axis);
            for (loss, p) in [(loss.clone(), &y_pred), (loss.from_logits(true), &logits)] {
                for value in loss.values(&y_true, p).unwrap().to_vec_as::<f64>() {
                    assert!((value - 0.361_772_987).abs() < 1e-8, "{value}");
                }
            }
            let focal = CategoricalFocalCrossentropy::new().label_smoothing(0.1).axis(axis).gamma(0.0).alpha(1.0);
            for value in focal.values(&y_true, &y_pred).unwrap().to_vec_as::<f64>() {
                assert!((value - 0.361_772_987).abs() < 1e-8, "{value}");
            }
        }
    }

    #[test]
    fn classes_have_factors_of_their_own() {
        let y_true = Tensor::new([[1.0, 0.0], [0.0, 1.0]]);
        let y_pred = Tensor::new([[0.75, 0.25], [0.5, 0.5]]);
        let of = |alpha: Numbers| CategoricalFocalCrossentropy::new().alpha(alpha).values(&y_true, &y_pred);
        let one = of(1.0.into()).unwrap().to_vec_as::<f64>();
        let each = of([0.25, 0.5].into()).unwrap().to_vec_as::<f64>();
        assert!((each[0] - one[0] * 0.25).abs() < 1e-12 && (each[1] - one[1] * 0.5).abs() < 1e-12, "{each:?}");
        assert!(of([0.1, 0.2, 0.3].into()).unwrap_err().to_string().contains("3 factors alpha for 2 classes"));
        let loss = CategoricalFocalCrossentropy::new().alpha([0.25, 0.5]);
        assert_eq!(loss.arguments()["alpha"], serde_json::json!([0.25, 0.5]));
    }

    #[test]
    fn a_column_of_weights_makes_a_column_of_losses() {
        let y = Var::new(Tensor::new([[1.0, 0.0], [0.0, 1.0]]));
        let weights = Var::new(Tensor::new([[2.0], [1.0]]));
        let loss = BinaryCrossentropy::new().reduction(crate::losses::Reduction::None);
        let of = |weights: &Var| loss.call(&y, &y, Some(weights)).unwrap().tensor().shape().to_vec();
        assert_eq!(of(&weights), [2, 1]);
        assert_eq!(of(&Var::new(Tensor::new([2.0, 1.0]))), [2]);
        // Over the first axis of a sample, a loss is left for each of the others.
        let y = Tensor::ones([2, 3, 4]).unwrap();
        assert_eq!(BinaryCrossentropy::new().axis(1_isize).values(&y, &y).unwrap().shape()[..], [2, 4]);
    }

    #[test]
    fn settings_of_focal_losses_have_ranges() {
        let fails = |loss: &dyn Loss| {
            let x = Var::new(Tensor::new([[0.5, 0.5]]));
            loss.call(&x, &x, None).unwrap_err().to_string()
        };
        for gamma in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(fails(&BinaryFocalCrossentropy::new().gamma(gamma)).contains("gamma is"));
            assert!(fails(&CategoricalFocalCrossentropy::new().gamma(gamma)).contains("gamma is"));
        }
        for alpha in [-0.1, 1.5, f64::NAN] {
            assert!(fails(&BinaryFocalCrossentropy::new().alpha(alpha)).contains("from 0 to 1"));
        }
        assert!(fails(&CategoricalFocalCrossentropy::new().alpha(f64::INFINITY)).contains("alpha is inf"));
    }
}
