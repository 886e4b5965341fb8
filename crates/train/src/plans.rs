//! Steps of training as plans: forward pass, gradients, update and metrics are recorded once for each shape of batches,
//! and run again from then on.

use crate::Result;
use crate::data::Batch;
use crate::model::{MetricState, Model};
use kiln_nn::optimizers::RecordedUpdate;
use kiln_nn::{Key, Module, Plan, Spec, Tensor, Trace};
use std::fmt;

/// Plans that are kept: those of the last shapes of batches.
const KEPT: usize = 4;
/// After so many recordings in a row without a step that one of them serves, steps are run one operation at a time.
const FRUITLESS: usize = 8;

/// The plans of a model, and why there are none.
#[derive(Default)]
pub(crate) struct Plans {
    plans: Vec<StepPlan>,
    /// The parameters that were trained when they were recorded.
    trainable: Vec<bool>,
    fruitless: usize,
    /// Why steps are run one operation at a time.
    eager: Option<String>,
}

/// One step of training.
struct StepPlan {
    plan: Plan,
    update: RecordedUpdate,
    /// Whether it has been compared with a step that ran one operation at a time.
    is_checked: bool,
}

impl Plans {
    pub(crate) fn run_eagerly(&mut self, eagerly: bool) {
        *self = Plans { eager: eagerly.then(|| "run_eagerly was asked for".to_owned()), ..Plans::default() };
    }

    /// Forgets what was recorded of a model that may have changed.
    pub(crate) fn forget(&mut self) {
        (self.plans, self.fruitless) = (Vec::new(), 0);
    }

    fn give_up(&mut self, why: impl Into<String>) {
        self.plans.clear();
        self.eager = Some(why.into());
    }

    pub(crate) fn explain(&self, can_record: bool) -> String {
        match (&self.eager, &self.plans[..]) {
            (None, _) if !can_record => {
                "no plan: the updates of this optimizer, with these settings, are not one operation each\n".to_owned()
            }
            (Some(why), _) => format!("no plan: each operation is run by itself, because {why}\n"),
            (None, []) => "no plan yet: the second batch of a shape makes one\n".to_owned(),
            (None, plans) => plans.iter().map(|step| step.plan.explain()).collect(),
        }
    }
}

impl fmt::Debug for Plans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plans").field("plans", &self.plans.len()).field("eager", &self.eager).finish()
    }
}

impl<M: Module> Model<M> {
    /// One step of training, and its batch in the metrics; returns the loss, which nobody has read yet.
    pub(crate) fn train_batch(
        &mut self,
        batch: &Batch,
        weights: Option<&Tensor>,
        key: Key,
        state: &mut MetricState,
    ) -> Result<Tensor> {
        // The first step gives metrics and optimizer their tensors.
        if self.plans.eager.is_some() || state.is_fresh() || !self.optimizer.can_record() {
            return self.eager_batch(batch, weights, key, state);
        }
        let trainable = self.trainable();
        if self.plans.trainable != trainable {
            self.plans.forget();
            self.plans.trainable = trainable;
        }
        if self.plans.plans.is_empty() {
            return self.record_batch(batch, weights, key, state);
        }
        let mut inputs = vec![batch.x.clone(), batch.y.clone()];
        inputs.extend(weights.cloned());
        let of_batch = inputs.len();
        // Taken out, so that what is updated is nobody else's; what stands there meanwhile lives in no memory.
        let taken = self.visit_state(state, &mut |tensor| {
            let stand_in = Tensor::filled(tensor.spec(), 0.0);
            inputs.push(std::mem::replace(tensor, stand_in));
        });
        let step = taken.map(|()| self.plans.take(&inputs)).and_then(|step| match step {
            Some(step) => Ok(self.optimizer.numbers(&step.update)?.map(|numbers| (step, numbers))),
            None => Ok(None),
        });
        let Ok(Some((mut step, numbers))) = step else {
            self.put_back(state, &inputs[of_batch..])?;
            return step.and_then(|_| self.record_batch(batch, weights, key, state));
        };
        let states = of_batch..inputs.len();
        inputs.extend(numbers.into_iter().map(Tensor::number));
        if !step.is_checked {
            let planned = step.plan.run(&inputs.iter().collect::<Vec<_>>());
            self.put_back(state, &inputs[states])?;
            drop(inputs);
            let loss = self.eager_batch(batch, weights, key, state)?;
            let mut eager = vec![loss.clone()];
            self.visit_state(state, &mut |tensor| eager.push(tensor.clone()))?;
            match planned.is_ok_and(|planned| planned.iter().zip(&eager).all(|(a, b)| a.same_bits(b))) {
                true => {
                    step.is_checked = true;
                    self.plans.keep(step);
                }
                false => self.plans.give_up(
                    "a step that was recorded gave other numbers than the same operations one by one: something in \
                     the model changes from step to step and is neither a parameter nor a random key of the pass",
                ),
            }
            return Ok(loss);
        }
        match step.plan.run_owned(&mut inputs) {
            Ok(results) => {
                let mut results = results.into_iter();
                let mut next = || results.next().unwrap_or_else(|| unreachable!("a plan gives what was recorded"));
                let loss = next();
                self.visit_state(state, &mut |tensor| *tensor = next())?;
                self.optimizer.count_update();
                self.steps += 1;
                self.plans.keep(step);
                Ok(loss)
            }
            Err(_) => {
                // Nothing has changed; one operation after the other tells the error at its place.
                self.plans.keep(step);
                self.put_back(state, &inputs[states])?;
                drop(inputs);
                self.eager_batch(batch, weights, key, state)
            }
        }
    }

