//! The tutorials' digit classifier on real handwritten digits: compile, fit, evaluate, predict, report, plot, save, load.
//!
//! Runs in a few seconds: `cargo run --release --example mnist`. Expect a test accuracy of 0.91 after 5 epochs on the
//! embedded 5000 digits, and 0.975 on all of MNIST (`--data DIR`, which takes about half a second per epoch).

use clap::Parser;
use kiln::prelude::*;
use kiln::scores::{LabelOptions, confusion_matrix};
use kiln::train::{Report, plot::Gallery};
use std::path::PathBuf;

/// Trains a digit classifier: Flatten, Dense 128 relu, Dense 10 softmax.
#[derive(Parser)]
#[command(name = "mnist")]
struct Options {
    /// Folder with the four IDX files of MNIST or Fashion-MNIST (see examples/data/get-data.sh); without it, the
    /// 5000 training and 1000 test digits that come with Kiln.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Passes over the training data.
    #[arg(long, default_value_t = 5)]
    epochs: usize,
    /// Samples in a batch.
    #[arg(long, default_value_t = 32)]
    batch_size: usize,
    /// Adds Dropout with this probability before the last layer.
    #[arg(long, value_name = "P")]
    dropout: Option<f64>,
    /// Seed of the initial weights, the order of samples and dropout.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where to train: cpu, cuda, cuda:1, or best for a GPU where there is one (with `--features cuda`).
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// Folder for history.csv, history.json, history.png, history.svg, run.html and the model.
    #[arg(long, value_name = "DIR", default_value = "target/mnist")]
    out: PathBuf,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let (train, test) = match &options.data {
        Some(folder) => datasets::mnist(folder)?,
        None => datasets::digits()?,
    };
    println!("{} training images, {} test images\n", train.len(), test.len());

    let mut layers =
        Sequential::new([28, 28]).seed(options.seed).add(Flatten::new()).add(Dense::new(128).activation("relu"));
    if let Some(rate) = options.dropout {
        layers = layers.add(Dropout::new(rate));
    }
    let mut model = layers.add(Dense::new(10).activation("softmax")).compile(
        "adam",
        "sparse_categorical_crossentropy",
        ["accuracy"],
    )?;
    model.to(options.device)?;
    println!("{}", model.summary());

    let fit = Fit::new().epochs(options.epochs).batch_size(options.batch_size).seed(options.seed);
    let history = model.fit(&train, fit.validation_data(&test))?;
    if let Some(reason) = &history.stopped {
        println!("\nStopped: {reason}");
    }
    println!("\nOn the test images: {}", model.evaluate(&test)?);

    let probabilities = model.predict(&test)?;
    let classes = probabilities.argmax(-1)?;
    let some = test.len().min(10);
    println!("\nThe first {some} test images");
    println!("  predicted {}", classes.slice(0, ..some as isize)?);
    println!("  true      {}", test.y().slice(0, ..some as isize)?);

    let names = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    let all = LabelOptions::new().labels(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let confusion = confusion_matrix(test.y(), &classes, all)?;
    println!("\nConfusion matrix (rows: true class, columns: predicted)\n{confusion}\n{}", confusion.report());
    println!("{}", history.diagnosis());

    for name in ["history.png", "history.svg"] {
        history.plot(options.out.join(name))?;
    }
    Report::new("Handwritten digits")
        .text("Model", &model.summary())
        .history(&history)
        .confusion(&confusion)
        .classification(&confusion.report())
        .curves(test.y(), &probabilities, names)
        .gallery(&Gallery::new(), &test.x()?, test.y(), &probabilities)
        .write(options.out.join("run.html"))?;
    history.to_csv(options.out.join("history.csv"))?;
    history.to_json(options.out.join("history.json"))?;
    let path = options.out.join("digits.safetensors");
    model.save(&path)?;
    let same = Model::load(&path)?.on(options.device)?.predict(&test)?.same_bits(&probabilities);
    println!("\nSaved in {}: history.csv .json .png .svg, run.html, digits.safetensors", options.out.display());
    println!("The loaded model predicts the same bits: {same}");
    Ok(())
}
