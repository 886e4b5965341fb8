//! Steps of training as plans: forward pass, gradients, update and metrics are recorded once for each shape of batches,
//! and run again from then on.

use crate::Result;
use crate::data::Batch;
use crate::model::Model;
use crate::running::MetricState;
use kiln_nn::optimizers::{Optimizer, RecordedUpdate};
use kiln_nn::{Device, Key, Module, Plan, Spec, Tensor, Trace, Watch};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Plans that are kept: those of the last shapes of batches and kinds of updates.
const KEPT: usize = 8;
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
    /// Whether that was asked for.
    by_request: bool,
    /// Whether steps were run under a watch, of which no plan is made.
    is_watched: bool,
}

/// What a step of training is given beside the model's state.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a> {
    pub(crate) batch: &'a Batch,
    /// The weights of the samples, those of their classes included.
    pub(crate) weights: Option<&'a Tensor>,
    /// The run's key for layers; a step folds its number into it.
    pub(crate) key: &'a Key,
}

/// One step of training.
struct StepPlan {
    plan: Plan,
    /// What readers are told of its inputs.
    names: Vec<String>,
    /// How many of them are the batch, with the weights of its samples.
    of_batch: usize,
    update: RecordedUpdate,
    /// Whether it has been compared with a step that ran one operation at a time.
    is_checked: bool,
}

impl StepPlan {
    /// The plan below the shapes of the batches that it serves, or no more of it than its head.
    fn explain(&self, whole: bool) -> String {
        const HEAD: usize = 2;
        let of_batch = self.plan.inputs().iter().zip(&self.names).take(self.of_batch);
        let shapes: Vec<String> = of_batch.map(|(spec, name)| format!("{name} {spec:?}")).collect();
        let plan = self.plan.explain_with(&self.names);
        let lines = plan.split_inclusive('\n').take(if whole { usize::MAX } else { HEAD });
        format!("for batches of {}:\n{}", shapes.join(", "), lines.collect::<String>())
    }

    /// How many elements it is given at a time.
    fn elements(&self) -> usize {
        self.plan.inputs().iter().take(self.of_batch).map(|spec| spec.shape.count()).sum()
    }
}

impl Plans {
    pub(crate) fn run_eagerly(&mut self, eagerly: bool) {
        let eager = eagerly.then(|| "run_eagerly was asked for".to_owned());
        *self = Plans { eager, by_request: eagerly, ..Plans::default() };
    }

    pub(crate) fn is_eager_by_request(&self) -> bool {
        self.by_request
    }

    /// Forgets what was recorded of a model that may have changed.
    pub(crate) fn forget(&mut self) {
        if !self.by_request {
            *self = Plans::default();
        }
    }

    /// Has every plan compared once more with its operations one by one: something may have changed since.
    pub(crate) fn check_again(&mut self) {
        self.plans.iter_mut().for_each(|step| step.is_checked = false);
    }

    /// Tells readers that steps are watched until plans are forgotten.
    pub(crate) fn watched(&mut self) {
        self.is_watched = true;
    }

    /// Why steps are run one operation at a time, unless that was asked for.
    pub(crate) fn given_up(&self) -> Option<&str> {
        self.eager.as_deref().filter(|_| !self.by_request)
    }

    fn give_up(&mut self, why: impl Into<String>) {
        self.plans.clear();
        self.eager = Some(why.into());
    }

    pub(crate) fn explain(&self) -> String {
        match (&self.eager, &self.plans[..]) {
            (Some(why), _) => format!("no plan: each operation is run by itself, because {why}\n"),
            (None, []) if self.is_watched => {
                "no plan: check_finite runs each operation by itself and looks at its result\n".to_owned()
            }
            (None, []) => "no plan yet: the second batch of a shape makes one\n".to_owned(),
            (None, plans) => {
                // Whole batches first; a last one that is smaller has the same steps.
                let mut plans: Vec<&StepPlan> = plans.iter().collect();
                plans.sort_by_key(|plan| std::cmp::Reverse(plan.elements()));
                plans.iter().enumerate().map(|(i, plan)| plan.explain(i == 0)).collect::<Vec<_>>().join("\n")
            }
        }
    }
}

