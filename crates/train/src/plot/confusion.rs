//! A confusion matrix as a heat map: a cell for each pair of classes, with its number, and a bar that says what colours mean.

use super::axes::{INK, LABEL_SIZE, PAPER, SOFT_INK, TICK_SIZE};
use super::canvas::{Align, Canvas};
use super::figure::{Figure, TITLE_HEIGHT, draw_title};
use super::picture::Picture;
use crate::error::Result;
use crate::report::{ConfusionMatrix, Normalize};
use plotters::style::RGBAColor;
use std::path::Path;

/// How a [`ConfusionMatrix`] is drawn; [`ConfusionMatrix::plot`] uses the defaults.
///
/// # Examples
/// ```no_run
/// use kiln_train::plot::ConfusionPlot;
/// use kiln_train::report::Normalize;
/// use kiln_train::scores::confusion_matrix;
/// let matrix = confusion_matrix(&[0, 0, 1, 1], &[0, 1, 1, 1], ())?.with_names(["cat", "dog"])?;
/// ConfusionPlot::new().normalize(Normalize::Truth).title("pets").save(&matrix, "confusion.svg")?;
/// # Ok::<(), kiln_train::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ConfusionPlot {
    title: Option<String>,
    normalize: Option<Normalize>,
}

/// From white to a dark blue, evenly in lightness.
const COLOURS: [(f64, f64, f64); 5] =
    [(247.0, 251.0, 255.0), (198.0, 219.0, 239.0), (107.0, 174.0, 214.0), (33.0, 113.0, 181.0), (8.0, 48.0, 107.0)];

impl ConfusionPlot {
    /// Counts, without a title.
    pub fn new() -> Self {
        Self::default()
    }

    /// A line above the map.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Shares of the row, the column or of everything, and not counts.
    #[must_use]
    pub fn normalize(mut self, by: Normalize) -> Self {
        self.normalize = Some(by);
        self
    }

    /// Draws the matrix to `path`, a `.png` or an `.svg`.
    ///
    /// # Errors
    /// As [`Figure::save`].
    pub fn save(&self, matrix: &ConfusionMatrix, path: impl AsRef<Path>) -> Result<()> {
        self.draw(matrix)?.save(path)
    }

    /// Draws the matrix: a row for each true class, a column for each predicted one.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) where it cannot be drawn.
    pub fn draw(&self, matrix: &ConfusionMatrix) -> Result<Figure> {
        let map = Map::new(self, matrix)?;
        let mut canvas = Canvas::new(map.width, map.top + map.side + map.below)?;
        draw_title(&mut canvas, self.title.as_deref(), map.width);
        map.draw_cells(&mut canvas);
        map.draw_names(&mut canvas, matrix.names());
        map.draw_bar(&mut canvas);
        Ok(Figure(canvas))
    }
}

impl ConfusionMatrix {
    /// Draws the counts to `path`, a `.png` or an `.svg`.
    ///
    /// # Errors
    /// As [`ConfusionPlot::save`], which also takes a title and shares.
    pub fn plot(&self, path: impl AsRef<Path>) -> Result<()> {
        ConfusionPlot::new().save(self, path)
    }
}

/// Of cells that hold nothing.
const FAINT_INK: RGBAColor = RGBAColor(160, 167, 176, 1.0);
/// With more classes than this, cells are the pixels of a picture, and only some names have room.
const MOST_CELLS: usize = 60;
const LARGEST_SIDE: f64 = 14.0 * MOST_CELLS as f64;
const BAR_GAP: f64 = 18.0;
const BAR_WIDTH: f64 = 16.0;

/// Where everything stands, in logical pixels.
struct Map {
    values: Vec<Vec<f64>>,
    texts: Vec<Vec<String>>,
    /// What the darkest colour stands for.
    most: f64,
    /// What the numbers are, beside the bar.
    unit: &'static str,
    cell: f64,
    text_size: f64,
    names_turned: bool,
    left: f64,
    top: f64,
    side: f64,
    below: f64,
    width: f64,
    bar_ticks: Vec<(f64, String)>,
}

