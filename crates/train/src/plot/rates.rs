//! The loss over the learning rate, with the rates that are good to train with.

use super::axes::{Drawn, Frame, LABEL_SIZE, LINE, Legend, Mark, TICK_SIZE, equal, faint};
use super::canvas::{Canvas, Point};
use super::figure::Figure;
use super::scale::Scale;
use crate::rate_finder::RateSweep;
use crate::search::Value;
use crate::{Error, Result};
use std::path::Path;

/// Losses above this many times the first would make the rest a flat line.
const MOST: f64 = 1.5;

impl RateSweep {
    /// Draws the loss over the rate, and where it falls fastest. To a `.png` or an `.svg`.
    ///
    /// # Errors
    /// A sweep without a finite loss; a file that cannot be written.
    pub fn plot(&self, path: impl AsRef<Path>) -> Result<()> {
        self.draw()?.save(path)
    }

    /// What [`RateSweep::plot`] writes.
    ///
    /// # Errors
    /// A sweep without a finite loss.
    pub fn draw(&self) -> Result<Figure> {
        let first = self.smoothed.iter().copied().find(|loss| loss.is_finite()).ok_or_else(|| {
            Error::data(
                "plot: the sweep has no finite loss",
                "look for what is not finite in the data with check_finite",
            )
        })?;
        let most = self
            .smoothed
            .iter()
            .copied()
            .filter(|loss| loss.is_finite())
            .fold(first, f64::max)
            .min(MOST * first.abs() + f64::MIN_POSITIVE);
        let y =
            Scale::around(self.smoothed.iter().chain(&self.losses).copied().filter(|loss| *loss <= most).chain([most]));
        let upwards = y.ticks(6);
        let tick_width = upwards.iter().map(|(_, text)| Canvas::text_width(text, TICK_SIZE)).fold(0.0, f64::max);
        let left = 8.0 + LABEL_SIZE + 22.0 + tick_width;
        let x = Scale::log(self.rates.iter().copied());
        let frame = Frame { left, right: left + 520.0, top: 16.0, bottom: 336.0, x, y };
        let mut canvas = Canvas::new(frame.right + 24.0, frame.bottom + 54.0)?;
        frame.draw_axes(&mut canvas, [&x.ticks(10), &upwards], ["learning rate (log scale)", "loss"], 8.0);
        let line = |losses: &[f64]| -> Vec<Vec<Point>> {
            let points = self.rates.iter().zip(losses).map(|(&rate, &loss)| frame.at(rate, loss));
            cut(&points.collect::<Vec<_>>(), (frame.top, frame.bottom))
        };
        let mut drawn = Drawn::default();
        for piece in line(&self.losses) {
            canvas.line(piece, 1.25, faint(equal(0)));
        }
        for piece in line(&self.smoothed) {
            drawn.line(&piece);
            canvas.line(piece, LINE, equal(0));
        }
        let mut legend = Legend::default();
        legend.add(Mark::Solid(equal(0)), "smoothed");
        legend.add(Mark::Solid(faint(equal(0))), "of each batch");
        let marks = [("falls fastest", self.suggestion(), equal(2)), ("too large from", self.too_large(), equal(1))];
        for (text, rate, colour) in marks {
            let Some(rate) = rate else { continue };
            let ends = [(frame.at(rate, 0.0).0, frame.top), (frame.at(rate, 0.0).0, frame.bottom)];
            canvas.dashed(&ends, (5.0, 5.0), 1.75, colour);
            drawn.line(&ends);
            legend.add(Mark::Dashed(colour), format!("{text} {}", Value::from(rate)));
        }
        match legend.place(&frame, &drawn) {
            Some(place) => legend.draw(&mut canvas, place),
            None => legend.draw(&mut canvas, (frame.left + 10.0, frame.top + 10.0)),
        }
        Ok(Figure(canvas))
    }
}

/// The pieces of a line between two heights: where it leaves, it is cut off there. What is not finite breaks it.
fn cut(points: &[Point], (top, bottom): (f64, f64)) -> Vec<Vec<Point>> {
    let mut pieces: Vec<Vec<Point>> = Vec::new();
    let mut is_open = false;
    for ends in points.windows(2) {
        let [from, to] = [ends[0], ends[1]];
        let is_within = |point: Point| (top..=bottom).contains(&point.1);
        if !(from.1.is_finite() && to.1.is_finite() && (is_within(from) || is_within(to))) {
            is_open = false;
            continue;
        }
        // Where the line between them crosses the edge that one of them lies beyond.
        let at_edge = |outside: Point, inside: Point| {
            let edge = outside.1.clamp(top, bottom);
            let part = (edge - inside.1) / (outside.1 - inside.1);
            (inside.0 + part * (outside.0 - inside.0), edge)
        };
        let first = if is_within(from) { from } else { at_edge(from, to) };
        let last = if is_within(to) { to } else { at_edge(to, from) };
        match pieces.last_mut().filter(|_| is_open) {
            Some(piece) => piece.push(last),
            None => pieces.push(vec![first, last]),
        }
        is_open = is_within(to);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_at_the_edges_and_broken_by_what_is_not_finite() {
        let points = [(0.0, 5.0), (1.0, -5.0), (2.0, -5.0), (3.0, 5.0), (4.0, 6.0), (5.0, f64::NAN), (6.0, 5.0)];
        let pieces = cut(&points, (0.0, 10.0));
        assert_eq!(pieces, [vec![(0.0, 5.0), (0.5, 0.0)], vec![(2.5, 0.0), (3.0, 5.0), (4.0, 6.0)]]);
        assert!(cut(&[(0.0, 1.0)], (0.0, 10.0)).is_empty());
    }
}
