//! Five-fold cross-validation: how well a small network tells handwritten digits apart, and how much that depends on the samples
//! it happened to see.
//!
//! Runs in seconds: `cargo run --release --example kfold`. Expect an accuracy of 0.936 ± 0.009 on the samples held out.
//! `--data DIR/mnist` takes the whole of MNIST, after
//! `examples/data/get-data.sh DIR mnist`.

use clap::Parser;
use kiln::prelude::*;
use kiln::train::cross_validate;
use kiln::train::splits::StratifiedKFold;
use std::path::PathBuf;

#[derive(Parser)]
#[command(about = "Cross-validates a digit classifier.")]
struct Options {
    /// The folder of MNIST's files, instead of the digits that come with Kiln
    #[arg(long)]
    data: Option<PathBuf>,
    /// How many parts, each held out once
    #[arg(long, default_value_t = 5)]
    folds: usize,
    #[arg(long, default_value_t = 10)]
    epochs: usize,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let (data, _) = match &options.data {
        Some(folder) => datasets::mnist(folder)?,
        None => datasets::digits()?,
    };
    println!("{} samples, {} folds", data.len(), options.folds);

    // Measured of what a fold trains on: the samples held out are to stay unknown.
    let model = |train: &Dataset| {
        Sequential::new([28, 28])
            .add(Normalization::new().axis(None).adapt(&train.x()?)?)
            .add(Flatten::new())
            .add(Dense::new(64).activation("relu"))
            .add(Dropout::new(0.2))
            .add(Dense::new(10).activation("softmax"))
            .compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    };
    let epochs = options.epochs;
    let fit = || Fit::new().epochs(epochs).batch_size(32).verbose(Verbosity::Silent);
    // Each part has the classes in the proportion of all.
    let splits = StratifiedKFold::new(options.folds).shuffle(42);
    let result = cross_validate(model, &data, &splits, fit)?;
    println!("{result}");

    let (mean, deviation) = (result.mean("accuracy").unwrap_or(0.0), result.deviation("accuracy").unwrap_or(0.0));
    println!("accuracy {mean:.4} ± {deviation:.4}");
    let gap: f64 = result
        .folds
        .iter()
        .filter_map(|fold| Some(fold.history.last("accuracy")? - fold.scores.get("accuracy")?))
        .sum();
    println!("on what it was trained on it is better by {:.4}", gap / result.folds.len() as f64);
    Ok(())
}