impl Map {
    fn new(plot: &ConfusionPlot, matrix: &ConfusionMatrix) -> Result<Map> {
        let classes = matrix.classes();
        let (values, unit) = match plot.normalize {
            None => (matrix.counts().chunks(classes).map(<[f64]>::to_vec).collect(), "samples"),
            Some(by @ Normalize::Truth) => (matrix.normalized_by(by), "share of the true class"),
            Some(by @ Normalize::Predicted) => (matrix.normalized_by(by), "share of the predicted class"),
            Some(by @ Normalize::All) => (matrix.normalized_by(by), "share of all samples"),
        };
        let values: Vec<Vec<f64>> = values;
        let is_share = plot.normalize.is_some();
        let largest = values.iter().flatten().copied().fold(0.0, f64::max);
        let most = match plot.normalize {
            Some(Normalize::Truth | Normalize::Predicted) => 1.0,
            _ if largest > 0.0 => largest,
            _ => 1.0,
        };
        let texts: Vec<Vec<String>> =
            values.iter().map(|row| row.iter().map(|&value| number(value, is_share)).collect()).collect();
        let cell = if classes > MOST_CELLS {
            LARGEST_SIDE / classes as f64
        } else {
            (560.0 / classes as f64).clamp(14.0, 84.0)
        };
        let widest = texts.iter().flatten().map(|text| Canvas::text_width(text, 1000.0)).fold(1.0, f64::max);
        let text_size = ((cell - 6.0) / widest * 1000.0).min(cell * 0.45).min(15.0);
        let name_width = matrix.names().iter().map(|name| Canvas::text_width(name, TICK_SIZE)).fold(0.0, f64::max);
        let names_turned = name_width > cell - 6.0;
        let side = cell * classes as f64;
        let left = name_width + LABEL_SIZE + 36.0;
        let scale = super::scale::Scale::from_zero(most);
        let is_whole = !is_share && values.iter().flatten().all(|value| value.fract() == 0.0);
        let bar_ticks = if is_whole { scale.whole_ticks(5) } else { scale.ticks(5) };
        let tick_width = bar_ticks.iter().map(|tick| Canvas::text_width(&tick.1, TICK_SIZE)).fold(0.0, f64::max);
        let top = 16.0 + if plot.title.is_some() { TITLE_HEIGHT - 12.0 } else { 0.0 };
        let below = (if names_turned { name_width + 8.0 } else { 24.0 }) + 40.0;
        let width = left + side + BAR_GAP + BAR_WIDTH + 14.0 + tick_width + LABEL_SIZE + 26.0;
        let width = plot
            .title
            .as_ref()
            .map_or(width, |title| width.max(Canvas::text_width(title, super::axes::TITLE_SIZE) + 24.0));
        Ok(Map { values, texts, most, unit, cell, text_size, names_turned, left, top, side, below, width, bar_ticks })
    }

    fn draw_cells(&self, canvas: &mut Canvas) {
        let (from, to) = ((self.left, self.top), (self.left + self.side, self.top + self.side));
        if self.values.len() > MOST_CELLS {
            let pixel = |value: &f64| {
                let RGBAColor(red, green, blue, _) = colour(value / self.most);
                [red, green, blue]
            };
            let pixels = self.values.iter().flatten().flat_map(pixel).collect();
            canvas.picture(Picture::new(self.values.len(), self.values.len(), pixels), from, to);
            self.draw_box(canvas, (from.0 - 1.0, from.1 - 1.0), (to.0 + 1.0, to.1 + 1.0));
            return;
        }
        for (row, values) in self.values.iter().enumerate() {
            for (column, &value) in values.iter().enumerate() {
                let (x, y) = (self.left + self.cell * column as f64, self.top + self.cell * row as f64);
                let share = value / self.most;
                canvas.fill((x, y), (x + self.cell, y + self.cell), colour(share));
                // Numbers too small to read are left to the colours.
                if self.text_size >= 6.0 {
                    let ink = match share {
                        0.0 => FAINT_INK,
                        share if share > 0.55 => PAPER,
                        _ => INK,
                    };
                    let middle = (x + self.cell / 2.0, y + self.cell / 2.0);
                    canvas.text(&self.texts[row][column], middle, self.text_size, ink, Align::Centre);
                }
            }
        }
        self.draw_box(canvas, from, to);
    }

