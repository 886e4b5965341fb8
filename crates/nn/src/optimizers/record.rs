//! An update that is recorded as part of a step of training: its numbers, which change from step to step, become inputs of
//! the recording, and later steps ask the rule for them alone.

use super::{Optimizer, ParameterUpdate, Sealed, Step, updated_in};
use crate::Result;
use kiln_autograd::{Op, Spec, Tensor, Trace};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// An update as [`Optimizer::record`] has seen it.
#[derive(Debug)]
pub struct RecordedUpdate(Vec<Call>);

/// The update of one parameter.
#[derive(Debug)]
struct Call {
    /// The number of the optimizer's entry.
    entry: usize,
    op: Arc<dyn Op>,
    /// What stands for the parameter, its gradient and its slots when only numbers are asked for.
    x: Vec<Tensor>,
}

/// What becomes of the numbers of an update.
#[derive(Debug, Clone, Default)]
pub(super) enum Numbers {
    /// Operands of the kernels.
    #[default]
    Plain,
    /// Operands that are inputs of a recording.
    Recorded(Trace, Rc<RefCell<Vec<Arc<dyn Op>>>>),
    /// They are gathered, and nothing is computed.
    Gathered(Rc<RefCell<Gathered>>),
}

/// The numbers so far, and whether the rule has asked for the operation that was expected.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    numbers: Vec<f64>,
    expected: Option<Arc<dyn Op>>,
    is_other: bool,
}

impl Gathered {
    /// Takes the numbers of an operation.
    pub(super) fn take<O: Op + PartialEq>(&mut self, op: &O, numbers: impl Iterator<Item = f64>) {
        let expected = self.expected.take();
        self.is_other |= expected.is_none_or(|expected| expected.as_any().downcast_ref() != Some(op));
        self.numbers.extend(numbers);
    }
}

impl Numbers {
    /// A number as an operand.
    pub(super) fn operand(&self, number: f64) -> Result<Tensor> {
        match self {
            Numbers::Recorded(trace, _) => Ok(trace.input(&Tensor::number(number))?),
            Numbers::Plain | Numbers::Gathered(_) => Ok(Tensor::number(number)),
        }
    }
}

impl Optimizer {
    /// Whether [`Optimizer::record`] can: an update of a rule that is one operation for each parameter, of every step
    /// alike. Accumulated gradients, and averages that replace the parameters now and then or are not begun, make steps that
    /// differ; and the rules of users, and those that look at whole tensors, are more than one operation.
    pub fn can_record(&self) -> bool {
        let settings = &self.settings;
        self.rule.is_in_place(Sealed)
            && settings.gradient_accumulation_steps.unwrap_or(1) == 1
            && self.pending.1 == 0
            && (!settings.use_ema || (settings.ema_overwrite_frequency.is_none() && self.iterations > 0))
    }

    /// [`Optimizer::apply`] on parameters that `trace` records. What changes from step to step, the learning rate and the
    /// corrections of moments, becomes its next inputs; [`Optimizer::numbers`] gives them for another step.
    ///
    /// # Errors
    /// As there.
    pub fn record(&mut self, parameters: &mut [ParameterUpdate<'_>], trace: &Trace) -> Result<RecordedUpdate> {
        let with_gradient: Vec<usize> = (0..parameters.len()).filter(|&i| parameters[i].gradient.is_some()).collect();
        let ops = Rc::default();
        self.apply_with(parameters, 1.0, &Numbers::Recorded(trace.clone(), Rc::clone(&ops)))?;
        let ops = ops.take();
        let call = |(entry, op): (usize, Arc<dyn Op>)| {
            let known = &self.entries[entry];
            let stand_in = |spec: Spec| Tensor::filled(Spec::new(spec.shape, updated_in(spec.dtype)), 0.0);
            let slots = known.slots.iter().map(|slot| slot.1.spec());
            Call { entry, op, x: [known.spec; 2].into_iter().chain(slots).map(stand_in).collect() }
        };
        Ok(RecordedUpdate(with_gradient.into_iter().zip(ops).map(call).collect()))
    }

    /// The numbers of the next update, in the order of the inputs that [`Optimizer::record`] has made; `None` where the
    /// next update is not the operations that were recorded.
    ///
    /// # Errors
    /// Those of the rule.
    pub fn numbers(&self, update: &RecordedUpdate) -> Result<Option<Vec<f64>>> {
        let (t, rate, product) = self.upcoming();
        let gathered: Rc<RefCell<Gathered>> = Rc::default();
        for Call { entry, op, x } in &update.0 {
            gathered.borrow_mut().expected = Some(Arc::clone(op));
            let keep = self.keep(&self.entries[*entry].name, rate);
            let numbers = Numbers::Gathered(Rc::clone(&gathered));
            let step = Step { t, rate, product, keep, scale: Tensor::number(1.0), numbers };
            self.rule.update(&step, x.clone())?;
        }
        let Gathered { numbers, is_other, .. } = gathered.take();
        Ok((!is_other).then_some(numbers))
    }

    /// Counts an update that a recording has done in this optimizer's place.
    pub fn count_update(&mut self) {
        self.product = self.upcoming().2;
        self.iterations += 1;
        self.steps += 1;
    }

    /// Shows each tensor that is kept for a parameter, with the names of the parameter and of the slot.
    ///
    /// # Errors
    /// The visitor's.
    pub fn visit(&mut self, f: &mut dyn FnMut(&str, &str, &mut Tensor) -> Result<()>) -> Result<()> {
        for entry in &mut self.entries {
            for (slot, tensor) in &mut entry.slots {
                f(&entry.name, slot, tensor)?;
            }
            for (slot, tensor) in [("average", &mut entry.average), ("accumulated", &mut entry.accumulated)] {
                if let Some(tensor) = tensor {
                    f(&entry.name, slot, tensor)?;
                }
            }
        }
        Ok(())
    }
}
