//! The loss of sequences of labels without places: over all ways to lay them along the steps of a prediction.

use super::macros::losses;
use super::reduction::{Elements, Fold};
use crate::Result;
use kiln_autograd::ops::losses::{self, CtcLoss};
use kiln_autograd::ops::{CastOps, ComparisonOps, Ops, ReduceOps, Value};
use kiln_autograd::{DType, Tensor};

losses! {
    /// `-ln p(labels)`: the sum over all ways to spread the labels over the steps, with blanks, class 0, between them (Graves et al.
    /// 2006). Equal labels in a row need a blank between them; labels that do not fit into the steps have an infinite loss.
    ///
    /// # Shapes
    /// Labels `[N, L]`, filled up with 0 after the last, and logits `[N, steps, classes]`, not probabilities.
    CTC "ctc" (takes_logits: true) {}
}

impl CTC {
    fn elements<V: Ops>(&self, y_true: &V, y_pred: &V) -> Result<Elements<V>> {
        let (labels, logits) = (*y_true.tensor().shape(), *y_pred.tensor().shape());
        let ([rows, length], [batch, steps, classes]) = (&labels[..], &logits[..]) else {
            let text = format!("labels of shape {labels} and logits of shape {logits}");
            let help = "give labels [N, L] and logits [N, steps, classes]";
            return Err(kiln_autograd::Error::shape("ctc", text).help(help).into());
        };
        if batch != rows || *steps == 0 || *length == 0 || *classes < 2 {
            let text = format!("labels of shape {labels} do not fit logits of shape {logits}");
            let help = "give a row of labels for each sample, and a class 0 for blanks beside those of the labels";
            return Err(kiln_autograd::Error::shape("ctc", text).help(help).into());
        }
        let ids = super::crossentropy::checked_ids("ctc", y_true.tensor(), *classes)?;
        let counts = ComparisonOps::ne(&ids, 0.0)?.cast(DType::I64)?.sum(-1)?;
        let all = ids.beside(Tensor::filled(counts.spec(), *steps as f64))?;
        let log = y_pred.cast(y_pred.tensor().dtype().promote(DType::F32))?.log_softmax(-1)?.transpose(0, 1)?;
        let options = CtcLoss { reduction: losses::Reduction::None, ..CtcLoss::default() };
        let [ids, all, counts] = [ids, all, counts].map(V::constant);
        Ok(Elements::new(losses::ctc_loss(&log, &ids, &all, &counts, &options)?, Fold::Done))
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
