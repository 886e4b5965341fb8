//! From values to places on an axis: ranges, round ticks, logarithmic scales. Draws nothing.

/// A range of values, and where they lie between 0 and 1 of an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    low: f64,
    high: f64,
    is_log: bool,
    /// Every value lies in 0..=1, so a tick outside would say nothing.
    is_share: bool,
}

/// Values that differ by more than this factor are drawn on a logarithmic axis.
const LOG_RATIO: f64 = 1e3;
/// The share of the range that stays free above and below.
const MARGIN: f64 = 0.06;
/// Larger values are drawn here, so that the differences of values cannot overflow.
const LARGEST: f64 = 1e300;

impl Scale {
    /// A scale that shows every finite value; a range around 0 to 1 where there is none.
    pub fn around(values: impl Iterator<Item = f64>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite()) {
            low = low.min(value.clamp(-LARGEST, LARGEST));
            high = high.max(value.clamp(-LARGEST, LARGEST));
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let is_share = low >= 0.0 && high <= 1.0;
        let is_log = low > 0.0 && high / low > LOG_RATIO;
        if is_log {
            (low, high) = (low.log10(), high.log10());
        }
        let margin = if high > low {
            MARGIN * (high - low)
        } else if low == 0.0 {
            0.5
        } else {
            low.abs() * 0.05
        };
        Self { low: low - margin, high: high + margin, is_log, is_share }
    }

    /// A logarithmic scale that shows every positive value.
    pub fn log(values: impl Iterator<Item = f64>) -> Self {
        let logs = values.filter(|value| *value > 0.0 && value.is_finite()).map(f64::log10);
        let (low, high) = logs.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
        let (low, high) = if low < high { (low, high) } else { (-1.0, 1.0) };
        let margin = 0.02 * (high - low);
        Self { low: low - margin, high: high + margin, is_log: true, is_share: false }
    }

    /// From 0 to 1, with a little room at both ends.
    pub fn unit() -> Self {
        Self { low: -0.02, high: 1.02, is_log: false, is_share: true }
    }

    /// From 0 to `high`, without room.
    pub fn from_zero(high: f64) -> Self {
        Self { low: 0.0, high, is_log: false, is_share: false }
    }

    /// A scale for whole epochs `first..=last`, with a little room at both ends.
    pub fn epochs(first: usize, last: usize) -> Self {
        let (first, last) = (first as f64, last as f64);
        let margin = if first == last { 1.0 } else { (last - first) * 0.03 };
        Self { low: first - margin, high: last + margin, is_log: false, is_share: false }
    }

    /// Whether equal distances are equal factors.
    pub fn is_log(self) -> bool {
        self.is_log
    }

    /// Where `value` lies: 0 at the low end, 1 at the high end.
    pub fn place(self, value: f64) -> f64 {
        let value = value.clamp(-LARGEST, LARGEST);
        let value = if self.is_log { value.log10() } else { value };
        (value - self.low) / (self.high - self.low)
    }

    /// About `count` round values inside the range, with their labels.
    pub fn ticks(self, count: usize) -> Vec<(f64, String)> {
        if self.is_log {
            return self.decades(count);
        }
        let step = round_step((self.high - self.low) / count.max(1) as f64);
        let numbers = self.multiples(step);
        let numbers = numbers.filter(|tick| !self.is_share || (-1e-9..=1.0 + 1e-9).contains(tick));
        numbers.map(|tick| (tick, label(tick, step))).collect()
    }

    /// At most about `count` whole numbers inside the range.
    pub fn whole_ticks(self, count: usize) -> Vec<(f64, String)> {
        let step = round_step((self.high - self.low) / count.max(1) as f64).ceil().max(1.0);
        self.multiples(step).map(|tick| (tick, format!("{tick:.0}"))).collect()
    }

    fn multiples(self, step: f64) -> impl Iterator<Item = f64> {
        let first = (self.low / step).ceil();
        let last = (self.high / step).floor();
        // A range that is lost in rounding (1e300 to 1e300 + 1) has no ticks rather than endless ones.
        let count = if last - first < 1e3 { (last - first).max(-1.0) + 1.0 } else { 0.0 };
        // Adding 0 turns -0 into 0, which prints without its sign.
        (0..count as usize).map(move |at| (first + at as f64) * step + 0.0)
    }

