//! What panels share: the frame that values are drawn in, its axes, colours, and the legend, which hides nothing.

use super::canvas::{Align, Canvas, Point};
use super::scale::Scale;
use plotters::style::RGBAColor;

pub const TICK_SIZE: f64 = 13.0;
pub const LABEL_SIZE: f64 = 15.0;
pub const TITLE_SIZE: f64 = 19.0;
pub const LINE: f64 = 2.25;

pub const INK: RGBAColor = RGBAColor(38, 43, 51, 1.0);
pub const SOFT_INK: RGBAColor = RGBAColor(95, 102, 112, 1.0);
pub const GRID: RGBAColor = RGBAColor(229, 232, 236, 1.0);
pub const LOST: RGBAColor = RGBAColor(200, 30, 45, 1.0);
pub const PAPER: RGBAColor = RGBAColor(255, 255, 255, 1.0);

/// Dark for training, light for validation, of the same hue; each pair also differs in lightness, for print in grey.
pub const HUES: [[RGBAColor; 2]; 5] = [
    [RGBAColor(23, 78, 140, 1.0), RGBAColor(72, 157, 227, 1.0)],
    [RGBAColor(163, 64, 12, 1.0), RGBAColor(243, 146, 62, 1.0)],
    [RGBAColor(20, 102, 66, 1.0), RGBAColor(72, 186, 128, 1.0)],
    [RGBAColor(101, 42, 137, 1.0), RGBAColor(180, 118, 214, 1.0)],
    [RGBAColor(145, 28, 80, 1.0), RGBAColor(232, 100, 152, 1.0)],
];

/// Colours for things of equal rank, told apart with any colour vision (Okabe and Ito 2008).
pub const EQUALS: [(u8, u8, u8); 7] =
    [(0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (230, 159, 0), (60, 60, 60)];

/// The colour of the thing at a place among equals; beyond seven they come again, darker.
pub fn equal(at: usize) -> RGBAColor {
    let (red, green, blue) = EQUALS[at % EQUALS.len()];
    let dim = |level: u8| if at / EQUALS.len() % 2 == 1 { level / 2 } else { level };
    RGBAColor(dim(red), dim(green), dim(blue), 1.0)
}

/// The dashes of lines that are not solid.
pub const DASH: (f64, f64) = (8.0, 4.5);

/// How a line of the legend looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mark {
    Solid(RGBAColor),
    Dashed(RGBAColor),
    /// A dashed line on a band of the same colour.
    Banded(RGBAColor),
    Best,
    Lost,
}

/// What stands in a panel already, for the legend to avoid.
#[derive(Clone, Debug, Default)]
pub struct Drawn {
    pub points: Vec<Point>,
    /// The vertical line of the best epoch.
    pub best: Option<f64>,
}

impl Drawn {
    /// Takes in a line, densely enough that no legend fits between.
    pub fn line(&mut self, points: &[Point]) {
        const APART: f64 = 12.0;
        self.points.extend(points.first());
        for pair in points.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            let steps = ((to.0 - from.0).hypot(to.1 - from.1) / APART).ceil().clamp(1.0, 200.0);
            let along = |step: usize| between(from, to, step as f64 / steps);
            self.points.extend((1..=steps as usize).map(along));
        }
    }
}

pub fn between(from: Point, to: Point, share: f64) -> Point {
    (from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share)
}

pub fn cross(canvas: &mut Canvas, (x, y): Point) {
    canvas.line(vec![(x - 4.0, y - 4.0), (x + 4.0, y + 4.0)], LINE, LOST);
    canvas.line(vec![(x - 4.0, y + 4.0), (x + 4.0, y - 4.0)], LINE, LOST);
}

/// The frame that values are drawn in, in logical pixels.
#[derive(Clone, Debug)]
pub struct Frame {
    pub left: f64,
    pub right: f64,
    pub top: f64,
    pub bottom: f64,
    pub x: Scale,
    pub y: Scale,
}

/// Numbers on an axis with their texts.
pub type Ticks = [(f64, String)];

