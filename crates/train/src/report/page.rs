//! A training run on one page: pictures, tables and what they say, in a single file of HTML that needs neither network nor script.

use super::html::{details, escape, figure, page, paragraph, table};
use super::{ClassificationReport, ConfusionMatrix, Normalize, Scores};
use crate::cross_validate::CrossValidation;
use crate::error::{Error, Result};
use crate::files::write_atomic;
use crate::history::{History, from_1};
use crate::plot::{ComparePlot, ConfusionPlot, CrossValidationPlot, CurvePlot, Figure, Gallery, Plot};
use crate::scores::Values;
use crate::text::log_value;
use kiln_nn::Tensor;
use std::path::Path;

/// A page about a training run, section by section in the order in which they are added. What cannot be drawn is an error when the page
/// is written.
///
/// # Examples
/// ```
/// use kiln_train::report::Report;
/// use kiln_train::{History, Logs, scores::confusion_matrix};
/// let mut history = History::new();
/// for (epoch, loss) in [1.0, 0.5, 0.4, 0.39].into_iter().enumerate() {
///     history.push(epoch, &Logs::from([("loss", loss), ("val_loss", loss + 0.1)]), 0.1);
/// }
/// let (y_true, probabilities) = ([0, 0, 1, 1], [[0.9, 0.1], [0.6, 0.4], [0.65, 0.35], [0.2, 0.8]]);
/// let matrix = confusion_matrix(&y_true, &[0, 0, 0, 1], ())?.with_names(["cat", "dog"])?;
/// let page = Report::new("Cats & dogs")
///     .history(&history)
///     .confusion(&matrix)
///     .classification(&matrix.report())
///     .curves(&y_true, &probabilities, ["cat", "dog"]);
/// let html = page.to_html()?;
/// assert!(html.contains("<h1>Cats &amp; dogs</h1>") && html.contains("cat (AUC 0.750)"));
/// # Ok::<(), kiln_train::Error>(())
/// ```
#[derive(Debug)]
pub struct Report {
    title: String,
    /// Headings, and what stands below them.
    sections: Vec<(String, String)>,
    /// The first that could not be made.
    failed: Option<Error>,
}

impl Report {
    /// A page with nothing but a title.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), sections: Vec::new(), failed: None }
    }

    fn section(mut self, heading: &str, body: impl FnOnce() -> Result<String>) -> Self {
        if self.failed.is_some() {
            return self;
        }
        match body() {
            Ok(body) => self.sections.push((heading.to_owned(), body)),
            Err(error) => self.failed = Some(error.note(format_args!("in the section `{heading}` of a report"))),
        }
        self
    }

    /// Text as it stands, such as [`Model::summary`](crate::Model::summary).
    #[must_use]
    pub fn text(self, heading: &str, text: &str) -> Self {
        self.section(heading, || Ok(format!("<pre>{}</pre>\n", escape(text))))
    }

    /// A table of names and numbers, such as what [`Model::evaluate`](crate::Model::evaluate) gives, or [scores](crate::scores).
    #[must_use]
    pub fn values<S: Into<String>>(self, heading: &str, values: impl IntoIterator<Item = (S, f64)>) -> Self {
        let row = |(name, value): (S, f64)| (false, vec![name.into(), log_value(value)]);
        let rows: Vec<(bool, Vec<String>)> = values.into_iter().map(row).collect();
        self.section(heading, || Ok(table(&[], &rows)))
    }

    /// A history: what it [says](History::diagnosis) of the fit, its picture, and the values of every epoch.
    #[must_use]
    pub fn history(self, history: &History) -> Self {
        self.section("Training", || training(history))
    }

    /// Several runs in one picture, and the last and best values of each.
    #[must_use]
    pub fn compare<'a, S: Into<String>>(self, runs: impl IntoIterator<Item = (S, &'a History)>) -> Self {
        let runs: Vec<(String, &History)> = runs.into_iter().map(|(name, history)| (name.into(), history)).collect();
        self.section("Comparison", || comparison(&runs))
    }

    /// The folds of a cross-validation: their picture, and what each measures.
    #[must_use]
    pub fn cross_validation(self, result: &CrossValidation) -> Self {
        self.section("Cross-validation", || {
            let svg = CrossValidationPlot::new().draw(result)?.to_svg()?;
            Ok(figure(&svg, "A thin line for each fold, the mean of all, and one standard deviation around it.")
                + &folds(result))
        })
    }

    /// A confusion matrix: counts, and shares of each true class.
    #[must_use]
    pub fn confusion(self, matrix: &ConfusionMatrix) -> Self {
        self.section("Confusion matrix", || {
            let counts = ConfusionPlot::new().draw(matrix)?.to_svg()?;
            let shares = ConfusionPlot::new().normalize(Normalize::Truth).draw(matrix)?.to_svg()?;
            Ok(figure(&counts, "How often each class (row) was taken for each (column).")
                + &figure(&shares, "The same as shares of the true class: rows sum to 1."))
        })
    }

    /// Precision, recall and F1 of each class and their averages.
    #[must_use]
    pub fn classification(self, report: &ClassificationReport) -> Self {
        self.section("Classification report", || Ok(classification(report)))
    }

    /// ROC and precision-recall curves, of each class against all others.
    ///
    /// # Shapes
    /// As [`CurvePlot::classes`].
    #[must_use]
    pub fn curves<S: Into<String>>(
        self,
        y_true: &(impl Values + ?Sized),
        probabilities: &(impl Values + ?Sized),
        names: impl IntoIterator<Item = S>,
    ) -> Self {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        self.section("Curves", || {
            let draw = |plot: CurvePlot| plot.classes(y_true, probabilities, names.iter().cloned())?.draw()?.to_svg();
            Ok(figure(
                &draw(CurvePlot::roc())?,
                "ROC: the share of positives found against that of negatives taken for them.",
            ) + &figure(&draw(CurvePlot::precision_recall())?, "Precision against recall."))
        })
    }

    /// The images that the model is most wrong about.
    ///
    /// # Shapes
    /// As [`Gallery::draw`].
    #[must_use]
    pub fn gallery(
        self,
        gallery: &Gallery,
        images: &Tensor,
        y_true: &(impl Values + ?Sized),
        probabilities: &(impl Values + ?Sized),
    ) -> Self {
        self.section("Surest mistakes", || {
            let svg = gallery.draw(images, y_true, probabilities)?.to_svg()?;
            Ok(figure(&svg, "What each image was taken for, with its probability, and below what it is."))
        })
    }

    /// Any other picture.
    #[must_use]
    pub fn figure(self, heading: &str, drawing: &Figure, caption: &str) -> Self {
        self.section(heading, || Ok(figure(&drawing.to_svg()?, caption)))
    }

    /// The page as text.
    ///
    /// # Errors
    /// Of the first section that could not be made.
    pub fn to_html(self) -> Result<String> {
        match self.failed {
            Some(error) => Err(error),
            None => Ok(page(&self.title, &self.sections)),
        }
    }

    /// Writes the page to `path` in one step; missing folders are made.
    ///
    /// # Errors
    /// Of the first section that could not be made; [`Error::Io`] where the file cannot be written.
    pub fn write(self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        write_atomic(path, self.to_html()?.as_bytes())
    }
}

