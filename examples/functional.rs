//! A model that is more than layers in a row: two images of digits in, their sum and whether they are the same out.
//!
//! One network looks at both images, a residual connection leads around a layer, each output has a loss and metrics of its own.
//! Runs in 20 seconds: `cargo run --release --example functional`. Expect that after 6 epochs the sum of 0.94 of the pairs of test
//! images is right, and for 0.96 to 0.97 of them whether they are the same digit; 0.965 and 0.98 with pairs of all of MNIST
//! (`--data DIR`). The model that is loaded from its file predicts the same bits.

use clap::Parser;
use kiln::prelude::*;
use std::path::PathBuf;

/// Trains a model of two inputs and two outputs on pairs of handwritten digits.
#[derive(Parser)]
#[command(name = "functional")]
struct Options {
    /// Folder with the four IDX files of MNIST (see examples/data/get-data.sh); without it, the 5000 training and 1000 test
    /// digits that come with Kiln.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Pairs to train on.
    #[arg(long, default_value_t = 20_000)]
    pairs: usize,
    /// Passes over the training data.
    #[arg(long, default_value_t = 6)]
    epochs: usize,
    /// How much the loss of the second output counts beside that of the first.
    #[arg(long, default_value_t = 0.5)]
    weight: f64,
    /// Seed of the pairs, the initial weights and the order of samples.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where to train: cpu, cuda, cuda:1, or best for a GPU where there is one (with `--features cuda`).
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// Folder for history.png and the model.
    #[arg(long, value_name = "DIR", default_value = "target/functional")]
    out: PathBuf,
}

/// Pairs of images, every second one of two images of the same digit, with both targets.
fn pairs(digits: &Dataset, count: usize, key: &Key) -> Result<Dataset> {
    let labels: Vec<i64> = digits.y().to_vec_as();
    let mut of_digit = vec![Vec::new(); 10];
    labels.iter().enumerate().for_each(|(i, &digit)| of_digit[digit as usize].push(i));

    let any = |n: u64| key.below(n, labels.len() as u64) as usize;
    let (mut left, mut right) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for n in 0..count as u64 {
        let (a, b) = (any(2 * n), any(2 * n + 1));
        let same = &of_digit[labels[a] as usize];
        left.push(a);
        right.push(if n % 2 == 0 { b } else { same[b % same.len()] });
    }
    let (left, right) = (digits.select(&left)?, digits.select(&right)?);
    let sum = left.y().add(right.y())?;
    let same = left.y().eq(right.y())?.cast(DType::F32)?.reshape([count, 1])?;
    Dataset::new([("left", left.x()?), ("right", right.x()?)], [("sum", sum), ("same", same)])
}

fn network(seed: u64) -> Result<Functional> {
    let (left, right) = (Input::named("left", [28, 28]), Input::named("right", [28, 28]));
    // Called twice, it has one set of weights.
    let eye = Sequential::new([28, 28])
        .add(Reshape::new([28, 28, 1]))
        .add(Conv2D::new(16, 3).activation("relu"))
        .add(MaxPooling2D::new(2))
        .add(Conv2D::new(32, 3).activation("relu"))
        .add(MaxPooling2D::new(2))
        .add(Flatten::new())
        .add(Dense::new(64).activation("relu"))
        .named("eye");
    let seen = Concatenate::new().on([&eye.on(&left)?, &eye.on(&right)?])?;

    let thought = Dense::new(128).activation("relu").on(&seen)?;
    let both = Add::new().on([&seen, &thought])?;

    let sum = Dense::new(19).activation("softmax").named("sum").on(&both)?;
    let same = Dense::new(1).activation("sigmoid").named("same").on(&both)?;
    Ok(Functional::new([&left, &right], [&sum, &same])?.name("pairs").seed(seed))
}

fn main() -> Result<()> {
    let options = Options::parse();
    let (train, test) = match &options.data {
        Some(folder) => datasets::mnist(folder)?,
        None => datasets::digits()?,
    };
    let key = Key::new(options.seed);
    let train = pairs(&train, options.pairs, &key.fold(0))?;
    let test = pairs(&test, 4000, &key.fold(1))?;

    let losses = [("sum", "sparse_categorical_crossentropy"), ("same", "binary_crossentropy")];
    let mut model = network(options.seed)?
        .compile("adam", losses, ())?
        .loss_weights([("same", options.weight)])?
        .output_metrics("sum", ["accuracy"])?
        .output_metrics("same", ["accuracy", "auc"])?;
    model.to(options.device)?;
    println!("{}", model.summary());

    let fit = Fit::new().epochs(options.epochs).seed(options.seed);
    let history = model.fit(&train, fit.validation_data(&test))?;
    history.plot(options.out.join("history.png"))?;
    println!("\nOn pairs of test images: {}", model.evaluate(&test)?);

    let some = test.take(8)?;
    let [sum, same] = &model.predict_all(&some)?[..] else { unreachable!("the model has two outputs") };
    println!("\nThe first {} pairs", some.len());
    println!("  predicted sum   {}", sum.argmax(-1)?);
    println!("  true sum        {}", some.targets()[0]);
    println!("  predicted same  {}", same.gt(0.5)?.cast(DType::I64)?.flatten(0, -1)?);
    println!("  true same       {}", some.targets()[1].cast(DType::I64)?.flatten(0, -1)?);

    let path = options.out.join("pairs.safetensors");
    model.save(&path)?;
    let loaded = Model::load(&path)?.on(options.device)?;
    let (a, b) = (model.predict_all(&test)?, loaded.predict_all(&test)?);
    let equal = a.iter().zip(&b).all(|(a, b)| a.same_bits(b));
    println!("\nThe model loaded from {} predicts the same bits: {equal}", path.display());
    Ok(())
}
