//! How far a sample is from another: the population stability index, and the tests of Kolmogorov and Smirnov and of Pearson.

/// A part of less than this counts as this, so that an empty bin has a logarithm.
const LEAST_PART: f64 = 1e-4;

/// The population stability index of counts in the same bins, `Σ (a - e)·ln(a / e)` of their parts. By custom less than 0.1 is no
/// change and more than 0.25 a large one.
///
/// ```
/// use kiln_train::monitor::population_stability_index;
/// assert_eq!(population_stability_index(&[50.0, 50.0], &[10.0, 10.0]), 0.0);
/// let moved = population_stability_index(&[50.0, 50.0], &[80.0, 20.0]);
/// assert!((moved - 0.3 * (1.6f64 / 0.4).ln()).abs() < 1e-12);
/// ```
pub fn population_stability_index(expected: &[f64], actual: &[f64]) -> f64 {
    let parts = |counts: &[f64]| -> Vec<f64> {
        let total: f64 = counts.iter().sum();
        counts.iter().map(|count| (count / total.max(1.0)).max(LEAST_PART)).collect()
    };
    let (expected, actual) = (parts(expected), parts(actual));
    expected.iter().zip(&actual).map(|(e, a)| (a - e) * (a / e).ln()).sum()
}

/// The largest distance between the distribution functions of two sorted samples, and how likely one at least as large is where both
/// are of one distribution (asymptotically, with Stephens's correction).
///
/// ```
/// use kiln_train::monitor::kolmogorov_smirnov;
/// let (distance, p) = kolmogorov_smirnov(&[1.0, 2.0, 3.0, 4.0], &[3.0, 4.0, 5.0, 6.0]);
/// assert_eq!(distance, 0.5);
/// assert!(p > 0.5);
/// ```
pub fn kolmogorov_smirnov(a: &[f64], b: &[f64]) -> (f64, f64) {
    if a.is_empty() || b.is_empty() {
        return (0.0, 1.0);
    }
    let (n, m) = (a.len() as f64, b.len() as f64);
    let (mut i, mut j, mut distance) = (0, 0, 0.0f64);
    while i < a.len() && j < b.len() {
        let x = a[i].min(b[j]);
        while i < a.len() && a[i] <= x {
            i += 1;
        }
        while j < b.len() && b[j] <= x {
            j += 1;
        }
        distance = distance.max((i as f64 / n - j as f64 / m).abs());
    }
    let root = (n * m / (n + m)).sqrt();
    (distance, kolmogorov((root + 0.12 + 0.11 / root) * distance))
}

/// The probability that Student's t of nine degrees of freedom is larger (Abramowitz and Stegun 1964, 26.7.3).
pub(super) fn student_tail_of_nine(t: f64) -> f64 {
    let angle = (t / 3.0).atan();
    let (sine, cosine) = angle.sin_cos();
    let sum =
        cosine * (1.0 + cosine.powi(2) * (2.0 / 3.0 + cosine.powi(2) * (8.0 / 15.0 + cosine.powi(2) * 16.0 / 35.0)));
    0.5 - (angle + sine * sum) / std::f64::consts::PI
}

/// `P(K > x)` of Kolmogorov's distribution.
fn kolmogorov(x: f64) -> f64 {
    if x < 0.2 {
        return 1.0;
    }
    let term = |k: i32| f64::from(1 - 2 * (k % 2)) * (-2.0 * f64::from(k * k) * x * x).exp();
    (-2.0 * (1..=100).map(term).sum::<f64>()).clamp(0.0, 1.0)
}

/// Pearson's statistic for two samples counted in the same classes, and how likely one at least as large is where both are of one
/// distribution. Classes that neither has do not count.
///
/// ```
/// use kiln_train::monitor::chi_square;
/// let (statistic, p) = chi_square(&[30.0, 70.0], &[50.0, 50.0]);
/// assert!((statistic - 25.0 / 3.0).abs() < 1e-12);
/// assert!((p - 0.003892).abs() < 1e-6);
/// ```
pub fn chi_square(a: &[f64], b: &[f64]) -> (f64, f64) {
    let (n, m): (f64, f64) = (a.iter().sum(), b.iter().sum());
    if n == 0.0 || m == 0.0 {
        return (0.0, 1.0);
    }
    let seen = || a.iter().zip(b).filter(|(a, b)| **a + **b > 0.0);
    let part = |(a, b): (&f64, &f64)| {
        let (of_a, of_b) = ((a + b) * n / (n + m), (a + b) * m / (n + m));
        (a - of_a).powi(2) / of_a + (b - of_b).powi(2) / of_b
    };
    let (statistic, freedom) = (seen().map(part).sum::<f64>(), seen().count().saturating_sub(1));
    if freedom == 0 { (0.0, 1.0) } else { (statistic, upper_gamma(freedom as f64 / 2.0, statistic / 2.0)) }
}

