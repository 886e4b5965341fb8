//! Regression on a table: the width of an iris' petal from its other three measurements, with mse and mae.
//!
//! Runs in well under a second: `cargo run --release --example regression`. Expect a mean absolute error of about
//! 0.15 cm on flowers that were not trained on; guessing the mean gives 0.66 cm.

use kiln::prelude::*;
use kiln::train::data::csv::Csv;
use std::path::Path;

fn main() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/iris.csv");
    let table =
        Csv::new(path).features(["sepal_length", "sepal_width", "petal_length"]).target("petal_width").read()?;
    let (train, test) = table.dataset()?.split(0.2, 1)?;

    let mut model = Sequential::new([3]).add(Dense::new(16).activation("relu")).add(Dense::new(1)).compile(
        "adam",
        "mse",
        ["mae"],
    )?;
    println!("{}", model.summary());

    let stop = EarlyStopping::new().patience(30);
    let fit = Fit::new().epochs(400).batch_size(8).verbose(Verbosity::Silent);
    let history = model.fit(&train, fit.validation_data(&test).callback(stop))?;
    println!("{} epochs: {}", history.len(), history.stopped.as_ref().map_or("all".to_owned(), ToString::to_string));

    let mean = train.y().mean(..)?.item()?;
    let guess = test.y().sub(mean)?.abs()?.mean(..)?.item()?;
    println!("on the test flowers: {} (the mean would give mae: {guess:.4})", model.evaluate(&test)?);

    let some = test.take(5)?;
    println!("true (cm)      {}", some.y().flatten(0, -1)?);
    println!("predicted (cm) {}", model.predict(&some)?.flatten(0, -1)?);
    Ok(())
}