/// What was recorded stays with the original: a clone records its own steps.
impl Clone for Plans {
    fn clone(&self) -> Plans {
        let mut plans = Plans::default();
        plans.run_eagerly(self.by_request);
        plans
    }
}

impl fmt::Debug for Plans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plans").field("plans", &self.plans.len()).field("eager", &self.eager).finish()
    }
}

impl<M: Module> Model<M> {
    /// One step of training, and its batch in the metrics; returns the loss, which nobody has read yet.
    pub(crate) fn train_batch(&mut self, given: Given<'_>, state: &mut MetricState) -> Result<Tensor> {
        let moved;
        let given = match self.device {
            Device::Cpu => given,
            Device::Cuda(_) => {
                moved = self.there(given)?;
                Given { batch: &moved.0, weights: moved.1.as_ref(), ..given }
            }
        };
        // The first step gives metrics and optimizer their tensors.
        if self.plans.eager.is_some() || state.is_fresh() || !self.optimizer.can_record() {
            return self.eager_batch(given, state);
        }
        let trainable = self.trainable();
        if self.plans.trainable != trainable {
            self.plans.forget();
            self.plans.trainable = trainable;
        }
        // Along what lies otherwise sums may be taken in another order than along the dense copies of a recording.
        let of_batch = given.batch.inputs.iter().chain(&given.batch.targets).chain(given.weights);
        let mut is_dense = of_batch.clone().all(|x| x.layout().is_contiguous());
        // One value for all elements, as what is kept for a parameter that no gradient reaches, has no order. It lives on no
        // device either, which only a plan of the CPU may take for its own.
        let on_cpu = self.device == Device::Cpu;
        self.visit_state(state, &mut |tensor| {
            let layout = tensor.layout();
            is_dense &= layout.is_contiguous() || on_cpu && layout.strides().iter().all(|step| *step == 0);
        })?;
        match (is_dense, self.plans.plans.is_empty()) {
            (false, _) => self.eager_batch(given, state),
            (true, true) => self.record_batch(given, state),
            (true, false) => self.planned_batch(given, state),
        }
    }

    /// A step by a plan that fits it, or by one that is made of it.
    fn planned_batch(&mut self, given: Given<'_>, state: &mut MetricState) -> Result<Tensor> {
        let mut inputs: Vec<Tensor> =
            given.batch.inputs.iter().chain(&given.batch.targets).chain(given.weights).cloned().collect();
        inputs.extend(given.key.fold(self.steps).operands());
        let of_batch = inputs.len();
        // Taken out, so that what is updated is nobody else's; what stands there meanwhile lives in no memory.
        let taken = self.visit_state(state, &mut |tensor| {
            let stand_in = Tensor::filled(tensor.spec(), 0.0);
            inputs.push(std::mem::replace(tensor, stand_in));
        });
        let step = taken.map(|()| self.plans.take(&inputs, &self.optimizer));
        let Ok(Some(mut step)) = step else {
            self.put_back(state, &inputs[of_batch..])?;
            return step.and_then(|_| self.record_batch(given, state));
        };
        let states = of_batch..inputs.len();
        let weight = given.batch.len() as f64;
        let numbers = self.optimizer.loss_scale().into_iter().chain(self.optimizer.numbers(weight));
        inputs.extend(numbers.map(Tensor::number));
        // Whatever a kernel does, what was taken out is put back.
        let results = catch_unwind(AssertUnwindSafe(|| match step.is_checked {
            true => step.plan.run_in_place(&mut inputs).map(|()| Vec::new()),
            false => step.plan.run(&inputs.iter().collect::<Vec<_>>()),
        }));
        if step.is_checked && matches!(results, Ok(Ok(_))) {
            let mut results = inputs.into_iter();
            let mut next = || results.next().unwrap_or_else(|| unreachable!("a plan gives what was recorded"));
            let loss = next();
            self.visit_state(state, &mut |tensor| *tensor = next())?;
            let counted = self.optimizer.count_step(&step.update, weight);
            self.steps += 1;
            self.plans.keep(step);
            return counted.map(|()| loss).map_err(Into::into);
        }
        // Nothing has changed. One operation after the other tells an error at its place, and whether a new plan is right.
        self.put_back(state, &inputs[states])?;
        drop(inputs);
        let results = results.unwrap_or_else(|panic| resume_unwind(panic));
        let outcome = self.eager_batch(given, state);
        let Ok(loss) = &outcome else {
            self.plans.keep(step);
            return outcome;
        };
        let mut eager = vec![loss.clone()];
        self.visit_state(state, &mut |tensor| eager.push(tensor.clone()))?;
        match results {
            Ok(results) if results.iter().zip(&eager).all(|(a, b)| a.same_bits(b)) => {
                step.is_checked = true;
                self.plans.keep(step);
            }
            Ok(_) => self.plans.give_up(
                "a step that was recorded gave other numbers than the same operations one by one: something in the \
                 model changes from step to step and is neither a parameter nor a random key of the pass",
            ),
            Err(error) => self.plans.give_up(format!("a plan could not be run:\n{error}")),
        }
        outcome
    }

