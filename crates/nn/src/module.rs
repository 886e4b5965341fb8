//! What a model is to the rest: something with parameters that maps a value to a value. A pass through it is `module/pass.rs`.

mod pass;

pub use pass::Pass;
pub(crate) use pass::Reported;

use crate::{Activation, Constraint, Error, Result, Signal};
use kiln_autograd::ops::Value;
use kiln_autograd::{DType, Shape, Spec, Tensor, Var};
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};

/// A tensor that belongs to a model: a weight, or a statistic such as a moving mean.
///
/// Each has an identity, which it keeps wherever it is moved and whatever its tensor becomes. A clone is another
/// parameter.
#[derive(Debug)]
pub struct Parameter {
    /// The numbers.
    pub tensor: Tensor,
    /// Whether training changes it: a weight through the optimizer, a statistic through the layer that it belongs to. What a
    /// frozen statistic is used for is as in inference: a batch normalization takes its moving mean.
    pub trainable: bool,
    role: Role,
    constraint: Option<Constraint>,
    id: u64,
}

/// Who changes a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The optimizer, by its gradient.
    Weight,
    /// The layer that it belongs to, with [`Pass::update`].
    Statistic,
}

impl Clone for Parameter {
    fn clone(&self) -> Parameter {
        let constraint = self.constraint;
        Parameter {
            trainable: self.trainable,
            ..Parameter::with(self.tensor.clone(), self.role).constraint(constraint)
        }
    }
}

impl Parameter {
    /// A weight, changed by the optimizer.
    pub fn new(tensor: Tensor) -> Parameter {
        Parameter::with(tensor, Role::Weight)
    }

    /// A weight that stays as it is.
    pub fn frozen(tensor: Tensor) -> Parameter {
        Parameter { trainable: false, ..Parameter::new(tensor) }
    }

    /// A statistic, changed by [`Pass::update`].
    pub fn statistic(tensor: Tensor) -> Parameter {
        Parameter::with(tensor, Role::Statistic)
    }

    /// Another of the same kind with this tensor, for a pass that is told what it stands for: [`Pass::assume`].
    pub(crate) fn stand_in(&self, tensor: Tensor) -> Parameter {
        Parameter { trainable: self.trainable, ..Parameter::with(tensor, self.role) }
    }

    fn with(tensor: Tensor, role: Role) -> Parameter {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Parameter { tensor, trainable: true, role, constraint: None, id }
    }

    /// Holds it to something after each update.
    #[must_use]
    pub fn constraint(mut self, constraint: Option<Constraint>) -> Parameter {
        self.constraint = constraint;
        self
    }

    /// What it is held to after each update.
    pub fn constrained(&self) -> Option<Constraint> {
        self.constraint
    }

    /// Who changes it.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether the optimizer changes it.
    pub fn is_trained(&self) -> bool {
        self.trainable && self.role == Role::Weight
    }
}

/// A model, or a part of one. [`crate::Sequential`] builds one from layers; write your own for anything else:
///
/// ```
/// use kiln_nn::{Key, Module, Parameter, Pass, Result, Shape, Tensor, Var, ops::*};
///
/// #[derive(Debug)]
/// struct Linear { weight: Parameter, bias: Parameter }
///
/// impl Linear {
///     fn new(inputs: usize, outputs: usize, key: Key) -> Result<Linear> {
///         let weight = key.uniform([inputs, outputs], -0.1, 0.1)?;
///         Ok(Linear { weight: Parameter::new(weight), bias: Parameter::new(Tensor::zeros([outputs])?) })
///     }
/// }
///
/// impl Module for Linear {
///     fn forward(&self, x: &Var, pass: &mut Pass) -> Result<Var> {
///         let (w, b) = (pass.parameter(&self.weight), pass.parameter(&self.bias));
///         Ok((x.matmul(&w) + &b)?)
///     }
///     kiln_nn::parameters!(weight, bias);
/// }
///
/// let model = Linear::new(3, 2, Key::new(0))?;
/// let y = model.forward(&Var::new(Tensor::zeros([5, 3])?), &mut Pass::inference())?;
/// assert_eq!(y.tensor().shape().dims(), [5, 2]);
/// # Ok::<(), kiln_nn::Error>(())
/// ```
///
/// [`parameters!`](crate::parameters) lists the fields that are parameters, modules, or vectors of them; it writes
/// [`Module::parameters`] and [`Module::parameters_mut`]. A module of several inputs or outputs implements
/// [`Module::forward_all`] in place of [`Module::forward`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no module",
    note = "implement `Module` for it, whose visitors `parameters!` writes; a layer becomes one by `Sequential::new(shape).add(layer)`"
)]
pub trait Module: Debug + Send {
    /// The output for a batch of inputs. Bind every parameter through [`Pass::parameter`].
    ///
    /// # Errors
    /// Inputs that do not fit; a module that has several inputs or outputs.
    fn forward(&self, x: &Var, pass: &mut Pass) -> Result<Var> {
        let _ = (x, pass);
        let text = "the module does not implement `forward`";
        Err(Error::config(text, "implement it, or, for several inputs or outputs, call and implement `forward_all`"))
    }

