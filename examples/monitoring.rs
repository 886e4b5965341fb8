//! A digit classifier after its deployment: samples come, labels come later, the world changes, the monitor tells, and a model that was
//! trained further on the new samples takes the place of the old one, because it is better on samples that neither has seen.
//!
//! Runs in seconds: `cargo run --release --example monitoring`. Expect no event while digits are as they were; input drift and then a
//! drop of the accuracy when the scanner begins to write pale digits on grey paper; and a challenger that is promoted. Writes
//! `target/monitoring/monitoring.png`.

use clap::Parser;
use kiln::nn::ops::*;
use kiln::prelude::*;
use kiln::train::monitor::{Challenge, Monitor, Reference};
use std::path::PathBuf;

#[derive(Parser)]
#[command(about = "Watches a deployed digit classifier, and retrains it.")]
struct Options {
    /// Where the picture goes
    #[arg(long, default_value = "target/monitoring")]
    out: PathBuf,
    /// The folder of MNIST's files, instead of the digits that come with Kiln
    #[arg(long)]
    data: Option<PathBuf>,
}

/// What another scanner makes of the same digits: pale, on grey paper, with noise.
fn pale(data: &Dataset, seed: u64) -> Result<Dataset> {
    let x = data.x()?;
    let noise = Key::new(seed).normal(x.shape(), 0.0, 0.15)?;
    Dataset::new(x.mul(0.35)?.add(0.45)?.add(&noise)?.clamp(0.0, 1.0)?, data.y().clone())
}

fn main() -> Result<()> {
    let options = Options::parse();
    let (all, test) = match &options.data {
        Some(folder) => datasets::mnist(folder)?,
        None => datasets::digits()?,
    };
    let folder = std::env::temp_dir().join(format!("kiln-monitoring-{}", std::process::id()));
    let path = folder.join("digits.safetensors");

    // Before: a model, with the reference in its file. The samples to come are kept apart.
    let (train, future) = all.split_stratified(0.5, 1)?;
    let mut model = Sequential::new([28, 28])
        .add(Flatten::new())
        .add(Dense::new(64).activation("relu"))
        .add(Dense::new(10).activation("softmax"))
        .compile("adam", "sparse_categorical_crossentropy", ["accuracy"])?;
    model.fit(&train, Fit::new().epochs(15).verbose(Verbosity::Silent))?;
    model.set_reference(Reference::new(&model, &test)?);
    model.save(&path)?;

    // After: another process reads it. In the eighth batch of samples the scanner is another one.
    let model = Model::load(&path)?;
    let reference = model.reference().expect("it was saved").clone();
    let mut monitor = Monitor::new(&model, reference)?.window(100)?.tolerance(0.1)?;
    let mut waiting = Vec::new();
    let mut collected = Vec::new();
    for day in 0..12 {
        let samples = future.split_stratified(0.2, day)?.1.take(100.min(future.len() / 5))?;
        let samples = if day < 7 { samples } else { pale(&samples, day)? };
        let x = samples.x()?;
        let numbers = monitor.observe(&x, &model.predict(&x)?)?;
        // Labels come two days late.
        waiting.push((numbers, samples.clone()));
        if waiting.len() > 2 {
            let (numbers, labelled) = waiting.remove(0);
            monitor.label(numbers, labelled.y())?;
            if day >= 9 {
                collected.push(labelled);
            }
        }
        for event in monitor.take_events() {
            println!("day {:2}: {event}", day + 1);
        }
    }
    println!("\n{monitor}\n");
    monitor.plot(options.out.join("monitoring.png"))?;

    // Retraining: from where the model is, on old samples and on those new ones that have labels by now.
    let mut x = vec![train.x()?];
    let mut y = vec![train.y().clone()];
    for labelled in &collected {
        x.push(labelled.x()?);
        y.push(labelled.y().cast(train.y().dtype())?);
    }
    let joined = |all: &[Tensor]| concat(&all.iter().collect::<Vec<_>>(), 0);
    let data = Dataset::new(joined(&x)?, joined(&y)?)?;
    let mut challenger = model.clone();
    challenger.fit(&data, Fit::new().epochs(15).verbose(Verbosity::Silent))?;
    // Both are judged by the same samples: those of today's scanner that nobody was trained on.
    let held_out = pale(&test, 99)?;
    challenger.set_reference(Reference::new(&challenger, &held_out)?);
    let verdict = Challenge::new("accuracy").min_gain(0.01).promote(&path, &model, &challenger, &held_out)?;
    println!("{verdict}");
    println!("and on digits of the old scanner: {}", challenger.evaluate(&test)?);
    let _ = std::fs::remove_dir_all(folder);
    Ok(())
}
