//! One panel of the figure: axes, grid, lines, the best epoch and a legend. Knows no file.

use super::canvas::{Align, Canvas, Point};
use super::scale::Scale;
use crate::history::Series;
use plotters::style::RGBAColor;

/// A metric with its training and validation values; both are as long as the epochs.
#[derive(Clone, Debug)]
pub struct Metric<'a> {
    pub name: &'a str,
    pub train: Option<&'a Series>,
    pub validation: Option<&'a Series>,
}

/// What a panel shows.
#[derive(Clone, Debug)]
pub struct Panel<'a> {
    pub title: String,
    pub metrics: Vec<Metric<'a>>,
    /// Epochs as printed, from 1.
    pub epochs: &'a [usize],
    /// The row of the best epoch.
    pub best: Option<usize>,
    /// The series that made it the best, as logged.
    pub monitor: &'a str,
    /// Whether NaN and infinite values are worth a mark: for losses they are.
    pub marks_lost: bool,
}

const TICK_SIZE: f64 = 13.0;
const MOST_TICKS: usize = 7;
const LABEL_SIZE: f64 = 15.0;
const LINE: f64 = 2.25;
/// With more epochs than this, dots on the lines would only be a thicker line.
const MOST_DOTS: usize = 40;

const INK: RGBAColor = RGBAColor(38, 43, 51, 1.0);
const SOFT_INK: RGBAColor = RGBAColor(95, 102, 112, 1.0);
const GRID: RGBAColor = RGBAColor(229, 232, 236, 1.0);
const LOST: RGBAColor = RGBAColor(200, 30, 45, 1.0);
const PAPER: RGBAColor = RGBAColor(255, 255, 255, 0.9);

/// Dark for training, light for validation, of the same hue; each pair also differs in lightness, for print in grey.
const HUES: [[RGBAColor; 2]; 5] = [
    [RGBAColor(23, 78, 140, 1.0), RGBAColor(72, 157, 227, 1.0)],
    [RGBAColor(163, 64, 12, 1.0), RGBAColor(243, 146, 62, 1.0)],
    [RGBAColor(20, 102, 66, 1.0), RGBAColor(72, 186, 128, 1.0)],
    [RGBAColor(101, 42, 137, 1.0), RGBAColor(180, 118, 214, 1.0)],
    [RGBAColor(145, 28, 80, 1.0), RGBAColor(232, 100, 152, 1.0)],
];

/// How a line of the legend looks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mark {
    Solid(RGBAColor),
    Dashed(RGBAColor),
    Best,
    Lost,
}

/// What stands in a panel already, for the legend to avoid.
#[derive(Default)]
struct Drawn {
    points: Vec<Point>,
    /// The vertical line of the best epoch.
    best: Option<f64>,
}

/// The frame that values are drawn in, in logical pixels.
struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    x: Scale,
    y: Scale,
}

impl Frame {
    fn at(&self, epoch: f64, value: f64) -> Point {
        let x = self.left + self.x.place(epoch) * (self.right - self.left);
        (x, self.bottom - self.y.place(value) * (self.bottom - self.top))
    }
}

