//! One panel of a figure over epochs: lines, bands, the best epoch, what is not finite. Knows no history and no file.

use super::axes::{DASH, Drawn, Frame, LABEL_SIZE, LINE, Legend, Mark, PAPER, SOFT_INK, TICK_SIZE, cross, faint};
use super::canvas::{Align, Canvas, Point};
use super::scale::Scale;
use plotters::style::RGBAColor;

/// Values of epochs, drawn as a line.
#[derive(Clone, Debug)]
pub struct Line {
    /// Epochs as printed, from 1, with what was logged in them.
    pub values: Vec<(usize, Option<f64>)>,
    pub colour: RGBAColor,
    pub width: f64,
    /// Dashed lines are of validation, which goes on across epochs without it.
    pub is_dashed: bool,
    /// Whether the single values are marked.
    pub has_dots: bool,
}

/// An area between two values of each epoch.
#[derive(Clone, Debug)]
pub struct Band {
    pub values: Vec<(usize, f64, f64)>,
    pub colour: RGBAColor,
}

/// The best epoch, and the series that made it that.
#[derive(Clone, Debug, PartialEq)]
pub struct Best {
    pub epoch: usize,
    pub monitor: String,
    /// The value and its line's colour, in the panel that shows it.
    pub ring: Option<(f64, RGBAColor)>,
}

/// What a panel shows.
#[derive(Clone, Debug, Default)]
pub struct Panel {
    pub title: String,
    pub lines: Vec<Line>,
    pub bands: Vec<Band>,
    pub legend: Legend,
    pub best: Option<Best>,
    /// What is counted along the axis, if it is not epochs.
    pub across: Option<String>,
    /// Whether NaN and infinite values are worth a mark: for losses they are.
    pub marks_lost: bool,
}

const MOST_TICKS: usize = 7;
/// With more epochs than this, dots on the lines would only be a thicker line.
const MOST_DOTS: usize = 40;

impl Panel {
    /// The room that the numbers on the vertical axis need, for panels above each other to agree on.
    pub fn tick_width(&self) -> f64 {
        let ticks = self.vertical().ticks(MOST_TICKS);
        ticks.iter().map(|(_, text)| Canvas::text_width(text, TICK_SIZE)).fold(0.0, f64::max)
    }

    fn vertical(&self) -> Scale {
        let lines = self.lines.iter().flat_map(|line| line.values.iter().filter_map(|value| value.1));
        let bands = self.bands.iter().flat_map(|band| band.values.iter().flat_map(|value| [value.1, value.2]));
        Scale::around(lines.chain(bands))
    }

    fn epochs(&self) -> (usize, usize) {
        let epochs = || self.lines.iter().flat_map(|line| line.values.iter().map(|value| value.0));
        (epochs().min().unwrap_or(1), epochs().max().unwrap_or(1))
    }

    /// Draws the panel between two corners.
    pub fn draw(&self, canvas: &mut Canvas, (from, to): (Point, Point), tick_width: f64) {
        let y = self.vertical();
        let (first, last) = self.epochs();
        let mut frame = Frame {
            left: from.0 + LABEL_SIZE + 22.0 + tick_width,
            right: to.0 - 14.0,
            top: from.1 + 12.0,
            bottom: to.1 - 54.0,
            x: Scale::epochs(first, last),
            y,
        };
        let mut legend = self.legend.clone();
        if let Some(best) = &self.best {
            let extreme = if best.monitor.ends_with("loss") { "lowest" } else { "best" };
            legend.add(Mark::Best, format!("{extreme} {}: epoch {}", best.monitor, best.epoch));
        }
        if self.marks_lost && self.lost().next().is_some() {
            legend.add(Mark::Lost, "not finite");
        }
        let place = legend.place(&frame, &self.drawn(&frame)).filter(|_| !legend.0.is_empty());
        if place.is_none() && !legend.0.is_empty() {
            let width = frame.right - frame.left;
            legend.draw_above(canvas, frame.left, frame.top - 6.0, width);
            // A legend of very many lines leaves the panel a third of its height.
            frame.top = (frame.top + legend.height_above(width)).min(frame.bottom - (frame.bottom - frame.top) / 3.0);
        }
        self.draw_frame(canvas, &frame, from.0);
        self.draw_values(canvas, &frame);
        if let Some(place) = place {
            legend.draw(canvas, place);
        }
    }

