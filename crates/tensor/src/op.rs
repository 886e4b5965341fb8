//! The one trait behind every operation, built in or not, and what one says of itself. How one is run: `run.rs`.

use crate::cuda::{self, CudaCall};
use crate::run::{CpuCall, FEW};
use crate::{DType, Device, Error, Layout, Pointwise, Result, Shape};
use smallvec::SmallVec;
use std::any::Any;
use std::fmt::{self, Debug};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// Shape and element type of an input or output.
#[derive(Clone, Copy)]
pub struct Spec {
    /// The dimensions.
    pub shape: Shape,
    /// The element type.
    pub dtype: DType,
    /// Whether it is a number that adapts to the type of what it stands beside, as the 2 in `x.mul(2.0)`.
    number: bool,
}

impl Spec {
    /// A spec from its parts.
    pub fn new(shape: Shape, dtype: DType) -> Spec {
        Spec { shape, dtype, number: false }
    }

    /// The spec of a number: `f64` or `i64`, which says only whether it has a fraction.
    pub(crate) fn number(dtype: DType) -> Spec {
        Spec { shape: Shape::default(), dtype, number: true }
    }

    /// Whether it is a number that adapts to the type of what it stands beside.
    pub fn is_number(&self) -> bool {
        self.number
    }
}

// Whether a value is kept as a number says nothing about what it is.
impl PartialEq for Spec {
    fn eq(&self, other: &Spec) -> bool {
        (self.shape, self.dtype) == (other.shape, other.dtype)
    }
}
impl Eq for Spec {}

impl Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.dtype, self.shape)
    }
}

/// A few values that need no heap while they are one or two: what an operation gives.
///
/// ```
/// use kiln_tensor::{Outputs, Tensor};
/// let one: Outputs = Tensor::new(1.0).into();
/// assert_eq!(one.len(), 1);
/// assert_eq!(one.one()?.item()?, 1.0);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Outputs<V = crate::Tensor>(SmallVec<[V; 2]>);

/// The specs of an operation's outputs: `Ok(spec.into())` for one, `Ok([a, b].into())` for two.
pub type Specs = Outputs<Spec>;

impl<V> Outputs<V> {
    /// The first value: the only one of most operations.
    ///
    /// # Errors
    /// There is none.
    #[inline]
    pub fn one(mut self) -> Result<V> {
        match self.0.is_empty() {
            true => Err(Error::argument("apply", "the operation has no result")),
            false => Ok(self.0.swap_remove(0)),
        }
    }

    /// The values as an array, where there are `N` of them.
    pub fn into_array<const N: usize>(mut self) -> Option<[V; N]> {
        self.take_array()
    }

    /// [`Outputs::into_array`] where they lie: to move the list costs as much as a small tensor's kernel.
    #[inline]
    pub fn take_array<const N: usize>(&mut self) -> Option<[V; N]> {
        self.0.reverse();
        (self.0.len() == N).then(|| std::array::from_fn(|_| self.0.pop().expect("as many as were counted")))
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [V] {
        &mut self.0
    }

    /// Takes all values out, in their order, from where they lie.
    #[inline]
    pub fn drain(&mut self) -> impl Iterator<Item = V> {
        self.0.drain(..)
    }

    /// Adds a value at the end.
    #[inline]
    pub fn push(&mut self, value: V) {
        self.0.push(value);
    }
}

impl<V> Default for Outputs<V> {
    fn default() -> Outputs<V> {
        Outputs(SmallVec::new())
    }
}

impl<V> Deref for Outputs<V> {
    type Target = [V];
    fn deref(&self) -> &[V] {
        &self.0
    }
}

impl<V> From<V> for Outputs<V> {
    fn from(value: V) -> Outputs<V> {
        let mut one = Outputs::default();
        one.push(value);
        one
    }
}

impl<V, const N: usize> From<[V; N]> for Outputs<V> {
    fn from(values: [V; N]) -> Outputs<V> {
        let mut all = Outputs::default();
        values.into_iter().for_each(|value| all.push(value));
        all
    }
}

impl<V> FromIterator<V> for Outputs<V> {
    fn from_iter<I: IntoIterator<Item = V>>(values: I) -> Outputs<V> {
        let mut all = Outputs::default();
        for value in values {
            all.push(value);
        }
        all
    }
}

impl<V> IntoIterator for Outputs<V> {
    type Item = V;
    type IntoIter = smallvec::IntoIter<[V; 2]>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// How many operands an operation takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// So many.
    Exactly(usize),
    /// So many and more, as a concatenation does.
    AtLeast(usize),
}

impl Arity {
    pub(crate) fn admits(self, count: usize) -> bool {
        match self {
            Arity::Exactly(n) => count == n,
            Arity::AtLeast(n) => count >= n,
        }
    }
}

impl fmt::Display for Arity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lead, n) = match self {
            Arity::Exactly(n) => ("", n),
            Arity::AtLeast(n) => ("at least ", n),
        };
        write!(f, "{lead}{n} operand{}", if *n == 1 { "" } else { "s" })
    }
}

