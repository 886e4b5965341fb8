//! Several histories in one picture: runs side by side, and the folds of a cross-validation.

use super::axes::{HUES, LINE, Legend, Mark, SOFT_INK, equal, faint};
use super::figure::Figure;
use super::panel::{Band, Line, Panel};
use super::{check_epochs, chosen, line};
use crate::cross_validate::CrossValidation;
use crate::error::{Error, Result};
use crate::history::{History, from_1};
use std::path::Path;

/// Of more runs than this the legend stands below the panels, once.
const MOST_WITHIN: usize = 4;

/// Several runs in one picture: a panel for each metric, a colour for each run, training solid and thin, validation dashed.
///
/// # Examples
/// ```no_run
/// use kiln_train::{History, plot::ComparePlot};
/// let (adam, sgd) = (History::from_json("adam.json")?, History::from_json("sgd.json")?);
/// ComparePlot::new().run("Adam", &adam).run("SGD", &sgd).metrics(["loss"]).save("optimizers.svg")?;
/// # Ok::<(), kiln_train::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ComparePlot<'a> {
    title: Option<String>,
    metrics: Option<Vec<String>>,
    runs: Vec<(String, &'a History)>,
}

impl<'a> ComparePlot<'a> {
    /// Of no run yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a run by its name.
    #[must_use]
    pub fn run(mut self, name: impl Into<String>, history: &'a History) -> Self {
        self.runs.push((name.into(), history));
        self
    }

    /// A line above the panels.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// The metrics to draw, without `val_`: their validation values come along. All that a run has unless given.
    #[must_use]
    pub fn metrics<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.metrics = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Draws the runs.
    ///
    /// # Errors
    /// [`Error::Data`] without a run, or of one without epochs; [`Error::Config`] for a metric that no run has.
    pub fn draw(&self) -> Result<Figure> {
        if self.runs.is_empty() {
            return Err(Error::data("ComparePlot: there are no runs", "add each by `run(name, &history)`"));
        }
        self.runs.iter().try_for_each(|(_, history)| check_epochs(history))?;
        let histories: Vec<&History> = self.runs.iter().map(|run| run.1).collect();
        let mut names = chosen(self.metrics.as_deref(), &histories)?;
        if self.metrics.is_none() {
            names.sort_by_key(|name| super::family_rank(&super::family(name)));
        }
        let mut panels: Vec<Panel> = names.into_iter().map(|name| self.panel(name)).collect();
        let mut legend = Legend::default();
        if self.runs.len() > MOST_WITHIN {
            for panel in &mut panels {
                let lines = std::mem::take(&mut panel.legend).0;
                legend.0.extend(lines.into_iter().filter(|line| !legend.0.contains(line)).collect::<Vec<_>>());
            }
        }
        Figure::of_panels_with(self.title.as_deref(), &panels, &legend)
    }

    /// Draws the runs to `path`, a `.png` or an `.svg`.
    ///
    /// # Errors
    /// As [`ComparePlot::draw`] and [`Figure::save`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.draw()?.save(path)
    }

    fn panel(&self, name: &str) -> Panel {
        let mut panel = Panel { title: name.replace('_', " "), marks_lost: name.contains("loss"), ..Panel::default() };
        let (mut training, mut validation) = (Vec::new(), Vec::new());
        for (at, (run, history)) in self.runs.iter().enumerate() {
            let colour = equal(at);
            let plain = |series: &str, is_dashed| line(history, series, colour, is_dashed);
            let train = plain(name, false);
            let judged = plain(&format!("val_{name}"), true);
            if train.is_some() || judged.is_some() {
                panel.legend.add(Mark::Solid(colour), run);
            }
            training.extend(train.map(|line| Line { width: 1.25, has_dots: false, ..line }));
            validation.extend(judged.map(|line| Line { has_dots: false, ..line }));
        }
        if validation.is_empty() {
            training.iter_mut().for_each(|line| line.width = LINE);
        } else if !training.is_empty() {
            panel.legend.add(Mark::Solid(SOFT_INK), "training");
            panel.legend.add(Mark::Dashed(SOFT_INK), "validation");
        }
        panel.lines = training.into_iter().chain(validation).collect();
        panel
    }
}

/// The folds of a [`CrossValidation`]: a thin line for each, their mean, and a band of one standard deviation on either side.
///
/// # Examples
/// ```no_run
/// # fn of(result: &kiln_train::CrossValidation) -> kiln_train::Result<()> {
/// use kiln_train::plot::CrossValidationPlot;
/// CrossValidationPlot::new().title("five folds").metrics(["mae"]).save(result, "folds.svg")
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct CrossValidationPlot {
    title: Option<String>,
    metrics: Option<Vec<String>>,
}

impl CrossValidationPlot {
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

    /// Draws the folds. The mean of an epoch is that of the folds that ran it.
    ///
    /// # Errors
    /// [`Error::Data`] without folds, or of one without epochs; [`Error::Config`] for a metric that they do not have.
    pub fn draw(&self, result: &CrossValidation) -> Result<Figure> {
        if result.folds.is_empty() {
            return Err(Error::data("CrossValidationPlot: there are no folds", "plot what `cross_validate` gives"));
        }
        let histories: Vec<&History> = result.folds.iter().map(|fold| &fold.history).collect();
        histories.iter().try_for_each(|history| check_epochs(history))?;
        let mut names = chosen(self.metrics.as_deref(), &histories)?;
        if self.metrics.is_none() {
            names.sort_by_key(|name| super::family_rank(&super::family(name)));
        }
        let panels: Vec<Panel> = names.into_iter().enumerate().map(|(at, name)| folds(&histories, name, at)).collect();
        Figure::of_panels(self.title.as_deref(), &panels)
    }

