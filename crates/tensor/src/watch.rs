//! A watch for results that are not finite: the first operation to give one is an error that says where it came from.

use crate::error::short_path;
use crate::op::Outputs;
use crate::run::run;
use crate::trace::{By, two_followers};
use crate::{Element, Error, ErrorKind, Op, Result, Tensor, with_element};
use std::fmt::{self, Write};
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
/// result, and nothing is computed in place. A view is not looked at, because its elements were; a plan is one operation,
/// of which only the results are. What is not finite when the watch is given it is an error where something is computed
/// of it that is not finite either, and the error names it.
#[derive(Clone, Debug, Default)]
pub struct Watch(Arc<Layers>);

/// The layers, one inside the other, that are being computed.
#[derive(Debug, Default)]
struct Layers(Mutex<Vec<String>>);

/// Where a watched value came from.
#[derive(Clone)]
pub(crate) enum Origin {
    Input(String),
    Result { op: String, layer: String, at: &'static Location<'static> },
}

impl Watch {
    /// One that watches nothing yet.
    pub fn new() -> Watch {
        Watch::default()
    }

    /// The same tensor, watched; `name` is what errors call it.
    #[must_use]
    pub fn input(&self, name: &str, x: &Tensor) -> Tensor {
        self.over(x.untraced(), Origin::Input(name.to_owned()))
    }

    fn over(&self, x: Tensor, from: Origin) -> Tensor {
        x.followed(By::Watch(self.clone(), from))
    }

    /// The watch over a tensor.
    pub fn of(x: &Tensor) -> Option<Watch> {
        watched(x).map(|(watch, _)| watch.clone())
    }

    /// Runs `f`, whose results errors name as the layer's.
    pub fn within<R>(&self, layer: &str, f: impl FnOnce() -> R) -> R {
        /// Leaves the layer, also when `f` panics.
        struct Leave<'a>(&'a Layers);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.lock().pop();
            }
        }
        self.0.lock().push(layer.to_owned());
        let _leave = Leave(&self.0);
        f()
    }

    /// Runs `op` and looks at its results.
    pub(crate) fn run(
        &self,
        op: &dyn Op,
        x: &[&Tensor],
        y: &mut Outputs,
        at: &'static Location<'static>,
    ) -> Result<()> {
        let plain: Vec<Tensor> = x.iter().map(|x| x.untraced()).collect();
        let first = y.len();
        run(op, &plain.iter().collect::<Vec<_>>(), &mut [], y, at)?;
        self.look(op.name(), x, &mut y.as_mut_slice()[first..], at)
    }

    /// Looks at what `op` has made of `x`, and watches it too.
    pub(crate) fn look(
        &self,
        op: &str,
        x: &[&Tensor],
        results: &mut [Tensor],
        at: &'static Location<'static>,
    ) -> Result<()> {
        let is_mine = |by: &By| matches!(by, By::Watch(watch, _) if Arc::ptr_eq(&watch.0, &self.0));
        if x.iter().filter_map(|x| x.storage.traced()).any(|traced| traced.by.is_live() && !is_mine(&traced.by)) {
            return Err(two_followers(op).at(at));
        }
        for result in results {
            // A view is its operand: its elements have been looked at, and came from where the operand's came.
            let viewed = x.iter().find(|x| result.storage.is_same(&x.storage)).and_then(|x| watched(x));
            let from = match viewed {
                Some((_, from)) => from.clone(),
                None if is_finite(result) => Origin::Result { op: op.to_owned(), layer: self.0.lock().join("/"), at },
                None => return Err(not_finite(op, x, result)),
            };
            *result = self.over(result.clone(), from);
        }
        Ok(())
    }
}