    /// The outputs for a batch of each input, with their masks.
    ///
    /// # Errors
    /// Inputs that do not fit.
    fn forward_all(&self, x: &[Signal], pass: &mut Pass) -> Result<Vec<Signal>> {
        let [x] = crate::layer::arity("the module", x)?;
        Ok(vec![Signal::new(self.forward(&x.value, pass)?)])
    }

    /// Calls `visit` with each parameter and its path, such as `dense_1/kernel`; always in the same order.
    fn parameters<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Parameter));

    /// [`Module::parameters`] for changing them; the same paths in the same order.
    fn parameters_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&str, &'a mut Parameter));

    /// The outputs before their last activations, for losses that are computed from logits: with a model whose
    /// [`Module::output_activations`] has a softmax, the logits. The default is [`Module::forward_all`].
    ///
    /// # Errors
    /// As [`Module::forward_all`].
    fn logits(&self, x: &[Signal], pass: &mut Pass) -> Result<Vec<Signal>> {
        self.forward_all(x, pass)
    }

    /// The activations that turn [`Module::logits`] into [`Module::forward_all`]; none where they are the same.
    fn output_activations(&self) -> Vec<Activation> {
        Vec::new()
    }

    /// The class of the layer that makes each output, and the shape of one sample of it; none where they are not known.
    fn output_layers(&self) -> Vec<(String, Shape)> {
        Vec::new()
    }

    /// The architecture as data, for a model file; `None` where it is code.
    fn config(&self) -> Option<serde_json::Value> {
        None
    }

    /// The paths of weights that are others, and so no parameters of their own, each with the path of the other.
    fn tied_weights(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Shape of one sample of each input, where they are known.
    fn input_shapes(&self) -> Option<Vec<Shape>> {
        None
    }

    /// What the inputs are called; none where they have numbers only.
    fn input_names(&self) -> Vec<String> {
        Vec::new()
    }

    /// What the outputs are called; none where they have numbers only.
    fn output_names(&self) -> Vec<String> {
        Vec::new()
    }

    /// The type that it computes in, where that is not the type of its parameters. Where it is `f16`, the loss is scaled in
    /// training ([`LossScale`](crate::optimizers::LossScale)).
    fn compute_dtype(&self) -> Option<DType> {
        None
    }

    /// The model as a table of layers, shapes and parameter counts.
    fn summary(&self) -> String {
        crate::summary::of_parameters(self)
    }
}

