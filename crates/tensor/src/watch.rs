//! A watch for results that are not finite: the first operation to give one is an error that says where it came from.

use crate::op::Outputs;
use crate::run::run;
use crate::trace::{Trace, Traced};
use crate::{Element, Error, ErrorKind, Op, Result, Tensor, with_element};
use std::fmt::{self, Write};
use std::panic::Location;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Stops the computation on the tensors that it has been given at the first operation whose result holds NaN or an
/// infinity. The error names the operation, its line, and the range of each operand with where that came from.
///
/// ```
/// use kiln_tensor::{ErrorKind, Tensor, Watch, ops::*};
/// let watch = Watch::new();
/// let x = watch.input("the distances", &Tensor::new([1.0f32, 0.0, 4.0]));
/// let error = x.sqrt()?.log().unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::NotFinite);
/// let text = error.to_string();
/// assert!(text.starts_with("log: the result f32 [3] is not finite: -inf at [1], 1 of 3 elements\n"));
/// assert!(text.contains("operand 1, f32 [3], from 0 to 2, is from `sqrt` at "));
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
///
/// What follows from a watched tensor is watched: put one on a tape, and gradients are too. It costs a look at every
/// result, and nothing is computed in place.
#[derive(Clone, Debug)]
pub struct Watch(Trace);

/// What a watch keeps while it watches.
#[derive(Default)]
pub(crate) struct Watching {
    /// The layers, one inside the other, that are being computed.
    layers: Mutex<Vec<String>>,
}

/// Where a watched value came from.
pub(crate) enum Origin {
    Input(String),
    Result { op: String, layer: String, at: &'static Location<'static> },
}

impl Default for Watch {
    fn default() -> Watch {
        Watch(Trace::watching(Watching::default()))
    }
}

impl Watch {
    /// One that watches nothing yet.
    pub fn new() -> Watch {
        Watch::default()
    }

    /// The same tensor, watched; `name` is what errors call it.
    pub fn input(&self, name: &str, x: &Tensor) -> Tensor {
        self.0.watched(x.untraced(), Origin::Input(name.to_owned()))
    }

    /// The watch over a tensor.
    pub fn of(x: &Tensor) -> Option<Watch> {
        let traced = x.storage.traced()?;
        traced.trace().watch().map(|_| Watch(traced.trace().clone()))
    }

    /// Runs `f`, whose results errors name as the layer's.
    pub fn within<R>(&self, layer: &str, f: impl FnOnce() -> R) -> R {
        /// Leaves the layer, also when `f` panics.
        struct Leave<'a>(&'a Watching);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.layers().pop();
            }
        }
        let Some(watching) = self.0.watch() else { return f() };
        watching.layers().push(layer.to_owned());
        let _leave = Leave(watching);
        f()
    }
}

impl Watching {
    fn layers(&self) -> MutexGuard<'_, Vec<String>> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `op`, looks at its results, and watches them too.
    pub(crate) fn run(
        &self,
        trace: &Trace,
        op: &dyn Op,
        x: &[&Tensor],
        y: &mut Outputs,
        at: &'static Location<'static>,
    ) -> Result<()> {
        let other = |x: &&Tensor| x.storage.traced().is_some_and(|other| other.is_live() && !other.trace().is(trace));
        if x.iter().any(other) {
            let text = "an operand is watched, and another is recorded or under another watch";
            return Err(Error::new(ErrorKind::Escape, op.name(), text)
                .help("finish one before the other begins")
                .at(at));
        }
        let plain: Vec<Tensor> = x.iter().map(|x| x.untraced()).collect();
        let first = y.len();
        run(op, &plain.iter().collect::<Vec<_>>(), &mut [], y, at)?;
        for result in &mut y.as_mut_slice()[first..] {
            if !is_finite(result) {
                return Err(not_finite(op, x, result));
            }
            let layer = self.layers().join("/");
            let origin = Origin::Result { op: op.name().to_owned(), layer, at };
            *result = trace.watched(result.clone(), origin);
        }
        Ok(())
    }
}

fn is_finite(x: &Tensor) -> bool {
    let mut finite = true;
    if x.dtype().is_float() {
        // Without a branch, so that it vectorizes.
        with_element!(x.dtype(), T => x.for_each_block(|block: &[T]| {
            finite &= block.iter().fold(true, |finite, x| finite & x.to_f64().is_finite());
        }));
    }
    finite
}

fn not_finite(op: &dyn Op, x: &[&Tensor], result: &Tensor) -> Error {
    let mut text = format!("the result {:?} is not finite: {}", result.spec(), Range::of(result));
    for (i, x) in x.iter().enumerate() {
        let plain = x.untraced();
        let kind = if plain.is_number() { "a number".to_owned() } else { format!("{:?}", plain.spec()) };
        let from = x.storage.traced().and_then(|traced| traced.origin()).map(ToString::to_string).unwrap_or_default();
        // Writing to a string does not fail.
        let _ = write!(text, "\n  operand {}, {kind}, {}{from}", i + 1, Range::of(&plain));
    }
    Error::new(ErrorKind::NotFinite, op.name(), text).help(
        "usual causes: a logarithm or a root of 0, a division by 0, an exponential of a large number, a rate too large",
    )
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Input(name) => write!(f, ", is {name}"),
            Origin::Result { op, layer, at } => {
                write!(f, ", is from `{op}`")?;
                if !layer.is_empty() {
                    write!(f, " in layer `{layer}`")?;
                }
                write!(f, " at {}:{}", at.file(), at.line())
            }
        }
    }
}

/// What the elements of a tensor span.
struct Range {
    /// The least and the largest of those that are finite.
    ends: Option<[f64; 2]>,
    /// How many are not.
    bad: usize,
    /// The first of these and its number.
    first: (f64, usize),
    shape: crate::Shape,
}

impl Range {
    fn of(x: &Tensor) -> Range {
        let mut range = Range { ends: None, bad: 0, first: (0.0, 0), shape: *x.shape() };
        let mut at = 0;
        with_element!(x.dtype(), T => x.for_each_block(|block: &[T]| range.take(block, &mut at)));
        range
    }

    fn take<T: Element>(&mut self, block: &[T], at: &mut usize) {
        for x in block.iter().map(|x| x.to_f64()) {
            if x.is_finite() {
                let [low, high] = self.ends.unwrap_or([x, x]);
                self.ends = Some([low.min(x), high.max(x)]);
            } else {
                if self.bad == 0 {
                    self.first = (x, *at);
                }
                self.bad += 1;
            }
            *at += 1;
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bad > 0 {
            let (value, mut rest) = self.first;
            let mut index = vec![0; self.shape.rank()];
            for axis in (0..index.len()).rev() {
                (index[axis], rest) = (rest % self.shape[axis], rest / self.shape[axis]);
            }
            return write!(f, "{value} at {index:?}, {} of {} elements", self.bad, self.shape.count());
        }
        match self.ends {
            Some([low, high]) if low == high => write!(f, "all {low}"),
            Some([low, high]) => write!(f, "from {low} to {high}"),
            None => write!(f, "empty"),
        }
    }
}

impl Traced {
    fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }
}
