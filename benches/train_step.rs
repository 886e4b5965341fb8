//! Whole training runs under the names and with the sizes that the peer scripts use, for comparison in one run.
//!
//! `cargo bench --bench train_step -- --json FILE [WORKLOAD …]` appends a row of JSON for each workload to FILE. With
//! `FASHION_MNIST` naming the folder of that set's four IDX files the digit workloads run on it, else on a stand-in; with
//! `KILN_BENCH_ISA=avx2` as on a machine without AVX-512.

mod limit;

use kiln::prelude::*;
use std::io::Write;
use std::time::Instant;

/// Name, batch size, epochs. The first epoch warms up and does not count.
const WORKLOADS: &[(&str, usize, usize)] = &[
    ("w1-mlp-b32", 32, 5),
    ("w1-mlp-b128", 128, 6),
    ("w1-mlp-b1024", 1024, 6),
    ("w2-cnn-b32", 32, 6),
    ("w2-cnn-b128", 128, 6),
];

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

/// The most memory that this process has held, in MB.
fn peak_memory_mb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kb| kb / 1024)
}

fn run(name: &str, batch: usize, epochs: usize, started: Instant) -> Result<serde_json::Value> {
    let image = name.starts_with("w2");
    let (train, validation) = if image {
        (stand_in(10_000, &[32, 32, 3], 1)?, None)
    } else {
        let (train, test) = digits()?;
        (train, Some(test))
    };
    let mut model = if image { cnn()? } else { mlp()? };
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
    let first_epoch_s = train.len() as f64 / rates.remove(0);
    rates.sort_by(f64::total_cmp);
    let median = (rates[(rates.len() - 1) / 2] + rates[rates.len() / 2]) / 2.0;
    Ok(serde_json::json!({
        "workload": name,
        "peer": "kiln",
        "version": env!("CARGO_PKG_VERSION"),
        "variant": "fit",
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
        "first_epoch_s": first_epoch_s,
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
            // Cargo passes these to every bench.
            "--bench" => {}
            other if other.starts_with('-') => return Err(format!("unknown option {other}").into()),
            name => wanted.push(name.to_owned()),
        }
    }
    if let Some(unknown) = wanted.iter().find(|w| !WORKLOADS.iter().any(|(name, ..)| name == w)) {
        let known: Vec<&str> = WORKLOADS.iter().map(|(name, ..)| *name).collect();
        return Err(format!("there is no workload {unknown}; there are {}", known.join(", ")).into());
    }
    for (name, batch, epochs) in
        WORKLOADS.iter().filter(|(name, ..)| wanted.is_empty() || wanted.iter().any(|w| w == name))
    {
        let row = limit::limited(|| run(name, *batch, *epochs, started))?;
        println!("{name}: {:.0} samples/s, {} MB", row["median"].as_f64().unwrap_or(f64::NAN), row["rss_mb"]);
        if let Some(path) = &json {
            writeln!(std::fs::OpenOptions::new().create(true).append(true).open(path)?, "{row}")?;
        }
    }
    Ok(())
}
