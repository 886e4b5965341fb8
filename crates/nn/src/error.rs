//! What can go wrong in this crate, and how it is told: the place, what was found, the fix. Nothing is printed here.

use crate::names;
use std::fmt;

/// A `Result` whose error is this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in a layer, a loss, a metric or an optimizer.
///
/// `Display` and `Debug` print the same text, because `fn main() -> Result<()>` reports its error with `Debug`.
///
/// ```
/// use kiln_nn::Error;
/// let text = Error::unknown("loss", "mean_squard_error", &["mean_squared_error"]).to_string();
/// assert_eq!(text, "there is no loss `mean_squard_error`\n  help: did you mean `mean_squared_error`?");
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor operation, or a check of shapes and values in its manner.
    #[error(transparent)]
    Tensor(#[from] kiln_autograd::Error),
    /// Any of these, inside a layer.
    #[error("{}", Placed { layer, source })]
    Layer {
        /// The layer's path: `encoder/dense_1`.
        layer: String,
        /// What went wrong there.
        source: Box<Error>,
    },
    /// A setting that cannot work.
    #[error("{what}{}", HelpLine(help))]
    Config {
        /// Whose setting, and what is wrong with it.
        what: String,
        /// What to write instead; empty where nothing is known.
        help: String,
    },
    /// A name that stands for nothing.
    #[error("there is no {what} `{given}`{}", HelpLine(&unknown_help(given, suggestion.as_deref(), known)))]
    Unknown {
        /// The kind of thing: "loss", "optimizer".
        what: String,
        /// The name as it was given.
        given: String,
        /// The name that was probably meant.
        suggestion: Option<String>,
        /// The names there are.
        known: Vec<String>,
    },
}

impl Error {
    /// A setting that cannot work, and what to write instead.
    pub fn config(what: impl Into<String>, help: impl Into<String>) -> Error {
        Error::Config { what: what.into(), help: help.into() }
    }

    /// A name that stands for nothing, with the nearest of those that do.
    pub fn unknown(what: &str, given: &str, known: &[&str]) -> Error {
        Error::Unknown {
            what: what.to_owned(),
            given: given.to_owned(),
            suggestion: names::suggest(given, known.iter().copied()).map(str::to_owned),
            known: known.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    /// The element of an operand that it is about, and how many that has; see [`TensorError::element`](crate::TensorError::element).
    pub fn element(&self) -> Option<(usize, usize)> {
        match self {
            Error::Tensor(error) => error.element(),
            Error::Layer { source, .. } => source.element(),
            Error::Config { .. } | Error::Unknown { .. } => None,
        }
    }

    /// Adds a line about the circumstances; an [`Error::Unknown`] has no room for one and stays as it is.
    #[must_use]
    pub fn note(self, note: impl fmt::Display) -> Error {
        match self {
            Error::Tensor(error) => Error::Tensor(error.note(note)),
            Error::Layer { layer, source } => Error::Layer { layer, source: Box::new(source.note(note)) },
            Error::Config { what, help } => Error::Config { what: format!("{what}\n  {note}"), help },
            other @ Error::Unknown { .. } => other,
        }
    }

    /// The error as one of the layer `name`. Nested layers make a path.
    #[must_use]
    pub fn in_layer(self, name: &str) -> Error {
        match self {
            Error::Layer { layer, source } => Error::Layer { layer: format!("{name}/{layer}"), source },
            other => Error::Layer { layer: name.to_owned(), source: Box::new(other) },
        }
    }
}

fn unknown_help(given: &str, suggestion: Option<&str>, known: &[String]) -> String {
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    match suggestion {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => String::new(),
        None => names::did_you_mean(given, &known),
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text of an error with the layer's name on the line that tells the place.
struct Placed<'a> {
    layer: &'a str,
    source: &'a Error,
}

impl fmt::Display for Placed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.source.to_string();
        let lines: Vec<&str> = text.lines().collect();
        let place = lines.iter().position(|line| line.starts_with("  at "));
        // Without a line that tells the place, the layer gets one of its own, above the help.
        let above = lines.iter().position(|line| line.starts_with("  help:")).unwrap_or(lines.len());
        for (i, line) in lines.iter().enumerate() {
            if place.is_none() && i == above {
                write!(f, "\n  in layer `{}`", self.layer)?;
            }
            let newline = if i == 0 { "" } else { "\n" };
            write!(f, "{newline}{line}")?;
            if place == Some(i) {
                write!(f, ", in layer `{}`", self.layer)?;
            }
        }
        if place.is_none() && above == lines.len() {
            write!(f, "\n  in layer `{}`", self.layer)?;
        }
        Ok(())
    }
}

/// The `help:` line below a message, or nothing.
struct HelpLine<'a>(&'a str);

impl fmt::Display for HelpLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "\n  help: {}", self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layer_stands_where_the_place_is_told() {
        let inner = kiln_autograd::Error::shape("matmul", "cannot multiply").help("did you forget Flatten?");
        let text = Error::from(inner).in_layer("dense_1").to_string();
        assert_eq!(text, "matmul: cannot multiply\n  in layer `dense_1`\n  help: did you forget Flatten?");
        let inner = kiln_autograd::Error::shape("matmul", "cannot multiply").at(std::panic::Location::caller());
        let text = Error::from(inner).in_layer("dense_1").in_layer("encoder").to_string();
        assert!(text.ends_with(", in layer `encoder/dense_1`"), "{text}");
        assert_eq!(Error::config("x", "").in_layer("a").to_string(), "x\n  in layer `a`");
    }

    #[test]
    fn unknown_names_list_what_there_is() {
        let text = Error::unknown("optimizer", "banana", &["adam", "sgd"]).to_string();
        assert_eq!(text, "there is no optimizer `banana`\n  help: there are `adam` and `sgd`");
    }
}