impl Panel<'_> {
    /// The room that the numbers on the vertical axis need, for panels above each other to agree on.
    pub fn tick_width(&self) -> f64 {
        let ticks = self.vertical().ticks(MOST_TICKS);
        ticks.iter().map(|(_, text)| Canvas::text_width(text, TICK_SIZE)).fold(0.0, f64::max)
    }

    fn vertical(&self) -> Scale {
        let values = self.metrics.iter().flat_map(|metric| [metric.train, metric.validation]);
        Scale::around(values.flatten().flat_map(Series::values).copied())
    }

    /// Draws the panel between two corners; `hue` is the colour of its first metric.
    pub fn draw(&self, canvas: &mut Canvas, (from, to): (Point, Point), tick_width: f64, hue: usize) {
        let y = self.vertical();
        let ticks = y.ticks(MOST_TICKS);
        let first = self.epochs.iter().copied().min().unwrap_or(1);
        let last = self.epochs.iter().copied().max().unwrap_or(1);
        let frame = Frame {
            left: from.0 + LABEL_SIZE + 22.0 + tick_width,
            right: to.0 - 14.0,
            top: from.1 + 12.0,
            bottom: to.1 - 54.0,
            x: Scale::epochs(first, last),
            y,
        };
        self.draw_axes(canvas, &frame, &ticks, from.0);
        let mut drawn = Drawn::default();
        let mut legend = Vec::new();
        if let Some(best) = self.best {
            let x = frame.at(self.epochs[best] as f64, 0.0).0;
            let line = [(x, frame.bottom), (x, frame.top)];
            drawn.best = Some(x);
            canvas.dashed(&line, (2.0, 4.0), 1.5, SOFT_INK);
        }
        for (at, metric) in self.metrics.iter().enumerate() {
            let [dark, light] = HUES[(hue + at) % HUES.len()];
            if let Some(series) = metric.train {
                legend.push((Mark::Solid(dark), self.line_name(metric.name, "training")));
                self.draw_line(canvas, &frame, series, Mark::Solid(dark), &mut drawn);
            }
            if let Some(series) = metric.validation {
                legend.push((Mark::Dashed(light), self.line_name(metric.name, "validation")));
                self.draw_line(canvas, &frame, series, Mark::Dashed(light), &mut drawn);
            }
        }
        if let Some(best) = self.best {
            legend.push((Mark::Best, format!("best epoch: {}", self.epochs[best])));
            self.draw_best(canvas, &frame, best, hue);
        }
        if self.marks_lost && self.draw_lost(canvas, &frame, &mut drawn) {
            legend.push((Mark::Lost, "not finite".to_owned()));
        }
        draw_legend(canvas, &frame, &legend, &drawn);
    }

    fn line_name(&self, name: &str, kind: &str) -> String {
        if name == "learning_rate" {
            name.replace('_', " ")
        } else if self.metrics.len() == 1 {
            kind.to_owned()
        } else {
            format!("{name}, {kind}")
        }
    }

    fn draw_axes(&self, canvas: &mut Canvas, frame: &Frame, ticks: &[(f64, String)], left: f64) {
        for (value, text) in ticks {
            let y = frame.at(1.0, *value).1;
            canvas.line(vec![(frame.left, y), (frame.right, y)], 1.0, GRID);
            canvas.text(text, (frame.left - 9.0, y), TICK_SIZE, SOFT_INK, Align::Right);
        }
        let (first, last) = (self.epochs.iter().min(), self.epochs.iter().max());
        for (epoch, text) in frame.x.whole_ticks(10) {
            // The axis begins a little before the first epoch; a tick there would name an epoch that never was.
            let is_epoch =
                first.is_some_and(|&first| epoch >= first as f64) && last.is_some_and(|&last| epoch <= last as f64);
            if is_epoch {
                let x = frame.at(epoch, 0.0).0;
                canvas.line(vec![(x, frame.top), (x, frame.bottom)], 1.0, GRID);
                canvas.line(vec![(x, frame.bottom), (x, frame.bottom + 5.0)], 1.0, SOFT_INK);
                canvas.text(&text, (x, frame.bottom + 17.0), TICK_SIZE, SOFT_INK, Align::Centre);
            }
        }
        let corner = [(frame.left, frame.top), (frame.left, frame.bottom), (frame.right, frame.bottom)];
        canvas.line(corner[..2].to_vec(), 1.25, SOFT_INK);
        canvas.line(corner[1..].to_vec(), 1.25, SOFT_INK);
        let middle = (frame.left + frame.right) / 2.0;
        canvas.text("epoch", (middle, frame.bottom + 40.0), LABEL_SIZE, INK, Align::Centre);
        let scale = if frame.y.is_log() { " (log scale)" } else { "" };
        let title = format!("{}{scale}", self.title);
        let middle = (frame.top + frame.bottom) / 2.0;
        canvas.text(&title, (left + 12.0, middle), LABEL_SIZE, INK, Align::Upwards);
    }

    /// A line and, where there are few, its points. It breaks where a value is not finite; validation goes on across
    /// epochs without one.
    fn draw_line(&self, canvas: &mut Canvas, frame: &Frame, series: &Series, mark: Mark, drawn: &mut Drawn) {
        let (is_dashed, colour) = match mark {
            Mark::Dashed(colour) => (true, colour),
            Mark::Solid(colour) => (false, colour),
            Mark::Best | Mark::Lost => return,
        };
        let mut runs: Vec<Vec<Point>> = vec![Vec::new()];
        for (&epoch, value) in self.epochs.iter().zip(series.iter()) {
            if let Some(value) = value.filter(|value| value.is_finite()) {
                let point = frame.at(epoch as f64, value);
                if let Some(run) = runs.last_mut() {
                    let before = run.last().copied().unwrap_or(point);
                    let along = [0.25, 0.5, 0.75, 1.0].map(|share| between(before, point, share));
                    drawn.points.extend(along);
                    run.push(point);
                }
            } else if value.is_some() || !is_dashed {
                runs.push(Vec::new());
            }
        }
        let dots = self.epochs.len() <= MOST_DOTS;
        for run in runs {
            let is_alone = run.len() == 1;
            if dots || is_alone {
                for &point in &run {
                    canvas.dot(point, if is_alone { 4.0 } else { 3.0 }, colour);
                }
            }
            if is_dashed {
                canvas.dashed(&run, (8.0, 4.5), LINE, colour);
            } else if !is_alone && !run.is_empty() {
                canvas.line(run, LINE, colour);
            }
        }
    }

    /// A ring around the best value, in the panel that shows it.
    fn draw_best(&self, canvas: &mut Canvas, frame: &Frame, best: usize, hue: usize) {
        for (at, metric) in self.metrics.iter().enumerate() {
            let [dark, light] = HUES[(hue + at) % HUES.len()];
            let is_validation = self.monitor.strip_prefix("val_") == Some(metric.name);
            let validation = metric.validation.filter(|_| is_validation);
            let train = metric.train.filter(|_| self.monitor == metric.name);
            for (series, colour) in [(validation, light), (train, dark)] {
                let value = series.and_then(|series| series.at(best)).filter(|value| value.is_finite());
                let Some(value) = value else { continue };
                let point = frame.at(self.epochs[best] as f64, value);
                canvas.dot(point, 6.5, colour);
                canvas.dot(point, 4.0, RGBAColor(255, 255, 255, 1.0));
            }
        }
    }

    /// Crosses at the upper edge where a value is not finite; false if there are none.
    fn draw_lost(&self, canvas: &mut Canvas, frame: &Frame, drawn: &mut Drawn) -> bool {
        let mut any = false;
        for series in self.metrics.iter().flat_map(|metric| [metric.train, metric.validation]).flatten() {
            for (&epoch, value) in self.epochs.iter().zip(series.iter()) {
                if value.is_some_and(|value| !value.is_finite()) {
                    let x = frame.at(epoch as f64, 0.0).0;
                    let place = (x, frame.top + 6.0);
                    cross(canvas, place);
                    drawn.points.push(place);
                    any = true;
                }
            }
        }
        any
    }
}

