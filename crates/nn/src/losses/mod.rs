//! Losses: what training makes small. Each is one formula over [`Ops`](kiln_autograd::ops::Ops); weights and divisors
//! are in `reduction.rs`.

mod checks;
mod circle;
mod crossentropy;
mod ctc;
mod custom;
mod hinge;
mod macros;
mod overlap;
mod reduction;
mod regression;
mod several;

pub use circle::Circle;
pub use crossentropy::*;
pub use ctc::CTC;
pub use custom::LossFn;
pub use hinge::*;
pub use overlap::*;
pub use reduction::Reduction;
pub use regression::*;
pub use several::{IntoLosses, Losses};

use crate::{Result, config, names};
use kiln_autograd::Var;
use serde_json::Value;
use std::fmt;

/// What a loss takes for targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Targets {
    /// Numbers of the shape of the predictions.
    Values,
    /// 0 or 1 for each prediction.
    Binary,
    /// A row of the classes, 1 for the right one.
    OneHot,
    /// The number of the right class.
    ClassIds,
}

/// A function of targets and predictions that training makes small.
///
/// Write your own from a closure with [`LossFn`], or implement this.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no loss",
    note = "give a name such as \"mse\" or a loss such as `losses::Huber::new()`; one of your own implements `Loss`, or is made of a closure by `losses::LossFn::new`"
)]
pub trait Loss: fmt::Debug + Send + Sync {
    /// The name of its type, as in a config.
    fn name(&self) -> &str;

    /// The loss of a batch: one number, or with [`Reduction::None`] the weighted loss of each sample.
    ///
    /// # Shapes
    /// Targets and predictions `[N, …]` as the loss says, weights `[N]` or one for each value.
    ///
    /// # Errors
    /// Shapes or labels that do not fit; a setting out of its range.
    fn call(&self, y_true: &Var, y_pred: &Var, sample_weight: Option<&Var>) -> Result<Var>;

    /// How the losses of the samples become one number.
    fn reduction(&self) -> Reduction {
        Reduction::default()
    }

    /// The label whose samples do not count, if there is one.
    fn ignored(&self) -> Option<i64> {
        None
    }

    /// What it takes for targets.
    fn targets(&self) -> Targets {
        Targets::Values
    }

    /// The activation that makes of logits what this loss wants: "softmax", "sigmoid".
    fn link(&self) -> Option<&'static str> {
        None
    }

    /// Whether it takes logits as it is.
    fn takes_logits(&self) -> bool {
        false
    }

    /// Whether the loss of a sample is one of pairs with the others, of which none can then be left out: one that weighs nothing has no
    /// loss itself, and takes part in those of the others.
    fn is_of_pairs(&self) -> bool {
        false
    }

    /// The same loss of the logits, for a model that ends in the activation [`Loss::link`] names: then the two are one
    /// stable function.
    fn with_logits(&self) -> Option<Box<dyn Loss>> {
        None
    }

    /// Checks the settings, when a model is compiled with it.
    ///
    /// # Errors
    /// A setting that cannot work, with its range.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// The settings, as in a config; null where it has none that can be written.
    fn arguments(&self) -> Value;

    /// A copy.
    fn boxed(&self) -> Box<dyn Loss>;
}

impl dyn Loss {
    /// The loss as `{"name": …, "config": …}`; [`from_config`] reads it back.
    pub fn to_config(&self) -> Value {
        config::write(self.name(), self.arguments())
    }
}

impl Clone for Box<dyn Loss> {
    fn clone(&self) -> Self {
        self.boxed()
    }
}

/// What `compile` takes for a loss: a name, or a loss with its settings.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no loss",
    note = "give a name such as \"mse\" or a loss such as `losses::Huber::new()`; one of your own implements `Loss`, or is made of a closure by `losses::LossFn::new`"
)]
pub trait IntoLoss {
    /// Converts.
    ///
    /// # Errors
    /// A name that is none; a setting out of its range.
    fn into_loss(self) -> Result<Box<dyn Loss>>;
}

