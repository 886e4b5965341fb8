//! The range test for learning rates (Smith 2017): the rate grows from step to step, and the loss tells which rates are too small,
//! which good and which too large.

use crate::data::{Dataset, Feed, Place};
use crate::model::Model;
use crate::plans::Given;
use crate::{Error, Result};
use kiln_nn::module::{load_parameters, named_parameters};
use kiln_nn::{Key, Module};

/// What the loss, smoothed, may be times its smallest value before rates are too large.
const DIVERGED: f64 = 4.0;
/// The part of the smoothed loss that stays from step to step.
const INERTIA: f64 = 0.9;

/// Losses whose mean is still one of few, and falls by chance.
const FEW: usize = 10;

/// Settings of [`Model::find_learning_rate`].
#[derive(Debug, Clone)]
pub struct RateFinder {
    from: f64,
    to: f64,
    steps: usize,
    batch_size: usize,
    seed: u64,
}

impl Default for RateFinder {
    fn default() -> RateFinder {
        RateFinder { from: 1e-6, to: 10.0, steps: 100, batch_size: 32, seed: 0 }
    }
}

impl RateFinder {
    /// From 10⁻⁶ to 10 in 100 batches of 32.
    pub fn new() -> RateFinder {
        RateFinder::default()
    }

    /// The smallest and the largest rate.
    #[must_use]
    pub fn range(mut self, from: f64, to: f64) -> RateFinder {
        (self.from, self.to) = (from, to);
        self
    }

    /// How many batches, each with a larger rate.
    #[must_use]
    pub fn steps(mut self, batches: usize) -> RateFinder {
        self.steps = batches;
        self
    }

    /// Samples in a batch.
    #[must_use]
    pub fn batch_size(mut self, samples: usize) -> RateFinder {
        self.batch_size = samples;
        self
    }

    /// The seed of the order of samples and of dropout.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> RateFinder {
        self.seed = seed;
        self
    }

    fn check(&self) -> Result<()> {
        let is_range = self.from.is_finite() && self.to.is_finite() && 0.0 < self.from && self.from < self.to;
        if is_range && self.steps >= 10 && self.batch_size > 0 {
            return Ok(());
        }
        let RateFinder { from, to, steps, batch_size, .. } = self;
        let text = format!("RateFinder: {steps} batches of {batch_size} samples with rates from {from} to {to}");
        Err(Error::config(
            text,
            "give at least 10 batches, of at least 1 sample, and two rates above 0, the smaller one first",
        ))
    }
}

/// The loss at each rate.
#[derive(Debug, Clone, PartialEq)]
pub struct RateSweep {
    /// The rates, by equal factors apart.
    pub rates: Vec<f64>,
    /// The loss of a batch at each, before the update with it.
    pub losses: Vec<f64>,
    /// The same, smoothed.
    pub smoothed: Vec<f64>,
}

impl RateSweep {
    /// The rate at which the loss falls fastest: one to train with. `None` where it does not fall.
    pub fn suggestion(&self) -> Option<f64> {
        let lowest = self.lowest()?;
        // Over a few steps, for from one to the next chance decides; and after the first ones, whose mean is of few.
        let reach = (self.smoothed.len() / 25).max(1);
        let fall = |at: usize| self.smoothed[at + reach] - self.smoothed[at - reach];
        let steepest = (reach.max(FEW)..lowest.saturating_sub(reach)).min_by(|&a, &b| fall(a).total_cmp(&fall(b)))?;
        (fall(steepest) < 0.0).then(|| self.rates[steepest])
    }

    /// Where the smoothed loss is lowest.
    fn lowest(&self) -> Option<usize> {
        (0..self.smoothed.len())
            .filter(|&at| self.smoothed[at].is_finite())
            .min_by(|&a, &b| self.smoothed[a].total_cmp(&self.smoothed[b]))
    }

    /// The smallest rate that is too large: beyond the lowest loss it only rises. `None` where the sweep did not reach one.
    pub fn too_large(&self) -> Option<f64> {
        let lowest = self.lowest()?;
        let most = 1.1 * self.smoothed[lowest].abs() + 1e-12;
        let is_above = |at: &usize| self.smoothed[*at].is_nan() || self.smoothed[*at] > most;
        (lowest..self.smoothed.len()).find(is_above).map(|at| self.rates[at])
    }
}