impl Frame {
    pub fn at(&self, x: f64, y: f64) -> Point {
        let place = self.left + self.x.place(x) * (self.right - self.left);
        (place, self.bottom - self.y.place(y) * (self.bottom - self.top))
    }

    /// Grid, axes and titles; the vertical one stands at `left`.
    pub fn draw_axes(&self, canvas: &mut Canvas, ticks: [&Ticks; 2], titles: [&str; 2], left: f64) {
        let [across, upwards] = ticks;
        for (value, text) in upwards {
            let y = self.at(0.0, *value).1;
            canvas.line(vec![(self.left, y), (self.right, y)], 1.0, GRID);
            canvas.text(text, (self.left - 9.0, y), TICK_SIZE, SOFT_INK, Align::Right);
        }
        for (value, text) in across {
            let x = self.at(*value, 0.0).0;
            canvas.line(vec![(x, self.top), (x, self.bottom)], 1.0, GRID);
            canvas.line(vec![(x, self.bottom), (x, self.bottom + 5.0)], 1.0, SOFT_INK);
            canvas.text(text, (x, self.bottom + 17.0), TICK_SIZE, SOFT_INK, Align::Centre);
        }
        let corner = [(self.left, self.top), (self.left, self.bottom), (self.right, self.bottom)];
        canvas.line(corner[..2].to_vec(), 1.25, SOFT_INK);
        canvas.line(corner[1..].to_vec(), 1.25, SOFT_INK);
        let middle = (self.left + self.right) / 2.0;
        canvas.text(titles[0], (middle, self.bottom + 40.0), LABEL_SIZE, INK, Align::Centre);
        let middle = (self.top + self.bottom) / 2.0;
        canvas.text(titles[1], (left + 12.0, middle), LABEL_SIZE, INK, Align::Upwards);
    }
}

const SAMPLE: f64 = 34.0;
const LEADING: f64 = 22.0;
const INSET: f64 = 10.0;

/// The lines of a legend.
#[derive(Clone, Debug, Default)]
pub struct Legend(pub Vec<(Mark, String)>);

impl Legend {
    pub fn add(&mut self, mark: Mark, text: impl Into<String>) {
        self.0.push((mark, text.into()));
    }

    fn widest(&self) -> f64 {
        self.0.iter().map(|(_, text)| Canvas::text_width(text, TICK_SIZE)).fold(0.0, f64::max)
    }

    /// The width and height of a box around all lines.
    pub fn size(&self) -> (f64, f64) {
        (self.widest() + SAMPLE + 3.0 * INSET, self.0.len() as f64 * LEADING + INSET)
    }

    /// The corner of a box inside the frame that hides nothing that is drawn, and the line of the best epoch only if it must; nothing
    /// where there is no such place.
    pub fn place(&self, frame: &Frame, drawn: &Drawn) -> Option<Point> {
        const CLEARANCE: f64 = 8.0;
        let (width, height) = self.size();
        let (left, right) = (frame.left + INSET, frame.right - INSET - width);
        let (top, bottom) = (frame.top + INSET, frame.bottom - INSET - height);
        if right < left || bottom < top {
            return None;
        }
        let is_within = |at: f64, start: f64, length: f64| at > start - CLEARANCE && at < start + length + CLEARANCE;
        let is_free = |&(x, y): &Point| {
            let is_inside = |point: &Point| is_within(point.0, x, width) && is_within(point.1, y, height);
            !drawn.points.iter().any(is_inside)
        };
        let hides_best = |place: &Point| drawn.best.is_some_and(|best| is_within(best, place.0, width));
        let middle = (left + right) / 2.0;
        let places = [(right, top), (right, bottom), (left, top), (left, bottom), (middle, top), (middle, bottom)];
        places.into_iter().filter(is_free).min_by_key(hides_best)
    }

