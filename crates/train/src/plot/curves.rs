//! ROC and precision-recall curves, of one classifier or several, or of each class against all others, with the areas under them.

use super::axes::{DASH, Drawn, EQUALS, Frame, LABEL_SIZE, LINE, Legend, Mark, SOFT_INK, TICK_SIZE, equal};
use super::canvas::{Canvas, Point, dashes};
use super::figure::{Figure, TITLE_HEIGHT, draw_title};
use super::scale::Scale;
use crate::error::{Error, Result};
use crate::scores::{Values, auc, average_precision_score, precision_recall_curve, roc_curve};
use plotters::style::RGBAColor;
use std::path::Path;

/// Curves of decisions with the areas under them in the legend.
///
/// # Examples
/// ```no_run
/// use kiln_train::plot::CurvePlot;
/// let (y_true, y_score) = ([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]);
/// CurvePlot::roc().curve("model", &y_true, &y_score)?.save("roc.svg")?;
/// let probabilities = [[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.2, 0.6], [0.3, 0.4, 0.3]];
/// CurvePlot::precision_recall().classes(&[0, 1, 2, 2], &probabilities, ["cat", "dog", "bird"])?.save("pr.svg")?;
/// # Ok::<(), kiln_train::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CurvePlot {
    kind: Kind,
    title: Option<String>,
    curves: Vec<Curve>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Roc,
    PrecisionRecall,
}

#[derive(Clone, Debug)]
struct Curve {
    /// What the legend says.
    text: String,
    points: Vec<Point>,
    /// The share of positives.
    prevalence: f64,
}

impl CurvePlot {
    /// True against false positive rate.
    pub fn roc() -> Self {
        Self { kind: Kind::Roc, title: None, curves: Vec::new() }
    }

    /// Precision against recall.
    pub fn precision_recall() -> Self {
        Self { kind: Kind::PrecisionRecall, title: None, curves: Vec::new() }
    }

    /// A line above the curves.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Adds the curve of scores of two classes.
    ///
    /// # Shapes
    /// `y_true` and `y_score`: `[N]` or `[N, 1]`.
    ///
    /// # Errors
    /// As [`roc_curve`] and [`precision_recall_curve`].
    pub fn curve(
        mut self,
        name: impl Into<String>,
        y_true: &(impl Values + ?Sized),
        y_score: &(impl Values + ?Sized),
    ) -> Result<Self> {
        let truth = y_true.numbers().0;
        let prevalence = truth.iter().filter(|&&label| label == 1.0).count() as f64 / truth.len().max(1) as f64;
        let name = name.into();
        let (points, text) = match self.kind {
            Kind::Roc => {
                let curve = roc_curve(y_true, y_score, ())?;
                let area = auc(&curve.fpr, &curve.tpr)?;
                (curve.fpr.into_iter().zip(curve.tpr).collect(), format!("{name} (AUC {area:.3})"))
            }
            Kind::PrecisionRecall => {
                let curve = precision_recall_curve(y_true, y_score, ())?;
                let area: f64 = average_precision_score(y_true, y_score, ())?;
                (steps(&curve.recall, &curve.precision), format!("{name} (AP {area:.3})"))
            }
        };
        self.curves.push(Curve { text, points, prevalence });
        Ok(self)
    }