impl<M: Module> Model<M> {
    /// Trains for some batches with a learning rate that grows from one to the next, until the loss has become too large, and puts
    /// the model back as it was.
    ///
    /// ```
    /// use kiln_nn::{Key, Sequential, layers::Dense, ops::*};
    /// use kiln_train::{Compile, Dataset, RateFinder};
    /// let x = Key::new(0).normal([512, 8], 0.0, 1.0)?;
    /// let data = Dataset::new(x.clone(), x.sum(-1)?.reshape([512, 1])?)?;
    /// let mut model = Sequential::new([8]).add(Dense::new(16).activation("relu")).add(Dense::new(1)).compile("sgd", "mse", ())?;
    /// let sweep = model.find_learning_rate(&data, RateFinder::new())?;
    /// let rate = sweep.suggestion().unwrap();
    /// assert!((1e-4..1.0).contains(&rate) && rate < sweep.too_large().unwrap());
    /// # Ok::<(), kiln_train::Error>(())
    /// ```
    ///
    /// # Errors
    /// Data that do not fit the model; settings without meaning.
    pub fn find_learning_rate(&mut self, data: &Dataset, finder: RateFinder) -> Result<RateSweep> {
        finder.check()?;
        let data = self.arranged(data)?;
        let before = (named_parameters(&self.module), self.optimizer.clone(), self.steps);
        self.plans.forget();
        // What earlier steps have left in a momentum would move the weights, whatever the rate.
        self.optimizer = self.optimizer.anew();
        let outcome = self.sweep(data, &finder);
        let (weights, optimizer, steps) = before;
        load_parameters(&mut self.module, |path| {
            weights.iter().find(|(name, _)| name == path).map(|(_, t)| t.clone())
        })?;
        (self.optimizer, self.steps) = (optimizer, steps);
        self.plans.forget();
        outcome
    }

    fn sweep(&mut self, data: Dataset, finder: &RateFinder) -> Result<RateSweep> {
        let key = Key::new(finder.seed);
        let mut feed = Feed::whole(data, finder.batch_size, Some(key.fold(0)));
        let (mut place, mut state) = (Place::default(), self.metric_state());
        let mut sweep = RateSweep { rates: Vec::new(), losses: Vec::new(), smoothed: Vec::new() };
        let (mut mean, mut lowest) = (0.0, f64::INFINITY);
        let factor = (finder.to / finder.from).powf(1.0 / (finder.steps - 1) as f64);
        for step in 0..finder.steps {
            let rate = finder.from * factor.powi(step as i32);
            self.force_rate(rate)?;
            let Some(batch) = feed.next_of_any(&mut place)? else { break };
            let given = Given { batch: &batch, weights: batch.sample_weight.as_ref(), key: &key.fold(1) };
            let loss = self.train_batch(given, &mut state)?.item()?;
            mean = INERTIA * mean + (1.0 - INERTIA) * loss;
            // Of few values their plain mean.
            let smoothed = mean / (1.0 - INERTIA.powi(step as i32 + 1));
            sweep.rates.push(rate);
            sweep.losses.push(loss);
            sweep.smoothed.push(smoothed);
            lowest = f64::min(lowest, smoothed);
            if !loss.is_finite()
                || (step >= finder.steps / 10 && smoothed > DIVERGED * lowest.abs().max(f64::MIN_POSITIVE))
            {
                break;
            }
        }
        Ok(sweep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Compile;
    use kiln_nn::layers::{BatchNormalization, Dense};
    use kiln_nn::ops::{ReduceOps, ViewOps};
    use kiln_nn::optimizers::SGD;
    use kiln_nn::schedules::ExponentialDecay;
    use kiln_nn::{Network, Sequential};

    fn data() -> Dataset {
        let x = Key::new(0).normal([200, 4], 0.0, 1.0).unwrap();
        Dataset::new(x.clone(), x.sum(-1).unwrap().reshape([200, 1]).unwrap()).unwrap()
    }

    fn model(optimizer: impl kiln_nn::IntoOptimizer) -> Model<Network> {
        let net = Sequential::new([4]).add(Dense::new(8)).add(BatchNormalization::new()).add(Dense::new(1));
        net.compile(optimizer, "mse", ["mae"]).unwrap()
    }

    #[test]
    fn the_model_is_as_it_was_whatever_drives_its_rate() {
        for optimizer in [SGD::new(0.1).momentum(0.9), SGD::new(ExponentialDecay::new(0.1, 5, 0.5))] {
            let mut model = model(optimizer);
            model.train_on_batch(data().x().unwrap(), data().y().clone()).unwrap();
            let state =
                |model: &Model<Network>| (named_parameters(&model.module), model.optimizer.state(), model.steps);
            let before = state(&model);
            let sweep = model.find_learning_rate(&data(), RateFinder::new().range(1e-4, 100.0)).unwrap();
            let after = state(&model);
            assert_eq!(before.2, after.2);
            let pairs = before.0.iter().chain(&before.1).zip(after.0.iter().chain(&after.1));
            pairs.for_each(|((name, a), (_, b))| assert!(a.same_bits(b), "{name}"));
            assert!((sweep.rates[0] - 1e-4).abs() < 1e-12 && sweep.rates.len() > 30, "{sweep:?}");
            assert!(sweep.suggestion().unwrap() < sweep.too_large().unwrap(), "{sweep:?}");
        }
    }

    #[test]
    fn nothing_is_suggested_where_nothing_falls() {
        let flat = RateSweep { rates: vec![1.0; 40], losses: vec![1.0; 40], smoothed: vec![1.0; 40] };
        assert_eq!((flat.suggestion(), flat.too_large()), (None, None));
        let error =
            model("sgd").find_learning_rate(&data(), RateFinder::new().range(1.0, 0.1)).unwrap_err().to_string();
        assert!(error.contains("from 1 to 0.1") && error.contains("help"), "{error}");
    }
}
