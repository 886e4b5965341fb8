//! The tutorials' image classifier: a small convolutional network on CIFAR-10's 50,000 photographs of 32 × 32 pixels.
//!
//! Needs the data set: `examples/data/get-data.sh data cifar10`, then
//! `cargo run --release --example cifar10_cnn -- --data data/cifar-10-batches-bin`. An epoch takes a few seconds. Expect
//! a validation accuracy of 0.65 and more within 10 epochs, and a training accuracy that pulls ahead of it: the
//! tutorial's picture of overfitting.

use clap::Parser;
use kiln::prelude::*;
use std::path::PathBuf;

/// Trains Conv 16, MaxPool, Conv 32, MaxPool, Flatten, Dense 10 on CIFAR-10.
#[derive(Parser)]
#[command(name = "cifar10_cnn")]
struct Options {
    /// The folder with data_batch_1.bin to data_batch_5.bin and test_batch.bin (see examples/data/get-data.sh).
    #[arg(long, value_name = "DIR", default_value = "data/cifar-10-batches-bin")]
    data: PathBuf,
    /// Passes over the training data.
    #[arg(long, default_value_t = 10)]
    epochs: usize,
    /// Samples in a batch.
    #[arg(long, default_value_t = 32)]
    batch_size: usize,
    /// Adds Dropout with this probability before the last layer.
    #[arg(long, value_name = "P")]
    dropout: Option<f64>,
    /// Stops when the validation loss has not improved for this many epochs, and keeps the best weights.
    #[arg(long, value_name = "EPOCHS")]
    patience: Option<usize>,
    /// Seed of the initial weights and of the order of samples.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where to train: cpu, cuda, cuda:1, or best for a GPU where there is one (with `--features cuda`).
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// Folder for history.csv and history.png.
    #[arg(long, value_name = "DIR", default_value = "target/cifar10")]
    out: PathBuf,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let (train, test) = datasets::cifar10(&options.data)?;

    let mut layers = Sequential::new([32, 32, 3])
        .seed(options.seed)
        .add(Conv2D::new(16, 3).activation("relu"))
        .add(MaxPooling2D::new(2))
        .add(Conv2D::new(32, 3).activation("relu"))
        .add(MaxPooling2D::new(2))
        .add(Flatten::new());
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

    let mut fit = Fit::new().epochs(options.epochs).batch_size(options.batch_size).seed(options.seed);
    if let Some(patience) = options.patience {
        fit = fit.callback(EarlyStopping::new().patience(patience));
    }
    let history = model.fit(&train, fit.validation_data(&test))?;

    println!("\n{history}");
    println!("{}", history.diagnosis());
    let best = history.best_value("val_accuracy", Mode::Max).unwrap_or(f64::NAN);
    println!("best validation accuracy: {best:.4}");
    history.to_csv(options.out.join("history.csv"))?;
    history.plot(options.out.join("history.png"))?;
    println!("plot: {}", options.out.join("history.png").display());
    Ok(())
}
