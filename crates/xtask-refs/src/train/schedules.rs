//! Schedules: the rate at each step.

use crate::Stop;
use crate::compare::Tolerance;
use crate::files::{number, numbers, text};
use kiln::nn::schedules::Schedule;
use serde_json::{Map, Value, json};

pub(super) fn run(entry: &Value) -> Result<(), Stop> {
    let (name, config) = (text(entry, "schedule"), entry.get("config"));
    if name == "ReduceLROnPlateau" {
        return super::callbacks::torch_plateau(entry);
    }
    let schedule = match text(entry, "library") {
        "torch" => torch(name, config, entry.get("base_lr").and_then(number).unwrap_or(0.0))?,
        _ => keras(name, config)?,
    };
    let want = entry.get("values").and_then(numbers).unwrap_or_default();
    let got: Vec<f64> = (0..want.len() as u64).map(|step| schedule.rate(step)).collect();
    Ok(Tolerance::of(entry, "tol").numbers("rate", &got, &want)?)
}

/// A schedule of Keras; the names of the arguments are the same.
pub(super) fn keras(name: &str, config: Option<&Value>) -> Result<Schedule, Stop> {
    read(name, config.cloned().unwrap_or(json!({})))
}

fn read(name: &str, config: Value) -> Result<Schedule, Stop> {
    serde_json::from_value(json!({ "name": name, "config": config }))
        .map_err(|error| Stop::Unsupported(format!("schedule {name}: {error}")))
}

/// A name of PyTorch's, and ours.
type Names = (&'static str, &'static str);

/// PyTorch's schedules and arguments, and ours.
const TORCH: &[(&str, &str, &[Names])] = &[
    ("StepLR", "StepDecay", &[("step_size", "step_size"), ("gamma", "gamma")]),
    ("MultiStepLR", "MultiStepDecay", &[("milestones", "milestones"), ("gamma", "gamma")]),
    ("ExponentialLR", "ExponentialDecay", &[("gamma", "decay_rate")]),
    ("CosineAnnealingLR", "CosineAnnealing", &[("T_max", "period"), ("eta_min", "minimum")]),
    (
        "CosineAnnealingWarmRestarts",
        "CosineWarmRestarts",
        &[("T_0", "period"), ("T_mult", "growth"), ("eta_min", "minimum")],
    ),
    ("PolynomialLR", "PolynomialDecay", &[("total_iters", "decay_steps"), ("power", "power")]),
    (
        "LinearLR",
        "Linear",
        &[("start_factor", "start_factor"), ("end_factor", "end_factor"), ("total_iters", "total_steps")],
    ),
    ("ConstantLR", "Constant", &[("factor", "factor"), ("total_iters", "total_steps")]),
    (
        "OneCycleLR",
        "OneCycle",
        &[
            ("max_lr", "max_learning_rate"),
            ("total_steps", "total_steps"),
            ("pct_start", "pct_start"),
            ("div_factor", "div_factor"),
            ("final_div_factor", "final_div_factor"),
            ("three_phase", "three_phase"),
        ],
    ),
    (
        "CyclicLR",
        "Cyclic",
        &[
            ("base_lr", "base_learning_rate"),
            ("max_lr", "max_learning_rate"),
            ("step_size_up", "step_size_up"),
            ("step_size_down", "step_size_down"),
            ("gamma", "gamma"),
        ],
    ),
];

fn torch(name: &str, config: Option<&Value>, base: f64) -> Result<Schedule, Stop> {
    if name == "SequentialLR" {
        return sequential(config.unwrap_or(&Value::Null), base);
    }
    let Some((_, ours, arguments)) = TORCH.iter().find(|row| row.0 == name) else {
        return Stop::unsupported(format!("schedule {name}"));
    };
    let mut translated = Map::new();
    // What PyTorch takes from the optimizer or does not let one choose.
    match *ours {
        "OneCycle" | "Cyclic" => {}
        _ => drop(translated.insert("initial_learning_rate".into(), json!(base))),
    }
    match *ours {
        "ExponentialDecay" => drop(translated.insert("decay_steps".into(), json!(1))),
        "PolynomialDecay" => {
            translated.insert("end_learning_rate".into(), json!(0.0));
            translated.insert("decay_steps".into(), json!(5));
        }
        _ => {}
    }
    let given = |argument: &str| config.and_then(|config| config.get(argument));
    if let (Some(epochs), Some(steps)) = (given("epochs"), given("steps_per_epoch")) {
        translated.insert("total_steps".into(), json!(epochs.as_u64().zip(steps.as_u64()).map(|(a, b)| a * b)));
    }
    for (argument, value) in config.and_then(Value::as_object).into_iter().flatten() {
        match (argument.as_str(), value.as_str()) {
            // These are of momentum, or said above, or hold in one mode only.
            ("cycle_momentum" | "base_momentum" | "max_momentum" | "epochs" | "steps_per_epoch", _) => continue,
            ("gamma", _) if name == "CyclicLR" && given("mode") != Some(&json!("exp_range")) => continue,
            ("mode", Some("triangular" | "exp_range")) | ("anneal_strategy", Some("cos")) => continue,
            ("mode", Some("triangular2")) => {
                translated.insert("cycle_decay".into(), json!(0.5));
                continue;
            }
            ("anneal_strategy", Some("linear")) => {
                translated.insert("linear".into(), json!(true));
                continue;
            }
            _ => {}
        }
        let Some((_, setting)) = arguments.iter().find(|(torch, _)| torch == argument) else {
            return Stop::unsupported(format!("schedule {name}: {argument}"));
        };
        translated.insert((*setting).to_owned(), value.clone());
    }
    read(ours, Value::Object(translated))
}

fn sequential(config: &Value, base: f64) -> Result<Schedule, Stop> {
    let mut parts = Vec::new();
    for part in config.get("parts").and_then(Value::as_array).into_iter().flatten() {
        let schedule = torch(text(part, "schedule"), part.get("config"), base)?;
        parts.push(serde_json::to_value(schedule).unwrap_or_default());
    }
    read("SequentialSchedule", json!({ "schedules": parts, "milestones": config.get("milestones") }))
}
