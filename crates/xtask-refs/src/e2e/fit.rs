//! Keras's runs, through the API that programs use: `compile`, `fit`, `evaluate`, `predict`.

use super::call::Call;
use super::{layers, tolerance};
use crate::Stop;
use crate::compare::Tolerance;
use crate::files::{Manifest, number, numbers, text};
use crate::train::{callbacks, optimizers, supported};
use kiln::autograd::{DType, Tensor};
use kiln::nn::metrics::{self, Metric};
use kiln::nn::module::{load_parameters, named_parameters};
use kiln::nn::{Network, losses};
use kiln::train::callbacks::{Mode, TerminateOnNaN};
use kiln::train::{ClassWeight, Compile, Dataset, Fit, History, Logs, Model, Verbosity};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(super) fn run(manifest: &Manifest) -> Result<(), Stop> {
    let mut model = compiled(manifest)?;
    let names = weight_names(&model, manifest);
    if names.len() != manifest.list("weights").len() {
        return Err(Stop::Failed(format!("{} weights, expected {}", names.len(), manifest.list("weights").len())));
    }
    load_parameters(model.module_mut(), |path| {
        let (_, theirs) = names.iter().find(|(ours, _)| ours == path)?;
        manifest.tensor(&format!("init.{theirs}")).ok().cloned()
    })?;
    let settings = Settings::read(manifest)?;
    let history = model.fit(&settings.train, settings.fit()?).map_err(failed)?;
    compare_history(manifest, &history)?;
    let evaluated = model.evaluate(&pair(manifest, "x", "y")?).map_err(failed)?;
    compare_logs(tolerance(manifest, "history"), &evaluated, manifest.json.get("evaluate_on_x_y"))?;
    let close = tolerance(manifest, "weights");
    for ((_, theirs), (_, tensor)) in names.iter().zip(named_parameters(model.module())) {
        let key = format!("final.{theirs}");
        close.tensors(&key, &tensor, manifest.tensor(&key)?)?;
    }
    let predicted = model.predict(manifest.tensor("x")?).map_err(failed)?;
    Ok(close.tensors("predict", &predicted, manifest.tensor("predict")?)?)
}

fn failed(error: kiln::train::Error) -> Stop {
    Stop::Failed(error.to_string())
}

fn compiled(manifest: &Manifest) -> Result<Model<Network>, Stop> {
    let dtype = match manifest.text("dtype") {
        "f64" => DType::F64,
        "f32" => DType::F32,
        other => return Stop::unsupported(format!("models of {other}")),
    };
    let module = layers::model(manifest.list("layers"))?.dtype(dtype);
    let given = manifest.json.get("optimizer").unwrap_or(&Value::Null);
    let optimizer = optimizers::keras(&json!({ "optimizer": text(given, "name"), "config": given.get("config") }))?;
    let loss = Call::read(manifest.text("loss"))?;
    let loss = supported(&loss.name.clone(), losses::from_config(&loss.settings()?))?;
    let model = module.compile(optimizer, loss, list_of_metrics(manifest, "metrics")?).map_err(failed)?;
    model.weighted_metrics(list_of_metrics(manifest, "weighted_metrics")?).map_err(failed)
}

fn list_of_metrics(manifest: &Manifest, key: &str) -> Result<Vec<Box<dyn Metric>>, Stop> {
    let entries = manifest.json.get(key).and_then(Value::as_object).into_iter().flatten();
    let metric = |(name, text): (&String, &Value)| {
        let call = Call::read(text.as_str().unwrap_or_default())?;
        let mut metric = supported(&call.name.clone(), metrics::from_config(&call.settings()?))?;
        metric.rename(name);
        Ok(metric)
    };
    entries.map(metric).collect()
}

/// Each of the model's weights with its name in the file, where layers that have weights are numbered. Where the two libraries
/// call what is inside of a layer by different names, as both directions of one, the order tells.
fn weight_names(model: &Model<Network>, manifest: &Manifest) -> Vec<(String, String)> {
    let parameters = named_parameters(model.module());
    let known: Vec<&str> = manifest.list("weights").iter().map(|weight| text(weight, "name")).collect();
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    for (path, _) in &parameters {
        let (layer, next) = (path.split('/').next().unwrap_or_default(), numbers.len());
        numbers.entry(layer).or_insert(next);
    }
    let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let name = |(i, (path, _)): (usize, &(String, Tensor))| {
        let (layer, weight) = path.split_once('/').unwrap_or((path, ""));
        let theirs = format!("{}.{}/{weight}", numbers.get(layer).copied().unwrap_or(0), without_number(layer));
        let placed = known.get(i).filter(|name| last(name) == last(path) && !known.contains(&theirs.as_str()));
        (path.clone(), placed.map_or(theirs, |name| (*name).to_owned()))
    };
    parameters.iter().enumerate().map(name).collect()
}

/// `conv2d_1` as `conv2d`.
fn without_number(layer: &str) -> &str {
    match layer.rsplit_once('_') {
        Some((class, number)) if !number.is_empty() && number.chars().all(|c| c.is_ascii_digit()) => class,
        _ => layer,
    }
}

fn pair(manifest: &Manifest, x: &str, y: &str) -> Result<Dataset, Stop> {
    Dataset::new(manifest.tensor(x)?.clone(), manifest.tensor(y)?.clone()).map_err(failed)
}

/// What `fit` is given, as the manifest says it.
struct Settings<'m> {
    given: Vec<(&'m str, &'m Value)>,
    train: Dataset,
    validation: Option<Dataset>,
}