    /// A batch and the weights of its samples on the model's device.
    fn there(&self, given: Given<'_>) -> Result<(Batch, Option<Tensor>)> {
        let weights = given.weights.map(|weights| weights.to_device(self.device)).transpose()?;
        Ok((self.moved(given.batch)?, weights))
    }

    /// A step one operation at a time.
    pub(crate) fn eager_batch(&mut self, given: Given<'_>, state: &mut MetricState) -> Result<Tensor> {
        let (batch, weights) = self.there(given)?;
        let (weights, key) = (weights.as_ref(), given.key.fold(self.steps));
        let output = self.step(&batch, weights, key, state.measures_norm(), None)?;
        state.update(&batch, &output, weights)?;
        Ok(output.loss)
    }

    /// [`Model::eager_batch`] with the step under a watch for results that are not finite. One that fails changes no parameter,
    /// and what the optimizer keeps only where a first step has made it.
    pub(crate) fn watched_batch(&mut self, given: Given<'_>, state: &mut MetricState) -> Result<Tensor> {
        let watch = Watch::new();
        let mut before = Vec::new();
        let (moved, plain) = self.there(given)?;
        let batch = moved.map(|name, x| Ok(watch.input(name, x)))?;
        let weights = plain.as_ref().map(|weights| watch.input("the weights of samples", weights));
        self.visit_learned(&mut |name, tensor| {
            before.push(tensor.clone());
            *tensor = watch.input(&name.to_string(), tensor);
        })?;
        let steps = self.steps;
        let (key, norm) = (given.key.fold(self.steps), state.measures_norm());
        let output = catch_unwind(AssertUnwindSafe(|| self.step(&batch, weights.as_ref(), key, norm, None)));
        let mut known = 0;
        self.visit_learned(&mut |_, tensor| {
            known += 1;
            *tensor = tensor.untraced();
        })?;
        if self.steps == steps {
            // Parameters come first. A first step that has failed may have made slots that nothing stands for.
            before.truncate(if known == before.len() { known } else { self.paths.len() });
            self.put_back(state, &before)?;
        }
        let mut output = output.unwrap_or_else(|panic| resume_unwind(panic))?;
        output.untraced();
        state.update(&moved, &output, plain.as_ref())?;
        Ok(output.loss)
    }