/// The regularized upper incomplete gamma function `Q(a, x)`: by its series below `a + 1`, by its continued fraction above (Abramowitz
/// and Stegun 6.5.29 and 6.5.31).
fn upper_gamma(a: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    let front = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        let (mut term, mut sum, mut n) = (1.0 / a, 1.0 / a, a);
        while term > sum * 1e-16 {
            n += 1.0;
            term *= x / n;
            sum += term;
        }
        return (1.0 - front * sum).clamp(0.0, 1.0);
    }
    // Lentz's way through the fraction.
    let (mut b, mut c) = (x + 1.0 - a, 1e300);
    let mut d = 1.0 / b;
    let mut h = d;
    for i in 1..1000 {
        let i = f64::from(i);
        let an = -i * (i - a);
        b += 2.0;
        d = 1.0 / (an * d + b);
        c = b + an / c;
        h *= d * c;
        if (d * c - 1.0).abs() < 1e-15 {
            break;
        }
    }
    (front * h).clamp(0.0, 1.0)
}

/// `ln Γ(a)` of positive halves of whole numbers: a product down to `Γ(1)` or `Γ(1/2)`.
fn ln_gamma(a: f64) -> f64 {
    let (mut sum, mut a) = (0.0, a);
    while a > 1.0 {
        a -= 1.0;
        sum += a.ln();
    }
    sum + if a == 0.5 { 0.5 * std::f64::consts::PI.ln() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of SciPy 1.16.
    #[test]
    fn students_tail_is_that_of_scipy() {
        for (t, want) in
            [(0.0, 0.5), (1.0, 0.171_718_198_068_956_8), (2.262_157, 0.025_000_006_65), (4.296_806, 0.000_999_999_5)]
        {
            assert!((student_tail_of_nine(t) - want).abs() < 1e-9, "{t}");
        }
        assert!(student_tail_of_nine(f64::INFINITY) < 1e-15 && student_tail_of_nine(f64::NAN).is_nan());
    }

    /// Values of SciPy 1.16.
    #[test]
    fn tails_are_those_of_scipy() {
        for (freedom, x, want) in [
            (1.0, 3.841_458_820_694_124, 0.05),
            (1.0, 0.1, 0.751_829_634_045_849),
            (2.0, 5.0, 0.082_084_998_623_898_8),
            (9.0, 16.918_977_604_620_45, 0.05),
            (9.0, 2.0, 0.991_467_606_628_813_5),
            (100.0, 124.342_113_404_004_08, 0.05),
            (5.0, 60.0, 1.215_456_977_718e-11),
        ] {
            let p = upper_gamma(freedom / 2.0, x / 2.0);
            assert!((p / want - 1.0f64).abs() < 1e-6, "{freedom} {x}: {p} {want}");
        }
        for (x, want) in [
            (0.5, 0.963_945_243_664_875),
            (1.0, 0.269_999_671_677_354_56),
            (1.358_098_9, 0.05),
            (2.0, 0.000_670_925_254_9),
        ] {
            assert!((kolmogorov(x) / want - 1.0).abs() < 1e-5, "{x}: {} {want}", kolmogorov(x));
        }
    }

    #[test]
    fn ties_and_nothing() {
        assert_eq!(kolmogorov_smirnov(&[1.0; 50], &[1.0; 70]), (0.0, 1.0));
        assert_eq!(kolmogorov_smirnov(&[], &[1.0]), (0.0, 1.0));
        let (distance, p) = kolmogorov_smirnov(&[0.0; 50], &[1.0; 50]);
        assert!(distance == 1.0 && p < 1e-10);
        assert_eq!(chi_square(&[3.0, 0.0], &[7.0, 0.0]), (0.0, 1.0));
        assert!(population_stability_index(&[10.0, 0.0], &[0.0, 10.0]).is_finite());
    }
}
