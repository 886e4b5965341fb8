//! scikit-learn's scores of whole arrays, by `kiln::scores`.

use crate::Stop;
use crate::compare::Tolerance;
use crate::files::{number, numbers, text};
use kiln::autograd::Tensor;
use kiln::scores::*;
use kiln::train::report::{ClassificationReport, Normalize};
use serde_json::Value;

pub(super) fn run(entry: &Value) -> Result<(), Stop> {
    let (function, call) = (text(entry, "function"), Call::read(entry)?);
    let value = entry.get("value").unwrap_or(&Value::Null);
    if function == "classification_report" {
        return report(entry, &call, value);
    }
    let result = match function {
        "precision_score"
        | "recall_score"
        | "f1_score"
        | "fbeta_score"
        | "jaccard_score"
        | "precision_recall_fscore_support" => decisions(function, &call),
        "roc_auc_score" | "average_precision_score" => areas(function, &call),
        "roc_curve" | "precision_recall_curve" | "det_curve" | "auc" => curves(function, &call),
        _ => labels(function, &call)
            .or_else(|| probabilities(function, &call))
            .or_else(|| regression(function, &call))
            .unwrap_or_else(|| Stop::unsupported(format!("sklearn {function}"))),
    };
    call.all_known()?;
    let want = flat(value).ok_or_else(|| Stop::Failed("the entry's value is no number".into()))?;
    let got = match result {
        // What is not defined is NaN there and an error here.
        Err(Stop::Failed(_)) if want.iter().all(|number| number.is_nan()) => return Ok(()),
        result => result?,
    };
    Ok(Tolerance::of(entry, "tol").numbers(function, &got, &want)?)
}

/// All numbers of a value, null left out.
fn flat(value: &Value) -> Option<Vec<f64>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::Array(items) => Some(items.iter().map(flat).collect::<Option<Vec<_>>>()?.concat()),
        _ => number(value).map(|x| vec![x]),
    }
}

/// An entry's arguments.
struct Call {
    function: String,
    y_true: Tensor,
    second: Tensor,
    weights: Option<Vec<f64>>,
    kwargs: serde_json::Map<String, Value>,
    known: std::cell::RefCell<Vec<&'static str>>,
}

impl Call {
    fn read(entry: &Value) -> Result<Call, Stop> {
        let array = |key: &str| -> Result<Tensor, Stop> {
            let value = entry.get(key).unwrap_or(&Value::Null);
            let Some(values) = numbers(value) else {
                return Stop::unsupported(format!("sklearn {}: {key} is not of numbers", text(entry, "function")));
            };
            let rows = value.as_array().map_or(0, Vec::len);
            match value.get(0).is_some_and(Value::is_array) {
                true => Ok(Tensor::from_slice(&values, [rows, values.len() / rows.max(1)])?),
                false => Ok(Tensor::from_slice(&values, [rows])?),
            }
        };
        Ok(Call {
            function: text(entry, "function").to_owned(),
            y_true: array("y_true")?,
            second: array(text(entry, "second_argument"))?,
            weights: entry.get("sample_weight").and_then(numbers),
            kwargs: entry.get("kwargs").and_then(Value::as_object).cloned().unwrap_or_default(),
            known: std::cell::RefCell::default(),
        })
    }

    /// The argument of a name, if it is given and no null.
    fn get(&self, name: &'static str) -> Option<&Value> {
        self.known.borrow_mut().push(name);
        self.kwargs.get(name).filter(|value| !value.is_null())
    }

    fn number(&self, name: &'static str) -> Option<f64> {
        self.get(name).and_then(number)
    }

    fn bool(&self, name: &'static str) -> Option<bool> {
        self.get(name).and_then(Value::as_bool)
    }

    fn list(&self, name: &'static str) -> Option<Vec<f64>> {
        self.get(name).filter(|value| value.is_array()).and_then(numbers)
    }

