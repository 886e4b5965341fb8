//! What a network has learned of some classes helps it with others: features of the digits 0 to 4, frozen, and a new head for 5
//! to 9 that sees few samples of each.
//!
//! Runs in three seconds: `cargo run --release --example transfer_learning`. Expect that with ten samples of each new class 0.70 to
//! 0.74 of their test images are told with the frozen features, and 0.60 to 0.67 from scratch; tuning all of it on the 50 samples
//! takes back a part of what was won. On all of MNIST (`--data DIR --epochs 2`) it is 0.84 to 0.72.

use clap::Parser;
use kiln::prelude::*;
use std::path::PathBuf;

/// Trains a small CNN on the classes 0 to 4, and its features' new head on a few samples of each of the classes 5 to 9.
#[derive(Parser)]
#[command(name = "transfer_learning")]
struct Options {
    /// Folder with the four IDX files of MNIST or Fashion-MNIST (see examples/data/get-data.sh); without it, the 5000
    /// training and 1000 test digits that come with Kiln.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Passes over the samples of the first classes.
    #[arg(long, default_value_t = 5)]
    epochs: usize,
    /// Samples of each of the new classes.
    #[arg(long, default_value_t = 10)]
    samples: usize,
    /// Seed of the initial weights and the order of samples.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder for the weights.
    #[arg(long, value_name = "DIR", default_value = "target/transfer")]
    out: PathBuf,
}

/// At most `most` samples of each of five classes, which are counted from 0.
fn of_classes(data: &Dataset, first: usize, most: usize) -> Result<Dataset> {
    let (mut counts, mut chosen, mut labels) = ([0; 5], Vec::new(), Vec::new());
    for (i, class) in data.classes().unwrap_or_default().into_iter().enumerate() {
        let Some(count) = class.checked_sub(first).and_then(|class| counts.get_mut(class)) else { continue };
        if *count < most {
            *count += 1;
            chosen.push(i);
            labels.push((class - first) as i64);
        }
    }
    Dataset::new(data.select(&chosen)?.x()?, Tensor::from_slice(&labels, [labels.len()])?)
}

/// Layers that see shapes, as a part of a model whose weights go by `features/…`, and a head that names a class.
fn classifier(head: &str, seed: u64) -> Result<Model> {
    let features = Sequential::new([28, 28])
        .add(Reshape::new([28, 28, 1]))
        .add(Conv2D::new(16, 3).activation("relu"))
        .add(MaxPooling2D::new(2))
        .add(Conv2D::new(32, 3).activation("relu"))
        .add(MaxPooling2D::new(2))
        .add(Flatten::new());
    Sequential::new([28, 28])
        .seed(seed)
        .add_named("features", features)
        .add_named(head, Dense::new(5).activation("softmax"))
        .compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
}

fn main() -> Result<()> {
    let options = Options::parse();
    let (train, test) = match &options.data {
        Some(folder) => datasets::mnist(folder)?,
        None => datasets::digits()?,
    };
    let (many, many_test) = (of_classes(&train, 0, usize::MAX)?, of_classes(&test, 0, usize::MAX)?);
    let (few, few_test) = (of_classes(&train, 5, options.samples)?, of_classes(&test, 5, usize::MAX)?);
    let accuracy = |model: &Model, data| Ok::<_, Error>(model.evaluate(data)?.get("accuracy").unwrap_or(f64::NAN));

    println!("Classes 0 to 4, {} samples", many.len());
    let mut first = classifier("head_0_4", options.seed)?;
    first.fit(&many, Fit::new().epochs(options.epochs).seed(options.seed).validation_data(&many_test))?;
    let path = options.out.join("first.safetensors");
    first.save_weights(&path)?;

    println!("\nClasses 5 to 9, {} samples, with the features of the first model", few.len());
    let mut second = classifier("head_5_9", options.seed)?;
    println!("{}", second.load_weights_by_name(&path, "features/*")?);
    let frozen = second.set_trainable("features/*", false)?;
    println!("{frozen} parameters are frozen\n\n{}", second.summary());
    let fit = || Fit::new().epochs(60).batch_size(10).seed(options.seed).verbose(Verbosity::Silent);
    second.fit(&few, fit())?;

    // The same network and samples without what was learned before.
    let mut scratch = classifier("head_5_9", options.seed)?;
    scratch.fit(&few, fit())?;

    println!("Accuracy on {} test images of the classes 5 to 9", few_test.len());
    println!("  frozen features, new head  {:.3}", accuracy(&second, &few_test)?);
    println!("  from scratch               {:.3}", accuracy(&scratch, &few_test)?);

    // With a head that knows what to look for, all can be tuned, in small steps.
    second.set_trainable("*", true)?;
    second.fit(&few, fit().callback(LearningRateScheduler::new(|_, _| 1e-4)))?;
    println!("  and all of it tuned        {:.3}", accuracy(&second, &few_test)?);
    Ok(())
}
