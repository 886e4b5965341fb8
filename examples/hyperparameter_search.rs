//! The search for hyperparameters of a digit classifier: at random with trials given up early, by Hyperband, or by what scores let expect.
//!
//! Runs in ten to twenty seconds: `cargo run --release --example hyperparameter_search`. Expect a validation accuracy of the best trial above
//! 0.93, where the tutorials' network has about 0.92. Writes `search.png`, `search_learning_rate.png` and `search.csv` in
//! `target/search`. With `--folder DIR` a search that was stopped goes on when it is started again; `--data DIR/mnist` takes the whole of MNIST, after
//! `examples/data/get-data.sh DIR mnist`.

use clap::{Parser, ValueEnum};
use kiln::prelude::*;
use kiln::train::search::{Choice, Search, Space};
use std::num::NonZeroUsize;
use std::path::PathBuf;

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Grid,
    Random,
    Hyperband,
    Bayesian,
}

#[derive(Parser)]
#[command(about = "Searches for the hyperparameters of a digit classifier.")]
struct Options {
    /// The folder of MNIST's files, instead of the digits that come with Kiln
    #[arg(long)]
    data: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "random")]
    kind: Kind,
    #[arg(long, default_value_t = 20)]
    trials: usize,
    #[arg(long, default_value = "9")]
    epochs: NonZeroUsize,
    /// How many trials run at the same time
    #[arg(long, default_value_t = 2)]
    parallel: usize,
    /// Where the search is kept, to be gone on with
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Where the pictures go
    #[arg(long, default_value = "target/search")]
    out: PathBuf,
}

fn build(choice: &Choice) -> Result<Model> {
    let rate = choice.float("learning_rate")?;
    let optimizer: optimizers::Optimizer = match choice.text("optimizer")? {
        "adam" => optimizers::Optimizer::new(optimizers::Adam::new(rate))?,
        _ => optimizers::Optimizer::new(optimizers::RMSprop::new(rate))?,
    };
    let mut net = Sequential::new([28, 28]).add(Flatten::new());
    for _ in 0..choice.int("layers")? {
        net = net.add(Dense::new(choice.int("units")?).activation("relu")).add(Dropout::new(choice.float("dropout")?));
    }
    net.add(Dense::new(10).activation("softmax")).compile(optimizer, "sparse_categorical_crossentropy", ["accuracy"])
}

fn main() -> Result<()> {
    let options = Options::parse();
    let (train, test) = match &options.data {
        Some(folder) => datasets::mnist(folder)?,
        None => datasets::digits()?,
    };

    let space = match options.kind {
        // A grid has an end along each parameter.
        Kind::Grid => Space::new()
            .choice("learning_rate", [3e-4, 1e-3, 3e-3])
            .choice("units", [32, 128])
            .choice("dropout", [0.0, 0.3]),
        _ => {
            Space::new().log_uniform("learning_rate", 1e-4, 1e-1).log_int("units", 16, 256).uniform("dropout", 0.0, 0.6)
        }
    };
    let space = space.int("layers", 1, 2).choice("optimizer", ["adam", "rmsprop"]);
    let search = match options.kind {
        Kind::Grid => Search::grid(space),
        Kind::Random => Search::random(space, options.trials).prune(true),
        Kind::Hyperband => Search::hyperband(space, options.epochs.get()),
        Kind::Bayesian => Search::bayesian(space, options.trials),
    };
    let mut search = search.objective("val_accuracy").parallel(options.parallel);
    if let Some(folder) = &options.folder {
        search = search.folder(folder);
    }

    let found = search.run(build, |model, fit, _| {
        let fit = match options.kind {
            Kind::Hyperband => fit,
            _ => fit.epochs(options.epochs.get()),
        };
        model.fit(&train, fit.batch_size(32).validation_split(0.25))
    })?;
    println!("{found}");
    found.to_csv(options.out.join("search.csv"))?;
    found.plot(options.out.join("search.png"))?;
    found.plot_parameter("learning_rate", options.out.join("search_learning_rate.png"))?;
    if let Some(model) = &found.model {
        // The test samples took no part in the search.
        println!("the best trial's model on the test samples: {}", model.evaluate(&test)?);
    }
    Ok(())
}
