//! Values of a model that is being described: what layers are called on before there are any numbers.

use crate::layer::AnyLayer;
use crate::{Error, Result};
use kiln_autograd::{IntoShape, Shape};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An input of a functional model.
///
/// ```
/// use kiln_nn::{Connect, Functional, Input, layers::{Concatenate, Dense}};
/// let title = Input::named("title", [16]);
/// let body = Input::named("body", [64]);
/// let both = Concatenate::new().on([&title, &body])?;
/// let hidden = Dense::new(8).activation("relu").on(&both)?;
/// let priority = Dense::new(1).activation("sigmoid").named("priority").on(&hidden)?;
/// let department = Dense::new(4).activation("softmax").named("department").on(&hidden)?;
/// let model = Functional::new([&title, &body], [&priority, &department])?.build()?;
/// # assert_eq!(kiln_nn::module::count_parameters(&model).0, 80 * 8 + 8 + 9 + 36);
/// # Ok::<(), kiln_nn::Error>(())
/// ```
#[derive(Debug)]
pub struct Input;

impl Input {
    /// An input of samples of this shape, without the batch dimension.
    #[expect(clippy::new_ret_no_self, reason = "Keras's name: an input is a value like those that layers give")]
    pub fn new(shape: impl IntoShape) -> Symbol {
        Input::made(None, shape)
    }

    /// An input under a name.
    pub fn named(name: impl Into<String>, shape: impl IntoShape) -> Symbol {
        Input::made(Some(name.into()), shape)
    }

    fn made(name: Option<String>, shape: impl IntoShape) -> Symbol {
        let shape = shape.into_shape().map_err(|e| e.to_string());
        Symbol { node: Node::new(Source::Input { name, shape }), output: 0 }
    }
}

/// A value of a model that is being described: an [`Input`], or what a layer gives.
#[derive(Debug, Clone)]
pub struct Symbol {
    pub(crate) node: Arc<Node>,
    pub(crate) output: usize,
}

/// Where values come from.
#[derive(Debug)]
pub(crate) struct Node {
    /// The order in which nodes were made, in which a node comes after those it needs.
    pub(crate) serial: u64,
    pub(crate) source: Source,
}

#[derive(Debug)]
pub(crate) enum Source {
    Input { name: Option<String>, shape: Result<Shape, String> },
    Call { layer: Shared, inputs: Vec<Symbol>, outputs: Vec<Shape> },
}

impl Node {
    fn new(source: Source) -> Arc<Node> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Arc::new(Node { serial: NEXT.fetch_add(1, Ordering::Relaxed), source })
    }
}

/// A long row of values goes one by one, and not each within the one after it.
impl Drop for Node {
    fn drop(&mut self) {
        let mut open: Vec<Symbol> = Vec::new();
        let take = |node: &mut Node, open: &mut Vec<Symbol>| {
            if let Source::Call { inputs, .. } = &mut node.source {
                open.append(inputs);
            }
        };
        take(self, &mut open);
        while let Some(symbol) = open.pop() {
            if let Ok(mut node) = Arc::try_unwrap(symbol.node) {
                take(&mut node, &mut open);
            }
        }
    }
}

impl Symbol {
    /// The shape of one sample.
    ///
    /// # Errors
    /// An input that was given no valid shape.
    pub fn shape(&self) -> Result<Shape> {
        match &self.node.source {
            Source::Input { shape, .. } => shape.clone().map_err(|text| {
                Error::config(format!("Input: {text}"), "give the shape of one sample, such as [28, 28]")
            }),
            Source::Call { outputs, .. } => Ok(outputs[self.output]),
        }
    }
}

/// A layer that can be called more than once, with the same weights each time, or that has a name of its own. Made by
/// [`Connect::shared`] and [`Connect::named`].
#[derive(Debug, Clone)]
pub struct Shared {
    pub(crate) name: Option<String>,
    pub(crate) layer: Arc<dyn AnyLayer>,
}

