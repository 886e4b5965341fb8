//! When two results are the same.

use super::files::number;
use kiln::autograd::Tensor;
use serde_json::Value;

/// `|got - want| <= atol + rtol · |want|`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tolerance {
    pub(crate) rtol: f64,
    pub(crate) atol: f64,
}

impl Tolerance {
    /// The tolerance under `key` of an entry; equality where there is none.
    pub(crate) fn of(entry: &Value, key: &str) -> Tolerance {
        let field = |name: &str| entry.get(key).and_then(|tol| tol.get(name)).and_then(number).unwrap_or(0.0);
        Tolerance { rtol: field("rtol"), atol: field("atol") }
    }

    fn holds(self, got: f64, want: f64) -> bool {
        if want.is_nan() || got.is_nan() {
            return want.is_nan() && got.is_nan();
        }
        got == want || (want.is_finite() && (got - want).abs() <= self.atol + self.rtol * want.abs())
    }

    /// Compares lists of numbers.
    pub(crate) fn numbers(self, what: &str, got: &[f64], want: &[f64]) -> Result<(), String> {
        if got.len() != want.len() {
            return Err(format!("{what}: {} numbers, expected {}", got.len(), want.len()));
        }
        let wrong = got.iter().zip(want).position(|(&got, &want)| !self.holds(got, want));
        wrong.map_or(Ok(()), |at| Err(format!("{what}[{at}]: {:e}, expected {:e}", got[at], want[at])))
    }

    /// Compares tensors: shape, type, elements.
    pub(crate) fn tensors(self, what: &str, got: &Tensor, want: &Tensor) -> Result<(), String> {
        if got.spec() != want.spec() {
            let (got, want) = (got.spec(), want.spec());
            return Err(format!("{what}: {} {}, expected {} {}", got.dtype, got.shape, want.dtype, want.shape));
        }
        if !got.dtype().is_float() {
            let (got, want) = (got.to_vec_as::<i64>(), want.to_vec_as::<i64>());
            let wrong = got.iter().zip(&want).position(|(got, want)| got != want);
            return wrong.map_or(Ok(()), |at| Err(format!("{what}[{at}]: {}, expected {}", got[at], want[at])));
        }
        self.numbers(what, &got.to_vec_as::<f64>(), &want.to_vec_as::<f64>())
    }
}