    fn draw_box(&self, canvas: &mut Canvas, (left, top): (f64, f64), (right, bottom): (f64, f64)) {
        let corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)];
        corners.windows(2).for_each(|side| canvas.line(side.to_vec(), 1.0, SOFT_INK));
    }

    fn draw_names(&self, canvas: &mut Canvas, names: &[String]) {
        let bottom = self.top + self.side;
        let stride = (14.0 / self.cell).ceil().max(1.0) as usize;
        for (at, name) in names.iter().enumerate().step_by(stride) {
            let along = self.cell * (at as f64 + 0.5);
            canvas.text(name, (self.left - 9.0, self.top + along), TICK_SIZE, SOFT_INK, Align::Right);
            if self.names_turned {
                let half = Canvas::text_width(name, TICK_SIZE) / 2.0;
                canvas.text(name, (self.left + along, bottom + 9.0 + half), TICK_SIZE, SOFT_INK, Align::Upwards);
            } else {
                canvas.text(name, (self.left + along, bottom + 15.0), TICK_SIZE, SOFT_INK, Align::Centre);
            }
        }
        let middle = self.side / 2.0;
        let below = (self.left + middle, bottom + self.below - 20.0);
        canvas.text("predicted class", below, LABEL_SIZE, INK, Align::Centre);
        canvas.text("true class", (18.0, self.top + middle), LABEL_SIZE, INK, Align::Upwards);
    }

    fn draw_bar(&self, canvas: &mut Canvas) {
        const STEPS: usize = 64;
        let left = self.left + self.side + BAR_GAP;
        let bottom = self.top + self.side;
        let at = |share: f64| bottom - share * self.side;
        for step in 0..STEPS {
            let (low, high) = (step as f64 / STEPS as f64, (step + 1) as f64 / STEPS as f64);
            canvas.fill((left, at(high)), (left + BAR_WIDTH, at(low)), colour(f64::midpoint(low, high)));
        }
        self.draw_box(canvas, (left, self.top), (left + BAR_WIDTH, bottom));
        let right = left + BAR_WIDTH;
        for (value, text) in &self.bar_ticks {
            let y = at(value / self.most);
            canvas.line(vec![(right, y), (right + 4.0, y)], 1.0, SOFT_INK);
            canvas.text(text, (right + 8.0, y), TICK_SIZE, SOFT_INK, Align::Left);
        }
        let edge = (self.width.min(right + 8.0 + self.tick_width() + LABEL_SIZE + 8.0), self.top + self.side / 2.0);
        canvas.text(self.unit, edge, TICK_SIZE, SOFT_INK, Align::Upwards);
    }

    fn tick_width(&self) -> f64 {
        self.bar_ticks.iter().map(|tick| Canvas::text_width(&tick.1, TICK_SIZE)).fold(0.0, f64::max)
    }
}

/// A count as it is, a share with two decimals; what is none is 0.
fn number(value: f64, is_share: bool) -> String {
    match () {
        () if value == 0.0 => "0".to_owned(),
        () if is_share => format!("{value:.2}"),
        () if value.fract() == 0.0 => format!("{value}"),
        () => format!("{value:.1}"),
    }
}

fn colour(share: f64) -> RGBAColor {
    let place = share.clamp(0.0, 1.0) * (COLOURS.len() - 1) as f64;
    let at = (place as usize).min(COLOURS.len() - 2);
    let (from, to, rest) = (COLOURS[at], COLOURS[at + 1], place - at as f64);
    let mix = |a: f64, b: f64| (a + (b - a) * rest).round() as u8;
    RGBAColor(mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2), 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_shares_stand_in_their_cells() {
        let matrix = ConfusionMatrix::from_labels(&[0, 0, 0, 1], &[0, 0, 1, 1], 2).unwrap();
        let matrix = matrix.with_names(["<cat>", "dog"]).unwrap();
        let texts = |svg: &str| -> Vec<String> {
            svg.split("<text").skip(1).filter_map(|text| text.lines().nth(1).map(str::to_owned)).collect()
        };
        let counts = texts(&ConfusionPlot::new().draw(&matrix).unwrap().to_svg().unwrap());
        assert_eq!(counts[..4], ["2", "1", "0", "1"]);
        assert!(counts.contains(&"&lt;cat&gt;".to_owned()) && counts.contains(&"samples".to_owned()), "{counts:?}");
        let plot = ConfusionPlot::new().normalize(Normalize::Truth).title("pets");
        let shares = texts(&plot.draw(&matrix).unwrap().to_svg().unwrap());
        assert_eq!(shares[..5], ["pets", "0.67", "0.33", "0", "1.00"]);
    }

    #[test]
    fn many_classes_and_none_counted_are_drawn() {
        for (truth, classes) in [(vec![], 1), (vec![0], 1), ((0..60).collect::<Vec<_>>(), 60), (vec![7], 1000)] {
            let matrix = ConfusionMatrix::from_labels(&truth, &truth, classes).unwrap();
            let svg = ConfusionPlot::new().draw(&matrix).unwrap().to_svg().unwrap();
            assert_eq!(svg.contains("<image"), classes > 60);
            assert!(svg.len() < 2_000_000, "{}", svg.len());
        }
    }

    #[test]
    fn colours_go_from_white_to_blue() {
        assert_eq!(colour(0.0), RGBAColor(247, 251, 255, 1.0));
        assert_eq!(colour(1.0), RGBAColor(8, 48, 107, 1.0));
    }
}