impl<'m> Settings<'m> {
    fn read(manifest: &'m Manifest) -> Result<Settings<'m>, Stop> {
        let given = manifest.json.get("fit").and_then(Value::as_object).into_iter().flatten();
        let given: Vec<(&str, &Value)> = given.filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.as_str(), v)).collect();
        let find = |key: &str| given.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
        let weighted = |data: Dataset, name: Option<&str>| match name {
            Some(name) => data.sample_weight(manifest.tensor(name)?.clone()).map_err(failed),
            None => Ok(data),
        };
        let train = weighted(pair(manifest, "x", "y")?, find("sample_weight").and_then(Value::as_str))?;
        let names: Option<Vec<&str>> =
            find("validation_data").and_then(Value::as_array).map(|all| all.iter().filter_map(Value::as_str).collect());
        let validation = match names.as_deref() {
            None => None,
            Some([x, y]) => Some(pair(manifest, x, y)?),
            Some([x, y, weight]) => Some(weighted(pair(manifest, x, y)?, Some(weight))?),
            Some(other) => return Stop::unsupported(format!("validation_data {other:?}")),
        };
        Ok(Settings { given, train, validation })
    }

    fn fit(&self) -> Result<Fit<'_>, Stop> {
        let mut fit = Fit::new().verbose(Verbosity::Silent);
        let mut shuffled = true;
        for (name, value) in &self.given {
            let size = value.as_u64().unwrap_or(0) as usize;
            fit = match *name {
                "batch_size" => fit.batch_size(size),
                "epochs" => fit.epochs(size),
                "initial_epoch" => fit.initial_epoch(size),
                "validation_freq" => fit.validation_freq(size),
                "validation_batch_size" => fit.validation_batch_size(size),
                // Keras takes the last samples.
                "validation_split" if number(value) == Some(0.0) => fit,
                "validation_split" => fit.validation_last(number(value).unwrap_or(f64::NAN)),
                "class_weight" => fit.class_weight(class_weight(value)?),
                "shuffle" => {
                    shuffled = value.as_bool().unwrap_or(true);
                    fit.shuffle(shuffled)
                }
                "callbacks" => self.callbacks(fit, value)?,
                "sample_weight" | "validation_data" | "verbose" => fit,
                other => return Stop::unsupported(format!("fit: {other}")),
            };
        }
        if shuffled {
            return Stop::unsupported("fit: shuffled samples");
        }
        Ok(match &self.validation {
            Some(data) => fit.validation_data(data),
            None => fit,
        })
    }

    fn callbacks<'f>(&self, mut fit: Fit<'f>, list: &Value) -> Result<Fit<'f>, Stop> {
        for (name, config) in
            list.as_array().into_iter().flatten().flat_map(|entry| entry.as_object().into_iter().flatten())
        {
            fit = match name.as_str() {
                "EarlyStopping" => fit.callback(callbacks::early_stopping(config, Mode::Auto)?),
                "ReduceLROnPlateau" => fit.callback(callbacks::plateau(config, Mode::Auto)?),
                "TerminateOnNaN" => fit.callback(TerminateOnNaN::new()),
                other => return Stop::unsupported(format!("the callback {other}")),
            };
        }
        Ok(fit)
    }
}

fn class_weight(value: &Value) -> Result<ClassWeight, Stop> {
    let entries = value.as_object().into_iter().flatten();
    let weights: Option<Vec<(usize, f64)>> =
        entries.map(|(class, weight)| Some((class.parse().ok()?, number(weight)?))).collect();
    weights.map(ClassWeight::Weights).ok_or_else(|| Stop::Unsupported(format!("class_weight {value}")))
}

fn compare_history(manifest: &Manifest, history: &History) -> Result<(), Stop> {
    let epochs = manifest.json.get("epochs_run").and_then(Value::as_u64).unwrap_or(0) as usize;
    if history.len() != epochs {
        return Err(Stop::Failed(format!("{} epochs were run, expected {epochs}", history.len())));
    }
    let close = tolerance(manifest, "history");
    let want = manifest.json.get("history").and_then(Value::as_object).cloned().unwrap_or_default();
    same_names(history.names().collect(), want.keys().map(String::as_str).collect())?;
    for (name, series) in &want {
        let got = history.get(name).unwrap_or_default();
        // An epoch without validation has a gap here; Keras's list is shorter.
        let got: Vec<f64> = got
            .iter()
            .copied()
            .filter(|x| !x.is_nan() || series.as_array().is_some_and(|s| s.len() == epochs))
            .collect();
        close.numbers(&format!("history.{name}"), &got, &numbers(series).unwrap_or_default())?;
    }
    Ok(())
}

fn compare_logs(close: Tolerance, logs: &Logs, want: Option<&Value>) -> Result<(), Stop> {
    let want = want.and_then(Value::as_object).cloned().unwrap_or_default();
    same_names(logs.names().collect(), want.keys().map(String::as_str).collect())?;
    for (name, value) in &want {
        let got = logs.get(name).unwrap_or(f64::NAN);
        close.numbers(&format!("evaluate.{name}"), &[got], &numbers(value).unwrap_or_default())?;
    }
    Ok(())
}

fn same_names(mut got: Vec<&str>, mut want: Vec<&str>) -> Result<(), Stop> {
    got.sort_unstable();
    want.sort_unstable();
    match got == want {
        true => Ok(()),
        false => Err(Stop::Failed(format!("the values are {got:?}, expected {want:?}"))),
    }
}
