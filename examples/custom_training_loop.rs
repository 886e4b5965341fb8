//! Training without `fit`: parameters as plain tensors, a tape for each step, an optimizer called by hand.
//!
//! Runs in a second: `cargo run --release --example custom_training_loop`. Expect the test accuracy on the embedded
//! digits to pass 0.90 in the third epoch.

use kiln::nn::Result;
use kiln::nn::optimizers::{IntoOptimizer, ParameterUpdate};
use kiln::prelude::{Dataset, Key, Tape, Tensor, Var, datasets};
use kiln::tensor::ops::prelude::*;

const BATCH: usize = 32;

/// The network, for tensors and for tracked values alike.
fn logits<V: Ops>(x: &V, weights: &[V]) -> kiln::tensor::Result<V> {
    let [w1, b1, w2, b2] = weights else { unreachable!("the network has four parameters") };
    let hidden = x.flatten(1, -1)?.matmul(w1)?.add(b1)?.relu()?;
    hidden.matmul(w2)?.add(b2)
}

fn accuracy(weights: &[Tensor], data: &Dataset) -> Result<f64> {
    let x = data.x().map_err(|e| kiln::nn::Error::config(e.to_string(), ""))?;
    let right = logits(&x, weights)?.argmax(-1)?.eq(data.y())?;
    Ok(right.sum(..)?.item()? / data.len() as f64)
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let (train, test) = datasets::digits()?;
    let key = Key::new(0);
    let mut weights = [
        key.fold(0).uniform([784, 128], -0.08, 0.08)?,
        Tensor::zeros([128])?,
        key.fold(1).uniform([128, 10], -0.2, 0.2)?,
        Tensor::zeros([10])?,
    ];
    let names = ["w1", "b1", "w2", "b2"];
    let mut optimizer = "adam".into_optimizer()?;

    for epoch in 0..3 {
        let order = key.fold(2).fold(epoch).permutation(train.len())?;
        let mut total = 0.0;
        for indices in order.chunks(BATCH) {
            let batch = train.batch(indices)?;

            // The tape follows what is computed from the weights; the data stay off it.
            let tape = Tape::new();
            let tracked = weights.each_ref().map(|w| tape.watch(w));
            let loss = logits(&Var::new(batch.x().clone()), &tracked)?
                .cross_entropy(&Var::new(batch.y().clone()))?
                .mean(..)?;
            total += loss.tensor().item()? * indices.len() as f64;
            let mut gradients = loss.backward()?;

            let mut updates: Vec<ParameterUpdate> = names
                .iter()
                .zip(&mut weights)
                .zip(&tracked)
                .map(|((name, value), w)| Ok(ParameterUpdate { name, value, gradient: gradients.take(w)? }))
                .collect::<Result<_>>()?;
            optimizer.apply(&mut updates)?;
        }
        let loss = total / train.len() as f64;
        println!("epoch {}: loss {loss:.4}, test accuracy {:.4}", epoch + 1, accuracy(&weights, &test)?);
    }
    Ok(())
}