    /// Adds a curve for each class, which is compared with all others. A class that does not occur, or no other, has none, and the
    /// legend says so. Of a sigmoid unit it is one curve, of the last of the names.
    ///
    /// # Shapes
    /// `y_true`: labels `[N]`, from 0, or columns of 0 and 1, `[N, K]`; `probabilities`: `[N, K]`, or `[N]` or `[N, 1]` of class 1 of two.
    ///
    /// # Errors
    /// [`Error::Data`] where shapes, labels and names do not fit together; those of [`CurvePlot::curve`].
    pub fn classes<S: Into<String>>(
        mut self,
        y_true: &(impl Values + ?Sized),
        probabilities: &(impl Values + ?Sized),
        names: impl IntoIterator<Item = S>,
    ) -> Result<Self> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let (truth, truth_shape) = y_true.numbers();
        let (scores, shape) = probabilities.numbers();
        if let ([_] | [_, 1], Some(name)) = (&shape[..], names.last()) {
            return self.curve(name, y_true, probabilities);
        }
        let (rows, classes) = match shape[..] {
            [rows, classes] if classes == names.len() && classes > 0 => (rows, classes),
            _ => {
                return Err(Error::data(
                    format!("CurvePlot: probabilities of shape {shape:?} for {} names", names.len()),
                    "give a column of probabilities and a name for each class",
                ));
            }
        };
        let is_columns = truth_shape == [rows, classes] && classes > 1;
        if !is_columns && truth.len() != rows {
            return Err(Error::data(
                format!("CurvePlot: y_true has the shape {truth_shape:?} for probabilities of shape {shape:?}"),
                "give one label for each row",
            ));
        }
        if let Some(row) = (0..rows).find(|&row| !is_columns && !(0..classes).any(|class| truth[row] == class as f64)) {
            return Err(Error::data(
                format!(
                    "CurvePlot: y_true is {} in row {row}, with {classes} classes it can be 0 to {}",
                    truth[row],
                    classes - 1
                ),
                "labels are numbers of columns, from 0",
            ));
        }
        for (class, name) in names.into_iter().enumerate() {
            let is =
                |row: usize| if is_columns { truth[row * classes + class] != 0.0 } else { truth[row] == class as f64 };
            let truth: Vec<bool> = (0..rows).map(is).collect();
            let scores: Vec<f64> = scores.iter().skip(class).step_by(classes).copied().collect();
            if truth.iter().any(|&is| is) && !truth.iter().all(|&is| is) {
                self = self.curve(name, &truth, &scores)?;
            } else {
                let what = if truth.contains(&true) { "no others" } else { "no samples" };
                let text = format!("{name} ({what})");
                self.curves.push(Curve { text, points: Vec::new(), prevalence: f64::NAN });
            }
        }
        Ok(self)
    }

    /// Draws the curves to `path`, a `.png` or an `.svg`.
    ///
    /// # Errors
    /// As [`CurvePlot::draw`] and [`Figure::save`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.draw()?.save(path)
    }

    /// Draws the curves.
    ///
    /// # Errors
    /// [`Error::Data`] without a curve.
    pub fn draw(&self) -> Result<Figure> {
        const SIDE: f64 = 440.0;
        /// More lines in a legend than these stand beside the curves.
        const MOST_INSIDE: usize = 4;
        if self.curves.is_empty() {
            return Err(Error::data(
                "CurvePlot: there are no curves",
                "add one by `curve`, or those of all classes by `classes`",
            ));
        }
        let legend = self.legend();
        let beside = if legend.0.len() > MOST_INSIDE { legend.size().0 + 14.0 } else { 0.0 };
        let ticks: Vec<(f64, String)> =
            (0..=5).map(|at| (f64::from(at) / 5.0, format!("{:.1}", f64::from(at) / 5.0))).collect();
        let left = 8.0 + LABEL_SIZE + 22.0 + Canvas::text_width("0.0", TICK_SIZE);
        let top = 12.0 + if self.title.is_some() { TITLE_HEIGHT } else { 0.0 };
        let unit = Scale::unit();
        let mut frame = Frame { left, right: left + SIDE, top, bottom: top + SIDE, x: unit, y: unit };
        let place =
            if beside > 0.0 { Some((frame.right + 14.0, top)) } else { legend.place(&frame, &self.drawn(&frame)) };
        let above = if place.is_none() { legend.height_above(SIDE) } else { 0.0 };
        (frame.top, frame.bottom) = (top + above, top + above + SIDE);
        let width = frame.right + 14.0 + beside;
        let mut canvas = Canvas::new(width, (frame.bottom + 54.0).max(top + legend.size().1 + 12.0))?;
        draw_title(&mut canvas, self.title.as_deref(), width);
        let titles = match self.kind {
            Kind::Roc => ["false positive rate", "true positive rate"],
            Kind::PrecisionRecall => ["recall", "precision"],
        };
        frame.draw_axes(&mut canvas, [&ticks, &ticks], titles, 8.0);
        canvas.dashed(&self.chance(&frame), (5.0, 5.0), 1.5, SOFT_INK);
        for (at, curve) in self.curves.iter().enumerate().filter(|(_, curve)| !curve.points.is_empty()) {
            let points = simplified(curve.points.iter().map(|&(x, y)| frame.at(x, y)));
            let pieces = if has_dashes(at) { dashes(&points, DASH.0, DASH.1) } else { vec![points] };
            pieces.iter().for_each(|piece| draw_steps(&mut canvas, piece, equal_hue(at)));
        }
        match place {
            Some(place) => legend.draw(&mut canvas, place),
            None => legend.draw_above(&mut canvas, left, top - 6.0, SIDE),
        }
        Ok(Figure(canvas))
    }

    fn legend(&self) -> Legend {
        let mut legend = Legend::default();
        for (at, curve) in self.curves.iter().enumerate() {
            let mark = if has_dashes(at) { Mark::Dashed(equal_hue(at)) } else { Mark::Solid(equal_hue(at)) };
            legend.add(mark, &curve.text);
        }
        match (self.kind, self.prevalence()) {
            (Kind::Roc, _) => legend.add(Mark::Dashed(SOFT_INK), "chance"),
            (Kind::PrecisionRecall, Some(share)) => {
                legend.add(Mark::Dashed(SOFT_INK), format!("chance ({share:.3})"));
            }
            (Kind::PrecisionRecall, None) => {}
        }
        legend
    }

    /// The share of positives, where it is the same for all curves.
    fn prevalence(&self) -> Option<f64> {
        let first = self.curves.first()?.prevalence;
        self.curves.iter().all(|curve| curve.prevalence == first).then_some(first)
    }

    /// What guessing gives.
    fn chance(&self, frame: &Frame) -> Vec<Point> {
        match (self.kind, self.prevalence()) {
            (Kind::Roc, _) => vec![frame.at(0.0, 0.0), frame.at(1.0, 1.0)],
            (Kind::PrecisionRecall, Some(share)) => vec![frame.at(0.0, share), frame.at(1.0, share)],
            (Kind::PrecisionRecall, None) => Vec::new(),
        }
    }

    fn drawn(&self, frame: &Frame) -> Drawn {
        let mut drawn = Drawn::default();
        drawn.line(&self.chance(frame));
        for curve in &self.curves {
            drawn.line(&curve.points.iter().map(|&(x, y)| frame.at(x, y)).collect::<Vec<Point>>());
        }
        drawn
    }
}