/// What a field of a module may be, for [`parameters!`](crate::parameters): a parameter, a module, or several.
pub trait Part {
    /// Calls `visit` with each parameter below `path`.
    fn visit<'a>(&'a self, path: &str, visit: &mut dyn FnMut(&str, &'a Parameter));
    /// [`Part::visit`] for changing them.
    fn visit_mut<'a>(&'a mut self, path: &str, visit: &mut dyn FnMut(&str, &'a mut Parameter));
}

impl Part for Parameter {
    fn visit<'a>(&'a self, path: &str, visit: &mut dyn FnMut(&str, &'a Parameter)) {
        visit(path, self);
    }
    fn visit_mut<'a>(&'a mut self, path: &str, visit: &mut dyn FnMut(&str, &'a mut Parameter)) {
        visit(path, self);
    }
}

impl<M: Module> Part for M {
    fn visit<'a>(&'a self, path: &str, visit: &mut dyn FnMut(&str, &'a Parameter)) {
        self.parameters(&mut |inner, parameter| visit(&format!("{path}/{inner}"), parameter));
    }
    fn visit_mut<'a>(&'a mut self, path: &str, visit: &mut dyn FnMut(&str, &'a mut Parameter)) {
        self.parameters_mut(&mut |inner, parameter| visit(&format!("{path}/{inner}"), parameter));
    }
}

/// Each under its number: `blocks/0/…`.
impl<P: Part> Part for Vec<P> {
    fn visit<'a>(&'a self, path: &str, visit: &mut dyn FnMut(&str, &'a Parameter)) {
        self.iter().enumerate().for_each(|(i, part)| part.visit(&format!("{path}/{i}"), visit));
    }
    fn visit_mut<'a>(&'a mut self, path: &str, visit: &mut dyn FnMut(&str, &'a mut Parameter)) {
        self.iter_mut().enumerate().for_each(|(i, part)| part.visit_mut(&format!("{path}/{i}"), visit));
    }
}

impl<P: Part> Part for Option<P> {
    fn visit<'a>(&'a self, path: &str, visit: &mut dyn FnMut(&str, &'a Parameter)) {
        self.iter().for_each(|part| part.visit(path, visit));
    }
    fn visit_mut<'a>(&'a mut self, path: &str, visit: &mut dyn FnMut(&str, &'a mut Parameter)) {
        self.iter_mut().for_each(|part| part.visit_mut(path, visit));
    }
}

/// Shows the fields of a module that hold parameters, inside its `impl Module`: [`Parameter`](crate::Parameter)s, modules, and
/// vectors and options of them. Each goes by the field's name: `weight`, `encoder/dense/kernel`, `blocks/0/norm/gamma`.
///
/// ```
/// use kiln_nn::{Module, Parameter, Pass, Result, Tensor, Var, ops::*, parameters};
///
/// /// Adds each of its biases.
/// #[derive(Debug)]
/// struct Biases { all: Vec<Parameter>, last: Option<Parameter> }
///
/// impl Module for Biases {
///     fn forward(&self, x: &Var, pass: &mut Pass) -> Result<Var> {
///         Ok(self.all.iter().chain(&self.last).try_fold(x.clone(), |x, bias| x.add(&pass.parameter(bias)))?)
///     }
///     parameters!(all, last);
/// }
///
/// let bias = || Parameter::new(Tensor::new(1.0));
/// let model = Biases { all: vec![bias(), bias()], last: Some(bias()) };
/// let paths: Vec<String> = kiln_nn::module::named_parameters(&model).into_iter().map(|(path, _)| path).collect();
/// assert_eq!(paths, ["all/0", "all/1", "last"]);
/// ```
#[macro_export]
macro_rules! parameters {
    ($($field:ident),* $(,)?) => {
        fn parameters<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a $crate::Parameter)) {
            $($crate::module::Part::visit(&self.$field, stringify!($field), visit);)*
        }
        fn parameters_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&str, &'a mut $crate::Parameter)) {
            $($crate::module::Part::visit_mut(&mut self.$field, stringify!($field), visit);)*
        }
    };
}

/// What can become a [`Module`]: a module itself, or a description that is built, such as [`crate::Sequential`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot become a model",
    note = "give a `Sequential`, a `Functional`, or a type of your own that implements `Module`"
)]
pub trait IntoModule {
    /// The module.
    type Module: Module;
    /// Builds it.
    ///
    /// # Errors
    /// A description that does not fit together.
    fn into_module(self) -> Result<Self::Module>;
}

impl<M: Module> IntoModule for M {
    type Module = M;
    fn into_module(self) -> Result<M> {
        Ok(self)
    }
}

/// Number of elements of the trainable and of the other parameters.
pub fn count_parameters(module: &(impl Module + ?Sized)) -> (usize, usize) {
    let (mut trainable, mut frozen) = (0, 0);
    module.parameters(&mut |_, p| *(if p.is_trained() { &mut trainable } else { &mut frozen }) += p.tensor.count());
    (trainable, frozen)
}

/// Freezes or thaws every parameter whose path matches a pattern, in which `*` stands for any characters, and returns how many
/// there are: `encoder/*`, `*/bias`. Frozen weights have no gradient; a batch normalization whose statistics are frozen
/// uses them, as in inference, and does not move them.
///
/// # Errors
/// A pattern that no path matches, or none but those of weights that are tied to others.
pub fn set_trainable(module: &mut (impl Module + ?Sized), pattern: &str, trainable: bool) -> Result<usize> {
    let (mut found, mut paths) = (0, Vec::new());
    module.parameters_mut(&mut |path, parameter| {
        if crate::names::matches(pattern, path) {
            parameter.trainable = trainable;
            found += 1;
        }
        paths.push(path.to_owned());
    });
    match found {
        0 => {
            let tied = module.tied_weights().into_iter().find(|(path, _)| crate::names::matches(pattern, path));
            if let Some((path, to)) = tied {
                let text = format!("`{path}` is no parameter of its own: it is tied to `{to}`");
                return Err(Error::config(text, format!("freeze or thaw that one: set_trainable(\"{to}\", …)")));
            }
            let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
            Err(Error::unknown("parameter", pattern, &paths))
        }
        found => Ok(found),
    }
}

/// Every parameter by its path.
pub fn named_parameters(module: &(impl Module + ?Sized)) -> Vec<(String, Tensor)> {
    let mut all = Vec::new();
    module.parameters(&mut |path, p| all.push((path.to_owned(), p.tensor.clone())));
    all
}