impl IntoLoss for &str {
    fn into_loss(self) -> Result<Box<dyn Loss>> {
        from_name(self)
    }
}

impl IntoLoss for String {
    fn into_loss(self) -> Result<Box<dyn Loss>> {
        from_name(&self)
    }
}

impl<L: Loss + 'static> IntoLoss for L {
    fn into_loss(self) -> Result<Box<dyn Loss>> {
        (Box::new(self) as Box<dyn Loss>).into_loss()
    }
}

impl IntoLoss for Box<dyn Loss> {
    fn into_loss(self) -> Result<Box<dyn Loss>> {
        self.check().map(|()| self)
    }
}

type Build = fn(Value) -> Result<Box<dyn Loss>>;

macro_rules! table {
    ($($($name:literal)+ => $loss:ident;)*) => {
        /// Every spelling of every loss.
        const TABLE: &[(&[&str], Build)] =
            &[$((&[$($name),+], |arguments| Ok(Box::new(config::read::<$loss>(stringify!($loss), arguments)?)))),*];
    };
}

table! {
    "mean_squared_error" "mse" => MeanSquaredError;
    "mean_absolute_error" "mae" => MeanAbsoluteError;
    "mean_absolute_percentage_error" "mape" => MeanAbsolutePercentageError;
    "mean_squared_logarithmic_error" "msle" => MeanSquaredLogarithmicError;
    "huber" => Huber;
    "log_cosh" => LogCosh;
    "poisson" => Poisson;
    "kl_divergence" "kld" "kullback_leibler_divergence" => KLDivergence;
    "cosine_similarity" => CosineSimilarity;
    "hinge" => Hinge;
    "squared_hinge" => SquaredHinge;
    "categorical_hinge" => CategoricalHinge;
    "binary_crossentropy" "bce" "binary_cross_entropy" => BinaryCrossentropy;
    "binary_focal_crossentropy" => BinaryFocalCrossentropy;
    "categorical_crossentropy" "cce" "categorical_cross_entropy" => CategoricalCrossentropy;
    "categorical_focal_crossentropy" => CategoricalFocalCrossentropy;
    "sparse_categorical_crossentropy" "scce" "sparse_categorical_cross_entropy" => SparseCategoricalCrossentropy;
    "categorical_generalized_cross_entropy" => CategoricalGeneralizedCrossEntropy;
    "dice" => Dice;
    "tversky" => Tversky;
    "circle" => Circle;
    "ctc" => CTC;
}

/// The loss of a name with its default settings: `"mse"`, `"mean_squared_error"` and `"MeanSquaredError"` are one.
///
/// # Errors
/// The name is none; the error has the nearest.
pub fn from_name(name: &str) -> Result<Box<dyn Loss>> {
    names::find("loss", name, TABLE)?(Value::Null)
}

