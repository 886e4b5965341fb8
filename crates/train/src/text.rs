//! Words for people: "did you mean", lists of names, numbers as Keras prints them. Knows no file and no terminal.

use std::fmt::Write as _;

pub use kiln_nn::names::{did_you_mean, listing, suggest};

/// From here on, four decimals are wider than scientific notation.
const LARGE: f64 = 1e6;

/// A logged value as Keras prints it: four decimals, or scientific below 0.001 in size; but scientific from a million on
/// too, where Keras prints every digit, and a plain 0.
///
/// # Examples
/// ```
/// use kiln_train::text::log_value;
/// assert_eq!(log_value(0.29876), "0.2988");
/// assert_eq!(log_value(0.001), "0.0010");
/// assert_eq!(log_value(0.0005), "5.0000e-04");
/// assert_eq!(log_value(123_456_789.0), "1.2346e+08");
/// assert_eq!(log_value(f64::NAN), "nan");
/// ```
pub fn log_value(value: f64) -> String {
    if value.is_nan() {
        "nan".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "inf" } else { "-inf" }.to_owned()
    // Keras compares a 32-bit float with 0.001, and that of 0.001 (the commonest learning rate) is a little above it.
    } else if value == 0.0 || (f64::from(value.abs() as f32) > 1e-3 && value.abs() < LARGE) {
        format!("{value:.4}")
    } else {
        scientific(value, 4)
    }
}

/// A text as a message can hold it: the beginning of a long one.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

/// C's `%.{digits}e`: a signed exponent of at least two digits, where Rust prints `e-3`.
pub(crate) fn scientific(value: f64, digits: usize) -> String {
    let rust = format!("{value:.digits$e}");
    let Some((mantissa, exponent)) = rust.split_once('e') else { return rust };
    let (sign, size) = match exponent.strip_prefix('-') {
        Some(size) => ('-', size),
        None => ('+', exponent),
    };
    let mut text = String::with_capacity(rust.len() + 2);
    // Writing to a String cannot fail.
    let _ = write!(text, "{mantissa}e{sign}{size:0>2}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_like_keras() {
        for (value, text) in [
            (1.66, "1.6600"),
            (-1234.5, "-1234.5000"),
            (0.0, "0.0000"),
            (999_999.0, "999999.0000"),
            (-1e6, "-1.0000e+06"),
            (1.7e38, "1.7000e+38"),
            (-1.5e-4, "-1.5000e-04"),
            (2.5e-120, "2.5000e-120"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(log_value(value), text);
        }
    }
}