    fn decades(self, count: usize) -> Vec<(f64, String)> {
        let (first, last) = (self.low.ceil() as i32, self.high.floor() as i32);
        let stride = ((last - first) / count.max(1) as i32 + 1).max(1);
        let exponents = (first..=last).filter(|exponent| (exponent - first) % stride == 0);
        let text = |exponent: i32| match exponent {
            -3..=4 => format!("{}", 10_f64.powi(exponent)),
            _ => format!("1e{exponent}"),
        };
        exponents.map(|exponent| (10_f64.powi(exponent), text(exponent))).collect()
    }
}

/// The one of 1, 2, 5, 10, … (times a power of ten) that is near `step`, rather above it.
fn round_step(step: f64) -> f64 {
    if !(step > 0.0 && step.is_finite()) {
        return 1.0;
    }
    let power = 10_f64.powi(step.log10().floor() as i32);
    let digit = [1.0, 2.0, 5.0, 10.0].into_iter().find(|digit| digit * power >= step * 0.8);
    digit.unwrap_or(10.0) * power
}

/// A tick's number with the decimals that its step needs.
fn label(tick: f64, step: f64) -> String {
    let largest = tick.abs().max(step);
    if largest >= 1e5 || step < 1e-4 {
        let power = |size: f64| (size.log10() + 1e-9).floor();
        let digits = if tick == 0.0 { 0.0 } else { power(tick.abs()) - power(step) };
        return format!("{tick:.*e}", digits.clamp(0.0, 6.0) as usize);
    }
    let decimals = (-step.log10() - 1e-9).ceil().max(0.0) as usize;
    format!("{tick:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale, count: usize) -> Vec<String> {
        scale.ticks(count).into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_and_inside() {
        let scale = Scale::around([0.13, 1.61].into_iter());
        assert_eq!(labels(scale, 6), ["0.5", "1.0", "1.5"]);
        assert_eq!(labels(scale, 8), ["0.2", "0.4", "0.6", "0.8", "1.0", "1.2", "1.4", "1.6"]);
        assert_eq!(labels(Scale::around([-3.0, 7.0].into_iter()), 5), ["-2", "0", "2", "4", "6"]);
        let tiny = labels(Scale::around([1e-5, 3e-5].into_iter()), 4);
        assert_eq!(tiny, ["1.0e-5", "1.5e-5", "2.0e-5", "2.5e-5", "3.0e-5"]);
        assert_eq!(labels(Scale::around([2e5, 9e5].into_iter()), 4), ["2e5", "4e5", "6e5", "8e5"]);
    }

    #[test]
    fn a_share_has_no_tick_above_one() {
        let scale = Scale::around([0.2, 1.0].into_iter());
        assert_eq!(labels(scale, 5), ["0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert!(scale.place(1.0) < 0.97);
    }

    #[test]
    fn wide_ranges_are_logarithmic() {
        let scale = Scale::around([1e-4, 10.0].into_iter());
        assert!(scale.is_log());
        assert_eq!(labels(scale, 8), ["1e-4", "0.001", "0.01", "0.1", "1", "10"]);
        assert!((scale.place(1e-4) + scale.place(10.0) - 1.0).abs() < 1e-12);
        assert!(!Scale::around([0.0, 1e6].into_iter()).is_log());
    }

    #[test]
    fn odd_values_give_a_usable_scale() {
        for values in [
            vec![],
            vec![f64::NAN, f64::INFINITY],
            vec![0.0],
            vec![3.0, 3.0],
            vec![f64::MAX, f64::MIN],
            vec![1e300],
            vec![5e-324, 1.0],
        ] {
            let scale = Scale::around(values.iter().copied());
            for value in values.into_iter().filter(|value| value.is_finite()) {
                let place = scale.place(value);
                assert!((0.0..=1.0).contains(&place), "{value}: {place}");
            }
            assert!(scale.ticks(6).len() < 20);
        }
    }

    #[test]
    fn epochs_are_whole() {
        let ticks = |first, last, count| -> Vec<String> {
            Scale::epochs(first, last).whole_ticks(count).into_iter().map(|tick| tick.1).collect()
        };
        assert_eq!(ticks(1, 3, 10), ["1", "2", "3"]);
        assert_eq!(ticks(5, 5, 10), ["4", "5", "6"]);
        assert_eq!(ticks(1, 1000, 6), ["0", "200", "400", "600", "800", "1000"]);
    }
}