impl Layers {
    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The watch over a tensor, and where the tensor came from.
fn watched(x: &Tensor) -> Option<(&Watch, &Origin)> {
    match &x.storage.traced()?.by {
        By::Watch(watch, from) => Some((watch, from)),
        By::Trace(..) => None,
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

fn not_finite(op: &str, x: &[&Tensor], result: &Tensor) -> Error {
    let (mut given, mut operands) = (None, String::new());
    let mut help =
        "usual causes: a logarithm or a root of 0, a division by 0, an exponential of a large number, a rate too large";
    for (i, x) in x.iter().enumerate() {
        let (plain, range) = (x.untraced(), Range::of(x));
        let kind = if plain.is_number() { "a number".to_owned() } else { format!("{:?}", plain.spec()) };
        let from = watched(x).map(|(_, from)| from);
        if range.bad > 0 {
            help = "an operand was not finite before: look where it comes from";
            if let Some(Origin::Input(name)) = from {
                given.get_or_insert_with(|| format!("{name}, {kind}, was not finite when it was given: {range}"));
            }
        }
        let from = from.map(Origin::to_string).unwrap_or_default();
        // Writing to a string does not fail.
        let _ = write!(operands, "\n  operand {}, {kind}, {range}{from}", i + 1);
    }
    // What came in so is to blame, not the operation that has met it first.
    let what = given.unwrap_or_else(|| format!("the result {:?} is not finite: {}", result.spec(), Range::of(result)));
    Error::new(ErrorKind::NotFinite, op, what + &operands).help(help)
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
                write!(f, " at {}:{}", short_path(at.file()), at.line())
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
        let x = x.untraced();
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
            Some([low, high]) if low == high => write!(f, "all {}", Short(low)),
            Some([low, high]) => write!(f, "from {} to {}", Short(low), Short(high)),
            None => write!(f, "empty"),
        }
    }
}

/// A number in few digits: those of its size, and four more or so.
struct Short(f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.abs() {
            size if size != 0.0 && !(1e-3..1e6).contains(&size) => write!(f, "{:.3e}", self.0),
            _ => write!(f, "{}", (self.0 * 1e4).round() / 1e4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Plan;
    use crate::ops::*;

    #[test]
    fn an_input_that_is_not_finite_is_blamed_itself_and_not_its_views() {
        let watch = Watch::new();
        let x = watch.input("the readings", &Tensor::new([[1.0f32, 2.0], [f32::NAN, 4.0]]));
        let view = x.t().unwrap();
        assert!(view.slice(1, 0..1).unwrap().square().is_ok(), "what is not finite was left out");
        let error = view.add(1.0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFinite);
        let text = error.to_string();
        let first = "add: the readings, f32 [2, 2], was not finite when it was given: NaN at [0, 1], 1 of 4 elements\n";
        assert!(text.starts_with(first), "{text}");
        assert!(text.contains("1 of 4 elements, is the readings\n"), "{text}");
        // A view comes from where its operand does.
        let text = x.slice(0, 0..1).unwrap().sub(1.0).unwrap().t().unwrap().log().unwrap_err().to_string();
        assert!(text.starts_with("log: the result f32 [2, 1] is not finite: -inf at [0, 0]"), "{text}");
        assert!(text.contains("operand 1, f32 [2, 1], from 0 to 1, is from `sub` at "), "{text}");
    }

    #[test]
    fn the_results_of_a_plan_are_looked_at_and_watched() {
        let inputs = [Tensor::new([1.0f32, 2.0]), Tensor::new([3.0f32, 4.0])];
        let mut plan = Plan::of(|x| Ok(vec![x[0].div(&x[1])?.sqrt()?, x[1].clone()]), &inputs).unwrap();
        let (watch, zeros) = (Watch::new(), Tensor::new([0.0f32, 4.0]));
        let given = |x: &Tensor| watch.input("the divisor", x);
        let results = plan.run(&[&inputs[0], &given(&inputs[1])]).unwrap();
        let text = results[0].sub(&results[0]).unwrap().log().unwrap_err().to_string();
        assert!(text.starts_with("log: the result"), "{text}");
        let text = results[1].mul(f32::MAX).unwrap_err().to_string();
        assert!(text.contains("is the divisor\n"), "{text}");
        let text = plan.run(&[&inputs[0], &given(&zeros)]).unwrap_err().to_string();
        assert!(text.starts_with("plan: the result f32 [2] is not finite: inf at [0], 1 of 2 elements\n"), "{text}");
        assert!(text.contains("operand 2, f32 [2], from 0 to 4, is the divisor\n"), "{text}");
        // What a failed run was given is there as it was, and watched.
        let mut tensors = vec![given(&inputs[0]), given(&zeros)];
        assert!(plan.run_in_place(&mut tensors).is_err());
        assert!(tensors[0].untraced().same_bits(&inputs[0]) && tensors[1].untraced().same_bits(&zeros));
        assert!(tensors.len() == 2 && tensors.iter().all(|x| Watch::of(x).is_some()));
        let other = Watch::new().input("other", &inputs[0]);
        assert_eq!(plan.run(&[&other, &given(&inputs[1])]).unwrap_err().kind(), ErrorKind::Escape);
    }
}
