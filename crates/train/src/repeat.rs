//! A function that is called again and again on tensors of the same shapes, as a plan from the third time on.

use crate::Result;
use kiln_nn::{Plan, Tensor, Trace};

/// Fewer calls than this are not worth a plan: the first two are needed to make and to check it.
pub(crate) const WORTHWHILE: usize = 6;

/// What is known of the function so far.
pub(crate) enum Repeat {
    /// It runs one operation at a time, by wish or because no plan gives the same.
    Eagerly,
    /// The next call is recorded.
    Unknown,
    /// The plan is to be compared with the operations one by one.
    Recorded(Plan),
    /// The plan gives what the operations give.
    Checked(Plan),
}

impl Repeat {
    /// For a function that will be called so often, where that is known.
    pub(crate) fn new(calls: Option<usize>, eagerly: bool) -> Repeat {
        let is_seldom = calls.is_some_and(|calls| calls < WORTHWHILE);
        if eagerly || is_seldom { Repeat::Eagerly } else { Repeat::Unknown }
    }

    /// What `f` gives for `x`. Everything that changes from call to call must be among the tensors.
    pub(crate) fn call(
        &mut self,
        x: &[Tensor],
        mut f: impl FnMut(&[Tensor]) -> Result<Vec<Tensor>>,
    ) -> Result<Vec<Tensor>> {
        // Along what lies otherwise sums may be taken in another order than along the dense copies of a recording.
        let is_dense = x.iter().all(|x| x.layout().is_contiguous());
        let fits = |plan: &Plan| plan.inputs().iter().copied().eq(x.iter().map(Tensor::spec));
        let operands: Vec<&Tensor> = x.iter().collect();
        match std::mem::replace(self, Repeat::Eagerly) {
            Repeat::Unknown if is_dense => {
                let trace = Trace::new();
                let mut traced = Vec::with_capacity(x.len());
                for x in x {
                    traced.push(trace.input(x)?);
                }
                let y = f(&traced);
                let plan = trace.finish(&y.iter().flatten().collect::<Vec<_>>());
                let y: Vec<Tensor> = y?.iter().map(Tensor::untraced).collect();
                if let Ok(plan) = plan {
                    *self = Repeat::Recorded(plan);
                }
                Ok(y)
            }
            Repeat::Recorded(mut plan) if is_dense && fits(&plan) => {
                let planned = plan.run(&operands);
                let y = f(x)?;
                if planned.is_ok_and(|planned| planned.iter().zip(&y).all(|(a, b)| a.same_bits(b))) {
                    *self = Repeat::Checked(plan);
                }
                Ok(y)
            }
            Repeat::Checked(mut plan) if is_dense && fits(&plan) => {
                let planned = plan.run(&operands);
                *self = Repeat::Checked(plan);
                // One operation after the other tells an error at its place.
                planned.or_else(|_| f(x))
            }
            other => {
                *self = other;
                f(x)
            }
        }
    }
}