    /// A step one operation at a time.
    fn eager_batch(
        &mut self,
        batch: &Batch,
        weights: Option<&Tensor>,
        key: Key,
        state: &mut MetricState,
    ) -> Result<Tensor> {
        let output = self.step(batch, weights, key, None)?;
        state.update(batch, &output, weights)?;
        Ok(output.loss)
    }

    /// [`Model::eager_batch`], and a plan of it.
    fn record_batch(
        &mut self,
        batch: &Batch,
        weights: Option<&Tensor>,
        key: Key,
        state: &mut MetricState,
    ) -> Result<Tensor> {
        let trace = Trace::new();
        let traced = Batch { x: trace.input(&batch.x)?, y: trace.input(&batch.y)?, sample_weight: None };
        let weights = weights.map(|weights| trace.input(weights)).transpose()?;
        let (mut specs, mut inputs) = (Vec::new(), Ok(()));
        self.visit_state(state, &mut |tensor| match trace.input(tensor) {
            Ok(input) => {
                specs.push(input.spec());
                *tensor = input;
            }
            Err(error) => inputs = Err(error),
        })?;
        let output = inputs.map_err(Into::into).and_then(|()| self.step(&traced, weights.as_ref(), key, Some(&trace)));
        let outcome = output.and_then(|output| state.update(&traced, &output, weights.as_ref()).map(|()| output));
        let mut results = Vec::new();
        self.visit_state(state, &mut |tensor| {
            results.push(tensor.clone());
            *tensor = tensor.untraced();
        })?;
        let mut output = outcome?;
        let loss = output.loss.untraced();
        let is_steady = results.iter().map(Tensor::spec).eq(specs);
        let update = output.update.take().filter(|_| is_steady);
        match update {
            _ if state.hides() => self.plans.give_up("a metric does not show what it keeps (Metric::visit)"),
            _ if output.draws => self.plans.give_up("its layers draw random numbers"),
            None => self.plans.give_up("a metric keeps tensors of other shapes from step to step"),
            Some(update) => {
                let all: Vec<&Tensor> = std::iter::once(&output.loss).chain(&results).collect();
                match trace.finish(&all) {
                    Ok(plan) => self.plans.recorded(StepPlan { plan, update, is_checked: false }),
                    Err(error) => self.plans.give_up(format!("no plan can be made of a step:\n{error}")),
                }
            }
        }
        Ok(loss)
    }

    /// Calls `f` with every tensor that a step changes, always in the same order.
    fn visit_state(&mut self, state: &mut MetricState, f: &mut dyn FnMut(&mut Tensor)) -> Result<()> {
        self.module.parameters_mut(&mut |_, parameter| f(&mut parameter.tensor));
        self.optimizer.visit(&mut |_, _, tensor| {
            f(tensor);
            Ok(())
        })?;
        state.visit(f)
    }

    /// Gives every tensor of a state back what was taken out.
    fn put_back(&mut self, state: &mut MetricState, taken: &[Tensor]) -> Result<()> {
        let mut taken = taken.iter();
        self.visit_state(state, &mut |tensor| {
            if let Some(taken) = taken.next() {
                *tensor = taken.clone();
            }
        })
    }

    fn trainable(&self) -> Vec<bool> {
        let mut trainable = Vec::with_capacity(self.plans.trainable.len());
        self.module.parameters(&mut |_, parameter| trainable.push(parameter.trainable));
        trainable
    }
}

impl Plans {
    /// The plan that was made for tensors like these, and numbers; it is taken out.
    fn take(&mut self, inputs: &[Tensor]) -> Option<StepPlan> {
        let fits = |spec: &Spec, x: &Tensor| x.spec() == *spec && x.spec().is_number() == spec.is_number();
        let serves = |step: &StepPlan| {
            let specs = step.plan.inputs();
            inputs.len() <= specs.len() && specs.iter().zip(inputs).all(|(spec, x)| fits(spec, x))
        };
        let found = self.plans.iter().position(serves)?;
        Some(self.plans.remove(found))
    }

    /// Puts a plan that has served in front.
    fn keep(&mut self, step: StepPlan) {
        self.fruitless = 0;
        self.plans.insert(0, step);
    }

    fn recorded(&mut self, step: StepPlan) {
        self.plans.insert(0, step);
        self.plans.truncate(KEPT);
        self.fruitless += 1;
        if self.fruitless > FRUITLESS {
            self.give_up("the shapes of batches or of a metric's state change with every step");
        }
    }
}
