//! Whole training runs under the names and with the sizes that the peer scripts use, for comparison in one run.
//!
//! `cargo bench --bench train_step -- [--json FILE] [FILTER …]` runs the workloads whose names contain a filter, and appends a row of JSON
//! for each to FILE. Cargo gives what criterion's benches are told to this one too: their options are passed over. With
//! `FASHION_MNIST` naming the folder of that set's four IDX files the digit workloads run on it, else on a stand-in; with
//! `KILN_BENCH_ISA=avx2` as on a machine without AVX-512, with `KILN_BENCH_DEVICE=cuda` (and the feature) on a GPU.

mod limit;

use kiln::prelude::*;
use std::io::Write;
use std::time::Instant;

/// How long a workload runs.
#[derive(Clone, Copy)]
enum Length {
    /// The first epoch warms up and does not count.
    Epochs(usize),
    /// Steps of [`Model::train_on_batch`], after those that make a plan.
    Steps(usize),
}

/// Name, batch size, length.
const WORKLOADS: &[(&str, usize, Length)] = &[
    ("w1-mlp-b32", 32, Length::Epochs(5)),
    ("w1-mlp-b128", 128, Length::Epochs(6)),
    ("w1-mlp-b1024", 1024, Length::Epochs(6)),
    ("w2-cnn-b32", 32, Length::Epochs(6)),
    ("w2-cnn-b128", 128, Length::Epochs(6)),
    ("w3-lenet-b64", 64, Length::Epochs(6)),
    ("w4-resnet18", 64, Length::Steps(6)),
    ("w5-gpt", 16, Length::Steps(20)),
    ("w6-lstm", 64, Length::Steps(100)),
];

/// Steps that warm up: the first makes tensors, the second a plan, the third compares the two.
const WARM: usize = 5;

fn mlp() -> Result<Model> {
    Sequential::new([28, 28])
        .add(Flatten::new())
        .add(Dense::new(128).activation("relu"))
        .add(Dense::new(10).activation("softmax"))
        .compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
}

fn cnn() -> Result<Model> {
    Sequential::new([32, 32, 3])
        .add(Conv2D::new(16, 3).activation("relu"))
        .add(MaxPooling2D::new(2))
        .add(Conv2D::new(32, 3).activation("relu"))
        .add(MaxPooling2D::new(2))
        .add(Flatten::new())
        .add(Dense::new(10).activation("softmax"))
        .compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
}

fn lenet() -> Result<Model> {
    Sequential::new([28, 28, 1])
        .add(Conv2D::new(32, 3).activation("relu"))
        .add(Conv2D::new(64, 3).activation("relu"))
        .add(MaxPooling2D::new(2))
        .add(Dropout::new(0.25))
        .add(Flatten::new())
        .add(Dense::new(128).activation("relu"))
        .add(Dropout::new(0.5))
        .add(Dense::new(10).activation("softmax"))
        .compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
}

/// ResNet-18 for small images: 3 x 3 convolutions at the beginning, no pooling after them.
fn resnet() -> Result<Model> {
    let conv = |filters: usize, size: usize, stride: usize| {
        Conv2D::new(filters, size).strides(stride).padding(Padding::Same).use_bias(false)
    };
    let norm = || BatchNormalization::new().momentum(0.9).epsilon(1e-5);
    let x = Input::new([32, 32, 3]);
    let mut h = ReLU::new().on(&norm().on(&conv(64, 3, 1).on(&x)?)?)?;
    let mut channels = 64;
    for (filters, stride) in [(64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)] {
        let inner = ReLU::new().on(&norm().on(&conv(filters, 3, stride).on(&h)?)?)?;
        let inner = norm().on(&conv(filters, 3, 1).on(&inner)?)?;
        if stride != 1 || channels != filters {
            h = norm().on(&conv(filters, 1, stride).on(&h)?)?;
        }
        h = ReLU::new().on(&Add::new().on([&inner, &h])?)?;
        channels = filters;
    }
    let y = Dense::new(10).activation("softmax").on(&GlobalAveragePooling2D::new().on(&h)?)?;
    let sgd = optimizers::SGD::new(0.05).momentum(0.9);
    Functional::new(&x, &y)?.compile(sgd, "sparse_categorical_crossentropy", ())
}