    /// Draws the folds to `path`, a `.png` or an `.svg`.
    ///
    /// # Errors
    /// As [`CrossValidationPlot::draw`] and [`Figure::save`].
    pub fn save(&self, result: &CrossValidation, path: impl AsRef<Path>) -> Result<()> {
        self.draw(result)?.save(path)
    }
}

impl CrossValidation {
    /// Draws the folds to `path`, a `.png` or an `.svg`: a thin line for each, their mean, and a band of one standard deviation.
    ///
    /// # Errors
    /// As [`CrossValidationPlot::save`], which also takes a title and a choice of metrics.
    pub fn plot(&self, path: impl AsRef<Path>) -> Result<()> {
        CrossValidationPlot::new().save(self, path)
    }
}

/// What the folds logged under `name` and `val_name`.
fn folds(histories: &[&History], name: &str, hue: usize) -> Panel {
    let mut panel = Panel { title: name.replace('_', " "), marks_lost: name.contains("loss"), ..Panel::default() };
    let [dark, light] = HUES[hue % HUES.len()];
    let validation = format!("val_{name}");
    let mut means = Vec::new();
    for (series, kind, colour, is_dashed) in [(name, "training", dark, false), (&validation, "validation", light, true)]
    {
        let folds: Vec<Line> =
            histories.iter().filter_map(|history| line(history, series, colour, is_dashed)).collect();
        if folds.is_empty() {
            continue;
        }
        let values = spread(histories, series);
        // A band for what is judged; that of training would lie over it.
        let has_band = is_dashed || histories.iter().all(|history| history.get(&validation).is_none());
        if has_band {
            let around = |&(epoch, mean, deviation): &(usize, f64, f64)| (epoch, mean - deviation, mean + deviation);
            panel.bands.push(Band { values: values.iter().map(around).collect(), colour });
        }
        let count = folds.len();
        let text =
            if has_band { format!("{kind}: mean ± deviation of {count} folds") } else { format!("{kind}: mean") };
        panel.legend.add(if has_band { Mark::Banded(colour) } else { Mark::Solid(colour) }, text);
        let thin = Line { width: 1.0, has_dots: false, is_dashed: false, values: Vec::new(), colour: halfway(colour) };
        panel.lines.extend(folds.into_iter().map(|fold| Line { values: fold.values, ..thin.clone() }));
        let values = values.iter().map(|&(epoch, mean, _)| (epoch, Some(mean))).collect();
        means.push(Line { values, colour, width: LINE + 0.5, is_dashed, has_dots: false });
    }
    panel.lines.extend(means);
    panel
}

fn halfway(colour: plotters::style::RGBAColor) -> plotters::style::RGBAColor {
    let light = faint(colour);
    let mix = |a: u8, b: u8| a / 2 + b / 2;
    plotters::style::RGBAColor(mix(colour.0, light.0), mix(colour.1, light.1), mix(colour.2, light.2), 1.0)
}

/// The epochs with the mean and the deviation of what was logged in them, where that is finite.
fn spread(histories: &[&History], name: &str) -> Vec<(usize, f64, f64)> {
    let mut epochs: Vec<usize> = histories.iter().flat_map(|history| history.epochs()).copied().collect();
    epochs.sort_unstable();
    epochs.dedup();
    let of = |epoch: usize| {
        let value = |history: &&History| {
            let row = history.epochs().iter().position(|&other| other == epoch)?;
            history.series(name)?.at(row).filter(|value| value.is_finite())
        };
        let values: Vec<f64> = histories.iter().filter_map(value).collect();
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
        (count > 0.0).then_some((from_1(epoch), mean, deviation))
    };
    epochs.into_iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Logs;
    use crate::{FoldResult, cross_validate::CrossValidation};

    fn history(epochs: usize, scale: f64) -> History {
        let mut history = History::new();
        for epoch in 0..epochs {
            let loss = scale / (epoch as f64 + 1.0);
            let logs = Logs::from([("loss", loss), ("val_loss", loss + 0.1), ("mae", loss.sqrt())]);
            history.push(epoch, &logs, 0.1);
        }
        history
    }

    #[test]
    fn runs_share_panels() {
        let (a, b) = (history(3, 1.0), history(5, 2.0));
        let plot = ComparePlot::new().run("a & b", &a).run("c", &b).title("runs");
        let svg = plot.draw().unwrap().to_svg().unwrap();
        for word in ["a &amp; b", "runs", "validation", "mae"] {
            assert!(svg.contains(word), "{word}");
        }
        let text = plot.metrics(["los"]).draw().unwrap_err().to_string();
        assert!(text.contains("did you mean `loss`?"), "{text}");
        assert!(ComparePlot::new().draw().unwrap_err().to_string().contains("no runs"));
        assert!(ComparePlot::new().run("none", &History::new()).draw().is_err());
    }

    #[test]
    fn folds_have_a_mean_and_a_band() {
        let fold = |epochs, scale| FoldResult { history: history(epochs, scale), scores: Logs::default() };
        let result = CrossValidation { folds: vec![fold(3, 1.0), fold(4, 3.0)], planned: 2 };
        let histories: Vec<&History> = result.folds.iter().map(|fold| &fold.history).collect();
        // 1 and 3 in the first epoch, 3/4 alone in the fourth.
        assert_eq!(spread(&histories, "loss")[0], (1, 2.0, 1.0));
        assert_eq!(spread(&histories, "loss")[3], (4, 0.75, 0.0));
        let svg = CrossValidationPlot::new().draw(&result).unwrap().to_svg().unwrap();
        assert!(svg.contains("deviation of 2 folds") && svg.contains("<polygon"));
        assert!(CrossValidationPlot::new().draw(&CrossValidation { folds: Vec::new(), planned: 0 }).is_err());
    }
}
