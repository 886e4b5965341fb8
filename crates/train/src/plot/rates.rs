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
        Canvas::new(1.0, 1.0)?;
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
        // Where the loss leaves the frame it is cut off.
        let line = |losses: &[f64]| -> Vec<Vec<Point>> {
            let inside = |loss: f64| loss.is_finite() && (0.0..=1.0).contains(&y.place(loss));
            let mut pieces = vec![Vec::new()];
            for (&rate, &loss) in self.rates.iter().zip(losses) {
                match inside(loss) {
                    true => {
                        pieces.last_mut().unwrap_or_else(|| unreachable!("one is there")).push(frame.at(rate, loss))
                    }
                    false => pieces.push(Vec::new()),
                }
            }
            pieces.into_iter().filter(|piece| piece.len() > 1).collect()
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