    fn draw_frame(&self, canvas: &mut Canvas, frame: &Frame, left: f64) {
        let (first, last) = self.epochs();
        // The axis begins a little before the first epoch; a tick there would name an epoch that never was.
        let is_epoch = |tick: &(f64, String)| tick.0 >= first as f64 && tick.0 <= last as f64;
        let across: Vec<_> = frame.x.whole_ticks(10).into_iter().filter(is_epoch).collect();
        let scale = if frame.y.is_log() { " (log scale)" } else { "" };
        let upwards = if self.has_values() { frame.y.ticks(MOST_TICKS) } else { Vec::new() };
        let counted = self.across.as_deref().unwrap_or("epoch");
        frame.draw_axes(canvas, [&across, &upwards], [counted, &format!("{}{scale}", self.title)], left);
    }

    fn draw_values(&self, canvas: &mut Canvas, frame: &Frame) {
        for band in &self.bands {
            let edge = |at: fn(&(usize, f64, f64)) -> f64| {
                band.values.iter().map(move |value| frame.at(value.0 as f64, at(value))).collect::<Vec<Point>>()
            };
            let mut points = edge(|value| value.1);
            points.extend(edge(|value| value.2).into_iter().rev());
            canvas.area(points, faint(band.colour));
        }
        if let Some(best) = &self.best {
            let x = frame.at(best.epoch as f64, 0.0).0;
            canvas.dashed(&[(x, frame.bottom), (x, frame.top)], (2.0, 4.0), 1.5, SOFT_INK);
        }
        for line in &self.lines {
            draw_line(canvas, frame, line);
        }
        if let Some((best, (value, colour))) = self.best.as_ref().and_then(|best| best.ring.map(|ring| (best, ring))) {
            let point = frame.at(best.epoch as f64, value);
            canvas.dot(point, 6.5, colour);
            canvas.dot(point, 4.0, PAPER);
        }
        if self.marks_lost {
            self.lost().for_each(|epoch| cross(canvas, (frame.at(epoch as f64, 0.0).0, frame.top + 6.0)));
        }
        if !self.has_values() {
            let middle = ((frame.left + frame.right) / 2.0, (frame.top + frame.bottom) / 2.0);
            canvas.text("no finite value in any epoch", middle, LABEL_SIZE, SOFT_INK, Align::Centre);
        }
    }

    fn has_values(&self) -> bool {
        let mut values = self.lines.iter().flat_map(|line| line.values.iter().filter_map(|value| value.1));
        values.any(f64::is_finite)
    }

    /// Epochs in which something was logged that is not finite.
    fn lost(&self) -> impl Iterator<Item = usize> {
        let values = self.lines.iter().flat_map(|line| &line.values);
        values.filter(|value| value.1.is_some_and(|value| !value.is_finite())).map(|value| value.0)
    }

    /// What the legend must not hide.
    fn drawn(&self, frame: &Frame) -> Drawn {
        let mut drawn = Drawn::default();
        for line in &self.lines {
            runs(frame, line).iter().for_each(|run| drawn.line(run));
        }
        for value in self.bands.iter().flat_map(|band| &band.values) {
            drawn.line(&[frame.at(value.0 as f64, value.1), frame.at(value.0 as f64, value.2)]);
        }
        if self.marks_lost {
            drawn.points.extend(self.lost().map(|epoch| (frame.at(epoch as f64, 0.0).0, frame.top + 6.0)));
        }
        drawn.best = self.best.as_ref().map(|best| frame.at(best.epoch as f64, 0.0).0);
        if !self.has_values() {
            drawn.points.push(((frame.left + frame.right) / 2.0, (frame.top + frame.bottom) / 2.0));
        }
        drawn
    }
}

/// The pieces of a line, which breaks where a value is not finite.
fn runs(frame: &Frame, line: &Line) -> Vec<Vec<Point>> {
    let mut runs: Vec<Vec<Point>> = vec![Vec::new()];
    for &(epoch, value) in &line.values {
        match value.filter(|value| value.is_finite()) {
            Some(value) => runs.last_mut().into_iter().for_each(|run| run.push(frame.at(epoch as f64, value))),
            None if value.is_some() || !line.is_dashed => runs.push(Vec::new()),
            None => {}
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

/// A line and, where there are few, its points.
fn draw_line(canvas: &mut Canvas, frame: &Frame, line: &Line) {
    let has_dots = line.has_dots && line.values.len() <= MOST_DOTS;
    for run in runs(frame, line) {
        let is_alone = run.len() == 1;
        if has_dots || is_alone {
            let radius = if is_alone { 4.0 } else { 3.0 };
            run.iter().for_each(|&point| canvas.dot(point, radius * line.width.min(LINE) / LINE, line.colour));
        }
        if line.is_dashed {
            canvas.dashed(&run, DASH, line.width, line.colour);
        } else if !is_alone {
            canvas.line(run, line.width, line.colour);
        }
    }
}
