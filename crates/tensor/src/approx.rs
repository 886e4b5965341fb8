//! Tensors in the macros of the crate `approx` (feature `approx`): equal shapes and types, and elements that are near.

use crate::ops::{ComparisonOps, Operand};
use crate::{DType, Element, Result, Tensor, with_element};
use approx::{AbsDiffEq, RelativeEq, UlpsEq};

/// Stands for the epsilon of the element type, which only the tensors know: no number equals it.
const OF_ELEMENTS: f64 = f64::NAN;

/// The epsilon that was given, or that of the element type: the step from 1 to the next number, nothing for integers.
fn epsilon(given: f64, dtype: DType) -> f64 {
    match dtype {
        _ if !given.is_nan() => given,
        DType::F16 => half::f16::EPSILON.to_f64(),
        DType::BF16 => half::bf16::EPSILON.to_f64(),
        DType::F32 => f64::from(f32::EPSILON),
        DType::F64 => f64::EPSILON,
        _ => 0.0,
    }
}

/// The distance of two elements: that of integers is exact before it is rounded.
fn distance<T: Element>(a: T, b: T) -> f64 {
    if T::DTYPE.is_float() { (a.to_f64() - b.to_f64()).abs() } else { a.to_i64().abs_diff(b.to_i64()) as f64 }
}

/// Whether two numbers of one sign and a floating-point type are at most `ulps` steps apart.
fn within_ulps<T: Element>(a: T, b: T, ulps: u32) -> bool {
    let (a_value, b_value) = (a.to_f64(), b.to_f64());
    let comparable = !a_value.is_nan() && !b_value.is_nan() && a_value.is_sign_negative() == b_value.is_sign_negative();
    T::DTYPE.is_float() && comparable && a.to_raw_bits().abs_diff(b.to_raw_bits()) <= u64::from(ulps)
}

/// Equal shapes, types and elements, which the traits of `approx` start from: two zeros are equal and a NaN is not.
/// [`Tensor::same_bits`] compares bits, and the method `eq` element by element.
impl PartialEq for Tensor {
    fn eq(&self, other: &Tensor) -> bool {
        self.spec() == other.spec() && with_element!(self.dtype(), T => self.all_pairs(other, |a: T, b: T| a == b))
    }
}

/// Beside [`PartialEq`] the methods of [`ComparisonOps`] would be ambiguous: those of the type itself come first.
impl Tensor {
    /// [`ComparisonOps::eq`]: where they are equal.
    ///
    /// # Errors
    /// Shapes that do not broadcast together.
    #[track_caller]
    pub fn eq(&self, other: impl Operand<Tensor>) -> Result<Tensor> {
        ComparisonOps::eq(self, other)
    }

    /// [`ComparisonOps::ne`]: where they differ.
    ///
    /// # Errors
    /// Shapes that do not broadcast together.
    #[track_caller]
    pub fn ne(&self, other: impl Operand<Tensor>) -> Result<Tensor> {
        ComparisonOps::ne(self, other)
    }
}

/// `|a - b| ≤ epsilon` for each pair of elements; tensors of different shapes or types are unequal, and so is a NaN. The
/// default epsilon is that of the element type, 0 for integers; as a number it is NaN, which stands for it.
impl AbsDiffEq for Tensor {
    type Epsilon = f64;

    fn default_epsilon() -> f64 {
        OF_ELEMENTS
    }

    fn abs_diff_eq(&self, other: &Tensor, given: f64) -> bool {
        let epsilon = epsilon(given, self.dtype());
        self.spec() == other.spec()
            && with_element!(self.dtype(), T => self.all_pairs(other, |a: T, b: T| distance(a, b) <= epsilon))
    }
}

/// `|a - b| ≤ max_relative · max(|a|, |b|)`, or within epsilon, for each pair of elements; otherwise as [`AbsDiffEq`].
/// Equal infinities are equal.
///
/// ```
/// use approx::assert_relative_eq;
/// use kiln_tensor::{Tensor, ops::*};
/// let x = Tensor::new([1.0f32, 2.0, 3.0]);
/// assert_relative_eq!(x.exp()?.log()?, x, max_relative = 1e-6);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
impl RelativeEq for Tensor {
    fn default_max_relative() -> f64 {
        OF_ELEMENTS
    }

    fn relative_eq(&self, other: &Tensor, given: f64, max_relative: f64) -> bool {
        let (near, relative) = (epsilon(given, self.dtype()), epsilon(max_relative, self.dtype()));
        self.spec() == other.spec()
            && with_element!(self.dtype(), T => self.all_pairs(other, |a: T, b: T| {
                let largest = a.to_f64().abs().max(b.to_f64().abs());
                a == b || largest.is_finite() && distance(a, b) <= near.max(relative * largest)
            }))
    }
}

