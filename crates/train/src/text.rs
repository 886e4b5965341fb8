//! Words for people: "did you mean", lists of names, numbers as Keras prints them. Knows no file and no terminal.

use std::fmt::Write as _;

/// The candidate that `name` most probably stands for, or `None` if nothing is close.
///
/// Case, `-`, `_` and spaces do not count; a swap of neighbours is one edit; a beginning of at least three letters
/// (`acc` for `accuracy`) counts as close. The first of equally near candidates wins.
///
/// # Examples
/// ```
/// use kiln_train::text::suggest;
/// assert_eq!(suggest("val_los", ["loss", "val_loss"]), Some("val_loss"));
/// assert_eq!(suggest("acc", ["loss", "accuracy"]), Some("accuracy"));
/// assert_eq!(suggest("banana", ["loss", "accuracy"]), None);
/// ```
pub fn suggest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = normalized(name);
    let allowed = (name.len() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance_with_prefix(&name, &normalized(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// "did you mean `x`?" where something is close, else the names that exist.
///
/// # Examples
/// ```
/// use kiln_train::text::did_you_mean;
/// assert_eq!(did_you_mean("adamm", &["adam", "sgd"]), "did you mean `adam`?");
/// assert_eq!(did_you_mean("banana", &["adam", "sgd"]), "there are `adam` and `sgd`");
/// ```
pub fn did_you_mean(name: &str, candidates: &[&str]) -> String {
    match (suggest(name, candidates.iter().copied()), candidates) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, []) => "there is none".to_owned(),
        (None, [one]) => format!("there is only `{one}`"),
        (None, _) => format!("there are {}", listing(candidates)),
    }
}

/// Names in back ticks, joined as in a sentence: `` `a`, `b` and `c` ``.
///
/// # Examples
/// ```
/// use kiln_train::text::listing;
/// assert_eq!(listing(["a", "b", "c"]), "`a`, `b` and `c`");
/// assert_eq!(listing(["a"]), "`a`");
/// assert_eq!(listing([] as [&str; 0]), "nothing");
/// ```
pub fn listing<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    let quoted: Vec<String> =
        names.into_iter().map(|name| format!("`{}`", name.as_ref())).collect();
    match quoted.as_slice() {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// A logged value as Keras prints it: four decimals, or scientific below 0.001 in size.
///
/// # Examples
/// ```
/// use kiln_train::text::log_value;
/// assert_eq!(log_value(0.29876), "0.2988");
/// assert_eq!(log_value(0.001), "0.0010");
/// assert_eq!(log_value(0.0005), "5.0000e-04");
/// assert_eq!(log_value(f64::NAN), "nan");
/// ```
pub fn log_value(value: f64) -> String {
    if value.is_nan() {
        "nan".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "inf" } else { "-inf" }.to_owned()
    // Keras compares a 32-bit float with 0.001, and that of 0.001 (the commonest learning rate) is a little above it.
    } else if f64::from(value.abs() as f32) > 1e-3 {
        format!("{value:.4}")
    } else {
        scientific(value, 4)
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

/// Letters and digits in lower case: what two spellings of one name have in common.
fn normalized(name: &str) -> Vec<char> {
    name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}

/// Edit distance, except that a beginning of three letters or more is one edit away from the whole.
fn distance_with_prefix(name: &[char], candidate: &[char]) -> usize {
    let distance = edit_distance(name, candidate);
    let is_prefix = name.len() >= 3 && candidate.starts_with(name);
    if is_prefix { distance.min(1) } else { distance }
}

/// Edits (insert, delete, replace, swap of neighbours) from `a` to `b`; no place is edited twice.
fn edit_distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i);
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distance(a: &str, b: &str) -> usize {
        edit_distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>())
    }

    #[test]
    fn distances() {
        assert_eq!(distance("", ""), 0);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("sdg", "sgd"), 1);
        assert_eq!(distance("ca", "abc"), 3);
    }

    #[test]
    fn suggestions_ignore_case_and_separators() {
        assert_eq!(suggest("ValLoss", ["loss", "val_loss"]), Some("val_loss"));
        assert_eq!(suggest("los", ["val_loss", "loss"]), Some("loss"));
        assert_eq!(suggest("sdg", ["adam", "sgd"]), Some("sgd"));
        assert_eq!(suggest("", ["adam"]), None);
        assert_eq!(suggest("x", []), None);
        // An exact name beats a longer one that it begins.
        assert_eq!(suggest("precision", ["precision_1", "precision"]), Some("precision"));
    }

    #[test]
    fn help_lists_what_exists() {
        assert_eq!(did_you_mean("zzzz", &[]), "there is none");
        assert_eq!(did_you_mean("zzzz", &["loss"]), "there is only `loss`");
    }

    #[test]
    fn values_like_keras() {
        for (value, text) in [
            (1.66, "1.6600"),
            (-1234.5, "-1234.5000"),
            (0.0, "0.0000e+00"),
            (-1.5e-4, "-1.5000e-04"),
            (2.5e-120, "2.5000e-120"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(log_value(value), text);
        }
    }
}