/// Beyond so many curves colours come again, with dashes.
fn has_dashes(at: usize) -> bool {
    at / EQUALS.len() % 2 == 1
}

fn equal_hue(at: usize) -> RGBAColor {
    equal(at % EQUALS.len())
}

/// The same line on a grid of half pixels, without points that change nothing: a curve of a million scores is as quickly drawn as one
/// of a thousand.
fn simplified(points: impl Iterator<Item = Point>) -> Vec<Point> {
    let mut kept: Vec<Point> = Vec::new();
    for point in points.map(|(x, y)| ((x * 2.0).round() / 2.0, (y * 2.0).round() / 2.0)) {
        if kept.last() == Some(&point) {
            continue;
        }
        if let [.., before, last] = kept[..] {
            let goes_on = |a: f64, b: f64, c: f64| (a - b) * (b - c) > 0.0;
            let is_upright = before.0 == last.0 && last.0 == point.0 && goes_on(before.1, last.1, point.1);
            let is_level = before.1 == last.1 && last.1 == point.1 && goes_on(before.0, last.0, point.0);
            if is_upright || is_level {
                kept.pop();
            }
        }
        kept.push(point);
    }
    kept
}

/// Draws a line piece by piece, level and upright ones as rectangles: joined, the corners of short steps would stick out.
fn draw_steps(canvas: &mut Canvas, points: &[Point], colour: RGBAColor) {
    const HALF: f64 = LINE / 2.0;
    for pair in points.windows(2).filter(|pair| pair[0] != pair[1]) {
        let (from, to) = (pair[0], pair[1]);
        if from.0 == to.0 || from.1 == to.1 {
            let (low, high) = ((from.0.min(to.0), from.1.min(to.1)), (from.0.max(to.0), from.1.max(to.1)));
            canvas.fill((low.0 - HALF, low.1 - HALF), (high.0 + HALF, high.1 + HALF), colour);
        } else {
            canvas.line(vec![from, to], LINE, colour);
        }
    }
}

