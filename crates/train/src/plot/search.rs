//! What a search has found: every trial as a line across its parameters, and one parameter against the score.

use super::axes::{EQUALS, Frame, INK, LABEL_SIZE, LINE, SOFT_INK, TICK_SIZE, TITLE_SIZE};
use super::canvas::{Align, Canvas, Point};
use super::figure::{Figure, TITLE_HEIGHT};
use super::scale::Scale;
use crate::search::{Range, SearchResult, Trial, Value};
use crate::text::log_value;
use crate::{Direction, Error, Result};
use kiln_nn::Module;
use plotters::style::RGBAColor;
use std::path::Path;

/// From the worst to the best score.
const SHADES: [(u8, u8, u8); 3] = [(214, 222, 232), (110, 170, 210), (10, 62, 120)];
const BEST: RGBAColor = RGBAColor(EQUALS[1].0, EQUALS[1].1, EQUALS[1].2, 1.0);

impl<M: Module> SearchResult<M> {
    /// Draws each trial as a line across its parameters to its score, the darker the better, the best one in orange: parallel
    /// coordinates. To a `.png` or an `.svg`.
    ///
    /// # Errors
    /// No trial with a score; a file that cannot be written.
    pub fn plot(&self, path: impl AsRef<Path>) -> Result<()> {
        self.draw()?.save(path)
    }

    /// What [`SearchResult::plot`] writes.
    ///
    /// # Errors
    /// No trial with a score.
    pub fn draw(&self) -> Result<Figure> {
        const APART: f64 = 150.0;
        const HEIGHT: f64 = 300.0;
        let scored = self.scored()?;
        let scores = Scale::around(scored.iter().map(|(_, score)| *score));
        let axes = self.space.dimensions.len();
        let (left, top) = (70.0, 24.0 + TITLE_HEIGHT);
        let width = left + APART * axes as f64 + 80.0;
        let mut canvas = Canvas::new(width, top + HEIGHT + 28.0)?;
        let title = format!("{} trials", scored.len());
        canvas.text(&title, (width / 2.0, 20.0), TITLE_SIZE, INK, Align::Centre);
        let x = |axis: usize| left + APART * axis as f64;
        let y = |share: f64| top + HEIGHT * (1.0 - share);
        let best = self.best().map(|trial| trial.number);
        // The better ones above the others.
        for (trial, score) in scored.iter().rev() {
            let places = trial.values.iter().zip(&self.space.dimensions).enumerate();
            let mut points: Vec<Point> =
                places.map(|(axis, (value, dimension))| (x(axis), y(dimension.range.fraction(value)))).collect();
            points.push((x(axes), y(scores.place(*score))));
            let is_best = best == Some(trial.number);
            canvas.line(points, if is_best { LINE + 1.0 } else { 1.5 }, self.shade(trial, *score, &scored));
        }
        // Above the lines, so that they can be read.
        for (axis, dimension) in self.space.dimensions.iter().enumerate() {
            draw_axis(&mut canvas, (x(axis), top, HEIGHT), &dimension.name, &ticks(&dimension.range));
        }
        draw_axis(&mut canvas, (x(axes), top, HEIGHT), &self.objective, &placed(scores, 5));
        Ok(Figure(canvas))
    }

    /// Draws the score of each trial over the value of one parameter. To a `.png` or an `.svg`.
    ///
    /// # Errors
    /// A parameter that the space does not have; no trial with a score; a file that cannot be written.
    pub fn plot_parameter(&self, name: &str, path: impl AsRef<Path>) -> Result<()> {
        self.draw_parameter(name)?.save(path)
    }

    /// What [`SearchResult::plot_parameter`] writes.
    ///
    /// # Errors
    /// A parameter that the space does not have; no trial with a score.
    pub fn draw_parameter(&self, name: &str) -> Result<Figure> {
        let names: Vec<&str> = self.space.dimensions.iter().map(|dimension| dimension.name.as_str()).collect();
        let Some(at) = names.iter().position(|own| *own == name) else {
            let text = format!("plot: the search has no parameter `{name}`");
            return Err(Error::config(text, crate::text::did_you_mean(name, &names)));
        };
        let scored = self.scored()?;
        let range = &self.space.dimensions[at].range;
        let y = Scale::around(scored.iter().map(|(_, score)| *score));
        let upwards = y.ticks(6);
        let tick_width = upwards.iter().map(|(_, text)| Canvas::text_width(text, TICK_SIZE)).fold(0.0, f64::max);
        let left = 8.0 + LABEL_SIZE + 22.0 + tick_width;
        let frame = Frame { left, right: left + 460.0, top: 16.0, bottom: 316.0, x: Scale::unit(), y };
        let mut canvas = Canvas::new(frame.right + 24.0, frame.bottom + 54.0)?;
        let title = if range.is_log() { format!("{name} (log scale)") } else { name.to_owned() };
        frame.draw_axes(&mut canvas, [&ticks(range), &upwards], [&title, &self.objective], 8.0);
        let best = self.best().map(|trial| trial.number);
        for (trial, score) in scored.iter().rev() {
            let place = frame.at(range.fraction(&trial.values[at]), *score);
            let is_best = best == Some(trial.number);
            canvas.dot(place, if is_best { 6.5 } else { 4.5 }, self.shade(trial, *score, &scored));
        }
        Ok(Figure(canvas))
    }

