//! A history as a picture: which metrics share a panel, how the panels are laid out, PNG or SVG. The drawing of a panel
//! is in `panel.rs`, the pen in `canvas.rs`, the axes in `scale.rs`.

mod canvas;
mod panel;
mod scale;

use crate::callbacks::Mode;
use crate::error::{Error, Result};
use crate::files::write_atomic;
use crate::history::{History, from_1};
use crate::text::did_you_mean;
use canvas::{Align, Canvas};
use kiln_nn::io::replace_file_with;
use panel::{Metric, Panel};
use plotters::style::RGBAColor;
use std::io;
use std::path::Path;

const PANEL_WIDTH: f64 = 600.0;
const PANEL_HEIGHT: f64 = 480.0;
const TITLE_HEIGHT: f64 = 44.0;

/// How a history is drawn; [`History::plot`] uses the defaults.
///
/// # Examples
/// ```no_run
/// use kiln_train::History;
/// use kiln_train::plot::Plot;
/// let history = History::from_json("history.json")?;
/// Plot::new().title("digits").metrics(["loss", "accuracy"]).save(&history, "history.svg")?;
/// # Ok::<(), kiln_train::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Plot {
    title: Option<String>,
    metrics: Option<Vec<String>>,
}

impl Plot {
    /// A plot without a title, of everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// A line above the panels.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// The metrics to draw, without `val_`: their validation values come along.
    #[must_use]
    pub fn metrics<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.metrics = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Draws `history` to `path`, a `.png` (twice the logical size of 600×480 a panel) or an `.svg`, atomically.
    ///
    /// # Errors
    /// [`Error::Config`] for another extension, or a metric that the history does not have; [`Error::Data`] for a
    /// history without epochs; [`Error::Io`] where the file cannot be written.
    pub fn save(&self, history: &History, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("");
        match extension.to_ascii_lowercase().as_str() {
            "png" => {
                let canvas = self.draw(history)?;
                replace_file_with(path, |temporary| canvas.write_png(temporary).map_err(io::Error::other))
                    .map_err(|e| Error::io("write", path, e))
            }
            "svg" => write_atomic(path, self.draw(history)?.to_svg()?.as_bytes()),
            _ => Err(Error::config(
                format!("plot: `{}` has no extension that can be drawn", path.display()),
                "end the path in .png or .svg",
            )),
        }
    }

    fn draw(&self, history: &History) -> Result<Canvas> {
        if history.is_empty() {
            return Err(Error::data("plot: the history has no epochs", "plot it after fit has run at least one"));
        }
        let epochs: Vec<usize> = history.epochs().iter().copied().map(from_1).collect();
        let panels = self.panels(history, &epochs)?;
        let columns = panels.len().clamp(1, 2);
        let rows = panels.len().div_ceil(2).max(1);
        let top = if self.title.is_some() { TITLE_HEIGHT } else { 0.0 };
        let width = PANEL_WIDTH * columns as f64;
        let mut canvas = Canvas::new(width, top + PANEL_HEIGHT * rows as f64)?;
        if let Some(title) = &self.title {
            let ink = RGBAColor(38, 43, 51, 1.0);
            canvas.text(title, (width / 2.0, TITLE_HEIGHT / 2.0 + 4.0), 19.0, ink, Align::Centre);
        }
        for (at, panel) in panels.iter().enumerate() {
            let x = PANEL_WIDTH * (at % 2) as f64;
            let y = top + PANEL_HEIGHT * (at / 2) as f64;
            let corners = ((x + 8.0, y), (x + PANEL_WIDTH - 8.0, y + PANEL_HEIGHT));
            let column = panels.iter().skip(at % 2).step_by(2);
            let tick_width = column.map(Panel::tick_width).fold(0.0, f64::max);
            panel.draw(&mut canvas, corners, tick_width, at);
        }
        Ok(canvas)
    }

    /// One panel a family of metrics, losses first.
    fn panels<'a>(&self, history: &'a History, epochs: &'a [usize]) -> Result<Vec<Panel<'a>>> {
        let mut families: Vec<(String, Vec<&str>)> = Vec::new();
        for name in self.chosen(history)? {
            let family = family(name);
            match families.iter_mut().find(|(other, _)| *other == family) {
                // The loss itself before the losses that it is made of.
                Some((_, names)) if name == "loss" => names.insert(0, name),
                Some((_, names)) => names.push(name),
                None => families.push((family, vec![name])),
            }
        }
        families.sort_by_key(|(family, _)| family_rank(family));
        let monitor = if history.get("val_loss").is_some() { "val_loss" } else { "loss" };
        let best = history.best_row(monitor, Mode::Min);
        let panel = |(title, names): (String, Vec<&'a str>)| {
            let metric = |name: &'a str| Metric {
                name,
                train: history.series(name),
                validation: history.series(&format!("val_{name}")),
            };
            let metrics: Vec<Metric> = names.into_iter().map(metric).collect();
            let title = match metrics.as_slice() {
                [one] => one.name.replace('_', " "),
                _ => title,
            };
            let marks_lost = title.contains("loss");
            Panel { title, metrics, epochs, best, monitor, marks_lost }
        };
        Ok(families.into_iter().map(panel).collect())
    }

    /// The names to draw, without `val_`.
    fn chosen<'a>(&self, history: &'a History) -> Result<Vec<&'a str>> {
        let mut known: Vec<&str> = Vec::new();
        for name in history.names() {
            let base = name.strip_prefix("val_").unwrap_or(name);
            if !known.contains(&base) {
                known.push(base);
            }
        }
        let Some(wanted) = &self.metrics else {
            // A rate that never changes is not worth a panel.
            known.retain(|&name| name != "learning_rate" || varies(history, name));
            return Ok(known);
        };
        let find = |name: &String| {
            let base = name.strip_prefix("val_").unwrap_or(name);
            known.iter().copied().find(|known| *known == base).ok_or_else(|| {
                Error::config(format!("plot: the history has no metric `{name}`"), did_you_mean(base, &known))
            })
        };
        wanted.iter().map(find).collect()
    }
}