/// Which outputs may lie where an input lies: the kernel reads element `i` of every input before it writes element `i`
/// of any output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aliases {
    /// None.
    None,
    /// Each where any input lies that has its shape and type.
    Any,
    /// These pairs of an input and an output.
    Pairs(&'static [(usize, usize)]),
}

impl Aliases {
    pub(crate) fn allow(self, input: usize, output: usize) -> bool {
        match self {
            Aliases::None => false,
            Aliases::Any => true,
            Aliases::Pairs(pairs) => pairs.contains(&(input, output)),
        }
    }
}

/// An operation on tensors: a small value that holds its arguments, such as axes and strides.
///
/// Implement [`Op::infer`] and [`Op::cpu`], then call [`crate::Tensor::apply`]. To put it on a tape, also implement
/// `Differentiable` of the crate above. See `docs/anatomy-of-an-op.md`.
///
/// The value must be `Clone + PartialEq`: an operation is stored, compared and printed where a computation is looked at
/// as a whole. What changes from step to step (a rate, a key) is an operand and not an argument.
pub trait Op: DynOp + Debug + Send + Sync + 'static {
    /// The name in error texts and listings.
    fn name(&self) -> &str;

    /// The number of operands, checked before [`Op::infer`] is asked. One, unless said otherwise.
    fn arity(&self) -> Arity {
        Arity::Exactly(1)
    }

    /// Shapes and types of the outputs. Every mistake about shapes is found here, before anything is allocated.
    ///
    /// # Errors
    /// Inputs that do not fit.
    fn infer(&self, x: &[Spec]) -> Result<Specs>;

    /// Computes the outputs on the CPU, into memory that the caller gives. Inputs may be strided views.
    ///
    /// Only Kiln makes the call, when every check has passed: the views have the types and shapes that
    /// [`Op::infer`] has seen and answered.
    ///
    /// # Errors
    /// What only the values show, such as an index out of range.
    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()>
    where
        Self: Sized;

    /// Asks for the kernels that compute the outputs on an NVIDIA GPU, as data: [`CudaCall`]. An operation that says how it is
    /// [pointwise](Op::pointwise) needs none of its own.
    ///
    /// # Errors
    /// The operation has no such kernel.
    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        let specs: SmallVec<[Spec; FEW]> = call.inputs().iter().map(|x| x.spec()).collect();
        match self.pointwise(&specs) {
            Some(program) => cuda::pointwise(call, &program),
            None => return Err(cuda::no_kernel(self.name())),
        }
        Ok(())
    }

    /// Where an operation that creates something does so; others follow their operands.
    fn device(&self) -> Option<Device> {
        None
    }

    /// Bytes of memory that [`Op::cpu`] wants beside its outputs, as [`CpuCall::workspace`].
    fn workspace(&self, _x: &[Spec]) -> usize {
        0
    }

    /// Which outputs may take the place of an input that nobody else needs. It saves memory where the kernel reads such
    /// an input through [`View::as_ptr`](crate::View::as_ptr), after [`CpuCall::parts_in_place`], and keeps the promise
    /// of [`Aliases`]; [`CpuCall::parts`] gives a copy. On a GPU only [pointwise](Op::pointwise) operations take places.
    fn aliases(&self) -> Aliases {
        Aliases::None
    }

    /// For an operation that computes each element of its results from the elements at the same place alone: how. Its
    /// [`Op::cpu`] must not fail: a plan may let it write where an input lies that the caller gets back after an error. In a plan
    /// on a GPU this listing is the kernel, together with those of its neighbours.
    fn pointwise(&self, _x: &[Spec]) -> Option<Pointwise> {
        None
    }

    /// For an operation that only looks at its one input in another way: the layout of the result, which then shares
    /// the input's memory, or `None` when the elements have to be copied. It must have the inferred shape and stay
    /// inside the input.
    fn view(&self, _x: &Layout) -> Option<Layout> {
        None
    }
}