    /// The trials with a finite score, the best first.
    fn scored(&self) -> Result<Vec<(&Trial, f64)>> {
        let all = self.ranked().into_iter();
        let scored: Vec<(&Trial, f64)> =
            all.filter_map(|trial| Some((trial, trial.score.filter(|score| score.is_finite())?))).collect();
        match scored.is_empty() {
            true => Err(Error::data(
                "plot: no trial has a score",
                "a score is the objective in the best epoch: in no epoch of any trial was it a finite number",
            )),
            false => Ok(scored),
        }
    }

    /// The colour of a trial: by its rank, so that one very bad score does not make all others equal.
    fn shade(&self, trial: &Trial, score: f64, scored: &[(&Trial, f64)]) -> RGBAColor {
        if self.best().is_some_and(|best| best.number == trial.number) {
            return BEST;
        }
        let is_worse = |other: f64| match self.direction {
            Direction::Min => other > score,
            Direction::Max => other < score,
        };
        let worse = scored.iter().filter(|(_, other)| is_worse(*other)).count();
        let share = worse as f64 / (scored.len() - 1).max(1) as f64;
        let (from, to, share) =
            if share < 0.5 { (SHADES[0], SHADES[1], 2.0 * share) } else { (SHADES[1], SHADES[2], 2.0 * share - 1.0) };
        let mixed = |a: u8, b: u8| (f64::from(a) + share * (f64::from(b) - f64::from(a))).round() as u8;
        RGBAColor(mixed(from.0, to.0), mixed(from.1, to.1), mixed(from.2, to.2), 1.0)
    }
}

/// An upright axis with its name above and its ticks on the left.
fn draw_axis(canvas: &mut Canvas, (x, top, height): (f64, f64, f64), name: &str, ticks: &[(f64, String)]) {
    canvas.line(vec![(x, top), (x, top + height)], 1.25, SOFT_INK);
    canvas.text(name, (x, top - 16.0), LABEL_SIZE, INK, Align::Centre);
    for (share, text) in ticks {
        let y = top + height * (1.0 - share);
        canvas.line(vec![(x - 4.0, y), (x, y)], 1.0, SOFT_INK);
        // On paper of its own, for lines pass here.
        let width = Canvas::text_width(text, TICK_SIZE);
        canvas.fill((x - 9.0 - width, y - 8.0), (x - 5.0, y + 8.0), RGBAColor(255, 255, 255, 0.85));
        canvas.text(text, (x - 7.0, y), TICK_SIZE, SOFT_INK, Align::Right);
    }
}

/// A few values of a scale with their places from 0 to 1.
fn placed(scale: Scale, count: usize) -> Vec<(f64, String)> {
    scale.ticks(count).into_iter().map(|(value, text)| (scale.place(value), text)).collect()
}

/// Values of a parameter to be named on its axis, with their places from 0 to 1.
fn ticks(range: &Range) -> Vec<(f64, String)> {
    let of = |values: Vec<Value>| values.iter().map(|value| (range.fraction(value), value.to_string())).collect();
    match range {
        Range::Choice(values) => of(values.clone()),
        Range::Int { low, high, step, is_log: false } if (high - low) / step < 8 => {
            of((*low..=*high).step_by(usize::try_from(*step).unwrap_or(1)).map(Value::Int).collect())
        }
        _ if range.is_log() => {
            let (low, high) = range.ends();
            let decades = low.log10().ceil() as i32..=high.log10().floor() as i32;
            let mut ticks: Vec<f64> = decades.map(|exponent| 10f64.powi(exponent)).collect();
            if ticks.len() < 3 {
                // No decade that would stand in the way of an end.
                ticks.retain(|tick| tick / low > 1.5 && high / tick > 1.5);
                ticks = [low].into_iter().chain(ticks).chain([high]).collect();
            }
            let value =
                |x: f64| if matches!(range, Range::Int { .. }) { Value::Int(x as u64) } else { Value::Float(x) };
            ticks.into_iter().map(|tick| (range.fraction(&value(tick)), decade(tick))).collect()
        }
        _ => {
            let (low, high) = range.ends();
            let inside = Scale::around([low, high].into_iter()).ticks(5).into_iter();
            inside
                .filter(|(tick, _)| (low..=high).contains(tick))
                .map(|(tick, text)| (range.fraction(&Value::Float(tick)), text))
                .collect()
        }
    }
}

fn decade(value: f64) -> String {
    if (1e-3..1e5).contains(&value) {
        log_value(value).trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        format!("{value:e}")
    }
}