/// Puts parameters back by path.
///
/// # Errors
/// A path that is missing, or a tensor of another shape or type; nothing is changed then.
pub fn load_parameters(module: &mut (impl Module + ?Sized), mut get: impl FnMut(&str) -> Option<Tensor>) -> Result<()> {
    let mut loaded = HashMap::new();
    let mut problem = None;
    module.parameters(&mut |path, parameter| {
        if problem.is_none() {
            match fitting(path, parameter.tensor.spec(), get(path)) {
                Ok(tensor) => drop(loaded.insert(path.to_owned(), tensor)),
                Err(error) => problem = Some(error),
            }
        }
    });
    if let Some(problem) = problem {
        return Err(problem);
    }
    // By path: a module may show its parameters in another order here.
    module.parameters_mut(&mut |path, parameter| {
        if let Some(tensor) = loaded.remove(path) {
            parameter.tensor = tensor;
        }
    });
    Ok(())
}

/// The tensor that a file has under the path of a parameter, if it can be its value.
///
/// # Errors
/// There is none, or one of another shape or type.
pub fn fitting(path: &str, want: Spec, found: Option<Tensor>) -> Result<Tensor> {
    let problem = match found {
        Some(tensor) if tensor.spec() == want => return Ok(tensor),
        Some(tensor) => {
            let found = tensor.spec();
            format!(
                "`{path}` has shape {} ({}) in the model and {} ({}) in the file",
                want.shape, want.dtype, found.shape, found.dtype
            )
        }
        None => format!("`{path}` is not in the file"),
    };
    Err(Error::config(problem, "load the weights into the model that they were saved from"))
}

/// The length of the batch dimension.
pub(crate) fn batch_of(x: &Var) -> usize {
    Value::shape(x).first().copied().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_autograd::Key;
    use kiln_autograd::ops::{ArithmeticOps, ReduceOps};

    #[derive(Debug)]
    struct Shown(Vec<Parameter>);

    impl Module for Shown {
        fn forward(&self, x: &Var, pass: &mut Pass) -> Result<Var> {
            let factor = pass.parameter(&self.0[0]);
            Ok(x.mul(&factor)?)
        }
        fn parameters<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Parameter)) {
            self.0.iter().for_each(|p| visit("p", p));
        }
        fn parameters_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&str, &'a mut Parameter)) {
            self.0.iter_mut().for_each(|p| visit("p", p));
        }
    }

    fn item(var: &Var) -> f64 {
        var.tensor().item().unwrap()
    }

    #[test]
    fn parameters_are_known_by_identity_and_not_by_place() {
        let mut pass = Pass::training(Key::new(0));
        let read: Vec<f64> =
            (1..4).map(|i| item(&pass.parameter(&Parameter::new(Tensor::new(f64::from(i)))))).collect();
        assert_eq!(read, [1.0, 2.0, 3.0]);
        let boxed: Vec<f64> =
            (1..4).map(|i| item(&pass.parameter(&Box::new(Parameter::new(Tensor::new(f64::from(i))))))).collect();
        assert_eq!(boxed, [1.0, 2.0, 3.0]);

        let mut changed = Parameter::new(Tensor::new(1.0));
        let mut pass = Pass::training(Key::new(0));
        let first = pass.parameter(&changed);
        changed.tensor = Tensor::new(5.0);
        let second = pass.parameter(&changed);
        assert_eq!((item(&first), item(&second)), (1.0, 5.0));
        let loss = first.mul(&second).unwrap();
        let gradients = pass.finish(&loss, &mut Shown(vec![changed])).unwrap();
        assert_eq!(gradients[0].as_ref().unwrap().item().unwrap(), 6.0);
    }

    #[test]
    fn a_module_may_move_between_forward_and_finish() {
        let module = Shown(vec![Parameter::new(Tensor::new(2.0)), Parameter::statistic(Tensor::new(0.0))]);
        let mut pass = Pass::training(Key::new(0));
        let loss = module.forward(&Var::new(Tensor::new([3.0])), &mut pass).unwrap().sum(..).unwrap();
        pass.update(&module.0[1], Tensor::new(9.0));
        let mut moved = Box::new(Shown(module.0.into_iter().collect()));
        let gradients = pass.finish(&loss, &mut *moved).unwrap();
        assert_eq!(gradients[0].as_ref().unwrap().item().unwrap(), 3.0);
        assert_eq!(moved.0[1].tensor.item().unwrap(), 9.0);
    }

    #[test]
    fn what_a_module_hides_is_an_error() {
        let hidden = Parameter::new(Tensor::new(2.0));
        let mut pass = Pass::training(Key::new(0));
        let loss = pass.parameter(&hidden).mul(3.0).unwrap();
        let error = pass.finish(&loss, &mut Shown(vec![])).unwrap_err().to_string();
        assert!(error.contains("does not show a parameter that was used"), "{error}");
        let mut pass = Pass::training(Key::new(0));
        pass.update(&hidden, Tensor::new(1.0));
        assert!(pass.finish(&Var::new(Tensor::new(1.0)), &mut Shown(vec![])).is_err());
    }
}