/// At most `max_ulps` steps from number to number apart, or within epsilon, for each pair of elements of a
/// floating-point type; otherwise as [`AbsDiffEq`].
impl UlpsEq for Tensor {
    fn default_max_ulps() -> u32 {
        f64::default_max_ulps()
    }

    fn ulps_eq(&self, other: &Tensor, given: f64, max_ulps: u32) -> bool {
        let epsilon = epsilon(given, self.dtype());
        self.spec() == other.spec()
            && with_element!(self.dtype(), T => self.all_pairs(other, |a: T, b: T| {
                distance(a, b) <= epsilon || within_ulps(a, b, max_ulps)
            }))
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::{CastOps, ViewOps};
    use crate::{DType, Tensor};
    use approx::{abs_diff_eq, assert_abs_diff_ne, assert_relative_eq, assert_ulps_eq, assert_ulps_ne, relative_eq};

    #[test]
    fn near_is_near_and_far_is_far() {
        let (a, b) = (Tensor::new([[1.0, 100.0]]), Tensor::new([[1.0, 100.001]]));
        assert!(abs_diff_eq!(a, b, epsilon = 0.002) && !abs_diff_eq!(a, b, epsilon = 0.0005));
        assert!(relative_eq!(a, b, max_relative = 1e-4) && !relative_eq!(a, b, max_relative = 1e-6));
        assert_relative_eq!(a, a);
        assert_abs_diff_ne!(a, b);
        let (a, b) = (a.cast(DType::F16).unwrap(), b.cast(DType::F16).unwrap());
        assert_relative_eq!(a, b);
    }

    #[test]
    fn shape_and_type_count() {
        let x = Tensor::new([1.0f32, 2.0]);
        assert_abs_diff_ne!(x, Tensor::new([[1.0f32, 2.0]]), epsilon = 9.0);
        assert_abs_diff_ne!(x, Tensor::new([1.0f64, 2.0]), epsilon = 9.0);
    }

    #[test]
    fn special_values() {
        let inf = Tensor::new([f32::INFINITY]);
        let nan = Tensor::new([f32::NAN]);
        assert_relative_eq!(inf, inf);
        assert!(!relative_eq!(inf, Tensor::new([1f32]), max_relative = 1.0));
        assert!(!relative_eq!(nan, nan, epsilon = 9.0) && !abs_diff_eq!(nan, nan));
        assert_ulps_ne!(nan, nan);
        assert!(abs_diff_eq!(Tensor::new([0.0]), Tensor::new([-0.0])));
    }

    #[test]
    fn the_method_compares_element_by_element() {
        let x = Tensor::new([1.0, f64::NAN]);
        let (same, other) = (x.eq(&x).unwrap(), x.ne(1.0).unwrap());
        assert!(same == Tensor::new([true, false]) && other == Tensor::new([false, true]));
        assert!(x != x && Tensor::new([0.0]) == Tensor::new([-0.0]));
    }

    #[test]
    fn integers_are_exact() {
        let (a, b) = (Tensor::new([i64::MAX]), Tensor::new([i64::MAX - 1]));
        assert_abs_diff_ne!(a, b);
        assert!(abs_diff_eq!(a, b, epsilon = 1.0) && !relative_eq!(a, b));
        assert_ulps_ne!(a, b);
        assert_ulps_eq!(a, a);
    }

    #[test]
    fn ulps_are_those_of_the_type() {
        let step = |n: u32| Tensor::new([f32::from_bits(1e9f32.to_bits() + n)]);
        assert_ulps_eq!(step(0), step(4));
        assert_ulps_ne!(step(0), step(5));
        let half = |n: u16| Tensor::new([half::f16::from_bits(0x6400 + n)]);
        assert_ulps_eq!(half(0), half(2), max_ulps = 2);
        assert_ulps_ne!(half(0), half(3), max_ulps = 2);
        assert_ulps_ne!(Tensor::new([1e-30f32]), Tensor::new([-1e-30f32]), epsilon = 0.0);
    }

    #[test]
    fn views_of_any_size() {
        let x = Tensor::new([[1.0, 2.0], [3.0, 4.0]]);
        assert_relative_eq!(x.t().unwrap(), Tensor::new([[1.0, 3.0], [2.0, 4.0]]));
        let huge = |x: f32| Tensor::new([x]).expand([1 << 40]).unwrap();
        assert_relative_eq!(huge(1.0), huge(1.0 + 1e-6), max_relative = 1e-5);
    }
}
