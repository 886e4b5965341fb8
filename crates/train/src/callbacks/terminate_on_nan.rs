//! Ends a run whose loss is no longer a finite number. Repairs nothing.

use super::{Callback, Control};
use crate::error::{Error, Result};
use crate::history::{Logs, StopReason};

/// Stops training at the first batch whose loss is NaN or infinite.
///
/// # Examples
/// ```
/// use kiln_train::callbacks::TerminateOnNaN;
/// let guard = TerminateOnNaN::new().raise_error(true);
/// ```
#[derive(Clone, Debug, Default)]
pub struct TerminateOnNaN {
    raise_error: bool,
    epoch: usize,
}

impl TerminateOnNaN {
    /// Stops the run and keeps what it has.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether `fit` ends with an error instead of a stopped history; the default is no.
    #[must_use]
    pub fn raise_error(mut self, raise: bool) -> Self {
        self.raise_error = raise;
        self
    }
}

impl Callback for TerminateOnNaN {
    fn name(&self) -> &str {
        "TerminateOnNaN"
    }

    fn wants_batches(&self) -> bool {
        true
    }

    fn on_epoch_begin(&mut self, epoch: usize, _control: &mut dyn Control) -> Result<()> {
        self.epoch = epoch;
        Ok(())
    }

    fn on_batch_end(&mut self, batch: usize, logs: &Logs, control: &mut dyn Control) -> Result<()> {
        let Some(loss) = logs.get("loss").filter(|loss| !loss.is_finite()) else { return Ok(()) };
        if self.raise_error {
            return Err(Error::data(
                format!("the loss is {loss} in epoch {}, batch {}", self.epoch + 1, batch + 1),
                "try a lower learning rate, gradient clipping, or look for NaN in the data",
            ));
        }
        let place = format!("epoch {}, batch {}", self.epoch + 1, batch + 1);
        control.message(&format!("TerminateOnNaN: the loss of {place} is {loss}, training ends"));
        control.stop(StopReason::NotFinite { epoch: self.epoch, batch });
        Ok(())
    }

    fn state(&self) -> serde_json::Value {
        serde_json::json!(self.epoch)
    }

    /// A run that is taken up within an epoch does not begin it again.
    fn load_state(&mut self, state: &serde_json::Value) -> Result<()> {
        // Null in checkpoints from before it was kept.
        self.epoch = state.as_u64().map_or(0, |epoch| epoch as usize);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;
    use super::*;

    #[test]
    fn stops_at_the_first_bad_loss() {
        let mut fake = Fake::default();
        let mut callback = TerminateOnNaN::new();
        callback.on_epoch_begin(3, &mut fake).unwrap();
        callback.on_batch_end(0, &Logs::from([("loss", 1.0)]), &mut fake).unwrap();
        callback.on_batch_end(1, &Logs::new(), &mut fake).unwrap();
        assert_eq!(fake.stopped, None);
        callback.on_batch_end(2, &Logs::from([("loss", f64::INFINITY)]), &mut fake).unwrap();
        assert_eq!(fake.stopped, Some(StopReason::NotFinite { epoch: 3, batch: 2 }));
        assert_eq!(fake.messages, ["TerminateOnNaN: the loss of epoch 4, batch 3 is inf, training ends"]);
    }

    #[test]
    fn a_run_that_is_taken_up_within_an_epoch_is_in_that_epoch() {
        let (mut fake, mut first, mut second) = (Fake::default(), TerminateOnNaN::new(), TerminateOnNaN::new());
        first.on_epoch_begin(3, &mut fake).unwrap();
        second.load_state(&first.state()).unwrap();
        second.on_batch_end(1, &Logs::from([("loss", f64::NAN)]), &mut fake).unwrap();
        assert_eq!(fake.stopped, Some(StopReason::NotFinite { epoch: 3, batch: 1 }));
    }

    #[test]
    fn can_be_an_error() {
        let mut callback = TerminateOnNaN::new().raise_error(true);
        let error = callback.on_batch_end(5, &Logs::from([("loss", f64::NAN)]), &mut Fake::default()).unwrap_err();
        assert!(error.to_string().starts_with("the loss is NaN in epoch 1, batch 6"), "{error}");
    }
}
