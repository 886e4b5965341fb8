//! What the learning rate does: rates that are too small, good and too large on handwritten digits, and a sweep that finds a good
//! one before any run.
//!
//! Runs in seconds: `cargo run --release --example learning_rate`. Expect: the sweep suggests a rate between 0.005 and 0.5 for SGD; in
//! ten epochs 0.0001 gets nowhere, the suggested rate reaches an accuracy above 0.85 on the test samples, and 30 learns nothing.
//! Writes `learning_rate_sweep.png` and `learning_rate_runs.png` in `target/learning_rate`; `--data DIR/mnist` takes the whole of MNIST, after
//! `examples/data/get-data.sh DIR mnist`.

use clap::Parser;
use kiln::prelude::*;
use kiln::train::RateFinder;
use kiln::train::plot::ComparePlot;
use kiln::train::search::Value;
use std::num::NonZeroUsize;
use std::path::PathBuf;

#[derive(Parser)]
#[command(about = "Shows the effect of the learning rate.")]
struct Options {
    /// The folder of MNIST's files, instead of the digits that come with Kiln
    #[arg(long)]
    data: Option<PathBuf>,
    #[arg(long, default_value = "10")]
    epochs: NonZeroUsize,
    /// Where the pictures go
    #[arg(long, default_value = "target/learning_rate")]
    out: PathBuf,
}

fn model(rate: f64) -> Result<Model> {
    Sequential::new([28, 28])
        .add(Flatten::new())
        .add(Dense::new(64).activation("relu"))
        .add(Dense::new(10).activation("softmax"))
        .compile(optimizers::SGD::new(rate), "sparse_categorical_crossentropy", ["accuracy"])
}

fn main() -> Result<()> {
    let options = Options::parse();
    let (train, test) = match &options.data {
        Some(folder) => datasets::mnist(folder)?,
        None => datasets::digits()?,
    };

    // A hundred batches, each with a larger rate; the model is put back as it was.
    let sweep = model(0.01)?.find_learning_rate(&train, RateFinder::new().range(1e-5, 100.0))?;
    sweep.plot(options.out.join("learning_rate_sweep.png"))?;
    let good = sweep.suggestion().expect("the loss falls somewhere");
    println!("the loss falls fastest at {good:.3}, and rises from {:.1} on", sweep.too_large().unwrap_or(f64::NAN));

    let mut runs = Vec::new();
    for (name, rate) in [("too small", 1e-4), ("good", good), ("too large", 30.0)] {
        let fit = Fit::new().epochs(options.epochs.get()).verbose(Verbosity::Silent).validation_data(&test);
        let history = model(rate)?.fit(&train, fit)?;
        let accuracy = history.best_value("val_accuracy", Mode::Max).unwrap_or(f64::NAN);
        let rate = Value::from(rate);
        println!(
            "{name:>9}: {rate}, loss {:.3}, best accuracy {accuracy:.3}",
            history.last("loss").unwrap_or(f64::NAN)
        );
        if history.was_interrupted() {
            return Ok(());
        }
        runs.push((format!("{name}: {rate}"), history));
    }
    let plot = ComparePlot::new().title("Three learning rates").metrics(["loss", "accuracy"]);
    let plot = runs.iter().fold(plot, |plot, (name, history)| plot.run(name, history));
    plot.save(options.out.join("learning_rate_runs.png"))
}
