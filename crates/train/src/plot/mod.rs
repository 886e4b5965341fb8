//! A training run as pictures: histories, comparisons, what a classifier confuses and how sure it is. Which metrics share a
//! panel is said here; a panel is drawn in `panel.rs`, axes and legends in `axes.rs`, with the pen of `canvas.rs`.
//!
//! | picture | of |
//! |---|---|
//! | [`Plot`] | a [`History`] |
//! | [`ComparePlot`] | the histories of several runs |
//! | [`CrossValidationPlot`] | the folds of a [`CrossValidation`](crate::CrossValidation), their mean and deviation |
//! | [`ConfusionPlot`] | a [`ConfusionMatrix`](crate::ConfusionMatrix) |
//! | [`CurvePlot`] | ROC and precision-recall curves |
//! | [`Gallery`] | the images that a classifier is most wrong about |
//!
//! Each is drawn into a [`Figure`], which is written as PNG or SVG. All of them on one page: [`Report`](crate::report::Report).

mod axes;
mod canvas;
mod confusion;
mod curves;
mod figure;
mod gallery;
mod monitor;
mod panel;
mod picture;
mod rates;
mod runs;
mod scale;
mod search;

pub use confusion::ConfusionPlot;
pub use curves::CurvePlot;
pub use figure::Figure;
pub use gallery::Gallery;
pub use runs::{ComparePlot, CrossValidationPlot};

use crate::error::{Error, Result};
use crate::history::{History, from_1};
use crate::text::did_you_mean;
use axes::{HUES, LINE, Mark};
use panel::{Best, Line, Panel};
use plotters::style::RGBAColor;
use std::path::Path;

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
    /// As [`Plot::draw`] and [`Figure::save`].
    pub fn save(&self, history: &History, path: impl AsRef<Path>) -> Result<()> {
        self.draw(history)?.save(path)
    }

    /// Draws `history`: a panel for the loss and one for each family of metrics, two in a row.
    ///
    /// # Errors
    /// [`Error::Config`] for a metric that the history does not have, [`Error::Data`] for a history without epochs.
    pub fn draw(&self, history: &History) -> Result<Figure> {
        check_epochs(history)?;
        Figure::of_panels(self.title.as_deref(), &self.panels(history)?)
    }

    /// One panel a family of metrics, losses first.
    fn panels(&self, history: &History) -> Result<Vec<Panel>> {
        let mut families: Vec<(String, Vec<&str>)> = Vec::new();
        for name in chosen(self.metrics.as_deref(), &[history])? {
            let family = family(name);
            match families.iter_mut().find(|(other, _)| *other == family) {
                // The loss itself before the losses that it is made of.
                Some((_, names)) if name == "loss" => names.insert(0, name),
                Some((_, names)) => names.push(name),
                None => families.push((family, vec![name])),
            }
        }
        families.sort_by_key(|(family, _)| family_rank(family));
        let best = best(history);
        Ok(families
            .into_iter()
            .zip(0..)
            .map(|((family, names), hue)| panel(history, family, &names, hue, &best))
            .collect())
    }
}

/// A panel of metrics that share an axis, the first of them in the colours of place `hue`.
fn panel(history: &History, family: String, names: &[&str], hue: usize, best: &Option<Best>) -> Panel {
    let title = match names {
        [one] => one.replace('_', " "),
        _ => family,
    };
    let mut panel = Panel { marks_lost: title.contains("loss"), title, best: best.clone(), ..Panel::default() };
    for (at, &name) in names.iter().enumerate() {
        let [dark, light] = HUES[(hue + at) % HUES.len()];
        let validation = format!("val_{name}");
        let line_name = |kind: &str| match names {
            ["learning_rate"] => "learning rate".to_owned(),
            [_] => kind.to_owned(),
            _ => format!("{name}, {kind}"),
        };
        for (series, kind, mark, colour) in
            [(name, "training", Mark::Solid(dark), dark), (&validation, "validation", Mark::Dashed(light), light)]
        {
            let Some(line) = line(history, series, colour, kind == "validation") else { continue };
            panel.legend.add(mark, line_name(kind));
            if let Some(best) = panel.best.as_mut().filter(|best| best.monitor == series) {
                let value = line.values.iter().find(|value| value.0 == best.epoch).and_then(|value| value.1);
                best.ring = value.filter(|value| value.is_finite()).map(|value| (value, colour));
            }
            panel.lines.push(line);
        }
    }
    panel
}

