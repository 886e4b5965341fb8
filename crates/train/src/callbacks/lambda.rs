//! Closures as callbacks. Keeps no state of its own.

use super::{Callback, Control};
use crate::error::Result;
use crate::history::Logs;

type Train = Box<dyn FnMut(&mut dyn Control) -> Result<()> + Send>;
type EpochBegin = Box<dyn FnMut(usize, &mut dyn Control) -> Result<()> + Send>;
type BatchEnd = Box<dyn FnMut(usize, &Logs, &mut dyn Control) -> Result<()> + Send>;
type EpochEnd = Box<dyn FnMut(usize, &mut Logs, &mut dyn Control) -> Result<()> + Send>;

/// A callback made of closures, one a hook.
///
/// # Examples
/// ```
/// use kiln_train::callbacks::LambdaCallback;
/// let callback = LambdaCallback::new()
///     .on_train_begin(|control| {
///         control.message("off we go");
///         Ok(())
///     })
///     .on_batch_end(|batch, logs, _| {
///         println!("{batch}: {logs}");
///         Ok(())
///     });
/// ```
#[derive(Default)]
pub struct LambdaCallback {
    train_begin: Option<Train>,
    epoch_begin: Option<EpochBegin>,
    batch_end: Option<BatchEnd>,
    epoch_end: Option<EpochEnd>,
    train_end: Option<Train>,
}

/// A callback from one closure, called with (epoch from 0, logs, control) after each epoch.
///
/// # Examples
/// ```
/// use kiln_train::StopReason;
/// use kiln_train::callbacks::on_epoch_end;
/// let callback = on_epoch_end(|_epoch, logs, control| {
///     if logs.get("accuracy").is_some_and(|accuracy| accuracy > 0.99) {
///         control.stop(StopReason::Callback { message: "99% reached".into() });
///     }
///     Ok(())
/// });
/// ```
pub fn on_epoch_end(
    hook: impl FnMut(usize, &mut Logs, &mut dyn Control) -> Result<()> + Send + 'static,
) -> LambdaCallback {
    LambdaCallback::new().on_epoch_end(hook)
}

impl LambdaCallback {
    /// A callback that does nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Called before the first epoch.
    #[must_use]
    pub fn on_train_begin(mut self, hook: impl FnMut(&mut dyn Control) -> Result<()> + Send + 'static) -> Self {
        self.train_begin = Some(Box::new(hook));
        self
    }

    /// Called before each epoch with its number.
    #[must_use]
    pub fn on_epoch_begin(mut self, hook: impl FnMut(usize, &mut dyn Control) -> Result<()> + Send + 'static) -> Self {
        self.epoch_begin = Some(Box::new(hook));
        self
    }

    /// Called after each batch with its number and the running values.
    #[must_use]
    pub fn on_batch_end(
        mut self,
        hook: impl FnMut(usize, &Logs, &mut dyn Control) -> Result<()> + Send + 'static,
    ) -> Self {
        self.batch_end = Some(Box::new(hook));
        self
    }

    /// Called after each epoch with its number and its values.
    #[must_use]
    pub fn on_epoch_end(
        mut self,
        hook: impl FnMut(usize, &mut Logs, &mut dyn Control) -> Result<()> + Send + 'static,
    ) -> Self {
        self.epoch_end = Some(Box::new(hook));
        self
    }

    /// Called after the last epoch.
    #[must_use]
    pub fn on_train_end(mut self, hook: impl FnMut(&mut dyn Control) -> Result<()> + Send + 'static) -> Self {
        self.train_end = Some(Box::new(hook));
        self
    }
}

impl Callback for LambdaCallback {
    fn name(&self) -> &str {
        "LambdaCallback"
    }

    fn wants_batches(&self) -> bool {
        self.batch_end.is_some()
    }

    fn on_train_begin(&mut self, control: &mut dyn Control) -> Result<()> {
        self.train_begin.as_mut().map_or(Ok(()), |hook| hook(control))
    }

    fn on_epoch_begin(&mut self, epoch: usize, control: &mut dyn Control) -> Result<()> {
        self.epoch_begin.as_mut().map_or(Ok(()), |hook| hook(epoch, control))
    }

    fn on_batch_end(&mut self, batch: usize, logs: &Logs, control: &mut dyn Control) -> Result<()> {
        self.batch_end.as_mut().map_or(Ok(()), |hook| hook(batch, logs, control))
    }

    fn on_epoch_end(&mut self, epoch: usize, logs: &mut Logs, control: &mut dyn Control) -> Result<()> {
        self.epoch_end.as_mut().map_or(Ok(()), |hook| hook(epoch, logs, control))
    }

    fn on_train_end(&mut self, control: &mut dyn Control) -> Result<()> {
        self.train_end.as_mut().map_or(Ok(()), |hook| hook(control))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;
    use super::*;
    use crate::history::StopReason;

    #[test]
    fn each_closure_is_called_at_its_place() {
        let mut fake = Fake::default();
        let mut callback = LambdaCallback::new()
            .on_train_begin(|control| {
                control.message("train begin");
                Ok(())
            })
            .on_epoch_begin(|epoch, control| control.set_learning_rate(epoch as f64))
            .on_batch_end(|_, _, _| Ok(()))
            .on_epoch_end(|epoch, logs, control| {
                logs.set("twice", logs.get("loss").unwrap_or(0.0) * 2.0);
                control.message(&format!("{epoch}: {logs}"));
                if epoch == 1 {
                    control.stop(StopReason::Callback { message: "enough".into() });
                }
                Ok(())
            })
            .on_train_end(|control| {
                control.message("train end");
                Ok(())
            });
        assert!(callback.wants_batches() && !on_epoch_end(|_, _, _| Ok(())).wants_batches());
        assert_eq!(fake.run(&mut callback, "loss", &[0.5; 9]).1, [0.0, 1.0]);
        assert_eq!(
            fake.messages,
            ["train begin", "0: loss: 0.5000 - twice: 1.0000", "1: loss: 0.5000 - twice: 1.0000", "train end"]
        );
    }
}