fn training(history: &History) -> Result<String> {
    let svg = Plot::new().draw(history)?.to_svg()?;
    let mut html = paragraph(&history.diagnosis().to_string());
    let best = history.judged();
    let mut facts = vec![("epochs".to_owned(), history.len().to_string())];
    facts.push(("seconds".to_owned(), format!("{:.1}", history.seconds().iter().sum::<f64>())));
    if let Some((monitor, row)) = best {
        let (value, epoch) = (history.get(monitor).map_or(f64::NAN, |values| values[row]), history.epochs()[row]);
        facts.push((format!("best {monitor}"), format!("{} in epoch {}", log_value(value), from_1(epoch))));
    }
    facts.extend(history.stopped.as_ref().map(|reason| ("stopped".to_owned(), reason.to_string())));
    let facts: Vec<(bool, Vec<String>)> = facts.into_iter().map(|(name, value)| (false, vec![name, value])).collect();
    html += &table(&[], &facts);
    html += &figure(&svg, "Training solid, validation dashed.");
    let header: Vec<String> =
        std::iter::once("epoch").chain(history.names()).chain(["seconds"]).map(str::to_owned).collect();
    let row = |at: usize| {
        let epoch = history.epochs()[at];
        let value = |name| history.series(name).and_then(|series| series.at(at)).map_or("-".to_owned(), log_value);
        let cells = std::iter::once(from_1(epoch).to_string()).chain(history.names().map(value));
        (best.is_some_and(|(_, best)| best == at), cells.chain([format!("{:.2}", history.seconds()[at])]).collect())
    };
    let rows: Vec<(bool, Vec<String>)> = (0..history.len()).map(row).collect();
    Ok(html + &details("Every epoch", &table(&header, &rows)))
}

