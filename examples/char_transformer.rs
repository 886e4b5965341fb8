//! A language model of characters: a causal transformer that reads a text and writes more of its kind.
//!
//! Runs in a minute and a half: `cargo run --release --example char_transformer`. Expect a loss of 1.61 a character on a tenth of
//! the text that it has not read, a perplexity of 5.0, and lines that look like Shakespeare from afar. A text ten times as long
//! (`--data FILE --stride 40 --epochs 2`, two minutes) is more varied: 1.84 and 6.3.

use clap::Parser;
use kiln::nn::losses::SparseCategoricalCrossentropy;
use kiln::nn::schedules::CosineDecay;
use kiln::prelude::*;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Trains a transformer to tell the next character of a text.
#[derive(Parser)]
#[command(name = "char_transformer")]
struct Options {
    /// A text file, such as the tinyshakespeare.txt of examples/data/get-data.sh; without it, the 100,000 characters of
    /// Shakespeare that come with the examples.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Characters that the model sees.
    #[arg(long, default_value = "64")]
    context: NonZeroUsize,
    /// Features of each character.
    #[arg(long, default_value_t = 64)]
    width: usize,
    /// Blocks of attention and a dense network.
    #[arg(long, default_value_t = 3)]
    blocks: usize,
    /// Characters from the beginning of a training sequence to that of the next.
    #[arg(long, default_value = "8")]
    stride: NonZeroUsize,
    /// Passes over the training sequences.
    #[arg(long, default_value = "4")]
    epochs: NonZeroUsize,
    /// Sequences in a batch.
    #[arg(long, default_value = "32")]
    batch_size: NonZeroUsize,
    /// Characters to write.
    #[arg(long, default_value_t = 400)]
    write: usize,
    /// How freely they are chosen: the probabilities are those of the scores divided by this.
    #[arg(long, default_value_t = 0.8)]
    temperature: f64,
    /// What the text to be written begins with.
    #[arg(long, default_value = "MENENIUS:\n")]
    prompt: String,
    /// Seed of the initial weights, the order of samples and the choice of characters.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where to train: cpu, cuda, cuda:1, or best for a GPU where there is one (with `--features cuda`).
    #[arg(long, default_value = "cpu")]
    device: Device,
}

/// The characters of a text, each with its number.
struct Alphabet(Vec<char>);

impl Alphabet {
    fn of(text: &str) -> Alphabet {
        let mut all: Vec<char> = text.chars().collect();
        all.sort_unstable();
        all.dedup();
        Alphabet(all)
    }

    /// The numbers of the characters that it has.
    fn numbers(&self, text: &str) -> Vec<i64> {
        text.chars().filter_map(|c| self.0.binary_search(&c).ok()).map(|i| i as i64).collect()
    }
}

/// Windows of the text that begin `stride` characters after each other; the target of a character is the one after it.
fn windows(numbers: &[i64], context: usize, stride: usize) -> Result<Dataset> {
    let starts = (0..numbers.len().saturating_sub(context)).step_by(stride);
    let (mut x, mut y, mut count) = (Vec::new(), Vec::new(), 0);
    for start in starts {
        x.extend_from_slice(&numbers[start..start + context]);
        y.extend_from_slice(&numbers[start + 1..=start + context]);
        count += 1;
    }
    Dataset::new(Tensor::from_vec(x, [count, context])?, Tensor::from_vec(y, [count, context])?)
}

/// Goes on with a text, character by character.
fn write(model: &Model, alphabet: &Alphabet, options: &Options) -> Result<String> {
    let context = options.context.get();
    let mut numbers = alphabet.numbers(&options.prompt);
    let mut text = options.prompt.clone();
    let key = Key::new(options.seed).fold(1);
    for n in 0..options.write {
        // What comes after the last character is not seen by it: any filling does.
        let seen = &numbers[numbers.len().saturating_sub(context)..];
        let mut row = seen.to_vec();
        row.resize(context, 0);
        let scores = model.predict(&Tensor::from_vec(row, [1, context])?)?;
        let last = seen.len() as isize - 1;
        let scores = scores.slice(1, last..last + 1)?.div(options.temperature)?;
        // The largest of scores with Gumbel noise is drawn by the softmax of the scores (Gumbel 1954).
        let noise = key.fold(n as u64).uniform(*scores.shape(), 1e-9, 1.0)?.log()?.neg()?.log()?.neg()?;
        let next = scores.add(&noise)?.argmax(-1)?.item()? as usize;
        numbers.push(next as i64);
        text.push(alphabet.0[next]);
    }
    Ok(text)
}

fn main() -> Result<()> {
    let options = Options::parse();
    let text = match &options.data {
        Some(path) => std::fs::read_to_string(path).map_err(|e| {
            Error::file(path, e.to_string()).with_help("fetch a text: examples/data/get-data.sh DIR shakespeare")
        })?,
        None => include_str!("data/books/shakespeare.txt").to_owned(),
    };
    let (context, epochs, batch_size) = (options.context.get(), options.epochs.get(), options.batch_size.get());
    let alphabet = Alphabet::of(&text);
    let numbers = alphabet.numbers(&text);
    // The model is asked about a part of the text that it has not read.
    let (read, unread) = numbers.split_at(numbers.len() / 10 * 9);
    let (train, test) = (windows(read, context, options.stride.get())?, windows(unread, context, context)?);
    println!("{} characters, {} different ones\n", numbers.len(), alphabet.0.len());

    let mut layers = Sequential::new([context])
        .seed(options.seed)
        .add(Embedding::new(alphabet.0.len(), options.width))
        .add(PositionEmbedding::new(context));
    for _ in 0..options.blocks {
        layers = layers.add(TransformerDecoder::new(4 * options.width, 4).normalize_first(true).dropout(0.1));
    }
    let loss = SparseCategoricalCrossentropy::new().from_logits(true);
    let steps = (epochs * train.len().div_ceil(batch_size)) as u32;
    let rate = CosineDecay::new(0.0, steps).warmup_target(Some(3e-3)).warmup_steps(100);
    let mut model = layers.add(LayerNormalization::new()).add(Dense::new(alphabet.0.len())).compile(
        optimizers::AdamW::new(rate).weight_decay(0.01).clipnorm(1.0),
        loss,
        ["accuracy"],
    )?;
    model.to(options.device)?;
    println!("{}", model.summary());

    let fit = Fit::new().epochs(epochs).batch_size(batch_size).seed(options.seed);
    let history = model.fit(&train, fit.validation_data(&test))?;

    let loss = history.last("val_loss").unwrap_or(f64::NAN);
    println!("\nOn the part not read: loss {loss:.3} a character, perplexity {:.2}", loss.exp());
    println!("\n{}", write(&model, &alphabet, &options)?);
    Ok(())
}
