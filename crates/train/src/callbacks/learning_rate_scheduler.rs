//! Sets the learning rate at the start of each epoch by a function. Knows no step inside an epoch.

use super::{Callback, Control};
use crate::error::{Error, Result};

/// Sets the learning rate before each epoch to `schedule(epoch, current rate)`; epochs count from 0.
///
/// # Examples
/// ```
/// use kiln_train::callbacks::LearningRateScheduler;
/// let halved = LearningRateScheduler::new(|epoch, rate| if epoch < 10 { rate } else { rate * 0.5 });
/// ```
pub struct LearningRateScheduler {
    schedule: Box<dyn FnMut(usize, f64) -> f64 + Send>,
    verbose: bool,
}

impl LearningRateScheduler {
    /// Takes the function from an epoch and the rate in force to the new rate.
    pub fn new(schedule: impl FnMut(usize, f64) -> f64 + Send + 'static) -> Self {
        Self { schedule: Box::new(schedule), verbose: false }
    }

    /// Whether each setting is reported; the default is no.
    #[must_use]
    pub fn verbose(mut self, verbose: bool) -> Self {
        self.verbose = verbose;
        self
    }
}

impl Callback for LearningRateScheduler {
    fn name(&self) -> &str {
        "LearningRateScheduler"
    }

    fn on_epoch_begin(&mut self, epoch: usize, control: &mut dyn Control) -> Result<()> {
        let rate = (self.schedule)(epoch, control.learning_rate());
        if !(rate.is_finite() && rate >= 0.0) {
            return Err(Error::config(
                format!("LearningRateScheduler: the function gave {rate} for epoch {epoch}, counted from 0"),
                "return a finite rate of at least 0",
            ));
        }
        if self.verbose {
            control.message(&format!("Epoch {}: LearningRateScheduler setting learning rate to {rate}.", epoch + 1));
        }
        control.set_learning_rate(rate)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;
    use super::*;

    #[test]
    fn sets_the_rate_before_the_epoch() {
        let mut callback =
            LearningRateScheduler::new(|epoch, rate| if epoch == 0 { rate } else { rate / 2.0 }).verbose(true);
        let mut fake = Fake { rate: 1.0, ..Fake::default() };
        assert_eq!(fake.run(&mut callback, "loss", &[1.0; 3]).1, [1.0, 0.5, 0.25]);
        assert_eq!(fake.messages[2], "Epoch 3: LearningRateScheduler setting learning rate to 0.25.");
    }

    #[test]
    fn a_rate_that_is_no_rate_is_refused() {
        for rate in [f64::NAN, -1.0, f64::INFINITY] {
            let mut callback = LearningRateScheduler::new(move |_, _| rate);
            assert!(callback.on_epoch_begin(0, &mut Fake::default()).is_err());
        }
    }
}