    fn text(&self, name: &'static str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }

    /// An argument that nobody asked for is not understood.
    fn all_known(&self) -> Result<(), Stop> {
        match self.kwargs.keys().find(|name| !self.known.borrow().contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => Stop::unsupported(format!("sklearn {}: {name}", self.function)),
        }
    }

    /// The average by its name; `Some(None)` is each class by itself.
    fn average(&self) -> Result<Option<Option<Averaging>>, Stop> {
        self.known.borrow_mut().push("average");
        let Some(value) = self.kwargs.get("average") else { return Ok(None) };
        Ok(Some(match value.as_str() {
            None => None,
            Some("binary") => Some(Averaging::Binary),
            Some("micro") => Some(Averaging::Micro),
            Some("macro") => Some(Averaging::Macro),
            Some("weighted") => Some(Averaging::Weighted),
            Some("samples") => Some(Averaging::Samples),
            Some(other) => return Stop::unsupported(format!("sklearn average {other}")),
        }))
    }
}

/// Options with what the call gives: `given!(call, options, name: getter, …)`.
macro_rules! given {
    ($call:expr, $options:expr $(, $name:ident: $get:ident)*) => {{
        let (call, options) = ($call, $options);
        let options = match &call.weights {
            Some(weights) => options.sample_weight(weights),
            None => options,
        };
        $(let options = match call.$get(stringify!($name)) {
            Some(value) => given!(@ options, $name, $get, value),
            None => options,
        };)*
        options
    }};
    (@ $options:expr, $name:ident, list, $value:expr) => { $options.$name(&$value) };
    (@ $options:expr, $name:ident, number, $value:expr) => { $options.$name($value) };
    (@ $options:expr, $name:ident, bool, $value:expr) => { $options.$name($value) };
}

type Numbers = Result<Vec<f64>, Stop>;

fn one(result: kiln::train::Result<f64>) -> Numbers {
    Ok(vec![result.map_err(|error| Stop::Failed(error.to_string()))?])
}

fn many(result: kiln::train::Result<Vec<f64>>) -> Numbers {
    result.map_err(|error| Stop::Failed(error.to_string()))
}

fn labels(function: &str, call: &Call) -> Option<Numbers> {
    let (t, p) = (&call.y_true, &call.second);
    let weights = || given!(call, WeightOptions::new());
    Some(match function {
        "accuracy_score" => one(accuracy_score(t, p, given!(call, AccuracyOptions::new(), normalize: bool))),
        "zero_one_loss" => one(zero_one_loss(t, p, given!(call, AccuracyOptions::new(), normalize: bool))),
        "hamming_loss" => one(hamming_loss(t, p, weights())),
        "matthews_corrcoef" => one(matthews_corrcoef(t, p, weights())),
        "balanced_accuracy_score" => {
            one(balanced_accuracy_score(t, p, given!(call, BalancedOptions::new(), adjusted: bool)))
        }
        "cohen_kappa_score" => {
            let options = given!(call, KappaOptions::new(), labels: list, replace_undefined_by: number);
            one(cohen_kappa_score(
                t,
                p,
                match call.text("weights") {
                    Some("linear") => options.weights(KappaWeights::Linear),
                    Some("quadratic") => options.weights(KappaWeights::Quadratic),
                    _ => options,
                },
            ))
        }
        "confusion_matrix" => {
            let matrix = confusion_matrix(t, p, given!(call, LabelOptions::new(), labels: list));
            let normalize = match call.text("normalize") {
                Some("true") => Some(Normalize::Truth),
                Some("pred") => Some(Normalize::Predicted),
                Some("all") => Some(Normalize::All),
                _ => None,
            };
            many(matrix.map(|matrix| match normalize {
                Some(by) => matrix.normalized_by(by).concat(),
                None => matrix.counts().to_vec(),
            }))
        }
        _ => return None,
    })
}

fn probabilities(function: &str, call: &Call) -> Option<Numbers> {
    let (t, p) = (&call.y_true, &call.second);
    let brier = || {
        let options = given!(call, BrierOptions::new(), labels: list, pos_label: number);
        match call.bool("scale_by_half") {
            Some(is_halved) => options.scale_by_half(is_halved),
            None => options,
        }
    };
    Some(match function {
        "log_loss" => one(log_loss(t, p, given!(call, LogLossOptions::new(), labels: list, normalize: bool))),
        "d2_log_loss_score" => one(d2_log_loss_score(t, p, given!(call, LabelOptions::new(), labels: list))),
        "brier_score_loss" => one(brier_score_loss(t, p, brier())),
        "d2_brier_score" => one(d2_brier_score(t, p, brier())),
        "hinge_loss" => one(hinge_loss(t, p, given!(call, LabelOptions::new(), labels: list))),
        "top_k_accuracy_score" => {
            let options = given!(call, TopKOptions::new(), labels: list, normalize: bool);
            let k = call.number("k").unwrap_or(2.0);
            one(top_k_accuracy_score(t, p, options.k(k as usize)))
        }
        _ => return None,
    })
}

/// A score of any average: of each class, or one number.
macro_rules! by_average {
    ($call:expr, $options:expr, |$o:ident| $score:expr) => {{
        let options = $options;
        match $call.average()? {
            None => {
                let $o = options;
                one($score)
            }
            Some(Some(average)) => {
                let $o = options.average(average);
                one($score)
            }
            Some(None) => {
                let $o = options.average(Each);
                many($score)
            }
        }
    }};
}

fn decisions(function: &str, call: &Call) -> Numbers {
    let (t, p) = (&call.y_true, &call.second);
    let options = given!(call, ClassOptions::new(), labels: list, pos_label: number, zero_division: number);
    let beta = || call.number("beta").unwrap_or(1.0);
    match function {
        "precision_score" => by_average!(call, options, |o| precision_score(t, p, o)),
        "recall_score" => by_average!(call, options, |o| recall_score(t, p, o)),
        "f1_score" => by_average!(call, options, |o| f1_score(t, p, o)),
        "fbeta_score" => by_average!(call, options, |o| fbeta_score(t, p, beta(), o)),
        "jaccard_score" => by_average!(call, options, |o| jaccard_score(t, p, o)),
        _ => {
            let failed = |error: kiln::train::Error| Stop::Failed(error.to_string());
            match call.average()?.flatten() {
                Some(average) => {
                    let scores = precision_recall_fscore_support(t, p, beta(), options.average(average));
                    scores.map(|s| vec![s.precision, s.recall, s.fscore]).map_err(failed)
                }
                None => {
                    let scores = precision_recall_fscore_support(t, p, beta(), options.average(Each));
                    scores.map(|s| [s.precision, s.recall, s.fscore, s.support].concat()).map_err(failed)
                }
            }
        }
    }
}

fn areas(function: &str, call: &Call) -> Numbers {
    let (t, p) = (&call.y_true, &call.second);
    if function == "average_precision_score" {
        let options = given!(call, PrecisionOptions::new(), pos_label: number);
        return by_average!(call, options, |o| average_precision_score(t, p, o));
    }
    let options = given!(call, RocAucOptions::new(), labels: list, max_fpr: number);
    let options = match call.text("multi_class") {
        Some("ovr") => options.multi_class(MultiClass::Ovr),
        Some("ovo") => options.multi_class(MultiClass::Ovo),
        _ => options,
    };
    by_average!(call, options, |o| roc_auc_score(t, p, o))
}

fn curves(function: &str, call: &Call) -> Numbers {
    let (t, p) = (&call.y_true, &call.second);
    let options = given!(call, CurveOptions::new(), pos_label: number);
    let options = match call.bool("drop_intermediate") {
        Some(drop) => options.drop_intermediate(drop),
        None => options,
    };
    match function {
        "roc_curve" => many(roc_curve(t, p, options).map(|c| [c.fpr, c.tpr, c.thresholds].concat())),
        "det_curve" => many(det_curve(t, p, options).map(|c| [c.fpr, c.fnr, c.thresholds].concat())),
        "auc" => one(auc(t, p)),
        _ => many(precision_recall_curve(t, p, options).map(|c| [c.precision, c.recall, c.thresholds].concat())),
    }
}

/// A score of any average over outputs.
macro_rules! by_output {
    ($call:expr, $options:expr, |$o:ident| $score:expr) => {{
        let options = $options;
        match ($call.text("multioutput"), $call.list("multioutput")) {
            (Some("raw_values"), _) => {
                let $o = options.multioutput(Each);
                many($score)
            }
            (Some("variance_weighted"), _) => {
                let $o = options.multioutput(Multioutput::VarianceWeighted);
                one($score)
            }
            (_, Some(weights)) => {
                let $o = options.multioutput(Multioutput::Weights(weights));
                one($score)
            }
            _ => {
                let $o = options;
                one($score)
            }
        }
    }};
}

fn regression(function: &str, call: &Call) -> Option<Numbers> {
    let (t, p) = (&call.y_true, &call.second);
    let options = || given!(call, RegressionOptions::new());
    let explained = || given!(call, RegressionOptions::new(), force_finite: bool);
    let weights = || given!(call, WeightOptions::new());
    let alpha = || call.number("alpha").unwrap_or(0.5);
    let power = || call.number("power").unwrap_or(0.0);
    Some(match function {
        "mean_squared_error" => by_output!(call, options(), |o| mean_squared_error(t, p, o)),
        "root_mean_squared_error" => by_output!(call, options(), |o| root_mean_squared_error(t, p, o)),
        "mean_absolute_error" => by_output!(call, options(), |o| mean_absolute_error(t, p, o)),
        "mean_absolute_percentage_error" => {
            by_output!(call, options(), |o| mean_absolute_percentage_error(t, p, o))
        }
        "mean_squared_log_error" => by_output!(call, options(), |o| mean_squared_log_error(t, p, o)),
        "root_mean_squared_log_error" => by_output!(call, options(), |o| root_mean_squared_log_error(t, p, o)),
        "median_absolute_error" => by_output!(call, options(), |o| median_absolute_error(t, p, o)),
        "max_error" => one(max_error(t, p)),
        "mean_pinball_loss" => by_output!(call, options(), |o| mean_pinball_loss(t, p, alpha(), o)),
        "r2_score" => by_output!(call, explained(), |o| r2_score(t, p, o)),
        "explained_variance_score" => by_output!(call, explained(), |o| explained_variance_score(t, p, o)),
        "d2_pinball_score" => by_output!(call, options(), |o| d2_pinball_score(t, p, alpha(), o)),
        "d2_absolute_error_score" => by_output!(call, options(), |o| d2_absolute_error_score(t, p, o)),
        "mean_tweedie_deviance" => one(mean_tweedie_deviance(t, p, power(), weights())),
        "mean_poisson_deviance" => one(mean_poisson_deviance(t, p, weights())),
        "mean_gamma_deviance" => one(mean_gamma_deviance(t, p, weights())),
        "d2_tweedie_score" => one(d2_tweedie_score(t, p, power(), weights())),
        _ => return None,
    })
}

/// The report as scikit-learn prints it, or as a map from class to scores.
fn report(entry: &Value, call: &Call, want: &Value) -> Result<(), Stop> {
    let failed = |error: kiln::train::Error| Stop::Failed(error.to_string());
    let options = given!(call, ReportOptions::new(), labels: list, zero_division: number);
    let digits = call.number("digits").unwrap_or(2.0);
    let mut report =
        classification_report(&call.y_true, &call.second, options.digits(digits as usize)).map_err(failed)?;
    if let Some(names) = call.get("target_names").and_then(Value::as_array) {
        report = report.with_names(names.iter().filter_map(Value::as_str)).map_err(failed)?;
    }
    call.get("output_dict");
    call.all_known()?;
    match want.as_object() {
        None => {
            let (got, want) = (report.to_string(), want.as_str().unwrap_or_default());
            if got == want { Ok(()) } else { Err(Stop::Failed(format!("got\n{got}expected\n{want}"))) }
        }
        Some(map) => {
            let row = |name: &str| -> Option<Vec<f64>> { row(&report, name) };
            let (mut got, mut wanted) = (Vec::new(), Vec::new());
            for (name, value) in map {
                got.extend(row(name).ok_or_else(|| Stop::Failed(format!("no row `{name}`")))?);
                match value.as_object() {
                    None => wanted.extend(number(value)),
                    Some(scores) => wanted.extend(
                        ["precision", "recall", "f1-score", "support"]
                            .map(|key| number(&scores[key]).unwrap_or(f64::NAN)),
                    ),
                }
            }
            Ok(Tolerance::of(entry, "tol").numbers("classification_report", &got, &wanted)?)
        }
    }
}

fn row(report: &ClassificationReport, name: &str) -> Option<Vec<f64>> {
    let scores = match name {
        "accuracy" => return Some(vec![report.accuracy]),
        "micro avg" => report.micro_average.as_ref()?,
        "macro avg" => &report.macro_average,
        "weighted avg" => &report.weighted_average,
        "samples avg" => report.samples_average.as_ref()?,
        name => report.get(name)?,
    };
    Some(vec![scores.precision, scores.recall, scores.f1, scores.support])
}
