//! The loss of sequences of labels without places: over all ways to lay them along the steps of a prediction.

use super::macros::losses;
use super::reduction::{Elements, Fold};
use crate::Result;
use kiln_autograd::ops::{ArithmeticOps, CastOps, ComparisonOps, Ops, ReduceOps, Value, ViewOps, concat, stack};
use kiln_autograd::{DType, Shape, Spec, Tensor, keep};

losses! {
    /// `-ln p(labels)`: the sum over all ways to spread the labels over the steps, with blanks, class 0, between them (Graves et al.
    /// 2006). Equal labels in a row need a blank between them; labels that do not fit into the steps have an infinite loss.
    ///
    /// # Shapes
    /// Labels `[N, L]`, filled up with 0 after the last, and logits `[N, steps, classes]`, not probabilities.
    CTC "ctc" (takes_logits: true) {}
}

/// The logarithm of a probability of 0: finite, so that no difference of it is NaN.
const NEVER: f64 = -1e30;

impl CTC {
    fn elements<V: Ops>(&self, y_true: &V, y_pred: &V) -> Result<Elements<V>> {
        let states = States::of(y_true.tensor(), y_pred.tensor())?;
        let wide = y_pred.tensor().dtype().promote(DType::F32);
        let number = |x: &Tensor| -> Result<V> { Ok(V::constant(x.cast(wide)?)) };
        let [batch, count] = states.labels.shape()[..] else { unreachable!("a row of states for each sample") };
        let steps = y_pred.tensor().shape()[1];
        // The probability of each state at each step.
        let at = states.labels.unsqueeze(1)?.expand([batch, steps, count])?;
        let emitted = y_pred.cast(wide)?.log_softmax(-1)?.gather(-1, &V::constant(at))?;
        let mut reached = number(&states.first)?.add(&emitted.index(1, 0)?)?;
        let (one, two) = (states.never(wide, 1)?, states.never(wide, 2)?);
        let skip = number(&states.skip)?;
        let count = count as isize;
        for t in 1..steps as isize {
            let before = |never: &Tensor, by: isize| {
                concat(&[&V::constant(never.clone()), &reached.slice(1, 0..count - by)?], 1)
            };
            let from = [&reached, &before(&one, 1)?, &before(&two, 2)?.add(&skip)?];
            reached = stack(&from, -1)?.logsumexp(-1)?.add(&emitted.index(1, t)?)?;
        }
        let loss = reached.add(&number(&states.last)?)?.logsumexp(-1)?.neg()?;
        let fits = V::constant(ComparisonOps::lt(loss.tensor(), -NEVER / 2.0)?);
        let loss = fits.select(&loss, &V::constant(Tensor::scalar(f64::INFINITY, wide)))?;
        Ok(Elements::new(loss, Fold::Done))
    }
}

/// What a path goes through: a blank, the first label, a blank, the second … a blank. What may not be adds [`NEVER`].
struct States {
    /// The label of each, `[N, states]`.
    labels: Tensor,
    /// Where a path may begin.
    first: Tensor,
    /// Where the blank before may be left out.
    skip: Tensor,
    /// Where a path may end.
    last: Tensor,
}

impl States {
    fn of(labels: &Tensor, logits: &Tensor) -> Result<States> {
        let ([batch, length], [rows, steps, classes]) = (&labels.shape()[..], &logits.shape()[..]) else {
            let text = format!("labels of shape {} and logits of shape {}", labels.shape(), logits.shape());
            let help = "give labels [N, L] and logits [N, steps, classes]";
            return Err(kiln_autograd::Error::shape("ctc", text).help(help).into());
        };
        if batch != rows || *steps == 0 || *length == 0 || *classes < 2 {
            let text = format!("labels of shape {} do not fit logits of shape {}", labels.shape(), logits.shape());
            let help = "give a row of labels for each sample, and a class 0 for blanks beside those of the labels";
            return Err(kiln_autograd::Error::shape("ctc", text).help(help).into());
        }
        let (batch, count) = (*batch, 2 * length + 1);
        let ids = super::crossentropy::checked_ids("ctc", labels, *classes)?;
        let length = ComparisonOps::ne(&ids, 0.0)?.cast(DType::I64)?.sum(keep(-1))?;
        let blanks = Tensor::filled(ids.spec(), 0.0);
        let pairs = stack(&[&blanks, &ids], -1)?.reshape([batch, count - 1])?;
        let labels = concat(&[&pairs, &blanks.slice(1, 0..1)?], 1)?;
        let index = ids.beside(Tensor::arange(0, count as i64, 1)?.unsqueeze(0)?)?;
        let penalty = |allowed: &Tensor| -> Result<Tensor> { Ok(allowed.cast(DType::F64)?.sub(1.0)?.mul(-NEVER)?) };
        let first = index.lt(2.0)?.expand([batch, count])?;
        // A blank stands before each label but one that follows another than itself.
        let label_before =
            concat(&[&blanks.slice(1, 0..1)?, &blanks.slice(1, 0..1)?, &labels.slice(1, 0..count as isize - 2)?], 1)?;
        let skip = ComparisonOps::ne(&labels, 0.0)?.logical_and(&ComparisonOps::ne(&labels, &label_before)?)?;
        let end = length.mul(2.0)?;
        let last = ComparisonOps::eq(&index, &end)?.logical_or(&ComparisonOps::eq(&index, &end.sub(1.0)?)?)?;
        Ok(States { labels, first: penalty(&first)?, skip: penalty(&skip)?, last: penalty(&last)? })
    }

