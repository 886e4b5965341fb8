//! The error of this crate: what went wrong, in which operation, at which line of the caller, and the way out.

use std::fmt;
use std::panic::Location;
use std::path::PathBuf;

/// The result of a fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of mistake an [`Error`] reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Shapes or axes that do not fit the operation.
    Shape,
    /// An element type that the operation does not take.
    DType,
    /// An index, a label or a bound out of range.
    Index,
    /// An argument that has no meaning, such as a stride of zero.
    Argument,
    /// A device that is absent, or operands on different devices.
    Device,
    /// More memory than the system has.
    Memory,
    /// A file that cannot be read or written, or whose content is not what its format says.
    File,
    /// Values that do not belong to one computation, such as variables of two tapes.
    Tape,
    /// A recorded value was read on the host, or belongs to another recording: no plan can be made.
    Escape,
    /// A result that is watched holds NaN or an infinity.
    NotFinite,
}

/// An error with the operation's name, a sentence about the operands, the caller's line, and a hint.
///
/// ```
/// use kiln_tensor::{Tensor, ops::*};
/// let a = Tensor::zeros([32, 784]).unwrap();
/// let b = Tensor::zeros([128, 10]).unwrap();
/// let text = a.matmul(&b).unwrap_err().to_string();
/// assert!(text.starts_with("matmul: cannot multiply [32, 784] by [128, 10]"));
/// ```
#[derive(thiserror::Error)]
pub struct Error {
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
    detail: Box<Detail>,
}

struct Detail {
    kind: ErrorKind,
    op: String,
    message: String,
    at: Option<&'static Location<'static>>,
    help: Option<String>,
    element: Option<(usize, usize)>,
}

impl Error {
    /// An error of `kind` in the operation or function `op`.
    pub fn new(kind: ErrorKind, op: impl Into<String>, message: impl Into<String>) -> Error {
        let detail = Detail { kind, op: op.into(), message: message.into(), at: None, help: None, element: None };
        Error { source: None, detail: Box::new(detail) }
    }

    /// A shape error: `message` names the shapes.
    pub fn shape(op: impl Into<String>, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Shape, op, message)
    }

    /// An element-type error.
    pub fn dtype(op: impl Into<String>, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::DType, op, message)
    }

    /// An index out of range.
    pub fn index(op: impl Into<String>, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Index, op, message)
    }

    /// A meaningless argument.
    pub fn argument(op: impl Into<String>, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Argument, op, message)
    }

    /// A file that is missing, unreadable or not what its format says.
    pub fn file(path: impl Into<PathBuf>, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::File, path.into().display().to_string(), message)
    }

    /// Adds the error that caused this one.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        self.source = Some(source.into());
        self
    }

    /// Adds a line about the circumstances.
    #[must_use]
    pub fn note(mut self, note: impl fmt::Display) -> Error {
        self.detail.message += &format!("\n  {note}");
        self
    }

    /// Adds what the reader can do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Error {
        self.detail.help = Some(help.into());
        self
    }

    /// Says which element of an operand it is about, and how many that has: of a batch, whoever made it can tell the sample.
    #[must_use]
    pub fn of_element(mut self, at: usize, count: usize) -> Error {
        self.detail.element = Some((at, count));
        self
    }

    /// The element of an operand that it is about, and how many that has.
    pub fn element(&self) -> Option<(usize, usize)> {
        self.detail.element
    }

    /// Adds the caller's position, unless an inner call has set one already.
    #[must_use]
    pub fn at(mut self, location: &'static Location<'static>) -> Error {
        self.detail.at.get_or_insert(location);
        self
    }

    /// Takes the position away, where it is one inside of a library and says nothing to the caller.
    #[must_use]
    pub fn unplaced(mut self) -> Error {
        self.detail.at = None;
        self
    }

    /// Puts the name of the operation in the place of a name that stands for it.
    pub(crate) fn renamed(mut self, from: &str, op: &str) -> Error {
        if self.detail.op == from {
            op.clone_into(&mut self.detail.op);
        }
        self
    }

    /// As the error of an operation, called at a place, that is made of the one that failed.
    pub(crate) fn within(mut self, op: &str, at: &'static Location<'static>) -> Error {
        if self.detail.op != op {
            self.detail.message = format!("{}: {}", self.detail.op, self.detail.message);
            op.clone_into(&mut self.detail.op);
        }
        self.unplaced().at(at)
    }

    /// The same once more, for whoever asks again. Its cause becomes part of the sentence.
    #[cfg(feature = "cuda")]
    pub(crate) fn again(&self) -> Error {
        let Detail { kind, op, message, at, help, element } = &*self.detail;
        let message = self.source.as_ref().map_or(message.clone(), |source| format!("{message}: {source}"));
        let detail = Detail { kind: *kind, op: op.clone(), message, at: *at, help: help.clone(), element: *element };
        Error { source: None, detail: Box::new(detail) }
    }

    /// What kind of mistake this is.
    pub fn kind(&self) -> ErrorKind {
        self.detail.kind
    }

    /// The operation, function or file that reports it.
    pub fn op(&self) -> &str {
        &self.detail.op
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let d = &self.detail;
        write!(f, "{}: {}", d.op, d.message)?;
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        if let Some(at) = d.at {
            write!(f, "\n  at {}:{}:{}", short_path(at.file()), at.line(), at.column())?;
        }
        if let Some(help) = &d.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

// `main` that returns an `Err` prints its `Debug` form: the same text serves the reader better than a struct dump.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An error with the line that called the function which asks for it: in a closure for `map_err` that line would be the library's.
#[track_caller]
pub(crate) fn here<T>(result: Result<T>) -> Result<T> {
    match result {
        Err(error) => Err(error.unplaced().at(Location::caller())),
        value => value,
    }
}

/// A source file without the folders above the crate's: of an absolute path, what begins at `crates/` or at the folder that
/// holds `src`.
pub(crate) fn short_path(file: &str) -> String {
    let is_absolute = file.starts_with('/') || file.starts_with("\\") || file.get(1..2) == Some(":");
    if !is_absolute {
        return file.to_owned();
    }
    let parts: Vec<&str> = file.split(['/', '\\']).filter(|part| !part.is_empty()).collect();
    let last = |name: &str| parts.iter().rposition(|part| *part == name);
    let crate_folder = last("crates").or_else(|| last("src").and_then(|at| at.checked_sub(1)));
    parts[crate_folder.unwrap_or(parts.len().saturating_sub(3))..].join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_without_the_folders_above() {
        for (file, told) in [
            ("tests/plan.rs", "tests/plan.rs"),
            ("src/main.rs", "src/main.rs"),
            ("/home/me/kiln/crates/nn/src/layers/dense.rs", "crates/nn/src/layers/dense.rs"),
            (
                "/home/me/.cargo/registry/src/index-1f/kiln-nn-0.1.0/src/layers/dense.rs",
                "kiln-nn-0.1.0/src/layers/dense.rs",
            ),
            ("C:\\kiln\\crates\\nn\\src\\loss.rs", "crates/nn/src/loss.rs"),
            ("/a/b/c/examples/mine.rs", "c/examples/mine.rs"),
            ("/mine.rs", "mine.rs"),
        ] {
            assert_eq!(short_path(file), told);
        }
    }
}