/// A language model of bytes: 4 blocks of 256 features and 4 heads, over 128 steps.
fn gpt() -> Result<Model> {
    let x = Input::new([128]);
    let mut h = PositionEmbedding::new(128).on(&Embedding::new(256, 256).on(&x)?)?;
    for _ in 0..4 {
        h = TransformerDecoder::new(1024, 4).activation("gelu").normalize_first(true).on(&h)?;
    }
    let h = LayerNormalization::new().epsilon(1e-5).on(&h)?;
    let y = Dense::new(256).activation("softmax").on(&h)?;
    Functional::new(&x, &y)?.compile(optimizers::AdamW::new(3e-4), "sparse_categorical_crossentropy", ())
}

fn lstm() -> Result<Model> {
    Sequential::new([64, 32]).add(LSTM::new(128)).add(Dense::new(1)).compile("adam", "mse", ())
}

/// A model with batches for it, one after the other.
fn stepped(name: &str, batch: usize, steps: usize) -> Result<(Model, Vec<(Tensor, Tensor)>)> {
    let key = |i: usize| Key::new(5).fold(i as u64);
    let numbers =
        |key: Key, n: usize, below: u64| (0..n as u64).map(|i| key.below(i, below) as i64).collect::<Vec<_>>();
    let made = |i: usize| -> Result<(Tensor, Tensor)> {
        Ok(match name {
            "w4-resnet18" => {
                let x = key(i).normal([batch, 32, 32, 3], 0.0, 1.0)?;
                (x, Tensor::from_vec(numbers(key(i).fold(1), batch, 10), [batch])?)
            }
            "w5-gpt" => {
                let tokens = Tensor::from_vec(numbers(key(i), batch * 129, 256), [batch, 129])?;
                // Copies, as a loader makes them: plans are for what lies dense.
                let part = |range: std::ops::Range<isize>| -> Result<Tensor> {
                    Ok(Tensor::from_vec(tokens.slice(1, range)?.to_vec::<i64>()?, [batch, 128])?)
                };
                (part(0..128)?, part(1..129)?)
            }
            _ => {
                let x = key(i).normal([batch, 64, 32], 0.0, 1.0)?;
                let y = x.slice(1, -8..)?.slice(2, ..1)?.sum(1)?.tanh()?;
                (x, y)
            }
        })
    };
    let model = match name {
        "w4-resnet18" => resnet()?,
        "w5-gpt" => gpt()?,
        _ => lstm()?,
    };
    // As many different ones as the peers have, at most so many in memory.
    Ok((model, (0..steps.min(16)).map(made).collect::<Result<_>>()?))
}

/// Samples a second of each step, and what the last one logs.
fn run_steps(name: &str, batch: usize, steps: usize) -> Result<(Vec<f64>, Logs)> {
    let (mut model, batches) = stepped(name, batch, steps)?;
    model.to(device()?)?;
    let (mut rates, mut logs) = (Vec::new(), Logs::new());
    for step in 0..WARM + steps {
        let (x, y) = &batches[step % batches.len()];
        let begun = Instant::now();
        logs = model.train_on_batch(x, y)?;
        if step >= WARM {
            rates.push(batch as f64 / begun.elapsed().as_secs_f64());
        }
    }
    Ok((rates, logs))
}

/// Images around one random prototype for each of ten classes, made a block at a time to keep the peak of memory low.
fn stand_in(n: usize, shape: &[usize], seed: u64) -> Result<Dataset> {
    const ROWS: usize = 100;
    let key = Key::new(7);
    let pixels: usize = shape.iter().product();
    let prototypes = key.normal([10, pixels], 0.0, 0.3)?;
    let labels: Vec<i64> = (0..n as u64).map(|i| key.fold(seed).below(i, 10) as i64).collect();
    let mut x = Vec::with_capacity(n * pixels);
    for (i, labels) in labels.chunks(ROWS).enumerate() {
        let rows = prototypes.index_select(0, &Tensor::from_slice(labels, [labels.len()])?)?;
        let noise = key.fold(seed + 1).fold(i as u64).normal([labels.len(), pixels], 0.0, 1.0)?;
        x.extend(rows.add(&noise)?.to_vec::<f32>()?);
    }
    Dataset::new(Tensor::from_vec(x, [&[n], shape].concat())?, Tensor::from_vec(labels, [n])?)
}

fn digits() -> Result<(Dataset, Dataset)> {
    match std::env::var_os("FASHION_MNIST").filter(|folder| !folder.is_empty()) {
        Some(folder) => datasets::mnist(folder),
        None => Ok((stand_in(60_000, &[28, 28], 1)?, stand_in(10_000, &[28, 28], 3)?)),
    }
}

/// Where the models are trained.
fn device() -> Result<Device> {
    Ok(match std::env::var("KILN_BENCH_DEVICE") {
        Ok(name) if !name.is_empty() => name.parse::<Device>().map_err(kiln::nn::Error::from)?,
        _ => Device::Cpu,
    })
}

