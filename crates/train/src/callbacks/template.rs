//! File names with an epoch and logged values in them, as in Keras: `{epoch:02d}-{val_loss:.2f}.safetensors`. Opens no file.

use crate::error::{Error, Result};
use crate::history::Logs;
use crate::text::{scientific, suggest};
use std::path::PathBuf;

/// A path with fields in braces: `epoch` and `batch` (from 1) and any log key, each with an optional format.
///
/// Formats are Python's for one number: `{epoch:02d}`, `{val_loss:.2f}`, `{loss:.3e}`, `{loss}`. `{{` and `}}` are
/// braces. A `/` in a log key stays out of the path: only the value is put in.
///
/// # Examples
/// ```
/// use kiln_train::Logs;
/// use kiln_train::callbacks::Template;
/// let template = Template::parse("runs/{epoch:02d}-{val_loss:.2f}.safetensors")?;
/// let path = template.render(0, None, &Logs::from([("val_loss", 1.3139)]))?;
/// assert_eq!(path.to_str(), Some("runs/01-1.31.safetensors"));
/// # Ok::<(), kiln_train::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    source: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field { name: String, format: Format },
}

/// A parsed `0?width(.digits)?[def]?`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Format {
    zeros: bool,
    width: usize,
    digits: Option<usize>,
    kind: Option<char>,
}

/// A file name longer than this is an error on every system; wider fields are a slip of the pen.
const WIDEST_FIELD: usize = 64;

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// [`Error::Config`] where a brace has no partner or a format is unknown.
    pub fn parse(source: &str) -> Result<Self> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        while let Some(at) = rest.find(['{', '}']) {
            text.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                text.push_str(brace);
                rest = after;
                continue;
            }
            let Some(end) = rest.find('}').filter(|_| brace == "{") else {
                return Err(bad(source, &format!("has a `{brace}` without its partner")));
            };
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            pieces.push(field(source, &rest[..end])?);
            rest = &rest[end + 1..];
        }
        text.push_str(rest);
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(Self { source: source.to_owned(), pieces })
    }

    /// The log keys that the fields need (`epoch` and `batch` are no log keys).
    pub fn log_keys(&self) -> impl Iterator<Item = &str> {
        self.names().filter(|name| !matches!(*name, "epoch" | "batch"))
    }

    /// Whether every rendering gives the same path, whatever the epoch.
    pub fn is_constant(&self) -> bool {
        self.names().next().is_none()
    }

    /// Whether there is a `{batch}` field.
    pub(crate) fn has_batch(&self) -> bool {
        self.names().any(|name| name == "batch")
    }

    /// The path for `epoch` and, between the epochs, `batch` (both from 0 here and from 1 in the path).
    ///
    /// # Errors
    /// [`Error::Config`] where a field's value is not in `logs`.
    pub fn render(&self, epoch: usize, batch: Option<usize>, logs: &Logs) -> Result<PathBuf> {
        let mut path = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => path.push_str(text),
                Piece::Field { name, format } => {
                    let counted = match name.as_str() {
                        "epoch" => Some(epoch),
                        "batch" => batch,
                        _ => None,
                    };
                    let value = match counted {
                        Some(number) => Some((number + 1) as f64),
                        None => logs.get(name),
                    };
                    let Some(value) = value else {
                        let names: Vec<&str> = logs.names().collect();
                        return Err(Error::config(
                            format!("the path `{}` needs `{name}`, which was not logged", self.source),
                            crate::text::did_you_mean(name, &names),
                        ));
                    };
                    path.push_str(&format.apply(value));
                }
            }
        }
        Ok(PathBuf::from(path))
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Field { name, .. } => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }
}

fn bad(source: &str, problem: &str) -> Error {
    Error::config(
        format!("the path `{source}` {problem}"),
        "write fields as in `{epoch:02d}-{val_loss:.2f}.safetensors`, and a brace itself as `{{`",
    )
}

