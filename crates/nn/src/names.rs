//! Names that people write: which one was meant, which of several spellings it is, and lists of them for a sentence.

use crate::{Error, Result};
use std::collections::BTreeSet;

/// The candidate that `name` most probably stands for, or `None` if nothing is close.
///
/// Case, `-`, `_` and spaces do not count; a swap of neighbours is one edit; a beginning of at least three letters
/// (`acc` for `accuracy`) and the same words in another order or with one more count as close. The first of equally near
/// candidates wins.
///
/// # Examples
/// ```
/// use kiln_nn::names::suggest;
/// assert_eq!(suggest("val_los", ["loss", "val_loss"]), Some("val_loss"));
/// assert_eq!(suggest("acc", ["loss", "accuracy"]), Some("accuracy"));
/// assert_eq!(suggest("loss_val", ["loss", "val_loss"]), Some("val_loss"));
/// assert_eq!(suggest("squared_error", ["absolute_error", "mean_squared_error"]), Some("mean_squared_error"));
/// assert_eq!(suggest("banana", ["loss", "accuracy"]), None);
/// ```
pub fn suggest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let (words, name) = (words(name), normalized(name));
    let allowed = (name.len() / 3).max(1);
    let distance = |candidate: &str| {
        let letters = normalized(candidate);
        let others = self::words(candidate);
        let has_words = words.len() > 1 && others.len() <= words.len() + 1 && words.is_subset(&others);
        let distance = distance_with_prefix(&name, &letters).min(if has_words { 1 } else { usize::MAX });
        // Of a name with every letter replaced nothing is left.
        (distance <= allowed && distance < name.len().max(letters.len())).then_some(distance)
    };
    candidates
        .into_iter()
        .filter_map(|candidate| Some((distance(candidate)?, candidate)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Whether a name is one that a pattern stands for, in which `*` is any number of characters.
///
/// # Examples
/// ```
/// use kiln_nn::names::matches;
/// assert!(matches("encoder/*", "encoder/dense/kernel") && matches("*/bias", "dense_1/bias"));
/// assert!(!matches("dense", "dense/kernel") && matches("*", ""));
/// ```
pub fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(name) = name.strip_prefix(start) else { return false };
    (0..=name.len()).filter(|&i| name.is_char_boundary(i)).any(|i| matches(rest, &name[i..]))
}

/// "did you mean `x`?" where something is close, else the names that have `name` as a part, else all that exist.
///
/// # Examples
/// ```
/// use kiln_nn::names::did_you_mean;
/// assert_eq!(did_you_mean("adamm", &["adam", "sgd"]), "did you mean `adam`?");
/// assert_eq!(did_you_mean("adam", &["adam_w", "adamax", "sgd"]), "did you mean `adam_w`?");
/// assert_eq!(did_you_mean("entropy", &["cross_entropy", "squared_error"]), "there is only `cross_entropy`");
/// assert_eq!(did_you_mean("banana", &["adam", "sgd"]), "there are `adam` and `sgd`");
/// ```
pub fn did_you_mean(name: &str, candidates: &[&str]) -> String {
    let part = normalized(name);
    let has_part = |candidate: &&str| normalized(candidate).windows(part.len()).any(|letters| letters == part);
    let longer: Vec<&str> = candidates.iter().copied().filter(|c| part.len() > 3 && has_part(c)).collect();
    let candidates = if longer.is_empty() { candidates } else { &longer };
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
/// use kiln_nn::names::listing;
/// assert_eq!(listing(["a", "b", "c"]), "`a`, `b` and `c`");
/// assert_eq!(listing(["a"]), "`a`");
/// assert_eq!(listing([] as [&str; 0]), "nothing");
/// ```
pub fn listing<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("`{}`", name.as_ref())).collect();
    match quoted.as_slice() {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// What `given` stands for in a table of spellings. The first name of a row is the one that is shown; case, `-`, `_`
/// and spaces do not count.
///
/// ```
/// use kiln_nn::names::find;
/// let table: &[(&[&str], u8)] = &[(&["mean_squared_error", "mse"], 1), (&["mean_absolute_error", "mae"], 2)];
/// assert_eq!(find("loss", "MeanSquaredError", table)?, 1);
/// assert_eq!(find("loss", "MAE", table)?, 2);
/// assert!(find("loss", "msle", table).is_err());
/// # Ok::<(), kiln_nn::Error>(())
/// ```
///
/// # Errors
/// The name is none of them; the error has the nearest.
pub fn find<T: Copy>(what: &str, given: &str, table: &[(&[&str], T)]) -> Result<T> {
    let wanted = normalized(given);
    let row = table.iter().find(|(names, _)| names.iter().any(|name| normalized(name) == wanted));
    row.map(|row| row.1).ok_or_else(|| {
        let known: Vec<&str> = table.iter().filter_map(|(names, _)| names.first().copied()).collect();
        match Error::unknown(what, given, &known) {
            // The short names are not listed, but may have been meant.
            Error::Unknown { what, given, suggestion: None, known } => {
                let short = table.iter().flat_map(|(names, _)| names.iter().copied()).filter(|name| name.len() < 6);
                Error::Unknown { suggestion: suggest(&given, short).map(str::to_owned), what, given, known }
            }
            error => error,
        }
    })
}

/// `MeanSquaredError` as `mean_squared_error`: the name in logs of the thing with this type name.
///
/// ```
/// use kiln_nn::names::snake_case;
/// assert_eq!(snake_case("BinaryAccuracy"), "binary_accuracy");
/// assert_eq!(snake_case("F1Score"), "f1_score");
/// assert_eq!(snake_case("AUC"), "auc");
/// ```
pub fn snake_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut out = String::with_capacity(name.len() + 4);
    for (i, &c) in letters.iter().enumerate() {
        let starts = c.is_uppercase() && i > 0;
        let after_small = i > 0 && !letters[i - 1].is_uppercase();
        let before_small = letters.get(i + 1).is_some_and(|next| next.is_lowercase());
        if starts && (after_small || before_small) {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

/// The words of a name in lower case.
fn words(name: &str) -> BTreeSet<String> {
    name.split(['_', '-', ' ']).map(str::to_lowercase).collect()
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
        assert_eq!(suggest("x", ["", "y", "xy"]), Some("xy"));
        // An exact name beats a longer one that it begins.
        assert_eq!(suggest("precision", ["precision_1", "precision"]), Some("precision"));
    }

    #[test]
    fn a_short_name_may_have_been_meant() {
        let table: &[(&[&str], u8)] = &[(&["mean_squared_error", "mse"], 1), (&["cross_entropy", "other_entropy"], 2)];
        let help = |given: &str| find("loss", given, table).unwrap_err().to_string();
        assert!(help("mes").contains("did you mean `mse`?"), "{}", help("mes"));
        assert!(help("entropy").contains("there is only `cross_entropy`"), "{}", help("entropy"));
    }

    #[test]
    fn help_lists_what_exists() {
        assert_eq!(did_you_mean("zzzz", &[]), "there is none");
        assert_eq!(did_you_mean("zzzz", &["loss"]), "there is only `loss`");
    }
}