/// Precision keeps its value until recall changes: nothing is interpolated, as in the average precision.
fn steps(recall: &[f64], precision: &[f64]) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::with_capacity(2 * recall.len());
    for (&x, &y) in recall.iter().zip(precision) {
        points.extend(points.last().map(|&(_, before)| (x, before)));
        points.push((x, y));
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_stand_in_the_legend() {
        let (t, s) = ([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]);
        let svg = CurvePlot::roc().curve("a < b", &t, &s).unwrap().title("two").draw().unwrap().to_svg().unwrap();
        assert!(svg.contains("a &lt; b (AUC 0.750)") && svg.contains("chance") && svg.contains("two"));
        let svg = CurvePlot::precision_recall().curve("b", &t, &s).unwrap().draw().unwrap().to_svg().unwrap();
        assert!(svg.contains("b (AP 0.833)") && svg.contains("chance (0.500)"));
    }

    #[test]
    fn classes_are_compared_with_all_others() {
        let p = [[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.6, 0.3, 0.1], [0.3, 0.4, 0.3]];
        let names = ["x", "y", "z"];
        let plot = CurvePlot::roc().classes(&[0, 1, 0, 1], &p, names).unwrap();
        let texts: Vec<&str> = plot.curves.iter().map(|curve| &curve.text[..]).collect();
        assert_eq!(texts, ["x (AUC 1.000)", "y (AUC 1.000)", "z (no samples)"]);
        plot.draw().unwrap();
        let rows = CurvePlot::roc().classes(&[[1, 0, 1], [0, 1, 1], [1, 0, 1], [0, 1, 1]], &p, names).unwrap();
        assert_eq!(rows.curves[2].text, "z (no others)");
        for text in [
            CurvePlot::roc().classes(&[0, 1, 0, 3], &p, names).unwrap_err().to_string(),
            CurvePlot::roc().classes(&[0, 1], &p, names).unwrap_err().to_string(),
            CurvePlot::roc().classes(&[0, 1, 0, 1], &p, ["x"]).unwrap_err().to_string(),
            CurvePlot::roc().draw().unwrap_err().to_string(),
        ] {
            assert!(text.contains("CurvePlot: ") && text.contains("help: "), "{text}");
        }
    }

    #[test]
    fn long_curves_are_drawn_with_few_points() {
        let along = |at: i32| (f64::from(at) / 100.0, 1.0);
        assert_eq!(simplified((0..=1000).map(along)), [(0.0, 1.0), (10.0, 1.0)]);
        let corner = [(0.0, 0.0), (0.1, 0.0), (4.0, 0.0), (4.0, 9.0), (4.0, 3.0), (4.0, 3.1)];
        assert_eq!(simplified(corner.into_iter()), [(0.0, 0.0), (4.0, 0.0), (4.0, 9.0), (4.0, 3.0)]);
    }

    #[test]
    fn precision_is_not_interpolated() {
        assert_eq!(
            steps(&[1.0, 0.5, 0.0], &[0.5, 0.8, 1.0]),
            [(1.0, 0.5), (0.5, 0.5), (0.5, 0.8), (0.0, 0.8), (0.0, 1.0)]
        );
    }
}