/// The loss that `to_config` wrote.
///
/// # Errors
/// A config of another form, an unknown name or setting, a setting out of its range.
pub fn from_config(config: &Value) -> Result<Box<dyn Loss>> {
    let (name, arguments) = config::parts("loss", config)?;
    names::find("loss", name, TABLE)?(arguments)?.into_loss()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_autograd::ops::CastOps;
    use kiln_autograd::{DType, Tensor, Watch};

    fn call(loss: &str, y_true: Tensor, y_pred: Tensor) -> Result<f64> {
        Ok(from_name(loss)?.call(&Var::new(y_true), &Var::new(y_pred), None)?.tensor().item()?)
    }

    fn message(loss: &str, y_true: Tensor, y_pred: Tensor) -> String {
        call(loss, y_true, y_pred).expect_err("the inputs do not fit").to_string()
    }

    #[test]
    fn columns_and_vectors_are_aligned_and_nothing_else() {
        let (vector, column) = (Tensor::new([1.0, 2.0, 3.0]), Tensor::new([[1.0], [2.0], [4.0]]));
        assert!((call("mse", vector.clone(), column.clone()).unwrap() - 1.0 / 3.0).abs() < 1e-12);
        assert!((call("mse", column.clone(), vector.clone()).unwrap() - 1.0 / 3.0).abs() < 1e-12);
        assert!(call("mse", column, Tensor::new([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]])).is_err());
        assert!(call("mse", vector, Tensor::new([[1.0, 2.0, 3.0]; 3])).is_err());
    }

    #[test]
    fn the_wrong_kind_of_label_names_the_right_loss() {
        let scores = || Tensor::new([[0.2, 0.8], [0.5, 0.5]]);
        let text = message("sparse_categorical_crossentropy", Tensor::new([[0, 1], [1, 0]]), scores());
        assert!(text.contains("use categorical_crossentropy"), "{text}");
        let text = message("categorical_crossentropy", Tensor::new([0, 1]), scores());
        assert!(text.contains("use sparse_categorical_crossentropy"), "{text}");
        let text = message("sparse_categorical_crossentropy", Tensor::new([0, 2]), scores());
        assert!(text.contains("label 2 at position 1"), "{text}");
        let text = message("bce", Tensor::new([[0], [3]]), Tensor::new([[0.5], [0.5]]));
        assert!(text.contains("target 3 at position 1"), "{text}");
        let text = message("bce", Tensor::new([0, 1]), scores());
        assert!(text.contains("use sparse_categorical_crossentropy"), "{text}");
    }

    #[test]
    fn logits_and_probabilities_agree() {
        let logits = Tensor::new([[2.0, -1.0, 0.5], [0.0, 0.3, -0.2]]);
        let labels = Var::new(Tensor::new([2, 0]));
        use kiln_autograd::ops::SoftmaxOps;
        let loss = SparseCategoricalCrossentropy::new();
        let a = loss.call(&labels, &Var::new(logits.softmax(-1).unwrap()), None).unwrap();
        let twin = loss.with_logits().unwrap();
        let b = twin.call(&labels, &Var::new(logits), None).unwrap();
        assert!((a.tensor().item().unwrap() - b.tensor().item().unwrap()).abs() < 1e-12);
        assert!(twin.takes_logits() && !loss.takes_logits());
    }

    /// The loss and its gradient with respect to the predictions.
    fn with_gradient(loss: &dyn Loss, y_true: &Tensor, y_pred: &Tensor, weight: Option<&Tensor>) -> (f64, Vec<f64>) {
        let weight = weight.map(|w| Var::new(w.clone()));
        let (value, gradient) = kiln_autograd::value_and_grad(
            |p| Ok(loss.call(&Var::new(y_true.clone()), &p[0], weight.as_ref()).unwrap()),
            std::slice::from_ref(y_pred),
        )
        .unwrap();
        (value.item().unwrap(), gradient[0].to_vec_as())
    }

    #[test]
    fn a_sample_of_weight_0_does_not_count_whatever_it_holds() {
        let weight = Tensor::new([0.5, 0.0]);
        for (names, _) in TABLE {
            let loss = from_name(names[0]).unwrap();
            let ids = loss.targets() == Targets::ClassIds;
            let loss: Box<dyn Loss> = match names[0] {
                "dice" => Box::new(Dice::new().axis([1])),
                "tversky" => Box::new(Tversky::new().axis([1])),
                // Logits of steps; its own tests have this one.
                "ctc" => continue,
                _ if loss.is_of_pairs() => continue,
                _ => loss,
            };
            for loss in [Some(loss.clone()), loss.with_logits()].into_iter().flatten() {
                let run = |[a, b]: [f64; 2], label: f64| {
                    let y_true = match ids {
                        true => Tensor::new([1.0, label]),
                        false => Tensor::new([[0.0, 1.0], [label, label]]),
                    };
                    with_gradient(&*loss, &y_true, &Tensor::new([[0.25, 0.5], [a, b]]), Some(&weight))
                };
                let (want, gradient) = run([0.5, 0.5], 0.0);
                assert!(want.is_finite() && gradient[..2].iter().all(|g| g.is_finite()), "{}", loss.name());
                for bad in [[f64::NAN, 0.5], [f64::INFINITY; 2], [f64::NEG_INFINITY, 3.0], [1e300, -1e300]] {
                    for label in [0.0, 1.0, f64::NAN, -1.0] {
                        let (value, got) = run(bad, label);
                        assert_eq!((value, &got[..2]), (want, &gradient[..2]), "{} {bad:?} {label}", loss.name());
                        assert_eq!(got[2..], [0.0, 0.0], "{} {bad:?} {label}", loss.name());
                    }
                }
            }
        }
        use kiln_autograd::ops::{ArithmeticOps, StatisticsOps};
        let custom = LossFn::new("custom", |t, p| Ok(p.sub(t)?.mean(-1)?));
        let (t, p) = (Tensor::new([[1.0], [f64::NAN]]), Tensor::new([[3.0], [f64::INFINITY]]));
        assert_eq!(with_gradient(&custom, &t, &p, Some(&weight)), (0.5, vec![0.25, 0.0]));
    }

    #[test]
    fn cosines_make_nothing_infinite_on_the_way() {
        let watch = Watch::new();
        let loss = CosineSimilarity::new().reduction(Reduction::Sum);
        for (row, cosine, gradient) in [
            ([0.0f32, 0.0], 0.0, [0.0, 0.0]),
            // Shorter than 1e-7, by which both are divided then.
            ([3e-9, 4e-9], 2.5e-3, [-3e5, -4e5]),
            ([2e38, 3e38], 1.0, [0.0, 0.0]),
        ] {
            let rows = Tensor::new([[0.6, 0.8], row]);
            let (value, got) = with_gradient(&loss, &watch.input("t", &rows), &watch.input("p", &rows), None);
            assert!((value + 1.0 + cosine).abs() < 1e-6, "{row:?} {value}");
            for (got, want) in got[2..].iter().zip(gradient) {
                assert!((got - want).abs() <= 1e-6 * f64::abs(want), "{row:?} {got} {want}");
            }
        }
    }

    #[test]
    fn a_mean_may_have_a_sum_beyond_its_numbers() {
        let ones = Tensor::full([70_000, 1], 1.0).unwrap().cast(DType::F16).unwrap();
        let zeros = Tensor::zeros([70_000, 1]).unwrap().cast(DType::F16).unwrap();
        let weight = Tensor::ones([70_000]).unwrap();
        for weight in [None, Some(&weight)] {
            let (value, gradient) = with_gradient(&MeanSquaredError::new(), &zeros, &ones, weight);
            assert_eq!(value, 1.0);
            assert!((gradient[0] - 2.0 / 70_000.0).abs() < 1e-7, "{}", gradient[0]);
        }
        let (far, zeros, weight) =
            (Tensor::full([7, 3], 1e19f32).unwrap(), Tensor::zeros([7, 3]).unwrap(), Tensor::ones([7]));
        for weight in [None, Some(&weight.unwrap())] {
            let (value, gradient) = with_gradient(&MeanSquaredError::new(), &zeros, &far, weight);
            assert!((value / 1e38 - 1.0).abs() < 1e-6 && (gradient[0] / 2e19 * 21.0 - 1.0).abs() < 1e-6, "{value}");
        }
    }

    #[test]
    fn weights_of_values_find_their_place_before_the_axis_of_the_classes() {
        let loss = CategoricalCrossentropy::new().axis(1_isize).from_logits(true);
        // [N, C, T] with a weight for each of [N, T].
        let y_true = Tensor::new([[[1.0, 0.0], [0.0, 1.0]]]);
        let y_pred = Tensor::new([[[0.0, f64::NAN], [0.0, 1.0]]]);
        let weight = Tensor::new([[1.0, 0.0]]);
        let (value, gradient) = with_gradient(&loss, &y_true, &y_pred, Some(&weight));
        assert!((value - 2f64.ln() / 2.0).abs() < 1e-12, "{value}");
        assert_eq!(gradient, [-0.25, 0.0, 0.25, 0.0]);
    }

    #[test]
    fn an_ignored_class_does_not_count_whatever_its_row_holds() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let (labels, rows) = (Tensor::new([0, 7]), Tensor::new([[0.0, 0.0], [bad, 0.0]]));
            let loss = SparseCategoricalCrossentropy::new().ignore_class(7).from_logits(true);
            let (value, gradient) = with_gradient(&loss, &labels, &rows, None);
            assert!((value - 2f64.ln()).abs() < 1e-12, "{value}");
            assert_eq!(gradient, [-0.5, 0.5, 0.0, 0.0]);
            let rows = Tensor::new([[0.5, 0.5], [bad, 0.0]]);
            let (value, gradient) = with_gradient(&loss.clone().from_logits(false), &labels, &rows, None);
            assert!((value - 2f64.ln()).abs() < 1e-12, "{value}");
            assert_eq!(gradient[2..], [0.0, 0.0]);
            // All ignored: nothing to learn from, so the loss is 0.
            let all = Tensor::new([7, 7]);
            for reduction in [Reduction::SumOverBatchSize, Reduction::Sum, Reduction::MeanWithSampleWeight] {
                let (value, gradient) = with_gradient(&loss.clone().reduction(reduction), &all, &rows, None);
                assert_eq!((value, gradient), (0.0, vec![0.0; 4]));
            }
        }
    }

    #[test]
    fn a_vector_of_zeros_has_no_direction() {
        let loss = CosineSimilarity::new();
        let (zero, other) = (Tensor::new([[0.0, 0.0, 0.0]]), Tensor::new([[1.0, -2.0, 0.5]]));
        for (t, p) in [(&zero, &other), (&other, &zero), (&zero, &zero)] {
            let (value, gradient) = with_gradient(&loss, t, p, None);
            assert_eq!((value, gradient), (0.0, vec![0.0; 3]));
            assert!(value.is_sign_positive());
        }
        for size in [1e-200, 1e200] {
            let (value, gradient) = with_gradient(&loss, &other, &Tensor::new([[3.0 * size, 0.0, 4.0 * size]]), None);
            assert_eq!(value.is_finite(), gradient.iter().all(|g| g.is_finite()));
            let want = if size < 1.0 { 0.0 } else { -1.0 / 5.25f64.sqrt() };
            assert!((value - want).abs() < 1e-12, "{value}");
        }
        let mut metric = crate::metrics::from_name("cosine_similarity").unwrap();
        metric.update(&other, &zero, None).unwrap();
        assert_eq!(metric.result().to_bits(), 0);
    }

    #[test]
    fn a_vanishing_loss_has_no_sign() {
        let certain = Tensor::new([[100.0, -100.0], [-100.0, 100.0]]);
        let one_hot = Tensor::new([[1.0, 0.0], [0.0, 1.0]]);
        for (names, _) in TABLE.iter().filter(|(names, _)| names[0] != "ctc") {
            let loss = from_name(names[0]).unwrap();
            let y_true = if loss.targets() == Targets::ClassIds { Tensor::new([0, 1]) } else { one_hot.clone() };
            for reduction in [Reduction::Sum, Reduction::Mean, Reduction::MeanWithSampleWeight] {
                let mut config = loss.with_logits().unwrap_or_else(|| loss.clone()).to_config();
                config["config"]["reduction"] = serde_json::json!(reduction);
                let loss = from_config(&config).unwrap();
                let y_pred = if loss.takes_logits() { certain.clone() } else { one_hot.clone() };
                for weight in [None, Some(Tensor::new([1.0, 1.0])), Some(Tensor::new([-1.0, 0.0]))] {
                    if weight.is_some() && ["Dice", "Tversky"].contains(&loss.name()) {
                        continue;
                    }
                    let (value, _) = with_gradient(&*loss, &y_true, &y_pred, weight.as_ref());
                    assert!(value != 0.0 || value.is_sign_positive(), "{config} {weight:?}");
                }
            }
        }
    }

    #[test]
    fn configs_come_back() {
        for (names, _) in TABLE {
            let loss = from_name(names[0]).unwrap();
            let config = loss.to_config();
            assert_eq!(from_config(&config).unwrap().to_config(), config, "{config}");
        }
        let config = Huber::new().delta(2.0).reduction(Reduction::Sum).into_loss().unwrap().to_config();
        assert_eq!(config["config"]["delta"], 2.0);
        let wrong = serde_json::json!({"name": "huber", "config": {"dleta": 2.0}});
        assert!(from_config(&wrong).unwrap_err().to_string().contains("dleta"));
    }

    #[test]
    fn every_number_of_every_loss_has_a_range() {
        let x = || Var::new(Tensor::new([[0.25, 0.5], [0.5, 0.25]]));
        for (names, build) in TABLE {
            let config = from_name(names[0]).unwrap().to_config()["config"].clone();
            let numbers = config.as_object().unwrap().iter().filter(|(_, value)| value.is_f64());
            for (setting, _) in numbers {
                let mut wrong = config.clone();
                wrong[setting] = serde_json::json!(-0.5);
                let loss = build(wrong).unwrap();
                for error in [loss.clone().into_loss().err(), loss.call(&x(), &x(), None).err()] {
                    let text = error.expect("a setting out of its range").to_string();
                    assert!(text.starts_with(&format!("{}: {setting} is -0.5\n  help: give", names[0])), "{text}");
                }
            }
        }
        for bad in [f64::NAN, f64::INFINITY, -1.0] {
            let wrong: [Box<dyn Loss>; 8] = [
                Box::new(Huber::new().delta(bad)),
                Box::new(Tversky::new().alpha(bad)),
                Box::new(Tversky::new().beta(bad)),
                Box::new(BinaryCrossentropy::new().label_smoothing(bad)),
                Box::new(CategoricalCrossentropy::new().label_smoothing(bad)),
                Box::new(BinaryFocalCrossentropy::new().gamma(bad)),
                Box::new(CategoricalFocalCrossentropy::new().alpha(bad)),
                Box::new(CategoricalGeneralizedCrossEntropy::new().q(bad)),
            ];
            for loss in wrong {
                assert!(loss.call(&x(), &x(), None).is_err() && loss.check().is_err(), "{loss:?}");
            }
            assert!(Huber::new().delta(bad).values(&x(), &x()).is_err());
        }
        assert!(Huber::new().delta(0.0).into_loss().is_err());
    }

    #[test]
    fn log_cosh_has_its_digits_near_0_and_far_from_it() {
        let loss = LogCosh::new();
        for x in [0.0, 1e-15, 1e-4, -1e-4, 0.01, -0.5, 0.999_999, 1.0, 1.000_001, -3.0, 80.0, -1e30] {
            // cosh x - 1 is 2 sinh²(x / 2).
            let want = match f64::abs(x) < 20.0 {
                true => (2.0 * f64::sinh(x / 2.0).powi(2)).ln_1p(),
                false => x.abs() - std::f64::consts::LN_2,
            };
            for (dtype, digits) in [(DType::F32, 4e-7), (DType::F64, 1e-12)] {
                let at = |x: f64| Tensor::new([[x]]).cast(dtype).unwrap();
                let (value, gradient) = with_gradient(&loss, &at(0.0), &at(x), None);
                // In single precision 1.000001 is another number.
                let moved = at(x).to_vec_as::<f64>()[0] - x;
                let want = want + moved * x.tanh();
                assert!((value - want).abs() <= digits * want.abs(), "{dtype} {x}: {value} {want}");
                let (slope, want) = (gradient[0], x.tanh());
                assert!((slope - want).abs() <= digits * want.abs(), "{dtype} {x}: {slope} {want}");
            }
        }
        let nan = with_gradient(&loss, &Tensor::new([[0.0]]), &Tensor::new([[f64::NAN]]), None);
        assert!(nan.0.is_nan() && nan.1[0].is_nan());
    }
}