    /// [`Model::eager_batch`], and a plan of it.
    fn record_batch(&mut self, given: Given<'_>, state: &mut MetricState) -> Result<Tensor> {
        let trace = Trace::new();
        let batch = given.batch.map(|_, x| Ok(trace.input(x)?))?;
        let weights = given.weights.map(|weights| trace.input(weights)).transpose()?;
        let key = given.key.fold(self.steps).traced_by(&trace)?;
        let (mut specs, mut inputs) = (Vec::new(), Ok(()));
        self.visit_state(state, &mut |tensor| match trace.input(tensor) {
            Ok(input) => {
                specs.push(input.spec());
                *tensor = input;
            }
            Err(error) => inputs = Err(error),
        })?;
        let norm = state.measures_norm();
        let step = |model: &mut Self| model.step(&batch, weights.as_ref(), key, norm, Some(&trace));
        let output = inputs.map_err(Into::into).and_then(|()| step(self));
        let outcome = output.and_then(|output| state.update(&batch, &output, weights.as_ref()).map(|()| output));
        let mut results = Vec::new();
        self.visit_state(state, &mut |tensor| {
            results.push(tensor.clone());
            *tensor = tensor.untraced();
        })?;
        let loss = outcome.as_ref().map(|output| output.loss.clone()).ok();
        // The recording ends in any case: what is kept of it somewhere must not go on with it.
        let plan = trace.finish(&loss.iter().chain(&results).collect::<Vec<_>>());
        let output = outcome?;
        let is_steady = results.iter().map(Tensor::spec).eq(specs);
        let names = self.names(given, state)?;
        let of_batch = batch.inputs.len() + batch.targets.len() + usize::from(weights.is_some());
        match (plan, output.update) {
            _ if state.hides() => self.plans.give_up("a metric does not show what it keeps (Metric::visit)"),
            (Ok(plan), Some(update)) if is_steady => {
                self.plans.recorded(StepPlan { plan, names, of_batch, update, is_checked: false });
            }
            (Ok(_), _) => self.plans.give_up("a metric keeps tensors of other shapes from step to step"),
            (Err(error), _) => self.plans.give_up(format!("no plan can be made of a step:\n{error}")),
        }
        Ok(output.loss.untraced())
    }

    /// What a recorded step is given, in the order of its inputs; those beyond the state are the numbers of the update.
    fn names(&mut self, given: Given<'_>, state: &mut MetricState) -> Result<Vec<String>> {
        let mut names = given.batch.names();
        names.extend(given.weights.map(|_| "weights".to_owned()));
        names.extend(["key/seed", "key/stream"].map(str::to_owned));
        let rule = self.optimizer.name().to_lowercase();
        self.module.parameters(&mut |path, _| names.push(path.to_owned()));
        self.optimizer.visit(&mut |parameter, slot, _| {
            names.push(format!("{rule}/{slot} of {parameter}"));
            Ok(())
        })?;
        state.visit_named(&mut |metric, slot, _| names.push(format!("{metric}/{slot}")))?;
        names.extend(self.optimizer.loss_scale().map(|_| format!("{rule}/loss scale")));
        names.extend(self.optimizer.number_names().iter().map(|name| format!("{rule}/{name}")));
        Ok(names)
    }

    /// Calls `f` with every tensor that a step changes, always in the same order.
    fn visit_state(&mut self, state: &mut MetricState, f: &mut dyn FnMut(&mut Tensor)) -> Result<()> {
        self.visit_learned(&mut |_, tensor| f(tensor))?;
        state.visit(f)
    }

    /// Those of them that are the model's, parameters first, with names for readers.
    pub(crate) fn visit_learned(&mut self, f: &mut dyn FnMut(fmt::Arguments<'_>, &mut Tensor)) -> Result<()> {
        self.module.parameters_mut(&mut |path, parameter| f(format_args!("{path}"), &mut parameter.tensor));
        self.optimizer.visit(&mut |parameter, slot, tensor| {
            f(format_args!("the optimizer's {slot} of {parameter}"), tensor);
            Ok(())
        })?;
        Ok(())
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
    /// The plan that was made for tensors like these, numbers and the optimizer's next step; it is taken out.
    fn take(&mut self, inputs: &[Tensor], optimizer: &Optimizer) -> Option<StepPlan> {
        let fits = |spec: &Spec, x: &Tensor| x.spec() == *spec && x.spec().is_number() == spec.is_number();
        let serves = |step: &StepPlan| {
            let specs = step.plan.inputs();
            optimizer.repeats(&step.update)
                && inputs.len() <= specs.len()
                && specs.iter().zip(inputs).all(|(spec, x)| fits(spec, x))
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