impl History {
    /// Draws the history to `path`, a `.png` or an `.svg`: a panel for the loss, one for each family of metrics,
    /// training solid, validation dashed, the epoch of the lowest validation loss marked.
    ///
    /// # Errors
    /// As [`Plot::save`], which also takes a title and a choice of metrics.
    pub fn plot(&self, path: impl AsRef<Path>) -> Result<()> {
        Plot::new().save(self, path)
    }
}

fn varies(history: &History, name: &str) -> bool {
    history.get(name).is_some_and(|values| values.windows(2).any(|pair| pair[0] != pair[1]))
}

/// Metrics that share an axis: losses, accuracies; any other stands alone.
fn family(name: &str) -> String {
    if name == "loss" || name.ends_with("_loss") {
        "loss".to_owned()
    } else if name.split('_').any(|word| matches!(word, "accuracy" | "acc")) {
        "accuracy".to_owned()
    } else {
        name.to_owned()
    }
}

fn family_rank(family: &str) -> u8 {
    match family {
        "loss" => 0,
        "accuracy" => 1,
        "learning_rate" => 3,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Logs;
    use std::fs;

    fn history(epochs: usize, names: &[&str]) -> History {
        let mut history = History::new();
        for epoch in 0..epochs {
            let value = 1.0 / (epoch as f64 + 1.0);
            history.push(epoch, &names.iter().map(|name| (*name, value)).collect::<Logs>(), 0.1);
        }
        history
    }

    fn titles(plot: &Plot, history: &History) -> Vec<String> {
        let epochs = history.epochs().to_vec();
        plot.panels(history, &epochs).unwrap().into_iter().map(|panel| panel.title).collect()
    }

    #[test]
    fn families_share_panels() {
        let plot = Plot::new();
        let two = history(3, &["accuracy", "loss", "val_accuracy", "val_loss"]);
        assert_eq!(titles(&plot, &two), ["loss", "accuracy"]);
        let many = history(3, &["a_accuracy", "a_loss", "auc", "b_accuracy", "learning_rate", "loss", "mae", "recall"]);
        assert_eq!(titles(&plot, &many), ["loss", "accuracy", "auc", "mae", "recall", "learning rate"]);
        let rate = history(3, &["loss", "learning_rate"]);
        assert_eq!(titles(&plot, &rate), ["loss", "learning rate"]);
        assert_eq!(titles(&Plot::new().metrics(["val_mae"]), &many), ["mae"]);
    }

    #[test]
    fn writes_png_and_svg() {
        let folder = tempfile::tempdir().unwrap();
        let history = history(5, &["accuracy", "loss", "val_accuracy", "val_loss"]);
        let png = folder.path().join("a/history.PNG");
        history.plot(&png).unwrap();
        let bytes = fs::read(&png).unwrap();
        assert_eq!(bytes[..8], *b"\x89PNG\r\n\x1a\n");
        // Width and height of the header: twice 1200 by 480.
        assert_eq!(bytes[16..24], [0, 0, 9, 96, 0, 0, 3, 192]);
        let svg = folder.path().join("history.svg");
        history.plot(&svg).unwrap();
        let text = fs::read_to_string(&svg).unwrap();
        assert!(text.starts_with("<svg width=\"1200\" height=\"480\" viewBox=\"0 0 4800 1920\""));
        for word in ["epoch", "loss", "accuracy", "training", "validation", "best epoch: 5"] {
            assert!(text.contains(word), "{word}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn odd_histories_are_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.svg");
        history(1, &["loss"]).plot(&path).unwrap();
        history(3000, &["loss", "val_loss"]).plot(&path).unwrap();
        let mut odd = History::new();
        for (epoch, loss) in [1.0, f64::NAN, f64::INFINITY, -1e300, 1e300].into_iter().enumerate() {
            odd.push(epoch, &Logs::from([("loss", loss), ("val_loss", f64::NAN)]), 0.1);
        }
        odd.plot(&path).unwrap();
        assert!(fs::read_to_string(&path).unwrap().contains("not finite"));
        // An epoch without validation is none whose loss got lost.
        let mut seldom = history(1, &["loss", "val_loss"]);
        seldom.append(&history(1, &["loss"]));
        seldom.plot(&path).unwrap();
        assert!(!fs::read_to_string(&path).unwrap().contains("not finite"));
        seldom.append(&odd);
        seldom.push(9, &Logs::from([("val_loss", f64::INFINITY)]), 0.1);
        seldom.plot(&path).unwrap();
        history(2, &["accuracy", "auc"]).plot(&path).unwrap();
    }

    #[test]
    fn what_cannot_be_drawn_is_told() {
        let history = history(2, &["loss", "accuracy"]);
        let error = history.plot("history.pdf").unwrap_err().to_string();
        assert!(error.contains(".png or .svg"), "{error}");
        let error = Plot::new().metrics(["acuracy"]).save(&history, "x.png").unwrap_err();
        assert!(error.to_string().contains("did you mean `accuracy`?"), "{error}");
        assert!(History::new().plot("x.png").unwrap_err().to_string().contains("no epochs"));
    }
}