fn between(from: Point, to: Point, share: f64) -> Point {
    (from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share)
}

fn cross(canvas: &mut Canvas, (x, y): Point) {
    canvas.line(vec![(x - 4.0, y - 4.0), (x + 4.0, y + 4.0)], LINE, LOST);
    canvas.line(vec![(x - 4.0, y + 4.0), (x + 4.0, y - 4.0)], LINE, LOST);
}

/// The legend where it hides the fewest points, and the line of the best epoch only if it must.
fn draw_legend(canvas: &mut Canvas, frame: &Frame, lines: &[(Mark, String)], drawn: &Drawn) {
    const SAMPLE: f64 = 34.0;
    const LEADING: f64 = 22.0;
    const INSET: f64 = 10.0;
    const CLEARANCE: f64 = 8.0;
    let text = lines.iter().map(|(_, text)| Canvas::text_width(text, TICK_SIZE));
    let width = text.fold(0.0, f64::max) + SAMPLE + 3.0 * INSET;
    let height = lines.len() as f64 * LEADING + INSET;
    let (left, right) = (frame.left + INSET, frame.right - INSET - width);
    let (top, bottom) = (frame.top + INSET, frame.bottom - INSET - height);
    let is_within = |at: f64, start: f64, length: f64| at > start - CLEARANCE && at < start + length + CLEARANCE;
    let hidden = |&(x, y): &Point| {
        let is_inside = |point: &&Point| is_within(point.0, x, width) && is_within(point.1, y, height);
        let hides_best = drawn.best.is_some_and(|best| is_within(best, x, width));
        (drawn.points.iter().filter(is_inside).count(), hides_best)
    };
    let middle = (left + right) / 2.0;
    let places = [(right, top), (right, bottom), (left, top), (left, bottom), (middle, top), (middle, bottom)];
    let Some(&(x, y)) = places.iter().min_by_key(|place| hidden(place)) else { return };
    let edge = 1.0;
    canvas.fill((x - edge, y - edge), (x + width + edge, y + height + edge), GRID);
    canvas.fill((x, y), (x + width, y + height), PAPER);
    for (at, (mark, text)) in lines.iter().enumerate() {
        let y = y + INSET / 2.0 + (at as f64 + 0.5) * LEADING;
        let from = (x + INSET, y);
        let to = (x + INSET + SAMPLE, y);
        let middle = (x + INSET + SAMPLE / 2.0, y);
        match *mark {
            Mark::Solid(colour) => canvas.line(vec![from, to], LINE, colour),
            Mark::Dashed(colour) => canvas.dashed(&[from, to], (8.0, 4.5), LINE, colour),
            Mark::Best => {
                canvas.dashed(&[(middle.0, y + 8.0), (middle.0, y - 8.0)], (2.0, 3.0), 1.5, SOFT_INK);
            }
            Mark::Lost => cross(canvas, middle),
        }
        canvas.text(text, (to.0 + INSET, y), TICK_SIZE, INK, Align::Left);
    }
}