fn comparison(runs: &[(String, &History)]) -> Result<String> {
    let plot = runs.iter().fold(ComparePlot::new(), |plot, (name, history)| plot.run(name, history));
    let svg = plot.draw()?.to_svg()?;
    let mut names: Vec<&str> = Vec::new();
    for name in runs.iter().flat_map(|(_, history)| history.names()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let header = ["run", "epochs"].into_iter().chain(names.iter().copied()).map(str::to_owned).collect::<Vec<_>>();
    let row = |(run, history): &(String, &History)| {
        let value = |name: &&str| history.last(name).map_or("-".to_owned(), log_value);
        (false, [run.clone(), history.len().to_string()].into_iter().chain(names.iter().map(value)).collect())
    };
    let rows: Vec<(bool, Vec<String>)> = runs.iter().map(row).collect();
    let said: String =
        runs.iter().map(|(run, history)| paragraph(&format!("{run}: {}", history.diagnosis()))).collect();
    Ok(figure(&svg, "A colour for each run; training thin, validation dashed.")
        + &paragraph("Values of the last epoch:")
        + &table(&header, &rows)
        + &details("What each run says", &said))
}

fn folds(result: &CrossValidation) -> String {
    let Some(first) = result.folds.first() else { return String::new() };
    let names: Vec<&str> = first.scores.names().collect();
    let header: Vec<String> = ["fold", "epochs"].iter().chain(&names).map(|&name| name.to_owned()).collect();
    let row = |(at, fold): (usize, &crate::FoldResult)| {
        let value = |name: &&str| fold.scores.get(name).map_or("-".to_owned(), log_value);
        let cells = [(at + 1).to_string(), fold.history.len().to_string()];
        (false, cells.into_iter().chain(names.iter().map(value)).collect())
    };
    let mut rows: Vec<(bool, Vec<String>)> = result.folds.iter().enumerate().map(row).collect();
    let mean = |name: &&str| match result.mean(name).zip(result.deviation(name)) {
        Some((mean, deviation)) => format!("{} ± {}", log_value(mean), log_value(deviation)),
        None => "-".to_owned(),
    };
    rows.push((true, ["mean".to_owned(), String::new()].into_iter().chain(names.iter().map(mean)).collect()));
    table(&header, &rows)
}

fn classification(report: &ClassificationReport) -> String {
    let header: Vec<String> = ["", "precision", "recall", "F1", "support"].map(str::to_owned).to_vec();
    let row = |name: &str, scores: &Scores| {
        let shares = [scores.precision, scores.recall, scores.f1].map(|share| format!("{share:.3}"));
        let cells = std::iter::once(name.to_owned()).chain(shares).chain([scores.support.to_string()]);
        (false, cells.collect::<Vec<String>>())
    };
    let mut rows: Vec<_> = report.classes.iter().map(|(name, scores)| row(name, scores)).collect();
    match &report.micro_average {
        Some(scores) => rows.push(row("micro average", scores)),
        None => {
            let support = report.macro_average.support.to_string();
            let accuracy = format!("{:.3}", report.accuracy);
            rows.push((false, vec!["accuracy".to_owned(), String::new(), String::new(), accuracy, support]));
        }
    }
    rows.push(row("macro average", &report.macro_average));
    rows.push(row("weighted average", &report.weighted_average));
    rows.extend(report.samples_average.as_ref().map(|scores| row("samples average", scores)));
    table(&header, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FoldResult, Logs};

    fn history() -> History {
        let mut history = History::new();
        for (epoch, loss) in [1.0, 0.5, 0.6, 0.7].into_iter().enumerate() {
            history.push(epoch, &Logs::from([("loss", 1.0 - 0.2 * epoch as f64), ("val_loss", loss)]), 0.5);
        }
        history
    }

    #[test]
    fn one_file_has_everything_and_needs_nothing() {
        let names = ["<script>", "b & c"];
        let (y, p) = ([0, 1, 0, 1], [[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.2, 0.8]]);
        let matrix = crate::scores::confusion_matrix(&y, &[0, 0, 1, 1], ()).unwrap().with_names(names).unwrap();
        let history = history();
        let fold = || FoldResult { history: history.clone(), scores: Logs::from([("loss", 0.5)]) };
        let images = Tensor::zeros([4, 5, 5]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/run.html");
        let report = Report::new("<run>")
            .text("Model", "Dense <units>")
            .values("Scores", [("accuracy", 0.5)])
            .history(&history)
            .compare([("<a>", &history), ("b", &history)])
            .cross_validation(&CrossValidation { folds: vec![fold(), fold()], planned: 2 })
            .confusion(&matrix)
            .classification(&matrix.report())
            .curves(&y, &p, names)
            .gallery(&Gallery::new().names(names), &images, &y, &p)
            .figure("Other", &CurvePlot::roc().curve("x", &y, &[0.1, 0.4, 0.7, 0.8]).unwrap().draw().unwrap(), "more");
        report.write(&path).unwrap();
        let html = std::fs::read_to_string(path).unwrap();
        assert!(
            !html.contains("<script") && !html.contains("<run>") && !html.contains("<a>") && !html.contains("<units>")
        );
        let outside = html.replace("http://www.w3.org/2000/svg", "");
        assert!(!outside.contains("http") && !outside.contains("src="), "the page asks for something");
        assert_eq!(html.matches("<section").count(), 10);
        assert_eq!(html.matches("<svg role").count(), 9);
        assert!(html.contains("overfitting: the validation loss was lowest at 0.5000 (epoch 2)"));
        assert!(
            html.contains("<tr class=\"best\"><th scope=\"row\">2</th>") && html.contains("data:image/png;base64,")
        );
        assert!(html.contains("0.5000 ± 0.0000") && html.contains("&lt;script&gt; (AUC 0.750)"));
    }

    #[test]
    fn what_could_not_be_drawn_is_told_when_it_is_written() {
        let report = Report::new("x").history(&History::new()).text("later", "text");
        let text = report.to_html().unwrap_err().to_string();
        assert!(text.contains("no epochs") && text.contains("in the section `Training` of a report"), "{text}");
    }
}