    /// Draws a box around all lines.
    pub fn draw(&self, canvas: &mut Canvas, (x, y): Point) {
        let (width, height) = self.size();
        let edge = 1.0;
        canvas.fill((x - edge, y - edge), (x + width + edge, y + height + edge), GRID);
        canvas.fill((x, y), (x + width, y + height), PAPER);
        for (at, line) in self.0.iter().enumerate() {
            draw_line(canvas, line, (x + INSET, y + INSET / 2.0 + (at as f64 + 0.5) * LEADING));
        }
    }

    fn columns(&self, width: f64) -> usize {
        let column = self.widest() + SAMPLE + 3.0 * INSET;
        ((width / column) as usize).clamp(1, self.0.len().max(1))
    }

    /// The height of [`Legend::draw_above`].
    pub fn height_above(&self, width: f64) -> f64 {
        self.0.len().div_ceil(self.columns(width)) as f64 * LEADING + INSET
    }

    /// Draws the lines side by side, in as many rows as they need, below `top`.
    pub fn draw_above(&self, canvas: &mut Canvas, left: f64, top: f64, width: f64) {
        let columns = self.columns(width);
        let column = self.widest() + SAMPLE + 3.0 * INSET;
        for (at, line) in self.0.iter().enumerate() {
            let place = ((at % columns) as f64, (at / columns) as f64 + 0.5);
            draw_line(canvas, line, (left + place.0 * column, top + place.1 * LEADING));
        }
    }
}

fn draw_line(canvas: &mut Canvas, (mark, text): &(Mark, String), from: Point) {
    let (to, y) = ((from.0 + SAMPLE, from.1), from.1);
    let middle = (from.0 + SAMPLE / 2.0, y);
    match *mark {
        Mark::Solid(colour) => canvas.line(vec![from, to], LINE, colour),
        Mark::Dashed(colour) => canvas.dashed(&[from, to], DASH, LINE, colour),
        Mark::Banded(colour) => {
            canvas.fill((from.0, y - 7.0), (to.0, y + 7.0), faint(colour));
            canvas.dashed(&[from, to], DASH, LINE, colour);
        }
        Mark::Best => {
            canvas.dashed(&[(middle.0, y + 8.0), (middle.0, y - 8.0)], (2.0, 3.0), 1.5, SOFT_INK);
        }
        Mark::Lost => cross(canvas, middle),
    }
    canvas.text(text, (to.0 + INSET, y), TICK_SIZE, INK, Align::Left);
}

/// A colour for areas behind lines of it.
pub fn faint(colour: RGBAColor) -> RGBAColor {
    let mix = |level: u8| level + ((255 - level) as f64 * 0.78) as u8;
    RGBAColor(mix(colour.0), mix(colour.1), mix(colour.2), 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        let unit = Scale::around([0.0, 1.0].into_iter());
        Frame { left: 0.0, right: 600.0, top: 0.0, bottom: 400.0, x: unit, y: unit }
    }

    #[test]
    fn a_legend_hides_no_line() {
        let mut legend = Legend::default();
        legend.add(Mark::Solid(INK), "training");
        let mut drawn = Drawn::default();
        assert_eq!(legend.place(&frame(), &drawn), Some((600.0 - 10.0 - legend.size().0, 10.0)));
        // Between the ends of a long line lies the legend's place.
        drawn.line(&[(0.0, 20.0), (600.0, 20.0)]);
        let below = legend.place(&frame(), &drawn).unwrap();
        assert!(below.1 > 300.0);
        drawn.line(&[(0.0, 380.0), (600.0, 380.0)]);
        assert_eq!(legend.place(&frame(), &drawn), None);
        legend.add(Mark::Best, "x".repeat(200));
        assert_eq!(legend.place(&frame(), &Drawn::default()), None);
    }

    #[test]
    fn a_legend_above_has_as_many_rows_as_it_needs() {
        let mut legend = Legend::default();
        (0..5).for_each(|at| legend.add(Mark::Solid(equal(at)), format!("run {at}")));
        assert!(legend.height_above(1000.0) < legend.height_above(250.0));
        assert_eq!(legend.height_above(1.0), 5.0 * LEADING + INSET);
    }
}