impl Shared {
    /// Of a layer chosen at run time.
    pub fn of(layer: Box<dyn AnyLayer>) -> Shared {
        Shared { name: None, layer: layer.into() }
    }

    /// Calls the layer: its one output.
    ///
    /// # Errors
    /// Inputs that do not fit; a layer with several outputs.
    pub fn on<'a>(&self, x: impl IntoSymbols<'a>) -> Result<Symbol> {
        let mut all = self.on_all(x)?;
        match all.len() {
            1 => Ok(all.swap_remove(0)),
            n => {
                let text = format!("{} gives {n} values", self.layer.class_name());
                Err(Error::config(text, "ask for all of them: .on_all(…)"))
            }
        }
    }

    /// Calls the layer: all of its outputs.
    ///
    /// # Errors
    /// Inputs that do not fit.
    pub fn on_all<'a>(&self, x: impl IntoSymbols<'a>) -> Result<Vec<Symbol>> {
        let inputs = x.into_symbols();
        let shapes = inputs.iter().map(Symbol::shape).collect::<Result<Vec<_>>>()?;
        let name = || self.name.clone().unwrap_or_else(|| self.layer.default_name());
        let outputs = self.layer.infer(&shapes).map_err(|e| e.in_layer(&name()))?;
        let count = outputs.len();
        let node = Node::new(Source::Call { layer: self.clone(), inputs, outputs });
        Ok((0..count).map(|output| Symbol { node: node.clone(), output }).collect())
    }

    /// The same layer under a name.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Shared {
        Shared { name: Some(name.into()), ..self }
    }
}

/// Calling layers on values of a model that is being described.
pub trait Connect: AnyLayer + Sized + 'static {
    /// Calls the layer: its one output.
    ///
    /// # Errors
    /// Inputs that do not fit; a layer with several outputs.
    fn on<'a>(self, x: impl IntoSymbols<'a>) -> Result<Symbol> {
        self.shared().on(x)
    }

    /// Calls the layer: all of its outputs, such as a sequence and a state.
    ///
    /// # Errors
    /// Inputs that do not fit.
    fn on_all<'a>(self, x: impl IntoSymbols<'a>) -> Result<Vec<Symbol>> {
        self.shared().on_all(x)
    }

    /// The layer under a name, which its weights and, for an output of the model, losses and metrics go by.
    fn named(self, name: impl Into<String>) -> Shared {
        self.shared().named(name)
    }

    /// The layer to be called several times, with one set of weights in each model that it is a part of: two models that are
    /// built have weights of their own, which [`load_weights_by_name`] brings from one to the other.
    ///
    /// [`load_weights_by_name`]: https://docs.rs/kiln/latest/kiln/struct.Model.html#method.load_weights_by_name
    fn shared(self) -> Shared {
        Shared::of(Box::new(self))
    }
}

impl<L: AnyLayer + 'static> Connect for L {}

/// What a layer is called on, and what a model begins and ends with: `&a`, `[&a, &b]`, or a vector.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no value that a layer can be called on",
    note = "give a reference to a value, `&x`, or several, `[&a, &b]`"
)]
pub trait IntoSymbols<'a> {
    /// The values.
    fn into_symbols(self) -> Vec<Symbol>;
}

impl<'a> IntoSymbols<'a> for &'a Symbol {
    fn into_symbols(self) -> Vec<Symbol> {
        vec![self.clone()]
    }
}

impl<'a, const N: usize> IntoSymbols<'a> for [&'a Symbol; N] {
    fn into_symbols(self) -> Vec<Symbol> {
        self.into_iter().cloned().collect()
    }
}

impl<'a> IntoSymbols<'a> for &'a [Symbol] {
    fn into_symbols(self) -> Vec<Symbol> {
        self.to_vec()
    }
}

impl<'a> IntoSymbols<'a> for &'a Vec<Symbol> {
    fn into_symbols(self) -> Vec<Symbol> {
        self.clone()
    }
}
