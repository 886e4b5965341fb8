//! What can go wrong in this crate, and how it is told: the place, what was found, the fix. Nothing is printed here.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

impl From<kiln_nn::TensorError> for Error {
    fn from(error: kiln_nn::TensorError) -> Self {
        Self::Nn(error.into())
    }
}

/// A `Result` whose error is this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong between a data file and a trained model.
///
/// `Display` and `Debug` print the same text, because `fn main() -> Result<()>` reports its error with `Debug`.
///
/// # Examples
/// ```
/// use kiln_train::Error;
/// let error = Error::config("EarlyStopping: `val_los` is not logged", "did you mean `val_loss`?");
/// assert_eq!(
///     error.to_string(),
///     "EarlyStopping: `val_los` is not logged\n  help: did you mean `val_loss`?"
/// );
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file whose content is not what its format promises.
    #[error("{}: {problem}{}", path.display(), HelpLine(help))]
    File {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found.
        problem: String,
        /// What to do about it; empty where nothing is known.
        help: String,
    },
    /// A setting that cannot work, found before any training step.
    #[error("{what}{}", HelpLine(help))]
    Config {
        /// Whose setting, and what is wrong with it.
        what: String,
        /// What to write instead.
        help: String,
    },
    /// Values given in memory (labels, predictions, histories) that do not fit together.
    #[error("{what}{}", HelpLine(help))]
    Data {
        /// Where, and what was found.
        what: String,
        /// What to do about it; empty where nothing is known.
        help: String,
    },
    /// A layer, a loss, a metric, an optimizer or a tensor operation.
    #[error(transparent)]
    Nn(#[from] kiln_nn::Error),
    /// The operating system refused to read, write or rename something.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: "read", "write", "create".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl Error {
    /// A file whose content is wrong: `problem` says what was expected and what was found.
    pub fn file(path: impl AsRef<Path>, problem: impl Into<String>) -> Self {
        Self::File { path: path.as_ref().into(), problem: problem.into(), help: String::new() }
    }

    /// A setting that cannot work, and what to write instead.
    pub fn config(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Config { what: what.into(), help: help.into() }
    }

    /// Values in memory that do not fit together.
    pub fn data(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Data { what: what.into(), help: help.into() }
    }

    /// A refusal of the operating system while it tried to `action` ("read", "write", …) `path`.
    pub fn io(action: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        Self::Io { action, path: path.as_ref().into(), source }
    }

    /// Of a batch of `samples` samples, the one that it is about.
    pub(crate) fn sample(&self, samples: usize) -> Option<usize> {
        let Self::Nn(error) = self else { return None };
        let (at, count) = error.element()?;
        let of_each = count.checked_div(samples).filter(|of_each| *of_each > 0 && of_each * samples == count)?;
        Some(at / of_each)
    }

    /// Adds a line about the circumstances; an [`Error::Io`] has no room for one and stays as it is.
    #[must_use]
    pub fn note(self, note: impl fmt::Display) -> Self {
        let noted = |what: String| format!("{what}\n  {note}");
        match self {
            Self::File { path, problem, help } => Self::File { path, problem: noted(problem), help },
            Self::Config { what, help } => Self::Config { what: noted(what), help },
            Self::Data { what, help } => Self::Data { what: noted(what), help },
            Self::Nn(error) => Self::Nn(error.note(note)),
            io @ Self::Io { .. } => io,
        }
    }

    /// The same error with a `help:` line; an [`Error::Io`] or [`Error::Nn`] has no room for one and stays as it is.
    #[must_use]
    pub fn with_help(mut self, text: impl Into<String>) -> Self {
        match &mut self {
            Self::File { help, .. } | Self::Config { help, .. } | Self::Data { help, .. } => {
                *help = text.into();
            }
            Self::Io { .. } | Self::Nn(_) => {}
        }
        self
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
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
    use std::error::Error as _;

    #[test]
    fn messages_name_the_place_and_the_fix() {
        let file = Error::file("data/x.gz", "the header promises 10 bytes, found 7");
        assert_eq!(file.to_string(), "data/x.gz: the header promises 10 bytes, found 7");
        assert_eq!(
            file.with_help("download it again").to_string(),
            "data/x.gz: the header promises 10 bytes, found 7\n  help: download it again"
        );
        let io = Error::io("read", "no/such", io::Error::new(io::ErrorKind::NotFound, "gone"));
        assert_eq!(io.to_string(), "cannot read no/such: gone");
        assert!(io.source().is_some());
    }

    #[test]
    fn a_note_stands_above_the_help() {
        let noted = |error: Error| error.note("in epoch 1").to_string();
        let text = "1 label\n  in epoch 1\n  help: give two";
        assert_eq!(noted(Error::data("1 label", "give two")), text);
        let inner = kiln_nn::Error::config("1 label", "give two").in_layer("dense");
        assert_eq!(noted(inner.into()), "1 label\n  in epoch 1\n  in layer `dense`\n  help: give two");
    }

    #[test]
    fn debug_is_display() {
        let error = Error::data("3 labels, 4 predictions", "give one prediction a label");
        assert_eq!(format!("{error:?}"), error.to_string());
    }
}