fn field(source: &str, inside: &str) -> Result<Piece> {
    let (name, format) = inside.split_once(':').unwrap_or((inside, ""));
    if name.is_empty() {
        return Err(bad(source, "has a field without a name"));
    }
    let is_count = matches!(name, "epoch" | "batch");
    if let (Some(Format { kind: Some('d'), .. }), false, Some(near)) =
        (Format::parse(format), is_count, suggest(name, ["epoch", "batch"]))
    {
        return Err(Error::config(
            format!("the path `{source}` has a whole number `{name}`, which is none"),
            format!("did you mean `{near}`?"),
        ));
    }
    match Format::parse(format).filter(|format| is_count || format.kind != Some('d')) {
        Some(format) => Ok(Piece::Field { name: name.to_owned(), format }),
        None => Err(bad(source, &format!("has an unknown format `{format}` for `{name}`"))),
    }
}

impl Format {
    fn parse(text: &str) -> Option<Self> {
        let mut format = Self::default();
        let mut rest = text;
        if let Some(kind) = rest.chars().last().filter(|last| matches!(last, 'd' | 'e' | 'f')) {
            format.kind = Some(kind);
            rest = &rest[..rest.len() - 1];
        }
        let (width, digits) = match rest.split_once('.') {
            Some((width, digits)) => (width, Some(digits)),
            None => (rest, None),
        };
        let number = |text: &str| {
            let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|&number: &usize| is_number && number <= WIDEST_FIELD)
        };
        format.zeros = width.starts_with('0');
        format.width = if width.is_empty() { 0 } else { number(width)? };
        format.digits = match digits {
            Some(digits) if format.kind != Some('d') => Some(number(digits)?),
            Some(_) => return None,
            None => None,
        };
        Some(format)
    }

    fn apply(self, value: f64) -> String {
        let digits = self.digits.unwrap_or(6);
        let text = match (self.kind, self.digits) {
            (Some('e'), _) => scientific(value, digits),
            (Some('f'), _) | (None, Some(_)) => format!("{value:.digits$}"),
            _ => format!("{value}"),
        };
        let missing = self.width.saturating_sub(text.chars().count());
        if !self.zeros {
            return format!("{}{text}", " ".repeat(missing));
        }
        let (sign, size) = text.strip_prefix('-').map_or(("", text.as_str()), |size| ("-", size));
        format!("{sign}{}{size}", "0".repeat(missing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str, value: f64) -> String {
        let logs = Logs::from([("val_loss", value)]);
        let path = Template::parse(template).unwrap().render(4, Some(99), &logs).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn formats_like_python() {
        for (template, expected) in [
            ("plain.safetensors", "plain.safetensors"),
            ("{epoch}.safetensors", "5.safetensors"),
            ("{epoch:02d}-{val_loss:.2f}.safetensors", "05-0.13.safetensors"),
            ("{epoch:d}-{batch:04d}", "5-0100"),
            ("{val_loss}", "0.125"),
            ("{val_loss:.3e}", "1.250e-01"),
            ("{val_loss:f}", "0.125000"),
            ("{val_loss:07.2f}", "0000.13"),
            ("{{{epoch}}}", "{5}"),
        ] {
            // Exactly 0.125 rounds to even, as in Python: 0.12; a bit more gives 0.13.
            let value = if template.contains(".2f") { 0.1251 } else { 0.125 };
            assert_eq!(render(template, value), expected, "{template}");
        }
        assert_eq!(render("{val_loss:06.1f}", -1.5), "-001.5");
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        for template in
            ["{epoch", "epoch}", "{}", "{epoch:2x}", "{loss:02d}", "{loss:.d}", "{epoch:999d}", "{loss:+1f}"]
        {
            let error = Template::parse(template).unwrap_err().to_string();
            assert!(error.contains(template) && error.contains("help"), "{error}");
        }
    }

    #[test]
    fn keys_are_told_beforehand_and_a_missing_one_is_named() {
        let template = Template::parse("{epoch}-{val_los:.2f}").unwrap();
        assert_eq!(template.log_keys().collect::<Vec<_>>(), ["val_los"]);
        assert!(!template.is_constant() && !template.has_batch());
        assert!(Template::parse("best.safetensors").unwrap().is_constant());
        let error = template.render(0, None, &Logs::from([("val_loss", 1.0)])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the path `{epoch}-{val_los:.2f}` needs `val_los`, which was not logged\n  help: did you mean `val_loss`?"
        );
    }
}