/// The most memory that this process has held, in MB.
fn peak_memory_mb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kb| kb / 1024)
}

/// Samples a second of each epoch, and what the last one logs of training and of validation.
fn run_epochs(name: &str, batch: usize, epochs: usize) -> Result<(Vec<f64>, Logs, Logs)> {
    let image = name.starts_with("w2");
    let (train, validation) = if image {
        (stand_in(10_000, &[32, 32, 3], 1)?, None)
    } else {
        let (train, test) = digits()?;
        match name {
            // With the channel that convolutions want.
            "w3-lenet-b64" => {
                let part = train.take(6400)?;
                (Dataset::new(part.x()?.unsqueeze(-1)?, part.y().clone())?, None)
            }
            _ => (train, Some(test)),
        }
    };
    let mut model = match name {
        "w3-lenet-b64" => lenet()?,
        _ if image => cnn()?,
        _ => mlp()?,
    };
    model.to(device()?)?;
    let (mut rates, mut last, mut validated) = (Vec::new(), Logs::new(), Logs::new());
    for epoch in 0..epochs {
        let fit = Fit::new().initial_epoch(epoch).epochs(epoch + 1).batch_size(batch).verbose(Verbosity::Silent);
        let history = model.fit(&train, fit)?;
        rates.push(train.len() as f64 / history.seconds()[0]);
        last = history.iter().map(|(name, values)| (name, values[0])).collect();
        if let Some(validation) = &validation {
            validated = model.evaluate(validation)?;
        }
    }
    Ok((rates, last, validated))
}

fn run(name: &str, batch: usize, length: Length, started: Instant) -> Result<serde_json::Value> {
    let (mut rates, last, validated, first_epoch) = match length {
        Length::Epochs(epochs) => {
            let (mut rates, last, validated) = run_epochs(name, batch, epochs)?;
            let first = rates.remove(0);
            (rates, last, validated, Some(first))
        }
        Length::Steps(steps) => {
            let (rates, last) = run_steps(name, batch, steps)?;
            (rates, last, Logs::new(), None)
        }
    };
    rates.sort_by(f64::total_cmp);
    let median = (rates[(rates.len() - 1) / 2] + rates[rates.len() / 2]) / 2.0;
    Ok(serde_json::json!({
        "workload": name,
        "peer": "kiln",
        "version": env!("CARGO_PKG_VERSION"),
        "variant": if matches!(length, Length::Epochs(_)) { "fit" } else { "train_on_batch" },
        "device": device()?.description().map_err(kiln::nn::Error::from)?,
        "unit": "samples/s",
        "median": median,
        "min": rates.first(),
        "max": rates.last(),
        "runs": rates.len(),
        "samples_per_s": median,
        "final_loss": last.get("loss"),
        "accuracy": last.get("accuracy"),
        "val_loss": validated.get("loss"),
        "val_accuracy": validated.get("accuracy"),
        "first_epoch_samples_per_s": first_epoch,
        "rss_mb": peak_memory_mb(),
        "wall_s": started.elapsed().as_secs_f64(),
    }))
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let started = Instant::now();
    let mut wanted = Vec::new();
    let mut json = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => json = Some(arguments.next().ok_or("--json needs a file")?),
            "--bench" => {}
            // Criterion's, with a value.
            "--save-baseline" | "--baseline" | "--baseline-lenient" | "--load-baseline" | "--sample-size"
            | "--warm-up-time" | "--measurement-time" => {
                arguments.next();
            }
            other if other.starts_with('-') => {}
            filter => wanted.push(filter.to_owned()),
        }
    }
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|filter| name.contains(filter.as_str()));
    let chosen: Vec<_> = WORKLOADS.iter().filter(|(name, ..)| is_wanted(name)).collect();
    if chosen.is_empty() {
        let known: Vec<&str> = WORKLOADS.iter().map(|(name, ..)| *name).collect();
        println!("train_step: no workload of {} contains {}", known.join(", "), wanted.join(" or "));
    }
    for (name, batch, length) in chosen {
        let row = limit::limited(|| run(name, *batch, *length, started))?;
        println!("{name}: {:.0} samples/s, {} MB", row["median"].as_f64().unwrap_or(f64::NAN), row["rss_mb"]);
        if let Some(path) = &json {
            writeln!(std::fs::OpenOptions::new().create(true).append(true).open(path)?, "{row}")?;
        }
    }
    Ok(())
}
