//! What repeated measurements say: medians, intervals that ask nothing of the noise's distribution, and a word for them.

/// Changes below this share are of no interest, whatever is known of them.
const SMALL: f64 = 0.02;

/// The share of intervals that should hold the true median.
const SURE: f64 = 0.95;

/// The middle number, or the mean of the two in the middle; of nothing, NaN.
pub fn median(numbers: &[f64]) -> f64 {
    let sorted = sorted(numbers);
    match sorted.len() {
        0 => f64::NAN,
        n => (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0,
    }
}

/// The mean of ratios: a half and a double make 1. Of nothing, NaN.
pub fn geometric_mean(ratios: &[f64]) -> f64 {
    (ratios.iter().map(|r| r.ln()).sum::<f64>() / ratios.len() as f64).exp()
}

/// Where the median lies of what was drawn from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
    /// How often such an interval holds the true median.
    pub coverage: f64,
}

/// Each measurement is as likely above the true median as below, so how many are below is a matter of coins. The interval goes from the
/// kth smallest to the kth largest, with the largest k that leaves it sure enough; with five or fewer, from the smallest to the largest.
pub fn interval(numbers: &[f64]) -> Interval {
    let sorted = sorted(numbers);
    let n = sorted.len();
    if n == 0 {
        return Interval { low: f64::NAN, high: f64::NAN, coverage: 0.0 };
    }
    // The chance that fewer than k of n coins show heads.
    let mut ways = 1.0;
    let mut fewer = 0.5f64.powi(n as i32);
    let mut best = (0, 1.0 - 2.0 * fewer);
    for k in 1..n / 2 {
        ways *= (n - k + 1) as f64 / k as f64;
        fewer += ways * 0.5f64.powi(n as i32);
        if 1.0 - 2.0 * fewer >= SURE {
            best = (k, 1.0 - 2.0 * fewer);
        }
    }
    Interval { low: sorted[best.0], high: sorted[n - 1 - best.0], coverage: best.1.max(0.0) }
}

/// What ratios of times, after to before, say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Slower,
    Faster,
    Unclear,
    Same,
}

impl Verdict {
    /// Moved, if the interval leaves 1 out and the median is more than a little off; the same, if all of the interval is near 1.
    pub fn of(ratios: &[f64]) -> Verdict {
        let (middle, Interval { low, high, coverage }) = (median(ratios), interval(ratios));
        if coverage > 0.5 && low > 1.0 && middle >= 1.0 + SMALL {
            Verdict::Slower
        } else if coverage > 0.5 && high < 1.0 && middle <= 1.0 - SMALL {
            Verdict::Faster
        } else if coverage > 0.5 && low > 1.0 - SMALL && high < 1.0 + SMALL {
            Verdict::Same
        } else {
            Verdict::Unclear
        }
    }

    pub fn text(self) -> &'static str {
        match self {
            Verdict::Slower => "moved: slower",
            Verdict::Faster => "moved: faster",
            Verdict::Unclear => "unclear",
            Verdict::Same => "same",
        }
    }
}

fn sorted(numbers: &[f64]) -> Vec<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn middles() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
        assert!((geometric_mean(&[0.5, 2.0]) - 1.0).abs() < 1e-12);
        assert!((geometric_mean(&[1.0, 4.0, 2.0]) - 2.0).abs() < 1e-12);
    }

    /// The chances are those of the sign test: 2/64 of six coins, 2 · (1 + 8)/256 of eight, 2 · (1 + 10 + 45)/1024 of ten.
    #[test]
    fn intervals() {
        let numbers = |n: usize| (1..=n).map(|i| i as f64).collect::<Vec<_>>();
        let expect = |n: usize, low: f64, high: f64, coverage: f64| {
            assert_eq!(interval(&numbers(n)), Interval { low, high, coverage }, "{n}");
        };
        expect(1, 1.0, 1.0, 0.0);
        expect(5, 1.0, 5.0, 1.0 - 2.0 / 32.0);
        expect(6, 1.0, 6.0, 1.0 - 2.0 / 64.0);
        expect(8, 1.0, 8.0, 1.0 - 2.0 / 256.0);
        expect(9, 2.0, 8.0, 1.0 - 20.0 / 512.0);
        expect(10, 2.0, 9.0, 1.0 - 22.0 / 1024.0);
    }

    /// Of draws from a known median, the interval holds it about as often as it says.
    #[test]
    fn coverage_is_kept() {
        let mut state = 1u64;
        let mut draw = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let rounds = 4000;
        let held = (0..rounds).filter(|_| {
            // Skewed, as times are.
            let numbers: Vec<f64> = (0..10).map(|_| draw().powi(4)).collect();
            let Interval { low, high, .. } = interval(&numbers);
            (low..=high).contains(&0.5f64.powi(4))
        });
        let share = held.count() as f64 / f64::from(rounds);
        assert!((share - (1.0 - 22.0 / 1024.0)).abs() < 0.01, "{share}");
    }

    #[test]
    fn verdicts() {
        assert_eq!(Verdict::of(&[1.1, 1.2, 1.15, 1.1, 1.3, 1.1]), Verdict::Slower);
        assert_eq!(Verdict::of(&[0.8, 0.9, 0.85, 0.95, 0.9, 0.8]), Verdict::Faster);
        assert_eq!(Verdict::of(&[1.1, 1.2, 1.15, 0.9, 1.3, 1.1]), Verdict::Unclear);
        assert_eq!(Verdict::of(&[1.0, 1.01, 0.99, 1.0, 1.005, 0.995]), Verdict::Same);
        // Sure, and too little to matter.
        assert_eq!(Verdict::of(&[1.01, 1.011, 1.012, 1.01, 1.015, 1.01]), Verdict::Same);
        // One measurement says nothing.
        assert_eq!(Verdict::of(&[2.0]), Verdict::Unclear);
    }
}