/// A line of what was logged under a name, if anything was.
fn line(history: &History, name: &str, colour: RGBAColor, is_dashed: bool) -> Option<Line> {
    let epochs = history.epochs().iter().copied().map(from_1);
    let values = epochs.zip(history.series(name)?.iter()).collect();
    Some(Line { values, colour, width: LINE, is_dashed, has_dots: true })
}

/// The best epoch: that whose weights early stopping has put back, or that of the lowest loss.
fn best(history: &History) -> Option<Best> {
    let (monitor, row) = history.judged()?;
    Some(Best { epoch: from_1(history.epochs()[row]), monitor: monitor.to_owned(), ring: None })
}

fn check_epochs(history: &History) -> Result<()> {
    match history.is_empty() {
        true => Err(Error::data("plot: the history has no epochs", "plot it after fit has run at least one")),
        false => Ok(()),
    }
}

/// The names to draw, without `val_`: those wanted, or all that any history has.
fn chosen<'a>(wanted: Option<&[String]>, histories: &[&'a History]) -> Result<Vec<&'a str>> {
    let mut known: Vec<&str> = Vec::new();
    for name in histories.iter().flat_map(|history| history.names()) {
        let base = name.strip_prefix("val_").unwrap_or(name);
        if !known.contains(&base) {
            known.push(base);
        }
    }
    let Some(wanted) = wanted else {
        // A rate that never changes is not worth a panel.
        known.retain(|&name| name != "learning_rate" || histories.iter().any(|history| varies(history, name)));
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

impl History {
    /// Draws the history to `path`, a `.png` or an `.svg`: a panel for the loss, one for each family of metrics,
    /// training solid, validation dashed, the epoch of the lowest validation loss marked in each.
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
        plot.panels(history).unwrap().into_iter().map(|panel| panel.title).collect()
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
        for word in ["epoch", "loss", "accuracy", "training", "validation", "lowest val_loss: epoch 5"] {
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

    #[test]
    fn all_metrics_have_a_panel() {
        let names = ["auc", "loss", "mae", "mse", "precision", "r2_score", "recall", "val_recall"];
        let svg = Plot::new().draw(&history(3, &names)).unwrap().to_svg().unwrap();
        for title in ["auc", "loss", "mae", "mse", "precision", "r2 score", "recall"] {
            assert!(svg.contains(&format!("\n{title}\n")), "{title}");
        }
        // Four rows of two.
        assert!(svg.starts_with("<svg width=\"1200\" height=\"1920\""));
    }

    #[test]
    fn a_panel_of_nothing_finite_says_so() {
        let mut lost = History::new();
        for epoch in 0..4 {
            let logs = Logs::from([("loss", f64::NAN), ("val_loss", f64::NAN), ("auc", f64::NAN)]);
            lost.push(epoch, &logs, 0.1);
        }
        let svg = Plot::new().draw(&lost).unwrap().to_svg().unwrap();
        assert_eq!(svg.matches("no finite value in any epoch").count(), 2);
        assert!(svg.contains("not finite") && !svg.contains("lowest"), "{svg}");
    }

    #[test]
    fn a_legend_that_would_hide_a_line_stands_above() {
        let mut full = History::new();
        for epoch in 0..60 {
            // A line that goes to and fro through the whole panel.
            let value = if epoch % 2 == 0 { 0.0 } else { 1.0 };
            full.push(epoch, &Logs::from([("loss", value), ("val_loss", 1.0 - value)]), 0.1);
        }
        let place = |svg: &str| -> f64 {
            let at = svg.find("\nvalidation\n").unwrap();
            let y = svg[..at].rfind(" y=\"").unwrap() + 4;
            svg[y..].split('"').next().unwrap().parse::<f64>().unwrap() / 4.0
        };
        let svg = Plot::new().draw(&full).unwrap().to_svg().unwrap();
        assert!(place(&svg) < 40.0, "{}", place(&svg));
    }
}