/// What every [`Op`] can do behind a pointer. Implemented for all that are `Clone + PartialEq`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no operation: it must be Clone and PartialEq, and implement Op",
    label = "add #[derive(Debug, Clone, PartialEq)]"
)]
pub trait DynOp: erased::Compute {
    /// A copy behind a pointer that can be shared.
    fn to_arc(&self) -> Arc<dyn Op>;
    /// The value, to be downcast.
    fn as_any(&self) -> &dyn Any;
    /// The value behind a pointer.
    fn as_op(&self) -> &dyn Op;
    /// Whether the other is the same operation with the same arguments, and so gives the same results. Numbers are
    /// compared as they print: -0 is not 0.
    fn same(&self, other: &dyn Op) -> bool;
    /// Equal for operations that are the same.
    fn digest(&self) -> u64;
}

impl<O: Op + Clone + PartialEq> DynOp for O {
    fn to_arc(&self) -> Arc<dyn Op> {
        Arc::new(self.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_op(&self) -> &dyn Op {
        self
    }

    fn same(&self, other: &dyn Op) -> bool {
        // Equality alone would take -0 for 0, and so one result for another.
        match other.as_any().downcast_ref::<O>() {
            Some(equal) => self == equal && print_alike(self, other.as_op()),
            None => false,
        }
    }

    fn digest(&self) -> u64 {
        digest(self)
    }
}

// Not generic, as they would be compiled for each operation in each crate.
fn digest(op: &dyn Op) -> u64 {
    let mut hasher = DefaultHasher::new();
    (op.as_any().type_id(), printed(op)).hash(&mut hasher);
    hasher.finish()
}

fn print_alike(op: &dyn Op, other: &dyn Op) -> bool {
    printed(op) == printed(other)
}

fn printed(op: &dyn Op) -> String {
    format!("{op:?}")
}

/// The way from an operation behind a pointer to its kernel. Private: a kernel can be reached through `run` alone.
pub(crate) mod erased {
    use crate::run::{CpuCall, RawCall};
    use crate::{Op, Result};

    pub trait Compute {
        fn compute(&self, call: RawCall<'_>) -> Result<()>;
    }

    impl<O: Op + Clone + PartialEq> Compute for O {
        fn compute(&self, call: RawCall<'_>) -> Result<()> {
            self.cpu(CpuCall::new(call))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Cast, Embed, Stride};

    #[test]
    fn operations_have_an_identity() {
        let embed = |fill: f64| Embed {
            shape: Shape::from_slice(&[3]),
            ranges: vec![Stride { start: 0, length: 1, step: 1 }],
            fill,
        };
        let stored = embed(0.0).to_arc();
        assert!(stored.same(&embed(0.0)) && !stored.same(&embed(1.0)) && !stored.same(&embed(-0.0)));
        assert!(!stored.same(&Cast { to: DType::F32 }));
        assert_eq!(stored.digest(), embed(0.0).digest());
        assert_ne!(stored.digest(), embed(-0.0).digest());
        assert!(format!("{stored:?}").starts_with("Embed"));
    }
}
