//! A training run that survives whatever happens to it: stopped with Ctrl-C or killed, it goes on where it was when it is started
//! again, and ends with the bits of a run that was left alone.
//!
//! Runs in seconds: `cargo run --release --example resume`. It trains a digit classifier once without a stop, once ended in the middle of an epoch
//! after some batches and started again, and once after its newest checkpoint was damaged; expect three times the same weights. Try
//! it by hand too: `-- --folder runs/digits --epochs 200`, Ctrl-C or `kill -9`, and the same command again.

use clap::Parser;
use kiln::nn::module::named_parameters;
use kiln::prelude::*;
use kiln::train::Every;
use std::path::{Path, PathBuf};

#[derive(Parser)]
#[command(about = "Trains a digit classifier in a run that can be taken up again.")]
struct Options {
    /// Where the checkpoints go: the run in this folder goes on, or begins
    #[arg(long)]
    folder: Option<PathBuf>,
    #[arg(long, default_value_t = 6)]
    epochs: usize,
    /// The folder of MNIST's files, instead of the digits that come with Kiln
    #[arg(long)]
    data: Option<PathBuf>,
}

fn model() -> Result<Model> {
    Sequential::new([28, 28])
        .add(Flatten::new())
        .add(Dense::new(64).activation("relu"))
        .add(BatchNormalization::new())
        .add(Dropout::new(0.3))
        .add(Dense::new(10).activation("softmax"))
        .compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
}

fn fit(epochs: usize, folder: &Path) -> Fit<'static> {
    let plateau = ReduceLROnPlateau::new().patience(1).min_delta(0.05);
    let fit = Fit::new().epochs(epochs).batch_size(32).validation_split(0.2).callback(plateau);
    // One file each 20 batches; the two newest are kept, and the best.
    fit.checkpoint_every(Every::Steps(20), folder).keep_best("val_loss").resume_if_found(folder)
}

/// The newest checkpoint of a folder.
fn newest(folder: &Path) -> Option<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    all.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("checkpoint-")));
    all.sort();
    all.pop()
}

fn main() -> Result<()> {
    let options = Options::parse();
    let (train, test) = match &options.data {
        Some(folder) => datasets::mnist(folder)?,
        None => datasets::digits()?,
    };
    if let Some(folder) = &options.folder {
        let mut model = model()?;
        println!("{}", model.fit(&train, fit(options.epochs, folder))?);
        println!("on the test samples: {}", model.evaluate(&test)?);
        return Ok(());
    }

    let folder = std::env::temp_dir().join(format!("kiln-resume-{}", std::process::id()));
    let quiet = |name: &str| fit(options.epochs, &folder.join(name)).verbose(Verbosity::Silent);

    let mut whole = model()?;
    whole.fit(&train, quiet("whole"))?;
    println!("left alone: {}", whole.evaluate(&test)?);

    // It ends in the middle of an epoch, with a checkpoint of that moment.
    model()?.fit(&train, quiet("killed").max_steps(73))?;
    let mut resumed = model()?;
    let history = resumed.fit(&train, quiet("killed"))?;
    println!("stopped after 73 batches, and resumed: {}", resumed.evaluate(&test)?);
    println!("{history}");

    model()?.fit(&train, quiet("damaged").max_steps(73))?;
    let path = newest(&folder.join("damaged")).expect("a checkpoint was written");
    let mut bytes = std::fs::read(&path).expect("it can be read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).expect("it can be written");
    let mut survivor = model()?;
    match survivor.fit(&train, quiet("damaged")) {
        Err(error) => println!("a flipped bit is noticed:\n{error}\n"),
        Ok(_) => unreachable!("a damaged file was read"),
    }
    survivor.fit(&train, quiet("damaged").skip_damaged(true))?;
    println!("resumed from the one before: {}", survivor.evaluate(&test)?);

    let weights = |model: &Model| named_parameters(model.module());
    for other in [&resumed, &survivor] {
        let is_same = weights(&whole).iter().zip(&weights(other)).all(|((_, a), (_, b))| a.same_bits(b));
        assert!(is_same, "the weights differ");
    }
    println!("the weights of all three are the same, bit for bit");
    let _ = std::fs::remove_dir_all(folder);
    Ok(())
}