    /// So many states that no path goes through, for each sample.
    fn never(&self, dtype: DType, count: usize) -> Result<Tensor> {
        Ok(Tensor::filled(Spec::new(Shape::new(&[self.labels.shape()[0], count])?, dtype), NEVER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::{Loss, Reduction};
    use kiln_autograd::{Var, value_and_grad};

    fn logits() -> Tensor {
        let numbers = (0..24).map(|i| f64::from(i * i % 7) / 4.0).collect();
        Tensor::from_vec(numbers, [2, 4, 3]).unwrap()
    }

    /// PyTorch's numbers.
    #[test]
    fn all_ways_count() {
        let labels = Var::new(Tensor::new([[1, 1], [2, 0]]));
        let loss = CTC::new().reduction(Reduction::Sum);
        let (value, gradient) = value_and_grad(|x| Ok(loss.call(&labels, &x[0], None).unwrap()), &[logits()]).unwrap();
        assert!((value.item().unwrap() - SUM).abs() < 1e-9, "{value}");
        let found = gradient[0].to_vec_as::<f64>();
        for (found, wanted) in found.iter().zip(FIRST_ROWS) {
            assert!((found - wanted).abs() < 1e-8, "{found}, expected {wanted}");
        }
    }

    const SUM: f64 = 5.775_536_483_8;
    const FIRST_ROWS: [f64; 6] =
        [0.039_052_572, -0.582_458_184, 0.543_405_612, -0.358_534_060, -0.093_328_702, 0.451_862_762];

    #[test]
    fn a_sample_of_weight_0_does_not_count_whatever_it_holds() {
        let weights = Var::new(Tensor::new([1.0, 0.0]));
        let call = |labels: [[f64; 2]; 2], logits: Tensor| {
            let labels = Var::new(Tensor::new(labels));
            let run = |x: &[Var]| Ok(CTC::new().call(&labels, &x[0], Some(&weights)).unwrap());
            let (value, gradient) = value_and_grad(run, &[logits]).unwrap();
            (value.item().unwrap(), gradient[0].to_vec_as::<f64>())
        };
        let mut numbers = logits().to_vec_as::<f64>();
        let wanted = call([[1.0, 1.0], [0.0, 0.0]], logits());
        numbers[12..].fill(f64::NAN);
        let found = call([[1.0, 1.0], [-7.0, f64::NAN]], Tensor::from_vec(numbers, [2, 4, 3]).unwrap());
        assert_eq!((found.0, &found.1[..12], &found.1[12..]), (wanted.0, &wanted.1[..12], &[0.0; 12][..]));
    }

    #[test]
    fn what_does_not_fit_is_infinite_or_an_error() {
        let call =
            |labels: Tensor| CTC::new().reduction(Reduction::None).call(&Var::new(labels), &Var::new(logits()), None);
        // Three equal labels need two blanks between them: five steps.
        let found = call(Tensor::new([[1, 1, 1], [1, 2, 1]])).unwrap().tensor().to_vec_as::<f64>();
        assert!(found[0] == f64::INFINITY && found[1].is_finite(), "{found:?}");
        assert!(call(Tensor::new([[1, 3], [1, 2]])).unwrap_err().to_string().contains("label 3 at position 1"));
        assert!(call(Tensor::new([1, 2])).unwrap_err().to_string().contains("give labels [N, L]"));
    }
}
